//! Looks at signature artefacts before they pass: the one way around the signature check.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use jiff::Timestamp;

use crate::oci::Manifest;
use crate::store::DiskStore;
use crate::trust::artefact::{ARTEFACT_PAYLOAD_MAX, NotAnArtefact};
use crate::trust::{self, Artefact, ArtefactBlob};

use super::error::PullError;
use super::from_upstream::upstream_error;
use super::keeping::Keeping;
use super::places::Places;
use super::question::Question;

/// How many payloads of one artefact are looked at. cosign adds one for each signature.
const PAYLOADS_MAX: usize = 256;

/// How many bytes of payloads of one artefact are looked at, one after the other.
const PAYLOAD_BYTES_MAX: u64 = ARTEFACT_PAYLOAD_MAX;

/// Payloads that are looked at side by side, if together they are no larger than the next constant.
const PAYLOADS_AT_ONCE: usize = 8;
const PAYLOAD_BYTES_AT_ONCE: u64 = 4 * 1024 * 1024;

/// How many artefacts of one upstream are looked at at once: what bounds the memory for it.
const INSPECTIONS_MAX: usize = 4;

/// Fetches payloads of artefacts and looks at them.
pub(super) struct Inspector {
    store: Arc<DiskStore>,
    keeping: Arc<Keeping>,
    places: Places,
}

impl Inspector {
    pub(super) fn new(store: Arc<DiskStore>, keeping: Arc<Keeping>) -> Self {
        Self { store, keeping, places: Places::new(INSPECTIONS_MAX) }
    }

    /// Looks whether a manifest may pass as a signature artefact: asked for as one, of the form of one,
    /// and with payloads that are text. Each payload is looked at now, because a layer of a verified
    /// image could be named as one and would be served as that image's.
    pub(super) async fn as_artefact(
        &self,
        question: &Question,
        manifest: &Manifest,
        now: Timestamp,
    ) -> Result<Result<Artefact, NotAnArtefact>, PullError> {
        if !question.may_be_artefact() {
            return Ok(Err(NotAnArtefact::Form("it is asked for as an image".to_owned())));
        }
        let passed = trust::pass_artefact(manifest.clone(), &question.repository, &question.rule, now);
        let artefact = match passed {
            Ok(artefact) => artefact,
            Err(why) => return Ok(Err(why)),
        };
        let Some(image) = manifest.image() else { return Ok(Ok(artefact)) };
        let total: u64 = manifest.named().map(|named| named.size).fold(0, u64::saturating_add);
        if image.layers.len() > PAYLOADS_MAX || total > PAYLOAD_BYTES_MAX {
            let most = format!("it has {} payloads of {total} bytes, more than are looked at", image.layers.len());
            return Ok(Err(NotAnArtefact::Form(most)));
        }
        let _place = self.places.take(question.repository.registry()).await;
        let blobs: Vec<ArtefactBlob> = manifest.named().filter_map(|named| artefact.blob(named.digest)).collect();
        let looks: Vec<_> = blobs.into_iter().map(|blob| self.look_at_payload(question, blob)).collect();
        let at_once = if total > PAYLOAD_BYTES_AT_ONCE { 1 } else { PAYLOADS_AT_ONCE };
        let mut looks = stream::iter(looks).buffer_unordered(at_once);
        while let Some(looked) = looks.next().await {
            if let Err(why) = looked? {
                return Ok(Err(why));
            }
        }
        drop(looks);
        Ok(Ok(artefact))
    }

    async fn look_at_payload(
        &self,
        question: &Question,
        blob: ArtefactBlob,
    ) -> Result<Result<(), NotAnArtefact>, PullError> {
        let claim = blob.claim();
        let stored = self.store.read(claim.digest, PAYLOAD_BYTES_MAX as usize).await.unwrap_or_default();
        let (bytes, is_new) = match stored {
            Some(bytes) => (bytes, false),
            None => {
                let Question { upstream, repository, .. } = question;
                let fetched = Box::pin(upstream.small_blob(repository, claim, PAYLOAD_BYTES_MAX)).await;
                (fetched.map_err(|e| upstream_error(upstream, &format!("blob {}", claim.digest), &e))?, true)
            }
        };
        let looked = blob.inspect(bytes.clone()).map(drop);
        if looked.is_ok()
            && is_new
            && let Err(error) = self.store.write(bytes).await
        {
            self.keeping.failed("a payload", &error);
        }
        Ok(looked)
    }
}
