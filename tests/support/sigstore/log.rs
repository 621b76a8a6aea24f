//! Transparency logs of both generations of Rekor: they append, promise, prove and sign tree heads.

use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::json;

use super::entry::{EntryKind, InclusionProof, LogEntry};
use super::key::{Key, KeyKind};
use super::{merkle, sha256};

/// Rekor v1 promises (signed entry timestamp) and knows the time; v2 does neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    V1,
    V2,
}

/// One log. What is appended stays, so entries of parallel tests lie side by side.
pub struct TransparencyLog {
    generation: Generation,
    host: String,
    key: Key,
    leaves: Mutex<Vec<merkle::Hash>>,
}

impl TransparencyLog {
    /// P-256, like Rekor v1. It holds two entries already.
    pub fn v1() -> Self {
        Self::new(Generation::V1, "rekor1.sigstore.test", KeyKind::P256)
    }

    /// Ed25519, like Rekor v2. It holds two entries already.
    pub fn v2() -> Self {
        Self::new(Generation::V2, "rekor2.sigstore.test", KeyKind::Ed25519)
    }

    fn new(generation: Generation, host: &str, key: KeyKind) -> Self {
        let leaves = Mutex::new(vec![merkle::leaf(b"one"), merkle::leaf(b"two")]);
        Self { generation, host: host.to_owned(), key: Key::new(key), leaves }
    }

    /// The same log before its first entry.
    #[must_use]
    pub fn emptied(&self) -> Self {
        let leaves = Mutex::default();
        Self { generation: self.generation, host: self.host.clone(), key: self.key.clone(), leaves }
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.host)
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The log's id. An ECDSA log's is the SHA-256 of its key; for Ed25519 the host counts, too (C2SP
    /// `signed-note`).
    pub fn id(&self) -> [u8; 32] {
        match self.key.kind() {
            KeyKind::Ed25519 => sha256(&[self.host.as_bytes(), b"\n", &ED25519_NOTE, self.key.public_raw()].concat()),
            _ => sha256(&self.key.public_der()),
        }
    }

    /// Appends and proves it. A log of the first generation also says when, and promises it.
    pub fn append(&self, kind: EntryKind, body: Vec<u8>, at: Timestamp) -> LogEntry {
        let proof = self.include(merkle::leaf(&body));
        let (name, version) = kind.name_and_version();
        let mut entry = LogEntry {
            kind: name.to_owned(),
            version: version.to_owned(),
            body,
            log_id: self.id().to_vec(),
            log_index: proof.log_index,
            integrated_time: None,
            promise: None,
            proof: Some(proof),
        };
        if self.generation == Generation::V1 {
            entry.integrated_time = Some(at.as_second());
            entry.promise = Some(self.promise(&entry));
        }
        entry
    }

    fn include(&self, leaf: merkle::Hash) -> InclusionProof {
        let mut leaves = self.leaves.lock().unwrap_or_else(PoisonError::into_inner);
        let index = leaves.len();
        leaves.push(leaf);
        let (size, root) = (leaves.len() as u64, merkle::root(&leaves));
        InclusionProof {
            log_index: index as u64,
            root: root.to_vec(),
            tree_size: size,
            hashes: merkle::path(index, &leaves).iter().map(|hash| hash.to_vec()).collect(),
            checkpoint: self.checkpoint(size, root),
        }
    }

    /// The signed entry timestamp over what the entry says now, whatever that is.
    pub fn promise(&self, entry: &LogEntry) -> Vec<u8> {
        let promised = json!({
            "body": STANDARD.encode(&entry.body),
            "integratedTime": entry.integrated_time.unwrap_or_default(),
            "logID": hex::encode(&entry.log_id),
            "logIndex": entry.log_index,
        });
        self.key.sign(&serde_json_canonicalizer::to_vec(&promised).unwrap())
    }

    /// A signed tree head (C2SP `tlog-checkpoint`).
    pub fn checkpoint(&self, size: u64, root: merkle::Hash) -> String {
        let origin = match self.generation {
            // cosign tells the generations apart by the tree's id.
            Generation::V1 => format!("{} - {TREE}", self.host),
            Generation::V2 => self.host.clone(),
        };
        let note = format!("{origin}\n{size}\n{}\n", STANDARD.encode(root));
        let signature = [&self.id()[..HINT_LENGTH], &self.key.sign(note.as_bytes())].concat();
        format!("{note}\n\u{2014} {} {}\n", self.host, STANDARD.encode(signature))
    }
}

const TREE: u64 = 4242;
/// How much of the log's id stands before a signature.
const HINT_LENGTH: usize = 4;
/// The type of Ed25519 signatures in C2SP `signed-note`.
const ED25519_NOTE: [u8; 1] = [1];
