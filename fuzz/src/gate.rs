//! One candidate before the gate, under rules that name a key, an identity, and a trusted root.
//!
//! The private keys of all three were thrown away when the seeds were made (`tests/it/fuzz_seeds.rs`, which uses this
//! file, too), so nothing that a fuzzer makes is ever signed by them.

use std::sync::LazyLock;

use assay::oci::{Manifest, Repository};
use assay::trust::{
    About, AttestationDemand, Candidate, Condition, Demand, Enforcement, IdentitySigner, Judgement, KeySigner, Matcher,
    Material, PublicKey, Require, Rule, Search, Signer, Tlog, TrustRoot, judge,
};
use jiff::Timestamp;

/// Who signed the seeds, besides the key.
pub const IDENTITY: &str = "release@acme.test";
pub const ISSUER: &str = "https://accounts.acme.test";
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
pub const BUILDER: &str = "https://builder.acme.test/v1";
/// Behind the moment at which the seeds were signed.
const NOW: &str = "2026-11-01T00:00:00Z";

/// Whom the rules trust.
pub struct Trusted {
    pub root: TrustRoot,
    pub signers: Vec<Signer>,
}

/// As the seeds need it.
pub static TRUSTED: LazyLock<Trusted> = LazyLock::new(|| {
    let pem = include_str!("../trusted/key.pem");
    let key = PublicKey::from_pem(pem).expect("the key that is committed");
    let root = include_bytes!("../trusted/trusted_root.json");
    let identity = IdentitySigner::new(Matcher::exact(ISSUER), Matcher::expression(IDENTITY).expect("it is one"));
    Trusted {
        root: TrustRoot::from_json("seeds", root).expect("the root that is committed"),
        signers: vec![key_signer(key), Signer::Identity(identity)],
    }
});

/// A signature with proof from the log, one that needs none, and an attestation.
static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let demand = |tlog| signature(&TRUSTED.signers, tlog);
    let attested = Demand { tlog: Tlog::Optional, ..attestation(&TRUSTED.signers) };
    vec![rule(demand(Tlog::Required)), rule(demand(Tlog::Off)), rule(attested)]
});

/// A key that people know by this name.
pub fn key_signer(key: PublicKey) -> Signer {
    Signer::Key(KeySigner { name: "key".to_owned(), key, not_before: None, not_after: None })
}

/// Signed by one of these.
pub fn signature(signers: &[Signer], tlog: Tlog) -> Demand {
    Demand { signers: signers.to_vec(), tlog, roots: vec![TRUSTED.root.clone()], ..Demand::default() }
}

/// Nothing but a provenance by one of these, which names the builder.
pub fn attestation(signers: &[Signer]) -> Demand {
    let asked = AttestationDemand {
        predicate_type: PROVENANCE.to_owned(),
        about: About::Index,
        require: Require::Any,
        signers: signers.to_vec(),
        conditions: vec![Condition::builder_id(Matcher::exact(BUILDER))],
    };
    Demand { attestations: vec![asked], attestations_only: true, ..signature(&[], Tlog::Off) }
}

/// Enforces a demand.
pub fn rule(demand: Demand) -> Rule {
    Rule::new("fuzz".to_owned(), vec![], Enforcement::Enforce(demand))
}

/// The image that the seeds are about.
pub fn signed_image() -> Manifest {
    image("signed")
}

/// An image that nobody signed.
pub fn unsigned_image() -> Manifest {
    image("unsigned")
}

fn image(name: &str) -> Manifest {
    let text = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{{"name":"{name}"}}}}"#
    );
    Manifest::parse(text.into(), None).expect("an index")
}

/// What the gate says of one candidate.
pub fn judged(manifest: Manifest, material: Material, rule: &Rule) -> Judgement {
    let candidate = Candidate { place: "fuzz".to_owned(), material };
    let search = Search { candidates: vec![candidate], looked_at: vec![] };
    let repository: Repository = "registry.test/acme/app".parse().expect("a name");
    judge(manifest, &repository, rule, &search, NOW.parse::<Timestamp>().expect("a time"))
}

/// Whether one of the rules allows this image with this candidate. What is refused counts for nobody, and
/// "could not check" is never the word for what was found.
pub fn is_allowed(manifest: &Manifest, material: &Material) -> bool {
    RULES.iter().any(|rule| match judged(manifest.clone(), material.clone(), rule) {
        Judgement::Allow(_) => true,
        Judgement::Refuse(verdict) => {
            let nobody = verdict.candidates.iter().all(|seen| seen.signers.is_empty() && seen.attestations.is_empty());
            assert!(nobody, "refused, and yet it counts: {verdict:?}");
            assert!(verdict.refusal().is_some());
            false
        }
        Judgement::Unknown(verdict) => panic!("nothing failed here: {verdict:?}"),
    })
}
