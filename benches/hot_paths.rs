//! What is done for every request or every pull, alone: `cargo bench --bench hot_paths`.
//!
//! Without network and disk. `PERFORMANCE.md` says what the primitives below cost at least.

use assay::demo::{BUNDLE_TYPE, BundleSignature, ClassicSignature, Document, ImageBuilder, Signer, Statement};
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use assay::oci::{Digest, MANIFEST_MAX, Manifest, Reference, Repository, strict_json};
use assay::trust::{
    self, Candidate, Demand, Enforcement, Judgement, KeySigner, Material, Pattern, PublicKey, Recorded, Rule, Search,
    Tlog, judge, recall, still_stands,
};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use jiff::Timestamp;
use serde_json::json;

fn main() {
    divan::main();
}

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

mod content {
    use super::*;

    #[divan::bench]
    fn digest_of_1_mib(bencher: Bencher<'_, '_>) {
        let bytes = vec![7; 1024 * 1024];
        bencher.counter(BytesCount::of_slice(&bytes)).bench_local(|| Digest::of(black_box(&bytes)));
    }

    #[divan::bench]
    fn strict_json_of_an_index(bencher: Bencher<'_, '_>) {
        let index = typical_index();
        bencher.counter(BytesCount::of_slice(&index.bytes)).bench_local(|| strict_json::check(black_box(&index.bytes)));
    }

    /// The worst that an upstream can send: nothing but keys, as much as is read.
    #[divan::bench(sample_count = 20)]
    fn strict_json_of_4_mib_of_keys(bencher: Bencher<'_, '_>) {
        let keys: Vec<_> = (0..MANIFEST_MAX / 12).map(|number| format!("\"{number:07}\":1")).collect();
        let json = format!("{{{}}}", keys.join(","));
        bencher.counter(BytesCount::of_str(&json)).bench_local(|| strict_json::check(black_box(json.as_bytes())));
    }

    #[divan::bench]
    fn parse_an_index(bencher: Bencher<'_, '_>) {
        let index = typical_index();
        bencher
            .counter(BytesCount::of_slice(&index.bytes))
            .bench_local(|| Manifest::parse(black_box(&index).bytes.clone(), Some(OCI_INDEX)).unwrap());
    }
}

mod names {
    use super::*;

    #[divan::bench]
    fn repository() -> Repository {
        black_box("ghcr.io/acme/platform/base-image").parse().unwrap()
    }

    #[divan::bench]
    fn reference_by_digest(bencher: Bencher<'_, '_>) {
        let text = Digest::of(b"content").to_string();
        bencher.bench_local(|| black_box(&text).parse::<Reference>().unwrap());
    }
}

/// With every verdict a signature is checked; a verdict in memory is only asked whether it stands.
mod gate {
    use super::*;

    #[divan::bench]
    fn judge_a_classic_signature(bencher: Bencher<'_, '_>) {
        let world = World::new();
        let search = world.search(world.classic());
        bencher.bench_local(|| world.judge(black_box(&search)));
    }

    #[divan::bench]
    fn judge_a_bundle(bencher: Bencher<'_, '_>) {
        let world = World::new();
        let search = world.search(world.bundle());
        bencher.bench_local(|| world.judge(black_box(&search)));
    }

    #[divan::bench]
    fn refuse_without_signature(bencher: Bencher<'_, '_>) {
        let world = World::new();
        bencher.bench_local(|| world.judge(black_box(&Search::default())));
    }

    #[divan::bench]
    fn recall_from_evidence(bencher: Bencher<'_, '_>) {
        let world = World::new();
        let search = world.search(world.bundle());
        let Judgement::Allow(verified) = world.judge(&search) else { panic!("signed") };
        let written = serde_json::to_string(&Recorded::of(verified.verdict(), &search)).unwrap();
        bencher.bench_local(|| {
            let recorded: Recorded = serde_json::from_str(black_box(&written)).unwrap();
            recall(world.manifest.clone(), &world.repository, &world.rule, recorded, NOW).unwrap()
        });
    }

    #[divan::bench]
    fn recall_from_memory(bencher: Bencher<'_, '_>) {
        let world = World::new();
        let Judgement::Allow(verified) = world.judge(&world.search(world.bundle())) else { panic!("signed") };
        bencher.bench_local(|| still_stands(black_box(verified.verdict()), &world.rule, NOW));
    }
}

struct World {
    signer: Signer,
    repository: Repository,
    rule: Rule,
    manifest: Manifest,
}

impl World {
    fn new() -> Self {
        let signer = Signer::generate().unwrap();
        let key = PublicKey::from_pem(&signer.public_key_pem()).unwrap();
        let named = KeySigner { name: "key.pub".to_owned(), key, not_before: None, not_after: None };
        let signers = vec![trust::Signer::Key(named)];
        let demand = Demand { signers, tlog: Tlog::Off, ..Demand::default() };
        let patterns = vec![Pattern::parse("ghcr.io/acme/**").unwrap()];
        Self {
            rule: Rule::new("acme".to_owned(), patterns, Enforcement::Enforce(demand)),
            repository: "ghcr.io/acme/app".parse().unwrap(),
            manifest: Manifest::parse(ImageBuilder::new("Hello").build().index.bytes, Some(OCI_INDEX)).unwrap(),
            signer,
        }
    }

    fn classic(&self) -> Material {
        let signature = ClassicSignature::of(&self.signer, "ghcr.io/acme/app", self.manifest.digest());
        Material::Classic { payload: signature.payload, annotations: signature.annotations }
    }

    fn bundle(&self) -> Material {
        let signature = BundleSignature::of(&self.signer, &Statement::signature(self.manifest.digest()));
        Material::Bundle(Document::json(BUNDLE_TYPE, &signature.json()).bytes)
    }

    fn search(&self, material: Material) -> Search {
        Search { candidates: vec![Candidate { place: "a place".to_owned(), material }], looked_at: Vec::new() }
    }

    fn judge(&self, search: &Search) -> Judgement {
        judge(self.manifest.clone(), &self.repository, &self.rule, search, NOW)
    }
}

/// Eight platforms and an attestation for each, as official images have.
fn typical_index() -> Document {
    let entry = |number: u32| {
        let digest = Digest::of(&number.to_be_bytes());
        json!({
            "mediaType": OCI_MANIFEST, "digest": digest, "size": 2000 + number,
            "platform": { "architecture": "amd64", "os": "linux", "variant": format!("v{number}") },
            "annotations": { "org.opencontainers.image.revision": digest.hex(), "vnd.docker.reference.digest": digest },
        })
    };
    let entries: Vec<_> = (0..16).map(entry).collect();
    Document::json(OCI_INDEX, &json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }))
}
