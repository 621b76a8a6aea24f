//! Where signatures of a digest may lie, and how to fetch all of them within bounds.
//!
//! Two places are looked at, side by side: what refers to the digest (the referrers API, or the fallback
//! tag where there is none), and cosign's classic tag. What is found is a candidate; nothing here says
//! that it is good. A place that could not be looked at is never reported as empty.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, timeout_at};

use super::client::Upstream;
use super::error::{UpstreamError, in_full};
use crate::oci::media_type::{BUNDLE_PREFIX, SIMPLE_SIGNING};
use crate::oci::{ArtefactTag, Descriptor, Digest, Manifest, Reference, Repository, Tag};

/// How many documents of one image are fetched at one time.
const AT_ONCE: usize = 8;

/// Bounds on looking for the signatures of one digest.
#[derive(Clone, Debug)]
pub struct SignatureLimits {
    /// Most referrers; further ones are not looked at (CVE-2023-46737 and its class).
    pub referrers: usize,
    /// Most layers of a classic signature; further ones are not looked at.
    pub layers: usize,
    /// Largest manifest of a signature, in bytes.
    pub manifest: u64,
    /// Largest classic payload, in bytes.
    pub payload: u64,
    /// Largest bundle, in bytes.
    pub bundle: u64,
    /// Longest time altogether.
    pub deadline: Duration,
}

impl Default for SignatureLimits {
    fn default() -> Self {
        Self {
            referrers: 32,
            layers: 64,
            manifest: 1024 * 1024,
            payload: 64 * 1024,
            bundle: 512 * 1024,
            deadline: Duration::from_secs(10),
        }
    }
}

/// What looking for signatures brought.
#[derive(Clone, Debug, Default)]
pub struct Collected {
    /// Everything that may be a signature.
    pub found: Vec<Found>,
    /// Every place that was looked at, and how that ended.
    pub looked_at: Vec<Look>,
}

/// Something that may be a signature.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it was, for people.
    pub place: String,
    /// Its bytes; they have the digest and size that their descriptor says.
    pub material: Material,
}

/// The two forms of signature material.
#[derive(Clone, Debug)]
pub enum Material {
    /// A payload with the signature beside it, in its layer's annotations.
    Classic {
        /// The signed bytes.
        payload: Bytes,
        /// Signature, certificate, log entry and more.
        annotations: BTreeMap<String, String>,
    },
    /// A Sigstore bundle: all in one document.
    Bundle {
        /// The document.
        bytes: Bytes,
    },
}

/// One place, and how looking there ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Where, for people.
    pub place: String,
    /// How it ended.
    pub outcome: LookOutcome,
}

/// How looking at a place ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LookOutcome {
    /// It gave this many candidates, or listed this many documents, which have looks of their own.
    Found(usize),
    /// Upstream says that there is nothing.
    Absent,
    /// Something is there, and it is not a signature: an SBOM, another subject, no manifest at all.
    Unrelated(String),
    /// It could not be looked at, so nobody knows what is there.
    Failed(String),
    /// It was left out, wholly or in part, for a limit.
    OverLimit(String),
}

/// One image's search.
struct Search<'a> {
    upstream: &'a Upstream,
    repository: &'a Repository,
    subject: Digest,
    limits: &'a SignatureLimits,
    end: Instant,
}

impl Upstream {
    /// Fetches everything that may be a signature of `subject`, from all places at once.
    ///
    /// Never fails as a whole: each place has its own outcome. Ends at `limits.deadline`; what was found
    /// by then is kept, and what was not done is `Failed`. Cancel safe.
    pub async fn signatures(&self, repository: &Repository, subject: Digest, limits: &SignatureLimits) -> Collected {
        let end = Instant::now() + limits.deadline;
        let search = Search { upstream: self, repository, subject, limits, end };
        let (mut collected, classic) = tokio::join!(search.referring(), search.classic());
        collected.merge(classic);
        collected
    }
}

