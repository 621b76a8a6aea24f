//! Deny lists, and rules that change while Assay serves: what is denied is refused on every path and in every mode.

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::oci::Digest;
use assay::trust::{Enforcement, Policy, Terms, danger};
use http::StatusCode;

use crate::support::client::{get, head};
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

const MODES: [&str; 3] = ["enforce", "audit", "off"];

/// A rule about everything in this mode that denies these.
fn denying(mode: &str, signer: &Signer, denied: &[Digest]) -> Policy {
    let enforcement = match mode {
        "enforce" => Enforcement::Enforce(demand(&[signer])),
        "audit" => Enforcement::Audit(demand(&[signer])),
        _ => Enforcement::Off(danger::Unsigned::as_written_by_the_operator()),
    };
    let terms = Terms { denied_digests: denied.iter().copied().collect(), ..Terms::default() };
    Policy::new(vec![rule("test", "**", enforcement).with_terms(terms)], None)
}

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    image: BuiltImage,
}

/// A signed image whose platforms share a layer.
async fn world() -> World {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let image = ImageBuilder::new("Hello").filler_layer(1000).build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    World { upstream, signer, image }
}

impl World {
    async fn start(&self, mode: &str, denied: &[Digest]) -> Proxy {
        Setup::new(denying(mode, &self.signer, denied)).start(&self.upstream).await
    }
}

async fn manifest(proxy: &Proxy, reference: impl std::fmt::Display) -> StatusCode {
    let path = proxy.manifest_path("app", reference);
    let (get, head) = (get(proxy.address, &path).await, head(proxy.address, &path).await);
    assert_eq!(get.status, head.status, "{path}");
    if get.status == StatusCode::FORBIDDEN {
        assert!(get.is_refusal("DENIED"), "{get:?}");
    }
    get.status
}

async fn blob(proxy: &Proxy, digest: Digest) -> StatusCode {
    get(proxy.address, &proxy.blob_path("app", digest)).await.status
}

#[tokio::test]
async fn a_denied_index_is_refused_in_every_mode() {
    let world = world().await;
    let index = world.image.index.digest;
    for mode in MODES {
        let proxy = world.start(mode, &[index]).await;
        for reference in ["1.0".to_owned(), index.to_string()] {
            assert_eq!(manifest(&proxy, &reference).await, StatusCode::FORBIDDEN, "{mode} {reference}");
        }
        let layer = world.image.platforms[0].layers[0].digest;
        assert_eq!(blob(&proxy, layer).await, StatusCode::FORBIDDEN, "{mode}");
        // The honest sibling: something else is denied.
        let proxy = world.start(mode, &[Digest::of(b"something else")]).await;
        assert_eq!(manifest(&proxy, "1.0").await, StatusCode::OK, "{mode}");
        assert_eq!(manifest(&proxy, index).await, StatusCode::OK, "{mode}");
    }
}

#[tokio::test]
async fn a_denied_platform_of_an_allowed_index_is_refused_with_what_only_it_names() {
    let world = world().await;
    let [amd64, arm64] = world.image.platforms.as_slice() else { panic!("two platforms") };
    for mode in MODES {
        let proxy = world.start(mode, &[amd64.manifest.digest]).await;
        assert_eq!(manifest(&proxy, "1.0").await, StatusCode::OK, "{mode}");
        for _ in 0..2 {
            assert_eq!(manifest(&proxy, amd64.manifest.digest).await, StatusCode::FORBIDDEN, "{mode}");
            assert_eq!(blob(&proxy, amd64.config.digest).await, StatusCode::FORBIDDEN, "{mode}");
            assert_eq!(blob(&proxy, amd64.layers[0].digest).await, StatusCode::FORBIDDEN, "{mode}");
        }
        assert_eq!(manifest(&proxy, arm64.manifest.digest).await, StatusCode::OK, "{mode}");
        assert_eq!(blob(&proxy, arm64.layers[0].digest).await, StatusCode::OK, "{mode}");
        assert_eq!(amd64.layers[1].digest, arm64.layers[1].digest);
        assert_eq!(blob(&proxy, arm64.layers[1].digest).await, StatusCode::OK, "an allowed manifest names it, too");
    }
}

