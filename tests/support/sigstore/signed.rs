//! A signature in parts: signed, then logged, then timestamped, in one or the other layout.
//!
//! Each step takes what the steps before it made, so a change between two steps is covered by the later one.
//! What changes afterwards stands in `edits.rs`, and how it is written down in `layout.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay::demo::{IN_TOTO, Statement, pae};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::entry::{EntryKind, LogEntry, Zeros};
use super::entry_body;
use super::log::{Generation, TransparencyLog};
use super::signatory::Signatory;
use super::timestamp::TimestampAuthority;

/// How it lies in the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A layer of the tag `.sig`: a payload, all else in annotations.
    Classic,
    /// A layer of the tag `.att`: an envelope, all else in annotations.
    ClassicAttestation,
    /// One document.
    Bundle(BundleVersion),
}

/// Versions of the bundle format, by media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BundleVersion {
    V01,
    V02,
    V03,
    /// 0.3, spelled as 0.1 and 0.2 are.
    V03Parameter,
}

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Bytes, which lie elsewhere.
    Message(Vec<u8>),
    /// A payload and its type (DSSE).
    Envelope { payload_type: String, payload: Vec<u8> },
}

/// All parts of a signature. Clones are independent.
#[derive(Clone)]
pub struct Signed {
    pub layout: Layout,
    pub content: Content,
    pub signatory: Signatory,
    /// Honest ones have one.
    pub signatures: Vec<Vec<u8>>,
    pub entries: Vec<LogEntry>,
    /// Responses of timestamp authorities.
    pub timestamps: Vec<Vec<u8>>,
    /// Whether the authorities' certificates come along.
    pub with_chain: bool,
    pub zeros: Zeros,
    /// Annotations to set (`Some`) or to leave out, last of all.
    pub annotation_edits: BTreeMap<String, Option<String>>,
    pub(super) json_edits: Vec<Arc<JsonEdit>>,
    pub(super) text_edits: Vec<Arc<TextEdit>>,
}

pub(super) type JsonEdit = dyn Fn(&mut Value) + Send + Sync;
pub(super) type TextEdit = dyn Fn(String) -> Vec<u8> + Send + Sync;

impl Content {
    /// The bytes that the key signs.
    pub fn signed_bytes(&self) -> Vec<u8> {
        match self {
            Self::Message(message) => message.clone(),
            Self::Envelope { payload_type, payload } => pae(payload_type, payload),
        }
    }

    pub fn payload(&self) -> &Vec<u8> {
        match self {
            Self::Message(payload) | Self::Envelope { payload, .. } => payload,
        }
    }

    pub fn payload_mut(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Message(payload) | Self::Envelope { payload, .. } => payload,
        }
    }
}

impl Signed {
    /// A payload in the classic layout.
    pub fn classic(by: &Signatory, payload: impl Into<Vec<u8>>) -> Self {
        Self::new(by, Layout::Classic, Content::Message(payload.into()))
    }

    /// A bundle with a bare signature over `message`.
    pub fn message(by: &Signatory, message: impl Into<Vec<u8>>) -> Self {
        Self::new(by, Layout::Bundle(BundleVersion::V03), Content::Message(message.into()))
    }

    /// A bundle with a statement in an envelope.
    pub fn statement(by: &Signatory, statement: &Statement) -> Self {
        Self::envelope(by, IN_TOTO, statement.bytes())
    }

    /// A bundle with an envelope around anything.
    pub fn envelope(by: &Signatory, payload_type: &str, payload: Vec<u8>) -> Self {
        let content = Content::Envelope { payload_type: payload_type.to_owned(), payload };
        Self::new(by, Layout::Bundle(BundleVersion::V03), content)
    }

    fn new(by: &Signatory, layout: Layout, content: Content) -> Self {
        Self {
            signatures: vec![by.key.sign(&content.signed_bytes())],
            layout,
            content,
            signatory: by.clone(),
            entries: vec![],
            timestamps: vec![],
            with_chain: false,
            zeros: Zeros::default(),
            annotation_edits: BTreeMap::new(),
            json_edits: vec![],
            text_edits: vec![],
        }
    }

