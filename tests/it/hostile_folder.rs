//! What somebody puts into the cache folder who can write to it: nothing outside of it is touched, nothing waits for ever,
//! and what is right is served.

use std::fs::{self, FileTimes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use assay::clock::SystemClock;
use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::ledger::Ledger;
use assay::oci::Digest;
use assay::size::Size;
use assay::store::{DiskStore, Disposal, Limits, Reading};
use assay::telemetry::SpaceMetrics;
use assay::upkeep::{EvictionOptions, Evictor, Manner, everything};
use bytes::Bytes;
use http::StatusCode;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::support::cache_folder::path_of;
use crate::support::client::get;
use crate::support::proxy::signed_by;
use crate::support::serving::Launch;
use crate::support::{NastyUpstream, Proxy, Setup};

/// Pulled at once where one after the other would take too long.
const IMAGES: usize = 8;

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    images: Vec<BuiltImage>,
}

impl World {
    async fn new(images: usize) -> Self {
        let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
        let image = |n: usize| ImageBuilder::new(format!("Hello {n}")).layer_padding(300_000).build();
        let images: Vec<_> = (0..images).map(image).collect();
        for (n, image) in images.iter().enumerate() {
            upstream.registry().push_image("app", &n.to_string(), image);
            upstream.registry().push_artefact("app", &signer.bundle(&image.index));
        }
        Self { upstream, signer, images }
    }

    fn launch(&self) -> Launch {
        Launch::new(&self.upstream, &self.signer.public_key_pem())
    }

    async fn start(&self, folder: Arc<tempfile::TempDir>) -> Proxy {
        Setup::new(signed_by(&self.signer)).start_in(&self.upstream, folder).await
    }

    fn layer(&self) -> Digest {
        self.images[0].platform("amd64").unwrap().layers[0].digest
    }

    /// As a client does.
    async fn pull(&self, server: std::net::SocketAddr, n: usize) {
        let platform = self.images[n].platform("amd64").unwrap();
        for (document, path) in [
            (&self.images[n].index, format!("manifests/{n}")),
            (&platform.manifest, format!("manifests/{}", platform.manifest.digest)),
            (&platform.config, format!("blobs/{}", platform.config.digest)),
            (&platform.layers[0], format!("blobs/{}", platform.layers[0].digest)),
        ] {
            let got = get(server, &format!("/v2/test.assay/app/{path}")).await;
            assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.message());
            assert!(got.complete && got.body == document.bytes, "{path}");
        }
    }
}

/// Somebody else's files.
struct Outside(tempfile::TempDir);

impl Outside {
    /// Among them one that is named like content.
    fn new(digest: Digest) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("deep")).unwrap();
        // Files on their way in are numbered.
        for name in ["one", "deep/two", "0", "1", "2", "7", &digest.hex()] {
            fs::write(folder.path().join(name), "precious").unwrap();
        }
        Self(folder)
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("one")
    }

    fn is_untouched(&self) -> bool {
        let mut files = 0;
        let mut open = vec![self.0.path().to_owned()];
        while let Some(path) = open.pop() {
            match path.is_dir() {
                true => open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
                false => files += usize::from(fs::read(&path).unwrap() == b"precious"),
            }
        }
        files == 7
    }
}

/// Everything that Assay does to a folder while nobody asks: what is orphaned goes, and then all else, and all is hashed.
async fn keep_in_order(folder: &Path) {
    let store = Arc::new(DiskStore::open(folder).unwrap());
    let ledger = Ledger::open(&folder.join("ledger.sqlite")).unwrap();
    let options = EvictionOptions { keep: Vec::new(), idle: Duration::ZERO };
    let clock = Arc::new(SystemClock);
    let mut evictor = Evictor::new(Arc::clone(&store), ledger, clock, SpaceMetrics::default(), options);
    evictor.collect(None, false).await.unwrap();
    evictor.collect(Some(0), false).await.unwrap();
    evictor.write_down().await;
    everything(&store, Manner { reading: Reading::Shared, disposal: Disposal::Delete, rate: None }).await.unwrap();
}

