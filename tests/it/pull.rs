//! Signed images come through: by tag, by index digest, by platform digest, after a restart.

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::oci::Digest;
use http::{Method, StatusCode};

use crate::support::client::{Got, Http, get, head, send};
use crate::support::{NastyUpstream, PathMatch, Protocol, Proxy, REGISTRY, Setup, TestCa, proxy};

pub fn image(greeting: &str) -> BuiltImage {
    ImageBuilder::new(greeting).layer_padding(300_000).build()
}

/// Pulls everything below a platform's manifest and holds it against the original.
pub async fn pull_platform(proxy: &Proxy, repository: &str, image: &BuiltImage, architecture: &str) {
    let platform = image.platform(architecture).unwrap();
    for document in platform.documents() {
        let path = match document.digest == platform.manifest.digest {
            true => proxy.manifest_path(repository, document.digest),
            false => proxy.blob_path(repository, document.digest),
        };
        let got = get(proxy.address, &path).await;
        assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.message());
        assert!(got.complete && got.body == document.bytes, "{path}");
    }
}

async fn setup(sign: impl Fn(&Signer, &BuiltImage) -> assay::demo::Artefact) -> (NastyUpstream, Signer, BuiltImage) {
    let (upstream, signer, image) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("Hello"));
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &sign(&signer, &image));
    (upstream, signer, image)
}

fn bundle(signer: &Signer, image: &BuiltImage) -> assay::demo::Artefact {
    signer.bundle(&image.index)
}

fn classic(signer: &Signer, image: &BuiltImage) -> assay::demo::Artefact {
    signer.classic("test.assay/app", image.index.digest)
}

async fn comes_through(upstream: NastyUpstream, signer: Signer, image: BuiltImage) {
    let proxy = Proxy::start(&upstream, &signer).await;
    let by_tag = get(proxy.address, &proxy.manifest_path("app", "1.0")).await;
    assert_eq!(by_tag.status, StatusCode::OK, "{}", by_tag.message());
    assert_eq!(by_tag.body, image.index.bytes);
    assert_eq!(by_tag.header("docker-content-digest"), image.index.digest.to_string());
    assert!(by_tag.header("assay-verdict").starts_with("verified"), "{}", by_tag.header("assay-verdict"));
    let by_digest = get(proxy.address, &proxy.manifest_path("app", image.index.digest)).await;
    assert_eq!(by_digest.body, image.index.bytes);
    pull_platform(&proxy, "app", &image, "amd64").await;
    pull_platform(&proxy, "app", &image, "arm64").await;
}

#[tokio::test]
async fn an_image_with_a_bundle_on_its_index_comes_through() {
    let (upstream, signer, image) = setup(bundle).await;
    comes_through(upstream, signer, image).await;
}

#[tokio::test]
async fn an_image_with_a_bundle_in_the_fallback_tag_comes_through() {
    let (upstream, signer, image) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("Hello"));
    upstream.registry().set_referrers_api(false);
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    comes_through(upstream, signer, image).await;
}

#[tokio::test]
async fn an_image_with_a_classic_signature_comes_through() {
    let (upstream, signer, image) = setup(classic).await;
    comes_through(upstream, signer, image).await;
}

#[tokio::test]
async fn a_platform_digest_is_served_once_its_index_was_seen_and_after_a_restart() {
    let (upstream, signer, image) = setup(bundle).await;
    let proxy = Proxy::start(&upstream, &signer).await;
    let arm64 = image.platform("arm64").unwrap().manifest.digest;

    let first = get(proxy.address, &proxy.manifest_path("app", arm64)).await;
    assert!(first.is_refusal("NO_SIGNATURE"), "nobody saw the index yet: {first:?}");
    assert!(first.message().contains("no verified index that was seen here names it"), "{}", first.message());
    assert!(first.message().contains("referrers"), "says what was tried: {}", first.message());

    assert_eq!(head(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    pull_platform(&proxy, "app", &image, "arm64").await;

    let folder = proxy.stop().await;
    upstream.misbehave(PathMatch::any(), crate::support::Misbehaviour::Close);
    let proxy = Setup::new(proxy::signed_by(&signer)).start_in(&upstream, folder).await;
    pull_platform(&proxy, "app", &image, "arm64").await;
    let other = get(proxy.address, &proxy.manifest_path("app", image.index.digest)).await;
    assert_eq!(other.status, StatusCode::OK, "by digest without upstream");
}

#[tokio::test]
async fn a_platform_that_is_signed_itself_is_served_though_nobody_saw_its_index() {
    let (upstream, signer, image) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("Hello"));
    let amd64 = image.platform("amd64").unwrap();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&amd64.manifest));
    let proxy = Proxy::start(&upstream, &signer).await;
    pull_platform(&proxy, "app", &image, "amd64").await;
    let arm64 = image.platform("arm64").unwrap().manifest.digest;
    assert!(get(proxy.address, &proxy.manifest_path("app", arm64)).await.is_refusal("NO_SIGNATURE"));
}

