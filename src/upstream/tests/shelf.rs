//! A registry that holds a few things about one subject, and looking for its signatures there.

use std::collections::HashMap;

use bytes::Bytes;

use super::fake::{Fake, Reply};
use super::{INDEX, MANIFEST, descriptor, image, index, repository, upstream};
use crate::oci::{ArtefactTag, Digest, Tag};
use crate::upstream::{Collected, LookOutcome, SignatureLimits, Wanted};

pub const SUBJECT: &[u8] = b"the signed manifest";
pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

pub fn subject() -> Digest {
    Digest::of(SUBJECT)
}

pub fn tag(kind: ArtefactTag) -> String {
    format!("manifests/{}", Tag::of_artefact(subject(), kind))
}

/// A registry that holds a few things, by the end of their path; everything else is 404.
#[derive(Default, Clone)]
pub struct Shelf {
    things: HashMap<String, (&'static str, Bytes)>,
}

impl Shelf {
    pub fn put(mut self, path: impl Into<String>, media_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        self.things.insert(path.into(), (media_type, bytes.into()));
        self
    }

    pub fn manifest(self, bytes: &Bytes) -> Self {
        self.put(format!("manifests/{}", Digest::of(bytes)), MANIFEST, bytes.clone())
    }

    pub fn blob(self, bytes: &[u8]) -> Self {
        self.put(format!("blobs/{}", Digest::of(bytes)), "application/octet-stream", bytes.to_vec())
    }

    pub fn referrers(self, entries: &[String]) -> Self {
        self.put(format!("referrers/{}", subject()), INDEX, index(entries))
    }

    pub fn answer(&self, target: &str) -> Reply {
        match self.things.get(target.trim_start_matches("/v2/acme/app/")) {
            Some((media_type, bytes)) => Reply::ok(bytes.clone()).header("content-type", *media_type),
            None => Reply::status(404),
        }
    }

    pub async fn collect(self, limits: &SignatureLimits) -> Collected {
        let fake = Fake::start(move |seen| self.answer(&seen.target)).await;
        signatures(&fake, limits).await
    }
}

pub fn outcome(collected: &Collected, place: &str) -> LookOutcome {
    let look = collected.looked_at.iter().find(|look| look.place.starts_with(place));
    look.unwrap_or_else(|| panic!("{place}: {:#?}", collected.looked_at)).outcome.clone()
}

/// A referrer with a bundle in it.
pub fn bundle(bytes: &[u8]) -> Bytes {
    image(&[descriptor(BUNDLE, bytes)], Some(SUBJECT))
}

pub fn listed(manifest: &Bytes) -> String {
    descriptor(MANIFEST, manifest)
}

/// Looks for signatures of the subject, without attestations.
pub async fn signatures(fake: &Fake, limits: &SignatureLimits) -> Collected {
    upstream(fake).signatures(&repository(), subject(), Wanted::default(), limits).await
}
