//! Lists that come in pages, and the list of tags.

use bytes::Bytes;
use http::header::LINK;
use serde::Deserialize;

use super::client::Client;
use super::error::UpstreamError;
use super::link;
use super::transport::Answer;
use crate::oci::{MANIFEST_MAX, Repository, Tag};

/// Largest page of a list, as for manifests; a million tags have no place in memory.
const PAGE_BYTES_MAX: u64 = MANIFEST_MAX as u64;

/// Some tags of a repository, as upstream says.
#[derive(Clone, Debug, Default)]
pub struct TagPage {
    /// In upstream's order; what is no tag is left out.
    pub tags: Vec<Tag>,
    /// There are more: ask again with the last one.
    pub more: bool,
}

/// One page of a list.
pub(super) struct Page {
    pub(super) link: Option<String>,
    pub(super) body: Bytes,
}

impl Client {
    /// Asks for tags: at most `n`, those behind `last`.
    ///
    /// # Errors
    /// `TooLarge` for a page of more than 4 MiB, `Lied` when it is no list of tags; see
    /// [`UpstreamError`]. Ends within 30 s. Cancel safe.
    pub(super) async fn tags(
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
        let tags = tags_in(&page.body)
            .map_err(|_| UpstreamError::Lied { asked: ask.asked, lie: "answers with no list of tags".to_owned() })?;
        Ok(TagPage { tags, more })
    }
}

/// The registry's answer; `tags` may be `null` for an empty repository.
#[derive(Deserialize)]
struct TagList {
    tags: Option<Vec<String>>,
}

/// The tags of a page; what is no tag is left out.
pub(super) fn tags_in(page: &[u8]) -> serde_json::Result<Vec<Tag>> {
    let list: TagList = serde_json::from_slice(page)?;
    Ok(list.tags.unwrap_or_default().iter().filter_map(|tag| tag.parse().ok()).collect())
}

pub(super) async fn read_page(answer: Answer) -> Result<Page, UpstreamError> {
    let link = answer.header(&LINK).map(str::to_owned);
    Ok(Page { link, body: answer.read(PAGE_BYTES_MAX).await? })
}
