//! One run for any crowd: whoever asks for what is already being worked on waits for that.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::tasks::Tasks;

type Running<K, V> = Arc<Mutex<HashMap<K, Flight<V>>>>;

/// One piece of work that is under way.
struct Flight<V> {
    since: Instant,
    result: watch::Receiver<Option<V>>,
}

/// Work that is under way, by key. It runs in a task of its own, so it outlives whoever asked first.
pub(super) struct Flights<K, V> {
    name: &'static str,
    running: Running<K, V>,
    renewed_after: Duration,
    tasks: Tasks,
}

/// The program is stopping.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopped;

impl<K: Clone + Eq + Hash + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    pub(super) fn new(name: &'static str, tasks: Tasks) -> Self {
        Self { name, running: Arc::default(), renewed_after: Duration::MAX, tasks }
    }

    /// Whoever comes when work is under way for so long already starts it anew. So no more than the longest run
    /// divided by this are under way for one key.
    pub(super) fn renewed_after(self, renewed_after: Duration) -> Self {
        Self { renewed_after, ..self }
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
                Some(flight) if flight.since.elapsed() < self.renewed_after => flight.result.clone(),
                _ => {
                    let (sender, result) = watch::channel(None);
                    running.insert(key.clone(), Flight { since: Instant::now(), result: result.clone() });
                    let landing = Landing { key, result: result.clone(), running: Arc::clone(&self.running) };
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

/// Takes the flight off the list, also when the task is dropped where it waits.
struct Landing<K: Eq + Hash, V> {
    key: K,
    result: watch::Receiver<Option<V>>,
    running: Running<K, V>,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut running = self.running.lock().expect("no holder of this lock panics");
        // A later one for the same key may have taken its place.
        if running.get(&self.key).is_some_and(|flight| flight.result.same_channel(&self.result)) {
            running.remove(&self.key);
        }
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
                        tokio::time::sleep(Duration::from_millis(20)).await;
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

    #[tokio::test(start_paused = true)]
    async fn work_that_hangs_is_started_anew_for_those_who_come_later() {
        let flights = Flights::new("test", Tasks::new()).renewed_after(Duration::from_secs(1));
        let mut first = Box::pin(flights.join("key", || async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            1
        }));
        let mut second = Box::pin(flights.join("key", || async { unreachable!("the first is young") }));
        let both = futures_util::future::select(&mut first, &mut second);
        assert!(tokio::time::timeout(Duration::from_secs(2), both).await.is_err());
        let third = flights.join("key", || async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            3
        });
        let mut third = Box::pin(third);
        assert!(tokio::time::timeout(Duration::from_millis(500), &mut third).await.is_err());
        assert_eq!((first.await.unwrap(), second.await.unwrap()), (1, 1));
        // The landing of the first left the third on the list.
        let listed = flights.running.lock().unwrap().contains_key("key");
        assert!(listed);
        assert_eq!(third.await.unwrap(), 3);
        assert!(flights.running.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn work_outlives_whoever_asked_first() {
        let flights = Arc::new(Flights::new("test", Tasks::new()));
        let first = flights.join("key", || async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            7
        });
        let gone = tokio::time::timeout(Duration::from_millis(5), first).await;
        assert!(gone.is_err());
        assert_eq!(flights.join("key", || async { 8 }).await.unwrap(), 7);
    }
}
