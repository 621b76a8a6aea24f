//! What fuzz targets see of this folder: the readers of what upstreams write. Compiled for `cargo fuzz` only.

use url::Url;

use super::challenge::Challenge;
use super::guard::Guard;
use super::options::{Proxy, UpstreamOptions};
use super::referrers::{Annotations, Referrers};
use super::{link, listing, redirect};
use crate::oci::Tag;

/// The registry that answers, and the page of a list that it answers with.
const OWN: &str = "https://reg.example";
const PAGE: &str = "https://reg.example/v2/a/b/tags/list?n=10";

/// Reads a page of referrers: up to `max` entries, and how many were left out.
///
/// # Errors
/// When it is no such page.
pub fn referrers(page: &[u8], max: usize) -> Result<Referrers, String> {
    let mut found = Referrers::default();
    found.add(page, max, Annotations::All).map(|()| found)
}

/// Reads a list of tags.
///
/// # Errors
/// When it is none.
pub fn tags(page: &[u8]) -> Result<Vec<Tag>, serde_json::Error> {
    listing::tags_in(page)
}

/// The page that a `Link` header leads to, from a page of ours.
///
/// # Errors
/// When it leads to another resource.
pub fn next_page(header: &str) -> Result<Option<Url>, String> {
    link::next_page(&url(PAGE), header)
}

/// The realms of the challenges in a `WWW-Authenticate` header, or `None` when it cannot be read.
pub fn realms(header: &str) -> Option<Vec<String>> {
    let challenges = Challenge::parse_all(header).ok()?;
    Some(challenges.iter().filter_map(|one| one.param("realm").map(str::to_owned)).collect())
}

/// Where a redirect leads from a page of ours, and whether the login goes along.
///
/// # Errors
/// When we do not go there.
pub fn redirect(location: &str) -> Result<(Url, bool), String> {
    let options = UpstreamOptions::new("reg.example".parse().map_err(|_| "no registry")?, url(OWN));
    let guard = Guard::new(&options, &Proxy::None).map_err(|why| why.to_string())?;
    redirect::step(&guard, &url(PAGE), Some(location)).map(|step| (step.url, step.same_origin))
}

fn url(text: &str) -> Url {
    text.parse().expect("a URL of our own")
}
