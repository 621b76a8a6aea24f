//! Signers on the command line, in place of the configured rules.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::trust::{
    About, AttestationDemand, CLAIMS, Demand, DockerReference, ExpressionError, IdentitySigner, KeySigner, Matcher,
    PREDICATE_TYPES, PUBLIC_GOOD, Require, Signer, Tlog, TrustRoot, predicate_type,
};

/// Who must have signed, as `verify` is told. One of the signers is enough.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Signers, in place of the configured policy")]
pub struct SignerArgs {
    /// PEM public key that may have signed it; may be repeated, one is enough
    #[arg(long = "key", value_name = "FILE")]
    pub keys: Vec<PathBuf>,
    /// Who vouches for the identity, such as https://token.actions.githubusercontent.com
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// The same as an expression; always over the whole value
    #[arg(long, value_name = "REGEXP", conflicts_with = "issuer")]
    pub issuer_regexp: Option<String>,
    /// Who signed: an e-mail address, or the URI of a workflow
    #[arg(long, value_name = "IDENTITY")]
    pub identity: Option<String>,
    /// The same as an expression; always over the whole value
    #[arg(long, value_name = "REGEXP", conflicts_with = "identity")]
    pub identity_regexp: Option<String>,
    /// What else the certificate must say, such as source_ref=refs/tags/v1; may be repeated
    #[arg(long = "claim", value_name = "NAME=VALUE", value_parser = claim)]
    pub claims: Vec<(String, String)>,
    /// What must stand in the signature, as `cosign sign -a` writes it; may be repeated
    #[arg(short = 'a', long = "annotation", value_name = "KEY=VALUE", value_parser = pair)]
    pub annotations: Vec<(String, String)>,
    /// trusted_root.json of the Sigstore it was signed under, or public-good; may be repeated, one is enough [default:
    /// `root` in [trust] of the configuration]
    #[arg(long = "trust-root", value_name = "FILE")]
    pub trust_roots: Vec<PathBuf>,
    /// Whether the signature must be in a transparency log [default: required]
    #[arg(long, value_name = "WHEN")]
    pub tlog: Option<LogArgument>,
    /// Ask for an attestation of this predicate type by the signers, and not for a signature: a URI, or cosign's
    /// word for it, such as slsaprovenance1; may be repeated, and then each must be there
    #[arg(long = "attestation", value_name = "TYPE", value_parser = attestation_type)]
    pub attestations: Vec<String>,
    /// Whether the repository that a signature names must be this one [default: ignore]
    #[arg(long, value_name = "HOW")]
    pub docker_reference: Option<ReferenceArgument>,
}

/// Whether a signature must be in a transparency log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogArgument {
    /// It must
    Required,
    /// For keys: an entry must be right if there is one
    Optional,
    /// For keys: no entry is looked at. For identities: a timestamp authority takes the log's place, if the trusted
    /// root names no log
    Off,
}

/// Whether the repository that a signature names must be this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReferenceArgument {
    /// It is not looked at, as cosign does
    Ignore,
    /// It must; bundles name none, so they cannot satisfy it
    Repository,
}

/// Why the arguments name no signers. Each says what to add.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignerArgsError {
    /// Only half of an identity.
    #[error(
        "--identity without an issuer: anybody could run an issuer that vouches for this name; add --issuer URL, such as https://token.actions.githubusercontent.com"
    )]
    NoIssuer,
    /// Only half of an identity.
    #[error(
        "--issuer without an identity: it vouches for everybody who has an account there; add --identity or --identity-regexp"
    )]
    NoIdentity,
    /// Claims are in certificates, and only identities have one.
    #[error("--claim without an identity: keys have no certificate that could say it; add --issuer and --identity")]
    ClaimWithoutIdentity,
    /// Something is asked of signers, and nobody is named.
    #[error(
        "{0} asks something of signers, and none is named; add --key FILE, or --issuer URL with --identity NAME (the configured policy has its own)"
    )]
    Nobody(&'static str),
    /// An expression that is none.
    #[error("{option} {text}: {source}; write a regular expression, or use {exact} for an exact value")]
    Expression {
        /// Which argument.
        option: &'static str,
        /// As written.
        text: String,
        /// The argument for an exact value.
        exact: &'static str,
        /// What is wrong.
        source: ExpressionError,
    },
}

