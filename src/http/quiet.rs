//! Notices connections on which nothing happens any more.
//!
//! A connection may wait for us as long as it takes: the puller has deadlines of its own. It may not
//! wait for its client: for a first request, for the next one, or for the client to take the bytes
//! that are ready.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::file_socket::Outlet;
use super::shares::RequestPlace;

/// How long a connection may wait for its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// For the first request.
    pub first: Duration,
    /// For the next request.
    pub next: Duration,
    /// For the client to take what is ready.
    pub stall: Duration,
}

/// What a connection waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Quiet {
    /// A request. Close it in an orderly way.
    Idle,
    /// The client takes nothing. Cut it.
    Stalled,
}

/// What happens on one connection.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Requests whose answers are not finished.
    open: usize,
    /// Those of them that wait for us.
    ours: usize,
    had_requests: bool,
    touched: Instant,
}

/// One request and its answer, until dropped.
#[derive(Debug)]
pub(super) struct Busy {
    activity: Activity,
    ours: bool,
}

/// A body that tells whether it waits for us or for its client.
pub(super) struct Watched<B> {
    body: B,
    busy: Busy,
    outlet: Option<Outlet>,
    _place: Option<RequestPlace>,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { open: 0, ours: 0, had_requests: false, touched: Instant::now() })))
    }

    /// A request has come.
    pub(super) fn begin(&self) -> Busy {
        self.change(|state| {
            state.open += 1;
            state.ours += 1;
            state.had_requests = true;
        });
        Busy { activity: self.clone(), ours: true }
    }

    /// Resolves when the connection has waited for its client for too long. Cancel safe.
    pub(super) async fn quiet(&self, patience: Patience) -> Quiet {
        loop {
            let (quiet, deadline) = self.deadline(patience);
            if deadline <= Instant::now() {
                return quiet;
            }
            // What happens meanwhile moves the deadline, to at least this moment.
            let shortest = patience.first.min(patience.next).min(patience.stall);
            tokio::time::sleep_until(deadline.min(Instant::now() + shortest)).await;
        }
    }

    /// Something happened: patience starts anew.
    pub(super) fn touch(&self) {
        self.change(|_| {});
    }

    fn deadline(&self, patience: Patience) -> (Quiet, Instant) {
        let state = self.0.lock().expect("no holder of this lock panics");
        match *state {
            // Never over: looked at again later.
            State { ours: 1.., .. } => (Quiet::Stalled, Instant::now() + patience.stall),
            State { open: 1.., touched, .. } => (Quiet::Stalled, touched + patience.stall),
            State { had_requests: true, touched, .. } => (Quiet::Idle, touched + patience.next),
            State { touched, .. } => (Quiet::Idle, touched + patience.first),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock().expect("no holder of this lock panics");
        change(&mut state);
        state.touched = Instant::now();
    }
}

impl Busy {
    fn waits_for_us(&mut self, ours: bool) {
        if ours != self.ours {
            self.ours = ours;
            self.activity.change(|state| if ours { state.ours += 1 } else { state.ours -= 1 });
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.waits_for_us(false);
        self.activity.change(|state| state.open -= 1);
    }
}

impl<B> Watched<B> {
    /// Keeps the request's place until it is dropped.
    pub(super) fn new(body: B, (busy, place): (Busy, Option<RequestPlace>), outlet: Option<Outlet>) -> Self {
        Self { body, busy, outlet, _place: place }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.busy.waits_for_us(true);
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let for_client = self.outlet.as_ref().is_some_and(Outlet::waits);
        self.busy.waits_for_us(frame.is_pending() && !for_client);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { first: Duration::from_secs(1), next: Duration::from_secs(10), stall: Duration::from_secs(100) };

    async fn quiet_after(activity: &Activity) -> (Quiet, u64) {
        let start = Instant::now();
        let quiet = activity.quiet(PATIENCE).await;
        (quiet, start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn each_kind_of_silence_has_its_patience() {
        let activity = Activity::new();
        assert_eq!(quiet_after(&activity).await, (Quiet::Idle, 1));
        let mut busy = activity.begin();
        busy.waits_for_us(false);
        assert_eq!(quiet_after(&activity).await, (Quiet::Stalled, 100));
        drop(busy);
        assert_eq!(quiet_after(&activity).await, (Quiet::Idle, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_us_is_no_silence() {
        let activity = Activity::new();
        let busy = activity.begin();
        let waited = tokio::time::timeout(Duration::from_secs(100_000), activity.quiet(PATIENCE)).await;
        assert!(waited.is_err());
        drop(busy);
        assert_eq!(quiet_after(&activity).await.0, Quiet::Idle);
    }

    #[tokio::test(start_paused = true)]
    async fn each_piece_that_is_taken_counts() {
        let activity = Activity::new();
        let mut busy = activity.begin();
        let taking = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(90)).await;
                busy.waits_for_us(true);
                busy.waits_for_us(false);
            }
            std::future::pending::<()>().await;
        };
        let start = Instant::now();
        tokio::select! {
            () = taking => {}
            quiet = activity.quiet(PATIENCE) => assert_eq!(quiet, Quiet::Stalled),
        }
        assert!(start.elapsed().as_secs() >= 550);
    }
}
