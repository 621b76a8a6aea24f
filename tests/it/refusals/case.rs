//! One question to the gate in parts: who signs what, what the log is told, what becomes of it on the way, whom the rule
//! trusts. Honest until a test changes a part.

use std::sync::LazyLock;

use assay::demo::{BuiltImage, IN_TOTO, ImageBuilder, Statement, classic_payload};
use assay::oci::{Digest, Manifest, Repository};
use assay::trust::{
    Candidate, Decision, Demand, Enforcement, Found, IdentitySigner, Judgement, KeySigner, Looked, Matcher, PublicKey,
    Rule, Search, Signer, TrustRoot, judge, judge_platform,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::support::sigstore::{
    BundleVersion, CertificateRequest, EntryKind, GITHUB, Key, KeyKind, Layout, SIGNED_AT, SIGSTORE, Signatory, Signed,
    Sigstore, TrustedRoot,
};

pub const REPOSITORY: &str = "registry.test/acme/app";
/// Who signs without a key of their own, as the certificate has it.
pub const WORKFLOW: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0";
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
pub const SECOND: SignedDuration = SignedDuration::from_secs(1);

pub static IMAGE: LazyLock<BuiltImage> = LazyLock::new(|| ImageBuilder::new("Hello").build());
pub static OTHER_IMAGE: LazyLock<BuiltImage> = LazyLock::new(|| ImageBuilder::new("Goodbye").build());
/// The release's key, with and without certificate.
pub static RELEASE: LazyLock<Key> = LazyLock::new(|| Key::new(KeyKind::P256));
pub static STRANGER: LazyLock<Key> = LazyLock::new(|| Key::new(KeyKind::P256));

/// How it is written down, and where it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Payload and annotations, Rekor v1.
    Classic,
    /// Bundle 0.1, Rekor v1.
    Bundle01,
    /// Bundle 0.2, Rekor v1.
    Bundle02,
    /// Bundle 0.3, Rekor v1: what cosign 3 writes for a private Sigstore.
    Bundle03,
    /// Bundle 0.3, Rekor v1 and a timestamp: what cosign 3 writes for the public one.
    Stamped,
    /// Bundle 0.3, Rekor v2 and a timestamp.
    RekorV2,
}

/// Whether there is a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// An identity.
    Keyless,
    /// A key.
    Key,
}

pub type Shape = (Form, By);

/// A question to the gate. Functions change what is there at that moment; all else is data.
#[derive(Clone)]
pub struct Case {
    pub form: Form,
    pub by: By,
    /// Whose authority and logs are used.
    pub sigstore: &'static Sigstore,
    /// The certificate, where there is one.
    pub request: CertificateRequest,
    /// The key, where there is no certificate.
    pub key: Key,
    /// What a bundle says.
    pub says: Statement,
    /// What a classic signature says.
    pub payload: Vec<u8>,
    pub payload_type: &'static str,
    /// Changes the bytes before they are signed.
    pub written: fn(&[u8]) -> Vec<u8>,
    /// The kind of log entry; what cosign would choose if absent.
    pub kind: Option<EntryKind>,
    /// Changes what the log is told.
    pub told: fn(&mut Value),
    pub logged_at: Timestamp,
    pub stamped_at: Timestamp,
    /// Changes the finished signature.
    pub edit: fn(Signed, &Self) -> Signed,
    /// Whether `says` is laid out as an attestation where layouts differ.
    pub attests: bool,
    /// Other candidates, behind this one.
    pub beside: Vec<Candidate>,
    /// In place of all candidates.
    pub found: Option<Vec<Candidate>>,
    pub looked_at: Vec<Looked>,
    pub roots: Vec<TrustedRoot>,
    /// Without its roots.
    pub demand: Demand,
    /// What is asked for: the index, unless a test says otherwise.
    pub asked: Manifest,
    /// Whether `asked` is judged as a platform of the index, whose signature is another.
    pub is_platform: bool,
    pub repository: Repository,
    pub now: Timestamp,
}

