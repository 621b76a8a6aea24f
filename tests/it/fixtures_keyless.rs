//! Keyless signatures, and keys with a log entry, that others made: the public Sigstore, the real servers on loopback,
//! and the sigstore-conformance suite. Read from `../shared/fixtures` where that is there; not part of this project.

use std::fs;
use std::path::Path;

use assay::oci::{Digest, Manifest};
use assay::trust::{
    self, Artifact, Candidate, Demand, Enforcement, IdentitySigner, Judgement, KeySigner, Matcher, Material, PublicKey,
    Reason, Rule, Search, Signer, Tlog, Trust, TrustRoot, verify_bundle,
};
use jiff::Timestamp;
use serde_json::Value;

use super::fixtures::{Set, blob, classic, digest, folder, json, manifest, name};

fn key(path: &Path) -> Signer {
    named(PublicKey::from_pem(&fs::read_to_string(path).unwrap()).unwrap())
}

fn named(key: PublicKey) -> Signer {
    Signer::Key(KeySigner { name: "key.pub".to_owned(), key, not_before: None, not_after: None })
}

fn identity(issuer: &str, identity: &str) -> Signer {
    Signer::Identity(IdentitySigner::new(Matcher::exact(issuer), Matcher::exact(identity)))
}

fn root(path: &Path) -> TrustRoot {
    TrustRoot::from_json("fixture", &fs::read(path).unwrap()).unwrap()
}

fn outcome(manifest: Manifest, candidates: Vec<Candidate>, demand: Demand) -> String {
    let rule = Rule::new("fixture".to_owned(), vec![], Enforcement::Enforce(demand));
    let search = Search { candidates, looked_at: vec![] };
    let now: Timestamp = "2026-12-01T00:00:00Z".parse().unwrap();
    match trust::judge(manifest, &name("registry.test/acme/app"), &rule, &search, now) {
        Judgement::Allow(_) => "allowed".to_owned(),
        Judgement::Refuse(verdict) => {
            let (reason, detail) = verdict.refusal().unwrap();
            format!("{}: {detail}", reason.code())
        }
        Judgement::Unknown(_) => "unknown".to_owned(),
    }
}

