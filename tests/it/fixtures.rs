//! Signatures that others made: containers/image's and Connaisseur's test images, and cosign 3 with the
//! real Fulcio and Rekor. Read from `../shared/fixtures` where that is there; not part of this project.
//!
//! Rules name keys and ask for no log, so what was signed with a key must be allowed with or without a
//! log entry, and what was signed with a certificate must be refused.

use std::fs;
use std::path::{Path, PathBuf};

use assay::oci::media_type::SIMPLE_SIGNING;
use assay::oci::{Digest, Image, Manifest, ManifestError, Repository};
use assay::trust::{
    self, Candidate, Demand, DockerReference, Enforcement, Judgement, KeySigner, Material, PublicKey, Reason, Require,
    Rule, Search,
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;

/// A folder of the fixtures with so many sets in it, unless they are absent.
pub fn folder(name: &str, sets: usize) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures").join(name);
    if !path.exists() {
        println!("fixtures absent: {sets} sets not run");
        return None;
    }
    Some(path)
}

pub fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

pub fn digest(value: &Value) -> Digest {
    value.as_str().unwrap().parse().unwrap()
}

pub fn manifest(path: &Path) -> Manifest {
    Manifest::parse(fs::read(path).unwrap().into(), None).unwrap()
}

/// The blob with this digest: by whatever name it lies in `blobs`.
pub fn blob(blobs: &Path, digest: Digest) -> Bytes {
    let bytes: Bytes = fs::read(blobs.join(digest.hex())).unwrap().into();
    assert_eq!(Digest::of(&bytes), digest);
    bytes
}

/// What upstream's collector makes of a `.sig` manifest: a candidate from each layer of the right type.
pub fn classic(image: &Image, blobs: &Path) -> Vec<Candidate> {
    let layers = image.layers.iter().filter(|layer| layer.media_type == SIMPLE_SIGNING);
    layers
        .map(|layer| {
            let annotations = layer.annotations.clone().unwrap_or_default();
            let material = Material::Classic { payload: blob(blobs, layer.digest), annotations };
            Candidate { place: "tag .sig".to_owned(), material }
        })
        .collect()
}

struct Asked<'a> {
    manifest: Manifest,
    repository: &'a str,
    candidates: Vec<Candidate>,
    keys: Vec<PathBuf>,
    require: Require,
    reference: DockerReference,
}

impl Asked<'_> {
    fn outcome(&self) -> String {
        let signers = self.keys.iter().map(|path| {
            trust::Signer::Key(KeySigner {
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                key: PublicKey::from_pem(&fs::read_to_string(path).unwrap()).unwrap(),
                not_before: None,
                not_after: None,
            })
        });
        let demand = Demand {
            require: self.require,
            signers: signers.collect(),
            docker_reference: self.reference.clone(),
            tlog: trust::Tlog::Off,
            ..Demand::default()
        };
        let rule = Rule::new("fixture".to_owned(), vec![], Enforcement::Enforce(demand));
        let repository = name(self.repository);
        let search = Search { candidates: self.candidates.clone(), looked_at: vec![] };
        let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
        match trust::judge(self.manifest.clone(), &repository, &rule, &search, now) {
            Judgement::Allow(verified) => verified.verdict().signer_names(),
            Judgement::Refuse(verdict) => verdict.refusal().unwrap().0.code().to_owned(),
            Judgement::Unknown(_) => "unknown".to_owned(),
        }
    }
}

/// A docker reference's repository.
pub fn name(reference: &str) -> Repository {
    reference.parse::<assay::oci::ImageName>().unwrap().repository
}

