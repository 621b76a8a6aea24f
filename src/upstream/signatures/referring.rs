//! What refers to the digest: bundles, and the classic layouts as referrers.

use std::collections::BTreeMap;
use std::pin::pin;

use serde::Deserialize;

use super::layers::{DSSE_ENVELOPE, Kind};
use super::search::{Search, within};
use super::{Collected, LookOutcome, Material, Wanted};
use crate::oci::media_type::BUNDLE_PREFIX;
use crate::oci::{ArtefactTag, Descriptor, Image, Manifest, Reference, Tag};
use crate::upstream::referrers::{Annotations, Referrers};

/// How many entries of a list are read before the most promising are chosen.
const LISTED_MAX: usize = 1000;

/// What cosign calls its classic signatures as referrers (`--experimental-oci11`).
const COSIGN_SIGNATURE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";
/// What cosign calls its classic attestations as referrers.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Where cosign writes which predicate a bundle has, and what it writes of a signature.
const PREDICATE: &str = "dev.sigstore.bundle.predicateType";
const SIGN_V1: &str = "https://sigstore.dev/cosign/sign/v1";
/// What registries report of a manifest that does not say its type, or whose type they do not read:
/// that of its config.
const SAYS_NOTHING: [&str; 3] = ["", "application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json"];

/// Everything that may refer to the subject, before it is looked at.
struct Listed {
    place: String,
    referrers: Referrers,
}

