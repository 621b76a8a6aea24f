//! Lists that an upstream keeps: referrers of a digest, and tags.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LINK};
use serde::Deserialize;

use super::client::Upstream;
use super::error::UpstreamError;
use super::link;
use super::transport::Answer;
use crate::oci::{Descriptor, Digest, MANIFEST_MAX, Manifest, Repository, Tag, media_type};

/// Most pages of one list of referrers.
const PAGES_MAX: usize = 4;
/// Largest page of a list, as for manifests; a million tags have no place in memory.
const PAGE_BYTES_MAX: u64 = MANIFEST_MAX as u64;

/// What refers to a digest, as upstream says.
#[derive(Clone, Debug, Default)]
pub struct Referrers {
    /// In upstream's order.
    pub descriptors: Vec<Descriptor>,
    /// There are more than we took.
    pub truncated: bool,
}

/// Some tags of a repository, as upstream says.
#[derive(Clone, Debug, Default)]
pub struct TagPage {
    /// In upstream's order; what is no tag is left out.
    pub tags: Vec<Tag>,
    /// There are more: ask again with the last one.
    pub more: bool,
}

/// One page of a list.
struct Page {
    is_index: bool,
    link: Option<String>,
    body: Bytes,
}

impl Upstream {
    /// Asks for everything that refers to `subject` (distribution spec, "Listing Referrers"), without a
    /// filter: registries report types differently. Follows up to 4 pages and takes up to `max` entries.
    /// `None` means that the registry has no such list, not that the list is empty.
    ///
    /// # Errors
    /// See [`UpstreamError`]; a page may take 30 s. Cancel safe.
    pub async fn referrers(
        &self,
        repository: &Repository,
        subject: Digest,
        max: usize,
    ) -> Result<Option<Referrers>, UpstreamError> {
        let mut ask = self.ask(
            repository,
            format_args!("referrers/{subject}"),
            media_type::OCI_INDEX,
            format_args!("referrers of {repository}@{subject}"),
        );
        let mut found = Referrers::default();
        for number in 0..PAGES_MAX {
            let page = match self.call(&ask, read_index_page).await {
                Err(error) if number == 0 && means_no_such_list(&error) => return Ok(None),
                Ok(page) if number == 0 && !page.is_index => return Ok(None),
                page => page?,
            };
            let asked = || ask.asked.clone();
            // Later pages must be what the first one was; the type that they are read as says so.
            let index = Manifest::parse(page.body, Some(media_type::OCI_INDEX))
                .map_err(|source| UpstreamError::Manifest { asked: asked(), source })?;
            let index = index.index().map(|index| index.manifests.as_slice()).unwrap_or_default();
            let room = max.saturating_sub(found.descriptors.len());
            found.descriptors.extend(index.iter().take(room).cloned());
            found.truncated |= index.len() > room;
            let next = page.link.map(|header| link::next_page(&ask.url, &header)).transpose();
            let next = next.map_err(|why| UpstreamError::Blocked { asked: asked(), why })?.flatten();
            let Some(next) = next else {
                return Ok(Some(found));
            };
            if found.truncated {
                return Ok(Some(found));
            }
            ask.url = next;
        }
        found.truncated = true;
        Ok(Some(found))
    }

    /// Asks for tags: at most `n`, those behind `last`.
    ///
    /// # Errors
    /// `TooLarge` for a page of more than 4 MiB, `Lied` when it is no list of tags; see
    /// [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub async fn tags(
        &self,
        repository: &Repository,
        n: Option<u32>,
        last: Option<&Tag>,
    ) -> Result<TagPage, UpstreamError> {
        let mut ask =
            self.ask(repository, format_args!("tags/list"), "application/json", format_args!("tags of {repository}"));
        if n.is_some() || last.is_some() {
            let mut query = ask.url.query_pairs_mut();
            n.map(|n| query.append_pair("n", &n.to_string()));
            last.map(|last| query.append_pair("last", last.as_str()));
        }
        let page = self.call(&ask, read_page).await?;
        let more = page.link.is_some_and(|header| link::next(&header).is_some());
        let list: TagList = serde_json::from_slice(&page.body)
            .map_err(|_| UpstreamError::Lied { asked: ask.asked, lie: "answers with no list of tags".to_owned() })?;
        let tags = list.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()).collect();
        Ok(TagPage { tags, more })
    }
}

/// The registry's answer; `tags` may be `null` for an empty repository.
#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

/// How registries without the referrers API answer.
fn means_no_such_list(error: &UpstreamError) -> bool {
    matches!(error, UpstreamError::NotFound { .. } | UpstreamError::Unavailable { status: 400 | 405 | 406, .. })
}

async fn read_index_page(answer: Answer) -> Result<Page, UpstreamError> {
    let sent_as = answer.header(&CONTENT_TYPE).unwrap_or_default();
    if !sent_as.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type::OCI_INDEX) {
        return Ok(Page { is_index: false, link: None, body: Bytes::new() });
    }
    read_page(answer).await
}

async fn read_page(answer: Answer) -> Result<Page, UpstreamError> {
    let link = answer.header(&LINK).map(str::to_owned);
    Ok(Page { is_index: true, link, body: answer.read(PAGE_BYTES_MAX).await? })
}
