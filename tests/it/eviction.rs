//! Whatever is pulled, used and evicted in whatever order: what is kept is kept whole, and the account is right.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assay::clock::{Clock as _, ManualClock};
use assay::ledger::{Edges, Ledger};
use assay::oci::{Digest, Repository};
use assay::store::DiskStore;
use assay::telemetry::SpaceMetrics;
use assay::upkeep::{Evicted, EvictionOptions, Evictor};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

/// What a step of the model does.
#[derive(Clone, Debug)]
enum Step {
    /// Fetches what is not there, of image number so.
    Pull(usize),
    /// Content that no image names.
    Orphan(u8),
    /// Leaves so many hundredths of what is stored.
    Evict(u64),
    Restart,
}

/// What an index names, and what that names. Numbers stand for content.
type Child = (u8, &'static [u8]);

/// An image: its repository, an index, and what that names.
const IMAGES: [(&str, u8, &[Child]); 6] = [
    ("r.test/a", 10, &[(20, &[30, 31, 32]), (21, &[30, 33])]),
    ("r.test/a", 11, &[(22, &[30, 34])]),
    // The same index in another repository.
    ("r.test/b", 10, &[(20, &[30, 31, 32]), (21, &[30, 33])]),
    // A platform that two indexes name.
    ("r.test/b", 12, &[(20, &[30, 31, 32]), (23, &[35])]),
    // An image without an index; its layer is another's.
    ("r.test/c", 24, &[(34, &[]), (36, &[])]),
    // An index in an index.
    ("r.test/c", 13, &[(11, &[22]), (22, &[30, 34])]),
];

fn content(number: u8) -> Bytes {
    vec![number; 1000 + usize::from(number) * 7].into()
}

fn digest(number: u8) -> Digest {
    Digest::of(&content(number))
}

fn named(image: usize) -> BTreeSet<u8> {
    let (_, top, below) = IMAGES[image];
    let children = below.iter().flat_map(|(child, content)| content.iter().chain([child]));
    children.copied().chain([top]).collect()
}

fn stored(folder: &Path) -> BTreeMap<String, u64> {
    let below = |path: &Path| std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap()).collect::<Vec<_>>();
    let files = below(&folder.join("blobs/sha256")).into_iter().flat_map(|shelf| below(&shelf.path()));
    files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len())).collect()
}

struct Model {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    parts: Option<(Arc<DiskStore>, Ledger)>,
}

impl Model {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH));
        let mut model = Self { folder: tempfile::tempdir().unwrap(), clock, parts: None };
        model.start();
        model
    }

    fn start(&mut self) {
        self.parts = None;
        let store = Arc::new(DiskStore::open(self.folder.path()).unwrap());
        self.parts = Some((store, Ledger::open(&self.folder.path().join("ledger.sqlite")).unwrap()));
    }

    fn parts(&self) -> &(Arc<DiskStore>, Ledger) {
        self.parts.as_ref().unwrap()
    }

    async fn pull(&self, image: usize) {
        self.clock.set(self.clock.now() + SignedDuration::from_secs(1));
        let (store, ledger) = self.parts();
        let (repository, top, below) = IMAGES[image];
        let repository: Repository = repository.parse().unwrap();
        for number in named(image) {
            store.write(content(number)).await.unwrap();
        }
        let edges = |parent: u8, children: Vec<(Digest, bool)>| Edges { parent: Some(digest(parent)), children };
        let children = below.iter().map(|(child, content)| (digest(*child), !content.is_empty()));
        ledger.record_edges(&repository, edges(top, children.collect())).await.unwrap();
        for (child, content) in below {
            let content = content.iter().map(|number| (digest(*number), false));
            ledger.record_edges(&repository, edges(*child, content.collect())).await.unwrap();
        }
        ledger.note_use(&repository, digest(top), self.clock.now());
    }

    async fn kept(&self) -> Vec<usize> {
        let mut kept = Vec::new();
        for (number, (repository, top, _)) in IMAGES.into_iter().enumerate() {
            let used = self.parts().1.used_at(&repository.parse().unwrap(), digest(top)).await.unwrap();
            kept.extend(used.map(|_| number));
        }
        kept
    }

    async fn collect(&self, target: u64, rehearse: bool) -> Evicted {
        let (store, ledger) = self.parts().clone();
        let options = EvictionOptions { keep: Vec::new(), idle: Duration::ZERO };
        // Files are stamped by the machine's clock, images by the model's: neither is younger than nothing.
        let mut evictor = Evictor::new(store, ledger, Arc::clone(&self.clock) as _, SpaceMetrics::default(), options);
        evictor.collect(Some(target), rehearse).await.unwrap().evicted
    }

    async fn evict(&mut self, hundredths: u64) {
        self.parts().1.write_uses().await.unwrap();
        let before = self.kept().await;
        let target = self.parts().0.usage().bytes * hundredths / 100;
        let expected = self.collect(target, true).await;
        self.start();
        assert_eq!(self.collect(target, false).await, expected, "a rehearsal says what will be");
        assert!(self.parts().0.usage().bytes <= target);

        let (after, stored) = (self.kept().await, stored(self.folder.path()));
        let needed: BTreeSet<u8> = after.iter().flat_map(|image| named(*image)).collect();
        let missing: Vec<_> = needed.iter().filter(|number| !stored.contains_key(&digest(**number).hex())).collect();
        assert!(missing.is_empty(), "{after:?} need {missing:?}");
        assert_eq!(stored.len(), needed.len(), "nothing else is left");
        assert!(after.iter().all(|image| before.contains(image)));
    }

    fn check_account(&self) {
        let (usage, stored) = (self.parts().0.usage(), stored(self.folder.path()));
        assert_eq!((usage.blobs, usage.bytes), (stored.len() as u64, stored.values().sum()));
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => (0..IMAGES.len()).prop_map(Step::Pull),
        1 => (40u8..44).prop_map(Step::Orphan),
        3 => (0u64..=100).prop_map(Step::Evict),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..14)
}

proptest! {
    // Each step waits for the disk.
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_is_kept_whole_and_the_account_is_right(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut model = Model::new();
            for step in steps {
                match step {
                    Step::Pull(image) => model.pull(image).await,
                    Step::Orphan(number) => model.parts().0.write(content(number)).await.unwrap(),
                    Step::Evict(hundredths) => model.evict(hundredths).await,
                    Step::Restart => {
                        let (store, ledger) = model.parts();
                        ledger.write_uses().await.unwrap();
                        store.write_account().await.unwrap();
                        model.start();
                    }
                }
                model.check_account();
            }
        });
    }
}
