//! What we take for content, and what we make of failures.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::fake::{Fake, Reply};
use super::{build, claim, image, index, network, options, repository, upstream};
use crate::oci::{Digest, Reference, Tag};
use crate::upstream::{NetworkOptions, UpstreamError};

fn tag() -> Tag {
    "1".parse().unwrap()
}

/// One answer to a manifest request by tag.
async fn manifest(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Result<Bytes, UpstreamError> {
    let fake = Fake::start(move |_| reply()).await;
    upstream(&fake).manifest(&repository(), &Reference::Tag(tag())).await.map(|manifest| manifest.bytes().clone())
}

/// One answer to a blob request: its bytes, and how it ended.
async fn blob(size: u64, reply: impl Fn() -> Reply + Send + Sync + 'static) -> (Vec<u8>, Result<(), UpstreamError>) {
    let fake = Fake::start(move |_| reply()).await;
    let network = NetworkOptions { read_timeout: Duration::from_millis(200), ..network() };
    let claim = crate::oci::Claim { size, ..claim(b"content") };
    let mut bytes = Vec::new();
    let mut stream = match build(options(&fake), network).blob(&repository(), claim).await {
        Ok(stream) => stream,
        Err(error) => return (bytes, Err(error)),
    };
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => {
                assert!(stream.next().await.is_none(), "it is over after an error");
                return (bytes, Err(error));
            }
        }
    }
    (bytes, Ok(()))
}

#[tokio::test]
async fn a_tag_resolves_to_what_upstream_claims() {
    let digest = Digest::of(b"x");
    for (header, want) in [(digest.to_string(), Some(digest)), ("sha512:00".to_owned(), None), (String::new(), None)] {
        let fake = Fake::start(move |_| Reply::ok("").header("docker-content-digest", header.clone())).await;
        assert_eq!(upstream(&fake).resolve(&repository(), &tag()).await.unwrap(), want);
        assert_eq!(fake.seen()[0].method, "HEAD");
    }
    let fake = Fake::start(|_| Reply::status(404)).await;
    let error = upstream(&fake).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::NotFound { .. }));
    assert_eq!(error.to_string(), format!("manifest reg.example/acme/app:1 at {}: not found", fake.address));
}

#[tokio::test]
async fn an_endless_manifest_stops_at_the_limit() {
    let error = manifest(Reply::endless).await.unwrap_err();
    assert!(matches!(error, UpstreamError::TooLarge { limit: 4_194_304, .. }), "{error}");
    let error = manifest(|| Reply::cut("", 1 << 40)).await.unwrap_err();
    assert!(matches!(error, UpstreamError::TooLarge { .. }), "by its announced length alone: {error}");
}

#[tokio::test]
async fn encoded_content_is_refused() {
    for (coding, good) in [("gzip", false), ("identity, br", false), ("x-unknown", false), ("identity", true)] {
        let result = manifest(move || Reply::ok(image(&[], None)).header("content-encoding", coding)).await;
        assert_eq!(result.is_ok(), good, "{coding}");
        let (_, end) = blob(7, move || Reply::ok("content").header("content-encoding", coding)).await;
        assert_eq!(end.is_ok(), good, "{coding}");
    }
}

#[tokio::test]
async fn a_manifest_asked_by_digest_has_that_digest() {
    let (asked, other) = (image(&[], None), index(&[]));
    let fake = Fake::start(move |_| Reply::ok(index(&[]))).await;
    let us = upstream(&fake);
    let error = us.manifest(&repository(), &Reference::Digest(Digest::of(&asked))).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lied { .. }), "{error}");
    let honest = us.manifest(&repository(), &Reference::Digest(Digest::of(&other))).await.unwrap();
    assert_eq!(honest.bytes(), &other);
}

#[tokio::test]
async fn what_is_no_manifest_is_refused() {
    for reply in [
        || Reply::ok("<html>"),
        || Reply::ok(""),
        || Reply::ok(image(&[], None)).header("content-type", "text/html"),
        || Reply::ok(image(&[], None)).header("content-type", super::INDEX),
    ] {
        let error = manifest(reply).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Manifest { .. }), "{error}");
    }
    assert!(manifest(|| Reply::ok(image(&[], None)).header("content-type", super::MANIFEST)).await.is_ok());
}

