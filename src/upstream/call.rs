//! One call to an upstream: place, circuit, login, redirects, retries, deadline.

use std::future::Future;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout};
use url::Url;

use super::client::Client;
use super::error::{Asked, UpstreamError};
use super::guard::Purpose;
use super::redirect::{self, REDIRECTS_MAX};
use super::retry::{self, CALL_MAX};
use super::transport::{Answer, Request};
use crate::oci::Repository;

/// One question to an upstream, about one repository.
pub(super) struct Ask<'a> {
    pub(super) repository: &'a Repository,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: &'static str,
    pub(super) asked: Asked,
    /// Only the bytes from here on; who does not know ranges answers with all of them.
    pub(super) from: u64,
}

/// Why there is none.
struct Failed {
    error: UpstreamError,
    /// Not the registry itself failed, but where it sent us.
    elsewhere: bool,
}

/// An answer that is no redirect.
struct Landed {
    answer: Answer,
    /// Every step stayed on the upstream's own origin, so a challenge is really its own.
    at_home: bool,
}

impl Client {
    /// Asks, and reads the 200 with `read`; a failure of either is tried again where that makes sense.
    ///
    /// # Errors
    /// See [`UpstreamError`]; at the latest after [`CALL_MAX`]. Cancel safe.
    pub(super) async fn call<T, F>(
        &self,
        ask: &Ask<'_>,
        read: impl Fn(Answer) -> F + Send + Sync,
    ) -> Result<T, UpstreamError>
    where
        F: Future<Output = Result<T, UpstreamError>> + Send,
    {
        let started = Instant::now();
        let crowded = || UpstreamError::Crowded { asked: ask.asked.clone() };
        let _in_crowd = self.crowd.try_acquire().map_err(|_| crowded())?;
        let waited = timeout(CALL_MAX, self.requests.take(ask.repository)).await;
        let _place = waited.map_err(|_| UpstreamError::TimedOut { asked: ask.asked.clone() })?;
        let read = &read;
        let attempt = || async move { read(self.open(ask).await?).await };
        retry::run(&ask.asked, self.retries, CALL_MAX.saturating_sub(started.elapsed()), attempt).await
    }

    /// Like [`Client::call`], but leaves the body to the caller, and takes no place.
    pub(super) async fn call_for_stream(&self, ask: &Ask<'_>, longest: Duration) -> Result<Answer, UpstreamError> {
        retry::run(&ask.asked, self.retries, longest.min(CALL_MAX), || self.open(ask)).await
    }

    /// One attempt, when the upstream is not failing anyway. Only plain content comes back.
    async fn open(&self, ask: &Ask<'_>) -> Result<Answer, UpstreamError> {
        let pass = self.circuit.pass(ask.repository.path(), &ask.asked).await?;
        match self.logged_in(ask).await {
            Ok(answer) => {
                pass.answered();
                Ok(answer)
            }
            Err(Failed { error, elsewhere: true }) => {
                pass.answered();
                Err(error)
            }
            Err(Failed { error, elsewhere: false }) => {
                pass.ended(&error);
                Err(error)
            }
        }
    }

    /// Asks with a login where one is wanted.
    async fn logged_in(&self, ask: &Ask<'_>) -> Result<Answer, Failed> {
        let known = self.auth.known(ask.repository).await;
        let mut landed = self.follow(ask, known.as_ref().map(|grant| grant.header())).await?;
        if landed.answer.status() == StatusCode::UNAUTHORIZED && landed.at_home {
            if let Some(stale) = &known {
                self.auth.forget(ask.repository, stale).await;
            }
            // Without its token service a registry is of no use.
            let grant = self.auth.answer(ask.repository, landed.answer.asked(), landed.answer.headers()).await;
            let grant = grant.map_err(|error| Failed { error, elsewhere: false })?;
            drop(landed);
            landed = self.follow(ask, Some(grant.header())).await?;
            if landed.answer.status() == StatusCode::UNAUTHORIZED {
                self.auth.forget(ask.repository, &grant).await;
            }
        }
        let elsewhere = !landed.at_home;
        let answer = match landed.answer.status() {
            StatusCode::OK => landed.answer.refuse_encoded(),
            StatusCode::PARTIAL_CONTENT if ask.from > 0 => landed.answer.refuse_encoded(),
            StatusCode::UNAUTHORIZED if elsewhere => Err(UpstreamError::Unauthorized {
                asked: landed.answer.asked().clone(),
                why: "the redirect's target wants a login, but ours is for the registry itself only".to_owned(),
            }),
            _ => Err(landed.answer.refused()),
        };
        answer.map_err(|error| Failed { error, elsewhere })
    }

    /// Sends the question and follows redirects. The login stays behind at the first change of origin,
    /// for good: who sent us away may have sent us back with somebody else's question.
    async fn follow(&self, ask: &Ask<'_>, login: Option<&HeaderValue>) -> Result<Landed, Failed> {
        let mut url = ask.url.clone();
        let mut at_home = true;
        for _ in 0..=REDIRECTS_MAX {
            let request = Request {
                method: ask.method.clone(),
                url: &url,
                accept: Some(ask.accept),
                authorization: login.filter(|_| at_home),
                from: ask.from,
                purpose: Purpose::Redirect,
            };
            let sent = self.transport.send(&ask.asked, request).await;
            let answer = sent.map_err(|error| Failed { error, elsewhere: !at_home })?;
            if !redirect::is_redirect(answer.status()) {
                return Ok(Landed { answer, at_home });
            }
            let step = redirect::step(&self.guard, &url, answer.header(&http::header::LOCATION))
                .map_err(|why| UpstreamError::Blocked { asked: answer.asked().clone(), why })
                .map_err(|error| Failed { error, elsewhere: false })?;
            at_home &= step.same_origin;
            url = step.url;
        }
        let error = UpstreamError::Blocked {
            asked: ask.asked.clone(),
            why: format!("redirects more than {REDIRECTS_MAX} times"),
        };
        Err(Failed { error, elsewhere: true })
    }
}
