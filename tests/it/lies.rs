//! Upstreams that lie about blobs × HTTP/1.1 and HTTP/2 × sizes: no client ever holds a complete bad
//! blob, and nothing is left on disk.

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use futures_util::future::join_all;
use http::{Method, StatusCode};

use crate::support::client::{Http, get, head, send};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy};

/// Below and above what is held back, and more than one piece.
const SIZES: [usize; 3] = [10_000, 100_000, 3_000_000];

async fn admitted(size: usize) -> (NastyUpstream, Proxy, BuiltImage) {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let image = ImageBuilder::new("Hello").layer_padding(size).build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let proxy = Proxy::start(&upstream, &signer).await;
    assert_eq!(head(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    let platform = image.platform("amd64").unwrap().manifest.digest;
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", platform)).await.status, StatusCode::OK);
    (upstream, proxy, image)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_never_holds_a_complete_bad_blob() {
    join_all(SIZES.map(no_complete_bad_blob_of)).await;
}

async fn no_complete_bad_blob_of(size: usize) {
    let half = size / 2;
    // How the first answer breaks off, if it does, and what every later one is.
    let lies = [
        (None, Misbehaviour::CorruptFirst),
        (None, Misbehaviour::CorruptLast),
        (None, Misbehaviour::Shorter(half)),
        (None, Misbehaviour::Longer(10)),
        (None, Misbehaviour::Endless),
        (None, Misbehaviour::Close),
        (None, Misbehaviour::HtmlPage),
        (None, Misbehaviour::Gzip),
        (None, Misbehaviour::Status(500)),
        (None, Misbehaviour::CutAfter(0)),
        (Some(Misbehaviour::CutAfter(half)), Misbehaviour::Close),
        (Some(Misbehaviour::EndAfter(half)), Misbehaviour::Status(404)),
        (Some(Misbehaviour::StallAfter(half)), Misbehaviour::Status(500)),
        (Some(Misbehaviour::CutAfter(half)), Misbehaviour::CorruptFirst),
        (Some(Misbehaviour::CutAfter(half)), Misbehaviour::CorruptLast),
        (Some(Misbehaviour::CutAfter(half)), Misbehaviour::OtherPart),
        (Some(Misbehaviour::CutAfter(half)), Misbehaviour::ShiftedPart),
        (Some(Misbehaviour::CutAfter(half)), Misbehaviour::Gzip),
        (Some(Misbehaviour::CutAfter(half)), Misbehaviour::Endless),
    ];
    let (upstream, proxy, image) = admitted(size).await;
    let layer = image.platform("amd64").unwrap().layers[0].clone();
    let path = proxy.blob_path("app", layer.digest);
    for (first, lie) in lies {
        for http in [Http::One, Http::Two] {
            upstream.behave();
            upstream.misbehave(PathMatch::blob(layer.digest), lie.clone());
            if let Some(first) = &first {
                upstream.misbehave_times(1, PathMatch::blob(layer.digest), first.clone());
            }
            let got = send(proxy.address, http, Method::GET, &path, &[]).await;
            let holds_it = got.complete && got.status == StatusCode::OK;
            assert!(!holds_it, "{lie:?} over {http:?} with {size} bytes: complete");
            if got.status == StatusCode::OK {
                assert!(
                    got.body.len() + 64 * 1024 <= layer.bytes.len(),
                    "{lie:?}: {} bytes left early",
                    got.body.len()
                );
            }
            assert!(!proxy.has(layer.digest), "{lie:?}: stored");
            assert_eq!(proxy.spooled(), 0, "{lie:?}: something was left behind");
        }
    }
    upstream.behave();
    let got = get(proxy.address, &path).await;
    assert!(got.complete && got.body == layer.bytes, "the sibling without a lie");
}

#[tokio::test]
async fn the_try_after_a_cut_gets_a_readable_answer_and_the_one_after_healing_gets_the_blob() {
    let (upstream, proxy, image) = admitted(300_000).await;
    let layer = image.platform("amd64").unwrap().layers[0].clone();
    let path = proxy.blob_path("app", layer.digest);
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::CorruptLast);
    let first = get(proxy.address, &path).await;
    assert!(first.status == StatusCode::OK && !first.complete, "{:?}", first.status);
    let second = get(proxy.address, &path).await;
    assert_eq!(second.status, StatusCode::BAD_GATEWAY);
    assert!(second.message().starts_with("assay: ") && second.message().contains("hashes to"), "{}", second.message());
    upstream.behave();
    let third = get(proxy.address, &path).await;
    assert!(third.complete && third.body == layer.bytes);
}

#[tokio::test]
async fn upstreams_own_words_keep_their_meaning() {
    let (upstream, proxy, image) = admitted(100_000).await;
    let layer = image.platform("amd64").unwrap().layers[0].digest;
    let path = proxy.blob_path("app", layer);
    for (says, wanted) in [
        (Misbehaviour::Status(404), StatusCode::NOT_FOUND),
        (Misbehaviour::Status(500), StatusCode::BAD_GATEWAY),
        (Misbehaviour::Status(403), StatusCode::BAD_GATEWAY),
        (Misbehaviour::RateLimit(600), StatusCode::SERVICE_UNAVAILABLE),
    ] {
        upstream.behave();
        upstream.misbehave(PathMatch::any_blob(), says.clone());
        let got = get(proxy.address, &path).await;
        assert_eq!(got.status, wanted, "{says:?}: {}", got.message());
    }
    upstream.behave();
    upstream.misbehave(PathMatch::any_manifest(), Misbehaviour::Status(500));
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "new")).await.status, StatusCode::BAD_GATEWAY);
    upstream.behave();
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "new")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn damaged_content_on_disk_never_leaves_whole_and_heals() {
    for size in SIZES {
        let (upstream, proxy, image) = admitted(size).await;
        let layer = image.platform("amd64").unwrap().layers[0].clone();
        let path = proxy.blob_path("app", layer.digest);
        assert!(get(proxy.address, &path).await.complete);
        let hex = layer.digest.hex();
        let file = proxy.folder().join("blobs/sha256").join(&hex[..2]).join(&hex);
        type Damage = fn(&std::path::Path, &[u8]);
        let damages: [(&str, Damage); 5] = [
            ("a flipped byte", |file, bytes| {
                let mut bytes = bytes.to_vec();
                *bytes.last_mut().unwrap() ^= 1;
                std::fs::write(file, bytes).unwrap();
            }),
            ("truncated", |file, bytes| std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap()),
            ("empty", |file, _| std::fs::write(file, b"").unwrap()),
            ("a link elsewhere", |file, _| {
                std::fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", file).unwrap();
            }),
            ("a second name", |file, bytes| {
                let mut other = bytes.to_vec();
                other[0] ^= 1;
                let elsewhere = file.with_extension("x");
                let _ = std::fs::remove_file(&elsewhere);
                std::fs::write(&elsewhere, other).unwrap();
                std::fs::remove_file(file).unwrap();
                std::fs::hard_link(&elsewhere, file).unwrap();
            }),
        ];
        for (name, damage) in damages {
            // A response may be complete a moment before its content is published.
            let published = async {
                while !proxy.has(layer.digest) {
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(20), published).await.expect("it is published");
            damage(&file, &layer.bytes);
            let first = get(proxy.address, &path).await;
            let served = first.complete && first.status == StatusCode::OK && first.body != layer.bytes;
            assert!(!served, "{name} with {size} bytes: served: {:?} {}", first.status, first.message());
            let second = get(proxy.address, &path).await;
            assert!(
                second.complete && second.body == layer.bytes,
                "{name} with {size} bytes: not healed: {}",
                second.message()
            );
        }
        drop(upstream);
    }
}

#[tokio::test]
async fn a_damaged_manifest_on_disk_is_fetched_again() {
    let (_upstream, proxy, image) = admitted(1000).await;
    let folder = proxy.folder().to_owned();
    let hex = image.index.digest.hex();
    std::fs::write(folder.join("blobs/sha256").join(&hex[..2]).join(&hex), b"{}").unwrap();
    let got = get(proxy.address, &proxy.manifest_path("app", image.index.digest)).await;
    assert_eq!(got.body, image.index.bytes);
}
