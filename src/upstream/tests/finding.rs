//! Lists, and where signatures lie.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fake::{Fake, Reply};
use super::shelf::{BUNDLE, SUBJECT, Shelf, bundle, listed, outcome, signatures, subject, tag};
use super::{INDEX, MANIFEST, descriptor, image, index, repository, upstream};
use crate::oci::media_type::SIMPLE_SIGNING;
use crate::oci::{ArtefactTag, Digest, Tag};
use crate::upstream::{LookOutcome, Material, SignatureLimits, UpstreamError, Wanted};

#[tokio::test]
async fn bundles_and_classic_signatures_are_found_together() {
    let (one, two) = (bundle(b"bundle one"), bundle(b"bundle two"));
    let layer = descriptor(SIMPLE_SIGNING, b"payload").replace('}', r#","annotations":{"a":"b"}}"#);
    let shelf = Shelf::default()
        .referrers(&[listed(&one), listed(&two)])
        .manifest(&one)
        .manifest(&two)
        .blob(b"bundle one")
        .blob(b"bundle two")
        .put(tag(ArtefactTag::Signature), MANIFEST, image(&[descriptor("other", b"x"), layer], None))
        .blob(b"payload");
    let collected = shelf.collect(&SignatureLimits::default()).await;
    let found: Vec<_> = collected.found.iter().map(|found| (found.place.as_str(), &found.material)).collect();
    assert_eq!(found.len(), 3, "{collected:#?}");
    assert!(matches!(found[0].1, Material::Bundle { bytes } if bytes == "bundle one"));
    assert!(matches!(found[1].1, Material::Bundle { bytes } if bytes == "bundle two"));
    let Material::Classic { payload, annotations } = found[2].1 else { panic!("{found:?}") };
    assert_eq!((payload.as_ref(), annotations["a"].as_str()), (&b"payload"[..], "b"));
    assert_eq!(found[0].0, format!("referrer {}", Digest::of(&one)));
    assert_eq!(found[2].0, format!("tag sha256-{}.sig, layer 1", subject().hex()));
}

#[tokio::test]
async fn without_the_api_the_fallback_tag_is_read() {
    let one = bundle(b"bundle");
    let shelf =
        Shelf::default().put(tag(ArtefactTag::Referrers), INDEX, index(&[listed(&one)])).manifest(&one).blob(b"bundle");
    let collected = shelf.clone().collect(&SignatureLimits::default()).await;
    assert_eq!(collected.found.len(), 1, "{collected:#?}");
    // With the API, its empty answer counts.
    let collected = shelf.referrers(&[]).collect(&SignatureLimits::default()).await;
    assert_eq!(collected.found.len(), 0);
    assert_eq!(outcome(&collected, "referrers"), LookOutcome::Absent);
}

#[tokio::test]
async fn nothing_anywhere_is_absent_everywhere() {
    let collected = Shelf::default().collect(&SignatureLimits::default()).await;
    assert!(collected.found.is_empty());
    let outcomes: Vec<_> = collected.looked_at.iter().map(|look| look.outcome.clone()).collect();
    assert_eq!(outcomes, [LookOutcome::Absent, LookOutcome::Absent]);
}

#[tokio::test]
async fn a_failure_is_never_absence() {
    for status in [500, 503, 429, 401, 403] {
        let fake = Fake::start(move |_| Reply::status(status)).await;
        let collected = signatures(&fake, &SignatureLimits::default()).await;
        assert_eq!(collected.looked_at.len(), 2);
        for look in collected.looked_at {
            assert!(matches!(look.outcome, LookOutcome::Failed(_)), "{status}: {look:?}");
        }
    }
    // An error page under a tag or as a list says nothing about what is really there.
    let fake = Fake::start(|seen| match seen.target.contains("/referrers/") {
        true => Reply::ok("<html>").header("content-type", INDEX),
        false => Reply::ok("<html>"),
    })
    .await;
    let collected = signatures(&fake, &SignatureLimits::default()).await;
    assert!(collected.looked_at.iter().all(|look| matches!(look.outcome, LookOutcome::Failed(_))), "{collected:?}");
}

#[tokio::test]
async fn a_listed_document_must_fit_its_descriptor() {
    let (liar, big) = (bundle(b"bundle"), bundle(b"big bundle"));
    let other_subject = image(&[descriptor(BUNDLE, b"bundle")], Some(b"something else"));
    let sbom = image(&[descriptor("application/spdx+json", b"bundle")], Some(SUBJECT));
    let two_layers = image(&[descriptor(BUNDLE, b"bundle"), descriptor(BUNDLE, b"big bundle")], Some(SUBJECT));
    let gone = bundle(b"gone");
    let wrong_size = listed(&liar).replace(&format!("\"size\":{}", liar.len()), "\"size\":5");
    let shelf = Shelf::default()
        .referrers(&[
            wrong_size,
            listed(&big),
            listed(&other_subject),
            listed(&sbom),
            listed(&two_layers),
            listed(&gone),
        ])
        .manifest(&liar)
        .put(format!("manifests/{}", Digest::of(&big)), MANIFEST, liar.clone())
        .manifest(&other_subject)
        .manifest(&sbom)
        .manifest(&two_layers)
        .blob(b"bundle");
    let collected = shelf.collect(&SignatureLimits::default()).await;
    assert!(collected.found.is_empty(), "{collected:#?}");
    let at = |manifest: &Bytes| outcome(&collected, &format!("referrer {}", Digest::of(manifest)));
    assert!(matches!(at(&liar), LookOutcome::Failed(_)), "another size");
    assert!(matches!(at(&big), LookOutcome::Failed(_)), "another digest");
    assert!(matches!(at(&other_subject), LookOutcome::Unrelated(_)));
    assert!(matches!(at(&sbom), LookOutcome::Unrelated(_)));
    assert!(matches!(at(&two_layers), LookOutcome::Unrelated(_)));
    assert_eq!(at(&gone), LookOutcome::Absent);
}

#[tokio::test]
async fn more_than_the_limit_is_left_out_and_said() {
    let small = SignatureLimits { referrers: 1, layers: 1, payload: 4, bundle: 6, ..SignatureLimits::default() };
    let (first, second) = (bundle(b"bundle"), bundle(b"second"));
    let layers = [descriptor(SIMPLE_SIGNING, b"long payload"), descriptor(SIMPLE_SIGNING, b"x")];
    let shelf = Shelf::default().referrers(&[listed(&first), listed(&second)]).manifest(&first).blob(b"bundle").put(
        tag(ArtefactTag::Signature),
        MANIFEST,
        image(&layers, None),
    );
    let collected = shelf.clone().collect(&small).await;
    assert_eq!(collected.found.len(), 1, "{collected:#?}");
    let over: Vec<_> =
        collected.looked_at.iter().filter(|look| matches!(look.outcome, LookOutcome::OverLimit(_))).collect();
    assert_eq!(over.len(), 3, "referrers, layers, one payload: {collected:#?}");

    let tiny = SignatureLimits { manifest: 10, ..small };
    let collected = shelf.collect(&tiny).await;
    assert!(collected.found.is_empty());
    let digest = format!("referrer {}", Digest::of(&first));
    assert!(matches!(outcome(&collected, &digest), LookOutcome::OverLimit(_)), "{collected:#?}");
    assert!(matches!(outcome(&collected, "tag"), LookOutcome::OverLimit(_)), "{collected:#?}");
}

#[tokio::test]
async fn the_deadline_ends_all_and_keeps_what_was_found() {
    let one = bundle(b"bundle");
    let shelf = Shelf::default().referrers(&[listed(&one)]).manifest(&one).blob(b"bundle");
    let fake = Fake::start(move |seen| match seen.target.ends_with(".sig") {
        true => Reply::status(404).after(Duration::from_secs(60)),
        false => shelf.answer(&seen.target),
    })
    .await;
    let limits = SignatureLimits { deadline: Duration::from_millis(700), ..SignatureLimits::default() };
    let start = Instant::now();
    let collected = signatures(&fake, &limits).await;
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(collected.found.len(), 1, "{collected:#?}");
    assert_eq!(outcome(&collected, "tag"), LookOutcome::Failed("deadline".to_owned()));
}

/// A list of referrers on `pages` pages of two.
async fn paged(pages: usize) -> Fake {
    Fake::start(move |seen| {
        let page: usize = seen.target.split_once("page=").map_or(0, |(_, page)| page.parse().unwrap());
        let entries = [0, 1].map(|n| descriptor(MANIFEST, format!("{page} {n}").as_bytes()));
        let reply = Reply::ok(index(&entries)).header("content-type", format!("{INDEX}; charset=utf-8"));
        let path = seen.target.split('?').next().unwrap();
        if page + 1 < pages { reply.header("link", format!("<{path}?page={}>; rel=\"next\"", page + 1)) } else { reply }
    })
    .await
}

#[tokio::test]
async fn referrers_are_read_page_by_page() {
    for (pages, max, want, truncated) in [(1, 9, 2, false), (4, 9, 8, false), (5, 99, 8, true), (4, 3, 3, true)] {
        let fake = paged(pages).await;
        let listed = upstream(&fake).referrers(&repository(), subject(), max).await.unwrap().unwrap();
        assert_eq!((listed.descriptors.len(), listed.truncated), (want, truncated), "{pages} pages, {max}");
        assert!(fake.seen().len() <= 4);
        assert!(!fake.seen()[0].target.contains('?'), "no filter");
    }
}

#[tokio::test]
async fn a_link_leads_only_to_the_same_list() {
    let elsewhere = Fake::start(|_| Reply::status(404)).await;
    for target in [format!("{}/x", elsewhere.url()), "/v2/other/referrers/x".to_owned()] {
        let fake = Fake::start(move |_| {
            let reply = Reply::ok(index(&[])).header("content-type", INDEX);
            reply.header("link", format!("<{target}>; rel=next"))
        })
        .await;
        let error = upstream(&fake).referrers(&repository(), subject(), 9).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Blocked { .. }), "{error}");
        assert_eq!(fake.seen().len(), 1);
    }
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn a_missing_api_is_known_by_its_answer() {
    for status in [404, 400, 405, 406] {
        let fake = Fake::start(move |_| Reply::status(status)).await;
        assert!(upstream(&fake).referrers(&repository(), subject(), 9).await.unwrap().is_none(), "{status}");
    }
    for media_type in ["text/html", "application/json", ""] {
        let fake = Fake::start(move |_| Reply::endless().header("content-type", media_type)).await;
        assert!(upstream(&fake).referrers(&repository(), subject(), 9).await.unwrap().is_none(), "{media_type}");
    }
    let fake = Fake::start(|_| Reply::status(500)).await;
    assert!(upstream(&fake).referrers(&repository(), subject(), 9).await.is_err());
}

