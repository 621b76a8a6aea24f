//! Where trust material comes from, and which root metadata we trust to begin with.

use sigstore_trust_root::SigstoreInstance;
use url::Url;

use super::TufError;

/// A TUF repository, and the root metadata with which trust in it begins.
///
/// Its URL always is `http` or `https` with a host, ends in `/`, and holds no login, query or fragment. Plain `http`
/// is allowed: every byte is checked against signatures.
#[derive(Clone, Debug)]
pub struct Source {
    pub(super) url: Url,
    pub(super) initial_root: Vec<u8>,
}

/// The public instances whose root metadata ships in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instance {
    /// sigstore.dev, which signs most public images.
    PublicGood,
    /// sigstage.dev, for those who test Sigstore itself.
    Staging,
    /// GitHub's own, for attestations of private repositories.
    GitHub,
}

impl Instance {
    /// Its repository.
    pub fn url(self) -> &'static str {
        self.sigstore().tuf_url()
    }

    /// The root metadata that ships in this program.
    pub fn initial_root(self) -> &'static [u8] {
        self.sigstore().tuf_root()
    }

    fn sigstore(self) -> SigstoreInstance {
        match self {
            Self::PublicGood => SigstoreInstance::PublicGood,
            Self::Staging => SigstoreInstance::Staging,
            Self::GitHub => SigstoreInstance::GitHub,
        }
    }
}

impl Source {
    /// A repository or a mirror of one. `initial_root` must have come by a way that its reader trusts: whoever chose
    /// it chose everything else.
    ///
    /// # Errors
    /// `Setup` for a URL that cannot be a repository's.
    pub fn new(url: &str, initial_root: Vec<u8>) -> Result<Self, TufError> {
        // The URL is not repeated: a login may stand in it.
        let wrong = |why: &str| TufError::Setup(format!("the mirror's URL cannot be used: {why}"));
        let mut url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong("it must begin with https:// or http:// and a host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it must not hold a user or password"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("it must end with a path, without `?` or `#`"));
        }
        if !url.path().ends_with('/') {
            let path = format!("{}/", url.path());
            url.set_path(&path);
        }
        Ok(Self { url, initial_root })
    }

    /// Where it is.
    pub fn url(&self) -> &Url {
        &self.url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_instances_begin_with_root_metadata_that_verifies() {
        for instance in [Instance::PublicGood, Instance::Staging, Instance::GitHub] {
            let source = Source::new(instance.url(), instance.initial_root().to_vec()).unwrap();
            assert_eq!(source.url.scheme(), "https");
            let trusted = sigstore_tuf::TrustedMetadataSet::from_root(&source.initial_root).unwrap();
            assert!(trusted.root().version > 1, "{instance:?}");
        }
    }

    #[test]
    fn a_mirror_is_a_plain_folder_on_a_web_server() {
        let url = |text: &str| Source::new(text, Vec::new()).map(|source| source.url.to_string());
        assert_eq!(url("https://tuf.example").unwrap(), "https://tuf.example/");
        assert_eq!(url("http://tuf.example:8080/a/b").unwrap(), "http://tuf.example:8080/a/b/");
        for odd in
            ["tuf.example", "ftp://tuf.example", "https://me:hunter2@tuf.example", "https://a/?b", "https://a/#b"]
        {
            let said = url(odd).unwrap_err().to_string();
            assert!(said.contains("URL") && !said.contains("hunter2"), "{said}");
        }
    }
}
