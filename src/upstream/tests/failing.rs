//! An upstream that fails: what counts as that, and how it is spared.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fake::{Fake, Reply};
use super::{build, claim, image, network, options, repository, upstream};
use crate::oci::{Reference, Tag};
use crate::upstream::{NetworkOptions, UpstreamError};

fn tag() -> Tag {
    "1".parse().unwrap()
}

#[tokio::test]
async fn who_fails_again_and_again_is_not_asked_each_time() {
    let fake = Fake::start(|_| Reply::status(429).header("retry-after", "3600")).await;
    let us = upstream(&fake);
    for _ in 0..5 {
        let error = us.resolve(&repository(), &tag()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::RateLimited { .. }), "{error}");
    }
    assert!(us.is_suspended());
    let (here, wanted) = (repository(), tag());
    let crowd = (0..50).map(|_| us.resolve(&here, &wanted));
    let answers = futures_util::future::join_all(crowd).await;
    let spared = answers.iter().filter(|answer| matches!(answer, Err(UpstreamError::Suspended { .. }))).count();
    // While it is young, a failure is waited for three seconds, in each of which one goes out.
    assert!(spared >= 46 && fake.seen().len() <= 9, "{spared} spared, {} went out", fake.seen().len());
    assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(|error| error.retry_after().is_some())));
}

/// A registry without its token service answers nobody.
#[tokio::test]
async fn a_token_service_that_is_away_counts() {
    let fake = Fake::start(|seen| match seen.target.starts_with("/token") {
        true => Reply::status(503),
        false => {
            let realm = format!("Bearer realm=\"http://{}/token\"", seen.headers["host"].to_str().unwrap());
            Reply::status(401).header("www-authenticate", realm)
        }
    })
    .await;
    let us = upstream(&fake);
    for _ in 0..5 {
        assert!(us.resolve(&repository(), &tag()).await.is_err());
    }
    assert_eq!(us.patience(&repository()), std::time::Duration::ZERO);
}

/// What the registry sends us to is not the registry.
#[tokio::test]
async fn a_redirects_target_that_is_away_does_not_count() {
    let cdn = Fake::start(|_| Reply::status(503)).await;
    let there = format!("{}/there", cdn.url());
    let fake = Fake::start(move |seen| match seen.target.contains("/blobs/") {
        true => Reply::redirect(307, there.clone()),
        false => Reply::ok(image(&[], None)),
    })
    .await;
    let us = upstream(&fake);
    for _ in 0..20 {
        let error = us.small_blob(&repository(), claim(b"content"), 100).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Unavailable { status: 503, .. }), "{error}");
    }
    us.manifest(&repository(), &Reference::Tag(tag())).await.unwrap();
    assert_eq!(cdn.seen().len(), 20);
}

/// A restart that hits a crowd opens the circuit; who was on the way gets through all the same.
#[tokio::test]
async fn calls_outlive_a_short_failure() {
    let asked = AtomicUsize::new(0);
    let fake = Fake::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0..8 => Reply::status(503),
        _ => Reply::ok(image(&[], None)),
    })
    .await;
    let us = build(options(&fake), NetworkOptions { retries: 3, ..network() });
    let ask = |n: usize| {
        let (us, tag) = (Arc::clone(&us), format!("{n}").parse().unwrap());
        async move { us.manifest(&repository(), &Reference::Tag(tag)).await }
    };
    for answer in futures_util::future::join_all((0..8).map(ask)).await {
        assert!(answer.is_ok(), "{answer:?}");
    }
    assert!(!us.is_suspended());
}
