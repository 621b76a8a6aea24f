//! One entry of a transparency log, in parts that a test can change, and as both layouts write it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// What the log was told (Rekor's types and their versions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    HashedRekord001,
    /// The only kind of Rekor v2.
    HashedRekord002,
    Dsse001,
    Intoto002,
}

impl EntryKind {
    pub fn name_and_version(self) -> (&'static str, &'static str) {
        match self {
            Self::HashedRekord001 => ("hashedrekord", "0.0.1"),
            Self::HashedRekord002 => ("hashedrekord", "0.0.2"),
            Self::Dsse001 => ("dsse", "0.0.1"),
            Self::Intoto002 => ("intoto", "0.0.2"),
        }
    }
}

/// An entry as the log returned it, until somebody changes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub kind: String,
    pub version: String,
    /// Canonical JSON; the leaf of the tree.
    pub body: Vec<u8>,
    pub log_id: Vec<u8>,
    pub log_index: u64,
    /// In seconds.
    pub integrated_time: Option<i64>,
    /// The signed entry timestamp.
    pub promise: Option<Vec<u8>>,
    pub proof: Option<InclusionProof>,
}

/// A Merkle path to a signed tree head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InclusionProof {
    pub log_index: u64,
    pub root: Vec<u8>,
    pub tree_size: u64,
    pub hashes: Vec<Vec<u8>>,
    /// A signed note.
    pub checkpoint: String,
}

/// Protocol Buffers leave zeros and empty lists out of their JSON; the real servers do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Zeros {
    #[default]
    LeftOut,
    Written,
}

impl LogEntry {
    /// Reads the body, lets it be changed, and writes it again. Promise and proof stay as they are.
    pub fn edit_body(&mut self, edit: impl FnOnce(&mut Value)) {
        let mut body = serde_json::from_slice(&self.body).unwrap();
        edit(&mut body);
        self.body = serde_json_canonicalizer::to_vec(&body).unwrap();
    }

    /// As it stands in a bundle.
    pub(super) fn bundle_json(&self, zeros: Zeros) -> Value {
        let mut entry = Map::new();
        put_number(&mut entry, "logIndex", self.log_index, zeros);
        entry.insert("logId".to_owned(), json!({ "keyId": STANDARD.encode(&self.log_id) }));
        entry.insert("kindVersion".to_owned(), json!({ "kind": self.kind, "version": self.version }));
        if let Some(time) = self.integrated_time {
            entry.insert("integratedTime".to_owned(), json!(time.to_string()));
        }
        if let Some(promise) = &self.promise {
            let promise = json!({ "signedEntryTimestamp": STANDARD.encode(promise) });
            entry.insert("inclusionPromise".to_owned(), promise);
        }
        if let Some(proof) = &self.proof {
            entry.insert("inclusionProof".to_owned(), proof.json(zeros));
        }
        entry.insert("canonicalizedBody".to_owned(), json!(STANDARD.encode(&self.body)));
        Value::Object(entry)
    }

    /// As it stands in the classic layout's annotation `dev.sigstore.cosign/bundle`.
    pub(super) fn classic_json(&self) -> Value {
        json!({
            "SignedEntryTimestamp": STANDARD.encode(self.promise.as_deref().unwrap_or_default()),
            "Payload": {
                "body": STANDARD.encode(&self.body),
                "integratedTime": self.integrated_time.unwrap_or_default(),
                "logIndex": self.log_index,
                "logID": hex::encode(&self.log_id),
            },
        })
    }
}

impl InclusionProof {
    fn json(&self, zeros: Zeros) -> Value {
        let mut proof = Map::new();
        put_number(&mut proof, "logIndex", self.log_index, zeros);
        proof.insert("rootHash".to_owned(), json!(STANDARD.encode(&self.root)));
        put_number(&mut proof, "treeSize", self.tree_size, zeros);
        if !self.hashes.is_empty() || zeros == Zeros::Written {
            let hashes: Vec<_> = self.hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
            proof.insert("hashes".to_owned(), json!(hashes));
        }
        proof.insert("checkpoint".to_owned(), json!({ "envelope": self.checkpoint }));
        Value::Object(proof)
    }
}

/// Protocol Buffers write 64-bit numbers as text.
fn put_number(object: &mut Map<String, Value>, name: &str, number: u64, zeros: Zeros) {
    if number != 0 || zeros == Zeros::Written {
        object.insert(name.to_owned(), json!(number.to_string()));
    }
}
