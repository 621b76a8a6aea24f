//! What every response has in common. All headers are ours; none is copied from upstream.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use hyper::ext::ReasonPhrase;

use crate::pull::Servable;

use super::access::{AccessLine, Facts};
use super::body::ServeBody;
use super::unsent::Unsent;

/// Whoever stores an answer must ask again before using it: the right to be served can end.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("private, no-cache");
/// An error may be gone the next moment.
const NEVER_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Longest text in a header.
const TEXT_MAX: usize = 200;
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// As many as content has, so that the map grows once.
const HEADERS: usize = 12;

/// A response whose body is still typed.
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    phrase: Option<ReasonPhrase>,
    payload: Payload,
    facts: Facts,
}

enum Payload {
    /// Not even a length: the answer to a condition.
    None,
    Page(Bytes),
    Content(Box<Servable>),
}

impl Reply {
    /// A page that this folder wrote.
    pub(super) fn page(status: StatusCode, content_type: &'static str, page: impl Into<Bytes>) -> Self {
        let cache = if status.is_success() { ASK_AGAIN } else { NEVER_STORE };
        Self::new(status, Payload::Page(page.into()))
            .with(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
            .with(header::CACHE_CONTROL, cache)
    }

    /// Proved content, or the part of it that the servable holds.
    pub(super) fn content(servable: Servable) -> Self {
        let range = servable.range().map(|part| (part, servable.claim().size));
        let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let content_type = HeaderValue::from_static(servable.media_type());
        let reply = Self::new(status, Payload::Content(Box::new(servable)))
            .with(header::CONTENT_TYPE, content_type)
            .with(header::CACHE_CONTROL, ASK_AGAIN);
        match range {
            Some((part, size)) => {
                reply.with_text(header::CONTENT_RANGE, &format!("bytes {}-{}/{size}", part.start, part.end - 1))
            }
            None => reply,
        }
    }

    /// The client holds it already.
    pub(super) fn not_modified() -> Self {
        Self::new(StatusCode::NOT_MODIFIED, Payload::None).with(header::CACHE_CONTROL, ASK_AGAIN)
    }

    /// A status that says all.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self::new(status, Payload::None).with(header::CACHE_CONTROL, NEVER_STORE)
    }

    fn new(status: StatusCode, payload: Payload) -> Self {
        Self { status, headers: HeaderMap::with_capacity(HEADERS), phrase: None, payload, facts: Facts::default() }
    }

    /// The same, with room for its page until the last of it was sent; `None` where there is no room.
    pub(super) fn within(self, unsent: &Unsent) -> Option<Self> {
        let payload = match self.payload {
            Payload::Page(page) => Payload::Page(unsent.hold(page)?),
            other => other,
        };
        Some(Self { payload, ..self })
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a header with a text that may hold anything.
    pub(super) fn with_text(self, name: HeaderName, text: &str) -> Self {
        self.with(name, header_text(text))
    }

    /// Puts a text into the status line of HTTP/1.1.
    pub(super) fn with_phrase(mut self, phrase: &str) -> Self {
        self.phrase = ReasonPhrase::try_from(phrase.as_bytes()).ok();
        self
    }

    /// What the access line will say.
    pub(super) fn with_facts(mut self, facts: Facts) -> Self {
        self.facts = facts;
        self
    }

    /// The response. With `head` it has the headers of the whole and no body.
    pub(super) fn into_response(self, head: bool, mut line: Option<AccessLine>) -> Response<ServeBody> {
        let Self { status, mut headers, phrase, payload, facts } = self;
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let length = match &payload {
            Payload::None => None,
            Payload::Page(page) => Some(page.len() as u64),
            Payload::Content(servable) => Some(servable.length()),
        };
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Some(line) = &mut line {
            line.answered(status, facts, if head { 0 } else { length.unwrap_or(0) });
        }
        let body = match payload {
            Payload::Page(page) if !head => ServeBody::page(page, line),
            Payload::Content(servable) if !head => ServeBody::content(*servable, line),
            _ => ServeBody::nothing(line),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if let Some(phrase) = phrase {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}

/// A text as a header's value: visible ASCII, bounded.
fn header_text(text: &str) -> HeaderValue {
    let is_plain = text.len() <= TEXT_MAX && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let value = if is_plain { HeaderValue::from_str(text) } else { HeaderValue::from_str(&ascii(text, TEXT_MAX)) };
    value.expect("visible ASCII is a header value")
}

/// The first `max` characters; what is not visible ASCII or a space becomes a question mark.
pub(super) fn ascii(text: &str, max: usize) -> String {
    text.chars().take(max).map(|c| if c == ' ' || c.is_ascii_graphic() { c } else { '?' }).collect()
}
