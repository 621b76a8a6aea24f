//! Files that the configuration names: readable, and of the kind they should be.

use std::fs;
use std::path::PathBuf;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::file::Text;
use super::super::report::Report;
use crate::secret::Secret;

/// Keys, certificates and passwords are small; a larger file is the wrong one.
const SIZE_MAX: u64 = 1024 * 1024;

/// The text of a small file.
pub(super) fn text(path: &Text, report: &mut Report<'_>) -> Option<String> {
    let text = bytes(path, SIZE_MAX, report).map(String::from_utf8)?;
    if text.is_err() {
        report.error(path.span(), "cannot read the file: it is not text in UTF-8").help("it is probably the wrong one");
    }
    text.ok()
}

/// What a file holds, of at most `max` bytes.
pub(super) fn bytes(path: &Text, max: u64, report: &mut Report<'_>) -> Option<Vec<u8>> {
    let full = report.file(path);
    match read(&full, max) {
        Ok(bytes) => {
            report.rests_on(full);
            Some(bytes)
        }
        Err(why) => {
            let finding = report.error(path.span(), why);
            finding.label(format!("looked for {}", full.display()));
            finding.help("relative paths start at the folder of the configuration file");
            None
        }
    }
}

fn read(path: &PathBuf, max: u64) -> Result<Vec<u8>, String> {
    let cannot = |error: std::io::Error| format!("cannot read the file: {error}");
    // A pipe or a device could make us wait for ever.
    let about = fs::metadata(path).map_err(cannot)?;
    if !about.is_file() {
        return Err("not a file".to_owned());
    }
    if about.len() > max {
        return Err(format!("the file is larger than {max} bytes"));
    }
    fs::read(path).map_err(cannot)
}

/// A PEM file with at least one certificate, and only certificates.
pub(super) fn certificates(path: &Text, report: &mut Report<'_>) -> Option<String> {
    let pem = text(path, report)?;
    if pem.contains("PRIVATE KEY-----") {
        report
            .error(path.span(), "the file holds a private key")
            .help("name the file with the certificate here, and keep the key in a file of its own");
        return None;
    }
    match CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Some(pem),
        _ => {
            report
                .error(path.span(), "the file holds no PEM certificate")
                .help("it must hold `-----BEGIN CERTIFICATE-----`; convert DER with `openssl x509 -inform der`");
            None
        }
    }
}

/// A PEM file with a private key.
pub(super) fn private_key(path: &Text, report: &mut Report<'_>) -> Option<Secret> {
    let pem = text(path, report)?;
    if PrivateKeyDer::from_pem_slice(pem.as_bytes()).is_err() {
        let help = match pem.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            true => {
                "it is encrypted; nobody can type a password when a server starts: `openssl pkey -in FILE -out NEW`"
            }
            false => "it must hold `-----BEGIN PRIVATE KEY-----`",
        };
        report.error(path.span(), "the file holds no PEM private key").help(help);
    }
    Some(Secret::new(pem))
}

/// The first line of a file.
pub(super) fn password(path: &Text, report: &mut Report<'_>) -> Option<Secret> {
    let content = text(path, report)?;
    // Editors and `echo` end a file with a line feed that is not part of the password.
    let password = content.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.chars().any(char::is_control) {
        report.error(path.span(), "the file must hold one line: the password");
        return None;
    }
    Some(Secret::new(password))
}
