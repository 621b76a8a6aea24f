//! Places for work that waits for upstream, counted for each upstream: one that holds its answers holds up no other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::oci::Registry;

/// So many places for each upstream. There are as many upstreams as are configured.
pub(super) struct Places {
    each: usize,
    taken: Mutex<HashMap<Registry, Arc<Semaphore>>>,
}

impl Places {
    pub(super) fn new(each: usize) -> Self {
        Self { each, taken: Mutex::default() }
    }

    /// Waits for a place. Cancel safe; who is dropped while waiting loses their place in the row.
    pub(super) async fn take(&self, registry: &Registry) -> OwnedSemaphorePermit {
        let places = {
            let mut taken = self.taken.lock().expect("no holder of this lock panics");
            Arc::clone(taken.entry(registry.clone()).or_insert_with(|| Arc::new(Semaphore::new(self.each))))
        };
        places.acquire_owned().await.expect("this semaphore is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[tokio::test]
    async fn who_takes_every_place_of_an_upstream_takes_none_of_another() {
        let places = Places::new(2);
        let (slow, good): (Registry, Registry) = ("slow.test".parse().unwrap(), "good.test".parse().unwrap());
        let held = [places.take(&slow).await, places.take(&slow).await];
        assert!(places.take(&slow).now_or_never().is_none(), "both are taken");
        assert!(places.take(&good).now_or_never().is_some());
        drop(held);
        assert!(places.take(&slow).now_or_never().is_some(), "given back");
    }
}
