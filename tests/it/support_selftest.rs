//! The support itself: honest content comes through, and every misbehaviour does what it says.

use std::time::Duration;

use assay::demo::{BuiltImage, Document, ImageBuilder, Registry, Signer};
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use assay::oci::{Digest, Manifest};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Protocol, TestCa, keys};

const PROTOCOLS: [Protocol; 2] = [Protocol::Http1, Protocol::Http2];

/// What a client got: headers, bytes, and whether the body came to a good end.
#[derive(Debug)]
struct Fetched {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
    end: End,
}

#[derive(Debug, PartialEq, Eq)]
enum End {
    Complete,
    Broken,
    /// Nothing more within a quarter of a second.
    Stalled,
    /// The client had enough.
    Endless,
}

impl Fetched {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn client(protocol: Protocol) -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    match protocol {
        Protocol::Http1 => builder.http1_only(),
        Protocol::Http2 => builder.http2_prior_knowledge(),
    }
    .build()
    .unwrap()
}

async fn send(request: reqwest::RequestBuilder) -> reqwest::Result<Fetched> {
    let mut response = request.send().await?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut bytes = BytesMut::new();
    let end = loop {
        match tokio::time::timeout(Duration::from_millis(250), response.chunk()).await {
            Err(_) => break End::Stalled,
            Ok(Err(_)) => break End::Broken,
            Ok(Ok(None)) => break End::Complete,
            Ok(Ok(Some(chunk))) => bytes.extend_from_slice(&chunk),
        }
        if bytes.len() > 4_000_000 {
            break End::Endless;
        }
    };
    Ok(Fetched { status, headers, bytes: bytes.freeze(), end })
}

/// An upstream with an image at `acme/app:1`, and its biggest layer.
async fn with_image() -> (NastyUpstream, BuiltImage, Document) {
    let upstream = NastyUpstream::start().await;
    let image = ImageBuilder::new("Hello").layer_padding(300_000).build();
    upstream.registry().push_image("acme/app", "1", &image);
    let layer = image.platforms[0].layers[0].clone();
    (upstream, image, layer)
}

#[tokio::test]
async fn honest_content_comes_through() {
    for protocol in PROTOCOLS {
        let (upstream, image, layer) = with_image().await;
        let client = client(protocol);
        for (at, url) in [("front", upstream.url()), ("behind", format!("http://{}", upstream.registry().address()))] {
            assert_eq!(send(client.get(format!("{url}/v2/"))).await.unwrap().status, 200);
            let index = send(client.get(format!("{url}/v2/acme/app/manifests/1"))).await.unwrap();
            assert_eq!(index.bytes, image.index.bytes, "{at}");
            assert_eq!(index.header("docker-content-digest"), image.index.digest.to_string());
            for built in &image.platforms {
                let url = format!("{url}/v2/acme/app/manifests/{}", built.manifest.digest);
                assert_eq!(send(client.get(url)).await.unwrap().header("content-type"), OCI_MANIFEST);
            }
            let blob = format!("{url}/v2/acme/app/blobs/{}", layer.digest);
            let got = send(client.get(&blob)).await.unwrap();
            assert_eq!((got.bytes, got.end), (layer.bytes.clone(), End::Complete));
            let head = send(client.head(&blob)).await.unwrap();
            assert_eq!((head.header("content-length"), head.bytes.len()), (&*layer.bytes.len().to_string(), 0));
            let part = send(client.get(&blob).header("range", "bytes=1000-1999")).await.unwrap();
            assert_eq!((part.status.as_u16(), &part.bytes[..]), (206, &layer.bytes[1000..2000]));
            assert_eq!(part.header("content-range"), format!("bytes 1000-1999/{}", layer.bytes.len()));
            let beyond = send(client.get(&blob).header("range", "bytes=9999999-")).await.unwrap();
            assert_eq!(beyond.status, 416);
            for (path, status) in [
                ("acme/app/manifests/2", 404),
                ("other/app/manifests/1", 404),
                ("acme/app/manifests/sha512:00", 400),
                ("x", 404),
            ] {
                assert_eq!(send(client.get(format!("{url}/v2/{path}"))).await.unwrap().status, status, "{path}");
            }
            assert_eq!(send(client.post(&blob)).await.unwrap().status, 405);
        }
        assert_eq!(upstream.count(&PathMatch::blob(layer.digest).get()), 3);
        let seen = upstream.requests();
        assert_eq!((seen.len(), upstream.registry().requests().len()), (13, 13), "each notes its own");
        assert_eq!(seen[0].status(), Some(StatusCode::OK));
        assert_eq!(seen[0].version == http::Version::HTTP_2, protocol == Protocol::Http2);
        assert!(seen.iter().any(|seen| seen.header("range") == Some("bytes=1000-1999")));
    }
}

