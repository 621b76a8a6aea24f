//! Speaks the command line of the sigstore-conformance suite, so that anybody can run that suite against Assay's verifier:
//! `sigstore_conformance verify-bundle --bundle FILE … FILE_OR_DIGEST`. Verification only: Assay does not sign.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use assay::clock::{Clock as _, SystemClock};
use assay::oci::Digest;
use assay::trust::{
    Artifact, IdentitySigner, KeySigner, Matcher, PublicKey, Signer, Tlog, Trust, TrustRoot, verify_bundle,
};
use clap::Parser;

#[derive(Parser)]
enum Command {
    /// Verifies a bundle about a file or a digest
    VerifyBundle(VerifyBundle),
}

#[derive(clap::Args)]
struct VerifyBundle {
    #[arg(long)]
    bundle: PathBuf,
    /// PEM public key; else the certificate's identity and issuer must be given
    #[arg(long, conflicts_with_all = ["certificate_identity", "certificate_oidc_issuer"])]
    key: Option<PathBuf>,
    #[arg(long, required_unless_present = "key")]
    certificate_identity: Option<String>,
    #[arg(long, required_unless_present = "key")]
    certificate_oidc_issuer: Option<String>,
    /// trusted_root.json; else the public-good one that ships
    #[arg(long)]
    trusted_root: Option<PathBuf>,
    /// A file, or sha256:<hex>
    artifact: String,
}

fn main() -> ExitCode {
    let Command::VerifyBundle(asked) = Command::parse();
    match verify(&asked) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("not verified: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn verify(asked: &VerifyBundle) -> anyhow::Result<()> {
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let bundle = read(&asked.bundle)?;
    let root = match &asked.trusted_root {
        Some(path) => TrustRoot::from_json("given", &read(path)?)?,
        None => TrustRoot::public_good()?,
    };
    let signer = match (&asked.key, &asked.certificate_identity, &asked.certificate_oidc_issuer) {
        (Some(path), ..) => {
            let key = PublicKey::from_pem(std::str::from_utf8(&read(path)?)?)?;
            Signer::Key(KeySigner { name: "given".to_owned(), key, not_before: None, not_after: None })
        }
        (None, Some(identity), Some(issuer)) => {
            Signer::Identity(IdentitySigner::new(Matcher::exact(issuer.as_str()), Matcher::exact(identity.as_str())))
        }
        _ => bail!("name a key, or an identity and its issuer"),
    };
    let bytes;
    let artifact = match asked.artifact.parse::<Digest>() {
        Ok(digest) => Artifact::Digest(digest),
        Err(_) => {
            bytes = read(&PathBuf::from(&asked.artifact))?;
            Artifact::Bytes(&bytes)
        }
    };
    let trust = Trust { roots: &[root], now: SystemClock.now() };
    verify_bundle(&bundle, artifact, &signer, Tlog::Required, trust)?;
    Ok(())
}
