//! One fetch for many clients: those who come together, come late, or leave.

use std::time::Duration;

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use futures_util::future::join_all;
use http::StatusCode;

use crate::support::client::get;
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Proxy};

async fn cold(size: usize) -> (NastyUpstream, Proxy, BuiltImage) {
    let (upstream, proxy, image, _) = cold_with_signer(size).await;
    (upstream, proxy, image)
}

async fn cold_with_signer(size: usize) -> (NastyUpstream, Proxy, BuiltImage, Signer) {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let image = ImageBuilder::new("Hello").layer_padding(size).build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let proxy = Proxy::start(&upstream, &signer).await;
    (upstream, proxy, image, signer)
}

async fn admit(proxy: &Proxy, image: &BuiltImage) -> (String, assay::demo::Document) {
    let platform = image.platform("amd64").unwrap();
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", platform.manifest.digest)).await.status, StatusCode::OK);
    (proxy.blob_path("app", platform.layers[0].digest), platform.layers[0].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_cost_one_fetch_and_all_get_the_blob() {
    let (upstream, proxy, image) = cold(4_000_000).await;
    let (path, layer) = admit(&proxy, &image).await;
    let gate = Gate::new();
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::HoldAfter(1_000_000, gate.clone()));
    let crowd = join_all((0..50).map(|_| get(proxy.address, &path)));
    let open = async {
        gate.wait_started(1).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.release();
    };
    let (answers, ()) = tokio::join!(crowd, open);
    assert!(answers.iter().all(|got| got.complete && got.body == layer.bytes));
    assert_eq!(upstream.count(&PathMatch::blob(layer.digest).get()), 1);
    // Nobody waited for the end: the first bytes were there before the gate opened.
    let first: Vec<Duration> = answers.iter().filter_map(|got| got.first_byte).collect();
    assert_eq!(first.len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_who_ask_for_the_tag_cost_one_judgement() {
    let (upstream, proxy, image) = cold(1000).await;
    let path = proxy.manifest_path("app", "1.0");
    let gate = Gate::new();
    upstream.misbehave(PathMatch::manifest("1.0"), Misbehaviour::HoldHeaders(gate.clone()));
    let crowd = join_all((0..50).map(|_| get(proxy.address, &path)));
    let open = async {
        gate.wait_started(1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        gate.release();
    };
    let (answers, ()) = tokio::join!(crowd, open);
    assert!(answers.iter().all(|got| got.body == image.index.bytes));
    assert_eq!(upstream.count(&PathMatch::manifest("1.0").get()), 1, "{:?}", upstream.requests());
    assert_eq!(upstream.count(&PathMatch::referrers()), 1);
}

/// By tag, by the index's digest, by the platform's: other ways to the same layer, and one fetch.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_reference_led_there_a_layer_is_fetched_once() {
    let (upstream, proxy, image) = cold(2_000_000).await;
    let platform = image.platform("amd64").unwrap();
    let layer = platform.layers[0].clone();
    let gate = Gate::new();
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::HoldAfter(500_000, gate.clone()));
    let [index, child] = [image.index.digest, platform.manifest.digest].map(|digest| digest.to_string());
    let ways: [&[&str]; 4] = [&["1.0", &child], &[&index, &child], &["1.0"], &["1.0", &index, &child]];
    let pull = async |references: &[&str]| {
        for reference in references {
            let got = get(proxy.address, &proxy.manifest_path("app", reference)).await;
            assert_eq!(got.status, StatusCode::OK, "{references:?}: {}", got.message());
        }
        get(proxy.address, &proxy.blob_path("app", layer.digest)).await
    };
    let open = async {
        gate.wait_started(1).await;
        gate.release();
    };
    let (answers, ()) = tokio::join!(join_all(ways.into_iter().map(pull)), open);
    assert!(answers.iter().all(|got| got.complete && got.body == layer.bytes));
    assert_eq!(upstream.count(&PathMatch::blob(layer.digest).get()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_outlives_the_client_that_started_it() {
    let (upstream, proxy, image) = cold(2_000_000).await;
    let (path, layer) = admit(&proxy, &image).await;
    let gate = Gate::new();
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::HoldAfter(500_000, gate.clone()));
    let first = tokio::time::timeout(Duration::from_millis(300), get(proxy.address, &path)).await;
    assert!(first.is_err(), "the first client left");
    gate.release();
    let second = get(proxy.address, &path).await;
    assert!(second.complete && second.body == layer.bytes);
    assert_eq!(upstream.count(&PathMatch::blob(layer.digest).get()), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_does_not_wait_for_the_last() {
    let (upstream, proxy, image) = cold(2_000_000).await;
    let (path, layer) = admit(&proxy, &image).await;
    let gate = Gate::new();
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::HoldAfter(1_000_000, gate.clone()));
    let open = async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        gate.release();
    };
    let (got, ()) = tokio::join!(get(proxy.address, &path), open);
    assert!(got.complete && got.first_byte.unwrap() < Duration::from_millis(600), "{:?}", got.first_byte);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_fetch_cuts_all_who_follow_it() {
    let (upstream, proxy, image) = cold(1_000_000).await;
    let (path, layer) = admit(&proxy, &image).await;
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::CorruptLast);
    let answers = join_all((0..20).map(|_| get(proxy.address, &path))).await;
    assert!(answers.iter().all(|got| !(got.complete && got.status == StatusCode::OK)));
    assert!(!proxy.has(layer.digest) && proxy.spooled() == 0);
}

/// A tag that is known and moved: HEAD, then the index and the search for its signatures side by side.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_and_its_signatures_are_fetched_side_by_side() {
    let (upstream, proxy, _, signer) = cold_with_signer(1000).await;
    let path = proxy.manifest_path("app", "1.0");
    assert_eq!(get(proxy.address, &path).await.status, StatusCode::OK);

    let moved = ImageBuilder::new("Hello again").build();
    upstream.registry().push_image("app", "1.0", &moved);
    upstream.registry().push_artefact("app", &signer.bundle(&moved.index));
    let gate = Gate::new();
    let classic = format!("sha256-{}.sig", moved.index.digest.hex());
    for place in [PathMatch::manifest(moved.index.digest), PathMatch::referrers(), PathMatch::manifest(classic)] {
        upstream.misbehave(place.get(), Misbehaviour::HoldHeaders(gate.clone()));
    }
    let open = async {
        gate.wait_started(3).await;
        gate.release();
    };
    let (got, ()) = tokio::join!(get(proxy.address, &path), open);
    assert_eq!(got.body, moved.index.bytes, "{}", got.message());
}

/// Good signatures are worth nothing without the bytes that they are about.
#[tokio::test(flavor = "multi_thread")]
async fn signatures_without_their_index_admit_nothing() {
    let (upstream, proxy, image) = cold(1000).await;
    let path = proxy.manifest_path("app", image.index.digest);
    let index = || PathMatch::manifest(image.index.digest).get();
    upstream.misbehave(index(), Misbehaviour::CorruptLast);
    let got = get(proxy.address, &path).await;
    assert_eq!(got.status, StatusCode::BAD_GATEWAY, "{}", got.message());
    upstream.behave();
    assert_eq!(get(proxy.address, &path).await.body, image.index.bytes);
}
