//! The only place that spawns: every task has a name, an owner and an end.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Owns background tasks. Clones own the same ones.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// Nothing is running yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `work` until it ends or until [`Tasks::stop`]; then it is dropped where it waits, so it
    /// must leave nothing half done when dropped (a spool removes its file).
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        // A future that waits for another holds it twice: as what it was given, and as what it waits for.
        let work = Box::pin(work);
        let handle = self.tracker.spawn(
            async move {
                tokio::select! {
                    // Both branches may be dropped: see above.
                    () = work => {}
                    () = stop.cancelled() => {}
                }
            }
            .instrument(tracing::debug_span!("task", name)),
        );
        drop(handle);
    }

    /// Resolves when the tasks are asked to end.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits up to `grace` for the tasks to end by themselves, then ends the rest. Returns whether
    /// all ended by themselves.
    pub async fn stop(&self, grace: Duration) -> bool {
        self.tracker.close();
        let calm = tokio::time::timeout(grace, self.tracker.wait()).await.is_ok();
        self.stop.cancel();
        self.tracker.wait().await;
        calm
    }
}
