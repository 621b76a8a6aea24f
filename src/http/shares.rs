//! How much each client may have of what all share: connections, and requests that are being answered.
//!
//! While there is plenty, anybody may have all they want: a whole cluster may come from one address. Of the last eighth
//! a client gets the less the more it has, so that one who takes what it can get, and reads nothing of it, keeps nobody
//! out. A connection that is not its client's turn waits; a request is put off.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::fair::{self, Places, Rule};
use crate::telemetry::Metrics;

/// The last one in eight places is for clients that have few.
const KEPT: usize = 8;

/// Of those, a client gets another while it has less than a quarter of what is left: it takes some twenty clients to
/// have them all.
const FEW: usize = 4;

/// How often the log says the same about what does not fit.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What one listener's clients have. Clones are the same.
#[derive(Clone)]
pub(super) struct Shares(Arc<State>);

struct State {
    connections: Places<ByClient>,
    /// Connections that wait for a place of those. As many again.
    waiting: Places<ByClient>,
    requests: Requests,
    metrics: Option<Arc<Metrics>>,
    told: Mutex<Told>,
    told_full: Mutex<Told>,
}

/// [`may_have`] another of so many.
#[derive(Debug)]
struct ByClient(usize);

/// The same for requests, which come a hundred thousand times a second: they are only counted.
struct Requests {
    most: usize,
    taken: Arc<AtomicUsize>,
    by_client: Mutex<HashMap<IpAddr, Weak<AtomicUsize>>>,
}

/// A connection that was accepted.
pub(super) struct Arrival {
    shares: Shares,
    client: IpAddr,
    turn: Turn,
}

enum Turn {
    Now(fair::Place<ByClient>),
    /// With its place among those who wait.
    Later(fair::Place<ByClient>),
}

/// The place of one connection, until dropped.
pub(super) struct ConnectionPlace {
    shares: Shares,
    client: IpAddr,
    /// Its client's.
    requests: Arc<AtomicUsize>,
    number: usize,
    _place: fair::Place<ByClient>,
}

/// The place of one request, until dropped.
#[derive(Debug)]
pub(super) struct RequestPlace {
    taken: Arc<AtomicUsize>,
    owned: Arc<AtomicUsize>,
}

/// When the log was last told of something that happens often.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Instant>);

/// Whether a client that owns so many of `most` may have another, while so many are left.
fn may_have(most: usize, owned: usize, left: usize) -> bool {
    left > most / KEPT || (left > 0 && (owned == 0 || owned.saturating_mul(FEW) < left))
}

impl Shares {
    /// For a listener with so many connections and requests at most. As many connections again may wait.
    pub(super) fn new(connections: usize, requests: usize, metrics: Option<Arc<Metrics>>) -> Self {
        let places = || Places::new(connections, ByClient(connections));
        Self(Arc::new(State {
            connections: places(),
            waiting: places(),
            requests: Requests { most: requests, taken: Arc::default(), by_client: Mutex::default() },
            metrics,
            told: Mutex::default(),
            told_full: Mutex::default(),
        }))
    }

    /// A connection from `address`; `None` when so many of this client wait already that it should be closed.
    pub(super) fn arrive(&self, address: IpAddr) -> Option<Arrival> {
        let State { connections, waiting, metrics, told_full, .. } = &*self.0;
        let client = address.to_canonical();
        let arrival = |turn| Some(Arrival { shares: self.clone(), client, turn });
        if let Some(place) = connections.try_take(&client) {
            return arrival(Turn::Now(place));
        }
        if connections.free() > 0 {
            self.has_its_share(client, "connection");
        } else {
            if let Some(metrics) = metrics {
                metrics.connections_full();
            }
            if is_due(told_full) {
                tracing::warn!(
                    "as many connections are open as max_connections says; further ones wait until one ends"
                );
            }
        }
        arrival(Turn::Later(waiting.try_take(&client)?))
    }

    /// An operator sees who it was.
    fn has_its_share(&self, client: IpAddr, kind: &'static str) {
        let State { metrics, told, .. } = &*self.0;
        if let Some(metrics) = metrics {
            metrics.share_exceeded(kind);
        }
        if is_due(told) {
            tracing::warn!(
                %client,
                kind,
                "one client has its share of what there may be: its further connections wait, its further requests are \
                 put off, while little is left for others; where all come from one address, raise max_connections"
            );
        }
    }
}

impl Arrival {
    /// Waits for the client's turn. Cancel safe: a dropped call gives the turn to another.
    pub(super) async fn place(self) -> ConnectionPlace {
        let Self { shares, client, turn } = self;
        let (place, waited) = match turn {
            Turn::Now(place) => (place, None),
            Turn::Later(waiting) => (shares.0.connections.take(&client).await, Some(waiting)),
        };
        drop(waited);
        let (requests, number) = (shares.0.requests.of(client), shares.0.connections.held(&client));
        ConnectionPlace { shares, client, requests, number, _place: place }
    }
}

impl ConnectionPlace {
    /// How many connections its client had when it began, with this one.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// A place for a request on this connection; `None` when its client has its share.
    pub(super) fn request(&self) -> Option<RequestPlace> {
        let place = self.shares.0.requests.take(&self.requests);
        if place.is_none() {
            self.shares.has_its_share(self.client, "request");
        }
        place
    }
}

