//! Attacks that once came through, and pulls that once were refused for no reason; each with its honest sibling.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use assay::demo::{BundleSignature, Document, ImageBuilder, Signer, Statement};
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use assay::oci::{Claim, Digest};
use assay::store::DiskStore;
use assay::trust::{Enforcement, Policy, danger};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::pull::image;
use crate::support::client::{Http, get, send};
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

/// A docker client asks for the manifest, and minutes later, or after our restart, for the last layer.
#[tokio::test]
async fn where_nothing_is_enforced_an_image_without_an_index_stays_whole_after_a_restart() {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let unsigned = image("one platform");
    upstream.registry().push_image("app", "1.0", &unsigned);
    let platform = unsigned.platform("amd64").unwrap();
    upstream.registry().put_manifest("app", "single", platform.manifest.clone());
    let written = danger::Unsigned::as_written_by_the_operator();
    let modes = [("audit", Enforcement::Audit(demand(&[&signer]))), ("off", Enforcement::Off(written))];
    for (mode, enforcement) in modes {
        let setup = || Setup::new(Policy::new(vec![rule(mode, "**", enforcement.clone())], None));
        let proxy = setup().start(&upstream).await;
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "single")).await.status, StatusCode::OK);
        let proxy = setup().start_in(&upstream, proxy.stop().await).await;
        let layer = &platform.layers[0];
        let got = get(proxy.address, &proxy.blob_path("app", layer.digest)).await;
        assert!(got.complete && got.body == layer.bytes, "{mode}: {}", got.message());
        assert!(get(proxy.address, &proxy.blob_path("app", Digest::of(b"x"))).await.is_refusal("NOT_NAMED"));
    }
}

/// More manifests of the past name the same content than are tried, and their key is no longer trusted.
#[tokio::test]
async fn what_is_verified_today_is_found_among_many_parents_of_yesterday() {
    let (upstream, old, new) = (NastyUpstream::start().await, Signer::generate().unwrap(), Signer::generate().unwrap());
    let builds: Vec<_> = (0..40).map(|n| ImageBuilder::new("Hello").note(n.to_string()).build()).collect();
    let platform = builds[0].platform("amd64").unwrap().clone();
    let (child, layer) = (platform.manifest.digest, platform.layers[0].clone());
    // The one with the highest digest, which comes last wherever digests are sorted.
    let latest = builds.iter().max_by_key(|build| build.index.digest.hex()).unwrap();
    let proxy = Proxy::start(&upstream, &old).await;
    for build in &builds {
        upstream.registry().push_image("app", "1.0", build);
        upstream.registry().push_artefact("app", &old.bundle(&build.index));
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    }
    let proxy = Setup::new(signed_by(&new)).start_in(&upstream, proxy.stop().await).await;
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", child)).await.status, StatusCode::FORBIDDEN);
    upstream.registry().push_artefact("app", &new.bundle(&latest.index));
    upstream.registry().push_image("app", "1.0", latest);
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    let got = get(proxy.address, &proxy.manifest_path("app", child)).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.message());
    assert_eq!(get(proxy.address, &proxy.blob_path("app", layer.digest)).await.body, layer.bytes);
}

/// The same with images that have no index: they share their base layer.
#[tokio::test]
async fn a_shared_layer_is_found_in_the_image_that_is_verified_today() {
    let (upstream, old, new) = (NastyUpstream::start().await, Signer::generate().unwrap(), Signer::generate().unwrap());
    let base = upstream.registry().put_blob("app", "the base of all");
    let config = upstream.registry().put_blob("app", "{\"rootfs\":{},\"config\":{\"User\":\"x\"}}");
    let mut builds: Vec<Document> = (0..40)
        .map(|n| {
            let manifest = json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": { "n": n.to_string() },
                "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 38 },
                "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": base, "size": 15 }],
            });
            Document::json(OCI_MANIFEST, &manifest)
        })
        .collect();
    builds.sort_by_key(|build| build.digest.hex());
    let proxy = Proxy::start(&upstream, &old).await;
    for build in &builds {
        upstream.registry().put_manifest("app", "1.0", build.clone());
        upstream.registry().push_artefact("app", &old.bundle(build));
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    }
    let proxy = Setup::new(signed_by(&new)).start_in(&upstream, proxy.stop().await).await;
    assert!(get(proxy.address, &proxy.blob_path("app", base)).await.is_refusal("UNTRUSTED_KEY"));
    upstream.registry().push_artefact("app", &new.bundle(builds.last().unwrap()));
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    let got = get(proxy.address, &proxy.blob_path("app", base)).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.message());
}

