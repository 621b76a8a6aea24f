//! What one keyless verification costs, and what part of it is cryptography: `cargo bench --bench keyless`.
//!
//! `one_signature` is a single ECDSA P-256 check; how many of them a verification makes stands beside it.

#[path = "../tests/support/sigstore/mod.rs"]
mod sigstore;

use assay::demo::ImageBuilder;
use assay::oci::{Digest, Manifest, Repository};
use assay::trust::{
    self, Candidate, Demand, Enforcement, IdentitySigner, Judgement, Matcher, Pattern, PublicKey, Rule, Search, judge,
    still_stands,
};
use divan::{Bencher, black_box};
use jiff::Timestamp;
use sigstore::{ACCOUNTS, CertificateRequest, SIGSTORE, Signatory, Signed};

fn main() {
    divan::main();
}

const NOW: Timestamp = Timestamp::constant(1_790_000_000, 0);
const WHO: &str = "release@acme.test";
const REPOSITORY: &str = "registry.test/acme/app";

struct World {
    repository: Repository,
    rule: Rule,
    manifest: Manifest,
    search: Search,
}

impl World {
    fn new(sign: impl Fn(&Signatory, Digest) -> Signed) -> Self {
        let manifest = Manifest::parse(ImageBuilder::new("Hello").build().index.bytes, None).unwrap();
        let release = SIGSTORE.issue(&CertificateRequest::email(WHO));
        let signer = IdentitySigner::new(Matcher::exact(ACCOUNTS), Matcher::expression(r"[a-z]+@acme\.test").unwrap());
        let root = trust::TrustRoot::from_json("private", SIGSTORE.trusted_root_json().as_bytes()).unwrap();
        let demand = Demand { signers: vec![trust::Signer::Identity(signer)], roots: vec![root], ..Demand::default() };
        let candidates: Vec<Candidate> = vec![sign(&release, manifest.digest()).candidate()];
        Self {
            repository: REPOSITORY.parse().unwrap(),
            rule: Rule::new("acme".to_owned(), vec![Pattern::parse("**/**").unwrap()], Enforcement::Enforce(demand)),
            manifest,
            search: Search { candidates, looked_at: Vec::new() },
        }
    }

    fn judge(&self) -> Judgement {
        judge(self.manifest.clone(), &self.repository, &self.rule, black_box(&self.search), NOW)
    }

    fn bench(&self, bencher: Bencher<'_, '_>) {
        assert!(matches!(self.judge(), Judgement::Allow(_)), "only what verifies is worth timing");
        bencher.bench_local(|| self.judge());
    }
}

/// Certificate, certificate log, checkpoint (twice), promise (twice), payload: 7 signatures.
#[divan::bench]
fn bundle_with_rekor_1(bencher: Bencher<'_, '_>) {
    World::new(|by, digest| SIGSTORE.sign_bundle(by, digest)).bench(bencher);
}

/// Certificate, certificate log, checkpoint (twice, Ed25519 where the log has it), timestamp, payload: 6 signatures.
#[divan::bench]
fn bundle_with_rekor_2_and_timestamp(bencher: Bencher<'_, '_>) {
    World::new(|by, digest| SIGSTORE.sign_bundle_v2(by, digest)).bench(bencher);
}

/// Certificate, certificate log, promise (twice), payload: 5 signatures.
#[divan::bench]
fn classic_with_rekor_1(bencher: Bencher<'_, '_>) {
    World::new(|by, digest| SIGSTORE.sign_classic(by, REPOSITORY, digest)).bench(bencher);
}

#[divan::bench]
fn one_signature(bencher: Bencher<'_, '_>) {
    let signer = assay::demo::Signer::generate().unwrap();
    let key = PublicKey::from_pem(&signer.public_key_pem()).unwrap();
    let signature = signer.sign(b"a message");
    assert!(key.verifies(b"a message", &signature));
    bencher.bench_local(|| key.verifies(black_box(b"a message"), black_box(&signature)));
}

/// A verdict in memory is only asked whether it still stands.
#[divan::bench]
fn verdict_in_memory(bencher: Bencher<'_, '_>) {
    let world = World::new(|by, digest| SIGSTORE.sign_bundle(by, digest));
    let Judgement::Allow(verified) = world.judge() else { panic!("signed") };
    bencher.bench_local(|| still_stands(black_box(verified.verdict()), &world.rule, NOW));
}