impl Rule for ByClient {
    type Row = IpAddr;

    fn may_hold(&self, _: &IpAddr, held: usize, free: usize) -> bool {
        may_have(self.0, held, free)
    }
}

impl Requests {
    fn of(&self, client: IpAddr) -> Arc<AtomicUsize> {
        let mut by_client = self.by_client.lock().expect("no holder of this lock panics");
        // Now and then, those who left.
        if by_client.len().is_power_of_two() {
            by_client.retain(|_, owned| owned.strong_count() > 0);
        }
        let known = by_client.get(&client).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let owned = Arc::default();
            by_client.insert(client, Arc::downgrade(&owned));
            owned
        })
    }

    fn take(&self, owned: &Arc<AtomicUsize>) -> Option<RequestPlace> {
        let left = self.most.saturating_sub(self.taken.load(Ordering::Relaxed));
        if !may_have(self.most, owned.load(Ordering::Relaxed), left) {
            return None;
        }
        // Some at once may all find room for one: a few places more than the limit harm nobody.
        self.taken.fetch_add(1, Ordering::Relaxed);
        owned.fetch_add(1, Ordering::Relaxed);
        Some(RequestPlace { taken: Arc::clone(&self.taken), owned: Arc::clone(owned) })
    }
}

impl Drop for RequestPlace {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.owned.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Told {
    /// Whether it is time to tell it again.
    pub(super) fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= TOLD_EVERY);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

fn is_due(told: &Mutex<Told>) -> bool {
    told.lock().expect("no holder of this lock panics").is_due()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn arrive(shares: &Shares, from: &str) -> Option<Arrival> {
        shares.arrive(from.parse().unwrap())
    }

    /// As many as get a place at once, and those who wait.
    fn connect(shares: &Shares, from: &str, times: usize) -> (Vec<ConnectionPlace>, Vec<Arrival>) {
        let (mut places, mut waiting) = (Vec::new(), Vec::new());
        for arrival in (0..times).map_while(|_| arrive(shares, from)) {
            match arrival.turn {
                Turn::Now(_) => places.push(arrival.place().now_or_never().unwrap()),
                Turn::Later(_) => waiting.push(arrival),
            }
        }
        (places, waiting)
    }

    #[test]
    fn one_client_leaves_an_eighth_to_others_and_waits_with_the_rest() {
        let shares = Shares::new(64, 64, None);
        let (greedy, waiting) = connect(&shares, "10.0.0.1", 200);
        assert_eq!((greedy.len(), waiting.len()), (56, 56), "what is left is for others, here and there");
        let (modest, mut next) = connect(&shares, "10.0.0.2", 4);
        assert_eq!((modest.len(), next.len()), (2, 2));
        let mut turn = Box::pin(next.remove(0).place());
        assert!((&mut turn).now_or_never().is_none());
        drop(greedy);
        assert!(turn.now_or_never().is_some(), "there is plenty again");
    }

    #[test]
    fn it_takes_many_clients_to_have_all() {
        let shares = Shares::new(4096, 4096, None);
        let held: Vec<_> = (1..=8).map(|n| connect(&shares, &format!("10.0.0.{n}"), 4096).0).collect();
        assert_eq!(held[0].len(), 3584);
        let (modest, _) = connect(&shares, "10.0.1.1", 10);
        assert_eq!(modest.len(), 10);
    }

    #[test]
    fn a_cluster_gets_all_there_are() {
        let shares = Shares::new(64, 64, None);
        let nodes: Vec<_> = (1..=64).map(|n| connect(&shares, &format!("10.0.0.{n}"), 1).0).collect();
        assert_eq!(nodes.iter().flatten().count(), 64);
        let (none, waiting) = connect(&shares, "10.0.1.1", 1);
        assert_eq!((none.len(), waiting.len()), (0, 1));
        for small in 1..=9 {
            let shares = Shares::new(small, small, None);
            let each: Vec<_> = (1..=small).map(|n| connect(&shares, &format!("10.0.0.{n}"), 1).0).collect();
            assert_eq!(each.iter().flatten().count(), small);
        }
    }

    #[test]
    fn requests_are_shared_in_the_same_way() {
        let shares = Shares::new(16, 64, None);
        let ((greedy, _), (modest, _)) = (connect(&shares, "10.0.0.1", 2), connect(&shares, "10.0.0.2", 1));
        let requests: Vec<_> = greedy.iter().cycle().map_while(ConnectionPlace::request).collect();
        assert_eq!(requests.len(), 56);
        assert!(modest[0].request().is_some());
        assert!(greedy[0].request().is_none());
        drop(requests);
        assert!(greedy[0].request().is_some());
    }

    #[test]
    fn who_has_left_is_forgotten() {
        let shares = Shares::new(4096, 4096, None);
        for n in 0..1000 {
            connect(&shares, &format!("10.0.{}.{}", n / 250, n % 250), 1);
        }
        assert!(shares.0.requests.by_client.lock().unwrap().len() < 10);
        let address = |text: &str| arrive(&shares, text).unwrap().client;
        assert_eq!(address("::ffff:10.0.0.1"), address("10.0.0.1"));
    }
}