#[tokio::test]
async fn layers_come_without_the_platforms_manifest_when_the_engine_kept_it() {
    // dockerd after `docker rmi`: HEAD of the tag, then the layers, on a proxy that never saw the image.
    let (upstream, signer, image) = setup(bundle).await;
    let proxy = Proxy::start(&upstream, &signer).await;
    let layer = image.platform("amd64").unwrap().layers[0].clone();
    let path = proxy.blob_path("app", layer.digest);
    assert!(get(proxy.address, &path).await.is_refusal("NOT_NAMED"));
    assert_eq!(head(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    assert_eq!(get(proxy.address, &path).await.body, layer.bytes);
}

#[tokio::test]
async fn a_hot_pull_asks_upstream_for_the_tag_only() {
    let (upstream, signer, image) = setup(bundle).await;
    let proxy = Proxy::start(&upstream, &signer).await;
    for round in 0..2 {
        upstream.forget_requests();
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
        pull_platform(&proxy, "app", &image, "amd64").await;
        let asked: Vec<_> = upstream.requests().iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect();
        match round {
            0 => assert!(asked.len() > 5, "{asked:?}"),
            _ => assert_eq!(asked, ["HEAD /v2/app/manifests/1.0"]),
        }
    }
}

#[tokio::test]
async fn all_ways_to_name_an_image_lead_to_it() {
    let (upstream, signer, image) = setup(bundle).await;
    let proxy = Proxy::start(&upstream, &signer).await;
    for path in [
        format!("/v2/{REGISTRY}/app/manifests/1.0"),
        format!("/v2/app/manifests/1.0?ns={REGISTRY}"),
        "/v2/app/manifests/1.0".to_owned(),
        format!("/v2/app/manifests/1.0?ns={}", proxy.address),
    ] {
        for http in [Http::One, Http::Two] {
            let got = send(proxy.address, http, Method::GET, &path, &[]).await;
            assert_eq!((got.status, &got.body), (StatusCode::OK, &image.index.bytes), "{path} over {http:?}");
        }
    }
    upstream.forget_requests();
    for path in ["/v2/evil.example/app/manifests/1.0".to_owned(), "/v2/app/manifests/1.0?ns=evil.example".to_owned()] {
        let got = get(proxy.address, &path).await;
        assert_eq!(got.status, StatusCode::NOT_FOUND, "{path}");
        assert!(got.message().contains("not configured"), "{}", got.message());
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn an_upstream_with_a_private_ca_is_trusted_only_when_the_ca_is_named() {
    let (ca, signer, image) = (TestCa::new(), Signer::generate().unwrap(), image("Hello"));
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let upstream = NastyUpstream::start_tls(&ca, protocol).await;
        upstream.registry().push_image("app", "1.0", &image);
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
        let stranger = Proxy::start(&upstream, &signer).await;
        let got = get(stranger.address, &stranger.manifest_path("app", "1.0")).await;
        assert_eq!(got.status, StatusCode::BAD_GATEWAY, "{}", got.message());
        assert!(upstream.requests().is_empty(), "nothing is asked over a connection that is not trusted");
        let mut setup = Setup::new(proxy::signed_by(&signer));
        setup.ca = vec![ca.ca_pem().into()];
        let proxy = setup.start(&upstream).await;
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
        pull_platform(&proxy, "app", &image, "amd64").await;
    }
}

#[tokio::test]
async fn head_says_what_get_says() {
    let (upstream, signer, image) = setup(bundle).await;
    let proxy = Proxy::start(&upstream, &signer).await;
    let layer = image.platform("amd64").unwrap().layers[0].digest;
    for path in [proxy.manifest_path("app", "1.0"), proxy.blob_path("app", layer), proxy.manifest_path("app", "none")] {
        let (head, get): (Got, Got) = (head(proxy.address, &path).await, get(proxy.address, &path).await);
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-length", "content-type", "docker-content-digest", "etag"] {
            assert_eq!(head.header(name), get.header(name), "{name} of {path}");
        }
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_answered_from_what_was_verified() {
    let (upstream, signer, image) = setup(bundle).await;
    let proxy = Proxy::start(&upstream, &signer).await;
    let layer = image.platform("amd64").unwrap().layers[0].clone();
    let path = proxy.blob_path("app", layer.digest);
    head(proxy.address, &proxy.manifest_path("app", "1.0")).await;
    let ranged = |range: &'static str| {
        send(proxy.address, Http::One, Method::GET, &path, Box::leak(Box::new([("range", range)])))
    };

    // Cold: the part waits until the whole is verified.
    let got = ranged("bytes=100000-100099").await;
    assert_eq!((got.status, got.body.as_ref()), (StatusCode::PARTIAL_CONTENT, &layer.bytes[100_000..100_100]));
    assert_eq!(got.header("content-range"), format!("bytes 100000-100099/{}", layer.bytes.len()));
    // Warm.
    let got = ranged("bytes=-5").await;
    assert_eq!(got.body.as_ref(), &layer.bytes[layer.bytes.len() - 5..]);
    let got = ranged("bytes=99999999-").await;
    assert_eq!(got.status, StatusCode::RANGE_NOT_SATISFIABLE);
    let got = ranged("bytes=0-1,5-6").await;
    assert_eq!((got.status, got.body.len()), (StatusCode::OK, layer.bytes.len()));

    let etag = format!("\"{}\"", layer.digest);
    let got = send(proxy.address, Http::One, Method::GET, &path, &[("if-none-match", &etag)]).await;
    assert_eq!((got.status, got.body.len()), (StatusCode::NOT_MODIFIED, 0));
    // The same condition on what is not admitted tells nothing.
    let stranger = proxy.blob_path("app", Digest::of(b"stranger"));
    let etag = format!("\"{}\"", Digest::of(b"stranger"));
    let got = send(proxy.address, Http::One, Method::GET, &stranger, &[("if-none-match", &etag)]).await;
    assert!(got.is_refusal("NOT_NAMED"), "{got:?}");
}

#[tokio::test]
async fn signature_artefacts_pass_so_that_clients_can_verify_themselves() {
    for (referrers_api, classic_layout) in [(true, false), (false, false), (true, true)] {
        let (upstream, signer, image) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("Hello"));
        upstream.registry().set_referrers_api(referrers_api);
        upstream.registry().push_image("app", "1.0", &image);
        let artefact = if classic_layout { classic(&signer, &image) } else { bundle(&signer, &image) };
        upstream.registry().push_artefact("app", &artefact);
        let proxy = Proxy::start(&upstream, &signer).await;

        let listed = get(proxy.address, &format!("/v2/{REGISTRY}/app/referrers/{}", image.index.digest)).await;
        assert_eq!(listed.status, StatusCode::OK);
        let listed: serde_json::Value = serde_json::from_slice(&listed.body).unwrap();
        assert_eq!(listed["manifests"].as_array().unwrap().len(), usize::from(!classic_layout));

        let manifest = get(proxy.address, &proxy.manifest_path("app", artefact.manifest.digest)).await;
        assert_eq!(
            (manifest.status, &manifest.body),
            (StatusCode::OK, &artefact.manifest.bytes),
            "{}",
            manifest.message()
        );
        for blob in &artefact.blobs {
            let got = get(proxy.address, &proxy.blob_path("app", blob.digest)).await;
            assert_eq!((got.status, &got.body), (StatusCode::OK, &blob.bytes), "{}", got.message());
        }
        if classic_layout {
            let tag = format!("sha256-{}.sig", image.index.digest.hex());
            assert_eq!(get(proxy.address, &proxy.manifest_path("app", tag)).await.body, artefact.manifest.bytes);
        }
        if !referrers_api {
            let tag = format!("sha256-{}", image.index.digest.hex());
            assert_eq!(get(proxy.address, &proxy.manifest_path("app", tag)).await.status, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn tags_are_listed_page_by_page() {
    let (upstream, signer, image) = setup(bundle).await;
    for tag in ["2.0", "3.0", "4.0"] {
        upstream.registry().push_image("app", tag, &image);
    }
    let proxy = Proxy::start(&upstream, &signer).await;
    let mut next = Some(format!("/v2/{REGISTRY}/app/tags/list?n=2"));
    let mut tags = Vec::new();
    while let Some(path) = next {
        let page = get(proxy.address, &path).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.message());
        let body: serde_json::Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(body["name"], format!("{REGISTRY}/app"));
        tags.extend(body["tags"].as_array().unwrap().iter().map(|t| t.as_str().unwrap().to_owned()));
        next = page.header("link").strip_prefix('<').and_then(|l| l.split_once('>')).map(|(path, _)| path.to_owned());
    }
    assert_eq!(tags, ["1.0", "2.0", "3.0", "4.0"]);
}