#[tokio::test]
async fn what_is_served_is_refused_once_a_new_policy_denies_it() {
    let world = world().await;
    let platform = &world.image.platforms[0];
    for mode in MODES {
        for denied in [world.image.index.digest, platform.manifest.digest] {
            let proxy = world.start(mode, &[]).await;
            // Everything is in memory, in the ledger and in the store.
            for reference in ["1.0".to_owned(), platform.manifest.digest.to_string()] {
                assert_eq!(manifest(&proxy, &reference).await, StatusCode::OK, "{mode} {reference}");
            }
            assert_eq!(blob(&proxy, platform.layers[0].digest).await, StatusCode::OK);
            proxy.puller.replace_policy(denying(mode, &world.signer, &[denied]));
            assert_eq!(manifest(&proxy, denied).await, StatusCode::FORBIDDEN, "{mode}");
            if denied == platform.manifest.digest {
                assert_eq!(blob(&proxy, platform.layers[0].digest).await, StatusCode::FORBIDDEN, "{mode}");
                let refused = get(proxy.address, &proxy.blob_path("app", platform.layers[0].digest)).await;
                assert!(refused.is_refusal("DENIED"), "the message says why: {refused:?}");
            } else if mode == "enforce" {
                // Nothing but the denied index speaks for it.
                let path = proxy.manifest_path("app", platform.manifest.digest);
                assert_eq!(get(proxy.address, &path).await.status, StatusCode::FORBIDDEN);
                assert_eq!(blob(&proxy, platform.layers[0].digest).await, StatusCode::FORBIDDEN, "{mode}");
            }
            // Also after a restart, from the ledger alone.
            let folder = proxy.stop().await;
            let proxy = Setup::new(denying(mode, &world.signer, &[denied])).start_in(&world.upstream, folder).await;
            assert_eq!(manifest(&proxy, denied).await, StatusCode::FORBIDDEN, "{mode}");
            // The rule as it was.
            proxy.puller.replace_policy(denying(mode, &world.signer, &[]));
            assert_eq!(manifest(&proxy, "1.0").await, StatusCode::OK, "{mode}");
            assert_eq!(manifest(&proxy, platform.manifest.digest).await, StatusCode::OK, "{mode}");
            assert_eq!(blob(&proxy, platform.layers[0].digest).await, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_denied_signature_artefact_is_refused() {
    let world = world().await;
    let artefact = world.signer.classic("test.assay/app", world.image.index.digest);
    world.upstream.registry().push_artefact("app", &artefact);
    let tag = format!("sha256-{}.sig", world.image.index.digest.hex());
    let proxy = world.start("enforce", &[]).await;
    assert_eq!(manifest(&proxy, &tag).await, StatusCode::OK);
    assert_eq!(blob(&proxy, artefact.blobs[0].digest).await, StatusCode::OK);
    proxy.puller.replace_policy(denying("enforce", &world.signer, &[artefact.manifest.digest]));
    assert_eq!(manifest(&proxy, &tag).await, StatusCode::FORBIDDEN);
    assert_eq!(manifest(&proxy, artefact.manifest.digest).await, StatusCode::FORBIDDEN);
    assert_eq!(blob(&proxy, artefact.blobs[0].digest).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn nothing_admitted_under_one_rule_is_served_under_another() {
    let world = world().await;
    let other = Signer::generate().unwrap();
    let (index, layer) = (world.image.index.digest, world.image.platforms[0].layers[0].digest);
    for mode in ["audit", "off", "enforce"] {
        let proxy = world.start(mode, &[]).await;
        assert_eq!(manifest(&proxy, "1.0").await, StatusCode::OK);
        assert_eq!(manifest(&proxy, world.image.platforms[0].manifest.digest).await, StatusCode::OK);
        assert_eq!(blob(&proxy, layer).await, StatusCode::OK);
        proxy.puller.replace_policy(signed_by(&other));
        let got = get(proxy.address, &proxy.manifest_path("app", index)).await;
        assert!(got.is_refusal("UNTRUSTED_KEY"), "{mode}: {got:?}");
        assert_eq!(blob(&proxy, layer).await, StatusCode::FORBIDDEN, "{mode}");
        proxy.puller.replace_policy(signed_by(&world.signer));
        assert_eq!(manifest(&proxy, index).await, StatusCode::OK, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_under_a_new_rule_does_not_wait_for_the_answer_to_an_old_one() {
    let world = world().await;
    let proxy = world.start("enforce", &[]).await;
    let path = proxy.manifest_path("app", world.image.index.digest);
    let gate = Gate::new();
    world.upstream.misbehave_times(1, PathMatch::referrers(), Misbehaviour::HoldHeaders(gate.clone()));
    let under_the_old = get(proxy.address, &path);
    let meanwhile = async {
        gate.wait_started(1).await;
        proxy.puller.replace_policy(signed_by(&Signer::generate().unwrap()));
        let under_the_new = get(proxy.address, &path).await;
        assert!(under_the_new.is_refusal("UNTRUSTED_KEY"), "{under_the_new:?}");
        gate.release();
    };
    let (under_the_old, ()) = tokio::join!(under_the_old, meanwhile);
    assert_eq!(under_the_old.status, StatusCode::OK, "a question keeps its rule to the end");
    let after = get(proxy.address, &path).await;
    assert!(after.is_refusal("UNTRUSTED_KEY"), "what the old one left in memory counts for nothing: {after:?}");
}
