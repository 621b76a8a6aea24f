//! The places where cosign puts things, and in which order they are looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::fake::{Fake, Reply};
use super::shelf::{BUNDLE, SUBJECT, Shelf, bundle, listed, outcome, signatures, subject, tag};
use super::{INDEX, MANIFEST, build, descriptor, image, index, network, options, registry, repository, upstream};
use crate::oci::media_type::SIMPLE_SIGNING;
use crate::oci::{ArtefactTag, Digest, Repository};
use crate::upstream::{
    Collected, LookOutcome, Material, SignatureLimits, Upstream, UpstreamOptions, Upstreams, Wanted,
};

const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

const ATTESTATIONS: Wanted = Wanted { attestations: true };

/// A list's entry that says its type.
fn typed(manifest: &[u8], artifact_type: &str) -> String {
    descriptor(MANIFEST, manifest).replace('}', &format!(r#","artifactType":"{artifact_type}"}}"#))
}

fn annotated(media_type: &str, bytes: &[u8]) -> String {
    descriptor(media_type, bytes).replace('}', r#","annotations":{"a":"b"}}"#)
}

/// What was found, in a word each.
fn words(collected: &Collected) -> Vec<String> {
    let word = |material: &Material| match material {
        Material::Classic { payload, annotations } => {
            assert_eq!(annotations["a"], "b");
            format!("classic {}", String::from_utf8_lossy(payload))
        }
        Material::ClassicAttestation { envelope, annotations } => {
            assert_eq!(annotations["a"], "b");
            format!("attestation {}", String::from_utf8_lossy(envelope))
        }
        Material::Bundle { bytes } => format!("bundle {}", String::from_utf8_lossy(bytes)),
    };
    collected.found.iter().map(|found| word(&found.material)).collect()
}

#[tokio::test]
async fn attestations_are_looked_for_only_where_they_are_wanted() {
    let referrer = image(&[annotated(DSSE, b"two")], Some(SUBJECT));
    let shelf = Shelf::default()
        .put(tag(ArtefactTag::Attestation), MANIFEST, image(&[annotated(DSSE, b"one"), descriptor("x", b"x")], None))
        .blob(b"one")
        .referrers(&[listed(&referrer)])
        .manifest(&referrer)
        .blob(b"two");
    let fake = Fake::start(move |seen| shelf.answer(&seen.target)).await;
    let limits = SignatureLimits::default();
    let collected = signatures(&fake, &limits).await;
    assert!(collected.found.is_empty(), "{collected:#?}");
    assert_eq!(fake.count(".att"), 0);
    assert!(matches!(outcome(&collected, "referrer sha256"), LookOutcome::Unrelated(_)));

    let collected = upstream(&fake).signatures(&repository(), subject(), ATTESTATIONS, &limits).await;
    assert_eq!(words(&collected), ["attestation two", "attestation one"]);
    let place = format!("tag sha256-{}.att, layer 0", subject().hex());
    assert_eq!(collected.found[1].place, place);
}

#[tokio::test]
async fn attestations_do_not_use_up_the_room_of_signatures() {
    let shelf = Shelf::default()
        .put(tag(ArtefactTag::Attestation), MANIFEST, image(&[annotated(DSSE, b"one"), annotated(DSSE, b"two")], None))
        .blob(b"one")
        .put(tag(ArtefactTag::Signature), MANIFEST, image(&[annotated(SIMPLE_SIGNING, b"payload")], None))
        .blob(b"payload");
    let fake = Fake::start(move |seen| shelf.answer(&seen.target)).await;
    let limits = SignatureLimits { layers: 1, ..SignatureLimits::default() };
    let collected = upstream(&fake).signatures(&repository(), subject(), ATTESTATIONS, &limits).await;
    assert_eq!(words(&collected), ["classic payload", "attestation one"]);
    let over = collected.looked_at.iter().find(|look| matches!(look.outcome, LookOutcome::OverLimit(_))).unwrap();
    assert!(over.place.ends_with(".att"), "{over:?}");
}

/// As cosign writes it with `--experimental-oci11`: what is in the classic tag, as a referrer.
#[tokio::test]
async fn classic_signatures_are_found_as_referrers() {
    let text = image(&[annotated(SIMPLE_SIGNING, b"one"), annotated(SIMPLE_SIGNING, b"two")], Some(SUBJECT));
    let referrer =
        String::from_utf8(text.to_vec()).unwrap().replace("application/vnd.oci.empty.v1+json", COSIGN_SIGNATURE);
    let other = image(&[annotated(SIMPLE_SIGNING, b"three")], Some(b"another subject"));
    let shelf = Shelf::default()
        .referrers(&[typed(referrer.as_bytes(), COSIGN_SIGNATURE), typed(&other, COSIGN_SIGNATURE)])
        .manifest(&referrer.clone().into())
        .manifest(&other)
        .blob(b"one")
        .blob(b"two")
        .blob(b"three");
    let collected = shelf.clone().collect(&SignatureLimits::default()).await;
    assert_eq!(words(&collected), ["classic one", "classic two"]);
    let elsewhere = format!("referrer {}", Digest::of(&other));
    assert!(matches!(outcome(&collected, &elsewhere), LookOutcome::Unrelated(_)), "{collected:#?}");

    // Its layers and the tag's have one limit together.
    let both = shelf
        .put(tag(ArtefactTag::Signature), MANIFEST, image(&[annotated(SIMPLE_SIGNING, b"four")], None))
        .blob(b"four");
    let two = SignatureLimits { layers: 2, ..SignatureLimits::default() };
    let collected = both.collect(&two).await;
    assert_eq!(collected.found.len(), 2, "{collected:#?}");
    assert!(collected.looked_at.iter().any(|look| matches!(look.outcome, LookOutcome::OverLimit(_))));
}

#[tokio::test]
async fn many_others_do_not_push_a_signature_over_the_limit() {
    let sboms: Vec<_> = (0..200).map(|n| typed(format!("sbom {n}").as_bytes(), "application/spdx+json")).collect();
    let signed = bundle(b"bundle");
    for artifact_type in [BUNDLE, COSIGN_SIGNATURE, "application/vnd.oci.empty.v1+json", ""] {
        let entries = [sboms.clone(), vec![typed(&signed, artifact_type)]].concat();
        let shelf = Shelf::default().manifest(&signed).blob(b"bundle");
        let fallback = shelf.clone().put(tag(ArtefactTag::Referrers), INDEX, index(&entries));
        for shelf in [shelf.referrers(&entries), fallback] {
            let fake = Fake::start(move |seen| shelf.answer(&seen.target)).await;
            let collected = signatures(&fake, &SignatureLimits::default()).await;
            assert_eq!(words(&collected), ["bundle bundle"], "{artifact_type}: {collected:#?}");
            let over = collected.looked_at.iter().find(|look| matches!(look.outcome, LookOutcome::OverLimit(_)));
            assert!(over.is_some(), "{collected:#?}");
            assert_eq!(fake.count("manifests/sha256:"), 32, "no more than the limit is asked for");
        }
    }
    // Of equals, the first ones.
    let entries = [sboms, vec![typed(&signed, "application/vnd.cyclonedx+json")]].concat();
    let collected = Shelf::default()
        .manifest(&signed)
        .blob(b"bundle")
        .referrers(&entries)
        .collect(&SignatureLimits::default())
        .await;
    assert!(collected.found.is_empty(), "{collected:#?}");
}

/// The fallback tag waits for the API's answer the first time; then both are asked at once.
#[tokio::test]
async fn a_missing_api_costs_a_round_trip_only_once() {
    let one = bundle(b"bundle");
    let shelf =
        Shelf::default().put(tag(ArtefactTag::Referrers), INDEX, index(&[listed(&one)])).manifest(&one).blob(b"bundle");
    let fallback = tag(ArtefactTag::Referrers);
    let (gated, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let is_gated = Arc::clone(&gated);
    // Once gated, the API does not answer before the tag was asked for.
    let fake = Fake::start(move |seen| {
        let reply = shelf.answer(&seen.target);
        match is_gated.load(Ordering::SeqCst) {
            true if seen.target.ends_with(&fallback) => {
                asked.notify_one();
                reply
            }
            true if seen.target.contains("/referrers/") => reply.behind(&asked),
            _ => reply,
        }
    })
    .await;
    let limits = SignatureLimits { deadline: Duration::from_secs(5), ..SignatureLimits::default() };
    let fresh = upstream(&fake);
    let look = async |us: &Upstream| us.signatures(&repository(), subject(), Wanted::default(), &limits).await;
    assert_eq!(words(&look(&fresh).await), ["bundle bundle"]);
    gated.store(true, Ordering::SeqCst);
    assert_eq!(words(&look(&fresh).await), ["bundle bundle"], "it remembers, and asks both");
    assert_eq!(fake.count("/referrers/"), 2, "the API is still asked");

    let short = SignatureLimits { deadline: Duration::from_millis(500), ..limits.clone() };
    let other = upstream(&fake).signatures(&repository(), subject(), Wanted::default(), &short).await;
    assert_eq!(outcome(&other, "referrers"), LookOutcome::Failed("deadline".to_owned()), "who knows nothing waits");
}

/// What was learnt must not hide what a registry lists now.
#[tokio::test]
async fn a_registry_that_got_the_api_is_believed() {
    let (old, new) = (bundle(b"old"), bundle(b"new"));
    let without = Shelf::default()
        .put(tag(ArtefactTag::Referrers), INDEX, index(&[listed(&old)]))
        .manifest(&old)
        .blob(b"old")
        .manifest(&new)
        .blob(b"new");
    let with = without.clone().referrers(&[listed(&new)]);
    let upgraded = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&upgraded);
    let fake = Fake::start(move |seen| {
        let now = if switch.load(Ordering::SeqCst) { &with } else { &without };
        now.answer(&seen.target)
    })
    .await;
    let us = upstream(&fake);
    let look = async || us.signatures(&repository(), subject(), Wanted::default(), &SignatureLimits::default()).await;
    assert_eq!(words(&look().await), ["bundle old"]);
    upgraded.store(true, Ordering::SeqCst);
    assert_eq!(words(&look().await), ["bundle new"]);
    let asked = fake.seen().len();
    assert_eq!(words(&look().await), ["bundle new"]);
    assert_eq!(fake.seen().len() - asked, 4, "list, classic tag, manifest, bundle: the fallback tag is forgotten");
}

/// The layout of `COSIGN_REPOSITORY`: tags and referrers by digest, all in one repository.
#[tokio::test]
async fn signatures_may_lie_in_a_repository_of_their_own() {
    let one = bundle(b"bundle");
    let shelf = Shelf::default()
        .referrers(&[listed(&one)])
        .manifest(&one)
        .blob(b"bundle")
        .put(tag(ArtefactTag::Signature), MANIFEST, image(&[annotated(SIMPLE_SIGNING, b"payload")], None))
        .blob(b"payload");
    let there = Fake::start(move |seen| match seen.target.strip_prefix("/v2/acme/signatures/") {
        Some(rest) => shelf.answer(rest),
        None => Reply::status(404),
    })
    .await;
    let here = Fake::start(|_| Reply::status(404)).await;
    let other = "sigs.example".parse().unwrap();
    let wanted = ["acme/signatures", "acme/empty"];
    for (path, found) in wanted.into_iter().zip([2, 0]) {
        let signatures_in = Some(Repository::new("sigs.example".parse().unwrap(), path).unwrap());
        let ours = UpstreamOptions { signatures_in, ..options(&here) };
        let theirs = UpstreamOptions::new(Clone::clone(&other), there.url().parse().unwrap());
        let upstreams = Upstreams::new(vec![ours, theirs], network()).unwrap();
        let us = upstreams.get(&registry()).unwrap();
        let limits = SignatureLimits::default();
        let collected = us.signatures(&repository(), subject(), Wanted::default(), &limits).await;
        assert_eq!(collected.found.len(), found, "{collected:#?}");
        assert!(collected.looked_at.iter().all(|look| look.place.starts_with(&format!("sigs.example/{path}: "))));
        assert_eq!(here.seen().len(), 0, "not beside the image");
        // Only signatures are elsewhere.
        assert!(us.resolve(&repository(), &"1".parse().unwrap()).await.is_err());
        assert_eq!(here.seen().len(), 1);
        here.forget();
    }
}

#[tokio::test]
async fn a_signature_repository_may_be_beside_the_images() {
    let shelf = Shelf::default()
        .put(tag(ArtefactTag::Signature), MANIFEST, image(&[annotated(SIMPLE_SIGNING, b"payload")], None))
        .blob(b"payload");
    let fake = Fake::start(move |seen| shelf.answer(&seen.target.replace("/acme/signatures/", "/acme/app/"))).await;
    let signatures_in = Some(Repository::new(registry(), "acme/signatures").unwrap());
    let us = build(UpstreamOptions { signatures_in, ..options(&fake) }, network());
    let collected = us.signatures(&repository(), subject(), Wanted::default(), &SignatureLimits::default()).await;
    assert_eq!(words(&collected), ["classic payload"]);
    assert!(fake.seen().iter().all(|seen| seen.target.starts_with("/v2/acme/signatures/")));
}
