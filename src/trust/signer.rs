//! Who may sign: keys, and identities that a certificate authority vouched for.

use std::collections::BTreeMap;

use crate::oci::Digest;

use super::certificate::Certificate;
use super::identity::Matcher;
use super::key::KeySigner;
use super::verdict::Difference;

/// Somebody whom a rule names.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The holder of a key.
    Key(KeySigner),
    /// Whoever had this identity when they signed.
    Identity(IdentitySigner),
}

/// An identity as an issuer knows it.
#[derive(Clone, Debug)]
pub struct IdentitySigner {
    /// What logs and refusals call it.
    pub name: String,
    /// The OIDC issuer that vouched for the identity.
    pub issuer: Matcher,
    /// The e-mail address, workflow URI or user name; one of the certificate's must fit.
    pub identity: Matcher,
    /// What else the certificate must say, by the names in [`super::CLAIMS`].
    pub claims: BTreeMap<String, Matcher>,
}

impl Signer {
    /// What people call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Key(signer) => &signer.name,
            Self::Identity(signer) => &signer.name,
        }
    }

    /// The key, if it is one.
    pub fn key(&self) -> Option<&KeySigner> {
        match self {
            Self::Key(signer) => Some(signer),
            Self::Identity(_) => None,
        }
    }

    /// The identity, if it is one.
    pub fn identity(&self) -> Option<&IdentitySigner> {
        match self {
            Self::Key(_) => None,
            Self::Identity(signer) => Some(signer),
        }
    }

    /// Stands for what the signer must be, whatever they are called.
    pub fn id(&self) -> Digest {
        match self {
            Self::Key(signer) => signer.key.fingerprint(),
            Self::Identity(signer) => {
                Digest::of(format!("{:?} {:?} {:?}", signer.issuer, signer.identity, signer.claims).as_bytes())
            }
        }
    }
}

impl IdentitySigner {
    /// An identity without further demands, called after itself.
    pub fn new(issuer: Matcher, identity: Matcher) -> Self {
        Self { name: identity.as_str().to_owned(), issuer, identity, claims: BTreeMap::new() }
    }

    /// The first field that differs, or `None` when the certificate is this signer's.
    pub(super) fn difference(&self, certificate: &Certificate) -> Option<Difference> {
        let issuer = field("issuer", &self.issuer, certificate.issuer.iter());
        let identity = || field("identity", &self.identity, certificate.identities.iter());
        let claims = || {
            self.claims.iter().find_map(|(name, wanted)| field(name, wanted, certificate.claims.get(name).into_iter()))
        };
        issuer.or_else(identity).or_else(claims)
    }
}

/// `None` when one of the values fits; else the difference of the one that fits furthest.
fn field<'a>(name: &str, wanted: &Matcher, values: impl Iterator<Item = &'a String> + Clone) -> Option<Difference> {
    if values.clone().any(|value| wanted.matches(value)) {
        return None;
    }
    let nearest = values.map(|value| (wanted.differs_at(value), value)).max_by_key(|(at, _)| *at);
    let (at, found) = nearest.map_or((0, None), |(at, value)| (at, Some(value.clone())));
    Some(Difference { field: name.to_owned(), found, expected: wanted.as_str().to_owned(), at, signed_by: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        Certificate {
            identities: vec!["bob@acme.test".to_owned(), "release@acme.test".to_owned()],
            issuer: Some("https://login.acme.test".to_owned()),
            claims: BTreeMap::from([("source_ref".to_owned(), "refs/tags/v1".to_owned())]),
        }
    }

    fn signer() -> IdentitySigner {
        IdentitySigner::new(Matcher::exact("https://login.acme.test"), Matcher::exact("release@acme.test"))
    }

    #[test]
    fn every_identity_counts_and_every_demand_must_be_met() {
        assert_eq!(signer().difference(&certificate()), None);
        let with = |name: &str, value: &str| IdentitySigner {
            claims: BTreeMap::from([(name.to_owned(), Matcher::exact(value))]),
            ..signer()
        };
        assert_eq!(with("source_ref", "refs/tags/v1").difference(&certificate()), None);
        let other = with("source_ref", "refs/heads/main").difference(&certificate()).unwrap();
        assert_eq!((other.field.as_str(), other.at), ("source_ref", 5));
        let absent = with("trigger", "push").difference(&certificate()).unwrap();
        assert_eq!((absent.field.as_str(), absent.found), ("trigger", None));
        let elsewhere = Certificate { issuer: Some("https://evil.test".to_owned()), ..certificate() };
        assert_eq!(signer().difference(&elsewhere).unwrap().field, "issuer");
        let nobody = Certificate { issuer: None, ..certificate() };
        assert_eq!(signer().difference(&nobody).unwrap().field, "issuer");
        let stranger = Certificate { identities: vec!["eve@acme.test".to_owned()], ..certificate() };
        assert_eq!(signer().difference(&stranger).unwrap().field, "identity");
    }

    #[test]
    fn a_name_changes_nothing_and_a_demand_does() {
        let id = |signer: IdentitySigner| Signer::Identity(signer).id();
        assert_eq!(id(signer()), id(IdentitySigner { name: "another".to_owned(), ..signer() }));
        let expression = Matcher::expression("release@acme.test").unwrap();
        assert_ne!(id(signer()), id(IdentitySigner { identity: expression, ..signer() }), "an expression fits more");
    }
}
