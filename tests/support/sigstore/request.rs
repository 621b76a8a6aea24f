//! What a signer asks the authority for: who they are, and everything that can be wrong with the
//! certificate they get.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::key::{Key, KeyKind};
use super::moment::{CERTIFICATE_LIFE, ISSUED_AT};

/// Who vouches for e-mail addresses, unless a test says otherwise.
pub const ACCOUNTS: &str = "https://accounts.acme.test";
/// Who vouches for GitHub's workflows.
pub const GITHUB: &str = "https://token.actions.githubusercontent.com";
/// Who vouches for GitLab's pipelines.
pub const GITLAB: &str = "https://gitlab.com";

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A name in the certificate (`subjectAltName`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    Email(String),
    Uri(String),
    /// Fulcio's `OtherName` 1.3.6.1.4.1.57264.1.7.
    Username(String),
    /// An `OtherName` of another type, the user name of Microsoft's directories, as text.
    OtherUsername(String),
}

/// Which extensions name the identity's issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerForm {
    /// 1.1 and 1.8, as Fulcio does.
    Both,
    /// 1.1 only, as old certificates do.
    Old,
    /// 1.8 only.
    New,
    /// None at all.
    Missing,
}

/// What is wrong with a certificate, and only that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// For servers instead of for code signing.
    WrongUsage,
    /// For anything: no extended key usage.
    NoUsage,
    /// Without a certificate timestamp.
    NoSct,
    /// With two good ones.
    TwoScts,
    /// By a log that nobody trusts.
    SctByAnotherLog,
    /// By the right log, over another certificate.
    SctOverAnother,
    /// By an authority of the same name with another key.
    OtherAuthority,
    /// By itself.
    SelfSigned,
}

/// A signer's certificate as it is wished for, for one key. Every part may be changed. Issuing twice gives two
/// certificates for the same key.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    pub names: Vec<San>,
    pub issuer: String,
    pub issuer_form: IssuerForm,
    /// Extensions 1.3.6.1.4.1.57264.1.n, by n.
    pub claims: BTreeMap<u64, String>,
    pub key: Key,
    pub not_before: Timestamp,
    pub life: SignedDuration,
    /// When the certificate was logged.
    pub logged_at: Timestamp,
    pub flaw: Option<Flaw>,
}

impl CertificateRequest {
    /// A person, vouched for by [`ACCOUNTS`].
    pub fn email(address: &str) -> Self {
        Self::named(San::Email(address.to_owned()), ACCOUNTS).claim(24, address)
    }

    /// A workload, vouched for by `issuer`.
    pub fn uri(uri: &str, issuer: &str) -> Self {
        Self::named(San::Uri(uri.to_owned()), issuer)
    }

    /// A name that is neither an address nor a URI, such as `alice!acme.test`.
    pub fn username(name: &str) -> Self {
        Self::named(San::Username(name.to_owned()), ACCOUNTS)
    }

    /// A workflow on GitHub: `github("acme/app", "release.yml", "refs/tags/v1.0.0")`.
    pub fn github(repository: &str, workflow: &str, git_ref: &str) -> Self {
        let source = format!("https://github.com/{repository}");
        let config = format!("{source}/.github/workflows/{workflow}@{git_ref}");
        Self::uri(&config, GITHUB)
            .claim(2, "push")
            .claim(3, COMMIT)
            .claim(4, "Release")
            .claim(5, repository)
            .claim(6, git_ref)
            .pipeline(&source, &config, git_ref)
            .claim(11, "github-hosted")
            .claim(21, &format!("{source}/actions/runs/300003/attempts/1"))
            .claim(24, &format!("repo:{repository}:ref:{git_ref}"))
    }

    /// A pipeline on GitLab: `gitlab("acme/app", "refs/tags/v1.0.0")`.
    pub fn gitlab(project: &str, git_ref: &str) -> Self {
        let source = format!("https://gitlab.com/{project}");
        let config = format!("{source}//.gitlab-ci.yml@{git_ref}");
        let (kind, name) = match git_ref.strip_prefix("refs/tags/") {
            Some(tag) => ("tag", tag),
            None => ("branch", git_ref.trim_start_matches("refs/heads/")),
        };
        Self::uri(&config, GITLAB)
            .pipeline(&source, &config, git_ref)
            .claim(11, "gitlab-hosted")
            .claim(21, &format!("{source}/-/jobs/400004"))
            .claim(24, &format!("project_path:{project}:ref_type:{kind}:ref:{name}"))
    }

    /// What certificates for every kind of pipeline say.
    fn pipeline(self, source: &str, config: &str, git_ref: &str) -> Self {
        let (owner, _) = source.rsplit_once('/').unwrap();
        self.claim(9, config)
            .claim(10, COMMIT)
            .claim(12, source)
            .claim(13, COMMIT)
            .claim(14, git_ref)
            .claim(15, "100001")
            .claim(16, owner)
            .claim(17, "200002")
            .claim(18, config)
            .claim(19, COMMIT)
            .claim(20, "push")
            .claim(22, "public")
    }

    fn named(name: San, issuer: &str) -> Self {
        Self {
            names: vec![name],
            issuer: issuer.to_owned(),
            issuer_form: IssuerForm::Both,
            claims: BTreeMap::new(),
            key: Key::new(KeyKind::P256),
            not_before: ISSUED_AT,
            life: CERTIFICATE_LIFE,
            logged_at: ISSUED_AT,
            flaw: None,
        }
    }

    /// One more name, behind those that are there.
    #[must_use]
    pub fn also_named(mut self, name: San) -> Self {
        self.names.push(name);
        self
    }

    #[must_use]
    pub fn issuer(mut self, issuer: &str) -> Self {
        issuer.clone_into(&mut self.issuer);
        self
    }

    #[must_use]
    pub fn issuer_form(mut self, form: IssuerForm) -> Self {
        self.issuer_form = form;
        self
    }

    /// Sets the extension 1.3.6.1.4.1.57264.1.`number`.
    #[must_use]
    pub fn claim(mut self, number: u64, value: &str) -> Self {
        self.claims.insert(number, value.to_owned());
        self
    }

    #[must_use]
    pub fn without_claim(mut self, number: u64) -> Self {
        self.claims.remove(&number);
        self
    }

    /// For this key instead of a new P-256 one.
    #[must_use]
    pub fn key(mut self, key: &Key) -> Self {
        self.key = key.clone();
        self
    }

    /// Issued, and logged, at another moment.
    #[must_use]
    pub fn issued_at(mut self, at: Timestamp) -> Self {
        self.not_before = at;
        self.logged_at = at;
        self
    }

    /// Logged at another moment.
    #[must_use]
    pub fn logged_at(mut self, at: Timestamp) -> Self {
        self.logged_at = at;
        self
    }

    #[must_use]
    pub fn lasting(mut self, life: SignedDuration) -> Self {
        self.life = life;
        self
    }

    #[must_use]
    pub fn flaw(mut self, flaw: Flaw) -> Self {
        self.flaw = Some(flaw);
        self
    }
}
