//! What a client sees of each outcome. Headers that are on every response are left out here.

use super::*;
use crate::http::fixture::{Image, shown, shown_as};
use crate::pull::Servable;
use crate::telemetry::CacheOutcome;
use crate::trust::{self, Reason};
use insta::assert_snapshot;

fn manifest_route() -> Route {
    Route::Manifest { repository: "ghcr.io/acme/app".parse().unwrap(), reference: "1.0".parse().unwrap() }
}

fn blob_route() -> Route {
    Route::Blob { repository: "ghcr.io/acme/app".parse().unwrap(), digest: Digest::of(b"x") }
}

fn refusal(repository: &str, asked: &str) -> Refusal {
    Refusal {
        repository: repository.parse().unwrap(),
        asked: asked.to_owned(),
        reason: Reason::NoSignature,
        rule: Some("acme".to_owned()),
        detail: "no signature found\n(looked at: referrers)".to_owned(),
        next_step: "sign it".to_owned(),
        verdict: None,
    }
}

async fn error(error: PullError) -> String {
    shown(pull_error(&error, &manifest_route(), true)).await
}

#[tokio::test]
async fn a_refusal_is_403_and_says_why_in_three_places() {
    let refused = PullError::Refused(Box::new(refusal("ghcr.io/acme/app", "1.0")));
    assert_snapshot!(error(refused.clone()).await, @r#"
    403 assay: NO_SIGNATURE: ghcr.io/acme/app:1.0 (rule acme)
    assay-denial-reason: NO_SIGNATURE
    assay-verdict: refused; policy=acme; reason=NO_SIGNATURE
    cache-control: no-store
    content-length: 178
    content-type: application/json

    {"errors":[{"code":"DENIED","message":"assay: image refused: ghcr.io/acme/app:1.0: NO_SIGNATURE: no signature found (looked at: referrers) (rule \"acme\"). Next step: sign it"}]}
    "#);
    let head = shown_as(pull_error(&refused, &manifest_route(), true), true).await;
    let whole = error(refused.clone()).await;
    assert_eq!(head, whole.split_inclusive("\n\n").next().unwrap(), "HEAD differs only in the body");
    let quiet = shown(pull_error(&refused, &manifest_route(), false)).await;
    assert!(quiet.starts_with("403\n"), "{quiet}");
}

#[tokio::test]
async fn what_could_not_be_checked_is_no_refusal() {
    let image = "ghcr.io/acme/app:1.0".to_owned();
    let detail = "referrers: 500 from upstream".to_owned();
    let unknown = |retry_after| PullError::CouldNotCheck {
        image: image.clone(),
        detail: detail.clone(),
        retry_after,
        verdict: None,
    };
    assert_snapshot!(error(unknown(None)).await, @r#"
    503
    assay-verdict: unknown
    cache-control: no-store
    content-length: 147
    content-type: application/json
    retry-after: 5

    {"errors":[{"code":"UNAVAILABLE","message":"assay: could not check ghcr.io/acme/app:1.0: referrers: 500 from upstream: not a refusal; try again"}]}
    "#);
    let waiting = error(unknown(Some(Duration::from_millis(7200)))).await;
    assert!(waiting.contains("retry-after: 8\n"), "{waiting}");
}

#[tokio::test]
async fn upstreams_failures_are_not_ours() {
    let registry = "ghcr.io".parse().unwrap();
    let failed = |retry_after| PullError::Upstream {
        away: true,
        registry: "ghcr.io".parse().unwrap(),
        detail: "429 Too Many Requests".to_owned(),
        retry_after,
    };
    assert_snapshot!(error(failed(None)).await, @r#"
    502
    cache-control: no-store
    content-length: 101
    content-type: application/json

    {"errors":[{"code":"UNAVAILABLE","message":"assay: upstream ghcr.io failed: 429 Too Many Requests"}]}
    "#);
    assert_snapshot!(error(failed(Some(Duration::ZERO))).await, @r#"
    503
    cache-control: no-store
    content-length: 101
    content-type: application/json
    retry-after: 1

    {"errors":[{"code":"UNAVAILABLE","message":"assay: upstream ghcr.io failed: 429 Too Many Requests"}]}
    "#);
    let bad = PullError::BadContent { registry, digest: Digest::of(b"x"), detail: "it hashes to y".to_owned() };
    assert_snapshot!(error(bad).await, @r#"
    502
    cache-control: no-store
    content-length: 194
    content-type: application/json

    {"errors":[{"code":"UNAVAILABLE","message":"assay: content of sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881 from ghcr.io is not what its digest says: it hashes to y"}]}
    "#);
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let missing = PullError::NotFound { registry: "ghcr.io".parse().unwrap(), what: "acme/app:1.0".to_owned() };
    assert_snapshot!(shown(pull_error(&missing, &blob_route(), true)).await, @r#"
    404
    cache-control: no-store
    content-length: 83
    content-type: application/json

    {"errors":[{"code":"BLOB_UNKNOWN","message":"assay: ghcr.io has no acme/app:1.0"}]}
    "#);
    assert!(error(missing).await.contains("MANIFEST_UNKNOWN"));
    assert_snapshot!(error(PullError::UnknownRegistry("quay.io".parse().unwrap())).await, @r#"
    404
    cache-control: no-store
    content-length: 95
    content-type: application/json

    {"errors":[{"code":"NAME_UNKNOWN","message":"assay: registry quay.io is not configured here"}]}
    "#);
}

#[tokio::test]
async fn ranges_and_breakdowns() {
    assert_snapshot!(error(PullError::Range { size: 77 }).await, @r#"
    416
    cache-control: no-store
    content-length: 107
    content-range: bytes */77
    content-type: application/json

    {"errors":[{"code":"RANGE_INVALID","message":"assay: the range lies outside the 77 bytes of the content"}]}
    "#);
    let broken = error(PullError::Internal("cannot write /var/lib/assay/spool/3".into())).await;
    assert!(!broken.contains("/var/lib"));
    assert_snapshot!(broken, @r#"
    500
    cache-control: no-store
    content-length: 103
    content-type: application/json

    {"errors":[{"code":"UNAVAILABLE","message":"assay: internal error; the log of this proxy says which"}]}
    "#);
}

#[tokio::test]
async fn requests_that_are_none() {
    let mut seen = Vec::new();
    for error in [
        RouteError::Unsupported,
        RouteError::Name("A".parse::<crate::oci::Repository>().unwrap_err()),
        RouteError::Escape,
        RouteError::NoRepository,
        RouteError::Digest("sha512:0".parse::<Digest>().unwrap_err()),
        RouteError::Reference("`.x` is not a tag".to_owned()),
        RouteError::Query("`n` is not a number".to_owned()),
        RouteError::Host,
        RouteError::UnknownRegistry("quay.io".parse().unwrap()),
    ] {
        let text = shown(route_error(&error)).await;
        let body = text.split("\n\n").nth(1).unwrap();
        seen.push(format!("{} {body}", &text[..3]));
    }
    assert_snapshot!(seen.join("\n"), @r#"
    405 {"errors":[{"code":"UNSUPPORTED","message":"assay: only pulls are offered here: GET and HEAD of manifests, blobs, tags and referrers"}]}
    400 {"errors":[{"code":"NAME_INVALID","message":"assay: `A` is not a repository name (lower-case components of letters, digits, `.`, `_` and `-`, separated by `/`)"}]}
    400 {"errors":[{"code":"NAME_INVALID","message":"assay: the path has percent-encoded characters; image names have none"}]}
    400 {"errors":[{"code":"NAME_INVALID","message":"assay: the path names a registry but no repository"}]}
    400 {"errors":[{"code":"DIGEST_INVALID","message":"assay: digest algorithm `sha512` is not supported (only sha256 is)"}]}
    400 {"errors":[{"code":"MANIFEST_INVALID","message":"assay: `.x` is not a tag"}]}
    400 {"errors":[{"code":"UNSUPPORTED","message":"assay: `n` is not a number"}]}
    400 {"errors":[{"code":"UNSUPPORTED","message":"assay: the request must have one Host"}]}
    404 {"errors":[{"code":"NAME_UNKNOWN","message":"assay: registry quay.io is not configured here"}]}
    "#);
    assert!(shown(route_error(&RouteError::Unsupported)).await.contains("allow: GET, HEAD\n"));
}

#[tokio::test]
async fn content_carries_our_headers() {
    let image = Image::new().await;
    let shown_with = |servable: Servable, route: Route, head| {
        let answer = Answer { servable, cache: CacheOutcome::Hit };
        shown_as(content(answer, &route, &HeaderMap::new()), head)
    };
    assert_snapshot!(shown_with(image.manifest(), manifest_route(), false).await, @r#"
    200
    assay-cache: hit
    assay-verdict: off; policy=acme
    cache-control: private, no-cache
    content-length: 289
    content-type: application/vnd.oci.image.manifest.v1+json
    docker-content-digest: sha256:3983691f8cca2d0fe37d4b5d6eb36c14bf74a8381124f5eb40e3616fe1b20088
    etag: "sha256:3983691f8cca2d0fe37d4b5d6eb36c14bf74a8381124f5eb40e3616fe1b20088"

    {"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},"layers":[{"digest":"sha256:91e3faafd322bcdf160f3f0ce886acb092b9b9e2a1e8526b40f21a8898a8700b","size":200000}]}
    "#);
    assert_snapshot!(shown_with(image.layer_head(), blob_route(), true).await, @r#"
    200
    accept-ranges: bytes
    assay-cache: hit
    assay-verdict: off; policy=acme
    cache-control: private, no-cache
    content-length: 200000
    content-type: application/octet-stream
    docker-content-digest: sha256:91e3faafd322bcdf160f3f0ce886acb092b9b9e2a1e8526b40f21a8898a8700b
    etag: "sha256:91e3faafd322bcdf160f3f0ce886acb092b9b9e2a1e8526b40f21a8898a8700b"
    "#);
    assert_snapshot!(shown_with(image.layer_part(10..20).await, blob_route(), false).await, @r#"
    206
    accept-ranges: bytes
    assay-cache: hit
    assay-verdict: off; policy=acme
    cache-control: private, no-cache
    content-length: 10
    content-range: bytes 10-19/200000
    content-type: application/octet-stream
    docker-content-digest: sha256:91e3faafd322bcdf160f3f0ce886acb092b9b9e2a1e8526b40f21a8898a8700b
    etag: "sha256:91e3faafd322bcdf160f3f0ce886acb092b9b9e2a1e8526b40f21a8898a8700b"

    xxxxxxxxxx
    "#);
    let whole = shown_with(image.layer_whole().await, blob_route(), false).await;
    assert!(whole.starts_with("200\n") && whole.ends_with("200000 bytes"), "{whole}");
}

#[tokio::test]
async fn audit_tells_what_would_have_been() {
    let demand = trust::Demand::default();
    let image = Image::under(trust::Enforcement::Audit(demand)).await;
    let answer = Answer { servable: image.manifest(), cache: CacheOutcome::Fill };
    let text = shown(content(answer, &manifest_route(), &HeaderMap::new())).await;
    assert!(text.contains("assay-verdict: audit; policy=acme; reason=NO_SIGNATURE\n"), "{text}");
}

#[tokio::test]
async fn a_client_that_holds_the_content_gets_304_behind_the_gate() {
    let image = Image::new().await;
    let asked = |condition: &str| {
        let conditions = [(header::IF_NONE_MATCH, condition.parse().unwrap())].into_iter().collect();
        content(Answer { servable: image.manifest(), cache: CacheOutcome::Memory }, &manifest_route(), &conditions)
    };
    assert_snapshot!(shown(asked("*")).await, @r#"
    304
    assay-cache: memory
    assay-verdict: off; policy=acme
    cache-control: private, no-cache
    docker-content-digest: sha256:3983691f8cca2d0fe37d4b5d6eb36c14bf74a8381124f5eb40e3616fe1b20088
    etag: "sha256:3983691f8cca2d0fe37d4b5d6eb36c14bf74a8381124f5eb40e3616fe1b20088"
    "#);
    let tag = conditional::entity_tag(Digest::of(&image.manifest_bytes()));
    assert!(shown(asked(&format!("\"a\", W/{tag}"))).await.starts_with("304\n"));
    assert!(shown(asked("\"a\"")).await.starts_with("200\n"));
}

#[test]
fn phrases_are_short_and_plain() {
    let digest = Digest::of(b"x").to_string();
    assert_eq!(
        phrase(&refusal("ghcr.io/acme/app", &digest)),
        "assay: NO_SIGNATURE: ghcr.io/acme/app@sha256:2d711642b726 (rule acme)"
    );
    let long = format!("ghcr.io/{}/app", "a".repeat(200));
    let mut worst = refusal(&long, &"t".repeat(128));
    worst.rule = Some("r\u{e9}gle\r\nSet-Cookie: x=1 and so on and on".to_owned());
    worst.reason = Reason::KeyOutsideValidity;
    let text = phrase(&worst);
    assert!(text.len() <= PHRASE_MAX && text.starts_with("assay: KEY_OUTSIDE_VALIDITY: .."), "{text}");
    assert!(text.bytes().all(|b| b == b' ' || b.is_ascii_graphic()), "{text}");
    worst.rule = None;
    assert!(phrase(&worst).ends_with(" (no rule)"));
}

#[test]
fn messages_are_one_line_with_our_name() {
    assert_eq!(spoken("assay: a\r\nb\u{1b}c"), "assay: a  b c");
    assert_eq!(spoken("a"), "assay: a");
    assert!(spoken(&"x".repeat(10_000)).len() < 2100);
}
