//! Where signatures of a digest may lie, and how to fetch all of them within bounds.
//!
//! All places are looked at side by side: what refers to the digest (the referrers API, or the fallback
//! tag where there is none), cosign's classic signature tag, and where attestations are wanted, its
//! attestation tag. What is found is a candidate; nothing here says that it is good. A place that could
//! not be looked at is never reported as empty.

mod held;
mod layers;
mod referring;
mod search;

pub use held::Held;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

/// Bounds on looking for the signatures of one digest.
#[derive(Clone, Debug)]
pub struct SignatureLimits {
    /// Most referrers; further ones are not looked at (CVE-2023-46737 and its class).
    pub referrers: usize,
    /// Most layers of classic signatures, wherever they lie, and as many of classic attestations; further
    /// ones are not looked at.
    pub layers: usize,
    /// Largest manifest of a signature, in bytes.
    pub manifest: u64,
    /// Largest classic payload, in bytes.
    pub payload: u64,
    /// Largest bundle or classic attestation, in bytes.
    pub bundle: u64,
    /// The same where attestations are asked for: bills of materials are large.
    pub attestation: u64,
    /// How much of one image's attestations is read that is larger than `bundle`, in bytes altogether.
    pub attestations: usize,
    /// Longest time altogether.
    pub deadline: Duration,
    /// What all searches under these limits and their clones hold together.
    pub held: Held,
}

impl Default for SignatureLimits {
    fn default() -> Self {
        Self {
            referrers: 32,
            layers: 64,
            manifest: 1024 * 1024,
            payload: 64 * 1024,
            bundle: 512 * 1024,
            attestation: 4 * 1024 * 1024,
            attestations: 16 * 1024 * 1024,
            deadline: Duration::from_secs(10),
            held: Held::default(),
        }
    }
}

/// What is looked for besides signatures, which always are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Classic attestations, which have places of their own. Bundles carry both, so they come anyway.
    pub attestations: bool,
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

/// The forms of signature material.
#[derive(Clone, Debug)]
pub enum Material {
    /// A payload with the signature beside it, in its layer's annotations.
    Classic {
        /// The signed bytes.
        payload: Bytes,
        /// Signature, certificate, log entry and more.
        annotations: BTreeMap<String, String>,
    },
    /// An attestation of the classic layout: a DSSE envelope, with what proves its signer beside it.
    ClassicAttestation {
        /// The envelope, which holds the statement and its signatures.
        envelope: Bytes,
        /// Certificate, log entry and more.
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

    /// Says of every place in which repository it is.
    pub(super) fn located(mut self, repository: &crate::oci::Repository) -> Self {
        let looked_at = self.looked_at.iter_mut().map(|look| &mut look.place);
        for place in looked_at.chain(self.found.iter_mut().map(|found| &mut found.place)) {
            place.insert_str(0, &format!("{repository}: "));
        }
        self
    }
}
