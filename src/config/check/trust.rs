//! `[trust]`: trusted roots by name, and whether those of a policy hold what it needs.

use std::cell::OnceCell;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use crate::trust::{PUBLIC_GOOD, PartKind, ROOT_MAX, RootError, Signer, Tlog, TrustRoot};

use super::super::file::{Names, Text, Trust};
use super::super::read::nearest;
use super::super::report::Report;
use super::file as files;

/// Every trusted root of the file, read and checked.
pub(super) struct Roots {
    /// In the order of the names; files that two names share are one root.
    named: Vec<Named>,
    default: Option<TrustRoot>,
    public_good: OnceCell<TrustRoot>,
}

struct Named {
    name: String,
    path: PathBuf,
    /// Absent when the file cannot be used, which was reported.
    root: Option<TrustRoot>,
}

/// What the signers of a policy need of its trusted roots.
#[derive(Clone, Copy, Default)]
pub(super) struct Needs {
    /// Somebody signs with a certificate.
    identities: bool,
    /// Somebody signs with a key, and the log is asked.
    logged_keys: bool,
}

impl Roots {
    /// Reads all of them, also those that no policy uses.
    pub(super) fn of(written: Trust, report: &mut Report<'_>) -> Self {
        let mut roots = Self { named: Vec::new(), default: None, public_good: OnceCell::new() };
        for (name, path) in written.roots {
            if name.get_ref() == PUBLIC_GOOD || name.get_ref().is_empty() {
                report
                    .error(name.span(), "cannot be the name of a trusted root of yours")
                    .help(format!("`{PUBLIC_GOOD}` is the root that ships with assay; choose another name"));
            }
            let root = roots.read(name.get_ref(), &path, report);
            roots.named.push(Named { name: name.into_inner(), path: report.file(&path), root });
        }
        roots.default = match written.root {
            None => Some(roots.public_good()),
            Some(text) => match roots.by_name(text.get_ref()) {
                Some(known) => known,
                None => roots.read(text.get_ref(), &text, report),
            },
        };
        roots
    }

    /// The root of policies that name none. Where it cannot be used, which was reported, another stands in.
    pub(super) fn default(&self) -> TrustRoot {
        self.default.clone().unwrap_or_else(|| self.public_good())
    }

    /// The roots that a policy names, or the default; none twice. `None` when one of them cannot be used, which was
    /// reported.
    pub(super) fn chosen(&self, written: Option<&Spanned<Names>>, report: &mut Report<'_>) -> Option<Vec<TrustRoot>> {
        let Some(written) = written else { return self.default.clone().map(|root| vec![root]) };
        let names = match written.get_ref() {
            Names::One(name) => vec![Spanned::new(written.span(), name.clone())],
            Names::Several(names) => names.clone(),
        };
        if names.is_empty() {
            report
                .error(written.span(), "empty: nothing could be verified")
                .help("name a trusted root, or take it out");
            return None;
        }
        let mut found: Vec<TrustRoot> = Vec::new();
        let mut complete = true;
        for name in &names {
            match self.by_name(name.get_ref()) {
                Some(Some(root)) => {
                    if found.iter().any(|other| other.fingerprint() == root.fingerprint()) {
                        report.warn(name.span(), "the same trusted root twice").help("take one of them out");
                    } else {
                        found.push(root);
                    }
                }
                Some(None) => complete = false,
                None => {
                    complete = false;
                    self.unknown(name, report);
                }
            }
        }
        complete.then_some(found)
    }

    /// `Some(None)` for a name whose file cannot be used.
    fn by_name(&self, name: &str) -> Option<Option<TrustRoot>> {
        if name == PUBLIC_GOOD {
            return Some(Some(self.public_good()));
        }
        self.named.iter().find(|named| named.name == name).map(|named| named.root.clone())
    }

    fn public_good(&self) -> TrustRoot {
        self.public_good.get_or_init(|| TrustRoot::public_good().expect("a test reads the root that ships")).clone()
    }

    fn read(&self, name: &str, path: &Text, report: &mut Report<'_>) -> Option<TrustRoot> {
        let full = report.file(path);
        if let Some(same) = self.named.iter().find(|named| named.path == full) {
            return same.root.clone();
        }
        let json = files::bytes(path, ROOT_MAX, report)?;
        match TrustRoot::from_json(name, &json) {
            Ok(root) => Some(root),
            Err(error) => {
                let help = match error {
                    RootError::Malformed(_) => {
                        "`cosign trusted-root create` writes such a file; an instance of Sigstore publishes its own over TUF"
                    }
                    RootError::Unusable(_) => "whoever runs that Sigstore instance must publish a right one",
                    RootError::Empty => {
                        "a trusted root names the authorities and logs of a Sigstore instance; a signing config is another file"
                    }
                };
                report.error(path.span(), format!("{}: {error}", path.get_ref())).help(help);
                None
            }
        }
    }