impl SignerArgs {
    /// Whether signers are named; else the configured policy counts.
    ///
    /// # Errors
    /// When something is asked of signers and none is named.
    pub fn names_signers(&self) -> Result<bool, SignerArgsError> {
        let identity = [&self.issuer, &self.issuer_regexp, &self.identity, &self.identity_regexp];
        if !self.keys.is_empty() || identity.into_iter().any(Option::is_some) {
            return Ok(true);
        }
        let asks = [
            (!self.claims.is_empty(), "--claim"),
            (!self.annotations.is_empty(), "--annotation"),
            (!self.trust_roots.is_empty(), "--trust-root"),
            (self.tlog.is_some(), "--tlog"),
            (!self.attestations.is_empty(), "--attestation"),
            (self.docker_reference.is_some(), "--docker-reference"),
        ];
        asks.into_iter().find(|(asked, _)| *asked).map_or(Ok(false), |(_, option)| Err(SignerArgsError::Nobody(option)))
    }

    /// Whether the root that ships in the program is named.
    pub fn is_public_good(root: &std::path::Path) -> bool {
        root.as_os_str() == PUBLIC_GOOD
    }

    /// What the arguments ask for, given the keys and roots in the files that they name.
    ///
    /// # Errors
    /// When they are incomplete, or an expression is none.
    pub fn demand(&self, keys: Vec<KeySigner>, roots: Vec<TrustRoot>) -> Result<Demand, SignerArgsError> {
        let signers: Vec<Signer> =
            keys.into_iter().map(Signer::Key).chain(self.identity_signer()?.map(Signer::Identity)).collect();
        let attestation = |word: &String| AttestationDemand {
            predicate_type: predicate_type(word).to_owned(),
            about: About::Index,
            require: Require::Any,
            signers: signers.clone(),
            conditions: Vec::new(),
        };
        Ok(Demand {
            attestations: self.attestations.iter().map(attestation).collect(),
            attestations_only: !self.attestations.is_empty(),
            signers,
            tlog: self.tlog.map_or(Tlog::Required, Into::into),
            roots,
            docker_reference: self.docker_reference.map_or(DockerReference::Ignore, Into::into),
            annotations: self.annotations.iter().cloned().collect(),
            ..Demand::default()
        })
    }

    fn identity_signer(&self) -> Result<Option<IdentitySigner>, SignerArgsError> {
        let issuer = matcher(&self.issuer, &self.issuer_regexp, "--issuer-regexp", "--issuer")?;
        let identity = matcher(&self.identity, &self.identity_regexp, "--identity-regexp", "--identity")?;
        let (issuer, identity) = match (issuer, identity) {
            (None, None) if self.claims.is_empty() => return Ok(None),
            (None, None) => return Err(SignerArgsError::ClaimWithoutIdentity),
            (None, Some(_)) => return Err(SignerArgsError::NoIssuer),
            (Some(_), None) => return Err(SignerArgsError::NoIdentity),
            (Some(issuer), Some(identity)) => (issuer, identity),
        };
        let claims = self.claims.iter().map(|(name, value)| (name.clone(), Matcher::exact(value))).collect();
        Ok(Some(IdentitySigner { claims, ..IdentitySigner::new(issuer, identity) }))
    }
}

fn matcher(
    exactly: &Option<String>,
    expression: &Option<String>,
    option: &'static str,
    exact: &'static str,
) -> Result<Option<Matcher>, SignerArgsError> {
    match (exactly, expression) {
        (Some(text), _) => Ok(Some(Matcher::exact(text))),
        (None, None) => Ok(None),
        (None, Some(text)) => Matcher::expression(text).map(Some).map_err(|source| SignerArgsError::Expression {
            option,
            text: text.clone(),
            exact,
            source,
        }),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE".to_owned()),
    }
}

fn claim(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    if CLAIMS.iter().any(|(_, known)| *known == name) {
        return Ok((name, value));
    }
    let known: Vec<&str> = CLAIMS.iter().map(|(_, name)| *name).collect();
    Err(format!("certificates have no claim `{name}`; there are {}", known.join(", ")))
}

/// A misspelt word would be asked for in vain.
fn attestation_type(text: &str) -> Result<String, String> {
    if url::Url::parse(predicate_type(text)).is_ok() {
        return Ok(text.to_owned());
    }
    let words: Vec<&str> = PREDICATE_TYPES.iter().map(|(word, _)| *word).collect();
    Err(format!("no predicate type; write its URI, or one of cosign's words: {}", words.join(", ")))
}

