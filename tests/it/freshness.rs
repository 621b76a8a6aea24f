//! How often upstream is asked where a tag leads, and what is remembered of "none" and "no".

use std::sync::Arc;
use std::time::Duration;

use assay::clock::{Clock, ManualClock, SystemClock};
use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::trust::{Enforcement, Policy};
use assay::upstream::Freshness;
use futures_util::future::join_all;
use http::StatusCode;
use jiff::SignedDuration;

use crate::support::client::{get, head};
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

const TTL: Duration = Duration::from_secs(600);

/// An Assay that remembers tags, and whose clock a test moves.
struct World {
    upstream: NastyUpstream,
    signer: Signer,
    clock: Arc<ManualClock>,
    proxy: Proxy,
}

fn setup(signer: &Signer, clock: &Arc<ManualClock>) -> Setup {
    let mut setup = Setup::new(signed_by(signer));
    setup.freshness = Freshness { tag_ttl: TTL, ..setup.freshness };
    setup.clock = Arc::clone(clock) as Arc<dyn Clock>;
    setup
}

impl World {
    async fn new() -> Self {
        Self::with(Duration::ZERO).await
    }

    /// Answers are used for `a_moment`, whatever becomes of them.
    async fn with(a_moment: Duration) -> Self {
        let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        let setup = Setup { absent_for: a_moment, ..setup(&signer, &clock) };
        let proxy = setup.start(&upstream).await;
        Self { upstream, signer, clock, proxy }
    }

    fn push(&self, tag: &str, text: &str) -> BuiltImage {
        let image = ImageBuilder::new(text).build();
        self.upstream.registry().push_image("app", tag, &image);
        self.upstream.registry().push_artefact("app", &self.signer.bundle(&image.index));
        image
    }

    fn path(&self, reference: &str) -> String {
        self.proxy.manifest_path("app", reference)
    }

    fn pass(&self, time: Duration) {
        self.clock.set(self.clock.now() + SignedDuration::try_from(time).unwrap());
    }

