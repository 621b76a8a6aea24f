//! Cached images are proven again by what is on record, and nobody is asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use assay::clock::{Clock, ManualClock, SystemClock};
use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::ledger::Ledger;
use assay::store::DiskStore;
use assay::telemetry::Metrics;
use assay::trust::{Enforcement, Policy};
use assay::upkeep::{Reverify, Tally};
use http::StatusCode;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::client::get;
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{NastyUpstream, Proxy};

/// A cache folder with an image that two signed and an unsigned one that was refused; upstream is gone for good.
struct World {
    folder: Arc<TempDir>,
    image: BuiltImage,
    signers: [Signer; 2],
}

async fn pulled() -> World {
    let (upstream, signers) =
        (NastyUpstream::start().await, [Signer::generate().unwrap(), Signer::generate().unwrap()]);
    let (image, unsigned) = (ImageBuilder::new("Hello").build(), ImageBuilder::new("nobody signed").build());
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_image("app", "2.0", &unsigned);
    for signer in &signers {
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    }
    let proxy = Proxy::start(&upstream, &signers[0]).await;
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "2.0")).await.status, StatusCode::FORBIDDEN);
    World { folder: proxy.stop().await, image, signers }
}

impl World {
    fn reverify(&self, policy: Policy, clock: Arc<dyn Clock>) -> (Reverify, watch::Sender<Arc<Policy>>) {
        let policies = watch::Sender::new(Arc::new(policy));
        let reverify = Reverify {
            store: Arc::new(DiskStore::open(self.folder.path()).unwrap()),
            ledger: Ledger::open(&self.folder.path().join("ledger.sqlite")).unwrap(),
            clock,
            metrics: Arc::default(),
            policy: policies.subscribe(),
            every: None,
        };
        (reverify, policies)
    }

    async fn tally(&self, policy: Policy) -> Tally {
        let (mut reverify, _policies) = self.reverify(policy, Arc::new(SystemClock));
        reverify.look_at_all(&mut HashSet::new()).await.unwrap().expect("the policy stays as it is")
    }

    fn index_file(&self) -> std::path::PathBuf {
        let hex = self.image.index.digest.hex();
        self.folder.path().join("blobs/sha256").join(&hex[..2]).join(&hex)
    }
}

const STANDS: Tally = Tally { stands: 1, fails: 0, unreadable: 0 };
const FAILS: Tally = Tally { stands: 0, fails: 1, unreadable: 0 };

#[tokio::test]
async fn an_image_stands_as_long_as_its_signatures_meet_the_rule() {
    let world = pulled().await;
    let [one, two] = &world.signers;
    assert_eq!(world.tally(signed_by(one)).await, STANDS);
    assert_eq!(world.tally(signed_by(two)).await, STANDS, "by the other signature on record");
    assert_eq!(world.tally(signed_by(&Signer::generate().unwrap())).await, FAILS);
    assert_eq!(world.tally(Policy::new(vec![], None)).await, FAILS, "without a rule nothing is served");
    let off = Enforcement::Off(assay::trust::danger::Unsigned::as_written_by_the_operator());
    assert_eq!(world.tally(Policy::new(vec![rule("test", "**", off.clone())], None)).await, STANDS);
    let terms = assay::trust::Terms { denied_digests: [world.image.index.digest].into(), ..Default::default() };
    assert_eq!(world.tally(Policy::new(vec![rule("test", "**", off).with_terms(terms)], None)).await, FAILS);
}

#[tokio::test]
async fn an_image_falls_with_the_day_on_which_its_key_ends() {
    let world = pulled().await;
    let mut demand = demand(&[&world.signers[0]]);
    if let assay::trust::Signer::Key(key) = &mut demand.signers[0] {
        key.not_after = Some("2036-12-31T00:00:00Z".parse().unwrap());
    }
    let policy = Policy::new(vec![rule("test", "**", Enforcement::Enforce(demand))], None);
    let clock = Arc::new(ManualClock::new("2036-12-30T00:00:00Z".parse().unwrap()));
    let (mut reverify, _policies) = world.reverify(policy, Arc::clone(&clock) as Arc<dyn Clock>);
    let mut told = HashSet::new();
    assert_eq!(reverify.look_at_all(&mut told).await.unwrap(), Some(STANDS));
    assert!(told.is_empty());
    clock.set("2037-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(reverify.look_at_all(&mut told).await.unwrap(), Some(FAILS));
    assert_eq!(told.len(), 1, "told once, and remembered as told");
}

#[tokio::test]
async fn what_is_gone_or_spoiled_is_neither_good_nor_bad() {
    let world = pulled().await;
    let policy = || signed_by(&world.signers[0]);
    let kept = std::fs::read(world.index_file()).unwrap();
    std::fs::remove_file(world.index_file()).unwrap();
    assert_eq!(world.tally(policy()).await, Tally::default(), "it is not in the cache");
    std::fs::write(world.index_file(), kept).unwrap();
    assert_eq!(world.tally(policy()).await, STANDS);
    let ledger = rusqlite::Connection::open(world.folder.path().join("ledger.sqlite")).unwrap();
    ledger.execute("UPDATE verdict SET record = 'spoiled' WHERE outcome = 'verified'", []).unwrap();
    drop(ledger);
    assert_eq!(world.tally(policy()).await, Tally { unreadable: 1, ..Tally::default() });
}

#[tokio::test]
async fn another_policy_is_looked_at_at_once() {
    let world = pulled().await;
    // Nothing that waits for a network runs any more.
    tokio::time::pause();
    let (mut reverify, policies) = world.reverify(signed_by(&world.signers[0]), Arc::new(SystemClock));
    let metrics = Arc::new(Metrics::new());
    reverify.metrics = Arc::clone(&metrics);
    let says = async |line: &str| {
        while !metrics.encode().contains(line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let changes = async {
        says("assay_cached_images{outcome=\"stands\"} 1\n").await;
        policies.send_replace(Arc::new(signed_by(&Signer::generate().unwrap())));
        says("assay_cached_images{outcome=\"fails\"} 1\n").await;
        policies.send_replace(Arc::new(signed_by(&world.signers[1])));
        says("assay_cached_images{outcome=\"fails\"} 0\n").await;
    };
    tokio::select! {
        () = reverify.run() => panic!("it works until it is dropped"),
        () = changes => {}
    }
}
