//! What changed between two trusted roots.

use super::root::{RootPart, TrustRoot};

/// What changed from one trusted root to another. Where a part stands in the file is no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RootDiff {
    /// Trusted now, and not before.
    pub added: Vec<RootPart>,
    /// No longer trusted at all.
    pub removed: Vec<RootPart>,
    /// The same log or authority under another name, with another window, or with other keys or certificates.
    pub changed: Vec<Changed>,
}

/// A part that is in both, in two forms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// As it was.
    pub old: RootPart,
    /// As it is now.
    pub new: RootPart,
}

impl RootDiff {
    /// From `old` to `new`.
    pub fn between(old: &TrustRoot, new: &TrustRoot) -> Self {
        Self::of(old.parts(), new.parts())
    }

    /// Whether both trust the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    fn of(old: &[RootPart], new: &[RootPart]) -> Self {
        let (mut removed, mut added) = (old.to_vec(), new.to_vec());
        // First what is the same in all, since an id may stand there twice with two windows.
        pairs(&mut removed, &mut added, |a, b| a == b);
        let changed = pairs(&mut removed, &mut added, |a, b| (a.kind, &a.id) == (b.kind, &b.id));
        Self { added, removed, changed }
    }
}

/// Takes what fits together out of both.
fn pairs(old: &mut Vec<RootPart>, new: &mut Vec<RootPart>, fits: fn(&RootPart, &RootPart) -> bool) -> Vec<Changed> {
    let mut found = Vec::new();
    let mut rest = Vec::new();
    for one in old.drain(..) {
        match new.iter().position(|other| fits(&one, other)) {
            Some(at) => found.push(Changed { old: one, new: new.remove(at) }),
            None => rest.push(one),
        }
    }
    *old = rest;
    found
}

#[cfg(test)]
mod tests {
    use super::super::root::PartKind;
    use super::*;

    fn part(id: &str, until: Option<&str>) -> RootPart {
        RootPart {
            kind: PartKind::TransparencyLog,
            name: format!("https://{id}.example"),
            id: id.to_owned(),
            material: id.to_owned(),
            valid_from: None,
            valid_until: until.map(|time| time.parse().unwrap()),
        }
    }

    const ENDS: Option<&str> = Some("2026-01-01T00:00:00Z");

    #[test]
    fn added_removed_and_changed_are_told_apart() {
        let diff = RootDiff::of(&[part("a", None), part("b", None)], &[part("c", None), part("a", ENDS)]);
        assert_eq!(diff.added, [part("c", None)]);
        assert_eq!(diff.removed, [part("b", None)]);
        assert_eq!(diff.changed, [Changed { old: part("a", None), new: part("a", ENDS) }]);
    }

    /// A log's id and a chain's first certificate can stay while others come behind them, and all of them are trusted.
    #[test]
    fn other_material_under_the_same_id_is_a_change() {
        let other = RootPart { material: "b".to_owned(), ..part("a", None) };
        let diff = RootDiff::of(&[part("a", None)], std::slice::from_ref(&other));
        assert_eq!(diff.changed, [Changed { old: part("a", None), new: other }]);
    }

    #[test]
    fn one_difference_is_a_difference() {
        let (one, none): (_, &[RootPart]) = ([part("a", None)], &[]);
        assert!(RootDiff::of(&one, &one).is_empty());
        for (old, new) in [(none, &one[..]), (&one, none), (&one, &[part("a", ENDS)])] {
            assert!(!RootDiff::of(old, new).is_empty(), "{old:?} {new:?}");
        }
    }

    #[test]
    fn roots_differ_in_what_they_name() {
        let root = |text: &str| TrustRoot::from_json("test", text.as_bytes()).unwrap();
        let public = TrustRoot::public_good().unwrap();
        let text = String::from_utf8(TrustRoot::public_good_json().to_vec()).unwrap();
        assert!(RootDiff::between(&public, &root(&text)).is_empty());
        let renamed = RootDiff::between(&public, &root(&text.replace("rekor.sigstore.dev", "rekor.example")));
        let names: Vec<_> =
            renamed.changed.iter().map(|part| (part.old.name.as_str(), part.new.name.as_str())).collect();
        assert!(names.contains(&("https://rekor.sigstore.dev", "https://rekor.example")), "{names:?}");
        assert!(renamed.added.is_empty() && renamed.removed.is_empty());
    }

    #[test]
    fn order_is_no_difference_and_an_id_may_stand_twice() {
        let twice = [part("a", None), part("a", ENDS)];
        assert!(RootDiff::of(&twice, &[part("a", ENDS), part("a", None)]).is_empty());
        let diff = RootDiff::of(&twice, &twice[1..]);
        assert_eq!((diff.removed.as_slice(), diff.changed.len()), (&[part("a", None)][..], 0));
    }

    #[test]
    fn another_kind_with_the_same_key_is_another_part() {
        let other = RootPart { kind: PartKind::CertificateTransparencyLog, ..part("a", None) };
        let diff = RootDiff::of(&[part("a", None)], std::slice::from_ref(&other));
        assert_eq!((diff.added, diff.removed), (vec![other], vec![part("a", None)]));
    }
}