#[tokio::test]
async fn a_web_page_for_a_tag_says_nothing_about_the_image() {
    let page = |kind: &'static str| move || Reply::ok("<html>").header("content-type", kind);
    for kind in ["text/html", "Text/HTML; charset=utf-8", "text/plain"] {
        let error = manifest(page(kind)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::NoManifest { .. }) && error.away().is_some(), "{error}");
    }
    for kind in ["application/json", super::MANIFEST] {
        let error = manifest(page(kind)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Manifest { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_blob_has_its_claimed_length_or_an_error() {
    let content = || b"content".to_vec();
    let (bytes, end) = blob(7, || Reply::ok("content")).await;
    assert_eq!((bytes, end.is_ok()), (content(), true));
    let (bytes, end) = blob(7, || Reply::chunked("content")).await;
    assert_eq!((bytes, end.is_ok()), (content(), true));
    for complete in [Reply::chunked_and_cut, Reply::stalled] {
        let (bytes, end) = blob(7, move || complete("content")).await;
        assert_eq!((bytes, end.is_ok()), (content(), true), "all came, whatever happens then");
    }
    let (bytes, end) = blob(8, || Reply::chunked_and_cut("content")).await;
    assert!(matches!(end, Err(UpstreamError::Cut { seen: 7, .. })), "{end:?}");
    assert_eq!(bytes, content());
    let (bytes, end) = blob(0, || Reply::ok("")).await;
    assert_eq!((bytes, end.is_ok()), (Vec::new(), true));

    for size in [6, 8] {
        let (bytes, end) = blob(size, || Reply::ok("content")).await;
        assert!(matches!(end, Err(UpstreamError::Lied { .. })) && bytes.is_empty(), "{end:?}");
    }
    let (bytes, end) = blob(8, || Reply::chunked("content")).await;
    assert!(matches!(end, Err(UpstreamError::Cut { seen: 7, .. })), "{end:?}");
    assert_eq!(bytes, content());
    let (bytes, end) = blob(8, || Reply::cut("content", 8)).await;
    assert!(matches!(end, Err(UpstreamError::Cut { seen: 7, .. })), "{end:?}");
    assert_eq!(bytes, content());
    let (bytes, end) = blob(7, || Reply::chunked("content and more")).await;
    assert!(matches!(end, Err(UpstreamError::Lied { .. })) && bytes.len() <= 7, "{end:?}");
    let (bytes, end) = blob(1 << 20, Reply::endless).await;
    assert!(matches!(end, Err(UpstreamError::Lied { .. })) && bytes.len() <= 1 << 20, "{end:?}");
    let (bytes, end) = blob(8, || Reply::stalled("content")).await;
    assert!(matches!(end, Err(UpstreamError::TimedOut { .. })), "{end:?}");
    assert_eq!(bytes, content());
    for status in [204, 206] {
        let (_, end) = blob(0, move || Reply::status(status)).await;
        assert!(matches!(end, Err(UpstreamError::Unavailable { .. })), "{status}: {end:?}");
    }
}

/// The rest of "content" from its fourth byte on, and how it ended.
async fn rest(reply: impl Fn() -> Reply + Send + Sync + 'static) -> Result<Vec<u8>, UpstreamError> {
    let fake = Fake::start(move |_| reply()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    let mut stream = upstream(&fake).blob_from(&repository(), claim(b"content"), 3, deadline, || ()).await?;
    assert_eq!(fake.seen()[0].headers["range"], "bytes=3-");
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

#[tokio::test]
async fn the_rest_of_a_blob_begins_where_it_was_asked_for() {
    let part = |range: &str| {
        let range = range.to_owned();
        move || Reply::ok("tent").partial().header("content-range", range.clone())
    };
    for honest in ["bytes 3-6/7", "bytes 3-6/*"] {
        assert_eq!(rest(part(honest)).await.unwrap(), b"tent");
    }
    for other in ["bytes 2-6/7", "bytes 4-6/7", "bytes 3-6/8", "bytes */7", "items 3-6/7", "3-6/7", ""] {
        let error = rest(part(other)).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Lied { .. }), "{other}: {error}");
    }
    assert_eq!(rest(|| Reply::ok("content")).await.unwrap(), b"tent", "all of it, from the beginning");
    assert_eq!(rest(|| Reply::chunked("content")).await.unwrap(), b"tent");
    let error = rest(|| Reply::chunked("con")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Cut { seen: 3, .. }), "{error}");
    let error = rest(|| Reply::ok("contents")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lied { .. }), "{error}");
    let error = rest(|| Reply::ok("tents").partial().header("content-range", "bytes 3-6/7")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lied { .. }), "more than is left: {error}");
}

