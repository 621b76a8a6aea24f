//! Where an upstream can send us, and what goes along.

use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};

use super::fake::{Fake, Reply};
use super::{build, claim, image, network, options, repository, upstream, with_login};
use crate::oci::{Reference, Tag};
use crate::upstream::{NetworkOptions, Proxy, UpstreamError, UpstreamOptions};

fn tag() -> Tag {
    "1".parse().unwrap()
}

/// A registry that wants Basic and redirects who has it.
async fn redirecting(location: String) -> Fake {
    Fake::start(move |seen| match seen.authorization() {
        _ if seen.target == "/here" => Reply::ok("content"),
        Some(_) => Reply::redirect(307, location.clone()),
        None => Reply::status(401).header("www-authenticate", "Basic realm=x"),
    })
    .await
}

#[tokio::test]
async fn the_login_stays_on_its_origin() {
    let cdn = Fake::start(|_| Reply::ok("content")).await;
    let fake = redirecting(format!("{}/there", cdn.url())).await;
    build(with_login(&fake), network()).small_blob(&repository(), claim(b"content"), 100).await.unwrap();
    assert_eq!(cdn.seen()[0].target, "/there");
    assert_eq!(cdn.seen()[0].authorization(), None, "another port is another origin");

    let fake = redirecting("/here".to_owned()).await;
    build(with_login(&fake), network()).small_blob(&repository(), claim(b"content"), 100).await.unwrap();
    let seen = fake.seen();
    assert_eq!(seen.last().unwrap().target, "/here");
    assert!(seen.last().unwrap().authorization().is_some(), "the same origin keeps it");
}

#[tokio::test]
async fn the_login_does_not_come_back_on_later_steps() {
    let cdn = Fake::start(|seen| match seen.target.as_str() {
        "/there" => Reply::redirect(302, "/further"),
        _ => Reply::ok("content"),
    })
    .await;
    let fake = redirecting(format!("{}/there", cdn.url())).await;
    build(with_login(&fake), network()).small_blob(&repository(), claim(b"content"), 100).await.unwrap();
    assert_eq!(cdn.seen().len(), 2);
    assert!(cdn.seen().iter().all(|seen| seen.authorization().is_none()));
}

#[tokio::test]
async fn a_redirects_target_cannot_ask_for_our_login() {
    let cdn = Fake::start(|_| Reply::status(401).header("www-authenticate", "Basic realm=x")).await;
    let there = format!("{}/there", cdn.url());
    let fake = Fake::start(move |_| Reply::redirect(307, there.clone())).await;
    let error = build(with_login(&fake), network()).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unauthorized { .. }), "{error}");
    assert_eq!(cdn.seen().len(), 1);
}

#[tokio::test]
async fn manifests_are_redirected_too_with_their_method() {
    let cdn = Fake::start(|_| Reply::ok(image(&[], None))).await;
    let there = format!("{}/there", cdn.url());
    let fake = Fake::start(move |_| Reply::redirect(303, there.clone())).await;
    let us = upstream(&fake);
    us.manifest(&repository(), &Reference::Tag(tag())).await.unwrap();
    us.resolve(&repository(), &tag()).await.unwrap();
    assert_eq!(cdn.seen().iter().map(|seen| seen.method.clone()).collect::<Vec<_>>(), ["GET", "HEAD"]);
}

#[tokio::test]
async fn internal_addresses_are_out_of_reach() {
    for bad in [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/",
        "http://192.168.0.1:8080/",
        "http://[fe80::1]/",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0/",
        "http://2852039166/",
        "http://me:pw@127.0.0.1/",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
    ] {
        let fake = Fake::start(move |_| Reply::redirect(307, bad)).await;
        let error = upstream(&fake).blob(&repository(), claim(b"x")).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Blocked { .. }), "{bad}: {error}");
    }
    let fake = Fake::start(|_| Reply::redirect(307, "http://10.0.0.1:81/")).await;
    let error = upstream(&fake).resolve(&repository(), &tag()).await.unwrap_err().to_string();
    assert!(error.ends_with("add `10.0.0.1:81` to upstream.\"reg.example\".redirect_hosts"), "{error}");
}

