//! Floods: whatever an upstream lists or sends, the work is bounded and the answer comes in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::Notify;

use super::fake::{Fake, Reply, Seen};
use super::shelf::{BUNDLE, SUBJECT, Shelf, bundle, listed, outcome, signatures, subject, tag};
use super::{INDEX, MANIFEST, descriptor, image, index, repository, upstream};
use crate::oci::media_type::SIMPLE_SIGNING;
use crate::oci::{ArtefactTag, Digest};
use crate::upstream::NetworkOptions;
use crate::upstream::client::WAITING_MAX;
use crate::upstream::{Collected, LookOutcome, SignatureLimits, UpstreamError};

/// How long a search may take that nothing holds up but the flood, on a busy machine without optimisation.
const IN_TIME: Duration = Duration::from_secs(8);

/// A search against a scripted registry, held against the clock.
async fn search(
    deadline: Duration,
    answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
) -> (Collected, Fake, Duration) {
    let fake = Fake::start(answer).await;
    let limits = SignatureLimits { deadline, ..SignatureLimits::default() };
    let start = Instant::now();
    let collected = signatures(&fake, &limits).await;
    (collected, fake, start.elapsed())
}

fn over_limit(collected: &Collected) -> usize {
    collected.looked_at.iter().filter(|look| matches!(look.outcome, LookOutcome::OverLimit(_))).count()
}

#[tokio::test]
async fn endless_pages_end_and_are_over_the_limit() {
    let (collected, fake, _) = search(IN_TIME, |seen| match seen.target.contains("/referrers/") {
        false => Reply::status(404),
        true => {
            let page = seen.target.split_once("page=").map_or(0, |(_, page)| page.parse::<u64>().unwrap());
            let entry = descriptor(MANIFEST, format!("entry {page}").as_bytes());
            let path = seen.target.split('?').next().unwrap();
            let link = format!("<{path}?page={}>; rel=next", page + 1);
            Reply::ok(index(&[entry])).header("content-type", INDEX).header("link", link)
        }
    })
    .await;
    assert!(matches!(outcome(&collected, "referrers"), LookOutcome::Found(4)), "{collected:#?}");
    assert_eq!((fake.count("/referrers/"), over_limit(&collected)), (4, 1));
}

