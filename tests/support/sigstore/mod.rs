//! A private Sigstore for tests: authorities, logs and signatures that verify, and every way in which
//! they do not. It needs no network, no files and no clock.
//!
//! Somebody gets a certificate ([`CertificateRequest`]) or has a key ([`Signatory::with_key`]), signs, has it logged and
//! timestamped ([`Signed`]), and it becomes a [`Candidate`](assay::trust::Candidate) for the gate. Whoever judges it trusts what
//! [`Sigstore::trusted_root`] says. A test changes one thing on the way, and has the honest sibling beside it:
//!
//! ```ignore
//! let release = SIGSTORE.issue(&CertificateRequest::email("release@acme.test"));
//! let honest = SIGSTORE.sign_bundle(&release, image.digest);
//! let other = SIGSTORE.sign_bundle(&release, other_image.digest);
//! let root = SIGSTORE.trusted_root();
//!
//! assert_eq!(judge(&root, honest.candidate()), ALLOWED);
//! assert_eq!(judge(&root, honest.clone().swap_log_entry_with(&other).candidate()), REFUSED);
//! assert_eq!(judge(&root.transparency_logs_valid(Window::until(ISSUED_AT)), honest.candidate()), REFUSED);
//!
//! let no_sct = SIGSTORE.issue(&CertificateRequest::email("release@acme.test").flaw(Flaw::NoSct));
//! let step_by_step = Signed::classic(&no_sct, classic_payload("registry.test/acme/app", image.digest))
//!     .logged_by(&SIGSTORE.rekor_v1, SIGNED_AT)
//!     .timestamped_by(&SIGSTORE.timestamps, SIGNED_AT);
//! ```
//!
//! | to change | use |
//! | --- | --- |
//! | who signs, and what is wrong with the certificate | [`CertificateRequest`], [`Flaw`], [`KeyKind`] |
//! | what is signed, logged and timestamped, when and by whom | [`Signed`]'s constructors, `logged_*`, `timestamped_*` |
//! | a finished signature | `edits.rs`: `swap_*`, `edit_*`, `break_*`, `without_*`, `repeat_*` |
//! | whom the verifier trusts, and when | [`TrustedRoot`] |
//! | how it lies in a registry | [`Layout`], [`BundleVersion`]; [`Signed::classic_layer`], [`Signed::referrer`] |
#![allow(unused_imports, dead_code, reason = "tests and benches use different parts")]

use std::sync::LazyLock;

use assay::demo::{Statement, classic_payload};
use assay::oci::Digest;
use jiff::Timestamp;
use sha2::Digest as _;

mod authority;
mod candidate;
mod certificate;
mod ct_log;
mod edits;
mod entry;
mod entry_body;
mod key;
mod layout;
mod log;
mod merkle;
mod moment;
mod request;
mod signatory;
mod signed;
mod timestamp;
mod trusted_root;

pub use authority::CertificateAuthority;
pub use ct_log::CtLog;
pub use entry::{EntryKind, InclusionProof, LogEntry, Zeros};
pub use key::{Key, KeyKind, pem};
pub use layout::{
    CERTIFICATE_ANNOTATION, CHAIN_ANNOTATION, LOG_ANNOTATION, PREDICATE_ANNOTATION, Stored, TIMESTAMP_ANNOTATION,
};
pub use log::{Generation, TransparencyLog};
pub use moment::{BEGINNING, CERTIFICATE_LIFE, END, ISSUED_AT, SIGNED_AT, Window};
pub use request::{ACCOUNTS, CertificateRequest, Flaw, GITHUB, GITLAB, IssuerForm, San};
pub use signatory::Signatory;
pub use signed::{BundleVersion, Content, Layout, Signed};
pub use timestamp::TimestampAuthority;
pub use trusted_root::{Authority, Log, TrustedRoot};

/// The one that tests trust.
pub static SIGSTORE: LazyLock<Sigstore> = LazyLock::new(Sigstore::new);

