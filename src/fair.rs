//! Places that are shared out in turn: a crowd does not stand before a single one.

use std::collections::{HashMap, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Who may have how many places.
pub trait Rule: Debug + Send + 'static {
    /// For whom a place is; each has a row of its own.
    type Row: Clone + Debug + Eq + Hash + Send;

    /// Whether this row may have another place, of which it holds so many while so many (never 0) are free.
    fn may_hold(&self, row: &Self::Row, held: usize, free: usize) -> bool;

    /// It has another one.
    fn holds(&mut self, _row: &Self::Row) {}

    /// It gave one back.
    fn gave_back(&mut self, _row: &Self::Row) {}
}

/// A number of places. Who waits for one stands in the row it belongs to; the first of each row are served in turn.
/// Clones share the places.
#[derive(Debug)]
pub struct Places<R: Rule>(Arc<Mutex<State<R>>>);

/// A place; it is given back when this is dropped.
#[derive(Debug)]
pub struct Place<R: Rule> {
    /// `None`: it went to nobody.
    of: Option<(Places<R>, R::Row)>,
}

#[derive(Debug)]
struct State<R: Rule> {
    free: usize,
    rule: R,
    rows: HashMap<R::Row, Row<R>>,
    /// Rows in which somebody waits, the next one first. None twice.
    turns: VecDeque<R::Row>,
}

#[derive(Debug)]
struct Row<R: Rule> {
    held: usize,
    waiting: VecDeque<oneshot::Sender<Place<R>>>,
}

impl<R: Rule> Places<R> {
    /// So many places.
    pub fn new(places: usize, rule: R) -> Self {
        Self(Arc::new(Mutex::new(State { free: places, rule, rows: HashMap::new(), turns: VecDeque::new() })))
    }

    /// A place, if it needs no waiting.
    pub fn try_take(&self, row: &R::Row) -> Option<Place<R>> {
        let mut state = self.state();
        let is_first = state.rows.get(row).is_none_or(|row| row.waiting.is_empty());
        (is_first && state.may_hold(row)).then(|| {
            state.hold(row);
            self.place(row)
        })
    }

    /// Waits for a place, for as long as the caller likes. Cancel safe; who is dropped while waiting loses their
    /// place in the row. How many wait is for the caller to bound.
    pub async fn take(&self, row: &R::Row) -> Place<R> {
        if let Some(place) = self.try_take(row) {
            return place;
        }
        let turn = {
            let mut state = self.state();
            let (sender, turn) = oneshot::channel();
            let State { rows, turns, .. } = &mut *state;
            let waiting = &mut rows.entry(row.clone()).or_default().waiting;
            // Now and then, those who left.
            if waiting.len().is_power_of_two() {
                waiting.retain(|waiting| !waiting.is_closed());
            }
            waiting.push_back(sender);
            if waiting.len() == 1 && !turns.contains(row) {
                turns.push_back(row.clone());
            }
            // One may have come free since it was looked.
            self.hand_on(&mut state);
            turn
        };
        turn.await.expect("whoever gives a place back hands it on")
    }

    /// How many this row holds.
    pub fn held(&self, row: &R::Row) -> usize {
        self.state().rows.get(row).map_or(0, |row| row.held)
    }

    /// How many are free.
    pub fn free(&self) -> usize {
        self.state().free
    }

    fn place(&self, row: &R::Row) -> Place<R> {
        Place { of: Some((self.clone(), row.clone())) }
    }

    fn state(&self) -> MutexGuard<'_, State<R>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands free places to those whose turn it is.
    fn hand_on(&self, state: &mut State<R>) {
        while let Some(next) = state.turns.iter().position(|row| state.may_hold(row))
            && let Some(row) = state.turns.remove(next)
        {
            while let Some(waiting) = state.rows.get_mut(&row).and_then(|row| row.waiting.pop_front()) {
                match waiting.send(self.place(&row)) {
                    Ok(()) => {
                        state.hold(&row);
                        break;
                    }
                    // Who waited has left. Not given back: it was never taken.
                    Err(mut place) => place.of = None,
                }
            }
            match state.rows.get(&row) {
                Some(Row { waiting, .. }) if !waiting.is_empty() => state.turns.push_back(row),
                Some(Row { held: 0, .. }) => drop(state.rows.remove(&row)),
                _ => {}
            }
        }
    }
}

impl<R: Rule> Clone for Places<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Rule> Default for Row<R> {
    fn default() -> Self {
        Self { held: 0, waiting: VecDeque::new() }
    }
}

impl<R: Rule> State<R> {
    fn may_hold(&self, row: &R::Row) -> bool {
        let held = self.rows.get(row).map_or(0, |row| row.held);
        self.free > 0 && self.rule.may_hold(row, held, self.free)
    }

    fn hold(&mut self, row: &R::Row) {
        self.free -= 1;
        self.rows.entry(row.clone()).or_default().held += 1;
        self.rule.holds(row);
    }

    fn give_back(&mut self, row: &R::Row) {
        self.free += 1;
        self.rule.gave_back(row);
        if let Some(known) = self.rows.get_mut(row) {
            known.held -= 1;
            if known.held == 0 && known.waiting.is_empty() {
                self.rows.remove(row);
            }
        }
    }
}

impl<R: Rule> Drop for Place<R> {
    fn drop(&mut self) {
        let Some((places, row)) = self.of.take() else { return };
        let mut state = places.state();
        state.give_back(&row);
        places.hand_on(&mut state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;

    /// Whoever comes first.
    #[derive(Debug)]
    struct Any;

    impl Rule for Any {
        type Row = &'static str;

        fn may_hold(&self, _: &Self::Row, _: usize, _: usize) -> bool {
            true
        }
    }

    fn wait(places: &Places<Any>, row: &'static str) -> BoxFuture<'static, Place<Any>> {
        let places = places.clone();
        let mut waiting: BoxFuture<'static, _> = Box::pin(async move { places.take(&row).await });
        assert!((&mut waiting).now_or_never().is_none(), "{row} has to wait");
        waiting
    }

    #[tokio::test]
    async fn the_first_of_each_row_are_served_in_turn() {
        let places = Places::new(1, Any);
        let held = places.try_take(&"a");
        let (a1, a2, a3) = (wait(&places, "a"), wait(&places, "a"), wait(&places, "a"));
        let (b1, c1) = (wait(&places, "b"), wait(&places, "c"));
        drop(held);
        for turn in [a1, b1, c1, a2, a3] {
            let place = turn.now_or_never().expect("its turn");
            assert!(places.try_take(&"d").is_none());
            drop(place);
        }
        assert!(places.try_take(&"d").is_some(), "those who left hold nothing");
    }

    #[tokio::test]
    async fn who_leaves_is_passed_over_and_forgotten() {
        let places = Places::new(1, Any);
        let held = places.try_take(&"a");
        let (left, late, next) = (wait(&places, "a"), wait(&places, "b"), wait(&places, "a"));
        drop(left);
        drop(held);
        drop(late);
        assert!(next.now_or_never().is_some());
        let held = places.try_take(&"a");
        for _ in 0..1000 {
            drop(wait(&places, "a"));
        }
        assert!(places.state().rows[&"a"].waiting.len() < 10);
        drop(held);
        assert!(places.state().rows.is_empty());
    }

    #[tokio::test]
    async fn who_gets_a_place_and_leaves_before_taking_it_gives_it_back() {
        let places = Places::new(1, Any);
        let held = places.try_take(&"a");
        let waiting = wait(&places, "b");
        drop(held);
        drop(waiting);
        assert_eq!(places.free(), 1);
    }
}
