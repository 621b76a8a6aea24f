//! Honest material, in parts that a test can change before or after they are signed.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use assay::demo::{
    BuiltImage, BundleSignature, ClassicSignature, IN_TOTO, ImageBuilder, SIGNATURE_ANNOTATION, Signer, Statement,
    classic_payload, pae,
};
use assay::oci::{Digest, Manifest, Repository};
use assay::trust::{
    self, Candidate, Decision, Demand, DockerReference, Enforcement, Found, Judgement, KeySigner, Looked, Material,
    Pattern, PublicKey, Reason, Require, Rule, Search, Tlog, danger, judge,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

pub const REPOSITORY: &str = "registry.test/acme/app";

/// Signers and images that all tests share; making keys takes time.
pub struct World {
    pub release: Signer,
    pub second: Signer,
    pub stranger: Signer,
    pub image: BuiltImage,
    pub other_image: BuiltImage,
}

pub static WORLD: LazyLock<World> = LazyLock::new(|| World {
    release: Signer::generate().unwrap(),
    second: Signer::generate().unwrap(),
    stranger: Signer::generate().unwrap(),
    image: ImageBuilder::new("Hello").build(),
    other_image: ImageBuilder::new("Goodbye").build(),
});

impl World {
    pub fn index(&self) -> Manifest {
        parse(&self.image.index.bytes)
    }

    /// The image manifest for amd64, which the index names.
    pub fn child(&self) -> Manifest {
        parse(&self.image.platforms[0].manifest.bytes)
    }

    /// The digest that is signed.
    pub fn subject(&self) -> Digest {
        self.image.index.digest
    }
}

pub fn parse(bytes: &bytes::Bytes) -> Manifest {
    Manifest::parse(bytes.clone(), None).unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn repository(text: &str) -> Repository {
    text.parse().unwrap()
}

/// The signer's public key, as a rule names it.
pub fn key(name: &str, signer: &Signer) -> KeySigner {
    let key = PublicKey::from_pem(&signer.public_key_pem()).unwrap();
    KeySigner { name: name.to_owned(), key, not_before: None, not_after: None }
}

/// cosign's two layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Classic,
    Bundle,
}

pub const LAYOUTS: [Layout; 2] = [Layout::Classic, Layout::Bundle];

/// A classic signature on its way to the gate.
pub struct Classic {
    pub signer: &'static Signer,
    /// What is signed.
    pub payload: Vec<u8>,
    /// What is shown instead of what was signed.
    pub shown: Option<Vec<u8>>,
    /// The annotation's text instead of the honest one.
    pub signature: Option<String>,
    pub annotations: BTreeMap<String, String>,
}

/// A bundle on its way to the gate.
pub struct Bundle {
    pub signer: &'static Signer,
    pub payload_type: String,
    /// What is signed.
    pub payload: Vec<u8>,
    /// What is shown instead of what was signed.
    pub shown: Option<Vec<u8>>,
    /// Instead of the one honest signature.
    pub signatures: Option<Vec<Vec<u8>>>,
    /// Changes in the finished bundle, and in its text.
    pub json: fn(&mut Value),
    pub text: fn(String) -> Vec<u8>,
}

/// Replaces `from`, which must be there.
pub fn edited(text: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.contains(from), "`{from}` is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

impl Classic {
    pub fn honest() -> Self {
        Self {
            signer: &WORLD.release,
            payload: classic_payload(REPOSITORY, WORLD.subject()).into_bytes(),
            shown: None,
            signature: None,
            annotations: BTreeMap::new(),
        }
    }

    pub fn candidate(self) -> Candidate {
        let mut made = ClassicSignature::over(self.signer, self.payload);
        made.annotations.extend(self.annotations);
        if let Some(text) = self.signature {
            made.annotations.insert(SIGNATURE_ANNOTATION.to_owned(), text);
        }
        let payload = self.shown.map_or(made.payload, Into::into);
        candidate("tag .sig", Material::Classic { payload, annotations: made.annotations })
    }

    /// The annotation's text for these signature bytes.
    pub fn signed_with(&mut self, signature: &[u8]) {
        self.signature = Some(STANDARD.encode(signature));
    }
}

impl Bundle {
    pub fn honest() -> Self {
        Self::saying(&Statement::signature(WORLD.subject()))
    }

    pub fn saying(statement: &Statement) -> Self {
        Self {
            signer: &WORLD.release,
            payload_type: IN_TOTO.to_owned(),
            payload: statement.bytes(),
            shown: None,
            signatures: None,
            json: |_| {},
            text: String::into_bytes,
        }
    }

    pub fn candidate(self) -> Candidate {
        let mut made = BundleSignature::over(self.signer, &self.payload_type, self.payload);
        made.payload = self.shown.unwrap_or(made.payload);
        made.signatures = self.signatures.unwrap_or(made.signatures);
        let mut json = made.json();
        (self.json)(&mut json);
        candidate("referrers", Material::Bundle((self.text)(json.to_string()).into()))
    }

    /// A good signature over something else of the same type.
    pub fn sign_other(&mut self, payload: &[u8]) {
        self.signatures = Some(vec![self.signer.sign(&pae(&self.payload_type, payload))]);
    }
}

pub fn candidate(place: &str, material: Material) -> Candidate {
    Candidate { place: place.to_owned(), material }
}

pub fn looked(place: &str, found: Found) -> Looked {
    Looked { place: place.to_owned(), found }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    Audit,
    Off,
}

/// A whole question to the gate.
pub struct Scene {
    pub repository: Repository,
    pub manifest: Manifest,
    pub search: Search,
    pub signers: Vec<KeySigner>,
    pub require: Require,
    pub reference: DockerReference,
    pub mode: Mode,
    pub now: Timestamp,
}

impl Scene {
    /// Signed by the right key, in this layout.
    pub fn honest(layout: Layout) -> Self {
        Self::with([match layout {
            Layout::Classic => Classic::honest().candidate(),
            Layout::Bundle => Bundle::honest().candidate(),
        }])
    }

    pub fn with(candidates: impl Into<Vec<Candidate>>) -> Self {
        let candidates = candidates.into();
        Self {
            repository: repository(REPOSITORY),
            manifest: WORLD.index(),
            search: Search { looked_at: vec![looked("referrers", Found::Candidates(candidates.len()))], candidates },
            signers: vec![key("release", &WORLD.release)],
            require: Require::Any,
            reference: DockerReference::Ignore,
            mode: Mode::Enforce,
            now: at("2026-06-01T00:00:00Z"),
        }
    }

    pub fn rule(&self) -> Rule {
        let demand = Demand {
            require: self.require,
            signers: self.signers.iter().cloned().map(trust::Signer::Key).collect(),
            docker_reference: self.reference.clone(),
            tlog: Tlog::Off,
            ..Demand::default()
        };
        let enforcement = match self.mode {
            Mode::Enforce => Enforcement::Enforce(demand),
            Mode::Audit => Enforcement::Audit(demand),
            Mode::Off => Enforcement::Off(danger::Unsigned::as_written_by_the_operator()),
        };
        Rule::new("acme".to_owned(), vec![Pattern::parse("registry.test/acme/**").unwrap()], enforcement)
    }

    pub fn judge(&self) -> Judgement {
        judge(self.manifest.clone(), &self.repository, &self.rule(), &self.search, self.now)
    }

    pub fn outcome(&self) -> String {
        outcome(&self.judge())
    }
}

/// A judgement in two words: `allow verified`, `refuse NO_SIGNATURE`, `unknown`.
pub fn outcome(judgement: &Judgement) -> String {
    match judgement {
        Judgement::Allow(verified) => format!("allow {}", verified.verdict().outcome()),
        Judgement::Refuse(verdict) => match &verdict.decision {
            Decision::Refused { reason, .. } => format!("refuse {}", reason.code()),
            other => panic!("refused with {other:?}"),
        },
        Judgement::Unknown(verdict) => {
            assert!(matches!(verdict.decision, Decision::Unknown { .. }));
            "unknown".to_owned()
        }
    }
}

pub const ALLOWED: &str = "allow verified";

pub fn refused(reason: Reason) -> String {
    format!("refuse {}", reason.code())
}

/// Fails with all that went wrong, not only the first.
pub fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