#[test]
fn public_images_give_the_outcomes_that_were_measured() {
    use Require::{All, Any};
    let Some(folder) = folder("oci", 14) else { return };
    let (subject, untrusted, missing) =
        (Reason::WrongSubject.code(), Reason::UntrustedKey.code(), Reason::MissingSigner.code());
    let mut wrong = Vec::new();
    for (set, keys, require, expected) in [
        ("ci-key-valid", &["key"][..], Any, "key.pub"),
        ("ci-key-valid-2", &["key"], Any, "key.pub"),
        ("ci-key-valid-with-tag", &["key"], Any, "key.pub"),
        ("ci-key-mixed", &["key"], Any, "key.pub"),
        ("ci-key-rekor-valid", &["key"], Any, "key.pub"),
        ("ci-key-modified-manifest", &["key"], Any, subject),
        ("ci-key-other-attachment", &["key"], Any, Reason::NoSignature.code()),
        ("ci-key-valid", &["../connaisseur-multi-alice/bob"], Any, untrusted),
        ("ci-key-rekor-valid", &["../ci-key-valid/key"], Any, untrusted),
        ("connaisseur-multi-alice", &["alice"], Any, "alice.pub"),
        ("connaisseur-multi-alice", &["bob"], Any, untrusted),
        ("connaisseur-multi-alice", &["alice", "bob"], Any, "alice.pub"),
        ("connaisseur-multi-alice", &["alice", "bob"], All, missing),
        ("connaisseur-multi-alice-bob-charlie", &["alice"], Any, "alice.pub"),
        ("connaisseur-multi-alice-bob-charlie", &["bob"], Any, "bob.pub"),
        ("connaisseur-multi-alice-bob-charlie", &["alice", "bob"], All, "alice.pub, bob.pub"),
        ("connaisseur-multi-alice-bob-charlie", &["../ci-key-valid/key"], Any, untrusted),
        // Made with certificates.
        ("ci-fulcio-rekor-valid", &["../ci-key-valid/key"], Any, untrusted),
        ("ci-pki-valid", &["../ci-key-valid/key"], Any, untrusted),
        ("connaisseur-keyless", &["../connaisseur-multi-alice/alice"], Any, untrusted),
    ] {
        let set_folder = folder.join(set);
        let reference = json(&set_folder.join("meta.json"))["docker_reference"].as_str().unwrap().to_owned();
        let repository = if reference.is_empty() { "registry.test/none" } else { &reference };
        let signatures = manifest(&set_folder.join("sig-manifest.json"));
        let mut asked = Asked {
            manifest: manifest(&set_folder.join("subject-manifest.json")),
            repository,
            candidates: classic(signatures.image().unwrap(), &set_folder.join("blobs")),
            keys: keys.iter().map(|key| set_folder.join(format!("{key}.pub"))).collect(),
            require,
            reference: DockerReference::Ignore,
        };
        let mut expect = |asked: &Asked<'_>, expected: &str| {
            let outcome = asked.outcome();
            if outcome != expected {
                wrong.push(format!(
                    "{set}, {keys:?}, {require:?}, {:?}: {outcome}, expected {expected}",
                    asked.reference
                ));
            }
        };
        expect(&asked, expected);
        asked.reference = DockerReference::Repository;
        expect(&asked, expected);
        if expected.ends_with(".pub") {
            asked.repository = "registry.test/other";
            expect(&asked, Reason::WrongReference.code());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The signature is about another image, and what stands in its place is a manifest of schema 1.
#[test]
fn a_manifest_of_schema_1_does_not_even_come_to_the_gate() {
    let Some(folder) = folder("oci/ci-key-manifest-digest-error", 1) else { return };
    let bytes = fs::read(folder.join("subject-manifest.json")).unwrap();
    assert!(matches!(Manifest::parse(bytes.into(), None), Err(ManifestError::MediaType(_))));
}

/// The signed image is not among the fixtures, so only the signature itself can be checked.
#[test]
fn a_key_from_a_kms_verifies() {
    let Some(folder) = folder("oci/salrashid-kms-plus-keyless-gsa-2023", 1) else { return };
    let key = PublicKey::from_pem(&fs::read_to_string(folder.join("key.pub")).unwrap()).unwrap();
    let signatures = manifest(&folder.join("sig-manifest.json"));
    let made_with_key: Vec<bool> = signatures
        .image()
        .unwrap()
        .layers
        .iter()
        .map(|layer| {
            let text = layer.annotation("dev.cosignproject.cosign/signature").unwrap();
            let signature = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text).unwrap();
            key.verifies(&blob(&folder.join("blobs"), layer.digest), &signature)
        })
        .collect();
    assert_eq!(made_with_key, [true, false], "the second layer is keyless");
}

/// One image of the real servers.
pub struct Set {
    pub folder: PathBuf,
    pub meta: Value,
}

impl Set {
    pub fn all() -> Option<Vec<Self>> {
        let folder = folder("real-servers", 44)?;
        let names = json(&folder.join("list.json"));
        let sets = names.as_array().unwrap().iter().map(|name| {
            let folder = folder.join(name.as_str().unwrap());
            Self { meta: json(&folder.join("meta.json")), folder }
        });
        Some(sets.collect())
    }

    pub fn list(&self, key: &str) -> &[Value] {
        self.meta[key].as_array().map_or(&[], Vec::as_slice)
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("layout/blobs/sha256")
    }

    pub fn manifest(&self, digest: Digest) -> Manifest {
        Manifest::parse(blob(&self.blobs(), digest), None).unwrap()
    }

    /// The manifests of what was attached to the image.
    fn artefacts(&self) -> Vec<Manifest> {
        let all = self.list("bundles").iter().chain(self.list("classic"));
        all.map(|one| self.manifest(digest(&one["manifest"]))).collect()
    }

    /// All that may be a signature of `subject`.
    pub fn candidates(&self, subject: Digest) -> Vec<Candidate> {
        let mut found = Vec::new();
        for bundle in self.list("bundles").iter().filter(|bundle| digest(&bundle["subject"]) == subject) {
            let bytes = fs::read(self.folder.join(bundle["file"].as_str().unwrap())).unwrap();
            found.push(Candidate { place: "referrers".to_owned(), material: Material::Bundle(bytes.into()) });
        }
        for one in self.list("classic") {
            found.extend(classic(self.manifest(digest(&one["manifest"])).image().unwrap(), &self.blobs()));
        }
        found
    }
}

#[test]
fn images_from_the_real_servers_give_what_cosign_gives_with_a_key() {
    let Some(sets) = Set::all() else { return };
    assert_eq!(sets.len(), 44);
    let (mut wrong, mut keyed, mut keyless) = (Vec::new(), 0, 0);
    for set in &sets {
        for check in set.list("checks") {
            let name = check["name"].as_str().unwrap();
            let subject = digest(&check["digest"]);
            let key = check["key"].as_str();
            let repository = format!("registry.test/{}", set.meta["repository"].as_str().unwrap());
            let asked = Asked {
                manifest: set.manifest(subject),
                repository: &repository,
                candidates: set.candidates(subject),
                keys: vec![set.folder.join("..").join(key.unwrap_or("cosign.pub"))],
                require: Require::Any,
                reference: DockerReference::Ignore,
            };
            if name == "v2-key-as-keyless" {
                continue; // asked with a key, it is the same as `v2-key`
            }
            // cosign wanted a log entry there; our rules ask for none.
            let wanted_log = name.ends_with("-log-wanted");
            let allowed = key.is_some() && (check["expect"] == "pass" || wanted_log);
            *(if key.is_some() { &mut keyed } else { &mut keyless }) += 1;
            let outcome = asked.outcome();
            if allowed != outcome.ends_with(".pub") {
                wrong.push(format!("{name}: {outcome}, expected allowed: {allowed}"));
            }
        }
    }
    println!("{keyed} checks with a key, {keyless} keyless ones that a key must not satisfy");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_cosign_attaches_passes_and_what_it_signs_does_not() {
    let Some(sets) = Set::all() else { return };
    let rule = Rule::new("fixture".to_owned(), vec![], Enforcement::Enforce(Demand::default()));
    let repository = name("registry.test/acme/app");
    let pass = |manifest| trust::pass_artefact(manifest, &repository, &rule, Timestamp::UNIX_EPOCH);
    let mut passed = 0;
    for set in &sets {
        for manifest in set.artefacts() {
            let names: Vec<_> = manifest.named().map(|descriptor| descriptor.digest).collect();
            let artefact = pass(manifest).unwrap_or_else(|why| panic!("{}: {why}", set.folder.display()));
            for digest in names {
                let inspected = artefact.blob(digest).unwrap().inspect(blob(&set.blobs(), digest));
                inspected.unwrap_or_else(|why| panic!("{}: {digest}: {why}", set.folder.display()));
                passed += 1;
            }
        }
        let image = set.manifest(digest(&set.meta["image"]));
        for child in image.named() {
            assert!(pass(set.manifest(child.digest)).is_err());
        }
        assert!(pass(image).is_err());
    }
    println!("{passed} payloads and configs passed");
}
