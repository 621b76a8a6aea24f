//! Method, path and query become a [`Route`]. The only place that knows URL shapes.
//!
//! What a client writes is looked up among the configured registries and never dialled. Behind this
//! file nobody handles a raw name.

use std::borrow::Cow;

use http::{Method, Uri};
use percent_encoding::percent_decode_str;

use crate::oci::{Digest, DigestError, NameError, Reference, Registry, Repository, Tag, is_host};

/// Most tags on one page, whatever a client asks.
pub(super) const PAGE_MAX: u32 = 1000;

/// What a client asks for, fully parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`: does this speak the protocol?
    Ping,
    /// `/v2/<name>/manifests/<reference>`
    Manifest {
        /// Canonical.
        repository: Repository,
        /// By tag or by digest.
        reference: Reference,
    },
    /// `/v2/<name>/blobs/<digest>`
    Blob {
        /// Canonical.
        repository: Repository,
        /// Which content.
        digest: Digest,
    },
    /// `/v2/<name>/tags/list`
    Tags(TagsAsk),
    /// `/v2/<name>/referrers/<digest>`
    Referrers {
        /// Canonical.
        repository: Repository,
        /// What the wanted manifests are about.
        subject: Digest,
        /// Only of this type.
        artifact_type: Option<String>,
    },
}

/// A page of tags, and what the link to the next one must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TagsAsk {
    /// Canonical.
    pub repository: Repository,
    /// The name as the client wrote it, with the registry in front if it stood there.
    pub name: String,
    /// The `ns` parameter, if it named the registry.
    pub ns: Option<Registry>,
    /// At most so many; at most [`PAGE_MAX`].
    pub n: Option<u32>,
    /// Only what comes behind this one.
    pub last: Option<Tag>,
}

/// Why a request names nothing that we offer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    /// Uploads, deletes, the catalogue, and every other path.
    #[error("only pulls are offered here: GET and HEAD of manifests, blobs, tags and referrers")]
    Unsupported,
    /// The repository or registry name breaks the grammar.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A path with an escape that no image name needs.
    #[error("the path has percent-encoded characters; image names have none")]
    Escape,
    /// The path ends where the repository should start.
    #[error("the path names a registry but no repository")]
    NoRepository,
    /// Not a sha256 digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Neither a tag nor a digest.
    #[error("{0}")]
    Reference(String),
    /// A parameter that cannot be read.
    #[error("{0}")]
    Query(String),
    /// No `Host`, or several.
    #[error("the request must have one Host")]
    Host,
    /// Not among the configured upstreams.
    #[error("registry {0} is not configured here")]
    UnknownRegistry(Registry),
}

/// Which registries there are.
pub(super) struct Upstreams<'a> {
    /// For names that name none.
    pub default: &'a Registry,
    /// Whether a registry is configured.
    pub knows: &'a dyn Fn(&Registry) -> bool,
}

/// Reads a request's method and target. `host` is the client's name for us: it is compared with `ns`
/// and used for nothing else.
pub(super) fn route(
    method: &Method,
    uri: &Uri,
    host: Option<&str>,
    upstreams: &Upstreams<'_>,
) -> Result<Route, RouteError> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(RouteError::Unsupported);
    }
    let path = without_escapes(uri.path())?;
    if matches!(&*path, "/v2" | "/v2/") {
        return Ok(Route::Ping);
    }
    // Read from the right, because a name may have components called `manifests` or `blobs`.
    let rest = path.strip_prefix("/v2/").ok_or(RouteError::Unsupported)?;
    let (rest, last) = rest.rsplit_once('/').ok_or(RouteError::Unsupported)?;
    let (name, kind) = rest.rsplit_once('/').unwrap_or(("", rest));
    if !matches!((kind, last), ("manifests" | "blobs" | "referrers", _) | ("tags", "list")) {
        return Err(RouteError::Unsupported);
    }
    let query = Query::read(uri.query().unwrap_or_default())?;
    let ns = query.ns.filter(|ns| !host.is_some_and(|host| host.eq_ignore_ascii_case(ns)));
    let ns = ns.map(|ns| ns.parse::<Registry>()).transpose()?;
    let repository = upstreams.repository(ns.as_ref(), name)?;
    Ok(match kind {
        "manifests" => Route::Manifest { repository, reference: reference(last)? },
        "blobs" => Route::Blob { repository, digest: last.parse()? },
        "referrers" => Route::Referrers { repository, subject: last.parse()?, artifact_type: query.artifact_type },
        _ => Route::Tags(TagsAsk {
            repository,
            name: name.to_owned(),
            ns,
            n: query.n.as_deref().map(page_size).transpose()?,
            last: query
                .last
                .map(|last| last.parse::<Tag>())
                .transpose()
                .map_err(|e| RouteError::Query(e.to_string()))?,
        }),
    })
}

