//! What must be refused, over real HTTP, each with a sibling that differs in one thing and is served.

use assay::demo::{Document, ImageBuilder, Signer};
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST, SIMPLE_SIGNING};
use assay::trust::{Enforcement, Policy, danger};
use http::{Method, StatusCode};
use serde_json::json;

use crate::pull::image;
use crate::support::client::{Http, get, head, send};
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, REGISTRY, Setup};

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    proxy: Proxy,
}

async fn world() -> World {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let proxy = Proxy::start(&upstream, &signer).await;
    World { upstream, signer, proxy }
}

impl World {
    fn push_signed(&self, repository: &str, greeting: &str) -> assay::demo::BuiltImage {
        let image = image(greeting);
        self.upstream.registry().push_image(repository, "1.0", &image);
        self.upstream.registry().push_artefact(repository, &self.signer.bundle(&image.index));
        image
    }

    async fn manifest(&self, repository: &str, reference: impl std::fmt::Display) -> crate::support::client::Got {
        get(self.proxy.address, &self.proxy.manifest_path(repository, reference)).await
    }
}

#[tokio::test]
async fn an_unsigned_image_is_refused_on_every_path_and_its_blobs_never_leave() {
    let world = world().await;
    let (good, bad) = (world.push_signed("good", "signed"), image("unsigned"));
    world.upstream.registry().push_image("bad", "1.0", &bad);
    let platform = bad.platform("amd64").unwrap();
    for reference in ["1.0".to_owned(), bad.index.digest.to_string(), platform.manifest.digest.to_string()] {
        let path = world.proxy.manifest_path("bad", &reference);
        let (get, head) = (get(world.proxy.address, &path).await, head(world.proxy.address, &path).await);
        assert!(get.is_refusal("NO_SIGNATURE"), "{reference}: {get:?}");
        assert_eq!(head.status, StatusCode::FORBIDDEN);
        assert!(head.reason.starts_with("assay: ") && head.reason.len() <= 120, "{}", head.reason);
        assert!(head.reason.contains("NO_SIGNATURE"), "{}", head.reason);
    }
    for blob in [&platform.config, &platform.layers[0]] {
        assert!(get(world.proxy.address, &world.proxy.blob_path("bad", blob.digest)).await.is_refusal("NOT_NAMED"));
    }
    assert_eq!(world.upstream.count(&PathMatch::blob(platform.layers[0].digest)), 0);
    assert_eq!(world.manifest("good", "1.0").await.body, good.index.bytes);
}