    fn unknown(&self, name: &Text, report: &mut Report<'_>) {
        let text = name.get_ref();
        let own = self.named.iter().map(|named| named.name.as_str()).filter(|name| *name != PUBLIC_GOOD);
        let known: Vec<&str> = own.chain([PUBLIC_GOOD]).collect();
        let help = if text.contains('/') || text.ends_with(".json") {
            format!("give the file a name, and write that here: [trust.roots] NAME = \"{text}\"")
        } else if let Some(near) = nearest(text, &known) {
            format!("did you mean `{near}`?")
        } else {
            format!("known are {}; name further files in [trust.roots]", known.join(", "))
        };
        report.error(name.span(), "no such trusted root").help(help);
    }
}

impl Needs {
    /// What these signers need when the log is asked in this way.
    pub(super) fn of(signers: &[&Signer], tlog: Tlog) -> Self {
        signers.iter().fold(Self::default(), |needs, signer| match signer {
            Signer::Identity(_) => Self { identities: true, ..needs },
            Signer::Key(_) => Self { logged_keys: needs.logged_keys || tlog != Tlog::Off, ..needs },
        })
    }

    /// Whether any trusted root is needed at all.
    pub(super) fn any(self) -> bool {
        self.identities || self.logged_keys
    }
}

/// Says what the roots lack: errors when nothing could ever be verified, warnings when one of them is of no use.
pub(super) fn suffice(
    roots: &[TrustRoot],
    needs: Needs,
    tlog: Tlog,
    at: &Range<usize>,
    tlog_at: &Range<usize>,
    report: &mut Report<'_>,
) {
    let names = roots.iter().map(TrustRoot::name).collect::<Vec<_>>().join("`, `");
    if needs.identities && !roots.iter().any(|root| root.has(PartKind::CertificateAuthority)) {
        report
            .error(at.clone(), format!("identities sign here, and `{names}` names no certificate authority"))
            .help("name the trusted root of the Sigstore instance whose certificates they sign with");
    } else if needs.identities && tlog == Tlog::Off {
        without_log(roots, tlog_at, report);
    } else if (needs.identities || (needs.logged_keys && tlog != Tlog::Off))
        && !roots.iter().any(|root| root.has(PartKind::TransparencyLog))
    {
        let help = match (needs.identities, roots.iter().all(|root| root.has(PartKind::TimestampAuthority))) {
            (true, true) => "its timestamp authority proves the time instead if you write tlog = \"off\"",
            (true, false) => "name a trusted root with a transparency log",
            (false, _) => "name a trusted root with a transparency log, or write tlog = \"off\"",
        };
        report
            .error(at.clone(), format!("signatures must be in a transparency log, and `{names}` names none"))
            .help(help);
    } else {
        let useless = |root: &&TrustRoot| {
            let identities = needs.identities && root.has(PartKind::CertificateAuthority);
            !(root.has(PartKind::TransparencyLog) && (identities || needs.logged_keys))
        };
        for root in roots.iter().filter(useless) {
            report
                .warn(at.clone(), format!("nothing this policy accepts can be verified with `{}`", root.name()))
                .help("it lacks a transparency log or a certificate authority; take it out of this policy");
        }
    }
}

/// Certificates without a log: only where the instance has none, and something else proves the time.
fn without_log(roots: &[TrustRoot], at: &Range<usize>, report: &mut Report<'_>) {
    for root in roots.iter().filter(|root| root.has(PartKind::CertificateAuthority)) {
        if root.has(PartKind::TransparencyLog) {
            report
                .error(at.clone(), format!("identities sign here, and `{}` names a transparency log", root.name()))
                .help("a certificate lives for minutes: only the log proves when it was used; take the line out");
        } else if !root.has(PartKind::TimestampAuthority) {
            report
                .error(
                    at.clone(),
                    format!(
                        "nothing would prove when an identity signed: `{}` names no timestamp authority",
                        root.name()
                    ),
                )
                .help("name a trusted root with a timestamp authority or a transparency log");
        }
    }
}