impl Upstreams<'_> {
    /// `ns` names the registry, else the first component, else it is the default one.
    fn repository(&self, ns: Option<&Registry>, name: &str) -> Result<Repository, RouteError> {
        if let Some(ns) = ns {
            return self.at(ns.clone(), name);
        }
        let (first, rest) = name.split_once('/').map_or((name, None), |(first, rest)| (first, Some(rest)));
        if let (Ok(registry), Some(rest)) = (first.parse::<Registry>(), rest)
            && (self.knows)(&registry)
        {
            return self.at(registry, rest);
        }
        if is_host(first) {
            let registry: Registry = first.parse()?;
            return Err(match (self.knows)(&registry) {
                true => RouteError::NoRepository,
                false => RouteError::UnknownRegistry(registry),
            });
        }
        self.at(self.default.clone(), name)
    }

    fn at(&self, registry: Registry, path: &str) -> Result<Repository, RouteError> {
        if !(self.knows)(&registry) {
            return Err(RouteError::UnknownRegistry(registry));
        }
        Ok(Repository::new(registry, path)?)
    }
}

impl Route {
    /// The word for it in logs and metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Manifest { .. } => "manifest",
            Self::Blob { .. } => "blob",
            Self::Tags(_) => "tags",
            Self::Referrers { .. } => "referrers",
        }
    }

    /// Whose content is asked for.
    pub(super) fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Ping => None,
            Self::Manifest { repository, .. } | Self::Blob { repository, .. } | Self::Referrers { repository, .. } => {
                Some(repository)
            }
            Self::Tags(ask) => Some(&ask.repository),
        }
    }

    /// The digest in the path, if there is one.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self {
            Self::Manifest { reference: Reference::Digest(digest), .. } | Self::Blob { digest, .. } => Some(*digest),
            Self::Referrers { subject, .. } => Some(*subject),
            Self::Ping | Self::Manifest { .. } | Self::Tags(_) => None,
        }
    }

    /// What is asked for, as a person would write it.
    pub(super) fn image(&self) -> Option<String> {
        let repository = self.repository()?;
        Some(match (self, self.digest()) {
            (_, Some(digest)) => format!("{repository}@{digest}"),
            (Self::Manifest { reference, .. }, None) => format!("{repository}:{reference}"),
            _ => repository.to_string(),
        })
    }
}

/// Some clients escape the colon of a digest or port. Nothing else in a path needs it, and a second
/// spelling of anything is a way around whoever reads only the first.
fn without_escapes(path: &str) -> Result<Cow<'_, str>, RouteError> {
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let path = path.replace("%3A", ":").replace("%3a", ":");
    if path.contains('%') { Err(RouteError::Escape) } else { Ok(Cow::Owned(path)) }
}

fn reference(text: &str) -> Result<Reference, RouteError> {
    text.parse::<Reference>().map_err(|error| match error {
        crate::oci::ReferenceError::Digest(error) => RouteError::Digest(error),
        other => RouteError::Reference(other.to_string()),
    })
}

fn page_size(text: &str) -> Result<u32, RouteError> {
    if text.is_empty() || text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(RouteError::Query("`n` is not a number".to_owned()));
    }
    Ok(text.parse().map_or(PAGE_MAX, |n: u32| n.min(PAGE_MAX)))
}

/// The parameters that we read; others are ignored.
#[derive(Default)]
struct Query {
    ns: Option<String>,
    n: Option<String>,
    last: Option<String>,
    artifact_type: Option<String>,
}

impl Query {
    fn read(text: &str) -> Result<Self, RouteError> {
        let mut query = Self::default();
        for pair in text.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match key {
                "ns" => &mut query.ns,
                "n" => &mut query.n,
                "last" => &mut query.last,
                "artifactType" => &mut query.artifact_type,
                _ => continue,
            };
            // A plus sign stays one: media types have them, and nothing here has spaces.
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| RouteError::Query(format!("`{key}` is not UTF-8")))?;
            if place.replace(value.into_owned()).is_some() {
                return Err(RouteError::Query(format!("`{key}` stands twice")));
            }
        }
        // Clients that leave a parameter empty mean that they did not set it.
        query.ns = query.ns.filter(|ns| !ns.is_empty());
        query.last = query.last.filter(|last| !last.is_empty());
        query.artifact_type = query.artifact_type.filter(|wanted| !wanted.is_empty());
        Ok(query)
    }
}

#[cfg(test)]
mod tests;