    /// In another layout, with the same parts.
    #[must_use]
    pub fn laid_out(mut self, layout: Layout) -> Self {
        self.layout = layout;
        self
    }

    /// In a bundle of another version.
    #[must_use]
    pub fn version(self, version: BundleVersion) -> Self {
        self.laid_out(Layout::Bundle(version))
    }

    /// Signed anew, over what the content is now, by the same key.
    #[must_use]
    pub fn signed_again(mut self) -> Self {
        self.signatures = vec![self.signatory.key.sign(&self.content.signed_bytes())];
        self
    }

    /// Writes it to a log, as the kind of entry that cosign would choose.
    #[must_use]
    pub fn logged_by(self, log: &TransparencyLog, at: Timestamp) -> Self {
        let kind = match (log.generation(), &self.content) {
            (Generation::V2, _) => EntryKind::HashedRekord002,
            (Generation::V1, Content::Message(_)) => EntryKind::HashedRekord001,
            (Generation::V1, Content::Envelope { .. }) => EntryKind::Dsse001,
        };
        self.logged_as(kind, log, at)
    }

    /// Writes it to a log, as any kind of entry.
    #[must_use]
    pub fn logged_as(self, kind: EntryKind, log: &TransparencyLog, at: Timestamp) -> Self {
        self.logged_saying(kind, log, at, |_| {})
    }

    /// Writes it to an honest log that is told something else: `edit` changes the entry's body before.
    #[must_use]
    pub fn logged_saying(
        mut self,
        kind: EntryKind,
        log: &TransparencyLog,
        at: Timestamp,
        edit: impl FnOnce(&mut Value),
    ) -> Self {
        let mut body = entry_body::body(kind, &self);
        edit(&mut body);
        let body = serde_json_canonicalizer::to_vec(&body).unwrap();
        self.entries.push(log.append(kind, body, at));
        self
    }

    /// Has it timestamped as cosign does: the signature, but the whole envelope of a classic attestation.
    #[must_use]
    pub fn timestamped_by(self, authority: &TimestampAuthority, at: Timestamp) -> Self {
        let over = match self.layout {
            Layout::ClassicAttestation => self.envelope_text(),
            Layout::Classic | Layout::Bundle(_) => self.signature().to_vec(),
        };
        self.timestamped_over(&over, authority, at)
    }

    /// Has other bytes timestamped.
    #[must_use]
    pub fn timestamped_over(mut self, bytes: &[u8], authority: &TimestampAuthority, at: Timestamp) -> Self {
        self.timestamps.push(authority.timestamp(bytes, at));
        self
    }

    /// Brings the authorities' certificates along.
    #[must_use]
    pub fn chain_shown(mut self) -> Self {
        self.with_chain = true;
        self
    }

    /// Writes zeros and empty lists, which the real servers leave out.
    #[must_use]
    pub fn zeros_written(mut self) -> Self {
        self.zeros = Zeros::Written;
        self
    }

    /// The first signature; empty if there is none.
    pub fn signature(&self) -> &[u8] {
        self.signatures.first().map(Vec::as_slice).unwrap_or_default()
    }

    /// The DSSE envelope's JSON.
    pub fn envelope_json(&self) -> Value {
        let Content::Envelope { payload_type, payload } = &self.content else {
            panic!("a bare signature has no envelope");
        };
        let signatures: Vec<_> = self.signatures.iter().map(|s| json!({ "sig": STANDARD.encode(s) })).collect();
        json!({ "payload": STANDARD.encode(payload), "payloadType": payload_type, "signatures": signatures })
    }

    /// The DSSE envelope, byte for byte.
    pub fn envelope_text(&self) -> Vec<u8> {
        self.envelope_json().to_string().into_bytes()
    }
}
