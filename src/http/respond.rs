//! What the puller found or refused becomes a response. The only table of status codes.
//!
//! A refusal is always 403, with its reason in the body, in a header and in the status line: 401 makes
//! docker ask for a password, 404 hides the policy, 429 and 5xx are tried again. "Could not check" is
//! always 503, never a refusal.

use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::oci::{Digest, ErrorCode, error_body};
use crate::pull::{Answer, PullError, Refusal};

use super::access::Facts;
use super::conditional;
use super::pages::JSON;
use super::reply::{Reply, ascii};
use super::route::{Route, RouteError};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const VERDICT: HeaderName = HeaderName::from_static("assay-verdict");
const CACHE: HeaderName = HeaderName::from_static("assay-cache");
const DENIAL_REASON: HeaderName = HeaderName::from_static("assay-denial-reason");

/// When to come back if nobody said.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Longest text in a status line that every client prints whole.
const PHRASE_MAX: usize = 120;
/// Longest message in an error's body.
const MESSAGE_MAX: usize = 2000;

/// Content. The request's conditions are looked at only now, behind the gate.
pub(super) fn content(answer: Answer, route: &Route, conditions: &HeaderMap) -> Reply {
    let Answer { servable, cache } = answer;
    let verdict = servable.verdict();
    let would_be = verdict.refusal().map(|(reason, _)| reason.code());
    let facts = Facts {
        digest: Some(servable.claim().digest),
        verdict: Some(verdict.outcome()),
        reason: would_be,
        rule: Some(verdict.rule.clone()),
        cache: Some(cache.as_str()),
    };
    let digest = servable.claim().digest;
    let reply = match conditional::is_held(conditions, digest) {
        true => Reply::not_modified(),
        false => Reply::content(servable),
    };
    let reply = match route {
        Route::Blob { .. } => reply.with(header::ACCEPT_RANGES, HeaderValue::from_static("bytes")),
        _ => reply,
    };
    reply
        .with_text(CONTENT_DIGEST, &digest.to_string())
        .with_text(header::ETAG, &conditional::entity_tag(digest))
        .with_text(CACHE, cache.as_str())
        .with_verdict(facts)
}

/// Why there is none. `deny_reason` puts the reason for a refusal into the status line.
pub(super) fn pull_error(error: &PullError, route: &Route, deny_reason: bool) -> Reply {
    match error {
        PullError::Refused(refusal) => refused(refusal, deny_reason),
        PullError::CouldNotCheck { image, detail, retry_after, verdict } => {
            let message = format!("could not check {image}: {detail}: not a refusal; try again");
            let rule = verdict.as_ref().map(|verdict| verdict.rule.clone());
            error_reply(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, &message)
                .with(header::RETRY_AFTER, seconds(retry_after.unwrap_or(RETRY_AFTER)))
                .with_verdict(Facts { verdict: Some("unknown"), rule, ..Facts::default() })
        }
        PullError::UnknownRegistry(registry) => route_error(&RouteError::UnknownRegistry(registry.clone())),
        PullError::NotFound { .. } => {
            let code = match route {
                Route::Blob { .. } => ErrorCode::BlobUnknown,
                Route::Manifest { .. } => ErrorCode::ManifestUnknown,
                Route::Tags(_) | Route::Referrers { .. } | Route::Ping => ErrorCode::NameUnknown,
            };
            error_reply(StatusCode::NOT_FOUND, code, &error.to_string())
        }
        PullError::Upstream { retry_after: Some(wait), .. } => {
            error_reply(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, &error.to_string())
                .with(header::RETRY_AFTER, seconds(*wait))
        }
        PullError::Upstream { .. } | PullError::BadContent { .. } => {
            error_reply(StatusCode::BAD_GATEWAY, ErrorCode::Unavailable, &error.to_string())
        }
        PullError::Range { size } => {
            error_reply(StatusCode::RANGE_NOT_SATISFIABLE, ErrorCode::RangeInvalid, &error.to_string())
                .with_text(header::CONTENT_RANGE, &format!("bytes */{size}"))
        }
        // Paths and such are for the log.
        PullError::Internal(_) => internal(),
    }
}

