//! A rule changes while upstream is away: what is here and still signed as demanded stays servable.

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::trust::{Enforcement, Policy};
use http::StatusCode;

use crate::support::client::get;
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy};

struct World {
    upstream: NastyUpstream,
    proxy: Proxy,
    image: BuiltImage,
    old: Signer,
    new: Signer,
}

/// An image that both have signed, pulled under a rule that names the old signer only.
async fn pulled() -> World {
    let (upstream, old, new) = (NastyUpstream::start().await, Signer::generate().unwrap(), Signer::generate().unwrap());
    let image = ImageBuilder::new("Hello").layer_padding(200_000).build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &old.bundle(&image.index));
    upstream.registry().push_artefact("app", &new.bundle(&image.index));
    let proxy = Proxy::start(&upstream, &old).await;
    let world = World { upstream, proxy, image, old, new };
    assert_eq!(world.statuses().await, [StatusCode::OK; 3]);
    world
}

impl World {
    /// Of the platform's layer, the platform's manifest, the index: the last first, as an engine never asks.
    async fn statuses(&self) -> [StatusCode; 3] {
        let platform = self.image.platform("amd64").unwrap();
        if !self.proxy.has(platform.layers[0].digest) {
            self.index().await;
            self.platform().await;
        }
        [self.layer().await, self.platform().await, self.index().await]
    }

    async fn layer(&self) -> StatusCode {
        let layer = self.image.platform("amd64").unwrap().layers[0].digest;
        get(self.proxy.address, &self.proxy.blob_path("app", layer)).await.status
    }

    async fn platform(&self) -> StatusCode {
        let platform = self.image.platform("amd64").unwrap().manifest.digest;
        get(self.proxy.address, &self.proxy.manifest_path("app", platform)).await.status
    }

    async fn index(&self) -> StatusCode {
        get(self.proxy.address, &self.proxy.manifest_path("app", self.image.index.digest)).await.status
    }

    fn now_signed_by(&self, signers: &[&Signer]) {
        let rule = rule("test", "**", Enforcement::Enforce(demand(signers)));
        self.proxy.puller.replace_policy(Policy::new(vec![rule], None));
    }

    fn upstream_goes_away(&self) {
        self.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
        self.upstream.forget_requests();
    }
}

#[tokio::test]
async fn another_signer_of_a_cached_image_counts_while_upstream_is_away() {
    let world = pulled().await;
    world.upstream_goes_away();
    world.now_signed_by(&[&world.new]);
    assert_eq!(world.statuses().await, [StatusCode::OK; 3]);
    assert!(world.upstream.requests().is_empty(), "{:?}", world.upstream.requests());

    // Written down under the new rule, with the signature of before: back is as easy, also after a restart.
    let World { upstream, proxy, image, old, new } = world;
    let folder = proxy.stop().await;
    let proxy = crate::support::Setup::new(signed_by(&old)).start_in(&upstream, folder).await;
    let world = World { upstream, proxy, image, old, new };
    assert_eq!(world.statuses().await, [StatusCode::OK; 3]);
    assert!(world.upstream.requests().is_empty());
}

#[tokio::test]
async fn what_the_records_do_not_prove_is_unknown_until_upstream_was_asked() {
    let world = pulled().await;
    let stranger = Signer::generate().unwrap();
    world.upstream_goes_away();
    world.now_signed_by(&[&stranger]);
    assert_eq!(world.statuses().await, [StatusCode::SERVICE_UNAVAILABLE; 3], "not 403: nobody could look");
    world.upstream.behave();
    assert_eq!(world.statuses().await, [StatusCode::FORBIDDEN; 3]);

    // The same stranger signs it. What was refused under this very rule is looked up with the image itself.
    world.upstream.registry().push_artefact("app", &stranger.bundle(&world.image.index));
    assert_eq!(world.index().await, StatusCode::OK);
    assert_eq!(world.statuses().await, [StatusCode::OK; 3]);
}

/// What no record has, upstream may have: an engine that is in the middle of a pull asks for layers only.
#[tokio::test]
async fn a_layer_is_served_when_its_image_was_signed_anew_for_the_new_rule() {
    let world = pulled().await;
    let third = Signer::generate().unwrap();
    world.upstream.registry().push_artefact("app", &third.bundle(&world.image.index));
    world.now_signed_by(&[&third]);
    assert_eq!(world.layer().await, StatusCode::OK);
}

#[tokio::test]
async fn the_deny_list_counts_before_what_is_on_record() {
    let world = pulled().await;
    let terms = |digest| assay::trust::Terms { denied_digests: [digest].into(), ..Default::default() };
    let rule = |digest| rule("test", "**", Enforcement::Enforce(demand(&[&world.new]))).with_terms(terms(digest));
    world.proxy.puller.replace_policy(Policy::new(vec![rule(world.image.index.digest)], None));
    assert_eq!(world.statuses().await, [StatusCode::FORBIDDEN; 3]);
    let other = assay::oci::Digest::of(b"another image");
    world.proxy.puller.replace_policy(Policy::new(vec![rule(other)], None));
    assert_eq!(world.statuses().await, [StatusCode::OK; 3]);
}
