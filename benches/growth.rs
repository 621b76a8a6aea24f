//! What a growing cache costs: `cargo bench --bench growth -- 1000 100000`, one line for each number of stored blobs.
//!
//! One real signed image among many made-up ones of ten small files each, in as many repositories as a busy proxy has. Start:
//! from an open folder to parts that answer. Memory: what the start took. Hits: over HTTP, a connection each. Eviction: a
//! twentieth of what is stored, with the longest that a question to the ledger had to wait meanwhile.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark plays the other side, too")]

#[path = "../tests/support/mod.rs"]
#[expect(unused_imports, reason = "benchmarks use a part of it")]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay::clock::SystemClock;
use assay::demo::{ImageBuilder, Signer};
use assay::ledger::Ledger;
use assay::oci::Digest;
use assay::store::DiskStore;
use assay::telemetry::SpaceMetrics;
use assay::trust::Fingerprint;
use assay::upkeep::{EvictionOptions, Evictor};
use rusqlite::params;
use support::client::get;
use support::{NastyUpstream, Proxy, Setup, proxy};

const FILE: usize = 1024;
const FILES_OF_AN_IMAGE: usize = 10;
const IMAGES_OF_A_REPOSITORY: usize = 100;
const HITS: usize = 500;

#[tokio::main]
async fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|one| one.parse().ok()).collect();
    println!(
        "{:>9} {:>10} {:>10} {:>12} {:>10} {:>10} {:>10} {:>11} {:>12}",
        "blobs", "start", "uncounted", "memory", "hit p50", "hit p99", "first hit", "evict 5 %", "longest wait"
    );
    for blobs in if sizes.is_empty() { vec![1000] } else { sizes } {
        measure(blobs).await;
    }
}

async fn measure(blobs: usize) {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let image = ImageBuilder::new("Hello").layer_padding(100_000).build();
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let proxy = Proxy::start(&upstream, &signer).await;
    let platform = image.platform("amd64").unwrap();
    let layer = proxy.blob_path("app", platform.layers[0].digest);
    for path in [proxy.manifest_path("app", "1.0"), proxy.manifest_path("app", platform.manifest.digest), layer.clone()]
    {
        assert!(get(proxy.address, &path).await.complete);
    }
    let folder = proxy.stop().await;
    fill(folder.path(), blobs);
    // A folder that has changed this moment is counted again.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let store = DiskStore::open(folder.path()).unwrap();
    while let Some(shelf) = store.uncounted() {
        store.count(shelf).await.unwrap();
    }
    store.write_account().await.unwrap();
    drop(store);

    let blobs = on_disk(folder.path());
    let before = resident();
    let started = Instant::now();
    let proxy = Setup::new(proxy::signed_by(&signer)).start_in(&upstream, folder).await;
    let start = started.elapsed();
    let uncounted = proxy.store.uncounted().is_some();
    let first = timed(&proxy, &layer).await;
    let memory = resident().saturating_sub(before);
    let mut hits = Vec::new();
    for _ in 0..HITS {
        hits.push(timed(&proxy, &layer).await);
    }
    hits.sort();
    let (evict, wait) = evict(&proxy.store, &proxy.ledger).await;
    assert!(get(proxy.address, &layer).await.complete);
    println!(
        "{blobs:>9} {start:>10.1?} {uncounted:>10} {:>8} KiB {:>10.1?} {:>10.1?} {first:>10.1?} {evict:>11.1?} {wait:>12.1?}",
        memory / 1024,
        hits[HITS / 2],
        hits[HITS * 99 / 100],
    );
}

fn on_disk(folder: &Path) -> usize {
    let shelves = std::fs::read_dir(folder.join("blobs/sha256")).unwrap();
    shelves.map(|shelf| std::fs::read_dir(shelf.unwrap().path()).unwrap().count()).sum()
}

async fn timed(proxy: &Proxy, path: &str) -> Duration {
    let started = Instant::now();
    assert!(get(proxy.address, path).await.complete);
    started.elapsed()
}

/// Files and rows as pulls leave them, without waiting for the disk at each.
fn fill(folder: &Path, blobs: usize) {
    let mut ledger = rusqlite::Connection::open(folder.join("ledger.sqlite")).unwrap();
    let rows = ledger.transaction().unwrap();
    for image in 0..blobs / FILES_OF_AN_IMAGE {
        let repository = format!("made-up.test/team-{}/app", image / IMAGES_OF_A_REPOSITORY);
        let names: Vec<Digest> = (0..FILES_OF_AN_IMAGE).map(|file| put(folder, image, file)).collect();
        let top = names[0].to_string();
        for child in &names[1..] {
            let row = params![repository, top, child.to_string(), false];
            rows.prepare_cached("INSERT INTO edge VALUES (?1, ?2, ?3, ?4)").unwrap().execute(row).unwrap();
        }
        let row = params![repository, top, image as i64];
        rows.prepare_cached("INSERT INTO image VALUES (?1, ?2, 1, ?3)").unwrap().execute(row).unwrap();
    }
    rows.commit().unwrap();
}

/// The last two files of each image are those of the image before it, too, as base layers are.
fn put(folder: &Path, image: usize, file: usize) -> Digest {
    let own = if file + 2 >= FILES_OF_AN_IMAGE { image / 2 } else { image };
    let mut content = format!("{own} {file}").into_bytes();
    content.resize(FILE, b' ');
    let digest = Digest::of(&content);
    let path = folder.join("blobs/sha256").join(&digest.hex()[..2]);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join(digest.hex()), content).unwrap();
    digest
}

async fn evict(store: &Arc<DiskStore>, ledger: &Ledger) -> (Duration, Duration) {
    let options = EvictionOptions { keep: Vec::new(), idle: Duration::ZERO };
    let metrics = SpaceMetrics::default();
    let mut evictor = Evictor::new(Arc::clone(store), ledger.clone(), Arc::new(SystemClock), metrics, options);
    let target = store.usage().bytes / 20 * 19;
    let done = tokio_util::sync::CancellationToken::new();
    let asking = {
        let (ledger, done) = (ledger.clone(), done.clone());
        tokio::spawn(async move {
            let (repository, mut longest) = ("made-up.test/team-0/app".parse().unwrap(), Duration::ZERO);
            let rule = Fingerprint { rule: Digest::of(b"rule"), trust: Digest::of(b"keys") };
            while !done.is_cancelled() {
                let asked = Instant::now();
                ledger.parents(&repository, Digest::of(b"nothing"), rule, 16).await.unwrap();
                longest = longest.max(asked.elapsed());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            longest
        })
    };
    let started = Instant::now();
    let collected = evictor.collect(Some(target), false).await.unwrap();
    let took = started.elapsed();
    done.cancel();
    assert!(collected.stored_bytes <= target && collected.evicted.orphans == 0, "{collected:?}");
    (took, asking.await.unwrap())
}

/// Memory of this process that is not files.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
