//! A gate across an answer: the test sees who waits at it and opens it when it likes.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// Longest wait before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// Closed at first; open for good after [`Gate::release`]. Clones are the same gate.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    pub fn new() -> Self {
        Self(Arc::new(Inner { started: watch::Sender::new(0), open: watch::Sender::new(false) }))
    }

    /// How many requests came to the gate so far.
    pub fn started(&self) -> usize {
        *self.0.started.borrow()
    }

    /// Waits until `count` requests have come.
    pub async fn wait_started(&self, count: usize) {
        let mut started = self.0.started.subscribe();
        let enough = started.wait_for(|started| *started >= count);
        let in_time = tokio::time::timeout(PATIENCE, enough).await;
        assert!(in_time.is_ok(), "only {} of {count} requests came to the gate", self.started());
    }

    /// Lets everybody through, also those who come later.
    pub fn release(&self) {
        self.0.open.send_replace(true);
    }

    /// The server's side: comes, and waits until the gate is open.
    pub async fn pass(&self) {
        self.0.started.send_modify(|started| *started += 1);
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }
}
