//! `[[policy.signer]]`: keys and the time they are trusted in.

use toml::Spanned;

use crate::trust::{KeyError, KeySigner, PublicKey};

use super::super::file;
use super::super::report::Report;
use super::file as files;
use super::value::{self, Bound};

/// All signers of the policy at `path`.
pub(super) fn all(
    written: Vec<Spanned<file::Table<file::Signer>>>,
    path: &str,
    report: &mut Report<'_>,
) -> Vec<KeySigner> {
    let mut found: Vec<KeySigner> = Vec::new();
    for (i, table) in written.into_iter().enumerate() {
        let Some(signer) = one(&table, &format!("{path}.signer[{i}]"), report) else { continue };
        let same = found.iter().find(|other| other.key.fingerprint() == signer.key.fingerprint());
        if let (Some(other), Some(key)) = (same, &table.get_ref().0.key) {
            report
                .warn(key.span(), format!("the same key as `{}`", other.name))
                .help("one signature satisfies both, even with require = \"all\"");
        }
        found.push(signer);
    }
    found
}

fn one(table: &Spanned<file::Table<file::Signer>>, path: &str, report: &mut Report<'_>) -> Option<KeySigner> {
    let written = &table.get_ref().0;
    let not_before = value::moment(written.not_before.as_ref(), Bound::From, report);
    let not_after = value::moment(written.not_after.as_ref(), Bound::Until, report);
    if let (Some(from), Some(until), Some(at)) = (not_before, not_after, &written.not_after)
        && until <= from
    {
        report.error(at.span(), "not later than not_before").help("the key would never be trusted");
    }
    let Some(file) = &written.key else {
        report.missing(path, "key", table.span()).help("name a file with a PEM public key: key = \"FILE\"");
        return None;
    };
    let key = match PublicKey::from_pem(&files::text(file, report)?) {
        Ok(key) => key,
        Err(error) => {
            let help = match error {
                KeyError::Private => "`cosign public-key --key FILE` prints the public half",
                KeyError::Pem(_) => "`cosign public-key` and `openssl pkey -pubout` print keys in this form",
                KeyError::Unsupported(_) => "make a key with `cosign generate-key-pair`",
            };
            report.error(file.span(), error.to_string()).help(help);
            return None;
        }
    };
    Some(KeySigner { name: file.get_ref().clone(), key, not_before, not_after })
}
