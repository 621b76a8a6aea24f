//! What was asked of a registry, for tests and for people who want to see it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Version};

/// Requests remembered; later ones are answered but not kept.
const KEPT_MAX: usize = 65_536;

/// One request, and how it was answered.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// The path, with the query if there was one.
    pub path: String,
    /// HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// All headers, credentials included.
    pub headers: HeaderMap,
    status: Arc<OnceLock<StatusCode>>,
}

/// The requests of one server, oldest first.
#[derive(Debug, Default)]
pub struct RequestLog(Mutex<Vec<Seen>>);

impl Seen {
    /// The status; `None` while there is no answer, or when there never was one.
    pub fn status(&self) -> Option<StatusCode> {
        self.status.get().copied()
    }

    /// A header as text; the first one when there are several.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Notes the answer; the first one counts.
    pub fn answered(&self, status: StatusCode) {
        let _ = self.status.set(status);
    }
}

impl RequestLog {
    /// Notes a request. Its answer is noted through the returned value.
    pub fn note(&self, request: &Parts) -> Seen {
        let seen = Seen {
            method: request.method.clone(),
            path: request.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            version: request.version,
            headers: request.headers.clone(),
            status: Arc::default(),
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT_MAX {
            kept.push(seen.clone());
        }
        seen
    }

    /// All requests so far.
    pub fn all(&self) -> Vec<Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
