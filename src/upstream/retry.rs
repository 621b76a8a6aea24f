//! Which failures are worth another try, how long to wait before it, and when to give up.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use http::HeaderMap;
use http::header::{DATE, RETRY_AFTER};

use super::error::{Asked, UpstreamError, in_full};

/// Longest time for one call until its answer is read (of a blob: until its headers came), with all
/// redirects, logins and retries. A client that waits longer has left.
pub(super) const CALL_MAX: Duration = Duration::from_secs(30);
/// Longest `Retry-After` that we wait for; longer ones are the caller's to pass on.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(5);
/// First wait; doubles each time, plus up to as much again by chance, so that a crowd spreads out.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const DELAY_MAX: Duration = Duration::from_secs(3);
/// Longest `Retry-After` that we believe.
const BELIEVED_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Runs `attempt` until it succeeds, fails for good, or was repeated `retries` times; for `longest` at most.
///
/// An upstream that is known to fail is not waited for: then the first attempt's answer counts. What began while it
/// still answered goes on, since it may have been a bad moment; it goes out no more often than the circuit lets it.
///
/// # Errors
/// The last attempt's that was made, or [`UpstreamError::TimedOut`]. Cancel safe if `attempt` is.
pub(super) async fn run<T, F: Future<Output = Result<T, UpstreamError>>>(
    asked: &Asked,
    retries: u32,
    longest: Duration,
    attempt: impl Fn() -> F,
) -> Result<T, UpstreamError> {
    let mut delays = ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(DELAY_MAX)
        .with_max_times(usize::try_from(retries).unwrap_or(usize::MAX))
        .with_jitter()
        .build();
    let tries = async {
        let mut made: Option<UpstreamError> = None;
        loop {
            let error = match (attempt().await, made.take()) {
                (Ok(done), _) => return Ok(done),
                (Err(UpstreamError::Suspended { .. }), Some(made)) => made,
                (Err(error @ UpstreamError::Suspended { .. }), None) => return Err(error),
                (Err(error), _) => error,
            };
            let Some(delay) = delays.next().and_then(|backoff| delay(&error, backoff)) else {
                return Err(error);
            };
            tracing::debug!(cause = in_full(&error), delay_ms = delay.as_millis(), "upstream failed, trying again");
            made = Some(error);
            tokio::time::sleep(delay).await;
        }
    };
    match tokio::time::timeout(longest, tries).await {
        Ok(done) => done,
        Err(_) => Err(UpstreamError::TimedOut { asked: asked.clone() }),
    }
}

/// How long to wait before trying again; `None` if that is pointless or too long.
pub(super) fn delay(error: &UpstreamError, backoff: Duration) -> Option<Duration> {
    let passes = match error {
        UpstreamError::Unreachable { .. }
        | UpstreamError::TimedOut { .. }
        | UpstreamError::Cut { .. }
        | UpstreamError::RateLimited { .. } => true,
        UpstreamError::Unavailable { status, .. } => matches!(status, 500 | 502 | 503 | 504),
        _ => false,
    };
    match error.retry_after() {
        Some(wanted) if wanted > RETRY_AFTER_MAX => None,
        Some(wanted) => passes.then(|| wanted.max(backoff)),
        None => passes.then_some(backoff),
    }
}

/// Reads `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date. A date is taken relative to the
/// answer's own `Date`, so that no clock of ours is needed and none can be wrong.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(BELIEVED_MAX));
    }
    let date = |text: &str| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok();
    let now = date(headers.get(DATE)?.to_str().ok()?.trim())?;
    let wait = date(text)?.duration_since(now);
    Some(Duration::try_from(wait).unwrap_or(Duration::ZERO).min(BELIEVED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &str, date: Option<&str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        if let Some(date) = date {
            headers.insert(DATE, date.parse().unwrap());
        }
        retry_after(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn both_forms_are_read() {
        assert_eq!(read("120", None), Some(120));
        assert_eq!(read(" 0 ", None), Some(0));
        assert_eq!(read("99999999999999999999999", None), Some(86_400));
        let date = Some("Sun, 06 Nov 1994 08:49:00 GMT");
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT", date), Some(37));
        assert_eq!(read("Sun, 06 Nov 1994 08:48:37 GMT", date), Some(0), "in the past");
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT", None), None, "no date to compare with");
        for bad in ["", "-1", "1.5", "soon", "+1"] {
            assert_eq!(read(bad, date), None, "{bad}");
        }
    }

    #[test]
    fn only_passing_failures_are_tried_again() {
        let asked = Asked::new("x", "h");
        let unavailable = |status, seconds: Option<u64>| UpstreamError::Unavailable {
            asked: asked.clone(),
            status,
            retry_after: seconds.map(Duration::from_secs),
        };
        let backoff = Duration::from_millis(7);
        for status in [500, 502, 503, 504] {
            assert_eq!(delay(&unavailable(status, None), backoff), Some(backoff));
        }
        assert_eq!(delay(&unavailable(501, None), backoff), None);
        assert_eq!(delay(&unavailable(400, Some(1)), backoff), None);
        assert_eq!(delay(&unavailable(503, Some(5)), backoff), Some(Duration::from_secs(5)));
        assert_eq!(delay(&unavailable(503, Some(6)), backoff), None);
        assert_eq!(delay(&unavailable(503, Some(0)), backoff), Some(backoff), "no hammering");
        assert_eq!(delay(&UpstreamError::TimedOut { asked: asked.clone() }, backoff), Some(backoff));
        assert_eq!(delay(&UpstreamError::NotFound { asked: asked.clone() }, backoff), None);
        assert_eq!(delay(&UpstreamError::Lied { asked, lie: String::new() }, backoff), None);
    }

    #[tokio::test]
    async fn a_call_ends() {
        let asked = Asked::new("x", "h");
        let longest = Duration::from_millis(20);
        let never = run(&asked, 3, longest, std::future::pending::<Result<(), UpstreamError>>).await;
        assert!(matches!(never, Err(UpstreamError::TimedOut { .. })));
    }

    proptest! {
        #[test]
        fn no_header_panics(value in "[ -~]{0,40}", date in "[ -~]{0,40}") {
            read(&value, Some(&date));
        }
    }
}