#[tokio::test]
async fn tags_are_parsed_and_never_relayed() {
    let fake = Fake::start(|_| {
        Reply::ok(r#"{"name":"x","tags":["1.0","../evil","<b>","latest",""]}"#).header("link", "<x>; rel=next")
    })
    .await;
    let last: Tag = "0.9".parse().unwrap();
    let page = upstream(&fake).tags(&repository(), Some(5), Some(&last)).await.unwrap();
    assert_eq!(page.tags.iter().map(Tag::as_str).collect::<Vec<_>>(), ["1.0", "latest"]);
    assert!(page.more);
    assert_eq!(fake.seen()[0].target, "/v2/acme/app/tags/list?n=5&last=0.9");

    for (body, good) in [(r#"{"tags":null}"#, true), (r#"{"tags":[1]}"#, false), ("<html>", false)] {
        let fake = Fake::start(move |_| Reply::ok(body)).await;
        assert_eq!(upstream(&fake).tags(&repository(), None, None).await.is_ok(), good, "{body}");
        assert_eq!(fake.seen()[0].target, "/v2/acme/app/tags/list");
    }
    let fake = Fake::start(|_| Reply::endless()).await;
    let error = upstream(&fake).tags(&repository(), None, None).await.unwrap_err();
    assert!(matches!(error, UpstreamError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn looking_can_be_spawned() {
    let fake = Fake::start(|_| Reply::status(404)).await;
    let us = upstream(&fake);
    let task = tokio::spawn(async move {
        let limits = SignatureLimits::default();
        Arc::clone(&us).signatures(&repository(), subject(), Wanted::default(), &limits).await
    });
    assert_eq!(task.await.unwrap().looked_at.len(), 2);
}