    /// How often upstream was asked where this tag leads.
    fn asked(&self, tag: &str) -> usize {
        self.upstream.count(&PathMatch::manifest(tag))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_asked_for_once_within_its_time_and_then_by_head() {
    let world = World::new().await;
    let old = world.push("1.0", "old");
    assert_eq!(head(world.proxy.address, &world.path("1.0")).await.status, StatusCode::OK);
    assert_eq!(get(world.proxy.address, &world.path("1.0")).await.body, old.index.bytes);
    assert_eq!(world.asked("1.0"), 1, "the GET of the same pull needed no question");

    let new = world.push("1.0", "new");
    assert_eq!(get(world.proxy.address, &world.path("1.0")).await.body, old.index.bytes, "within its time");
    world.pass(TTL);
    assert_eq!(get(world.proxy.address, &world.path("1.0")).await.body, new.index.bytes);
    assert_eq!(world.upstream.count(&PathMatch::manifest("1.0").head()), 1);
    assert_eq!(world.asked("1.0"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_whose_tag_grew_old_costs_one_head() {
    let world = World::with(Duration::from_secs(60)).await;
    let image = world.push("1.0", "Hello");
    // The ledger of an earlier run, too old to be used without asking.
    let World { upstream, signer, clock, proxy } = world;
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    let folder = proxy.stop().await;
    clock.set(clock.now() + SignedDuration::try_from(TTL).unwrap());
    let setup = Setup { absent_for: Duration::from_secs(60), ..setup(&signer, &clock) };
    let proxy = setup.start_in(&upstream, folder).await;
    let path = proxy.manifest_path("app", "1.0");
    let gate = Gate::new();
    upstream.misbehave(PathMatch::manifest("1.0"), Misbehaviour::HoldHeaders(gate.clone()));
    let crowd = join_all((0..50).map(|_| get(proxy.address, &path)));
    let open = async {
        gate.wait_started(1).await;
        gate.release();
    };
    // Also those who come when the answer is here and nothing is admitted yet.
    let (answers, ()) = tokio::join!(crowd, open);
    assert!(answers.iter().all(|got| got.body == image.index.bytes));
    assert_eq!(upstream.count(&PathMatch::manifest("1.0").head()), 1);
}

/// The sibling of all others here: zero means always.
#[tokio::test(flavor = "multi_thread")]
async fn with_no_time_at_all_a_tag_is_always_asked_for() {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let image = ImageBuilder::new("Hello").build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let proxy = Proxy::start(&upstream, &signer).await;
    for times in 1..4 {
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
        assert_eq!(upstream.count(&PathMatch::manifest("1.0")), times);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_knows_counts_after_a_restart() {
    let world = World::new().await;
    let image = world.push("1.0", "Hello");
    assert_eq!(get(world.proxy.address, &world.path("1.0")).await.status, StatusCode::OK);
    let World { upstream, signer, clock, proxy } = world;
    let folder = proxy.stop().await;
    let proxy = setup(&signer, &clock).start_in(&upstream, folder).await;
    upstream.forget_requests();
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.body, image.index.bytes);
    assert_eq!(upstream.requests().len(), 0, "{:?}", upstream.requests());

    // Not what it knows too long, nor what it claims to have seen tomorrow.
    let seen = clock.now();
    let folder = proxy.stop().await;
    for elsewhen in [seen + SignedDuration::try_from(TTL).unwrap(), seen - SignedDuration::from_secs(60)] {
        clock.set(elsewhen);
        let proxy = setup(&signer, &clock).start_in(&upstream, Arc::clone(&folder)).await;
        upstream.forget_requests();
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
        assert_eq!(upstream.count(&PathMatch::manifest("1.0").head()), 1);
        clock.set(seen);
        proxy.stop().await;
        // As it was before.
        let ledger = assay::ledger::Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let (repository, tag) = (format!("{}/app", crate::support::REGISTRY), "1.0".parse().unwrap());
        ledger.record_tag(&repository.parse().unwrap(), &tag, image.index.digest, seen).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_led_to_something_refused_is_asked_for_again() {
    let world = World::new().await;
    let bad = ImageBuilder::new("unsigned").build();
    world.upstream.registry().push_image("app", "1.0", &bad);
    assert!(get(world.proxy.address, &world.path("1.0")).await.is_refusal("NO_SIGNATURE"));
    let good = world.push("1.0", "signed");
    assert_eq!(get(world.proxy.address, &world.path("1.0")).await.body, good.index.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_count_at_once_for_tags_that_are_remembered() {
    let world = World::new().await;
    let image = world.push("1.0", "Hello");
    assert_eq!(get(world.proxy.address, &world.path("1.0")).await.status, StatusCode::OK);
    let stranger = Signer::generate().unwrap();
    world.proxy.puller.replace_policy(signed_by(&stranger));
    assert!(get(world.proxy.address, &world.path("1.0")).await.is_refusal("UNTRUSTED_KEY"));
    world.proxy.puller.replace_policy(signed_by(&world.signer));
    assert_eq!(get(world.proxy.address, &world.path("1.0")).await.body, image.index.bytes);
    assert_eq!(world.asked("1.0"), 1, "and nobody had to ask where it leads");
}

/// An Assay that remembers what was not there or refused, for so long that a slow machine does not matter.
async fn forgetful(policy: Policy) -> (NastyUpstream, Proxy) {
    let upstream = NastyUpstream::start().await;
    let mut setup = Setup::new(policy);
    setup.absent_for = Duration::from_secs(60);
    let proxy = setup.start(&upstream).await;
    (upstream, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_get_after_a_refused_head_costs_no_look() {
    let signer = Signer::generate().unwrap();
    let (upstream, proxy) = forgetful(signed_by(&signer)).await;
    let image = ImageBuilder::new("unsigned").build();
    upstream.registry().push_image("app", "1.0", &image);
    let path = proxy.manifest_path("app", "1.0");
    assert_eq!(head(proxy.address, &path).await.status, StatusCode::FORBIDDEN);
    upstream.forget_requests();
    assert!(get(proxy.address, &path).await.is_refusal("NO_SIGNATURE"));
    let looks = upstream.requests().iter().filter(|seen| !seen.path.ends_with("/manifests/1.0")).count();
    assert_eq!(looks, 0, "{:?}", upstream.requests());

    // Another rule is another question.
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let other = Enforcement::Enforce(demand(&[&signer, &Signer::generate().unwrap()]));
    proxy.puller.replace_policy(Policy::new(vec![rule("test", "**", other)], None));
    assert_eq!(get(proxy.address, &path).await.body, image.index.bytes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_upstream_does_not_have_is_asked_for_once() {
    let signer = Signer::generate().unwrap();
    let (upstream, proxy) = forgetful(signed_by(&signer)).await;
    let image = ImageBuilder::new("Hello").layer_padding(100_000).build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let platform = image.platform("amd64").unwrap();
    for reference in ["1.0".to_owned(), platform.manifest.digest.to_string()] {
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", reference)).await.status, StatusCode::OK);
    }
    let (layer, none) = (platform.layers[0].digest, assay::oci::Digest::of(b"nothing"));
    upstream.misbehave(PathMatch::blob(layer), Misbehaviour::Status(404));
    for path in [proxy.manifest_path("app", "2.0"), proxy.manifest_path("app", none), proxy.blob_path("app", layer)] {
        let first = get(proxy.address, &path).await;
        upstream.forget_requests();
        let second = get(proxy.address, &path).await;
        assert_eq!((first.status, second.status), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND), "{path}");
        assert_eq!(upstream.requests().len(), 0, "{path}: {:?}", upstream.requests());
    }
}

/// What comes later is there within the half second for which "none" and "no" are remembered.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_or_signed_after_a_no_is_served_soon() {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let mut setup = Setup::new(signed_by(&signer));
    setup.absent_for = assay::pull::ABSENT_FOR;
    let proxy = setup.start(&upstream).await;
    let path = proxy.manifest_path("app", "1.0");
    let image = ImageBuilder::new("Hello").build();
    assert_eq!(get(proxy.address, &path).await.status, StatusCode::NOT_FOUND);
    upstream.registry().push_image("app", "1.0", &image);
    assert!(until(&proxy, &path, StatusCode::NOT_FOUND).await.is_refusal("NO_SIGNATURE"));
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    assert_eq!(until(&proxy, &path, StatusCode::FORBIDDEN).await.body, image.index.bytes);
}

/// A platform may be refused for want of its index; when that comes, it counts at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_was_refused_is_served_when_its_index_was_seen() {
    let signer = Signer::generate().unwrap();
    let (upstream, proxy) = forgetful(signed_by(&signer)).await;
    let image = ImageBuilder::new("Hello").build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let platform = proxy.manifest_path("app", image.platform("amd64").unwrap().manifest.digest);
    assert!(get(proxy.address, &platform).await.is_refusal("NO_SIGNATURE"));
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
    assert_eq!(get(proxy.address, &platform).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_checked_or_asked_is_not_remembered() {
    let signer = Signer::generate().unwrap();
    let (upstream, proxy) = forgetful(signed_by(&signer)).await;
    let image = ImageBuilder::new("Hello").build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let path = proxy.manifest_path("app", "1.0");
    for (place, status) in [
        (PathMatch::manifest("1.0"), StatusCode::BAD_GATEWAY),
        (PathMatch::referrers(), StatusCode::SERVICE_UNAVAILABLE),
    ] {
        upstream.misbehave(place, Misbehaviour::Status(500));
        assert_eq!(get(proxy.address, &path).await.status, status);
        upstream.behave();
    }
    assert_eq!(get(proxy.address, &path).await.body, image.index.bytes);
}

/// Asks until the answer is another than this.
async fn until(proxy: &Proxy, path: &str, not: StatusCode) -> crate::support::client::Got {
    let asking = async {
        loop {
            let got = get(proxy.address, path).await;
            if got.status != not {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asking).await.expect("it came")
}