/// Why a request is none that we answer.
pub(super) fn route_error(error: &RouteError) -> Reply {
    let (status, code) = match error {
        RouteError::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, ErrorCode::Unsupported),
        RouteError::Name(_) | RouteError::Escape | RouteError::NoRepository => {
            (StatusCode::BAD_REQUEST, ErrorCode::NameInvalid)
        }
        RouteError::Digest(_) => (StatusCode::BAD_REQUEST, ErrorCode::DigestInvalid),
        RouteError::Reference(_) => (StatusCode::BAD_REQUEST, ErrorCode::ManifestInvalid),
        RouteError::Query(_) | RouteError::Host => (StatusCode::BAD_REQUEST, ErrorCode::Unsupported),
        RouteError::UnknownRegistry(_) => (StatusCode::NOT_FOUND, ErrorCode::NameUnknown),
    };
    let reply = error_reply(status, code, &error.to_string());
    match error {
        RouteError::Unsupported => reply.with(header::ALLOW, HeaderValue::from_static("GET, HEAD")),
        _ => reply,
    }
}

/// Something in here is broken; the log says what.
pub(super) fn internal() -> Reply {
    let message = "internal error; the log of this proxy says which";
    error_reply(StatusCode::INTERNAL_SERVER_ERROR, ErrorCode::Unavailable, message)
}

/// As much as we hold of lists waits for clients that take it slowly.
pub(super) fn busy() -> Reply {
    let message = "too many large lists wait to be taken by their clients; try again";
    error_reply(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable, message)
        .with(header::RETRY_AFTER, seconds(RETRY_AFTER))
}

/// This client has as many requests open as it may while others want some. Without a body: whoever takes nothing of
/// its answers would have us hold that, too.
pub(super) fn crowded() -> Reply {
    Reply::empty(StatusCode::SERVICE_UNAVAILABLE).with(header::RETRY_AFTER, seconds(RETRY_AFTER))
}

fn refused(refusal: &Refusal, deny_reason: bool) -> Reply {
    let facts = Facts {
        verdict: Some("refused"),
        reason: Some(refusal.reason.code()),
        rule: refusal.rule.clone(),
        ..Facts::default()
    };
    let reply = error_reply(StatusCode::FORBIDDEN, ErrorCode::Denied, &refusal.to_string())
        .with_text(DENIAL_REASON, refusal.reason.code())
        .with_verdict(facts);
    if deny_reason { reply.with_phrase(&phrase(refusal)) } else { reply }
}

/// The refusal in one short line: containerd asks with HEAD and shows its users nothing else.
fn phrase(refusal: &Refusal) -> String {
    let rule = refusal.rule.as_ref().map_or("no rule".to_owned(), |rule| format!("rule {}", ascii(rule, 24)));
    let start = format!("assay: {}: ", refusal.reason.code());
    let end = format!(" ({rule})");
    // Of a digest, twelve characters tell it apart; of a long name, the end does.
    let asked = match refusal.asked.parse::<Digest>() {
        Ok(digest) => format!("@sha256:{}", &digest.hex()[..12]),
        Err(_) => format!(":{}", ascii(&refusal.asked, 30)),
    };
    let image = format!("{}{asked}", ascii(&refusal.repository.to_string(), usize::MAX));
    let room = PHRASE_MAX.saturating_sub(start.len() + end.len());
    if image.len() <= room {
        return format!("{start}{image}{end}");
    }
    let tail = &image[image.len() - room.saturating_sub(2)..];
    format!("{start}..{tail}{end}")
}

fn error_reply(status: StatusCode, code: ErrorCode, message: &str) -> Reply {
    Reply::page(status, JSON, error_body(code, &spoken(message)))
}

/// A message as people see it: starts with our name, is one line, and ends.
fn spoken(message: &str) -> String {
    let message = message.strip_prefix("assay: ").unwrap_or(message);
    let line: String = message.chars().take(MESSAGE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!("assay: {line}")
}

/// Whole seconds, rounded up, at least one.
fn seconds(wait: Duration) -> HeaderValue {
    HeaderValue::from(wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero()))
}

impl Reply {
    /// Tells the verdict, to the client and to the access line.
    fn with_verdict(self, facts: Facts) -> Self {
        let Some(outcome) = facts.verdict else { return self };
        let rule = facts.rule.as_ref().map(|rule| format!("; policy={rule}")).unwrap_or_default();
        let reason = facts.reason.map(|reason| format!("; reason={reason}")).unwrap_or_default();
        self.with_text(VERDICT, &format!("{outcome}{rule}{reason}")).with_facts(facts)
    }
}

#[cfg(test)]
mod tests;
