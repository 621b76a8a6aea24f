//! The end of `assay serve`: what is under way comes to its end or is cut, and nothing half done stays.

use assay::demo::{BuiltImage, Document, Signer};
use http::StatusCode;
use rustix::process::Signal;

use crate::pull::image;
use crate::support::client::{Got, get};
use crate::support::serving::{Launch, Serving};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch};

/// A program whose one client is in the middle of a download, since the upstream holds the rest back.
struct MidDownload {
    serving: Serving,
    _upstream: NastyUpstream,
    gate: Gate,
    layer: Document,
    client: tokio::task::JoinHandle<Got>,
}

async fn mid_download(grace: &str) -> MidDownload {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let image: BuiltImage = image("Hello");
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let layer = image.platform("amd64").unwrap().layers[0].clone();
    let gate = Gate::new();
    upstream.misbehave(PathMatch::blob(layer.digest), Misbehaviour::HoldAfter(200_000, gate.clone()));
    let grace = format!("[server]\nshutdown_grace = \"{grace}\"");
    let serving = Launch::new(&upstream, &signer.public_key_pem()).with("[server]", &grace).start().await;
    let server = serving.server;
    for reference in ["1.0".to_owned(), image.platform("amd64").unwrap().manifest.digest.to_string()] {
        let got = get(server, &format!("/v2/test.assay/app/manifests/{reference}")).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.message());
    }
    let path = format!("/v2/test.assay/app/blobs/{}", layer.digest);
    let client = tokio::spawn(async move { get(server, &path).await });
    gate.wait_started(1).await;
    MidDownload { serving, _upstream: upstream, gate, layer, client }
}

impl MidDownload {
    async fn is_stopping(&self) {
        let refused = async || tokio::net::TcpStream::connect(self.serving.server).await.is_err();
        self.serving.wait_for("nobody is accepted any more", refused).await;
    }

    fn has_layer(&self) -> bool {
        let hex = self.layer.digest.hex();
        self.serving.path("cache/blobs/sha256").join(&hex[..2]).join(&hex).exists()
    }

    fn nothing_half_done_is_left(&self) {
        assert_eq!(std::fs::read_dir(self.serving.path("cache/spool")).unwrap().count(), 0);
        // SQLite takes its journal away when the ledger is closed in order.
        assert!(!self.serving.path("cache/ledger.sqlite-wal").exists(), "the ledger was not closed");
    }
}

#[tokio::test]
async fn a_download_under_way_is_finished_before_the_end() {
    let mut world = mid_download("1h").await;
    world.serving.signal(Signal::TERM);
    world.is_stopping().await;
    let ready = get(world.serving.admin, "/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "it is still watched, and says that it ends");
    assert_eq!(ready.body, "not ready: stopping\n");

    world.gate.release();
    let got = (&mut world.client).await.unwrap();
    assert!(got.complete && got.body == world.layer.bytes);
    assert_eq!(world.serving.ended().await.code(), Some(0), "{}", world.serving.log());
    assert!(world.has_layer(), "what was fetched is kept");
    world.nothing_half_done_is_left();
}

#[tokio::test]
async fn a_download_that_takes_too_long_is_cut_and_nothing_of_it_is_kept() {
    let mut world = mid_download("100ms").await;
    world.serving.signal(Signal::TERM);
    let got = (&mut world.client).await.unwrap();
    assert!(!got.complete && got.body.len() < world.layer.bytes.len(), "{} bytes", got.body.len());
    assert_eq!(world.serving.ended().await.code(), Some(0), "{}", world.serving.log());
    assert!(world.serving.log().contains("some responses were cut off"), "{}", world.serving.log());
    assert!(!world.has_layer());
    world.nothing_half_done_is_left();
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut world = mid_download("1h").await;
    world.serving.signal(Signal::TERM);
    world.is_stopping().await;
    world.serving.signal(Signal::TERM);
    assert_eq!(world.serving.ended().await.code(), Some(130), "{}", world.serving.log());
    let got = (&mut world.client).await.unwrap();
    assert!(!got.complete && got.body.len() < world.layer.bytes.len());
    assert!(!world.has_layer());
    world.nothing_half_done_is_left();
}