#[tokio::test]
async fn ten_thousand_referrers_do_not_hide_a_signature() {
    let signed = bundle(b"bundle");
    let mut entries: Vec<_> = (0..10_000).map(|n| descriptor(MANIFEST, format!("{n}").as_bytes())).collect();
    let typed = descriptor(MANIFEST, &signed).replace('}', &format!(r#","artifactType":"{BUNDLE}"}}"#));
    entries.insert(900, typed);
    let shelf = Shelf::default().referrers(&entries).manifest(&signed).blob(b"bundle");
    let (collected, fake, took) = search(IN_TIME, move |seen| shelf.answer(&seen.target)).await;
    assert_eq!(collected.found.len(), 1, "{took:?}");
    assert!(matches!(&collected.looked_at[1].outcome, LookOutcome::OverLimit(_)), "{:?}", collected.looked_at[1]);
    assert!(fake.seen().len() < 40, "{} requests", fake.seen().len());
    assert!(took < IN_TIME, "{took:?}");
}

#[tokio::test]
async fn ten_thousand_referrers_under_the_fallback_tag_are_over_the_limit() {
    let entries: Vec<_> = (0..5_000).map(|n| descriptor(MANIFEST, format!("{n}").as_bytes())).collect();
    for entries in [entries.clone(), [entries.clone(), entries].concat()] {
        let shelf = Shelf::default().put(tag(ArtefactTag::Referrers), INDEX, index(&entries));
        let (collected, fake, _) = search(IN_TIME, move |seen| shelf.answer(&seen.target)).await;
        let fallback = collected.looked_at.iter().find(|look| !look.place.ends_with(".sig")).unwrap();
        assert!(matches!(fallback.outcome, LookOutcome::OverLimit(_)), "{} entries: {fallback:?}", entries.len());
        assert_eq!(fake.seen().len(), 3);
    }
}

/// cosign writes 1000 at most; a manifest holds 4096 at most.
#[tokio::test]
async fn more_layers_than_are_looked_at_are_over_the_limit() {
    for (layers, looked_at) in [(64, 64), (65, 64), (1001, 64), (4096, 64), (4097, 0), (5000, 0)] {
        let payload = |n: usize| format!("payload {n}");
        let entries: Vec<_> = (0..layers).map(|n| descriptor(SIMPLE_SIGNING, payload(n).as_bytes())).collect();
        let mut shelf = Shelf::default().put(tag(ArtefactTag::Signature), MANIFEST, image(&entries, None));
        for n in 0..64 {
            shelf = shelf.blob(payload(n).as_bytes());
        }
        let (collected, fake, _) = search(IN_TIME, move |seen| shelf.answer(&seen.target)).await;
        assert_eq!(collected.found.len(), looked_at, "{layers} layers");
        assert_eq!(over_limit(&collected), usize::from(layers > 64), "{layers} layers: {collected:#?}");
        assert_eq!(fake.count("/blobs/"), looked_at);
    }
}

#[tokio::test]
async fn a_descriptor_of_ten_gigabytes_is_not_asked_for() {
    let huge = |descriptor: String| {
        let (head, _) = descriptor.split_once("\"size\":").unwrap();
        format!("{head}\"size\":10000000000}}")
    };
    let signed = image(&[huge(descriptor(BUNDLE, b"bundle"))], Some(SUBJECT));
    let other = bundle(b"other");
    let shelf = Shelf::default()
        .referrers(&[listed(&signed), huge(listed(&other))])
        .manifest(&signed)
        .manifest(&other)
        .put(tag(ArtefactTag::Signature), MANIFEST, image(&[huge(descriptor(SIMPLE_SIGNING, b"payload"))], None));
    let (collected, fake, _) = search(IN_TIME, move |seen| shelf.answer(&seen.target)).await;
    assert!(collected.found.is_empty());
    assert_eq!(over_limit(&collected), 3, "{collected:#?}");
    assert_eq!(fake.count("/blobs/"), 0);
    assert_eq!(fake.count(&Digest::of(&other).to_string()), 0);
}

/// A body in the place of an honest one.
type Spoil = fn(Bytes) -> Reply;

/// Everything that lies is a failure, and no body is read to an end that never comes.
#[tokio::test]
async fn bodies_that_do_not_end_as_they_should_are_failures() {
    let bodies: [(&str, Spoil); 7] = [
        ("honest", |bytes| Reply::ok(bytes)),
        ("longer than its descriptor", |bytes| Reply::ok([bytes.as_ref(), b"x"].concat())),
        ("longer, without a length", |bytes| Reply::chunked([bytes.as_ref(), b"x"].concat())),
        ("endless", |_| Reply::endless()),
        ("encoded", |bytes| Reply::ok(bytes).header("content-encoding", "gzip")),
        ("cut", |bytes| Reply::cut(bytes.slice(..1), bytes.len() as u64)),
        ("dripping", |_| Reply::drip(Duration::from_millis(20))),
    ];
    for (what, body) in bodies {
        // The bundle's bytes, its manifest, and the classic tag, one at a time.
        let signed = bundle(b"bundle");
        for target in ["/blobs/", &format!("/manifests/{}", Digest::of(&signed)), ".sig"] {
            let shelf = Shelf::default().referrers(&[listed(&signed)]).manifest(&signed).blob(b"bundle").put(
                tag(ArtefactTag::Signature),
                MANIFEST,
                image(&[], None),
            );
            let (at, lying) = (target.to_owned(), signed.clone());
            let deadline = if what == "dripping" { Duration::from_millis(400) } else { IN_TIME };
            let (collected, _, took) = search(deadline, move |seen| match seen.target.contains(&at) {
                true if at == "/blobs/" => body(Bytes::from_static(b"bundle")),
                true if at == ".sig" => body(image(&[], None)).header("content-type", MANIFEST),
                true => body(lying.clone()).header("content-type", MANIFEST),
                false => shelf.answer(&seen.target),
            })
            .await;
            let failed = collected.looked_at.iter().any(|look| {
                let place =
                    if target == ".sig" { look.place.ends_with(".sig") } else { look.place.contains("sha256:") };
                place && matches!(look.outcome, LookOutcome::Failed(_) | LookOutcome::OverLimit(_))
            });
            assert_eq!(failed, what != "honest", "{what} at {target}: {collected:#?}");
            assert_eq!(collected.found.is_empty(), failed && target != ".sig", "{what} at {target}");
            assert!(took < deadline + Duration::from_secs(2), "{what} at {target}: {took:?}");
        }
    }
}

#[tokio::test]
async fn slow_lists_end_at_the_deadline_and_are_failures() {
    let deadline = Duration::from_millis(600);
    let silent: fn() -> Reply = || Reply::stalled(format!(r#"{{"schemaVersion":2,"manifests":[{}"#, " ".repeat(70)));
    for slow in [silent, || Reply::drip(Duration::from_millis(20))] {
        let (collected, _, took) = search(deadline, move |_| slow().header("content-type", INDEX)).await;
        assert!(took >= deadline && took < deadline + Duration::from_secs(2), "{took:?}");
        assert_eq!(collected.looked_at.len(), 2);
        for look in &collected.looked_at {
            assert_eq!(look.outcome, LookOutcome::Failed("deadline".to_owned()), "{}", look.place);
        }
    }
}

/// An honest search is as quick as its registry: the deadline is no pause.
#[tokio::test]
async fn an_honest_registry_is_not_waited_for() {
    let signed = bundle(b"bundle");
    let shelf = Shelf::default().referrers(&[listed(&signed)]).manifest(&signed).blob(b"bundle");
    let (collected, fake, took) = search(Duration::from_secs(60), move |seen| shelf.answer(&seen.target)).await;
    assert_eq!((collected.found.len(), fake.seen().len()), (1, 4));
    assert!(took < IN_TIME, "{took:?}");
    assert_eq!(subject(), Digest::of(SUBJECT));
}

/// Whoever opens thousands of connections asks for as much at once, and leaves; the questions stay.
#[tokio::test]
async fn who_comes_behind_a_crowd_is_told_so_at_once() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let fake = Fake::start(move |_| Reply::status(404).behind(&held)).await;
    let (upstream, repository, tag) = (upstream(&fake), repository(), "1.0".parse().unwrap());
    let resolve = || Box::pin(upstream.resolve(&repository, &tag));
    let mut crowd: Vec<_> = (0..NetworkOptions::default().requests_max + WAITING_MAX).map(|_| resolve()).collect();
    for one in &mut crowd {
        assert!(one.now_or_never().is_none(), "it waits");
    }
    let behind = resolve().now_or_never().unwrap().unwrap_err();
    assert!(matches!(behind, UpstreamError::Crowded { .. }) && behind.retry_after().is_some(), "{behind}");
    // One leaves, and there is room for one.
    crowd.pop();
    let mut next = resolve();
    assert!((&mut next).now_or_never().is_none() && resolve().now_or_never().is_some());
}
