//! What fuzz targets see of this folder: the readers of what clients write. Compiled for `cargo fuzz` only.

use http::{HeaderMap, Method, Uri};

use super::conditional;
use super::route::{Upstreams, route};
use crate::oci::{Digest, RangeAsk, Registry, Repository};

/// What a request asks for, as far as a target looks at it.
#[derive(Debug)]
pub struct Asked {
    /// Whose content.
    pub repository: Option<Repository>,
    /// The digest in the path.
    pub digest: Option<Digest>,
    /// As a person would write it.
    pub image: Option<String>,
}

/// Reads a request's target, with docker.io (the default), ghcr.io and localhost:5000 configured.
///
/// # Errors
/// A sentence for the client.
pub fn asked(target: &str, host: Option<&str>) -> Result<Asked, String> {
    let uri: Uri = target.parse().map_err(|_| "no target of a request")?;
    let default = Registry::docker_hub();
    let knows = |registry: &Registry| ["docker.io", "ghcr.io", "localhost:5000"].contains(&registry.as_str());
    let found = route(&Method::GET, &uri, host, &Upstreams { default: &default, knows: &knows });
    let found = found.map_err(|why| why.to_string())?;
    Ok(Asked { repository: found.repository().cloned(), digest: found.digest(), image: found.image() })
}

/// Whether the headers say that the client holds this content, and which range of it they ask for.
pub fn conditions(headers: &HeaderMap, digest: Digest) -> (bool, Option<RangeAsk>) {
    (conditional::is_held(headers, digest), conditional::range(headers, digest))
}
