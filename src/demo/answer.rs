//! The distribution spec's read side, from a [`Shelf`]: request in, response out, no sockets.

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, RANGE};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::json;

use crate::oci::{ByteRange, Digest, ErrorCode, RangeAsk, Reference, error_body};

use super::shelf::{Shelf, referrers_index};

/// Most tags on a page, whatever the client asks for.
const TAGS_PAGE: usize = 1000;

impl Shelf {
    /// Answers a request as an honest registry does. The answer to HEAD has the headers of GET's.
    pub fn answer(&self, request: &Parts) -> Response<Bytes> {
        if request.method != Method::GET && request.method != Method::HEAD {
            let mut refusal = error(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported, "read only");
            refusal.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let mut answer = self.routed(request);
        let length = answer.body().len();
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
        if request.method == Method::HEAD {
            answer.body_mut().clear();
        }
        answer
    }

    fn routed(&self, request: &Parts) -> Response<Bytes> {
        let not_found = || error(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no such page");
        let Some(path) = request.uri.path().strip_prefix("/v2/") else { return not_found() };
        if path.is_empty() {
            return content(StatusCode::OK, "application/json", "{}".into());
        }
        let query = request.uri.query().unwrap_or_default();
        let mut parts = path.rsplitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(reference), Some("manifests"), Some(repository)) => self.manifest_answer(repository, reference),
            (Some(digest), Some("blobs"), Some(repository)) => self.blob_answer(repository, digest, request),
            (Some(digest), Some("referrers"), Some(repository)) => self.referrers_answer(repository, digest, query),
            (Some("list"), Some("tags"), Some(repository)) => self.tags_answer(repository, query),
            _ => not_found(),
        }
    }

    fn manifest_answer(&self, repository: &str, reference: &str) -> Response<Bytes> {
        let Ok(reference) = reference.parse::<Reference>() else {
            return error(StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid, "not a tag or digest");
        };
        let Some((digest, document)) = self.manifest(repository, &reference) else {
            return error(StatusCode::NOT_FOUND, ErrorCode::ManifestUnknown, "manifest unknown");
        };
        with_digest(content(StatusCode::OK, &document.media_type, document.bytes), digest)
    }

    fn blob_answer(&self, repository: &str, digest: &str, request: &Parts) -> Response<Bytes> {
        let Ok(digest) = digest.parse::<Digest>() else {
            return error(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, "not a digest");
        };
        let Some(bytes) = self.blob(repository, digest) else {
            return error(StatusCode::NOT_FOUND, ErrorCode::BlobUnknown, "blob unknown");
        };
        let size = bytes.len() as u64;
        let ask = request.headers.get(RANGE).and_then(|range| RangeAsk::parse(range.to_str().ok()?));
        let answer = match ask.map(|ask| ask.within(size)) {
            None => content(StatusCode::OK, "application/octet-stream", bytes),
            Some(Some(range)) => partial(&bytes, range),
            Some(None) => {
                let mut refusal = error(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, "range");
                set(&mut refusal, CONTENT_RANGE, &format!("bytes */{size}"));
                return refusal;
            }
        };
        with_digest(answer, digest)
    }

    fn referrers_answer(&self, repository: &str, subject: &str, query: &str) -> Response<Bytes> {
        let Ok(digest) = subject.parse::<Digest>() else {
            return error(StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid, "not a digest");
        };
        let Some((mut entries, page)) = self.referrers(repository, digest) else {
            return error(StatusCode::NOT_FOUND, ErrorCode::Unsupported, "no referrers API here");
        };
        let wanted = parameter(query, "artifactType");
        entries.retain(|entry| wanted.as_deref().is_none_or(|wanted| entry["artifactType"] == wanted));
        let from = number(query, "from").unwrap_or(0).min(entries.len());
        let to = page.map_or(entries.len(), |page| (from + page).min(entries.len()));
        let index = referrers_index(&entries[from..to]);
        let mut answer = content(StatusCode::OK, &index.media_type, index.bytes);
        if wanted.is_some() {
            set(&mut answer, http::HeaderName::from_static("oci-filters-applied"), "artifactType");
        }
        if to < entries.len() {
            let kept = wanted.map_or_else(String::new, |wanted| {
                format!(
                    "&artifactType={}",
                    percent_encoding::utf8_percent_encode(&wanted, percent_encoding::NON_ALPHANUMERIC)
                )
            });
            set(&mut answer, LINK, &format!("</v2/{repository}/referrers/{subject}?from={to}{kept}>; rel=\"next\""));
        }
        answer
    }

    fn tags_answer(&self, repository: &str, query: &str) -> Response<Bytes> {
        let Some(tags) = self.tags(repository) else {
            return error(StatusCode::NOT_FOUND, ErrorCode::NameUnknown, "repository unknown");
        };
        let last = parameter(query, "last").unwrap_or_default();
        let n = number(query, "n").unwrap_or(TAGS_PAGE).min(TAGS_PAGE);
        let rest: Vec<_> = tags.iter().map(|tag| tag.as_str()).filter(|tag| *tag > last.as_str()).collect();
        let page = &rest[..n.min(rest.len())];
        let body = json!({ "name": repository, "tags": page }).to_string();
        let mut answer = content(StatusCode::OK, "application/json", body.into());
        if let Some(last) = page.last().filter(|_| page.len() < rest.len()) {
            set(&mut answer, LINK, &format!("</v2/{repository}/tags/list?n={n}&last={last}>; rel=\"next\""));
        }
        answer
    }
}

fn content(status: StatusCode, media_type: &str, body: Bytes) -> Response<Bytes> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, media_type);
    set(&mut answer, http::HeaderName::from_static("docker-distribution-api-version"), "registry/2.0");
    answer
}

fn error(status: StatusCode, code: ErrorCode, message: &str) -> Response<Bytes> {
    content(status, "application/json", error_body(code, message).into())
}

fn partial(bytes: &Bytes, range: ByteRange) -> Response<Bytes> {
    let inside = |offset: u64| usize::try_from(offset).expect("an offset into bytes in memory");
    let body = bytes.slice(inside(range.start)..inside(range.end));
    let mut answer = content(StatusCode::PARTIAL_CONTENT, "application/octet-stream", body);
    set(&mut answer, CONTENT_RANGE, &format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len()));
    answer
}

fn with_digest(mut answer: Response<Bytes>, digest: Digest) -> Response<Bytes> {
    set(&mut answer, http::HeaderName::from_static("docker-content-digest"), &digest.to_string());
    set(&mut answer, ACCEPT_RANGES, "bytes");
    answer
}

/// Leaves a header out that cannot be one (media types and names come from whoever filled the shelf).
fn set(answer: &mut Response<Bytes>, name: http::HeaderName, value: &str) {
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(name, value);
    }
}

fn parameter(query: &str, key: &str) -> Option<String> {
    url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
}

fn number(query: &str, key: &str) -> Option<usize> {
    parameter(query, key)?.parse().ok()
}