/// Allowed, or the code and the detail of the refusal.
pub type Outcome = Result<(), (&'static str, String)>;

impl Case {
    pub fn honest((form, by): Shape) -> Self {
        let signer = match by {
            By::Keyless => workflow(),
            By::Key => key(&RELEASE),
        };
        Self {
            form,
            by,
            sigstore: &SIGSTORE,
            request: CertificateRequest::github("acme/app", "release.yml", "refs/tags/v1.0.0").key(&RELEASE),
            key: RELEASE.clone(),
            says: Statement::signature(subject()),
            payload: classic_payload(REPOSITORY, subject()).into_bytes(),
            payload_type: IN_TOTO,
            written: <[u8]>::to_vec,
            kind: None,
            told: |_| {},
            logged_at: SIGNED_AT,
            stamped_at: SIGNED_AT,
            edit: |signed, _| signed,
            attests: false,
            beside: vec![],
            found: None,
            looked_at: vec![],
            roots: vec![SIGSTORE.trusted_root()],
            demand: Demand { signers: vec![signer], ..Demand::default() },
            asked: index(),
            is_platform: false,
            repository: REPOSITORY.parse().unwrap(),
            now: SIGNED_AT + SignedDuration::from_hours(24 * 30),
        }
    }

    pub fn signatory(&self) -> Signatory {
        match self.by {
            By::Keyless => self.sigstore.issue(&self.request),
            By::Key => Signatory::of(&self.key),
        }
    }

    /// Signed, but neither logged nor timestamped.
    pub fn bare(&self) -> Signed {
        let by = self.signatory();
        let version = match self.form {
            Form::Classic if self.attests => {
                let envelope = Signed::envelope(&by, self.payload_type, (self.written)(&self.says.bytes()));
                return envelope.laid_out(Layout::ClassicAttestation);
            }
            Form::Classic => return Signed::classic(&by, (self.written)(&self.payload)),
            Form::Bundle01 => BundleVersion::V01,
            Form::Bundle02 => BundleVersion::V02,
            Form::Bundle03 | Form::Stamped | Form::RekorV2 => BundleVersion::V03,
        };
        Signed::envelope(&by, self.payload_type, (self.written)(&self.says.bytes())).version(version)
    }

    /// Signed, logged and timestamped, and not changed since.
    pub fn signed(&self) -> Signed {
        let log = match self.form {
            Form::RekorV2 => &self.sigstore.rekor_v2,
            _ => &self.sigstore.rekor_v1,
        };
        let kind = self.kind.unwrap_or(match self.form {
            Form::Classic if !self.attests => EntryKind::HashedRekord001,
            Form::RekorV2 => EntryKind::HashedRekord002,
            _ => EntryKind::Dsse001,
        });
        let logged = self.bare().logged_saying(kind, &log.restarted(), self.logged_at, self.told);
        match self.form {
            Form::Stamped | Form::RekorV2 => logged.timestamped_by(&self.sigstore.timestamps, self.stamped_at),
            _ => logged,
        }
    }

    /// As the gate finds it.
    pub fn candidate(&self) -> Candidate {
        (self.edit)(self.signed(), self).candidate()
    }

    pub fn outcome(&self) -> Outcome {
        let name =
            |(n, root): (usize, &TrustedRoot)| TrustRoot::from_json(&format!("root {n}"), root.json().as_bytes());
        let roots = self.roots.iter().enumerate().map(|root| name(root).unwrap()).collect();
        let demand = Demand { roots, ..self.demand.clone() };
        let candidates = self.found.clone().unwrap_or_else(|| {
            let mut candidates = vec![self.candidate()];
            candidates.extend(self.beside.iter().cloned());
            candidates
        });
        let rule = Rule::new("acme".to_owned(), vec![], Enforcement::Enforce(demand));
        let search = Search { candidates, looked_at: self.looked_at.clone() };
        let judged = if self.is_platform {
            self.as_platform(&rule, &search)
        } else {
            judge(self.asked.clone(), &self.repository, &rule, &search, self.now)
        };
        match judged {
            Judgement::Allow(verified) => {
                assert!(verified.verdict().is_verified());
                Ok(())
            }
            Judgement::Refuse(verdict) => {
                let (reason, detail) = verdict.refusal().expect("a refusal has a reason");
                Err((reason.code(), detail.to_owned()))
            }
            Judgement::Unknown(verdict) => match &verdict.decision {
                Decision::Unknown { detail } => Err(("UNKNOWN", detail.clone())),
                other => panic!("unknown, with {other:?}"),
            },
        }
    }

    /// The index that names it is signed as the rule wants; what is attested about it is the question.
    fn as_platform(&self, rule: &Rule, search: &Search) -> Judgement {
        let honest = Self::honest((self.form, self.by)).candidate();
        let index_search = Search { candidates: vec![honest], looked_at: vec![] };
        let Judgement::Allow(verified) = judge(index(), &self.repository, rule, &index_search, self.now) else {
            panic!("the index is signed");
        };
        let admitted = verified.manifest(self.asked.digest()).expect("the index names it");
        let platform = admitted.open(self.asked.clone()).unwrap();
        judge_platform(platform, &self.repository, rule, search, self.now)
    }

    /// About another image, by the same signer.
    #[must_use]
    pub fn about(&self, digest: Digest) -> Self {
        let mut case = self.clone();
        case.edit = |signed, _| signed;
        case.says = Statement { subject: Statement::signature(digest).subject, ..self.says.clone() };
        case.payload = classic_payload(REPOSITORY, digest).into_bytes();
        case
    }

    /// The same, by a newly made key, in a certificate of the same identity if there is one.
    #[must_use]
    pub fn with_another_key(&self) -> Self {
        let key = Key::new(KeyKind::P256);
        let request = self.request.clone().key(&key);
        Self { key, request, edit: |signed, _| signed, ..self.clone() }
    }

    /// A statement of another kind.
    pub fn attest(&mut self, predicate_type: &str, predicate: Value) {
        self.says = Statement::attestation(subject(), predicate_type, predicate);
    }

    /// Attests, and the honest signature lies beside it.
    pub fn attest_beside(&mut self, predicate_type: &str, predicate: Value) {
        self.beside.push(self.candidate());
        self.attest(predicate_type, predicate);
        self.attests = true;
    }

    /// Trusts these identities instead.
    pub fn trust(&mut self, signers: impl Into<Vec<Signer>>) {
        self.demand.signers = signers.into();
    }

    /// The only trusted root, to be changed.
    pub fn root(&mut self, change: impl FnOnce(TrustedRoot) -> TrustedRoot) {
        let root = self.roots.remove(0);
        self.roots.insert(0, change(root));
    }
}

/// As the gate knows it.
pub fn trusted(name: &str, root: &TrustedRoot) -> TrustRoot {
    TrustRoot::from_json(name, root.json().as_bytes()).unwrap()
}

/// The identity that signs releases.
pub fn workflow() -> Signer {
    identity(Matcher::exact(GITHUB), Matcher::exact(WORKFLOW))
}

pub fn identity(issuer: Matcher, identity: Matcher) -> Signer {
    Signer::Identity(IdentitySigner::new(issuer, identity))
}

pub fn key(key: &Key) -> Signer {
    Signer::Key(key_signer(key))
}

pub fn key_signer(key: &Key) -> KeySigner {
    let key = PublicKey::from_pem(&key.public_pem()).unwrap();
    KeySigner { name: "release".to_owned(), key, not_before: None, not_after: None }
}

pub fn index() -> Manifest {
    Manifest::parse(IMAGE.index.bytes.clone(), None).unwrap()
}

/// The image manifest for amd64, which the index names.
pub fn platform() -> Manifest {
    Manifest::parse(IMAGE.platforms[0].manifest.bytes.clone(), None).unwrap()
}

/// The digest that is signed.
pub fn subject() -> Digest {
    IMAGE.index.digest
}

pub fn other() -> Digest {
    OTHER_IMAGE.index.digest
}

pub fn nothing_at(place: &str) -> Looked {
    Looked { place: place.to_owned(), found: Found::Nothing }
}