/// Another of the same names, which tests do not trust.
pub static OTHER_SIGSTORE: LazyLock<Sigstore> = LazyLock::new(Sigstore::new);

/// Everything that a Sigstore runs. All of them have the same names, each has keys of its own.
pub struct Sigstore {
    pub authority: CertificateAuthority,
    pub ct_log: CtLog,
    pub rekor_v1: TransparencyLog,
    pub rekor_v2: TransparencyLog,
    pub timestamps: TimestampAuthority,
}

impl Default for Sigstore {
    fn default() -> Self {
        Self::new()
    }
}

impl Sigstore {
    pub fn new() -> Self {
        Self::with_intermediate_until(END)
    }

    /// The certificate that signs certificates ends at `until`; what it signs may outlive it.
    pub fn with_intermediate_until(until: Timestamp) -> Self {
        Self {
            authority: CertificateAuthority::new(until),
            ct_log: CtLog::new(),
            rekor_v1: TransparencyLog::v1(),
            rekor_v2: TransparencyLog::v2(),
            timestamps: TimestampAuthority::new(),
        }
    }

    /// The certificate of the authority's root ends at `until`; what lies below it outlives it.
    pub fn with_root_until(until: Timestamp) -> Self {
        Self { authority: CertificateAuthority::with_root_until(until, END), ..Self::new() }
    }

    /// Trusts all of this.
    pub fn trusted_root(&self) -> TrustedRoot {
        TrustedRoot {
            certificate_authorities: vec![Authority::certificates(&self.authority)],
            timestamp_authorities: vec![Authority::timestamps(&self.timestamps)],
            transparency_logs: vec![Log::transparency(&self.rekor_v1), Log::transparency(&self.rekor_v2)],
            certificate_logs: vec![Log::certificates(&self.ct_log)],
        }
    }

    pub fn trusted_root_json(&self) -> String {
        self.trusted_root().json()
    }

    /// The certificate that was asked for, with its key.
    pub fn issue(&self, request: &CertificateRequest) -> Signatory {
        certificate::issue(&self.authority, &self.ct_log, request)
    }

    /// As `cosign sign` 1 and 2 do: classic layout, Rekor v1.
    pub fn sign_classic(&self, by: &Signatory, docker_reference: &str, subject: Digest) -> Signed {
        Signed::classic(by, classic_payload(docker_reference, subject)).logged_by(&self.rekor_v1, SIGNED_AT)
    }

    /// As `cosign attest` 1 and 2 do: classic layout, Rekor v1.
    pub fn attest_classic(&self, by: &Signatory, statement: &Statement) -> Signed {
        self.attest(by, statement).laid_out(Layout::ClassicAttestation)
    }

    /// As `cosign sign` 3 does: bundle 0.3, Rekor v1.
    pub fn sign_bundle(&self, by: &Signatory, subject: Digest) -> Signed {
        self.attest(by, &Statement::signature(subject))
    }

    /// As `cosign sign` 3 does with the second Rekor: bundle 0.3, Rekor v2, timestamp authority.
    pub fn sign_bundle_v2(&self, by: &Signatory, subject: Digest) -> Signed {
        self.attest_v2(by, &Statement::signature(subject))
    }

    /// As `cosign attest` 3 does: bundle 0.3, Rekor v1.
    pub fn attest(&self, by: &Signatory, statement: &Statement) -> Signed {
        Signed::statement(by, statement).logged_by(&self.rekor_v1, SIGNED_AT)
    }

    /// As `cosign attest` 3 does with the second Rekor: bundle 0.3, Rekor v2, timestamp authority.
    pub fn attest_v2(&self, by: &Signatory, statement: &Statement) -> Signed {
        Signed::statement(by, statement)
            .logged_by(&self.rekor_v2, SIGNED_AT)
            .timestamped_by(&self.timestamps, SIGNED_AT)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}
