//! One line for each request, written when its last byte left or its client did.
//!
//! Never holds credentials: of the request's headers only the user agent is read. What goes to
//! metrics is bounded by the configuration, not by what clients ask.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode, header::USER_AGENT};
use tokio::time::Instant;

use crate::oci::{Digest, Registry};

use super::route::Route;

/// The status of a request whose client left before there was an answer (nginx's number for it).
pub const CLIENT_LEFT: u16 = 499;

/// Longest user agent in a line. dockerd's has some 190 characters, the last of them about its kernel.
const USER_AGENT_MAX: usize = 120;

/// Is told of each request when it is over. Must be quick: it runs on the connection's task.
pub type RequestSink = Arc<dyn Fn(&Finished<'_>) + Send + Sync>;

/// A request that is over. Every text is one of a few, so each may be a metric's label.
#[derive(Clone, Debug)]
pub struct Finished<'a> {
    /// `ping`, `manifest`, `blob`, `tags`, `referrers`, or `other` for what is not offered.
    pub kind: &'static str,
    /// `GET`, `HEAD` or `other`.
    pub method: &'static str,
    /// The status, or [`CLIENT_LEFT`].
    pub status: u16,
    /// The upstream, always a configured one.
    pub registry: Option<&'a Registry>,
    /// The verdict's outcome, where there is one.
    pub verdict: Option<&'static str>,
    /// Why it was, or in audit mode would have been, refused.
    pub reason: Option<&'static str>,
    /// The rule that decided.
    pub rule: Option<&'a str>,
    /// Where the content came from.
    pub cache: Option<&'static str>,
    /// Bytes of the body that were handed to the connection.
    pub bytes: u64,
    /// Whether that was all of them.
    pub complete: bool,
    /// From the request's head to the end.
    pub duration: Duration,
}

/// What an answer says about itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    pub(super) digest: Option<Digest>,
    pub(super) verdict: Option<&'static str>,
    pub(super) reason: Option<&'static str>,
    pub(super) rule: Option<String>,
    pub(super) cache: Option<&'static str>,
}

/// The line of one request. Writes itself when it is dropped, so none is forgotten.
pub(super) struct AccessLine {
    sink: Option<RequestSink>,
    written: bool,
    started: Instant,
    client: IpAddr,
    user_agent: String,
    method: &'static str,
    kind: &'static str,
    image: Option<String>,
    registry: Option<Registry>,
    status: u16,
    facts: Facts,
    expected: u64,
    sent: u64,
}

impl AccessLine {
    /// A request has arrived. It is logged only if `written`, but the sink is always told.
    pub(super) fn begin(request: &Parts, client: IpAddr, written: bool, sink: Option<RequestSink>) -> Self {
        let user_agent = request.headers.get(USER_AGENT).filter(|_| written);
        let user_agent = user_agent.map(|value| printable(value.as_bytes())).unwrap_or_default();
        let method = match request.method {
            Method::GET => "GET",
            Method::HEAD => "HEAD",
            _ => "other",
        };
        Self {
            sink,
            written,
            started: Instant::now(),
            client: client.to_canonical(),
            user_agent,
            method,
            kind: "other",
            image: None,
            registry: None,
            status: CLIENT_LEFT,
            facts: Facts::default(),
            expected: 0,
            sent: 0,
        }
    }

    /// The request was understood.
    pub(super) fn asked(&mut self, route: &Route) {
        self.kind = route.kind();
        self.image = self.written.then(|| route.image()).flatten();
        self.registry = route.repository().map(|repository| repository.registry().clone());
    }

    /// There is an answer, whose body has `expected` bytes.
    pub(super) fn answered(&mut self, status: StatusCode, facts: Facts, expected: u64) {
        (self.status, self.facts, self.expected) = (status.as_u16(), facts, expected);
    }

    /// Bytes were handed to the connection.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }
}

