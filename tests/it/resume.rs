//! Fetches that break off: they go on where they ended, for everybody who waits for them, or end.

use std::time::Duration;

use assay::demo::{BuiltImage, Document, ImageBuilder, Signer};
use http::{Method, StatusCode};

use crate::support::certs::TestCa;
use crate::support::client::{Got, Http, get, send};
use crate::support::proxy::{Setup, signed_by};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Protocol, Proxy};

const SIZE: usize = 3_000_000;

struct World {
    upstream: NastyUpstream,
    proxy: Proxy,
    layer: Document,
    path: String,
}

async fn world_on(upstream: NastyUpstream, ca: Option<&TestCa>) -> World {
    let signer = Signer::generate().unwrap();
    let image = ImageBuilder::new("Hello").layer_padding(SIZE).build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let mut setup = Setup::new(signed_by(&signer));
    setup.ca.extend(ca.map(|ca| ca.ca_pem().into_bytes()));
    let proxy = setup.start(&upstream).await;
    let layer = admit(&proxy, &image).await;
    let path = proxy.blob_path("app", layer.digest);
    World { upstream, proxy, layer, path }
}

async fn world() -> World {
    world_on(NastyUpstream::start().await, None).await
}

async fn admit(proxy: &Proxy, image: &BuiltImage) -> Document {
    let platform = image.platform("amd64").unwrap();
    for reference in ["1.0".to_owned(), platform.manifest.digest.to_string()] {
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", reference)).await.status, StatusCode::OK);
    }
    platform.layers[0].clone()
}

impl World {
    fn blob(&self) -> PathMatch {
        PathMatch::blob(self.layer.digest).get()
    }

    async fn get(&self) -> Got {
        get(self.proxy.address, &self.path).await
    }

    /// The offsets from which upstream was asked for the layer.
    fn asked_from(&self) -> Vec<u64> {
        let path = format!("/blobs/{}", self.layer.digest);
        let asked = self.upstream.requests().into_iter().filter(|seen| seen.path.ends_with(&path));
        let from = |range: &str| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
        asked.map(|seen| seen.header("range").map_or(0, from)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_off_goes_on_where_it_ended() {
    let ca = TestCa::new();
    for tls in [None, Some(Protocol::Http1), Some(Protocol::Http2)] {
        for lie in [Misbehaviour::CutAfter(700_000), Misbehaviour::EndAfter(700_000), Misbehaviour::StallAfter(700_000)]
        {
            let world = match tls {
                None => world().await,
                Some(protocol) => world_on(NastyUpstream::start_tls(&ca, protocol).await, Some(&ca)).await,
            };
            // Each try gets on, so there may be more of them than tries that do not.
            let times = if matches!(lie, Misbehaviour::StallAfter(_)) { 1 } else { 4 };
            world.upstream.misbehave_times(times, world.blob(), lie.clone());
            let got = world.get().await;
            assert!(got.complete && got.body == world.layer.bytes, "{lie:?} over {tls:?}: {}", got.message());
            let from = world.asked_from();
            assert_eq!(from.len(), times + 1, "{lie:?} over {tls:?}: {from:?}");
            assert!(from.is_sorted() && from[0] == 0 && from[1..].iter().all(|from| *from > 500_000), "{from:?}");
            world.proxy.published(world.layer.digest).await;
            assert_eq!(world.proxy.spooled(), 0, "nothing stays in the spool");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_without_ranges_is_read_again_up_to_where_it_ended() {
    let world = world().await;
    world.upstream.misbehave(world.blob(), Misbehaviour::WholeForPart);
    world.upstream.misbehave_times(1, world.blob(), Misbehaviour::CutAfter(1_000_000));
    let got = world.get().await;
    assert!(got.complete && got.body == world.layer.bytes);
    assert_eq!(world.asked_from().len(), 2);
}

/// The sibling with the honest second half is the test above.
#[tokio::test(flavor = "multi_thread")]
async fn halves_that_do_not_belong_together_are_never_complete_and_the_next_pull_begins_anew() {
    for lie in [Misbehaviour::CorruptLast, Misbehaviour::ShiftedPart, Misbehaviour::OtherPart] {
        let world = world().await;
        world.upstream.misbehave(world.blob(), lie.clone());
        world.upstream.misbehave_times(1, world.blob(), Misbehaviour::CutAfter(1_000_000));
        let got = world.get().await;
        assert!(got.status == StatusCode::OK && !got.complete, "{lie:?}");
        assert!(!world.proxy.has(world.layer.digest));
        world.upstream.behave();
        let got = world.get().await;
        assert!(got.complete && got.body == world.layer.bytes, "{lie:?}: {}", got.message());
        assert_eq!(world.asked_from().last(), Some(&0), "nothing of the bad fetch is used again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_that_does_not_get_on_ends() {
    let world = world().await;
    world.upstream.misbehave(world.blob(), Misbehaviour::CutAfter(1000));
    let got = world.get().await;
    assert!(!(got.complete && got.status == StatusCode::OK));
    assert_eq!(world.asked_from(), [0, 1000], "as often as requests are repeated");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_registry_sent_us_is_asked_for_again() {
    let world = world().await;
    let there = format!("/v2/cdn/blobs/{}", world.layer.digest);
    world.upstream.registry().put_blob("cdn", world.layer.bytes.clone());
    world.upstream.misbehave(
        PathMatch::path(&format!("/v2/app/blobs/{}", world.layer.digest)),
        Misbehaviour::Redirect(there.clone()),
    );
    world.upstream.misbehave_times(1, PathMatch::path(&there), Misbehaviour::CutAfter(1_000_000));
    let got = world.get().await;
    assert!(got.complete && got.body == world.layer.bytes);
    let digest = world.layer.digest.to_string();
    let paths = world.upstream.requests().into_iter().map(|seen| seen.path);
    let blobs: Vec<_> = paths.filter(|path| path.ends_with(&digest)).map(|path| path[..8].to_owned()).collect();
    assert_eq!(blobs, ["/v2/app/", "/v2/cdn/", "/v2/app/", "/v2/cdn/"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resumes_joins_the_running_fetch() {
    let world = world().await;
    let gate = Gate::new();
    world.upstream.misbehave(world.blob(), Misbehaviour::HoldAfter(1_000_000, gate.clone()));
    let first = tokio::time::timeout(Duration::from_millis(300), world.get()).await;
    assert!(first.is_err(), "the first client left");
    let rest = async |from: u64| {
        let range = format!("bytes={from}-");
        send(world.proxy.address, Http::One, Method::GET, &world.path, &[("range", &range)]).await
    };
    let (near, far, ()) = tokio::join!(rest(500_000), rest(2_500_000), async {
        gate.wait_started(1).await;
        gate.release();
    });
    for (got, from) in [(near, 500_000), (far, 2_500_000)] {
        assert_eq!(got.status, StatusCode::PARTIAL_CONTENT);
        assert!(got.complete && got.body == world.layer.bytes[from..]);
    }
    assert_eq!(world.asked_from(), [0]);
}