/// A repository that holds its answer, or has none, must not hold up another that names the same content.
#[tokio::test]
async fn a_fetch_that_hangs_in_one_repository_holds_up_no_other() {
    let (upstream, signer, shared) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("shared"));
    let proxy = Proxy::start(&upstream, &signer).await;
    let platform = shared.platform("amd64").unwrap();
    for repository in ["app", "slow"] {
        upstream.registry().push_image(repository, "1.0", &shared);
        upstream.registry().push_artefact(repository, &signer.bundle(&shared.index));
        for reference in ["1.0".to_owned(), platform.manifest.digest.to_string()] {
            let got = get(proxy.address, &proxy.manifest_path(repository, reference)).await;
            assert_eq!(got.status, StatusCode::OK);
        }
    }
    let (gate, layer) = (Gate::new(), platform.layers[0].clone());
    upstream.misbehave(PathMatch::containing("/slow/blobs/"), Misbehaviour::HoldHeaders(gate.clone()));
    let (address, path) = (proxy.address, proxy.blob_path("slow", layer.digest));
    let held = tokio::spawn(async move { get(address, &path).await });
    gate.wait_started(1).await;
    let path = proxy.blob_path("app", layer.digest);
    let got = tokio::time::timeout(std::time::Duration::from_secs(1), get(proxy.address, &path)).await;
    assert_eq!(got.expect("the other repository's fetch holds it up").body, layer.bytes);
    gate.release();
    assert_eq!(held.await.unwrap().body, layer.bytes);
}

/// Unpackers take a tar header whose sum was made with signed bytes, as old ones made it.
#[tokio::test]
async fn a_tar_archive_of_text_is_no_document_whichever_way_it_is_summed() {
    let (upstream, signer, good) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("good"));
    let proxy = Proxy::start(&upstream, &signer).await;
    upstream.registry().push_image("app", "1.0", &good);
    let config = upstream.registry().put_blob("app", "{\"rootfs\":{\"type\":\"layers\"}}");
    let artefact = |payload: &str| {
        let layer = upstream.registry().put_blob("app", payload.to_owned());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "subject": good.index.descriptor(),
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 28 },
            "layers": [{ "mediaType": "text/x", "digest": layer, "size": payload.len() }],
        });
        let document = Document::json(OCI_MANIFEST, &manifest);
        upstream.registry().put_manifest("app", &document.digest.to_string(), document.clone());
        document.digest
    };
    let tar = |sum: &str| {
        let mut header =
            format!("{:<100}{:<8}{:<8}{:<8}{:<12}{:<12}{sum:<8}0", "<\u{e9}>", "0000755", "0", "0", "20", "0");
        // The name's field counts bytes.
        header.remove(99);
        while header.len() < 512 {
            header.push(' ');
        }
        format!("{header}{:<512}", "#!/bin/sh\nid\n")
    };
    let sum_of = |signed: bool| -> i64 {
        let header = tar(&" ".repeat(8));
        let bytes = header.as_bytes()[..512].iter();
        bytes.map(|byte| if signed { i64::from(*byte as i8) } else { i64::from(*byte) }).sum()
    };
    for sum in [format!("{:o}", sum_of(false)), format!("{:o}", sum_of(true)), format!("{:07o}", sum_of(true))] {
        let got = get(proxy.address, &proxy.manifest_path("app", artefact(&tar(&sum)))).await;
        assert_eq!(got.status, StatusCode::FORBIDDEN, "sum {sum}: {got:?}");
    }
    let got = get(proxy.address, &proxy.manifest_path("app", artefact(&tar("12345")))).await;
    assert_eq!(got.status, StatusCode::OK, "the sibling with another sum: {}", got.message());
}

const SIZE: usize = 1_000_000;