impl Search<'_> {
    /// The referrers API, else the fallback tag. A registry that has the API must also list there what
    /// was pushed under the tag before, so an empty list is an answer.
    pub(super) async fn referring(&self) -> Collected {
        let mut listed = match self.listed().await {
            Ok(listed) => listed,
            Err(look) => return look,
        };
        let wanted = self.wanted;
        // Stable: within a rank, upstream's order.
        listed.referrers.descriptors.sort_by_key(|descriptor| rank(descriptor, wanted));
        let mut collected = self.about(&listed);
        let kept = listed.referrers.descriptors.iter().take(self.limits.referrers);
        let looks: Vec<_> = kept.map(|descriptor| self.referrer(descriptor)).collect();
        collected = self.each(looks, collected).await;
        collected
    }

    /// What the list says as a whole.
    fn about(&self, listed: &Listed) -> Collected {
        let Listed { place, referrers } = listed;
        let (there, kept) = (referrers.descriptors.len(), referrers.descriptors.len().min(self.limits.referrers));
        let mut about = Collected::default();
        let mut say = |outcome| about.merge(Collected::look(place, outcome));
        if there > 0 {
            say(LookOutcome::Found(kept));
        }
        if referrers.unreadable > 0 {
            say(LookOutcome::Unrelated(format!("{} with a digest that is not sha256", referrers.unreadable)));
        }
        if referrers.malformed > 0 {
            say(LookOutcome::Failed(format!("{} that upstream does not describe", referrers.malformed)));
        }
        if kept < there || referrers.truncated {
            let more = if referrers.truncated { "more than " } else { "" };
            say(LookOutcome::OverLimit(format!("only {kept} of {more}{there} referrers are looked at")));
        }
        if about.looked_at.is_empty() {
            about.merge(Collected::look(place, LookOutcome::Absent));
        }
        about
    }

    /// The list of referrers, or why there is none. An upstream that lately had no such API is asked for
    /// the fallback tag at the same time, so that finding out again costs no round trip.
    async fn listed(&self) -> Result<Listed, Collected> {
        let place = "referrers";
        let mut api = pin!(self.in_time(self.source.referrers(
            self.repository,
            self.subject,
            LISTED_MAX,
            Annotations::Only(PREDICATE)
        )));
        let mut fallback = pin!(self.fallback_tag());
        let mut early = None;
        let answer = if self.source.lately_without_referrers() {
            loop {
                tokio::select! {
                    biased;
                    answer = &mut api => break answer,
                    tag = &mut fallback, if early.is_none() => early = Some(tag),
                }
            }
        } else {
            api.await
        };
        match answer {
            Ok(Some(referrers)) => Ok(Listed { place: place.to_owned(), referrers }),
            Ok(None) => match early {
                Some(tag) => tag,
                None => fallback.await,
            },
            Err(outcome) => Err(Collected::look(place, outcome)),
        }
    }

    /// The fallback tag's place and entries, or why there are none.
    async fn fallback_tag(&self) -> Result<Listed, Collected> {
        let tag = Tag::of_artefact(self.subject, ArtefactTag::Referrers);
        let place = format!("tag {tag}");
        let manifest = self.manifest(&Reference::Tag(tag)).await.map_err(|outcome| Collected::look(&place, outcome))?;
        let Some(index) = manifest.index() else {
            return Err(Collected::look(&place, LookOutcome::Unrelated("not an index".to_owned())));
        };
        let descriptors = index.manifests.iter().take(LISTED_MAX).cloned().collect();
        let truncated = index.manifests.len() > LISTED_MAX;
        Ok(Listed { place, referrers: Referrers { descriptors, truncated, ..Referrers::default() } })
    }

    /// One referrer. What it is, its layers say; artefact types are reported differently by registries.
    async fn referrer(&self, descriptor: &Descriptor) -> Collected {
        let place = format!("referrer {}", descriptor.digest);
        let manifest = match self.referring_manifest(descriptor).await {
            Ok(manifest) => manifest,
            Err(outcome) => return Collected::look(place, outcome),
        };
        let unrelated = |why: &str| Collected::look(&place, LookOutcome::Unrelated(why.to_owned()));
        let Some(image) = manifest.image() else { return unrelated("an index") };
        if image.layers.iter().any(|layer| layer.media_type.starts_with(BUNDLE_PREFIX)) {
            return self.bundle(&place, image).await;
        }
        if Kind::Signature.is_in(image) {
            return self.layers(place, image, Kind::Signature).await;
        }
        match Kind::Attestation.is_in(image) {
            true if self.wanted.attestations => self.layers(place, image, Kind::Attestation).await,
            true => unrelated("an attestation, and none is asked for"),
            false => unrelated("no layer is a Sigstore bundle or signature"),
        }
    }

    /// A referrer's manifest; it has the size that was said, and its subject is ours.
    async fn referring_manifest(&self, descriptor: &Descriptor) -> Result<Manifest, LookOutcome> {
        within("manifest", descriptor.size, self.limits.manifest)?;
        let manifest = self.manifest(&Reference::Digest(descriptor.digest)).await?;
        let (says, has) = (descriptor.size, manifest.bytes().len() as u64);
        if says != has {
            return Err(LookOutcome::Failed(format!("its descriptor says {says} bytes, it has {has}")));
        }
        if manifest.subject().map(|subject| subject.digest) != Some(self.subject) {
            return Err(LookOutcome::Unrelated("refers to something else".to_owned()));
        }
        if !has_plain_annotations(&manifest) {
            return Err(LookOutcome::Unrelated("has annotations that are no texts".to_owned()));
        }
        Ok(manifest)
    }

    /// A bundle is the one layer of its manifest.
    async fn bundle(&self, place: &str, image: &Image) -> Collected {
        let [layer] = image.layers.as_slice() else {
            let why = format!("{} layers, where a Sigstore bundle is one", image.layers.len());
            return Collected::look(place, LookOutcome::Unrelated(why));
        };
        match self.document(layer, "bundle").await {
            Ok(bytes) => Collected::one(place, Material::Bundle { bytes }),
            Err(outcome) => Collected::look(place, outcome),
        }
    }
}

/// Annotations are texts (OCI image specification, annotations). What says otherwise of itself no other tool reads.
fn has_plain_annotations(manifest: &Manifest) -> bool {
    #[derive(Deserialize)]
    struct Annotated {
        #[serde(rename = "annotations")]
        _annotations: Option<BTreeMap<String, String>>,
    }
    serde_json::from_slice::<Annotated>(manifest.bytes()).is_ok()
}

/// How likely an entry is a signature: the lower, the likelier. So that hundreds of SBOMs do not push
/// the signature over the limit, nor the attestations that a scanner adds each night, which are bundles, too. A hint
/// only, since types and annotations are claims: what is looked at decides.
fn rank(descriptor: &Descriptor, wanted: Wanted) -> u8 {
    let predicate = descriptor.annotation(PREDICATE);
    match descriptor.artifact_type.as_deref().unwrap_or_default() {
        _ if predicate == Some(SIGN_V1) => 0,
        bundle if bundle.starts_with(BUNDLE_PREFIX) && (predicate.is_none() || wanted.attestations) => 1,
        COSIGN_SIGNATURE => 2,
        IN_TOTO | DSSE_ENVELOPE if wanted.attestations => 2,
        nothing if SAYS_NOTHING.contains(&nothing) => 3,
        _ => 4,
    }
}