#[test]
fn all_cases_of_the_conformance_suite_by_file_and_by_digest() {
    let Some(folder) = folder("conformance/bundle-verify", 70) else { return };
    const ISSUER: &str = "https://token.actions.githubusercontent.com";
    const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
    let cases: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    assert_eq!(cases.len(), 70);
    let (mut wrong, mut passed) = (Vec::new(), 0);
    for case in cases {
        let text = |file: &str, default: &str| {
            fs::read_to_string(case.join(file)).map_or_else(|_| default.to_owned(), |text| text.trim().to_owned())
        };
        let own = |file: &str| Some(case.join(file)).filter(|path| path.exists());
        let signer = match own("key.pub") {
            Some(path) => PublicKey::from_pem(&fs::read_to_string(path).unwrap()).map(named).map_err(|e| e.to_string()),
            None => Ok(identity(&text("issuer", ISSUER), &text("identity", IDENTITY))),
        };
        let root = match own("trusted_root.json") {
            Some(path) => TrustRoot::from_json("given", &fs::read(path).unwrap()),
            None => TrustRoot::public_good(),
        };
        let artifact = fs::read(own("artifact").unwrap_or_else(|| folder.join("a.txt"))).unwrap();
        let bundle = fs::read(case.join("bundle.sigstore.json")).unwrap();
        for subject in [Artifact::Bytes(&artifact), Artifact::Digest(Digest::of(&artifact))] {
            // A root or a key that cannot be used is found when it is read, before any bundle.
            let result = root.as_ref().map_err(ToString::to_string).and_then(|root| {
                let signer = signer.as_ref().map_err(Clone::clone)?;
                let trust = Trust { roots: std::slice::from_ref(root), now: Timestamp::now() };
                verify_bundle(&bundle, subject, signer, Tlog::Required, trust).map_err(|failure| failure.to_string())
            });
            let should = !case.to_str().unwrap().ends_with("_fail");
            if result.is_ok() == should {
                passed += 1;
            } else {
                wrong.push(format!("{}: {:?}", case.display(), result.err()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(passed, 140);
}

#[test]
fn public_keyless_images_give_the_outcomes_that_were_measured() {
    let Some(folder) = folder("oci", 14) else { return };
    let github = "https://github.com/login/oauth";
    let mut wrong = Vec::new();
    for (set, signer, expected) in [
        ("ci-fulcio-rekor-valid", Some((github, "mitr@redhat.com")), "allowed"),
        ("ci-fulcio-rekor-valid", Some((github, "mitr@redhat.com.evil.test")), Reason::WrongIdentity.code()),
        (
            "ci-fulcio-rekor-valid",
            Some(("https://accounts.google.com", "mitr@redhat.com")),
            Reason::WrongIdentity.code(),
        ),
        ("ci-fulcio-rekor-valid", None, Reason::UntrustedKey.code()),
        ("connaisseur-keyless", Some((github, "philipp.belitz@securesystems.de")), "allowed"),
        ("connaisseur-keyless", Some((github, "philipp@securesystems.de")), Reason::WrongIdentity.code()),
        // A certificate of somebody's own authority.
        ("ci-pki-valid", Some((github, "mitr@redhat.com")), Reason::NotInLog.code()),
        ("ci-key-rekor-valid", None, "allowed"),
        ("ci-key-rekor-valid", Some((github, "mitr@redhat.com")), Reason::UntrustedKey.code()),
        // Without a log entry, and the rule asks for one.
        ("ci-key-valid", None, Reason::NotInLog.code()),
    ] {
        let set_folder = folder.join(set);
        let signer = match signer {
            Some((issuer, subject)) => identity(issuer, subject),
            None if set_folder.join("key.pub").exists() => key(&set_folder.join("key.pub")),
            None => key(&folder.join("ci-key-valid/key.pub")),
        };
        let signatures = manifest(&set_folder.join("sig-manifest.json"));
        let candidates = classic(signatures.image().unwrap(), &set_folder.join("blobs"));
        let roots = vec![TrustRoot::public_good().unwrap()];
        let demand = Demand { signers: vec![signer.clone()], roots, ..Demand::default() };
        let found = outcome(manifest(&set_folder.join("subject-manifest.json")), candidates, demand);
        if found.split(':').next() != Some(expected) {
            wrong.push(format!("{set}, {signer:?}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The signed image is not there, so that everything passes but the subject.
#[test]
fn a_service_account_of_google_verifies() {
    let Some(folder) = folder("oci/salrashid-kms-plus-keyless-gsa-2023", 1) else { return };
    let meta = json(&folder.join("meta.json"));
    let text = |key: &str| meta[key].as_str().unwrap().to_owned();
    let signatures = manifest(&folder.join("sig-manifest.json"));
    let candidates = classic(signatures.image().unwrap(), &folder.join("blobs"));
    let found = |issuer: &str| {
        let signers = vec![identity(issuer, &text("identity"))];
        let demand = Demand { signers, roots: vec![TrustRoot::public_good().unwrap()], ..Demand::default() };
        outcome(signatures.clone(), candidates.clone(), demand)
    };
    let wrong_subject = found(&text("issuer"));
    assert!(
        wrong_subject.starts_with("WRONG_SUBJECT") && wrong_subject.contains(&text("signed_digest")),
        "{wrong_subject}"
    );
    let other_issuer = found("https://evil.test");
    assert!(other_issuer.starts_with("WRONG_IDENTITY"), "{other_issuer}");
}

#[test]
fn the_generated_sigstore_gives_what_its_file_names_say() {
    let Some(folder) = folder("generated", 14) else { return };
    const ISSUER: &str = "https://token.actions.githubusercontent.com";
    const IDENTITY: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1";
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let candidates = match file.split('-').next() {
            Some("legacy") => {
                // Without a config, these are no manifests: read as what they are.
                let read = json(&path);
                let layers = read["layers"].as_array().unwrap().iter();
                layers.map(|layer| of_layer(layer, &folder.join("blobs"))).collect()
            }
            Some("bundle") => {
                let material = Material::Bundle(fs::read(&path).unwrap().into());
                vec![Candidate { place: file.clone(), material }]
            }
            _ => continue,
        };
        count += 1;
        let signer = if file == "legacy-key-ok" { key(&folder.join("key.pub")) } else { identity(ISSUER, IDENTITY) };
        let roots = vec![root(&folder.join("trusted_root.json"))];
        let demand = Demand { signers: vec![signer], roots, ..Demand::default() };
        let found = outcome(manifest(&folder.join("index.json")), candidates, demand);
        if (found == "allowed") == file.ends_with("_fail") {
            wrong.push(format!("{file}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(count, 14);
}

fn of_layer(layer: &Value, blobs: &Path) -> Candidate {
    let payload = blob(blobs, digest(&layer["digest"]));
    let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
    Candidate { place: "layer".to_owned(), material: Material::Classic { payload, annotations } }
}

/// Where we decide otherwise than cosign 3.1.3, and why.
const DIFFERENCES: [(&str, &str); 3] = [
    ("v2-attest-only", "NOT_A_SIGNATURE: an attestation is no signature, cosign takes it for one"),
    ("forged-v2-log-body", "NOT_IN_LOG: the log's body is another, cosign makes its own from the bundle"),
    ("mixed-classic-good", "allowed: the classic signature is good, cosign does not look at it once there is a bundle"),
];

#[test]
fn images_from_the_real_servers_give_what_cosign_gives() {
    let Some(sets) = Set::all() else { return };
    let (mut wrong, mut same, mut different) = (Vec::new(), 0, Vec::new());
    for set in &sets {
        let top = set.folder.join("..");
        for check in set.list("checks").iter().filter(|check| check["command"] == "verify") {
            let name = check["name"].as_str().unwrap();
            let flags = check["flags"].as_str().unwrap_or_default();
            let signer = match (check["key"].as_str(), check["issuer"].as_str(), check["identity"].as_str()) {
                (Some(file), ..) => key(&top.join(file)),
                (None, Some(issuer), Some(subject)) => with_claims(identity(issuer, subject), flags),
                _ => panic!("{name}: nobody may sign"),
            };
            let annotation = flags.split("-a ").nth(1).and_then(|rest| rest.split_whitespace().next());
            let demand = Demand {
                signers: vec![signer],
                roots: vec![root(&top.join(check["trustedRoot"].as_str().unwrap_or("trusted_root.json")))],
                tlog: if flags.contains("--insecure-ignore-tlog") { Tlog::Off } else { Tlog::Required },
                annotations: annotation
                    .and_then(|text| text.split_once('='))
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into_iter()
                    .collect(),
                ..Demand::default()
            };
            let subject = digest(&check["digest"]);
            let found = outcome(set.manifest(subject), set.candidates(subject), demand);
            if (found == "allowed") == (check["expect"] == "pass") {
                same += 1;
                continue;
            }
            let reason = DIFFERENCES.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason);
            match reason.filter(|reason| reason.split(':').next() == found.split(':').next()) {
                Some(reason) => different.push(format!("{name}: {reason}")),
                None => wrong.push(format!("{name}: {found}; cosign: {}", check["expect"])),
            }
        }
    }
    println!("{same} as cosign, {} otherwise on purpose:\n{}", different.len(), different.join("\n"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn with_claims(signer: Signer, flags: &str) -> Signer {
    let Signer::Identity(mut signer) = signer else { return signer };
    for (flag, claim) in [
        ("--certificate-github-workflow-repository=", "github_workflow_repository"),
        ("--certificate-github-workflow-ref=", "github_workflow_ref"),
        ("--certificate-github-workflow-trigger=", "github_workflow_trigger"),
    ] {
        if let Some(value) = flags.split(flag).nth(1).and_then(|rest| rest.split_whitespace().next()) {
            signer.claims.insert(claim.to_owned(), Matcher::exact(value));
        }
    }
    Signer::Identity(signer)
}