/// The upstream is known by its name here, so where it lives is learnt from its first answer.
#[tokio::test]
async fn names_are_judged_by_the_address_they_resolve_to() {
    let cdn = Fake::start(|_| Reply::ok("content")).await;
    let there = format!("http://127.0.0.1:{}/there", cdn.address.port());
    let fake = Fake::start(move |_| Reply::redirect(307, there.clone())).await;
    let url = format!("http://localhost:{}", fake.address.port());
    let named = UpstreamOptions::new(super::registry(), url.parse().unwrap());
    build(named, network()).small_blob(&repository(), claim(b"content"), 100).await.unwrap();

    let there = format!("http://localhost:{}/there", cdn.address.port());
    let fake = Fake::start(move |_| Reply::redirect(307, there.clone())).await;
    upstream(&fake).small_blob(&repository(), claim(b"content"), 100).await.unwrap();
}

#[tokio::test]
async fn circles_and_nowhere_end() {
    let fake = Fake::start(|_| Reply::redirect(307, "/v2/again")).await;
    let error = upstream(&fake).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(error.to_string().contains("more than 5 times"), "{error}");
    assert_eq!(fake.seen().len(), 6);

    for (status, want) in [(300, "status 300"), (304, "status 304"), (305, "status 305"), (307, "without saying")] {
        let fake = Fake::start(move |_| Reply::status(status)).await;
        let error = upstream(&fake).resolve(&repository(), &tag()).await.unwrap_err();
        assert!(error.to_string().contains(want), "{status}: {error}");
    }
}

#[tokio::test]
async fn tls_is_verified_and_never_left() {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let tls = TlsAcceptor::from(Arc::new(config));
    let plain = Fake::start(|_| Reply::ok("content")).await;
    let there = format!("{}/there", plain.url());
    let fake = Fake::start_with(Some(tls), move |seen| match seen.target.contains("/blobs/") {
        true => Reply::redirect(307, there.clone()),
        false => Reply::ok(image(&[], None)),
    })
    .await;

    let error = upstream(&fake).resolve(&repository(), &tag()).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }), "{error}");
    assert_eq!(fake.seen().len(), 0, "nothing is asked without a trusted certificate");

    let trusting = UpstreamOptions { ca: vec![made.cert.pem().into_bytes()], ..options(&fake) };
    let us = build(trusting, network());
    us.resolve(&repository(), &tag()).await.unwrap();
    let error = us.blob(&repository(), claim(b"content")).await.unwrap_err();
    assert!(error.to_string().contains("from https to http"), "{error}");
    assert_eq!(plain.seen().len(), 0);
}

/// The proxy lives on loopback: it must be dialled, and must not make loopback the upstream's home.
#[tokio::test]
async fn through_a_proxy_written_addresses_are_still_judged() {
    let proxy = Fake::start(|seen| match seen.headers["host"].to_str().unwrap() {
        "reg.example" if seen.target.ends_with("/1") => Reply::redirect(307, "http://cdn.example/there"),
        "reg.example" if seen.target.ends_with("/2") => Reply::redirect(307, "http://127.0.0.1/there"),
        "reg.example" => Reply::redirect(307, "http://localhost/there"),
        _ => Reply::ok(""),
    })
    .await;
    let url = format!("http://localhost:{}", proxy.address.port()).parse().unwrap();
    let network = NetworkOptions { proxy: Proxy::Url(url), ..network() };
    let us = build(UpstreamOptions::new(super::registry(), "http://reg.example".parse().unwrap()), network);
    us.resolve(&repository(), &tag()).await.unwrap();
    assert_eq!(proxy.seen()[1].headers["host"], "cdn.example");
    for bad in ["2", "3"] {
        let error = us.resolve(&repository(), &bad.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Blocked { .. }), "{bad}: {error}");
    }
    assert_eq!(proxy.count("/there"), 1);
}