#[tokio::test]
async fn a_strangers_signature_is_none() {
    let world = world().await;
    let bad = image("stranger");
    world.upstream.registry().push_image("app", "1.0", &bad);
    world.upstream.registry().push_artefact("app", &Signer::generate().unwrap().bundle(&bad.index));
    assert!(world.manifest("app", "1.0").await.is_refusal("UNTRUSTED_KEY"));
    // Once the right person signs too, it comes through: nothing bad was remembered.
    world.upstream.registry().push_artefact("app", &world.signer.bundle(&bad.index));
    assert_eq!(world.manifest("app", "1.0").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_refusal_text_stands_alone() {
    let world = world().await;
    world.upstream.registry().push_image("bad", "1.0", &image("unsigned"));
    let got = world.manifest("bad", "1.0").await;
    let message = got.message();
    for part in ["assay: ", "test.assay/bad:1.0", "NO_SIGNATURE", "rule \"test\"", "Next step: "] {
        assert!(message.contains(part), "`{part}` is missing in: {message}");
    }
    assert!(String::from_utf8_lossy(&got.body).contains("\"code\":\"DENIED\""));
}

#[tokio::test]
async fn a_platform_that_the_signed_index_does_not_name_is_refused() {
    let world = world().await;
    let (honest, swapped) = (world.push_signed("app", "honest"), image("swapped in"));
    // Somebody replaces one platform under the same tag, and leaves the old signature where it is.
    let mut index: serde_json::Value = serde_json::from_slice(&honest.index.bytes).unwrap();
    let other: serde_json::Value = serde_json::from_slice(&swapped.index.bytes).unwrap();
    index["manifests"][0] = other["manifests"][0].clone();
    for document in swapped.documents() {
        world.upstream.registry().put_blob("app", document.bytes.clone());
    }
    world.upstream.registry().put_manifest("app", "amd64", swapped.platforms[0].manifest.clone());
    world.upstream.registry().put_manifest("app", "1.0", Document::json(OCI_INDEX, &index));
    assert!(world.manifest("app", "1.0").await.is_refusal("NO_SIGNATURE"));
    assert!(world.manifest("app", swapped.platforms[0].manifest.digest).await.is_refusal("NO_SIGNATURE"));
    assert_eq!(world.manifest("app", honest.index.digest).await.status, StatusCode::OK);
    assert_eq!(world.manifest("app", honest.platforms[0].manifest.digest).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_verified_in_one_repository_is_worth_nothing_in_another() {
    let world = world().await;
    let image = world.push_signed("app", "signed");
    world.upstream.registry().push_image("copy", "1.0", &image);
    assert_eq!(world.manifest("app", "1.0").await.status, StatusCode::OK);
    let platform = image.platform("amd64").unwrap();
    assert_eq!(world.manifest("app", platform.manifest.digest).await.status, StatusCode::OK);
    let layer = platform.layers[0].digest;
    assert_eq!(get(world.proxy.address, &world.proxy.blob_path("app", layer)).await.status, StatusCode::OK);
    // Everything is in the cache now, and the bytes are the same.
    assert!(world.manifest("copy", "1.0").await.is_refusal("NO_SIGNATURE"));
    assert!(world.manifest("copy", image.index.digest).await.is_refusal("NO_SIGNATURE"));
    assert!(world.manifest("copy", platform.manifest.digest).await.is_refusal("NO_SIGNATURE"));
    assert!(get(world.proxy.address, &world.proxy.blob_path("copy", layer)).await.is_refusal("NOT_NAMED"));
}

#[tokio::test]
async fn without_a_rule_nothing_is_asked() {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let only_app = Policy::new(
        vec![rule("app", "app", Enforcement::Enforce(demand(&[&signer])))],
        Some("ask #platform".to_owned()),
    );
    let proxy = Setup::new(only_app).start(&upstream).await;
    let paths = [
        proxy.manifest_path("other", "1.0"),
        proxy.blob_path("other", assay::oci::Digest::of(b"x")),
        format!("/v2/{REGISTRY}/other/tags/list"),
        format!("/v2/{REGISTRY}/other/referrers/{}", assay::oci::Digest::of(b"x")),
    ];
    for path in paths {
        let got = get(proxy.address, &path).await;
        assert!(got.is_refusal("NO_POLICY"), "{path}: {got:?}");
        assert!(got.message().contains("ask #platform"));
    }
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn audit_serves_and_says_what_it_would_have_done() {
    let (upstream, signer, bad) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("unsigned"));
    upstream.registry().push_image("app", "1.0", &bad);
    let audit = Policy::new(vec![rule("watch", "**", Enforcement::Audit(demand(&[&signer])))], None);
    let proxy = Setup::new(audit).start(&upstream).await;
    let got = get(proxy.address, &proxy.manifest_path("app", "1.0")).await;
    assert_eq!(got.status, StatusCode::OK);
    assert!(got.header("assay-verdict").starts_with("audit"), "{}", got.header("assay-verdict"));
    let platform = bad.platform("amd64").unwrap();
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", platform.manifest.digest)).await.status, StatusCode::OK);
    assert_eq!(get(proxy.address, &proxy.blob_path("app", platform.layers[0].digest)).await.status, StatusCode::OK);
    // Even audit serves only what hangs together.
    let stranger = assay::oci::Digest::of(b"stranger");
    assert!(get(proxy.address, &proxy.blob_path("app", stranger)).await.is_refusal("NOT_NAMED"));
}

#[tokio::test]
async fn off_looks_for_nothing() {
    let (upstream, bad) = (NastyUpstream::start().await, image("unsigned"));
    upstream.registry().push_image("app", "1.0", &bad);
    let off = Enforcement::Off(danger::Unsigned::as_written_by_the_operator());
    let proxy = Setup::new(Policy::new(vec![rule("off", "**", off)], None)).start(&upstream).await;
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    let layer = bad.platform("amd64").unwrap();
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", layer.manifest.digest)).await.status, StatusCode::OK);
    assert_eq!(get(proxy.address, &proxy.blob_path("app", layer.layers[0].digest)).await.status, StatusCode::OK);
    assert_eq!(upstream.count(&PathMatch::referrers()), 0);
}

#[tokio::test]
async fn could_not_check_is_not_unsigned() {
    for (place, wrong) in [
        (PathMatch::referrers(), Misbehaviour::Status(500)),
        (PathMatch::referrers(), Misbehaviour::Status(403)),
        (PathMatch::referrers(), Misbehaviour::StallBeforeHeaders),
        (PathMatch::containing(".sig"), Misbehaviour::Status(503)),
        (PathMatch::containing(".sig"), Misbehaviour::RateLimit(3600)),
    ] {
        let world = world().await;
        let bad = image("unsigned");
        world.upstream.registry().push_image("app", "1.0", &bad);
        world.upstream.misbehave(place.clone(), wrong.clone());
        let got = world.manifest("app", "1.0").await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{wrong:?}: {got:?}");
        assert!(
            !got.header("retry-after").is_empty() && got.message().contains("could not check"),
            "{}",
            got.message()
        );
        // It is not remembered: healed, the same image gets its real answer.
        world.upstream.behave();
        assert!(world.manifest("app", "1.0").await.is_refusal("NO_SIGNATURE"));
        world.upstream.registry().push_artefact("app", &world.signer.bundle(&bad.index));
        assert_eq!(world.manifest("app", "1.0").await.status, StatusCode::OK, "{wrong:?}");
        // A good signature in one place is enough, whatever happens in the other.
        let (second, signer) = (image("second"), &world.signer);
        world.upstream.registry().push_image("two", "1.0", &second);
        world.upstream.registry().push_artefact("two", &signer.bundle(&second.index));
        world.upstream.registry().push_artefact("two", &signer.classic("test.assay/two", second.index.digest));
        world.upstream.misbehave(place, wrong);
        assert_eq!(world.manifest("two", "1.0").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn an_image_under_a_clever_tag_is_no_artefact() {
    let world = world().await;
    let (bad, subject) = (image("smuggled"), assay::oci::Digest::of(b"subject"));
    for document in bad.documents() {
        world.upstream.registry().put_blob("app", document.bytes.clone());
    }
    let hex = subject.hex();
    for tag in [
        format!("sha256-{hex}.sig"),
        format!("sha256-{hex}.att"),
        format!("sha256-{hex}.sbom"),
        format!("sha256-{hex}"),
    ] {
        for document in [&bad.index, &bad.platforms[0].manifest] {
            world.upstream.registry().put_manifest("app", &tag, document.clone());
            let got = world.manifest("app", &tag).await;
            assert!(got.is_refusal("NOT_AN_ARTEFACT"), "{tag}: {got:?}");
        }
    }
    // An image whose layers are only labelled as signatures: its manifest has the form, its layer does not.
    let platform = &bad.platforms[0];
    let layer = &platform.layers[0];
    let disguised = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": platform.config.descriptor(),
        "layers": [{ "mediaType": SIMPLE_SIGNING, "digest": layer.digest, "size": layer.bytes.len() }],
    });
    world.upstream.registry().put_manifest(
        "app",
        &format!("sha256-{hex}.sig"),
        Document::json(OCI_MANIFEST, &disguised),
    );
    let got = world.manifest("app", format!("sha256-{hex}.sig")).await;
    assert!(got.is_refusal("NOT_AN_ARTEFACT"), "{got:?}");
    for method in [Method::GET, Method::HEAD] {
        let got = send(world.proxy.address, Http::One, method, &world.proxy.blob_path("app", layer.digest), &[]).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "{got:?}");
    }
    // The honest sibling.
    let honest = world.signer.classic("test.assay/app", subject);
    world.upstream.registry().push_artefact("app", &honest);
    assert_eq!(world.manifest("app", format!("sha256-{hex}.sig")).await.status, StatusCode::OK);
    assert_eq!(
        get(world.proxy.address, &world.proxy.blob_path("app", honest.blobs[0].digest)).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn an_unsigned_arrangement_of_signed_layers_is_refused_whatever_it_calls_itself() {
    let world = world().await;
    let good = world.push_signed("app", "signed");
    let platform = good.platform("amd64").unwrap();
    // Verified and in the cache.
    assert_eq!(world.manifest("app", "1.0").await.status, StatusCode::OK);
    assert_eq!(world.manifest("app", platform.manifest.digest).await.status, StatusCode::OK);
    let layer = &platform.layers[0];
    assert_eq!(get(world.proxy.address, &world.proxy.blob_path("app", layer.digest)).await.status, StatusCode::OK);

    let config = world.upstream.registry().put_blob("app", "{}");
    for subject in [None, Some(good.index.descriptor())] {
        let mut arranged = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": [{ "mediaType": "text/spdx", "digest": layer.digest, "size": layer.bytes.len() }],
        });
        if let Some(subject) = subject {
            arranged["subject"] = json!(subject);
        }
        let arranged = Document::json(OCI_MANIFEST, &arranged);
        let clever = format!("sha256-{}.sbom", good.index.digest.hex());
        for tag in ["latest", &clever] {
            world.upstream.registry().put_manifest("app", tag, arranged.clone());
            let got = world.manifest("app", tag).await;
            assert_eq!(got.status, StatusCode::FORBIDDEN, "{tag}: {got:?}");
        }
        assert_eq!(world.manifest("app", arranged.digest).await.status, StatusCode::FORBIDDEN);
    }
    // An honest artefact is served as one by digest and by its tag, and under no other tag.
    let honest = world.signer.classic("test.assay/app", good.index.digest);
    world.upstream.registry().push_artefact("app", &honest);
    world.upstream.registry().put_manifest("app", "latest", honest.manifest.clone());
    assert_eq!(world.manifest("app", honest.manifest.digest).await.status, StatusCode::OK);
    assert!(world.manifest("app", "latest").await.is_refusal("NO_SIGNATURE"));
    assert_eq!(world.manifest("app", format!("sha256-{}.sig", good.index.digest.hex())).await.status, StatusCode::OK);
    assert_eq!(
        get(world.proxy.address, &world.proxy.blob_path("app", honest.blobs[0].digest)).await.status,
        StatusCode::OK
    );
}

#[tokio::test]
async fn a_layer_is_never_a_manifest() {
    let world = world().await;
    // A signed artefact image, one of whose layers is the text of an unsigned image's manifest.
    let bad = image("inside");
    let inner = &bad.platforms[0].manifest;
    let config = world.upstream.registry().put_blob("app", "{}");
    world.upstream.registry().put_blob("app", inner.bytes.clone());
    let outer = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": inner.digest, "size": inner.bytes.len() }],
    });
    let outer = Document::json(OCI_MANIFEST, &outer);
    world.upstream.registry().put_manifest("app", "1.0", outer.clone());
    world.upstream.registry().push_artefact("app", &world.signer.bundle(&outer));
    world.upstream.registry().put_manifest("app", "inner", inner.clone());
    assert_eq!(world.manifest("app", "1.0").await.status, StatusCode::OK);
    assert_eq!(
        get(world.proxy.address, &world.proxy.blob_path("app", inner.digest)).await.status,
        StatusCode::OK,
        "as a layer"
    );
    assert!(world.manifest("app", inner.digest).await.is_refusal("NO_SIGNATURE"), "as a manifest");
    assert!(world.manifest("app", "inner").await.is_refusal("NO_SIGNATURE"));
    let below = bad.platforms[0].layers[0].digest;
    assert!(get(world.proxy.address, &world.proxy.blob_path("app", below)).await.is_refusal("NOT_NAMED"));
}

#[tokio::test]
async fn a_document_that_reads_in_two_ways_is_refused() {
    let world = world().await;
    let good = world.push_signed("good", "signed");
    let text = String::from_utf8(good.index.bytes.to_vec()).unwrap();
    for (name, changed) in [
        ("both", text.replacen('{', r#"{"layers":[],"#, 1)),
        ("twice", text.replacen('{', r#"{"manifests":[],"#, 1)),
        ("folded", text.replacen('{', r#"{"Manifests":[],"#, 1)),
        ("bom", format!("\u{feff}{text}")),
        ("tail", format!("{text} x")),
    ] {
        let document = Document::new(OCI_INDEX, changed.into_bytes());
        world.upstream.registry().put_manifest(name, "1.0", document.clone());
        world.upstream.registry().push_artefact(name, &world.signer.bundle(&document));
        let got = world.manifest(name, "1.0").await;
        assert!(got.is_refusal("UNSAFE_MANIFEST"), "{name}: {got:?}");
    }
    world.upstream.misbehave(PathMatch::manifest("1.0"), Misbehaviour::Header("content-type", OCI_MANIFEST.to_owned()));
    assert!(world.manifest("good", "1.0").await.is_refusal("UNSAFE_MANIFEST"), "sent as another type than it names");
    world.upstream.behave();
    assert_eq!(world.manifest("good", "1.0").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_tag_that_moves_between_two_questions_gets_one_answer() {
    let world = world().await;
    let good = world.push_signed("app", "good");
    assert_eq!(world.manifest("app", "1.0").await.status, StatusCode::OK);
    // From now on HEAD names the good index, and GET of the tag hands out another.
    let evil = image("evil");
    world.upstream.misbehave(PathMatch::manifest("1.0").get(), Misbehaviour::Replace(evil.index.clone()));
    assert_eq!(world.manifest("app", "1.0").await.body, good.index.bytes);
    // Upstream's own digest header is a claim: a false one gets nothing served.
    world.upstream.behave();
    world.upstream.misbehave(PathMatch::manifest("1.0"), Misbehaviour::WrongDigest);
    let got = world.manifest("app", "1.0").await;
    assert_ne!(got.status, StatusCode::OK);
}

#[tokio::test]
async fn only_reading_is_offered() {
    let world = world().await;
    let image = world.push_signed("app", "signed");
    for (method, path) in [
        (Method::PUT, world.proxy.manifest_path("app", "1.0")),
        (Method::DELETE, world.proxy.manifest_path("app", image.index.digest)),
        (Method::POST, format!("/v2/{REGISTRY}/app/blobs/uploads/")),
        (Method::GET, "/v2/_catalog".to_owned()),
    ] {
        let got = send(world.proxy.address, Http::One, method, &path, &[]).await;
        assert!(matches!(got.status.as_u16(), 404 | 405), "{path}: {got:?}");
    }
    assert!(world.upstream.requests().is_empty());
    for odd in [
        "/v2/../../etc/passwd",
        "/v2/test.assay/app/manifests/..",
        "/v2/test.assay/app/blobs/sha256:..%2f..%2fetc",
        "/v2/test.assay/APP/manifests/1.0",
        "/v2/test.assay/app/blobs/sha512:00",
    ] {
        let got = get(world.proxy.address, odd).await;
        assert!(got.status.is_client_error(), "{odd}: {}", got.status);
    }
    assert!(world.upstream.requests().is_empty());
}

#[tokio::test]
async fn what_a_client_says_about_itself_stays_here() {
    let world = world().await;
    world.push_signed("app", "signed");
    let path = world.proxy.manifest_path("app", "1.0");
    let secrets = [("authorization", "Basic aHVidXNlcjpodWJwYXNz"), ("cookie", "a=b"), ("x-forwarded-for", "10.0.0.1")];
    assert_eq!(send(world.proxy.address, Http::One, Method::GET, &path, &secrets).await.status, StatusCode::OK);
    for seen in world.upstream.requests() {
        for (name, _) in secrets {
            assert_eq!(seen.header(name), None, "{name} went upstream");
        }
    }
}

#[tokio::test]
async fn a_changed_rule_judges_again() {
    let (upstream, old, new, image) = (
        NastyUpstream::start().await,
        Signer::generate().unwrap(),
        Signer::generate().unwrap(),
        ImageBuilder::new("x").build(),
    );
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &old.bundle(&image.index));
    let proxy = Proxy::start(&upstream, &old).await;
    let path = proxy.manifest_path("app", image.index.digest);
    assert_eq!(get(proxy.address, &path).await.status, StatusCode::OK);
    // The key is taken out of the rule: what is in the cache is refused at once.
    let folder = proxy.stop().await;
    let proxy = Setup::new(signed_by(&new)).start_in(&upstream, folder).await;
    assert!(get(proxy.address, &path).await.is_refusal("UNTRUSTED_KEY"));
    let layer = image.platform("amd64").unwrap().layers[0].digest;
    assert_eq!(get(proxy.address, &proxy.blob_path("app", layer)).await.status, StatusCode::FORBIDDEN);
    let folder = proxy.stop().await;
    let proxy = Setup::new(signed_by(&old)).start_in(&upstream, folder).await;
    assert_eq!(get(proxy.address, &path).await.status, StatusCode::OK);
}
