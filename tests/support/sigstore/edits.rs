//! What an attacker does to a finished signature: exchange parts, change them, leave them out.
//!
//! Nothing is signed, logged or timestamped again here.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::entry::LogEntry;
use super::log::TransparencyLog;
use super::signed::Signed;

impl Signed {
    /// Another's log entries in place of its own.
    #[must_use]
    pub fn swap_log_entry_with(mut self, other: &Self) -> Self {
        self.entries.clone_from(&other.entries);
        self
    }

    /// Another's timestamps in place of its own.
    #[must_use]
    pub fn swap_timestamps_with(mut self, other: &Self) -> Self {
        self.timestamps.clone_from(&other.timestamps);
        self
    }

    /// Another's certificate in place of its own.
    #[must_use]
    pub fn swap_certificate_with(mut self, other: &Self) -> Self {
        self.signatory.certificate.clone_from(&other.signatory.certificate);
        self
    }

    /// Another's signature in place of its own.
    #[must_use]
    pub fn swap_signature_with(mut self, other: &Self) -> Self {
        self.signatures.clone_from(&other.signatures);
        self
    }

    /// Another's payload in place of its own.
    #[must_use]
    pub fn swap_payload_with(mut self, other: &Self) -> Self {
        self.content.clone_from(&other.content);
        self
    }

    #[must_use]
    pub fn edit_payload(mut self, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        edit(self.content.payload_mut());
        self
    }

    /// Replaces text in the payload, which must be there.
    #[must_use]
    pub fn replace_in_payload(self, from: &str, to: &str) -> Self {
        self.edit_payload(|payload| {
            let text = std::str::from_utf8(payload).unwrap();
            assert!(text.contains(from), "`{from}` is not in {text}");
            *payload = text.replacen(from, to, 1).into_bytes();
        })
    }

    /// Changes the first signature, which must be there.
    #[must_use]
    pub fn edit_signature(mut self, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        edit(&mut self.signatures[0]);
        self
    }

    /// The first signature's last bit is another.
    #[must_use]
    pub fn break_signature(self) -> Self {
        self.edit_signature(|signature| flip_last_bit(signature))
    }

    #[must_use]
    pub fn without_signatures(mut self) -> Self {
        self.signatures.clear();
        self
    }

    /// The same signature, twice.
    #[must_use]
    pub fn repeat_signature(mut self) -> Self {
        self.signatures.extend_from_within(..);
        self
    }

    #[must_use]
    pub fn without_certificate(mut self) -> Self {
        self.signatory.certificate = None;
        self
    }

    #[must_use]
    pub fn without_log_entry(mut self) -> Self {
        self.entries.clear();
        self
    }

    /// The same entries so many times.
    #[must_use]
    pub fn repeat_log_entry(mut self, times: usize) -> Self {
        self.entries = std::iter::repeat_n(self.entries, times).flatten().collect();
        self
    }

    /// Changes every log entry. What the log promised and proved stays.
    #[must_use]
    pub fn edit_entry(mut self, edit: impl Fn(&mut LogEntry)) -> Self {
        assert!(!self.entries.is_empty(), "there is no log entry to change");
        self.entries.iter_mut().for_each(edit);
        self
    }

    #[must_use]
    pub fn edit_log_body(self, edit: impl Fn(&mut Value)) -> Self {
        self.edit_entry(|entry| entry.edit_body(&edit))
    }

    #[must_use]
    pub fn set_integrated_time(self, at: Timestamp) -> Self {
        self.edit_entry(|entry| entry.integrated_time = Some(at.as_second()))
    }

    /// The log promises again, whatever its entries say now: for logs that lie.
    #[must_use]
    pub fn promised_again_by(self, log: &TransparencyLog) -> Self {
        self.edit_entry(|entry| entry.promise = Some(log.promise(entry)))
    }

    /// Without signed entry timestamps.
    #[must_use]
    pub fn without_promise(self) -> Self {
        self.edit_entry(|entry| entry.promise = None)
    }

    /// The signed entry timestamps' last bit is another.
    #[must_use]
    pub fn break_promise(self) -> Self {
        self.edit_entry(|entry| flip_last_bit(entry.promise.as_mut().expect("the log promised")))
    }

    /// Without inclusion proofs.
    #[must_use]
    pub fn without_proof(self) -> Self {
        self.edit_entry(|entry| entry.proof = None)
    }

    /// The first hash of the path to the root is another.
    #[must_use]
    pub fn break_proof(self) -> Self {
        self.edit_entry(|entry| flip_last_bit(&mut entry.proof.as_mut().expect("the log proved").hashes[0]))
    }

    /// Another log's signed tree head over the same tree.
    #[must_use]
    pub fn checkpoint_by(self, log: &TransparencyLog) -> Self {
        self.edit_entry(|entry| {
            let proof = entry.proof.as_mut().expect("the log proved");
            proof.checkpoint = log.checkpoint(proof.tree_size, proof.root.as_slice().try_into().unwrap());
        })
    }

    #[must_use]
    pub fn without_timestamps(mut self) -> Self {
        self.timestamps.clear();
        self
    }

    /// The same timestamps so many times.
    #[must_use]
    pub fn repeat_timestamps(mut self, times: usize) -> Self {
        self.timestamps = std::iter::repeat_n(self.timestamps, times).flatten().collect();
        self
    }

    /// The timestamps' last bit, which belongs to their signature, is another.
    #[must_use]
    pub fn break_timestamps(mut self) -> Self {
        self.timestamps.iter_mut().for_each(|token| flip_last_bit(token));
        self
    }

    /// Sets an annotation of the classic layouts.
    #[must_use]
    pub fn annotation(mut self, name: &str, text: &str) -> Self {
        self.annotation_edits.insert(name.to_owned(), Some(text.to_owned()));
        self
    }

    /// Leaves out an annotation of the classic layouts.
    #[must_use]
    pub fn without_annotation(mut self, name: &str) -> Self {
        self.annotation_edits.insert(name.to_owned(), None);
        self
    }

    /// Changes the JSON of a bundle, when it is written.
    #[must_use]
    pub fn edit_bundle(mut self, edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.json_edits.push(Arc::new(edit));
        self
    }

    /// Changes the text of a bundle, when it is written.
    #[must_use]
    pub fn edit_bundle_text(mut self, edit: impl Fn(String) -> Vec<u8> + Send + Sync + 'static) -> Self {
        self.text_edits.push(Arc::new(edit));
        self
    }
}

fn flip_last_bit(bytes: &mut [u8]) {
    *bytes.last_mut().expect("there are bytes") ^= 1;
}