#[tokio::test]
async fn links_out_of_the_folder_are_not_followed() {
    let world = World::new(1).await;
    let shelf = |folder: &Path| path_of(folder, world.layer()).parent().unwrap().to_owned();
    type Link<'a> = (&'a str, &'a dyn Fn(&Path, &Outside));
    let replace = |path: &Path, target: &Path| {
        let _absent = (fs::remove_file(path), fs::remove_dir_all(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    };
    let links: [Link<'_>; 5] = [
        ("spool", &|folder, outside| replace(&folder.join("spool"), outside.0.path())),
        ("quarantine", &|folder, outside| replace(&folder.join("quarantine"), outside.0.path())),
        ("content", &|folder, outside| replace(&shelf(folder), outside.0.path())),
        ("one content", &|folder, outside| replace(&path_of(folder, world.layer()), &outside.file())),
        ("notes", &|folder, outside| {
            for name in ["account", "account.new", "scrub", "scrub.new"] {
                replace(&folder.join(name), &outside.file());
            }
        }),
    ];
    for (what, link) in links {
        // At start, while it serves, and when it is kept in order.
        let outside = Outside::new(world.layer());
        let folder = Arc::new(tempfile::tempdir().unwrap());
        link(folder.path(), &outside);
        let proxy = world.start(Arc::clone(&folder)).await;
        world.pull(proxy.address, 0).await;
        link(folder.path(), &outside);
        world.pull(proxy.address, 0).await;
        // What was taken away is here again, in a place of ours.
        world.pull(proxy.address, 0).await;
        while what.contains("content")
            && !fs::symlink_metadata(path_of(folder.path(), world.layer())).is_ok_and(|it| it.is_file())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(outside.is_untouched(), "{what}: while it serves");
        let folder = proxy.stop().await;
        link(folder.path(), &outside);
        keep_in_order(folder.path()).await;
        assert!(outside.is_untouched(), "{what}: when it is kept in order");
    }
}

#[tokio::test]
async fn content_in_a_linked_folder_is_not_used_and_the_start_says_so() {
    let world = World::new(1).await;
    for linked in ["blobs", "blobs/sha256"] {
        let (folder, outside) = (tempfile::tempdir().unwrap(), Outside::new(world.layer()));
        fs::create_dir_all(folder.path().join(linked).parent().unwrap()).unwrap();
        symlink(outside.0.path(), folder.path().join(linked)).unwrap();
        let error = DiskStore::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(linked), "{error}");
        assert!(outside.is_untouched());
    }
    // Honest sibling: the cache folder itself may lie elsewhere.
    let (real, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    symlink(real.path(), home.path().join("cache")).unwrap();
    DiskStore::open(&home.path().join("cache")).unwrap();
}

#[tokio::test]
async fn a_link_that_comes_while_it_serves_is_not_followed_and_content_passes_through() {
    let world = World::new(1).await;
    for linked in ["blobs", "blobs/sha256"] {
        let outside = Outside::new(world.layer());
        let shelf = path_of(outside.0.path(), world.layer());
        let proxy = world.start(Arc::new(tempfile::tempdir().unwrap())).await;
        world.pull(proxy.address, 0).await;
        proxy.published(world.layer()).await;
        let (path, aside) = (proxy.folder().join(linked), proxy.folder().join("aside"));
        fs::rename(&path, &aside).unwrap();
        // With all that is needed to keep content there.
        fs::create_dir_all(shelf.parent().unwrap()).unwrap();
        fs::create_dir_all(outside.0.path().join("sha256").join(&world.layer().hex()[..2])).unwrap();
        symlink(outside.0.path().join(if linked == "blobs" { "" } else { "blobs/sha256" }), &path).unwrap();
        world.pull(proxy.address, 0).await;
        assert!(outside.is_untouched() && !shelf.exists());
        // Honest sibling: what was there is used again.
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
        let layer = get(proxy.address, &proxy.blob_path("app", world.layer())).await;
        assert!(layer.complete && layer.headers["assay-cache"] == "hit");
    }
}

/// To make room, by hand.
#[tokio::test]
async fn content_that_is_removed_while_it_serves_is_fetched_and_kept_again() {
    let world = World::new(1).await;
    let proxy = world.start(Arc::new(tempfile::tempdir().unwrap())).await;
    for folder in ["blobs", "blobs/sha256", "spool", "quarantine"] {
        world.pull(proxy.address, 0).await;
        proxy.published(world.layer()).await;
        fs::remove_dir_all(proxy.folder().join(folder)).unwrap();
    }
    world.pull(proxy.address, 0).await;
    proxy.published(world.layer()).await;
}

#[tokio::test]
async fn an_account_that_is_wrong_evicts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { max_size: Size::Bytes(1_000_000), min_free: Size::Bytes(0) };
    let open = || Arc::new(DiskStore::open_within(folder.path(), limits, SpaceMetrics::default()).unwrap());
    let content = Bytes::from("content");
    let digest = Digest::of(&content);
    let store = open();
    store.write(content).await.unwrap();
    let account = folder.path().join("account");
    let written = async {
        // A folder that has just changed is not written down yet.
        while !fs::read_to_string(&account).is_ok_and(|text| text.contains(" 1 7 ")) {
            store.write_account().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), written).await.expect("it is written down");
    drop(store);
    let text = fs::read_to_string(&account).unwrap();
    for lie in ["1000007", "72057594037927935", "18446744073709551615"] {
        fs::write(&account, text.replace(" 1 7 ", &format!(" 1 {lie} "))).unwrap();
        let (store, ledger) = (open(), Ledger::in_memory().unwrap());
        let repository = "test.assay/app".parse().unwrap();
        ledger.note_use(&repository, digest, (SystemTime::now() - Duration::from_secs(60)).try_into().unwrap());
        ledger.write_uses().await.unwrap();
        let options = EvictionOptions { keep: Vec::new(), idle: Duration::ZERO };
        let (clock, metrics) = (Arc::new(SystemClock), SpaceMetrics::default());
        let mut evictor = Evictor::new(Arc::clone(&store), ledger.clone(), clock, metrics, options);
        evictor.make_room().await;
        assert!(store.has(digest).await, "{lie}");
        assert_eq!(store.usage().bytes, 7, "{lie}");
        assert!(ledger.used_at(&repository, digest).await.unwrap().is_some(), "{lie}");
    }
}

#[tokio::test]
async fn pipes_in_the_place_of_files_are_not_waited_for() {
    let world = World::new(1).await;
    let pipes = |cache: &Path| {
        fs::create_dir_all(cache).unwrap();
        for name in ["account", "account.new", "scrub", "scrub.new", "ledger.sqlite", "ledger.sqlite-wal", "quarantine"]
        {
            let path = cache.join(name);
            let _absent = fs::remove_file(&path);
            let _kept = mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0);
        }
    };
    let launch = world.launch();
    pipes(&launch.path("cache"));
    let mut serving = launch.start().await;
    world.pull(serving.server, 0).await;
    pipes(&serving.path("cache"));
    world.pull(serving.server, 0).await;
    serving.signal(Signal::TERM);
    assert!(serving.ended().await.success());
}

