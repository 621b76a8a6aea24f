//! An outage of a minute, measured: `cargo test --test it outage_measured -- --ignored --nocapture` (five minutes).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::upstream::{Freshness, NetworkOptions};
use futures_util::future::join_all;
use http::StatusCode;

use crate::support::client::get;
use crate::support::proxy::signed_by;
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

const OUTAGE: Duration = Duration::from_secs(60);
/// Engines that pull cached images by tag, each some times a second.
const CLIENTS: usize = 8;
const IMAGES: usize = 4;

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    proxy: Proxy,
    images: Vec<BuiltImage>,
}

/// Settings as shipped, but for the HTTP proxy of the environment.
async fn world() -> World {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let mut setup = Setup::new(signed_by(&signer));
    setup.network = NetworkOptions { proxy: setup.network.proxy, ..NetworkOptions::default() };
    setup.freshness = Freshness::default();
    setup.absent_for = assay::pull::ABSENT_FOR;
    let proxy = setup.start(&upstream).await;
    let images = (0..IMAGES).map(|n| ImageBuilder::new(format!("Hello {n}")).layer_padding(200_000).build()).collect();
    let world = World { upstream, signer, proxy, images };
    for n in 0..IMAGES {
        world.push(&format!("app-{n}"), "1.0", &world.images[n]);
        world.pull(n).await.expect("it is good");
    }
    world
}

impl World {
    fn push(&self, repository: &str, tag: &str, image: &BuiltImage) {
        self.upstream.registry().push_image(repository, tag, image);
        self.upstream.registry().push_artefact(repository, &self.signer.bundle(&image.index));
    }

    /// A whole image by its tag, and how long its tag took.
    async fn pull(&self, n: usize) -> Result<Duration, StatusCode> {
        let (repository, image) = (format!("app-{n}"), &self.images[n]);
        let started = Instant::now();
        let tag = get(self.proxy.address, &self.proxy.manifest_path(&repository, "1.0")).await;
        let took = started.elapsed();
        let platform = image.platform("amd64").unwrap();
        let manifest = get(self.proxy.address, &self.proxy.manifest_path(&repository, platform.manifest.digest)).await;
        let layer = get(self.proxy.address, &self.proxy.blob_path(&repository, platform.layers[0].digest)).await;
        for (got, wanted) in
            [(tag, &image.index.bytes), (manifest, &platform.manifest.bytes), (layer, &platform.layers[0].bytes)]
        {
            if !got.complete || got.body != *wanted {
                return Err(got.status);
            }
        }
        Ok(took)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes five minutes"]
async fn an_outage_of_a_minute() {
    println!(
        "{:8} {:>8} {:>8} {:>10} {:>10} {:>10} {:>12} {:>14}",
        "outage", "pulls", "failed", "tag p50", "tag p99", "tag max", "upstream/s", "right after"
    );
    for (name, outage) in [
        ("cut", Misbehaviour::Close),
        ("503", Misbehaviour::Status(503)),
        ("429", Misbehaviour::RateLimit(3600)),
        ("silent", Misbehaviour::StallBeforeHeaders),
    ] {
        let world = Arc::new(world().await);
        // So that each tag has to be asked for.
        tokio::time::sleep(Freshness::default().tag_ttl).await;
        world.upstream.misbehave(PathMatch::any(), outage);
        world.upstream.forget_requests();
        let over = Arc::new(AtomicBool::new(false));
        let clients = join_all((0..CLIENTS).map(|client| engine(Arc::clone(&world), client, Arc::clone(&over))));
        let hopeful = async {
            let started = Instant::now();
            let mut pulls = Vec::new();
            while started.elapsed() < OUTAGE {
                // New images, whom nobody can serve.
                let (world, n) = (Arc::clone(&world), pulls.len());
                pulls.push(tokio::spawn(async move {
                    let path = world.proxy.manifest_path("app-0", format!("new-{n}"));
                    let answer = tokio::time::timeout(Duration::from_secs(29), get(world.proxy.address, &path)).await;
                    (Instant::now(), answer)
                }));
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let asked = world.upstream.requests().len();
            let image = ImageBuilder::new("pushed when it was back").build();
            world.push("app-1", "back", &image);
            world.upstream.behave();
            let back = Instant::now();
            let got = get(world.proxy.address, &world.proxy.manifest_path("app-1", "back")).await;
            let took = back.elapsed();
            over.store(true, Ordering::SeqCst);
            assert_eq!(got.body, image.index.bytes, "{name}: {} {}", got.status, got.message());
            for pull in pulls {
                let (answered_at, answer) = pull.await.unwrap();
                let is_none = answer.is_ok_and(|got| got.status == StatusCode::NOT_FOUND);
                assert!(
                    answered_at > back || !is_none,
                    "{name}: an upstream that is away has not said that there is none"
                );
            }
            (asked, took)
        };
        let (pulled, (asked, took)) = tokio::join!(clients, hopeful);
        let pulled: Vec<_> = pulled.into_iter().flatten().collect();
        let mut times: Vec<_> = pulled.iter().filter_map(|pull| pull.ok()).collect();
        times.sort();
        let at = |share: f64| format!("{:.1?}", times[((times.len() - 1) as f64 * share) as usize]);
        println!(
            "{name:8} {:>8} {:>8} {:>10} {:>10} {:>10} {:>12.2} {:>14}",
            pulled.len(),
            pulled.len() - times.len(),
            at(0.5),
            at(0.99),
            at(1.0),
            asked as f64 / OUTAGE.as_secs_f64(),
            format!("{took:.1?}")
        );
        assert_eq!(pulled.len(), times.len(), "{name}: cached images were served throughout");
    }
}

async fn engine(world: Arc<World>, client: usize, over: Arc<AtomicBool>) -> Vec<Result<Duration, StatusCode>> {
    let mut pulled = Vec::new();
    while !over.load(Ordering::SeqCst) {
        pulled.push(world.pull((client + pulled.len()) % IMAGES).await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pulled
}