async fn stored(folder: &std::path::Path) -> (DiskStore, Claim, std::path::PathBuf) {
    let store = DiskStore::open(folder).unwrap();
    let bytes = Bytes::from(vec![7; SIZE]);
    let claim = Claim { digest: Digest::of(&bytes), size: SIZE as u64 };
    store.write(bytes).await.unwrap();
    let hex = claim.digest.hex();
    let path = folder.join("blobs/sha256").join(&hex[..2]).join(&hex);
    // Long enough that the file's times tell this state from later ones.
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    let known = store.open_blob(claim).await.unwrap().unwrap().hash_if_needed().await.unwrap();
    drop(known);
    (store, claim, path)
}

/// The file was found right an hour ago, and somebody writes into it while a slow client reads.
#[tokio::test]
async fn a_file_that_changes_while_it_is_read_does_not_leave_whole() {
    let folder = tempfile::tempdir().unwrap();
    let (store, claim, path) = stored(folder.path()).await;
    for changed in [false, true] {
        let mut reader = store.open_blob(claim).await.unwrap().unwrap().read_whole();
        let mut all = reader.next().await.unwrap().unwrap().to_vec();
        if changed {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.write_all_at(b"evil", SIZE as u64 / 2).unwrap();
        }
        let ended = loop {
            match reader.next().await {
                Ok(Some(piece)) => all.write_all(&piece).unwrap(),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        assert_eq!(ended && all.len() == SIZE, !changed, "changed: {changed}");
        assert!(!changed || all.len() < SIZE, "all of it left");
    }
}

/// A large payload of an artefact is looked at whole in memory, but must not wait there for its client.
#[tokio::test]
async fn a_large_payload_of_an_artefact_comes_whole_and_in_parts() {
    let (upstream, signer, good) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("good"));
    let proxy = Proxy::start(&upstream, &signer).await;
    upstream.registry().push_image("app", "1.0", &good);
    let payload = format!("{{\"packages\":\"{}\"}}", "x".repeat(500_000));
    let layer = upstream.registry().put_blob("app", payload.clone());
    let config = upstream.registry().put_blob("app", "{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "subject": good.index.descriptor(),
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": config, "size": 2 },
        "layers": [{ "mediaType": "text/spdx+json", "digest": layer, "size": payload.len() }],
    });
    let artefact = Document::json(OCI_MANIFEST, &manifest);
    upstream.registry().put_manifest("app", &artefact.digest.to_string(), artefact.clone());
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", artefact.digest)).await.status, StatusCode::OK);
    let path = proxy.blob_path("app", layer);
    // From the cache, and where the cache lost it from upstream.
    for lost in [false, true] {
        if lost {
            let hex = layer.hex();
            std::fs::remove_file(proxy.folder().join("blobs/sha256").join(&hex[..2]).join(&hex)).unwrap();
        }
        let got = get(proxy.address, &path).await;
        assert!(got.complete && got.body == payload, "{lost}: {}", got.message());
        for (asked, part) in [("bytes=5-9", &payload[5..10]), ("bytes=-3", &payload[payload.len() - 3..])] {
            let got = send(proxy.address, Http::One, Method::GET, &path, &[("range", asked)]).await;
            assert!(got.status == StatusCode::PARTIAL_CONTENT && got.body == part, "{got:?}");
        }
        let got = send(proxy.address, Http::One, Method::GET, &path, &[("range", "bytes=600000-")]).await;
        assert_eq!(got.status, StatusCode::RANGE_NOT_SATISFIABLE);
        let head = send(proxy.address, Http::One, Method::HEAD, &path, &[]).await;
        assert_eq!(head.header("content-length"), payload.len().to_string());
    }
}

