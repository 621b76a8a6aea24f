//! A platform's digest whose index nobody saw: looked for among the repository's tags, where the rule says so.

use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::oci::{Digest, Reference};
use assay::trust::{Enforcement, ParentSearch, Policy, Terms};
use http::StatusCode;

use crate::support::client::{Got, get};
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, REGISTRY, Setup};

const DEADLINE: Duration = Duration::from_secs(10);

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    /// 1.0 to 1.4, all signed.
    images: Vec<BuiltImage>,
}

async fn world() -> World {
    let world =
        World { upstream: NastyUpstream::start().await, signer: Signer::generate().unwrap(), images: Vec::new() };
    let images = (0..5).map(|n| world.push(&format!("1.{n}"), true)).collect();
    World { images, ..world }
}

impl World {
    fn push(&self, tag: &str, sign: bool) -> BuiltImage {
        let image = ImageBuilder::new(format!("Hello {tag}")).build();
        self.upstream.registry().push_image("app", tag, &image);
        if sign {
            self.upstream.registry().push_artefact("app", &self.signer.bundle(&image.index));
        }
        image
    }

    fn policy(&self, tags: usize, deadline: Duration) -> Policy {
        let terms = Terms { parent_search: Some(ParentSearch { tags, deadline }), ..Terms::default() };
        let enforce = Enforcement::Enforce(demand(&[&self.signer]));
        Policy::new(vec![rule("test", "**", enforce).with_terms(terms)], None)
    }

    async fn start(&self, tags: usize) -> Proxy {
        Setup::new(self.policy(tags, DEADLINE)).start(&self.upstream).await
    }

    fn count(&self, path: PathMatch) -> usize {
        self.upstream.count(&path)
    }
}

async fn manifest(proxy: &Proxy, reference: impl std::fmt::Display) -> Got {
    get(proxy.address, &proxy.manifest_path("app", reference)).await
}

fn amd64(image: &BuiltImage) -> Digest {
    image.platform("amd64").unwrap().manifest.digest
}

#[tokio::test]
async fn the_index_is_found_by_its_tag_verified_and_remembered() {
    let world = world().await;
    let wanted = amd64(&world.images[1]);
    let without = Setup::new(signed_by(&world.signer)).start(&world.upstream).await;
    assert!(manifest(&without, wanted).await.is_refusal("NO_SIGNATURE"), "not without being told to");
    assert_eq!(world.count(PathMatch::tags()), 0);

    let proxy = world.start(10).await;
    let got = manifest(&proxy, wanted).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.message());
    assert_eq!(got.body, world.images[1].platform("amd64").unwrap().manifest.bytes);
    let layer = &world.images[1].platform("amd64").unwrap().layers[0];
    assert_eq!(get(proxy.address, &proxy.blob_path("app", layer.digest)).await.body, layer.bytes);
    let repository = format!("{REGISTRY}/app").parse().unwrap();
    let told = proxy.puller.explain(&repository, &Reference::Digest(wanted)).await.unwrap();
    assert_eq!(told.parent.unwrap().tag.unwrap().as_str(), "1.1");
    assert_eq!(told.verdict.digest, world.images[1].index.digest);
    // The sibling platform's parent is known now, also after a restart and without upstream.
    world.upstream.forget_requests();
    let arm64 = world.images[1].platform("arm64").unwrap().manifest.digest;
    assert_eq!(manifest(&proxy, arm64).await.status, StatusCode::OK);
    assert_eq!(world.count(PathMatch::tags()), 0);
    let folder = proxy.stop().await;
    world.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
    let proxy = Setup::new(signed_by(&world.signer)).start_in(&world.upstream, folder).await;
    assert_eq!(manifest(&proxy, wanted).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_index_that_may_not_be_served_vouches_for_nothing() {
    let world = world().await;
    let unsigned = world.push("2.0", false);
    let proxy = world.start(10).await;
    let got = manifest(&proxy, amd64(&unsigned)).await;
    assert!(got.is_refusal("NO_SIGNATURE"), "{got:?}");
    let message = got.message();
    assert!(message.contains("none of the 6 tags that were looked at leads to a verified index"), "{message}");
    assert!(message.contains("tag 2.0 names it and is refused: NO_SIGNATURE"), "{message}");
    // Asked again and again, it is not searched for again and again.
    world.upstream.forget_requests();
    for _ in 0..5 {
        let again = manifest(&proxy, amd64(&unsigned)).await;
        assert!(again.is_refusal("NO_SIGNATURE") && again.message().contains("none of the 6 tags"), "{again:?}");
    }
    assert_eq!(world.count(PathMatch::tags()), 0);
    assert_eq!(world.count(PathMatch::manifest("2.0")), 0);
    assert_eq!(manifest(&proxy, amd64(&world.images[4])).await.status, StatusCode::OK);
}

#[tokio::test]
async fn no_more_tags_are_looked_at_than_the_rule_says_newest_first() {
    let world = world().await;
    let proxy = world.start(2).await;
    assert_eq!(manifest(&proxy, amd64(&world.images[3])).await.status, StatusCode::OK, "the second newest");
    world.upstream.forget_requests();
    let got = manifest(&proxy, amd64(&world.images[2])).await;
    assert!(got.is_refusal("NO_SIGNATURE"), "{got:?}");
    assert!(got.message().contains("none of the 2 tags that were looked at (of 5)"), "{}", got.message());
    let by_tag = |tag: &str| world.count(PathMatch::manifest(tag));
    assert_eq!(["1.4", "1.3", "1.2", "1.1", "1.0"].map(by_tag), [1, 1, 0, 0, 0]);
    // The sibling: with one more it is found.
    proxy.puller.replace_policy(world.policy(3, DEADLINE));
    let other = world.start(3).await;
    assert_eq!(manifest(&other, amd64(&world.images[2])).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_look_up_that_fails_on_the_way_is_not_a_no() {
    let world = world().await;
    let (known, foreign) = (amd64(&world.images[0]), amd64(&world.push("2.0", false)));
    for place in [PathMatch::tags(), PathMatch::manifest("1.2"), PathMatch::manifest(world.images[2].index.digest)] {
        let proxy = world.start(10).await;
        world.upstream.misbehave(place.clone(), Misbehaviour::Status(500));
        let got = manifest(&proxy, foreign).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{place:?}: {got:?}");
        assert!(got.message().contains("looking for an index that names it"), "{}", got.message());
        // Where the index is found all the same, the failure does not matter.
        let found = manifest(&proxy, known).await.status;
        let expected = if world.count(PathMatch::manifest("1.0")) > 0 { StatusCode::OK } else { found };
        assert_eq!(found, expected, "{place:?}");
        // Not remembered: healed, the answer is the real one.
        world.upstream.behave();
        assert!(manifest(&proxy, foreign).await.is_refusal("NO_SIGNATURE"));
        assert_eq!(manifest(&proxy, known).await.status, StatusCode::OK);
        world.upstream.forget_requests();
    }
}

#[tokio::test]
async fn a_search_ends_with_its_deadline() {
    let world = world().await;
    let proxy = Setup::new(world.policy(10, Duration::from_millis(500))).start(&world.upstream).await;
    world.upstream.misbehave(PathMatch::tags(), Misbehaviour::StallBeforeHeaders);
    let started = Instant::now();
    let got = manifest(&proxy, amd64(&world.images[0])).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{got:?}");
    assert!(got.message().contains("0.5 s"), "{}", got.message());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    world.upstream.behave();
    assert_eq!(manifest(&proxy, amd64(&world.images[0])).await.status, StatusCode::OK);
}
