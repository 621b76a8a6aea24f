//! One run for any crowd: whoever asks for what is already being worked on waits for that.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::tasks::Tasks;

type Running<K, V> = Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>;

/// Work that is under way, by key. It runs in a task of its own, so it outlives whoever asked first.
pub(super) struct Flights<K, V> {
    name: &'static str,
    running: Running<K, V>,
    tasks: Tasks,
}

/// The program is stopping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopped;

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    pub(super) fn new(name: &'static str, tasks: Tasks) -> Self {
        Self { name, running: Arc::default(), tasks }
    }

    /// The result of the running work for `key`, or of `work`, which is then started. Cancel safe:
    /// a dropped call loses only the wait.
    pub(super) async fn join<F: Future<Output = V> + Send + 'static>(
        &self,
        key: K,
        work: impl FnOnce() -> F,
    ) -> Result<V, Stopped> {
        let mut result = {
            let mut running = self.running.lock().expect("no holder of this lock panics");
            match running.get(&key) {
                Some(result) => result.clone(),
                None => {
                    let (sender, result) = watch::channel(None);
                    running.insert(key.clone(), result.clone());
                    let landing = Landing { key, running: Arc::clone(&self.running) };
                    let work = work();
                    self.tasks.spawn(self.name, async move {
                        let value = work.await;
                        // Off the list first: who comes now gets fresh work, not this result.
                        drop(landing);
                        sender.send_replace(Some(value));
                    });
                    result
                }
            }
        };
        let value = result.wait_for(Option::is_some).await.map_err(|_| Stopped)?;
        value.clone().ok_or(Stopped)
    }
}

/// Takes the key off the list, also when the task is dropped where it waits.
struct Landing<K: Eq + Hash, V> {
    key: K,
    running: Running<K, V>,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.running.lock().expect("no holder of this lock panics").remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn a_crowd_runs_once_and_the_next_runs_again() {
        let flights = Arc::new(Flights::new("test", Tasks::new()));
        let runs = Arc::new(AtomicUsize::new(0));
        let ask = || {
            let (flights, runs) = (Arc::clone(&flights), Arc::clone(&runs));
            async move {
                flights
                    .join("key", || async move {
                        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                        runs.fetch_add(1, Ordering::SeqCst)
                    })
                    .await
                    .unwrap()
            }
        };
        let crowd = futures_util::future::join_all((0..50).map(|_| ask())).await;
        assert!(crowd.iter().all(|result| *result == 0));
        assert_eq!(ask().await, 1);
    }

    #[tokio::test]
    async fn work_outlives_whoever_asked_first() {
        let flights = Arc::new(Flights::new("test", Tasks::new()));
        let first = flights.join("key", || async {
            tokio::time::sleep(std::time::Duration::from_millis(30)).await;
            7
        });
        let gone = tokio::time::timeout(std::time::Duration::from_millis(5), first).await;
        assert!(gone.is_err());
        assert_eq!(flights.join("key", || async { 8 }).await.unwrap(), 7);
    }
}
