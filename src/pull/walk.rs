//! The way up from a manifest, through whatever names it, within bounds.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use crate::oci::Digest;

/// How deep indexes may name indexes. Real ones are flat; the specification allows nesting.
const DEPTH_MAX: usize = 4;

/// How many manifests are looked at for one question. Whoever may push can make layers of indexes that all name all of
/// the next layer: a few of them are thousands of ways, and some hundred of them are as many manifests.
const LOOKS_MAX: usize = 512;

/// What was looked at for one question, whichever way led there. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Walked(Arc<Mutex<HashSet<Digest>>>);

/// Where one way has come to.
#[derive(Clone)]
pub(super) struct Walk {
    walked: Walked,
    depth: usize,
}

impl Walked {
    /// A way that begins.
    pub(super) fn start(&self) -> Walk {
        Walk { walked: self.clone(), depth: 0 }
    }
}

impl Walk {
    /// Whether no other way led to this manifest before, and there is room for one more.
    pub(super) fn is_first_at(&self, digest: Digest) -> bool {
        let mut walked = self.walked.0.lock().expect("no holder of this lock panics");
        walked.len() < LOOKS_MAX && walked.insert(digest)
    }

    /// Whether nothing was looked at before.
    pub(super) fn begins(&self) -> bool {
        self.walked.0.lock().expect("no holder of this lock panics").is_empty()
    }

    /// Whether this is no longer what was asked about.
    pub(super) fn is_on_the_way(&self) -> bool {
        self.depth > 0
    }

    /// One step further up; `None` at the end.
    pub(super) fn up(&self) -> Option<Self> {
        (self.depth < DEPTH_MAX).then(|| Self { walked: self.walked.clone(), depth: self.depth + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_bounded_in_depth_and_together() {
        let walked = Walked::default();
        let ways = std::iter::successors(Some(walked.start()), |walk| walk.up());
        assert_eq!(ways.count(), DEPTH_MAX + 1);
        let (one, other) = (walked.start(), walked.start().up().unwrap());
        assert!(!one.is_on_the_way() && other.is_on_the_way());
        assert!(one.begins() && other.begins());
        assert!(one.is_first_at(Digest::of(b"x")) && !other.is_first_at(Digest::of(b"x")));
        assert!(!one.begins() && !other.begins() && Walked::default().start().begins());
        let new = (0..LOOKS_MAX).filter(|n| one.is_first_at(Digest::of(&n.to_le_bytes()))).count();
        assert_eq!(new, LOOKS_MAX - 1);
    }
}