impl From<LogArgument> for Tlog {
    fn from(written: LogArgument) -> Self {
        match written {
            LogArgument::Required => Self::Required,
            LogArgument::Optional => Self::Optional,
            LogArgument::Off => Self::Off,
        }
    }
}

impl From<ReferenceArgument> for DockerReference {
    fn from(written: ReferenceArgument) -> Self {
        match written {
            ReferenceArgument::Ignore => Self::Ignore,
            ReferenceArgument::Repository => Self::Repository,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        signers: SignerArgs,
    }

    fn parse(line: &str) -> SignerArgs {
        Line::try_parse_from(format!("verify {line}").split_whitespace()).unwrap().signers
    }

    fn demand(line: &str) -> Result<Demand, SignerArgsError> {
        parse(line).demand(Vec::new(), Vec::new())
    }

    #[test]
    fn a_misspelt_attestation_type_is_told_at_once() {
        for (good, bad) in [("slsaprovenance1", "slsaprovenence1"), ("https://acme.test/scan/v1", "acme.test/scan/v1")]
        {
            let line = |kind| Line::try_parse_from(["verify", "--attestation", kind]);
            assert_eq!(line(good).unwrap().signers.attestations, [good]);
            let error = line(bad).map(drop).unwrap_err().to_string();
            assert!(error.contains("slsaprovenance1"), "{error}");
        }
    }

    #[test]
    fn an_identity_with_everything_that_can_be_asked_of_it() {
        let demand = demand(
            "--issuer https://issuer.test --identity-regexp https://acme\\.test/.* --claim source_ref=refs/tags/v1 \
             -a build=42 --tlog off --docker-reference repository",
        )
        .unwrap();
        let [Signer::Identity(signer)] = demand.signers.as_slice() else { panic!("{demand:?}") };
        assert!(!signer.issuer.is_expression() && signer.identity.is_expression());
        assert_eq!(signer.claims["source_ref"].as_str(), "refs/tags/v1");
        assert_eq!(demand.annotations["build"], "42");
        assert_eq!((demand.tlog, demand.docker_reference.clone()), (Tlog::Off, DockerReference::Repository));
        assert!(demand.asks_for_a_signature());
    }

    #[test]
    fn without_more_words_the_log_is_demanded_and_the_reference_is_not() {
        let demand = demand("--issuer https://issuer.test --identity me@acme.test").unwrap();
        assert_eq!((demand.tlog, demand.docker_reference.clone()), (Tlog::Required, DockerReference::Ignore));
    }

    #[test]
    fn an_attestation_is_asked_for_alone_and_by_the_same_signers() {
        let demand =
            demand("--issuer https://issuer.test --identity me@acme.test --attestation slsaprovenance1").unwrap();
        assert!(!demand.asks_for_a_signature());
        assert_eq!(demand.attestations.len(), 1);
        assert_eq!(demand.attestations[0].predicate_type, "https://slsa.dev/provenance/v1");
        assert_eq!(demand.attestations[0].signers[0].id(), demand.signers[0].id());
    }

    #[test]
    fn what_is_incomplete_says_what_to_add() {
        assert_eq!(demand("--identity me@acme.test").unwrap_err(), SignerArgsError::NoIssuer);
        assert_eq!(demand("--issuer-regexp .*").unwrap_err(), SignerArgsError::NoIdentity);
        assert_eq!(demand("--key a.pub --claim trigger=push").unwrap_err(), SignerArgsError::ClaimWithoutIdentity);
        let error = demand("--issuer i --identity-regexp (").unwrap_err().to_string();
        assert!(error.starts_with("--identity-regexp (: not a regular expression"), "{error}");
        assert_eq!(parse("").names_signers(), Ok(false));
        assert_eq!(parse("--identity me@acme.test").names_signers(), Ok(true), "and then it is incomplete");
        for line in ["--claim trigger=push", "-a a=b", "--trust-root f", "--tlog off", "--attestation vuln"] {
            assert!(matches!(parse(line).names_signers(), Err(SignerArgsError::Nobody(_))), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_argument() {
        for bad in ["--claim colour=red", "--claim trigger", "-a =x", "--tlog maybe", "--issuer a --issuer-regexp b"] {
            assert!(Line::try_parse_from(format!("verify {bad}").split_whitespace()).is_err(), "{bad}");
        }
    }
}
