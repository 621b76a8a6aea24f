//! Whether what is pulled can be kept. Where it cannot, it passes through; this tells the operator, once.

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::ledger::LedgerError;
use crate::telemetry::Metrics;

use super::from_upstream::with_causes;

/// How long nothing must have failed before a write that succeeds counts as the end of the trouble. A disk
/// that is nearly full takes what is small and refuses what is large, turn by turn.
const QUIET_FOR: Duration = Duration::from_secs(60);

/// The state of the cache folder, as writing to it shows it.
pub(super) struct Keeping {
    trouble: Mutex<Option<Trouble>>,
    metrics: Arc<Metrics>,
}

struct Trouble {
    last: Instant,
    why: String,
}

impl Keeping {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { trouble: Mutex::default(), metrics }
    }

    /// Something could not be written. Whoever wanted to keep it goes on without.
    pub(super) fn failed(&self, what: &str, error: &(dyn std::error::Error + 'static)) {
        let why = format!("{}: passing through: cannot keep {what}: {}", state(error), with_causes(error));
        let mut trouble = self.trouble.lock().expect("no holder of this lock panics");
        if trouble.is_none() {
            tracing::error!("{why}");
            self.metrics.keeping(false);
        }
        *trouble = Some(Trouble { last: Instant::now(), why });
    }

    /// Something was written.
    pub(super) fn kept(&self) {
        let mut trouble = self.trouble.lock().expect("no holder of this lock panics");
        if trouble.as_ref().is_some_and(|trouble| trouble.last.elapsed() >= QUIET_FOR) {
            *trouble = None;
            self.metrics.keeping(true);
            tracing::info!("what is pulled is kept again");
        }
    }

    /// Why content passes through without being kept, if that is so.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.lock().expect("no holder of this lock panics").as_ref().map(|trouble| trouble.why.clone())
    }
}

/// The state of the disk in two words.
fn state(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        match kind.or_else(|| error.downcast_ref::<LedgerError>().and_then(LedgerError::kind)) {
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => return "disk full",
            Some(ErrorKind::ReadOnlyFilesystem) => return "disk read-only",
            _ => cause = error.source(),
        }
    }
    "disk failing"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_state_is_told_when_it_changes_and_not_in_between() {
        let keeping = Keeping::new(Arc::new(Metrics::new()));
        assert_eq!(keeping.trouble(), None);
        keeping.failed("content", &io::Error::from(ErrorKind::StorageFull));
        assert!(keeping.trouble().unwrap().starts_with("disk full: passing through: cannot keep content"));
        keeping.kept();
        assert!(keeping.trouble().is_some(), "something small still fits");
        tokio::time::advance(QUIET_FOR).await;
        assert!(keeping.trouble().is_some(), "nothing was written since");
        keeping.kept();
        assert_eq!(keeping.trouble(), None);
        keeping.failed("content", &io::Error::from(ErrorKind::ReadOnlyFilesystem));
        assert!(keeping.trouble().unwrap().starts_with("disk read-only: "));
        keeping.failed("content", &io::Error::from_raw_os_error(5));
        assert!(keeping.trouble().unwrap().starts_with("disk failing: "));
    }
}
