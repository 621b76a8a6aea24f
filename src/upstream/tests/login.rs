//! Who gets our credentials, and how often we ask for tokens.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::fake::{Fake, Reply, Seen};
use super::{build, image, network, options, repository, upstream, with_login};
use crate::oci::{Reference, Tag};
use crate::upstream::{UpstreamError, UpstreamOptions};

const BASIC: &str = "Basic bWU6c2VjcmV0";

fn tag() -> Tag {
    "1".parse().unwrap()
}

fn challenge(realm: &str) -> Reply {
    let value = format!(r#"Bearer realm="{realm}",service="the registry",scope="repository:other/repo:pull,push""#);
    Reply::status(401).header("www-authenticate", value)
}

/// A registry whose own `/token` gives `tokens[n]` to the n-th caller and takes `accepted` only.
async fn bearer(tokens: &'static [&'static str], accepted: impl Fn(&str) -> bool + Send + Sync + 'static) -> Fake {
    let given = AtomicUsize::new(0);
    Fake::start(move |seen| {
        let host = seen.headers["host"].to_str().unwrap();
        if seen.target.starts_with("/token") {
            let token = tokens[given.fetch_add(1, Ordering::SeqCst).min(tokens.len() - 1)];
            return Reply::ok(format!(r#"{{"token":"{token}","expires_in":300}}"#)).after(Duration::from_millis(50));
        }
        match seen.authorization() {
            Some(sent) if sent.strip_prefix("Bearer ").is_some_and(&accepted) => Reply::ok(image(&[], None)),
            _ => challenge(&format!("http://{host}/token")),
        }
    })
    .await
}

#[tokio::test]
async fn an_anonymous_pull_sends_only_headers_of_ours() {
    let fake = Fake::start(|_| Reply::ok(image(&[], None))).await;
    upstream(&fake).manifest(&repository(), &Reference::Tag(tag())).await.unwrap();
    let seen = fake.seen();
    assert_eq!(seen[0].target, "/v2/acme/app/manifests/1");
    let mut names: Vec<_> = seen[0].headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept", "accept-encoding", "host", "user-agent"]);
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
    assert!(seen[0].headers["user-agent"].to_str().unwrap().starts_with("assay/"));
}

#[tokio::test]
async fn basic_is_sent_when_asked_for_and_remembered() {
    let fake = Fake::start(|seen| match seen.authorization() {
        Some(BASIC) => Reply::ok(image(&[], None)),
        _ => Reply::status(401).header("www-authenticate", "Basic realm=\"x\""),
    })
    .await;
    let us = build(with_login(&fake), network());
    for _ in 0..2 {
        us.manifest(&repository(), &Reference::Tag(tag())).await.unwrap();
    }
    let sent: Vec<_> = fake.seen().iter().map(|seen| seen.authorization().map(str::to_owned)).collect();
    assert_eq!(sent, [None, Some(BASIC.to_owned()), Some(BASIC.to_owned())]);

    let error = upstream(&fake).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(error.to_string().contains("no credentials are configured"), "{error}");
}

#[tokio::test]
async fn a_crowd_makes_one_token_request() {
    let fake = bearer(&["one"], |token| token == "one").await;
    let us = build(with_login(&fake), network());
    let crowd: Vec<_> = (0..24)
        .map(|_| {
            let us = Arc::clone(&us);
            tokio::spawn(async move { us.manifest(&repository(), &Reference::Tag(tag())).await.map(drop) })
        })
        .collect();
    for one in crowd {
        one.await.unwrap().unwrap();
    }
    assert_eq!(fake.count("/token"), 1);
    let token = fake.seen().into_iter().find(|seen| seen.target.starts_with("/token")).unwrap();
    assert_eq!(token.target, "/token?service=the+registry&scope=repository%3Aacme%2Fapp%3Apull");
    assert_eq!(token.authorization(), Some(BASIC));
}

#[tokio::test]
async fn a_token_that_stopped_working_is_replaced_once() {
    let checks = AtomicUsize::new(0);
    // "one" is good for the first question only.
    let accepted = move |token: &str| checks.fetch_add(1, Ordering::SeqCst) == 0 || token == "two";
    let fake = bearer(&["one", "two"], accepted).await;
    let us = upstream(&fake);
    for _ in 0..3 {
        us.manifest(&repository(), &Reference::Tag(tag())).await.unwrap();
    }
    assert_eq!(fake.count("/token"), 2);

    let fake = bearer(&["useless"], |_| false).await;
    let error = upstream(&fake).manifest(&repository(), &Reference::Tag(tag())).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unauthorized { .. }), "{error}");
    assert_eq!((fake.count("/token"), fake.count("/v2/")), (1, 2));
}

#[tokio::test]
async fn a_realm_elsewhere_never_gets_the_credentials() {
    let elsewhere = Fake::start(|_| Reply::ok(r#"{"token":"t"}"#)).await;
    let realm = format!("{}/token", elsewhere.url());
    let fake = Fake::start(move |seen| match seen.authorization() {
        Some("Bearer t") => Reply::ok(image(&[], None)),
        _ => challenge(&realm),
    })
    .await;
    let error = build(with_login(&fake), network()).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Blocked { .. }), "{error}");
    let wanted = format!("add `{}` to upstream.\"reg.example\".token_realms", elsewhere.address);
    assert!(error.to_string().contains(&wanted), "{error}");
    assert_eq!(elsewhere.seen().len(), 0);

    let listed = UpstreamOptions { token_realms: vec![elsewhere.address.to_string()], ..with_login(&fake) };
    build(listed, network()).resolve(&repository(), &tag()).await.unwrap();
    assert_eq!(elsewhere.seen()[0].authorization(), Some(BASIC));
    assert!(fake.seen().iter().all(|seen| seen.authorization() != Some(BASIC)));
}

#[tokio::test]
async fn a_token_service_can_neither_flood_nor_redirect_nor_inject() {
    let answers: [fn(&Seen) -> Reply; 4] = [
        |_| Reply::endless(),
        |_| Reply::redirect(307, "/other"),
        |_| Reply::ok(r#"{"token":"a\r\nX: y"}"#),
        |_| Reply::ok(r#"{"token":"a"}"#).header("content-encoding", "gzip"),
    ];
    for answer in answers {
        let fake = Fake::start(move |seen| match seen.target.starts_with("/token") {
            true => answer(seen),
            false => challenge(&format!("http://{}/token", seen.headers["host"].to_str().unwrap())),
        })
        .await;
        let error = build(with_login(&fake), network()).resolve(&repository(), &tag()).await.unwrap_err();
        assert!(
            matches!(
                error,
                UpstreamError::TooLarge { .. } | UpstreamError::Blocked { .. } | UpstreamError::Lied { .. }
            ),
            "{error}"
        );
        assert_eq!(fake.count("/other"), 0);
    }
}

#[tokio::test]
async fn refusals_of_the_token_service_are_told_apart() {
    for (status, want) in [(401, "login refused"), (403, "login refused"), (404, "not found"), (418, "status 418")] {
        let fake = Fake::start(move |seen| match seen.target.starts_with("/token") {
            true => Reply::status(status),
            false => challenge(&format!("http://{}/token", seen.headers["host"].to_str().unwrap())),
        })
        .await;
        let error = build(options(&fake), network()).resolve(&repository(), &tag()).await.unwrap_err();
        assert!(error.to_string().contains(want), "{status}: {error}");
    }
}
