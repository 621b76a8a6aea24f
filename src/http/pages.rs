//! The documents we write ourselves: printed from parsed values, never relayed.

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::oci::media_type::OCI_INDEX;
use crate::oci::{Descriptor, Tag};
use crate::pull::TagPage;

use super::reply::Reply;
use super::route::TagsAsk;

pub(super) const JSON: &str = "application/json";
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

/// Everything but what stands in tags and hosts.
const PARAMETER: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-');

/// Yes, this is a registry.
pub(super) fn ping() -> Reply {
    Reply::page(StatusCode::OK, JSON, "{}")
}

/// A page of tags, with a link to the next one.
pub(super) fn tags(ask: &TagsAsk, mut page: TagPage) -> Reply {
    #[derive(Serialize)]
    struct Page<'a> {
        name: &'a str,
        tags: Vec<&'a str>,
    }
    if let Some(n) = ask.n.map(|n| n as usize) {
        page.more |= page.tags.len() > n;
        page.tags.truncate(n);
    }
    let document = Page { name: &ask.name, tags: page.tags.iter().map(Tag::as_str).collect() };
    let reply = Reply::page(StatusCode::OK, JSON, json(&document));
    match page.tags.last() {
        Some(last) if page.more => reply.with_text(header::LINK, &next_page(ask, last)),
        _ => reply,
    }
}

fn next_page(ask: &TagsAsk, last: &Tag) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, PARAMETER).to_string();
    let n = ask.n.map(|n| format!("n={n}&")).unwrap_or_default();
    let ns = ask.ns.as_ref().map(|ns| format!("&ns={}", encoded(ns.as_str()))).unwrap_or_default();
    format!("</v2/{}/tags/list?{n}last={}{ns}>; rel=\"next\"", ask.name, encoded(last.as_str()))
}

/// The referrers of a digest, as an index. Filtered here where a client asks for one type.
pub(super) fn referrers(mut found: Vec<Descriptor>, artifact_type: Option<&str>) -> Reply {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Index<'a> {
        schema_version: u8,
        media_type: &'a str,
        manifests: &'a [Descriptor],
    }
    if let Some(wanted) = artifact_type {
        found.retain(|one| one.artifact_type.as_deref() == Some(wanted));
    }
    let index = Index { schema_version: 2, media_type: OCI_INDEX, manifests: &found };
    let reply = Reply::page(StatusCode::OK, OCI_INDEX, json(&index));
    match artifact_type {
        Some(_) => reply.with(FILTERS_APPLIED, HeaderValue::from_static("artifactType")),
        None => reply,
    }
}

fn json(document: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(document).expect("strings and numbers always serialise")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::shown;
    use super::*;
    use crate::oci::Digest;

    fn ask(n: Option<u32>, ns: Option<&str>) -> TagsAsk {
        TagsAsk {
            repository: "ghcr.io/acme/app".parse().unwrap(),
            name: "ghcr.io/acme/app".to_owned(),
            ns: ns.map(|ns| ns.parse().unwrap()),
            n,
            last: None,
        }
    }

    fn page(tags: &[&str], more: bool) -> TagPage {
        TagPage { tags: tags.iter().map(|tag| tag.parse().unwrap()).collect(), more }
    }

    #[tokio::test]
    async fn tags_are_printed_again_and_linked() {
        insta::assert_snapshot!(shown(tags(&ask(None, None), page(&["1", "2"], false))).await, @r#"
        200
        cache-control: private, no-cache
        content-length: 44
        content-type: application/json

        {"name":"ghcr.io/acme/app","tags":["1","2"]}
        "#);
        insta::assert_snapshot!(shown(tags(&ask(Some(2), None), page(&["1", "2"], true))).await, @r#"
        200
        cache-control: private, no-cache
        content-length: 44
        content-type: application/json
        link: </v2/ghcr.io/acme/app/tags/list?n=2&last=2>; rel="next"

        {"name":"ghcr.io/acme/app","tags":["1","2"]}
        "#);
        insta::assert_snapshot!(shown(tags(&ask(Some(1), Some("[::1]:80")), page(&["1", "2"], false))).await, @r#"
        200
        cache-control: private, no-cache
        content-length: 40
        content-type: application/json
        link: </v2/ghcr.io/acme/app/tags/list?n=1&last=1&ns=%5B%3A%3A1%5D%3A80>; rel="next"

        {"name":"ghcr.io/acme/app","tags":["1"]}
        "#);
        let none = shown(tags(&ask(Some(0), None), page(&["1"], true))).await;
        assert!(none.contains("\"tags\":[]") && !none.contains("link"), "{none}");
    }

    #[tokio::test]
    async fn referrers_are_an_index() {
        let one = |artifact_type: &str| Descriptor {
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
            digest: Digest::of(b"x"),
            size: 1,
            artifact_type: Some(artifact_type.to_owned()),
            platform: None,
            annotations: None,
        };
        insta::assert_snapshot!(shown(referrers(vec![one("a/b"), one("c/d")], Some("c/d"))).await, @r#"
        200
        cache-control: private, no-cache
        content-length: 259
        content-type: application/vnd.oci.image.index.v1+json
        oci-filters-applied: artifactType

        {"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881","size":1,"artifactType":"c/d"}]}
        "#);
        let all = shown(referrers(vec![one("a/b"), one("c/d")], None)).await;
        assert!(all.contains("a/b") && !all.contains("oci-filters-applied"), "{all}");
        assert!(shown(referrers(vec![], None)).await.ends_with(r#""manifests":[]}"#));
    }
}
