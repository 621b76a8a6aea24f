//! Upstream is away: what is here is served, what is new waits for it or says so, and it is not hammered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use assay::clock::{Clock, ManualClock, SystemClock};
use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::trust::{Enforcement, Policy, danger};
use assay::upstream::Freshness;
use futures_util::future::join_all;
use http::StatusCode;
use jiff::SignedDuration;

use crate::support::client::{Got, get, head};
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// An Assay that has seen an image, and may use it where upstream is away.
struct World {
    upstream: NastyUpstream,
    signer: Signer,
    clock: Arc<ManualClock>,
    proxy: Proxy,
    image: BuiltImage,
}

/// The ways of being away.
fn outages() -> [(&'static str, Misbehaviour); 5] {
    [
        ("cut", Misbehaviour::Close),
        ("503", Misbehaviour::Status(503)),
        ("429", Misbehaviour::RateLimit(3600)),
        ("silent", Misbehaviour::StallBeforeHeaders),
        ("a login page", Misbehaviour::HtmlPage),
    ]
}

impl World {
    async fn new() -> Self {
        let signer = Signer::generate().unwrap();
        let policy = signed_by(&signer);
        Self::under(signer, policy).await
    }

    async fn under(signer: Signer, policy: Policy) -> Self {
        let (upstream, clock) = (NastyUpstream::start().await, Arc::new(ManualClock::new(SystemClock.now())));
        let mut setup = Setup::new(policy);
        setup.freshness = Freshness { stale_if_error: STALE, ..setup.freshness };
        setup.clock = Arc::clone(&clock) as Arc<dyn Clock>;
        // Longer than any client of these tests waits: whoever is answered was not held up by silence.
        setup.network.read_timeout = Duration::from_secs(300);
        setup.limits.deadline = Duration::from_secs(300);
        let proxy = setup.start(&upstream).await;
        let image = ImageBuilder::new("Hello").layer_padding(100_000).build();
        let world = Self { upstream, signer, clock, proxy, image };
        world.push("app", "1.0", &world.image);
        world.pull_everything().await;
        world
    }

    fn push(&self, repository: &str, tag: &str, image: &BuiltImage) {
        self.upstream.registry().push_image(repository, tag, image);
        self.upstream.registry().push_artefact(repository, &self.signer.bundle(&image.index));
    }

    async fn tag(&self, tag: &str) -> Got {
        get(self.proxy.address, &self.proxy.manifest_path("app", tag)).await
    }

    /// The tag, one platform and its layers, as an engine pulls them.
    async fn pull_everything(&self) {
        let platform = self.image.platform("amd64").unwrap();
        let by_tag = self.tag("1.0").await;
        assert_eq!(by_tag.body, self.image.index.bytes, "{}", by_tag.message());
        assert_eq!(self.tag(&platform.manifest.digest.to_string()).await.body, platform.manifest.bytes);
        for layer in &platform.layers {
            let got = get(self.proxy.address, &self.proxy.blob_path("app", layer.digest)).await;
            assert!(got.complete && got.body == layer.bytes);
        }
    }

    fn goes_away(&self, how: Misbehaviour) {
        self.upstream.misbehave(PathMatch::any(), how);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_verified_is_served_and_says_that_it_is_stale() {
    for (name, outage) in outages() {
        let world = World::new().await;
        world.goes_away(outage);
        let got = world.tag("1.0").await;
        assert_eq!((got.status, got.header("assay-cache")), (StatusCode::OK, "stale"), "{name}: {}", got.message());
        assert_eq!(got.body, world.image.index.bytes);
        assert!(got.header("assay-verdict").starts_with("verified"));
        assert_eq!(
            head(world.proxy.address, &world.proxy.manifest_path("app", "1.0")).await.header("assay-cache"),
            "stale"
        );
        world.pull_everything().await;

        world.upstream.behave();
        let moved = ImageBuilder::new("moved").build();
        world.push("app", "1.0", &moved);
        let right = async {
            loop {
                let got = world.tag("1.0").await;
                if got.header("assay-cache") != "stale" {
                    break got;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let got = tokio::time::timeout(Duration::from_secs(10), right).await.expect("it is seen that it is back");
        assert_eq!(got.body, moved.index.bytes, "{name}");
    }
}

/// An answer is an answer, also where it is "no".
#[tokio::test(flavor = "multi_thread")]
async fn what_upstream_says_is_no_outage() {
    let world = World::new().await;
    for (says, wanted) in [
        (Misbehaviour::Status(404), StatusCode::NOT_FOUND),
        (Misbehaviour::Status(403), StatusCode::BAD_GATEWAY),
        (Misbehaviour::Status(401), StatusCode::BAD_GATEWAY),
        (Misbehaviour::Status(400), StatusCode::BAD_GATEWAY),
        (Misbehaviour::Redirect("http://10.0.0.1/".to_owned()), StatusCode::BAD_GATEWAY),
    ] {
        for _ in 0..10 {
            world.upstream.behave();
            world.goes_away(says.clone());
            assert_eq!(world.tag("1.0").await.status, wanted, "{says:?}");
        }
    }
    world.upstream.behave();
    assert_eq!(world.tag("1.0").await.header("assay-cache"), "memory", "and it held nobody back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_seen_too_long_ago_is_not_served() {
    let world = World::new().await;
    let seen = world.clock.now();
    world.goes_away(Misbehaviour::Status(503));
    let stale = SignedDuration::try_from(STALE).unwrap();
    world.clock.set(seen + stale - SignedDuration::from_secs(1));
    assert_eq!(world.tag("1.0").await.header("assay-cache"), "stale");
    // That it was served does not make it younger.
    world.clock.set(seen + stale);
    let got = world.tag("1.0").await;
    assert!(got.status.is_server_error(), "{}", got.status);
    let by_digest = world.tag(&world.image.index.digest.to_string()).await;
    assert_eq!(by_digest.status, StatusCode::OK, "what is asked by digest is not old");
    world.clock.set(seen);
    assert_eq!(world.tag("1.0").await.header("assay-cache"), "stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_tag_passes_the_rule_that_is_in_force() {
    let world = World::new().await;
    world.goes_away(Misbehaviour::Status(503));
    assert_eq!(world.tag("1.0").await.header("assay-cache"), "stale");
    world.proxy.puller.replace_policy(signed_by(&Signer::generate().unwrap()));
    let got = world.tag("1.0").await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "nobody could check: {}", got.message());
    world.proxy.puller.replace_policy(signed_by(&world.signer));
    assert_eq!(world.tag("1.0").await.header("assay-cache"), "stale");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_not_served_when_upstream_is_away() {
    let world = World::new().await;
    world.upstream.registry().push_image("app", "1.0", &ImageBuilder::new("unsigned").build());
    assert!(world.tag("1.0").await.is_refusal("NO_SIGNATURE"));
    world.upstream.registry().push_image("app", "2.0", &ImageBuilder::new("never signed").build());
    assert!(world.tag("2.0").await.is_refusal("NO_SIGNATURE"));
    world.goes_away(Misbehaviour::Status(503));
    assert_eq!(world.tag("1.0").await.body, world.image.index.bytes, "what it led to when it was signed");
    assert!(world.tag("2.0").await.status.is_server_error());
}

/// Where nothing is enforced, what was served is served, with the same word for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_enforced_is_served_stale_too() {
    let off = Enforcement::Off(danger::Unsigned::as_written_by_the_operator());
    for enforcement in [Enforcement::Audit(demand(&[&Signer::generate().unwrap()])), off] {
        let policy = Policy::new(vec![rule("lax", "**", enforcement)], None);
        let world = World::under(Signer::generate().unwrap(), policy).await;
        let before = world.tag("1.0").await;
        world.goes_away(Misbehaviour::Status(503));
        let got = world.tag("1.0").await;
        assert_eq!((got.status, got.header("assay-cache")), (StatusCode::OK, "stale"));
        assert_eq!(got.header("assay-verdict"), before.header("assay-verdict"));
    }
}

/// Where a rule only watches, an image is looked at again after a minute. What was found last stands while nobody can look,
/// and nobody waits for a look that gets no answer.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_only_watched_keeps_its_verdict_while_upstream_is_away() {
    for (name, outage) in outages() {
        let audit = Enforcement::Audit(demand(&[&Signer::generate().unwrap()]));
        let world = World::under(Signer::generate().unwrap(), Policy::new(vec![rule("lax", "**", audit)], None)).await;
        let before = world.tag("1.0").await.header("assay-verdict").to_owned();
        assert!(before.starts_with("audit") && before.contains("reason="), "{before}");
        let seen = world.clock.now();
        for minutes in 1..4 {
            world.goes_away(outage.clone());
            world.clock.set(seen + SignedDuration::from_mins(61 * minutes));
            world.pull_everything().await;
            assert_eq!(world.tag("1.0").await.header("assay-verdict"), before, "{name}");
        }
        world.upstream.behave();
        world.upstream.forget_requests();
        world.clock.set(seen + SignedDuration::from_mins(300));
        let looked = async {
            while !world.upstream.requests().iter().any(|asked| asked.path.contains("/referrers/")) {
                world.tag("1.0").await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), looked)
            .await
            .unwrap_or_else(|_| panic!("{name}: nobody looks again"));
    }
}

/// Who asked during an outage still waits for an answer; who asks five seconds later has one at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_hung_does_not_undo_a_later_one() {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let audit = Enforcement::Audit(demand(&[&signer]));
    let mut setup = Setup::new(Policy::new(vec![rule("lax", "**", audit)], None));
    setup.limits.deadline = Duration::from_secs(12);
    let proxy = setup.start(&upstream).await;
    let image = ImageBuilder::new("Hello").build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    upstream.misbehave(PathMatch::referrers(), Misbehaviour::StallBeforeHeaders);
    let path = proxy.manifest_path("app", image.index.digest);
    let later = async {
        tokio::time::sleep(Duration::from_millis(5500)).await;
        upstream.behave();
        get(proxy.address, &path).await
    };
    let (hung, later) = tokio::join!(get(proxy.address, &path), later);
    assert!(later.header("assay-verdict").starts_with("verified"), "{}", later.header("assay-verdict"));
    assert!(hung.header("assay-verdict").starts_with("verified"), "{}", hung.header("assay-verdict"));
    let now = get(proxy.address, &path).await;
    assert!(now.header("assay-verdict").starts_with("verified"), "{}", now.header("assay-verdict"));
}

/// A minute's crowd in a few seconds: the number of questions depends on the time, not on the crowd.
#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_fails_is_not_hammered() {
    for (name, outage) in [("cut", Misbehaviour::Close), ("429", Misbehaviour::RateLimit(3600))] {
        let world = World::new().await;
        world.goes_away(outage);
        for n in 0..5 {
            assert!(world.tag(&format!("new-{n}")).await.status.is_server_error());
        }
        world.upstream.forget_requests();
        let started = Instant::now();
        for round in 0..3 {
            let new: Vec<_> = (0..50).map(|n| format!("new-{round}-{n}")).collect();
            let known = join_all((0..50).map(|_| world.tag("1.0")));
            let (new, known) = tokio::join!(join_all(new.iter().map(|tag| world.tag(tag))), known);
            assert!(new.iter().all(|got| got.status.is_server_error()), "{name}: {:?}", new[0].status);
            assert!(known.iter().all(|got| got.body == world.image.index.bytes), "{name}");
        }
        // One each 0.8 s less the head start at most, and one more for the time that has begun, and for who was let through first.
        let most = started.elapsed().as_secs_f64() / 0.7 + 2.0;
        let asked = world.upstream.requests().len();
        assert!(asked as f64 <= most, "{name}: {asked} questions in {:?}", started.elapsed());
    }
}

/// One question, put once, right away.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_new_pull_after_an_outage_is_right() {
    for (name, outage) in outages() {
        let world = World::new().await;
        world.goes_away(outage.clone());
        let hopeless: Vec<_> = (0..10).map(|n| format!("new-{n}")).collect();
        let pulls = join_all(hopeless.iter().map(|tag| world.tag(tag)));
        // Whoever waits for a silent upstream may wait; it is not waited for them.
        let _ = tokio::time::timeout(Duration::from_secs(6), pulls).await;
        let image = ImageBuilder::new("new").build();
        world.push("app", "new", &image);
        world.upstream.behave();
        let got = world.tag("new").await;
        assert_eq!(got.body, image.index.bytes, "{name}: {}", got.message());
        world.pull_everything().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_fails_holds_up_no_other() {
    let world = World::new().await;
    world.upstream.misbehave(PathMatch::containing("/broken/"), Misbehaviour::Status(500));
    let broken = world.proxy.manifest_path("broken", "1.0");
    for _ in 0..5 {
        assert!(get(world.proxy.address, &broken).await.status.is_server_error());
    }
    for n in 0..20 {
        let tag = format!("2.{n}");
        world.push("app", &tag, &world.image);
        assert_eq!(world.tag(&tag).await.status, StatusCode::OK);
    }
    world.upstream.behave();
    world.push("broken", "1.0", &world.image);
    assert_eq!(get(world.proxy.address, &broken).await.status, StatusCode::OK);
}

/// 404 comes from a 404 only, also of what nobody was asked.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_hears_404_from_an_upstream_that_is_away() {
    for (name, outage) in
        [("cut", Misbehaviour::Close), ("503", Misbehaviour::Status(503)), ("429", Misbehaviour::RateLimit(3600))]
    {
        let world = World::new().await;
        world.goes_away(outage);
        for n in 0..12 {
            let got = world.tag(&format!("new-{n}")).await;
            assert!(matches!(got.status.as_u16(), 502 | 503), "{name}: {}", got.status);
            assert!(got.status != StatusCode::SERVICE_UNAVAILABLE || !got.header("retry-after").is_empty());
        }
    }
}
