//! Spares an upstream that fails: while it does, a question goes out each 0.8 s, and the others fail at once.
//!
//! What counts is whether the registry answers at all. A 404, a 403, a redirect are answers; no connection, silence,
//! 429 and 5xx are not. One repository that fails holds up itself only: the whole registry is spared when it cannot
//! be reached or limits us, or when several repositories fail and none is answered in between.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::error::{Asked, UpstreamError};

/// Failures in a row before questions are held back: more than one call makes with its retries, so that one bad
/// moment is none.
const FAILURES: u32 = 5;
/// From how many repositories failures have to come before all are held back, unless the cause is common to all.
const REPOSITORIES: u32 = 2;
/// One question per such time goes out while it fails. So long after it has healed, at most, that is noticed: a little less
/// than a second, so that the first pull then is right within one, its own time included.
const PROBE_EVERY: Duration = Duration::from_millis(800);
/// By so much a repository that was not tried yet comes before those that were, so that these do not take every turn.
const HEAD_START: Duration = Duration::from_millis(100);
/// How long a question waits for its turn, or for the success of another's, before it fails.
const WAIT: Duration = PROBE_EVERY;
/// A failure that is younger may be a restart: so long questions wait, as they would between retries.
const BLIP: Duration = Duration::from_secs(3);
/// A question that was given up after so long without an answer counts as one that failed.
pub(super) const SILENT_AFTER: Duration = Duration::from_secs(5);
/// How long a question may take where something else can be answered. Registries answer within a second, and who
/// pulls has not left by then.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same when the one before has run out, and how long nobody waits at all then.
const PATIENCE_AGAIN: Duration = Duration::from_secs(1);
/// Most repositories of which failures are remembered; beyond, all are forgotten, which costs some questions.
const REMEMBERED: usize = 4096;

/// What is known about how one upstream answers.
pub(super) struct Circuit {
    registry: String,
    state: Mutex<State>,
    answered: Notify,
}

#[derive(Default)]
struct State {
    /// Failures in a row, of whatever repository.
    failures: u32,
    /// How many repositories they are from.
    failing: u32,
    /// Counts the answers: a failure belongs to the row that began with one.
    row: u64,
    open: Option<Open>,
    repositories: HashMap<String, Repository>,
}

/// One repository that was not answered lately.
#[derive(Default)]
struct Repository {
    failures: u32,
    row: u64,
    open: Option<Open>,
    /// Since when nobody waits long for it.
    quiet: Option<Instant>,
}

/// Questions are held back.
#[derive(Clone)]
struct Open {
    since: Instant,
    last_probe: Instant,
    why: &'static str,
    /// What upstream asked for, if it did.
    not_before: Option<Instant>,
}

/// Leave for one question. How it ended must be told; what is dropped after a long wait counts as failed.
pub(super) struct Pass<'a> {
    circuit: &'a Circuit,
    repository: &'a str,
    started: Instant,
    told: bool,
}

impl Circuit {
    pub(super) fn new(registry: impl ToString) -> Self {
        Self { registry: registry.to_string(), state: Mutex::default(), answered: Notify::new() }
    }