#[tokio::test]
async fn a_small_blob_fits_its_claim_or_is_an_error() {
    let fake = Fake::start(|seen| match seen.target.rsplit('/').next() {
        Some(digest) if digest == Digest::of(b"content").to_string() => Reply::chunked("content"),
        _ => Reply::ok("CONTENT"),
    })
    .await;
    let us = upstream(&fake);
    assert_eq!(us.small_blob(&repository(), claim(b"content"), 7).await.unwrap(), "content");
    let error = us.small_blob(&repository(), claim(b"content"), 6).await.unwrap_err();
    assert!(matches!(error, UpstreamError::TooLarge { limit: 6, .. }), "{error}");
    assert_eq!(fake.seen().len(), 1, "too large by its claim is not asked for");
    for (wanted, size) in [(&b"other 7"[..], 7), (b"content", 6), (b"CONTENT", 8)] {
        let lying = crate::oci::Claim { size, ..claim(wanted) };
        let error = us.small_blob(&repository(), lying, 100).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Lied { .. } | UpstreamError::Cut { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_passing_failure_is_tried_again() {
    let patient = NetworkOptions { retries: 2, ..network() };
    let asked = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::status(503).header("retry-after", "0"),
        1 => Reply::cut("{", 100),
        _ => Reply::ok(image(&[], None)),
    })
    .await;
    build(options(&fake), patient.clone()).manifest(&repository(), &Reference::Tag(tag())).await.unwrap();
    assert_eq!(fake.seen().len(), 3);

    for (status, requests) in [(500, 2), (404, 1), (403, 1), (400, 1)] {
        let fake = Fake::start(move |_| Reply::status(status)).await;
        let once = NetworkOptions { retries: 1, ..network() };
        assert!(build(options(&fake), once).resolve(&repository(), &tag()).await.is_err());
        assert_eq!(fake.seen().len(), requests, "{status}");
    }
}

#[tokio::test]
async fn a_long_retry_after_is_passed_on_at_once() {
    let fake = Fake::start(|_| Reply::status(429).header("retry-after", "60")).await;
    let start = Instant::now();
    let patient = NetworkOptions { retries: 3, ..network() };
    let error = build(options(&fake), patient).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::RateLimited { .. }), "{error}");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(60)));
    assert_eq!(fake.seen().len(), 1);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_silent_or_missing_upstream_is_no_404() {
    let fake = Fake::start(|_| Reply::status(404).after(Duration::from_secs(60))).await;
    let hasty = NetworkOptions {
        read_timeout: Duration::from_millis(100),
        connect_timeout: Duration::from_millis(100),
        ..network()
    };
    let error = build(options(&fake), hasty).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::TimedOut { .. }), "{error}");

    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let gone = crate::upstream::UpstreamOptions::new(super::registry(), url.parse().unwrap());
    let error = build(gone, network()).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn plain_http_behind_an_https_url_is_recognised() {
    let fake = Fake::start(|_| Reply::ok("")).await;
    let asked = |url: String| async move {
        let options = crate::upstream::UpstreamOptions::new(super::registry(), url.parse().unwrap());
        build(options, network()).resolve(&repository(), &tag()).await
    };
    let error = asked(format!("https://{}", fake.address)).await.unwrap_err();
    assert!(format!("{error:?}").contains("does it speak plain HTTP?"), "{error:?}");
    asked(format!("http://{}", fake.address)).await.unwrap();
}

#[tokio::test]
async fn a_path_in_front_of_v2_is_kept() {
    let fake = Fake::start(|_| Reply::ok("")).await;
    let url = format!("{}/a/b/", fake.url());
    let options = crate::upstream::UpstreamOptions::new(super::registry(), url.parse().unwrap());
    build(options, network()).resolve(&repository(), &tag()).await.unwrap();
    assert_eq!(fake.seen()[0].target, "/a/b/v2/acme/app/manifests/1");
}
