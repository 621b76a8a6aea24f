//! cosign's classic layouts: each signature or attestation is a layer of a manifest.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::search::Search;
use super::{Collected, LookOutcome, Material};
use crate::oci::media_type::SIMPLE_SIGNING;
use crate::oci::{ArtefactTag, Descriptor, Image, Reference, Tag};

/// A layer of a classic attestation.
pub(super) const DSSE_ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// What a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Signature,
    Attestation,
}

/// How many more layers may be looked at. First come, first served: a signature's tag is read in one
/// round trip and a referrer in two, so referrers cannot use up what the tag needs.
pub(super) struct Budget(AtomicUsize);

impl Budget {
    pub(super) fn new(layers: usize) -> Self {
        Self(AtomicUsize::new(layers))
    }

    /// Takes `wanted` or what is left; says how many.
    fn take(&self, wanted: usize) -> usize {
        let take = |left: usize| Some(left.saturating_sub(wanted));
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).unwrap_or_default();
        left.min(wanted)
    }
}

impl Kind {
    fn tag(self) -> ArtefactTag {
        match self {
            Self::Signature => ArtefactTag::Signature,
            Self::Attestation => ArtefactTag::Attestation,
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Signature => SIMPLE_SIGNING,
            Self::Attestation => DSSE_ENVELOPE,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Signature => "signatures",
            Self::Attestation => "attestations",
        }
    }

    fn material(self, content: Bytes, annotations: BTreeMap<String, String>) -> Material {
        match self {
            Self::Signature => Material::Classic { payload: content, annotations },
            Self::Attestation => Material::ClassicAttestation { envelope: content, annotations },
        }
    }

    /// Whether an image has layers of this kind.
    pub(super) fn is_in(self, image: &Image) -> bool {
        image.layers.iter().any(|layer| layer.media_type == self.media_type())
    }
}

impl Search<'_> {
    /// A tag made of the subject's digest (`.sig`, `.att`).
    pub(super) async fn tag(&self, kind: Kind) -> Collected {
        let tag = Tag::of_artefact(self.subject, kind.tag());
        let place = format!("tag {tag}");
        let manifest = match self.manifest(&Reference::Tag(tag)).await {
            Ok(manifest) => manifest,
            Err(outcome) => return Collected::look(place, outcome),
        };
        match manifest.image() {
            Some(image) => self.layers(place, image, kind).await,
            None => Collected::look(place, LookOutcome::Unrelated("an index".to_owned())),
        }
    }

    /// All layers of one kind, as far as there is room for them.
    pub(super) async fn layers(&self, place: String, image: &Image, kind: Kind) -> Collected {
        let layers: Vec<_> = image
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| layer.media_type == kind.media_type())
            .map(|(number, layer)| (format!("{place}, layer {number}"), layer))
            .collect();
        let kept = layers.get(..self.budget(kind).take(layers.len())).unwrap_or_default();
        let mut collected = Collected::look(place.clone(), LookOutcome::Found(kept.len()));
        if kept.len() < layers.len() {
            let limit = format!("only {} of {} {} are looked at", kept.len(), layers.len(), kind.plural());
            collected.merge(Collected::look(place, LookOutcome::OverLimit(limit)));
        }
        let looks = kept.iter().map(|(place, layer)| self.layer(place, layer, kind)).collect();
        self.each(looks, collected).await
    }

    async fn layer(&self, place: &str, layer: &Descriptor, kind: Kind) -> Collected {
        let annotations = layer.annotations.clone().unwrap_or_default();
        let content = match kind {
            Kind::Signature => self.blob(layer, "payload", self.limits.payload).await,
            Kind::Attestation => self.blob(layer, "attestation", self.limits.bundle).await,
        };
        match content {
            Ok(content) => Collected::one(place, kind.material(content, annotations)),
            Err(outcome) => Collected::look(place, outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_spent_once() {
        let budget = Budget::new(5);
        assert_eq!([3, 0, 3, 1].map(|wanted| budget.take(wanted)), [3, 0, 2, 0]);
    }
}