    /// Leave to ask about a repository: at once, or when it is its turn, or when another was answered. Cancel safe.
    ///
    /// # Errors
    /// `Suspended`, after about a second at most (while the failure is young, 3).
    pub(super) async fn pass<'a>(&'a self, repository: &'a str, asked: &Asked) -> Result<Pass<'a>, UpstreamError> {
        let arrived = Instant::now();
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            let (open, turn) = match self.state().turn(repository, Instant::now()) {
                Ok(()) => return Ok(Pass { circuit: self, repository, started: Instant::now(), told: false }),
                Err(held) => held,
            };
            let end = (arrived + WAIT).max(open.since + BLIP);
            if Instant::now() >= end {
                return Err(open.error(asked));
            }
            // Whoever was answered woke us, or it may be our turn, or it is over: all that is seen above.
            let _ = timeout_at(turn.min(end), answered).await;
        }
    }

    /// How long somebody should wait for an answer about a repository who could also do with an older one. Nothing
    /// at all while others have just failed: that is at most a second ago.
    pub(super) fn patience(&self, repository: &str) -> Duration {
        let (state, now) = (self.state(), Instant::now());
        if let Some((_, turn)) = state.held(repository) {
            return if turn <= now { PATIENCE_AGAIN } else { Duration::ZERO };
        }
        match state.repositories.get(repository).and_then(|known| known.quiet) {
            Some(since) if now < since + PATIENCE_AGAIN => Duration::ZERO,
            Some(_) => PATIENCE_AGAIN,
            None => PATIENCE,
        }
    }

    /// Somebody's patience ran out.
    pub(super) fn was_quiet(&self, repository: &str) {
        self.state().repository(repository).quiet = Some(Instant::now());
    }

    /// Whether questions about everything are held back.
    pub(super) fn is_open(&self) -> bool {
        self.state().open.is_some()
    }

    fn note_answer(&self, repository: &str) {
        let mut state = self.state();
        if state.failures == 0 && state.repositories.is_empty() {
            return;
        }
        let own = state.repositories.remove(repository).and_then(|known| known.open);
        (state.failures, state.failing, state.row) = (0, 0, state.row.wrapping_add(1));
        let open = state.open.take();
        drop(state);
        if let Some(open) = open {
            tracing::info!(
                registry = self.registry,
                failed_for_s = open.since.elapsed().as_secs(),
                "upstream answers again"
            );
        } else if own.is_none() {
            return;
        }
        self.answered.notify_waiters();
    }

    fn note_failure(&self, repository: &str, failure: &Failure) {
        let mut state = self.state();
        if let Some(open) = state.fail(repository, failure, Instant::now()) {
            drop(state);
            tracing::warn!(
                registry = self.registry,
                why = open.why,
                "upstream fails; a question goes out each 0.8 s until it answers again, what is cached is served"
            );
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a question failed.
struct Failure {
    why: &'static str,
    /// It would have failed for every repository.
    is_common: bool,
    retry_after: Option<Duration>,
}

impl State {
    /// What holds a question back, and when it may go.
    fn held(&self, repository: &str) -> Option<(&Open, Instant)> {
        let known = self.repositories.get(repository);
        let was_tried = known.is_some_and(|known| known.failures > 0 && known.row == self.row);
        let after = if was_tried { PROBE_EVERY } else { PROBE_EVERY - HEAD_START };
        let own = known.and_then(|known| known.open.as_ref());
        let open = self.open.as_ref().or(own)?;
        Some((open, open.last_probe + after))
    }

    /// Takes a turn, if it is one.
    fn turn(&mut self, repository: &str, now: Instant) -> Result<(), (Open, Instant)> {
        if let Some((open, turn)) = self.held(repository)
            && now < turn
        {
            return Err((open.clone(), turn));
        }
        let own = self.repositories.get_mut(repository).and_then(|known| known.open.as_mut());
        for open in self.open.as_mut().into_iter().chain(own) {
            open.last_probe = now;
        }
        Ok(())
    }

    /// One more failure. Returns what it opened for all.
    fn fail(&mut self, repository: &str, failure: &Failure, now: Instant) -> Option<Open> {
        let open = Open {
            since: now,
            last_probe: now,
            why: failure.why,
            not_before: failure.retry_after.map(|wait| now + wait),
        };
        let row = self.row;
        let known = self.repository(repository);
        let is_first = known.failures == 0 || known.row != row;
        known.row = row;
        known.failures = known.failures.saturating_add(1);
        known.failed(open.clone(), FAILURES);
        self.failures = self.failures.saturating_add(1);
        self.failing += u32::from(is_first);
        if let Some(already) = &mut self.open {
            (already.why, already.not_before) = (open.why, open.not_before);
            return None;
        }
        let opens = self.failures >= FAILURES && (failure.is_common || self.failing >= REPOSITORIES);
        self.open = opens.then_some(open);
        self.open.clone()
    }

    fn repository(&mut self, repository: &str) -> &mut Repository {
        if self.repositories.len() >= REMEMBERED && !self.repositories.contains_key(repository) {
            self.repositories.clear();
        }
        self.repositories.entry(repository.to_owned()).or_default()
    }
}

impl Repository {
    fn failed(&mut self, open: Open, failures: u32) {
        match &mut self.open {
            Some(already) => (already.why, already.not_before) = (open.why, open.not_before),
            None if self.failures >= failures => self.open = Some(open),
            None => {}
        }
    }
}

impl Open {
    fn error(&self, asked: &Asked) -> UpstreamError {
        let now = Instant::now();
        let wanted = self.not_before.map(|at| at.saturating_duration_since(now));
        UpstreamError::Suspended {
            asked: asked.clone(),
            why: self.why,
            retry_after: wanted.unwrap_or_default().max(Duration::from_secs(1)),
        }
    }
}

impl Pass<'_> {
    /// The registry answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.told = true;
        self.circuit.note_answer(self.repository);
    }

    /// The question ended with an error. Not every error says something about the registry.
    pub(super) fn ended(mut self, error: &UpstreamError) {
        let is_common = matches!(error, UpstreamError::Unreachable { .. } | UpstreamError::RateLimited { .. });
        match error.away() {
            Some(why) => {
                self.told = true;
                let failure = Failure { why, is_common, retry_after: error.retry_after() };
                self.circuit.note_failure(self.repository, &failure);
            }
            // Our own rules: where it sent us, we do not go.
            None if matches!(error, UpstreamError::Blocked { .. }) => {}
            None => self.answered(),
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if !self.told && self.started.elapsed() >= SILENT_AFTER {
            let failure = Failure { why: "it does not answer", is_common: false, retry_after: None };
            self.circuit.note_failure(self.repository, &failure);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn asked() -> Asked {
        Asked::new("tag", "reg.example")
    }

    fn unreachable() -> UpstreamError {
        UpstreamError::Unreachable { asked: asked(), source: std::sync::Arc::new(std::io::Error::other("refused")) }
    }

    fn unavailable() -> UpstreamError {
        UpstreamError::Unavailable { asked: asked(), status: 503, retry_after: None }
    }

    impl Circuit {
        /// A question that goes out at once and ends so.
        fn fails(&self, repository: &str, error: &UpstreamError) {
            self.passes(repository).expect("not held back").ended(error);
        }

        fn passes<'a>(&'a self, repository: &'a str) -> Option<Pass<'a>> {
            self.pass(repository, &asked()).now_or_never()?.ok()
        }

        fn is_held(&self, repository: &str) -> bool {
            self.state().held(repository).is_some()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_be_reached_is_asked_each_0_8_seconds() {
        let circuit = Circuit::new("reg.example");
        for n in 0..FAILURES {
            assert!(!circuit.is_open(), "after {n}");
            circuit.fails("app", &unreachable());
        }
        assert!(circuit.is_open());
        let (started, mut out) = (Instant::now(), 0);
        // A crowd for three repositories, for a minute.
        while started.elapsed() < Duration::from_secs(60) {
            let crowd = (0..30).map(|n| async move { ["app", "api", "web"][n % 3] });
            for repository in crowd {
                let repository = repository.await;
                if let Some(pass) = circuit.passes(repository) {
                    out += 1;
                    pass.ended(&unreachable());
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!((72..=78).contains(&out), "{out} questions in a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_let_through_by_the_first_answer() {
        let circuit = Circuit::new("reg.example");
        (0..FAILURES).for_each(|_| circuit.fails("app", &unreachable()));
        tokio::time::sleep(BLIP).await;
        let probe = circuit.passes("app").expect("its turn");
        let asked = asked();
        let mut waiting = Box::pin(circuit.pass("app", &asked));
        assert!((&mut waiting).now_or_never().is_none());
        probe.answered();
        assert!(waiting.now_or_never().is_some_and(|pass| pass.is_ok()));
        assert!(!circuit.is_open() && circuit.passes("api").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_in_vain_hears_why_within_a_second() {
        let circuit = Circuit::new("reg.example");
        let limited = UpstreamError::RateLimited { asked: asked(), retry_after: Some(Duration::from_secs(3600)) };
        (0..FAILURES).for_each(|_| circuit.fails("app", &limited));
        tokio::time::sleep(BLIP).await;
        let _probe = circuit.passes("app").expect("its turn");
        let (started, asked) = (Instant::now(), asked());
        let (next, other) = tokio::join!(circuit.pass("app", &asked), circuit.pass("app", &asked));
        assert_eq!(started.elapsed(), WAIT);
        assert!(next.is_ok() != other.is_ok(), "one of both has the next turn, the other has not");
        let error = next.err().or(other.err()).expect("one failed");
        assert!(error.to_string().contains("too many requests"), "{error}");
        assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(3500)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repository_that_fails_holds_up_itself_only() {
        let circuit = Circuit::new("reg.example");
        (0..100 * FAILURES).for_each(|_| {
            if let Some(pass) = circuit.passes("broken") {
                pass.ended(&unavailable());
            }
        });
        assert!(circuit.is_held("broken") && !circuit.is_open());
        assert!(!circuit.is_held("app"));
        circuit.passes("app").unwrap().answered();
        assert!(circuit.is_held("broken"), "another's answer does not heal it");
        tokio::time::sleep(PROBE_EVERY).await;
        circuit.passes("broken").expect("its turn").answered();
        assert!(!circuit.is_held("broken"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_repository_that_was_not_tried_comes_before_those_that_fail() {
        let circuit = Circuit::new("reg.example");
        (0..FAILURES).for_each(|n| circuit.fails(["bad", "worse"][n as usize % 2], &unavailable()));
        assert!(circuit.is_open(), "two repositories fail, and none was answered");
        tokio::time::sleep(PROBE_EVERY - HEAD_START).await;
        assert!(circuit.passes("bad").is_none() && circuit.passes("worse").is_none());
        circuit.passes("good").expect("its turn").answered();
        assert!(!circuit.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_in_between_and_what_is_no_failure_hold_nobody_back() {
        let circuit = Circuit::new("reg.example");
        let limited = UpstreamError::RateLimited { asked: asked(), retry_after: None };
        let answers = [
            UpstreamError::NotFound { asked: asked() },
            UpstreamError::Forbidden { asked: asked() },
            UpstreamError::Unavailable { asked: asked(), status: 400, retry_after: None },
        ];
        for n in 0..100 {
            let repository = format!("app-{n}");
            circuit.fails(&repository, if n % 2 == 0 { &limited } else { &answers[n % 3] });
            circuit.fails("app", &answers[n % 3]);
        }
        assert!(!circuit.is_open() && !circuit.is_held("app"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_given_up_after_a_long_silence_failed() {
        let circuit = Circuit::new("reg.example");
        for _ in 0..FAILURES {
            drop(circuit.passes("app"));
        }
        assert!(!circuit.is_held("app"), "whoever asked left at once");
        let silent: Vec<_> = (0..FAILURES).map(|_| circuit.passes("app")).collect();
        tokio::time::sleep(SILENT_AFTER).await;
        drop(silent);
        assert!(circuit.is_held("app"));
    }

    #[tokio::test(start_paused = true)]
    async fn patience_is_short_where_it_ran_out() {
        let circuit = Circuit::new("reg.example");
        assert_eq!(circuit.patience("app"), PATIENCE);
        circuit.was_quiet("app");
        assert_eq!(circuit.patience("app"), Duration::ZERO);
        assert_eq!(circuit.patience("api"), PATIENCE, "of another repository nothing is known");
        tokio::time::sleep(PATIENCE_AGAIN).await;
        assert_eq!(circuit.patience("app"), PATIENCE_AGAIN);
        circuit.passes("app").unwrap().answered();
        assert_eq!(circuit.patience("app"), PATIENCE);
        (0..FAILURES).for_each(|_| circuit.fails("app", &unreachable()));
        assert_eq!(circuit.patience("app"), Duration::ZERO, "a moment ago it failed");
        tokio::time::sleep(PROBE_EVERY).await;
        assert_eq!(circuit.patience("app"), PATIENCE_AGAIN, "its own question goes out");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let circuit = Circuit::new("reg.example");
        for n in 0..2 * REMEMBERED {
            circuit.was_quiet(&n.to_string());
        }
        assert!(circuit.state().repositories.len() <= REMEMBERED);
    }
}