#[tokio::test]
async fn tls_speaks_the_wanted_protocol() {
    let ca = TestCa::new();
    for protocol in PROTOCOLS {
        let upstream = NastyUpstream::start_tls(&ca, protocol).await;
        let root = reqwest::Certificate::from_pem(ca.ca_pem().as_bytes()).unwrap();
        let trusting = reqwest::Client::builder().no_proxy().tls_certs_only([root]).build().unwrap();
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("https://{host}:{}/v2/", upstream.address().port());
            assert_eq!(send(trusting.get(url)).await.unwrap().status, 200);
        }
        assert_eq!(upstream.requests()[0].version == http::Version::HTTP_2, protocol == Protocol::Http2);
        let other = reqwest::Certificate::from_pem(TestCa::new().ca_pem().as_bytes()).unwrap();
        let doubting = reqwest::Client::builder().no_proxy().tls_certs_only([other]).build().unwrap();
        assert!(send(doubting.get(upstream.url())).await.is_err());
    }
}

#[tokio::test]
async fn tags_and_referrers_come_in_pages() {
    let registry = Registry::start().await.unwrap();
    let image = ImageBuilder::new("Hello").build();
    for tag in ["a", "b", "c"] {
        registry.push_image("app", tag, &image);
    }
    let signers = [Signer::generate().unwrap(), keys::ed25519(), keys::p384(), keys::rsa()];
    let signatures = signers.each_ref().map(|signer| signer.bundle(&image.index));
    for signature in &signatures {
        registry.push_artefact("app", signature);
    }
    registry.set_referrers_page(Some(3));
    let client = client(Protocol::Http1);
    let url = format!("http://{}", registry.address());

    let page = send(client.get(format!("{url}/v2/app/tags/list?n=2"))).await.unwrap();
    assert_eq!(page.bytes, r#"{"name":"app","tags":["a","b"]}"#);
    assert_eq!(page.header("link"), r#"</v2/app/tags/list?n=2&last=b>; rel="next""#);
    let rest = send(client.get(format!("{url}/v2/app/tags/list?n=2&last=b"))).await.unwrap();
    assert_eq!((&rest.bytes[..], rest.header("link")), (&br#"{"name":"app","tags":["c"]}"#[..], ""));

    let subject = image.index.digest;
    let mut listed = Vec::new();
    let mut next = format!("/v2/app/referrers/{subject}");
    while !next.is_empty() {
        let page = send(client.get(format!("{url}{next}"))).await.unwrap();
        let index = Manifest::parse(page.bytes.clone(), Some(page.header("content-type"))).unwrap();
        listed.extend(index.named().map(|entry| entry.digest));
        next = page.header("link").split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    }
    assert_eq!(listed, signatures.each_ref().map(|signature| signature.manifest.digest));

    // Without the API, the fallback tag and its digest name the same index.
    registry.set_referrers_api(false);
    assert_eq!(send(client.get(format!("{url}/v2/app/referrers/{subject}"))).await.unwrap().status, 404);
    let manifests = format!("{url}/v2/app/manifests");
    let tag = send(client.get(format!("{manifests}/sha256-{}", subject.hex()))).await.unwrap();
    let digest = Digest::of(&tag.bytes);
    assert_eq!(tag.header("docker-content-digest"), digest.to_string());
    assert_eq!(send(client.get(format!("{manifests}/{digest}"))).await.unwrap().bytes, tag.bytes);
    assert_eq!(Manifest::parse(tag.bytes, Some(OCI_INDEX)).unwrap().named().count(), 4);
}

#[tokio::test]
async fn the_registry_serves_lies_when_told_to() {
    let registry = Registry::start().await.unwrap();
    let digest = registry.put_blob("app", "honest");
    assert!(registry.corrupt_blob("app", digest) && !registry.corrupt_blob("app", Digest::of(b"none")));
    let other = Document::new(OCI_INDEX, "{}");
    registry.put_manifest("app", &digest.to_string(), other);
    let url = format!("http://{}/v2/app", registry.address());
    let client = client(Protocol::Http1);
    let blob = send(client.get(format!("{url}/blobs/{digest}"))).await.unwrap();
    assert_eq!((&blob.bytes[..], blob.end), (&b"hondst"[..], End::Complete));
    let manifest = send(client.get(format!("{url}/manifests/{digest}"))).await.unwrap();
    assert_eq!((&manifest.bytes[..], manifest.header("docker-content-digest")), (&b"{}"[..], &*digest.to_string()));

    let address = registry.address();
    let shelf = registry.shelf();
    drop(registry);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(send(client.get(format!("{url}/blobs/{digest}"))).await.is_err(), "dropped is gone");
    let _again = Registry::start_with(address, shelf).await.unwrap();
    assert!(send(client.get(format!("{url}/blobs/{digest}"))).await.is_ok());
}

#[tokio::test]
async fn bodies_go_wrong_as_scripted() {
    use Misbehaviour as M;
    let (upstream, _, layer) = with_image().await;
    let size = layer.bytes.len();
    let url = format!("{}/v2/acme/app/blobs/{}", upstream.url(), layer.digest);
    let every = Duration::from_millis(1);
    for protocol in PROTOCOLS {
        let client = client(protocol);
        for (misbehaviour, end, count, announced) in [
            (M::CorruptFirst, End::Complete, size, Some(size)),
            (M::CorruptLast, End::Complete, size, Some(size)),
            (M::Shorter(1000), End::Complete, 1000, Some(1000)),
            (M::Shorter(0), End::Complete, 0, Some(0)),
            (M::CutAfter(1000), End::Broken, 1000, Some(size)),
            (M::CutAfter(size - 1), End::Broken, size - 1, Some(size)),
            (M::EndAfter(1000), End::Broken, 1000, Some(size)),
            (M::Longer(10), End::Complete, size + 10, Some(size + 10)),
            (M::Chunked, End::Complete, size, None),
            (M::Endless, End::Endless, 4_000_000, None),
            (M::StallAfter(1000), End::Stalled, 1000, Some(size)),
            (M::Drip { bytes: 50_000, every }, End::Complete, size, Some(size)),
            (M::Gzip, End::Complete, size + 10 + 5 * 5 + 5 + 8, Some(size + 10 + 5 * 5 + 5 + 8)),
        ] {
            upstream.behave();
            upstream.misbehave(PathMatch::blob(layer.digest), misbehaviour.clone());
            let got = send(client.get(&url)).await.unwrap();
            let told = format!("{protocol:?} {misbehaviour:?}");
            assert_eq!((got.status.as_u16(), &got.end), (200, &end), "{told}");
            let claimed = got.headers.get("content-length").map(|n| n.to_str().unwrap().parse().unwrap());
            assert_eq!(claimed, announced, "{told}");
            match end {
                End::Endless => assert!(got.bytes.len() > count, "{told}"),
                // What was sent just before a cut may be lost with it.
                End::Broken => assert!(got.bytes.len() <= count, "{told}"),
                _ => assert_eq!(got.bytes.len(), count, "{told}"),
            }
            let differs = matches!(misbehaviour, M::CorruptFirst | M::CorruptLast);
            if count == size {
                assert_eq!(got.bytes != layer.bytes, differs, "{told}");
            }
            let head = send(client.head(&url)).await.unwrap();
            assert_eq!(head.header("content-length"), size.to_string(), "{told}: HEAD stays honest");
        }
    }
}

#[tokio::test]
async fn answers_go_wrong_as_scripted() {
    use Misbehaviour as M;
    let (upstream, image, _) = with_image().await;
    let other = ImageBuilder::new("Bye").build().index;
    let url = format!("{}/v2/acme/app/manifests/1", upstream.url());
    let elsewhere = "http://127.0.0.1:1/x".to_owned();
    let honest = image.index.digest.to_string();
    for protocol in PROTOCOLS {
        let client = client(protocol);
        for (misbehaviour, status, header, value) in [
            (M::Status(503), 503, "content-type", "application/json"),
            (M::Status(403), 403, "retry-after", ""),
            (M::RateLimit(2), 429, "retry-after", "2"),
            (M::Challenge("Basic realm=\"x\"".to_owned()), 401, "www-authenticate", "Basic realm=\"x\""),
            (M::HtmlPage, 200, "content-type", "text/html"),
            (M::Redirect(elsewhere.clone()), 307, "location", &elsewhere),
            (M::RedirectLoop, 307, "location", "/v2/acme/app/manifests/1"),
            (M::Header("content-type", "text/plain".to_owned()), 200, "content-type", "text/plain"),
            (M::WithoutHeader("docker-content-digest"), 200, "docker-content-digest", ""),
            (M::WrongDigest, 200, "docker-content-digest", &Digest::of(b"something else").to_string()),
            (M::Replace(other.clone()), 200, "docker-content-digest", &other.digest.to_string()),
        ] {
            upstream.behave();
            upstream.misbehave_times(1, PathMatch::manifest(1).get(), misbehaviour.clone());
            let head = send(client.head(&url)).await.unwrap();
            assert_eq!((head.status.as_u16(), head.header("docker-content-digest")), (200, &*honest));
            let got = send(client.get(&url)).await.unwrap();
            assert_eq!((got.status.as_u16(), got.header(header)), (status, value), "{protocol:?} {misbehaviour:?}");
            let again = send(client.get(&url)).await.unwrap();
            assert_eq!(Digest::of(&again.bytes), image.index.digest, "only once");
        }
    }
}

#[tokio::test]
async fn referrers_have_no_end() {
    let (upstream, image, _) = with_image().await;
    upstream.misbehave(PathMatch::referrers(), Misbehaviour::EndlessPages);
    let client = client(Protocol::Http2);
    let mut next = format!("/v2/acme/app/referrers/{}", image.index.digest);
    for page in 1..=5 {
        let got = send(client.get(format!("{}{next}", upstream.url()))).await.unwrap();
        next = got.header("link").split(['<', '>']).nth(1).unwrap().to_owned();
        assert!(next.ends_with(&format!("?page={page}")), "{next}");
    }
}

#[tokio::test]
async fn silence_and_closed_doors() {
    let (upstream, ..) = with_image().await;
    for protocol in PROTOCOLS {
        upstream.behave();
        upstream.misbehave(PathMatch::ping(), Misbehaviour::Close);
        let client = client(protocol);
        assert!(send(client.get(format!("{}/v2/", upstream.url()))).await.is_err());
        upstream.misbehave(PathMatch::ping(), Misbehaviour::StallBeforeHeaders);
        let impatient = client.get(format!("{}/v2/", upstream.url())).timeout(Duration::from_millis(200));
        assert!(send(impatient).await.unwrap_err().is_timeout());
        assert_eq!(upstream.requests().last().unwrap().status(), None, "never answered");
    }
}

#[tokio::test]
async fn a_gate_holds_everybody_until_it_opens() {
    let (upstream, _, layer) = with_image().await;
    let url = format!("{}/v2/acme/app/blobs/{}", upstream.url(), layer.digest);
    for (protocol, before_headers) in [(PROTOCOLS[0], true), (PROTOCOLS[0], false), (PROTOCOLS[1], false)] {
        let gate = Gate::new();
        let held = if before_headers {
            Misbehaviour::HoldHeaders(gate.clone())
        } else {
            Misbehaviour::HoldAfter(1000, gate.clone())
        };
        upstream.misbehave(PathMatch::blob(layer.digest).get(), held);
        let client = client(protocol);
        let waiting: Vec<_> = (0..3).map(|_| tokio::spawn(client.get(&url).send())).collect();
        gate.wait_started(3).await;
        assert_eq!(gate.started(), 3);
        gate.release();
        for response in waiting {
            assert_eq!(response.await.unwrap().unwrap().bytes().await.unwrap(), layer.bytes);
        }
    }
}

#[tokio::test]
async fn dropping_it_ends_all_its_tasks() {
    for protocol in PROTOCOLS {
        let (upstream, _, layer) = with_image().await;
        upstream.misbehave(PathMatch::ping(), Misbehaviour::StallBeforeHeaders);
        upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::StallAfter(10));
        let client = client(protocol);
        let blob = client.get(format!("{}/v2/acme/app/blobs/{}", upstream.url(), layer.digest)).send().await.unwrap();
        let ping = tokio::spawn(client.get(format!("{}/v2/", upstream.url())).send());
        while upstream.count(&PathMatch::ping()) == 0 {
            tokio::task::yield_now().await;
        }
        drop(upstream);
        assert!(ping.await.unwrap().is_err());
        assert!(blob.bytes().await.is_err());
        drop(client);
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..100 {
            if alive() == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(alive(), 0, "{protocol:?}");
    }
}

#[test]
fn every_kind_of_key_signs() {
    use sigstore_crypto::{SigningScheme, VerificationKey};
    let p256 = Signer::generate().unwrap();
    let impostor = keys::impostor_of(&p256);
    for (signer, scheme, good) in [
        (p256, SigningScheme::EcdsaP256Sha256, true),
        (impostor, SigningScheme::EcdsaP256Sha256, false),
        (keys::p384(), SigningScheme::EcdsaP384Sha384, true),
        (keys::ed25519(), SigningScheme::Ed25519, true),
        (keys::rsa(), SigningScheme::RsaPkcs1Sha256, true),
    ] {
        let key = sigstore_types::DerPublicKey::from_pem(&signer.public_key_pem()).unwrap();
        let key = VerificationKey::from_spki_with_scheme(&key, scheme).unwrap();
        let signature = sigstore_types::SignatureBytes::new(signer.sign(b"message"));
        assert_eq!(key.verify(b"message", &signature).is_ok(), good, "{scheme:?}");
    }
}