impl Collected {
    fn look(place: impl Into<String>, outcome: LookOutcome) -> Self {
        Self { found: Vec::new(), looked_at: vec![Look { place: place.into(), outcome }] }
    }

    fn one(place: &str, material: Material) -> Self {
        let found = Found { place: place.to_owned(), material };
        Self { found: vec![found], ..Self::look(place, LookOutcome::Found(1)) }
    }

    fn merge(&mut self, other: Self) {
        self.found.extend(other.found);
        self.looked_at.extend(other.looked_at);
    }
}

impl Search<'_> {
    /// Bundles: the referrers API, else the fallback tag. A registry that has the API must also list
    /// there what was pushed under the tag before, so an empty list is an answer.
    async fn referring(&self) -> Collected {
        let place = "referrers";
        let asked = self.upstream.referrers(self.repository, self.subject, self.limits.referrers);
        let (place, descriptors, truncated) = match self.in_time(asked).await {
            Ok(Some(listed)) => (place.to_owned(), listed.descriptors, listed.truncated),
            Ok(None) => match self.fallback_tag().await {
                Ok(listed) => listed,
                Err(look) => return look,
            },
            Err(outcome) => return Collected::look(place, outcome),
        };
        let outcome = if descriptors.is_empty() { LookOutcome::Absent } else { LookOutcome::Found(descriptors.len()) };
        let mut collected = Collected::look(place.clone(), outcome);
        if truncated {
            let limit = format!("only the first {} referrers are looked at", self.limits.referrers);
            collected.merge(Collected::look(place, LookOutcome::OverLimit(limit)));
        }
        let looks = descriptors.iter().map(|descriptor| self.referrer(descriptor)).collect();
        self.each(looks, collected).await
    }

    /// The fallback tag's place and entries, or why there are none.
    async fn fallback_tag(&self) -> Result<(String, Vec<Descriptor>, bool), Collected> {
        let tag = Tag::of_artefact(self.subject, ArtefactTag::Referrers);
        let place = format!("tag {tag}");
        let manifest = self.manifest(&Reference::Tag(tag)).await.map_err(|outcome| Collected::look(&place, outcome))?;
        let Some(index) = manifest.index() else {
            return Err(Collected::look(&place, LookOutcome::Unrelated("not an index".to_owned())));
        };
        let entries = index.manifests.iter().take(self.limits.referrers).cloned().collect();
        Ok((place, entries, index.manifests.len() > self.limits.referrers))
    }

    /// One referrer: a manifest with exactly one layer, which is a bundle. The artefact type is not
    /// asked: registries report it differently.
    async fn referrer(&self, descriptor: &Descriptor) -> Collected {
        let place = format!("referrer {}", descriptor.digest);
        match self.bundle(descriptor).await {
            Ok(bytes) => Collected::one(&place, Material::Bundle { bytes }),
            Err(outcome) => Collected::look(place, outcome),
        }
    }

    async fn bundle(&self, descriptor: &Descriptor) -> Result<Bytes, LookOutcome> {
        within("manifest", descriptor.size, self.limits.manifest)?;
        let manifest = self.manifest(&Reference::Digest(descriptor.digest)).await?;
        let (says, has) = (descriptor.size, manifest.bytes().len() as u64);
        if says != has {
            return Err(LookOutcome::Failed(format!("its descriptor says {says} bytes, it has {has}")));
        }
        let unrelated = |why: String| Err(LookOutcome::Unrelated(why));
        let Some(image) = manifest.image() else {
            return unrelated("an index".to_owned());
        };
        let Some(first) = image.layers.iter().find(|layer| layer.media_type.starts_with(BUNDLE_PREFIX)) else {
            return unrelated("no layer is a Sigstore bundle".to_owned());
        };
        if image.layers.len() != 1 {
            return unrelated(format!("{} layers, where a Sigstore bundle is one", image.layers.len()));
        }
        if manifest.subject().map(|subject| subject.digest) != Some(self.subject) {
            return unrelated("refers to something else".to_owned());
        }
        self.blob(first, "bundle", self.limits.bundle).await
    }

    /// cosign's classic tag: one layer for each signature.
    async fn classic(&self) -> Collected {
        let tag = Tag::of_artefact(self.subject, ArtefactTag::Signature);
        let place = format!("tag {tag}");
        let manifest = match self.manifest(&Reference::Tag(tag)).await {
            Ok(manifest) => manifest,
            Err(outcome) => return Collected::look(place, outcome),
        };
        let Some(image) = manifest.image() else {
            return Collected::look(place, LookOutcome::Unrelated("an index".to_owned()));
        };
        let layers: Vec<_> = image
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.media_type == SIMPLE_SIGNING)
            .map(|(number, layer)| (format!("{place}, layer {number}"), layer))
            .collect();
        let kept = layers.get(..self.limits.layers).unwrap_or(&layers);
        let mut collected = Collected::look(place.clone(), LookOutcome::Found(kept.len()));
        if kept.len() < layers.len() {
            let limit = format!("only the first {} of {} signatures are looked at", kept.len(), layers.len());
            collected.merge(Collected::look(place, LookOutcome::OverLimit(limit)));
        }
        let looks = kept.iter().map(|(place, layer)| self.layer(place, layer)).collect();
        self.each(looks, collected).await
    }

    async fn layer(&self, place: &str, layer: &Descriptor) -> Collected {
        let annotations = layer.annotations.clone().unwrap_or_default();
        match self.blob(layer, "payload", self.limits.payload).await {
            Ok(payload) => Collected::one(place, Material::Classic { payload, annotations }),
            Err(outcome) => Collected::look(place, outcome),
        }
    }

    /// Runs some looks side by side and adds them up, in order.
    async fn each(&self, looks: Vec<impl Future<Output = Collected>>, mut sum: Collected) -> Collected {
        let mut done = stream::iter(looks).buffered(AT_ONCE);
        while let Some(one) = done.next().await {
            sum.merge(one);
        }
        sum
    }

    async fn manifest(&self, reference: &Reference) -> Result<Manifest, LookOutcome> {
        let fetch = async {
            match self.upstream.manifest_within(self.repository, reference, self.limits.manifest).await {
                // These are the right bytes, so they will never be a signature. What comes for a tag may
                // be anything, an error page too.
                Err(error @ UpstreamError::Manifest { .. }) if matches!(reference, Reference::Digest(_)) => {
                    Ok(Err(LookOutcome::Unrelated(in_full(&error))))
                }
                fetched => fetched.map(Ok),
            }
        };
        self.in_time(fetch).await?
    }

    async fn blob(&self, layer: &Descriptor, what: &str, limit: u64) -> Result<Bytes, LookOutcome> {
        within(what, layer.size, limit)?;
        self.in_time(self.upstream.small_blob(self.repository, layer.claim(), limit)).await
    }

    /// Waits until the search's end, no longer.
    async fn in_time<T>(&self, step: impl Future<Output = Result<T, UpstreamError>>) -> Result<T, LookOutcome> {
        let late = || LookOutcome::Failed("deadline".to_owned());
        if Instant::now() >= self.end {
            return Err(late());
        }
        timeout_at(self.end, step).await.map_err(|_| late())?.map_err(|error| match &error {
            UpstreamError::NotFound { .. } => LookOutcome::Absent,
            UpstreamError::TooLarge { .. } => LookOutcome::OverLimit(in_full(&error)),
            _ => LookOutcome::Failed(in_full(&error)),
        })
    }
}

fn within(what: &str, size: u64, limit: u64) -> Result<(), LookOutcome> {
    if size <= limit {
        return Ok(());
    }
    Err(LookOutcome::OverLimit(format!("{what} of {size} bytes, the limit is {limit}")))
}