impl Drop for AccessLine {
    fn drop(&mut self) {
        let finished = Finished {
            kind: self.kind,
            method: self.method,
            status: self.status,
            registry: self.registry.as_ref(),
            verdict: self.facts.verdict,
            reason: self.facts.reason,
            rule: self.facts.rule.as_deref(),
            cache: self.facts.cache,
            bytes: self.sent,
            complete: self.status != CLIENT_LEFT && self.sent == self.expected,
            duration: self.started.elapsed(),
        };
        if let Some(sink) = &self.sink {
            sink(&finished);
        }
        if self.written {
            // Texts are recorded as strings, which every format of the log quotes.
            tracing::info!(
                target: "assay::access",
                client = %self.client,
                user_agent = self.user_agent.as_str(),
                method = finished.method,
                kind = finished.kind,
                image = self.image.as_deref(),
                digest = self.facts.digest.map(tracing::field::display),
                status = finished.status,
                verdict = finished.verdict,
                reason = finished.reason,
                rule = finished.rule,
                cache = finished.cache,
                bytes = finished.bytes,
                complete = finished.complete,
                duration_ms = u64::try_from(finished.duration.as_millis()).unwrap_or(u64::MAX),
                "request"
            );
        }
    }
}

/// Untrusted bytes as plain ASCII of bounded length.
fn printable(bytes: &[u8]) -> String {
    let plain = |c: char| c == ' ' || c.is_ascii_graphic();
    let cut = String::from_utf8_lossy(bytes).chars().take(USER_AGENT_MAX).collect::<String>();
    let mut text = String::with_capacity(cut.len());
    for c in cut.chars() {
        if plain(c) { text.push(c) } else { text.extend(c.escape_default()) }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn request(user_agent: &[u8]) -> Parts {
        let agent = http::HeaderValue::from_bytes(user_agent).unwrap();
        let request = http::Request::get("/v2/").header(USER_AGENT, agent).header("authorization", "Basic c2VjcmV0");
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_line_tells_all_but_the_credentials_and_cannot_be_forged() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .without_time()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            let agent = "docker/28 \" status=200 \t \u{85}x";
            let mut line =
                AccessLine::begin(&request(agent.as_bytes()), "::ffff:10.0.0.7".parse().unwrap(), true, None);
            let repository = "ghcr.io/acme/app".parse().unwrap();
            line.asked(&Route::Manifest { repository, reference: "1.0".parse().unwrap() });
            let facts = Facts {
                verdict: Some("refused"),
                reason: Some("NO_SIGNATURE"),
                rule: Some("acme \"prod\"".to_owned()),
                ..Facts::default()
            };
            line.answered(StatusCode::FORBIDDEN, facts, 10);
            line.sent(10);
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let (text, duration) = text.rsplit_once('=').unwrap();
        assert!(duration.trim_end().parse::<u64>().is_ok());
        insta::assert_snapshot!(text, @r#" INFO assay::access: request client=10.0.0.7 user_agent="docker/28 \" status=200 \\t \\u{85}x" method="GET" kind="manifest" image="ghcr.io/acme/app:1.0" status=403 verdict="refused" reason="NO_SIGNATURE" rule="acme \"prod\"" bytes=10 complete=true duration_ms"#);
    }

    #[test]
    fn a_client_that_leaves_early_is_seen() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink: RequestSink = {
            let seen = Arc::clone(&seen);
            Arc::new(move |f: &Finished<'_>| seen.lock().unwrap().push((f.kind, f.status, f.bytes, f.complete)))
        };
        let client = "10.0.0.7".parse().unwrap();
        drop(AccessLine::begin(&request(b"x"), client, false, Some(Arc::clone(&sink))));
        let mut cut = AccessLine::begin(&request(b"x"), client, false, Some(sink));
        cut.answered(StatusCode::OK, Facts::default(), 10);
        cut.sent(9);
        drop(cut);
        assert_eq!(*seen.lock().unwrap(), [("other", CLIENT_LEFT, 0, false), ("other", 200, 9, false)]);
    }

    #[test]
    fn user_agents_are_cut_and_plain() {
        assert_eq!(printable("a\u{1b}[31m é".as_bytes()), "a\\u{1b}[31m \\u{e9}");
        assert_eq!(printable(&[b'a'; 500]).len(), USER_AGENT_MAX);
    }
}
