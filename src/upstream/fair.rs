//! Places for work at an upstream, shared out in turn: a crowd for one repository does not stand before the single
//! question about another.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A number of places. Who waits for one stands in a row; the first of each row are served in turn, and no row holds
/// more than three quarters of all places, so that the next one finds some free. Clones share the places.
#[derive(Clone, Debug)]
pub struct FairPlaces(Arc<Shared>);

/// A place; it is given back when this is dropped.
#[derive(Debug)]
pub struct Place {
    /// `None`: it went to nobody.
    of: Option<(Arc<Shared>, String)>,
}

#[derive(Debug)]
struct Shared {
    of_a_row: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    rows: HashMap<String, Row>,
    /// Rows in which somebody waits, the next one first. None twice.
    turns: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Row {
    held: usize,
    waiting: VecDeque<oneshot::Sender<Place>>,
}

impl FairPlaces {
    /// So many places, at least one.
    pub fn new(places: usize) -> Self {
        let places = places.max(1);
        let state = State { free: places, rows: HashMap::new(), turns: VecDeque::new() };
        Self(Arc::new(Shared { of_a_row: places - places / 4, state: Mutex::new(state) }))
    }

    /// Waits for a place, for as long as the caller likes. Cancel safe; who is dropped while waiting loses their
    /// place in the row. How many wait is for the caller to bound: a client's request each.
    pub async fn take(&self, row: &str) -> Place {
        let turn = {
            let mut state = self.0.state();
            let State { free, rows, turns } = &mut *state;
            let waiting_for = rows.entry(row.to_owned()).or_default();
            if *free > 0 && waiting_for.held < self.0.of_a_row && waiting_for.waiting.is_empty() {
                *free -= 1;
                waiting_for.held += 1;
                return Place { of: Some((Arc::clone(&self.0), row.to_owned())) };
            }
            let (sender, turn) = oneshot::channel();
            // Now and then, those who left.
            if waiting_for.waiting.len().is_power_of_two() {
                waiting_for.waiting.retain(|waiting| !waiting.is_closed());
            }
            waiting_for.waiting.push_back(sender);
            if !turns.iter().any(|next| next == row) {
                turns.push_back(row.to_owned());
            }
            turn
        };
        turn.await.expect("whoever gives a place back hands it on")
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands free places to those whose turn it is.
    fn hand_on(self: &Arc<Self>, state: &mut State) {
        let State { free, rows, turns } = state;
        let may_hold =
            |rows: &HashMap<String, Row>, name: &String| rows.get(name).is_some_and(|row| row.held < self.of_a_row);
        while *free > 0
            && let Some(next) = turns.iter().position(|name| may_hold(rows, name))
            && let Some(name) = turns.remove(next)
            && let Some(row) = rows.get_mut(&name)
        {
            while let Some(waiting) = row.waiting.pop_front() {
                let place = Place { of: Some((Arc::clone(self), name.clone())) };
                match waiting.send(place) {
                    Ok(()) => {
                        *free -= 1;
                        row.held += 1;
                        break;
                    }
                    // Who waited has left. Not given back: it was never taken.
                    Err(mut place) => place.of = None,
                }
            }
            match row.waiting.is_empty() {
                false => turns.push_back(name),
                true if row.held == 0 => drop(rows.remove(&name)),
                true => {}
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((shared, name)) = self.of.take() else { return };
        let mut state = shared.state();
        state.free += 1;
        if let Some(row) = state.rows.get_mut(&name) {
            row.held -= 1;
        }
        shared.hand_on(&mut state);
        if state.rows.get(&name).is_some_and(|row| row.held == 0 && row.waiting.is_empty()) {
            state.rows.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    fn wait<'a>(places: &'a FairPlaces, row: &'a str) -> BoxFuture<'a, Place> {
        let mut waiting: BoxFuture<'a, Place> = Box::pin(places.take(row));
        assert!((&mut waiting).now_or_never().is_none(), "{row} has to wait");
        waiting
    }

    #[tokio::test]
    async fn a_crowd_leaves_room_for_the_next_one() {
        let places = FairPlaces::new(8);
        let held: Vec<_> =
            std::iter::repeat_with(|| places.take("crowd").now_or_never()).map_while(|place| place).collect();
        assert_eq!(held.len(), 6);
        assert!(places.take("single").now_or_never().is_some());
    }

    #[tokio::test]
    async fn the_first_of_each_row_are_served_in_turn() {
        let places = FairPlaces::new(1);
        let held = places.take("a").await;
        let (a1, a2, a3) = (wait(&places, "a"), wait(&places, "a"), wait(&places, "a"));
        let (b1, c1) = (wait(&places, "b"), wait(&places, "c"));
        drop(held);
        for turn in [a1, b1, c1, a2, a3] {
            let place = turn.now_or_never().expect("its turn");
            assert!(places.take("d").now_or_never().is_none());
            drop(place);
        }
        assert!(places.take("d").now_or_never().is_some(), "those who left hold nothing");
    }

    #[tokio::test]
    async fn who_leaves_is_passed_over_and_forgotten() {
        let places = FairPlaces::new(1);
        let held = places.take("a").await;
        let (left, late, next) = (wait(&places, "a"), wait(&places, "b"), wait(&places, "a"));
        drop(left);
        drop(held);
        drop(late);
        assert!(next.now_or_never().is_some());
        let held = places.take("a").await;
        for _ in 0..1000 {
            drop(wait(&places, "a"));
        }
        assert!(places.0.state().rows["a"].waiting.len() < 10);
        drop(held);
        assert!(places.0.state().rows.is_empty());
    }
}