#[tokio::test]
async fn a_pipe_in_the_place_of_the_lock_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    mknodat(CWD, folder.path().join("lock"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    assert!(DiskStore::open(folder.path()).is_err());
}

/// `sqlite3` with a transaction that somebody forgot. A client waits for 30 s.
#[tokio::test]
async fn a_ledger_that_somebody_holds_ends_no_pull() {
    let world = World::new(IMAGES).await;
    let serving = world.launch().start().await;
    let other = rusqlite::Connection::open(serving.path("cache/ledger.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    futures_util::future::join_all((0..IMAGES).map(|n| world.pull(serving.server, n))).await;
}

#[tokio::test]
async fn a_ledger_that_never_answers_ends_no_pull() {
    const ENDLESS: &str = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n)";
    let world = World::new(2).await;
    let serving = world.launch().start().await;
    world.pull(serving.server, 0).await;
    let trigger = format!(
        "CREATE TRIGGER more AFTER INSERT ON verdict BEGIN
             INSERT INTO tag SELECT 'a', 'b', count(*), 'c' FROM ({ENDLESS} SELECT n FROM n); END"
    );
    rusqlite::Connection::open(serving.path("cache/ledger.sqlite")).unwrap().execute_batch(&trigger).unwrap();
    world.pull(serving.server, 1).await;
}

/// A machine that starts with a clock of tomorrow, until it hears the time.
#[tokio::test]
async fn what_was_used_and_written_in_the_future_goes_like_everything_else() {
    let world = World::new(1).await;
    let proxy = world.start(Arc::new(tempfile::tempdir().unwrap())).await;
    world.pull(proxy.address, 0).await;
    let future = SystemTime::now() + Duration::from_secs(24 * 60 * 60);
    let digest = world.images[0].index.digest;
    proxy.ledger.note_use(&"test.assay/app".parse().unwrap(), digest, future.try_into().unwrap());
    proxy.ledger.write_uses().await.unwrap();
    let folder = proxy.stop().await;
    let files = || crate::support::cache_folder::names(folder.path());
    assert!(files().len() >= 4);
    for digest in files() {
        let file = fs::OpenOptions::new().write(true).open(path_of(folder.path(), digest)).unwrap();
        file.set_times(FileTimes::new().set_modified(future)).unwrap();
    }
    keep_in_order(folder.path()).await;
    assert!(files().is_empty(), "{:?}", files());
}