/// Whoever can write to the cache folder changes what has arrived before it is passed on. Its digest was
/// taken when it came from upstream.
#[tokio::test]
async fn what_is_still_arriving_cannot_be_changed_on_disk() {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let proxy = Proxy::start(&upstream, &signer).await;
    let big = ImageBuilder::new("Hello").layer_padding(3_000_000).build();
    let platform = big.platform("amd64").unwrap();
    upstream.registry().push_image("app", "1.0", &big);
    upstream.registry().push_artefact("app", &signer.bundle(&big.index));
    for reference in ["1.0".to_owned(), platform.manifest.digest.to_string()] {
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", reference)).await.status, StatusCode::OK);
    }
    let (layer, gate) = (platform.layers[0].clone(), Gate::new());
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::HoldAfter(1_000_000, gate.clone()));
    let ask = || {
        let (address, path) = (proxy.address, proxy.blob_path("app", layer.digest));
        tokio::spawn(async move { get(address, &path).await })
    };
    let first = ask();
    gate.wait_started(1).await;
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for entry in std::fs::read_dir(proxy.folder().join("spool")).unwrap() {
        let file = std::fs::OpenOptions::new().write(true).open(entry.unwrap().path()).unwrap();
        file.write_all_at(b"evil", 0).unwrap();
    }
    let second = ask();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    gate.release();
    for got in [first.await.unwrap(), second.await.unwrap()] {
        assert!(got.complete && got.body == layer.bytes, "altered or cut: {} bytes", got.body.len());
    }
}

/// Anybody who may push can make documents of an artefact's form that name a platform; here they come before the one
/// index that vouches for it, which has no verdict of its own because another index names it.
#[tokio::test]
async fn artefacts_that_name_a_platform_hide_no_index_that_vouches_for_it() {
    let (upstream, signer, app) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("nested"));
    upstream.registry().push_image("app", "inner", &app);
    let entry = |document: &Document| json!({ "mediaType": document.media_type, "digest": document.digest, "size": document.bytes.len() });
    let index = |entries: Vec<Value>, note: usize| {
        let annotations = json!({ "n": note.to_string() });
        let index =
            json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "annotations": annotations, "manifests": entries });
        Document::json(OCI_INDEX, &index)
    };
    let outer = index(vec![entry(&app.index)], 0);
    upstream.registry().put_manifest("app", "1.0", outer.clone());
    upstream.registry().push_artefact("app", &signer.bundle(&outer));
    let platform = &app.platform("amd64").unwrap().manifest;
    let proxy = Proxy::start(&upstream, &signer).await;
    for reference in ["1.0".to_owned(), app.index.digest.to_string(), platform.digest.to_string()] {
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", reference)).await.status, StatusCode::OK);
    }
    for n in 0..20 {
        let mut named = entry(platform);
        named["artifactType"] = json!("application/vnd.test");
        let artefact = index(vec![named], n);
        upstream.registry().put_manifest("app", &format!("junk-{n}"), artefact.clone());
        let got = get(proxy.address, &proxy.manifest_path("app", artefact.digest)).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.message());
    }
    let proxy = Setup::new(signed_by(&signer)).start_in(&upstream, proxy.stop().await).await;
    let got = get(proxy.address, &proxy.manifest_path("app", platform.digest)).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.message());
}

/// Registries pass on in their lists what anybody wrote who may push, and not every one looks at it.
#[tokio::test]
async fn what_else_a_list_of_referrers_holds_hides_no_signature() {
    let (upstream, signer, good) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("good"));
    upstream.registry().push_image("app", "1.0", &good);
    let bundle = signer.bundle(&good.index);
    upstream.registry().push_artefact("app", &bundle);
    let list = |entries: &[&Value]| {
        let list = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries });
        upstream.behave();
        upstream.misbehave(PathMatch::referrers(), Misbehaviour::Replace(Document::json(OCI_INDEX, &list)));
    };
    let honest = json!(bundle.manifest.descriptor());
    let junk = |member: &str, value: Value| {
        let mut entry = json!({ "mediaType": OCI_MANIFEST, "digest": Digest::of(b"junk"), "size": 9 });
        entry[member] = value;
        entry
    };
    let odd = [
        junk("annotations", json!({ "a": null })),
        junk("annotations", json!([])),
        junk("artifactType", json!(1)),
        junk("mediaType", json!(null)),
        junk("platform", json!("none")),
        junk("size", json!(-1)),
        junk("digest", json!(null)),
        json!(null),
    ];
    for odd in &odd {
        list(&[odd, &honest]);
        let proxy = Proxy::start(&upstream, &signer).await;
        let got = get(proxy.address, &proxy.manifest_path("app", "1.0")).await;
        assert_eq!(got.status, StatusCode::OK, "{odd}: {}", got.message());
    }
    // Where it is all there is, nobody knows what it should have named.
    list(&[&odd[7]]);
    let proxy = Proxy::start(&upstream, &signer).await;
    let got = get(proxy.address, &proxy.manifest_path("app", "1.0")).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{}", got.message());
}

