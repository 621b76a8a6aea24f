//! Places for work at an upstream, shared out in turn: a crowd for one repository does not stand before the single
//! question about another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::oci::{Registry, Repository};

/// A number of places. Who waits for one stands in a row, one for each repository; the first of each row are served in
/// turn. No repository holds more than three quarters, so that the next one finds some free. Clones share the places.
#[derive(Clone, Debug)]
pub struct FairPlaces(Arc<Shared>);

/// A place; it is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    /// `None`: it went to nobody.
    of: Option<(Arc<Shared>, Repository)>,
}

#[derive(Debug)]
struct Shared {
    of_a_registry: usize,
    of_a_repository: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    registries: HashMap<Registry, usize>,
    rows: HashMap<Repository, Row>,
    /// Repositories for which somebody waits, the next one first. None twice.
    turns: VecDeque<Repository>,
}

#[derive(Debug, Default)]
struct Row {
    held: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

impl FairPlaces {
    /// So many places (at least one) at one registry.
    pub fn new(places: usize) -> Self {
        let places = places.max(1);
        Self::bounded(places, places)
    }

    /// So many places (at least one) for work at several registries. None of these holds more than three quarters, so
    /// that one that hangs leaves the others some.
    pub fn for_several(places: usize) -> Self {
        let places = places.max(1);
        Self::bounded(places, most(places))
    }

    fn bounded(places: usize, of_a_registry: usize) -> Self {
        let state = State { free: places, registries: HashMap::new(), rows: HashMap::new(), turns: VecDeque::new() };
        Self(Arc::new(Shared { of_a_registry, of_a_repository: most(of_a_registry), state: Mutex::new(state) }))
    }

    /// Waits for a place, for as long as the caller likes. Cancel safe; who is dropped while waiting loses their
    /// place in the row. How many wait is for the caller to bound: a client's request each.
    pub async fn take(&self, repository: &Repository) -> Place {
        let turn = {
            let mut state = self.0.state();
            let is_first = state.rows.get(repository).is_none_or(|row| row.waiting.is_empty());
            if is_first && state.free > 0 && self.0.may_hold(&state, repository) {
                state.hold(repository);
                return Place { of: Some((Arc::clone(&self.0), repository.clone())) };
            }
            let (sender, turn) = oneshot::channel();
            let State { rows, turns, .. } = &mut *state;
            let row = rows.entry(repository.clone()).or_default();
            // Now and then, those who left.
            if row.waiting.len().is_power_of_two() {
                row.waiting.retain(|waiting| !waiting.is_closed());
            }
            row.waiting.push_back(sender);
            if !turns.contains(repository) {
                turns.push_back(repository.clone());
            }
            turn
        };
        turn.await.expect("whoever gives a place back hands it on")
    }
}

/// Three quarters, but one at least.
fn most(places: usize) -> usize {
    places - places / 4
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_hold(&self, state: &State, repository: &Repository) -> bool {
        let held = |held: Option<usize>, most: usize| held.unwrap_or_default() < most;
        held(state.rows.get(repository).map(|row| row.held), self.of_a_repository)
            && held(state.registries.get(repository.registry()).copied(), self.of_a_registry)
    }

    /// Hands free places to those whose turn it is.
    fn hand_on(self: &Arc<Self>, state: &mut State) {
        while state.free > 0
            && let Some(next) = state.turns.iter().position(|row| self.may_hold(state, row))
            && let Some(repository) = state.turns.remove(next)
        {
            while let Some(waiting) = state.rows.get_mut(&repository).and_then(|row| row.waiting.pop_front()) {
                match waiting.send(Place { of: Some((Arc::clone(self), repository.clone())) }) {
                    Ok(()) => {
                        state.hold(&repository);
                        break;
                    }
                    // Who waited has left. Not given back: it was never taken.
                    Err(mut place) => place.of = None,
                }
            }
            match state.rows.get(&repository) {
                Some(row) if !row.waiting.is_empty() => state.turns.push_back(repository),
                Some(row) if row.held == 0 => drop(state.rows.remove(&repository)),
                _ => {}
            }
        }
    }
}

impl State {
    fn hold(&mut self, repository: &Repository) {
        self.free -= 1;
        self.rows.entry(repository.clone()).or_default().held += 1;
        *self.registries.entry(repository.registry().clone()).or_default() += 1;
    }

    fn give_back(&mut self, repository: &Repository) {
        self.free += 1;
        if let Some(row) = self.rows.get_mut(repository) {
            row.held -= 1;
            if row.held == 0 && row.waiting.is_empty() {
                self.rows.remove(repository);
            }
        }
        if let Some(held) = self.registries.get_mut(repository.registry()) {
            *held -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((shared, repository)) = self.of.take() else { return };
        let mut state = shared.state();
        state.give_back(&repository);
        shared.hand_on(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    fn repository(name: &str) -> Repository {
        format!("reg.example/{name}").parse().unwrap()
    }

    fn take(places: &FairPlaces, name: &str) -> Option<Place> {
        places.take(&repository(name)).now_or_never()
    }

    fn wait(places: &FairPlaces, name: &str) -> BoxFuture<'static, Place> {
        let (places, row) = (places.clone(), repository(name));
        let mut waiting: BoxFuture<'static, Place> = Box::pin(async move { places.take(&row).await });
        assert!((&mut waiting).now_or_never().is_none(), "{name} has to wait");
        waiting
    }

    #[tokio::test]
    async fn a_crowd_leaves_room_for_the_next_one() {
        let places = FairPlaces::new(8);
        let crowd: Vec<_> = std::iter::from_fn(|| take(&places, "crowd")).collect();
        assert_eq!(crowd.len(), 6);
        assert!(take(&places, "single").is_some());
    }

    #[tokio::test]
    async fn a_registry_leaves_room_for_the_next_one() {
        let places = FairPlaces::for_several(16);
        let at = |registry: &str, n: usize| {
            let repository: Repository = format!("{registry}/app-{}", n % 3).parse().unwrap();
            places.take(&repository).now_or_never()
        };
        let hangs: Vec<_> = (0..100).filter_map(|n| at("slow.example", n)).collect();
        assert_eq!(hangs.len(), 12);
        let (one, two) = (at("good.example", 0), at("good.example", 1));
        assert!(one.is_some() && two.is_some());
        drop(hangs);
        assert!(at("slow.example", 0).is_some());
    }

    #[tokio::test]
    async fn the_first_of_each_row_are_served_in_turn() {
        let places = FairPlaces::new(1);
        let held = take(&places, "a");
        let (a1, a2, a3) = (wait(&places, "a"), wait(&places, "a"), wait(&places, "a"));
        let (b1, c1) = (wait(&places, "b"), wait(&places, "c"));
        drop(held);
        for turn in [a1, b1, c1, a2, a3] {
            let place = turn.now_or_never().expect("its turn");
            assert!(take(&places, "d").is_none());
            drop(place);
        }
        assert!(take(&places, "d").is_some(), "those who left hold nothing");
    }

    #[tokio::test]
    async fn who_leaves_is_passed_over_and_forgotten() {
        let places = FairPlaces::new(1);
        let held = take(&places, "a");
        let (left, late, next) = (wait(&places, "a"), wait(&places, "b"), wait(&places, "a"));
        drop(left);
        drop(held);
        drop(late);
        assert!(next.now_or_never().is_some());
        let held = take(&places, "a");
        for _ in 0..1000 {
            drop(wait(&places, "a"));
        }
        assert!(places.0.state().rows[&repository("a")].waiting.len() < 10);
        drop(held);
        assert!(places.0.state().rows.is_empty());
    }
}
