//! How much each client may have of what all share: connections, and requests that are being answered.
//!
//! While there is plenty, anybody may have all they want: a whole cluster may come from one address. The last eighth
//! is for clients that have little, so that one who takes what it can get, and reads nothing of it, keeps nobody out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::telemetry::Metrics;

/// One in eight places is kept for clients that have few.
const KEPT: usize = 8;

/// Few are less than one in sixteen: it takes as many addresses to have them all.
const FEW: usize = 16;

/// How often the log says the same about what does not fit.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// What one listener's clients have. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<State>);

#[derive(Debug)]
struct State {
    connections: Limit,
    requests: Limit,
    clients: Mutex<HashMap<IpAddr, Owned>>,
    metrics: Option<Arc<Metrics>>,
    told: Mutex<Told>,
}

/// When the log was last told of something that happens often.
#[derive(Debug, Default)]
pub(super) struct Told(Option<Instant>);

#[derive(Debug)]
struct Limit {
    kind: &'static str,
    most: usize,
    taken: Arc<AtomicUsize>,
}

/// What one client has.
#[derive(Clone, Debug, Default)]
struct Owned {
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

/// The place of one connection, until dropped.
#[derive(Debug)]
pub(super) struct ConnectionPlace {
    shares: Shares,
    client: IpAddr,
    owned: Owned,
    place: Option<Place>,
}

/// The place of one request, until dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<AtomicUsize>,
    owned: Arc<AtomicUsize>,
}

impl Shares {
    /// For a listener with so many connections and requests at most.
    pub(super) fn new((connections, requests): (usize, usize), metrics: Option<Arc<Metrics>>) -> Self {
        Self(Arc::new(State {
            connections: Limit::new("connection", connections),
            requests: Limit::new("request", requests),
            clients: Mutex::default(),
            metrics,
            told: Mutex::default(),
        }))
    }

    /// A place for a connection from `address`; `None` when this client has its share.
    pub(super) fn connection(&self, address: IpAddr) -> Option<ConnectionPlace> {
        let client = client(address);
        let mut clients = self.clients();
        let owned = clients.entry(client).or_default().clone();
        let place = self.0.connections.take(&owned.connections);
        if place.is_none() {
            if owned.has_none() {
                clients.remove(&client);
            }
            self.turned_away(client, &self.0.connections);
        }
        Some(ConnectionPlace { shares: self.clone(), client, owned, place: Some(place?) })
    }

    /// An operator sees who it was.
    fn turned_away(&self, client: IpAddr, limit: &Limit) {
        if let Some(metrics) = &self.0.metrics {
            metrics.share_exceeded(limit.kind);
        }
        if self.0.told.lock().expect("no holder of this lock panics").is_due() {
            let (kind, most) = (limit.kind, limit.most);
            tracing::warn!(%client, kind, most, "one client has its share of what there may be, and gets no more while \
                there is little left for others; where all come from one address, raise max_connections");
        }
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, Owned>> {
        self.0.clients.lock().expect("no holder of this lock panics")
    }
}

impl ConnectionPlace {
    /// How many connections this client has, with this one.
    pub(super) fn number(&self) -> usize {
        self.owned.connections.load(Ordering::Relaxed)
    }

    /// A place for a request on this connection; `None` when its client has its share.
    pub(super) fn request(&self) -> Option<Place> {
        let requests = &self.shares.0.requests;
        let place = requests.take(&self.owned.requests);
        if place.is_none() {
            self.shares.turned_away(self.client, requests);
        }
        place
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let mut clients = self.shares.clients();
        self.place = None;
        if self.owned.has_none() {
            clients.remove(&self.client);
        }
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

impl Owned {
    fn has_none(&self) -> bool {
        self.connections.load(Ordering::Relaxed) == 0
    }
}

impl Limit {
    fn new(kind: &'static str, most: usize) -> Self {
        Self { kind, most, taken: Arc::default() }
    }

    fn take(&self, owned: &Arc<AtomicUsize>) -> Option<Place> {
        let left = self.most.saturating_sub(self.taken.load(Ordering::Relaxed));
        let has_few = owned.load(Ordering::Relaxed) < self.most / FEW;
        if left == 0 || (left <= self.most / KEPT && !has_few) {
            return None;
        }
        // Some at once may all find room for one: a few places more than the limit harm nobody.
        self.taken.fetch_add(1, Ordering::Relaxed);
        owned.fetch_add(1, Ordering::Relaxed);
        Some(Place { taken: Arc::clone(&self.taken), owned: Arc::clone(owned) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.owned.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who it is: over IPv6 a machine has a whole network of addresses (RFC 6177).
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn connect(shares: &Shares, from: &str, times: usize) -> Vec<ConnectionPlace> {
        (0..times).map_while(|_| shares.connection(address(from))).collect()
    }

    #[test]
    fn one_client_leaves_an_eighth_to_others() {
        let shares = Shares::new((64, 64), None);
        let greedy = connect(&shares, "10.0.0.1", 64);
        assert_eq!(greedy.len(), 56, "all that is not kept");
        let modest = connect(&shares, "10.0.0.2", 64);
        assert_eq!(modest.len(), 4, "few of what is kept");
        drop(greedy);
        assert_eq!(connect(&shares, "10.0.0.2", 64).len(), 52, "there is plenty again");
    }

    #[test]
    fn no_more_than_there_are() {
        let shares = Shares::new((64, 64), None);
        let all: Vec<_> = (1..=32).flat_map(|n| connect(&shares, &format!("10.0.0.{n}"), 4)).collect();
        assert_eq!(all.len(), 64);
        let few = Shares::new((1, 1), None);
        assert_eq!(connect(&few, "10.0.0.1", 2).len(), 1, "a listener may be as small as that");
    }

    #[test]
    fn requests_are_shared_in_the_same_way() {
        let shares = Shares::new((16, 64), None);
        let (greedy, modest) = (connect(&shares, "10.0.0.1", 2), connect(&shares, "10.0.0.2", 1));
        let requests: Vec<_> = greedy.iter().cycle().map_while(ConnectionPlace::request).collect();
        assert_eq!(requests.len(), 56);
        let place = modest[0].request();
        assert!(place.is_some());
        assert!(greedy[0].request().is_none());
        drop((greedy, requests));
        assert!(modest[0].request().is_some());
    }

    #[test]
    fn nobody_is_remembered_who_has_nothing() {
        let shares = Shares::new((16, 16), None);
        let places = connect(&shares, "10.0.0.1", 15);
        assert!(shares.connection(address("10.0.0.1")).is_none());
        assert_eq!(shares.clients().len(), 1);
        drop(places);
        assert!(shares.clients().is_empty());
        let full = Shares::new((0, 0), None);
        assert!(full.connection(address("10.0.0.1")).is_none() && full.clients().is_empty());
    }

    #[test]
    fn a_machine_has_one_share_whatever_its_addresses() {
        assert_eq!(client(address("2001:db8::1")), client(address("2001:db8::ffff:1")));
        assert_ne!(client(address("2001:db8::1")), client(address("2001:db8:0:1::1")));
        assert_eq!(client(address("::ffff:10.0.0.1")), client(address("10.0.0.1")));
        assert_ne!(client(address("10.0.0.1")), client(address("10.0.0.2")));
    }
}
