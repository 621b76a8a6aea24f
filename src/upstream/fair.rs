//! Places for work at an upstream, shared out in turn: a crowd for one repository does not stand before the single
//! question about another.

use std::collections::HashMap;

use crate::fair::{self, Rule};
use crate::oci::{Registry, Repository};

/// A number of places. Who waits for one stands in a row, one for each repository; the first of each row are served in
/// turn. No repository holds more than three quarters, so that the next one finds some free. Clones share the places.
#[derive(Clone, Debug)]
pub struct FairPlaces(fair::Places<ByRepository>);

/// A place; it is given back when this is dropped.
pub type Place = fair::Place<ByRepository>;

/// No repository holds more than three quarters.
#[derive(Debug)]
pub struct ByRepository {
    of_a_registry: usize,
    of_a_repository: usize,
    registries: HashMap<Registry, usize>,
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
        let of_a_repository = most(of_a_registry);
        Self(fair::Places::new(places, ByRepository { of_a_registry, of_a_repository, registries: HashMap::new() }))
    }

    /// Waits for a place, for as long as the caller likes. Cancel safe; who is dropped while waiting loses their
    /// place in the row. How many wait is for the caller to bound: a client's request each.
    pub async fn take(&self, repository: &Repository) -> Place {
        self.0.take(repository).await
    }
}

/// Three quarters, but one at least.
fn most(places: usize) -> usize {
    places - places / 4
}

impl Rule for ByRepository {
    type Row = Repository;

    fn may_hold(&self, repository: &Repository, held: usize, _: usize) -> bool {
        let of_registry = self.registries.get(repository.registry()).copied().unwrap_or_default();
        held < self.of_a_repository && of_registry < self.of_a_registry
    }

    fn holds(&mut self, repository: &Repository) {
        *self.registries.entry(repository.registry().clone()).or_default() += 1;
    }

    fn gave_back(&mut self, repository: &Repository) {
        if let Some(held) = self.registries.get_mut(repository.registry()) {
            *held -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn take(places: &FairPlaces, name: &str) -> Option<Place> {
        places.take(&format!("reg.example/{name}").parse().unwrap()).now_or_never()
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
}