/// A scanner attests each night what it found, as a bundle like the signature's.
#[tokio::test]
async fn a_signature_is_found_behind_more_attestations_than_are_read() {
    let (upstream, signer, good) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("good"));
    upstream.registry().push_image("app", "1.0", &good);
    for night in 0..40 {
        let scan = json!({ "night": night });
        let scan = Statement::attestation(good.index.digest, "https://cosign.sigstore.dev/attestation/vuln/v1", scan);
        let bundle = BundleSignature::of(&signer, &scan).referrer(&good.index).artefact();
        upstream.registry().push_artefact("app", &bundle);
    }
    let proxy = Proxy::start(&upstream, &signer).await;
    let path = proxy.manifest_path("app", "1.0");
    let got = get(proxy.address, &path).await;
    assert!(got.is_refusal("NOT_A_SIGNATURE") && got.message().contains("not everything was read"), "{got:?}");
    upstream.registry().push_artefact("app", &signer.bundle(&good.index));
    let got = get(proxy.address, &path).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.message());
}

/// While nothing was enforced, many images were let through that name the same layer.
#[tokio::test]
async fn images_that_were_let_through_hide_none_that_is_verified() {
    let (upstream, signer, good) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("good"));
    let platform = good.platform("amd64").unwrap().clone();
    let (child, layer) = (platform.manifest.digest, platform.layers[0].clone());
    let push = |tag: &str, image: &assay::demo::BuiltImage| {
        upstream.registry().push_image("app", tag, image);
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    };
    push("1.0", &good);
    let audit = Enforcement::Audit(demand(&[&signer]));
    let proxy = Setup::new(Policy::new(vec![rule("test", "**", audit)], None)).start(&upstream).await;
    let config = upstream.registry().put_blob("app", "{}");
    for n in 0..20 {
        let unsigned = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "annotations": { "n": n.to_string() },
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2 },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer.digest, "size": layer.bytes.len() }],
        });
        let tag = format!("unsigned-{n}");
        upstream.registry().put_manifest("app", &tag, Document::json(OCI_MANIFEST, &unsigned));
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", &tag)).await.status, StatusCode::OK);
    }
    let proxy = Setup::new(signed_by(&signer)).start_in(&upstream, proxy.stop().await).await;
    for reference in ["1.0".to_owned(), child.to_string()] {
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", reference)).await.status, StatusCode::OK);
    }
    // Later ones, more than are opened in search of a layer.
    for n in 0..8 {
        let tag = format!("later-{n}");
        push(&tag, &image(&tag));
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", &tag)).await.status, StatusCode::OK);
    }
    let proxy = Setup::new(signed_by(&signer)).start_in(&upstream, proxy.stop().await).await;
    let got = get(proxy.address, &proxy.blob_path("app", layer.digest)).await;
    assert!(got.status == StatusCode::OK && got.body == layer.bytes, "{}", got.message());
    assert!(get(proxy.address, &proxy.blob_path("app", config)).await.is_refusal("NOT_NAMED"));
}

/// What no other tool reads as a manifest, because its annotations are no texts, is none here either.
#[tokio::test]
async fn a_signature_with_annotations_that_are_no_texts_is_none() {
    for (annotation, status) in [(json!("x"), StatusCode::OK), (json!(["x"]), StatusCode::FORBIDDEN)] {
        let (upstream, signer, good) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("good"));
        upstream.registry().push_image("app", "1.0", &good);
        let mut bundle = signer.bundle(&good.index);
        let mut manifest: Value = serde_json::from_slice(&bundle.manifest.bytes).unwrap();
        manifest["annotations"]["x"] = annotation;
        bundle.manifest = Document::json(OCI_MANIFEST, &manifest);
        upstream.registry().push_artefact("app", &bundle);
        let proxy = Proxy::start(&upstream, &signer).await;
        let got = get(proxy.address, &proxy.manifest_path("app", "1.0")).await;
        assert_eq!(got.status, status, "{}", got.message());
    }
}
