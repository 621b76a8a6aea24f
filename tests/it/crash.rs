//! Kills the real program at random moments under load, again and again, in one cache folder.
//!
//! Promised, and checked in each cycle: what a client gets is right as far as it goes; nothing that was published
//! is lost or changed; what was answered in whole is answered again after the crash, without upstream; and no
//! unfinished file stays.
//!
//! By hand: `ASSAY_CRASH_CYCLES=1000`. `ASSAY_CRASH_SEED` repeats a run as far as timing lets it.
//! `ASSAY_CRASH_PROGRAM` is killed instead of the one that was built with this. `ASSAY_CRASH_DIR` puts the cache there, and `ASSAY_CRASH_CUT` names a program that cuts the power of the
//! disk below it instead of only killing the process: `tests/e2e/powercut`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, Document, ImageBuilder, Signer};
use assay::oci::Digest;
use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

use crate::support::cache_folder::{names, path_of};
use crate::support::random::Random;
use crate::support::serving::{configuration, free_address};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch};

/// Enough to notice when something is plainly broken; CI asks for more.
const CYCLES: usize = 5;

const IMAGES: usize = 4;
const CLIENTS: usize = 6;

/// Longest wait for the program to come up.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_loses_nothing_and_serves_nothing_wrong() {
    let cycles = variable("ASSAY_CRASH_CYCLES").map_or(CYCLES, |text| text.parse().unwrap());
    let seed = variable("ASSAY_CRASH_SEED").map_or(20_261_123, |text| text.parse().unwrap());
    let mut world = World::new(seed).await;
    for cycle in 0..cycles {
        world.cycle(cycle).await;
    }
    println!("{cycles} crashes, seed {seed}: {:?}", world.seen.lock().unwrap());
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What was seen in all cycles.
#[derive(Debug, Default)]
struct Seen {
    complete: usize,
    cut: usize,
    errors: usize,
    published: usize,
    offline: usize,
    not_yet_published: usize,
}

struct World {
    upstream: NastyUpstream,
    images: Arc<Vec<BuiltImage>>,
    /// All content there is, by digest.
    content: Arc<BTreeMap<Digest, Bytes>>,
    home: tempfile::TempDir,
    cache: PathBuf,
    cut: Option<String>,
    random: Random,
    seen: Arc<Mutex<Seen>>,
    /// Images of which a client got every part before the crash.
    pulled: BTreeSet<usize>,
    /// What the program said to be published before the crash.
    published: BTreeSet<Digest>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
        let image = |n: usize| {
            ImageBuilder::new(format!("image {n}")).layer_padding(100_000 + n * 900_000).filler_layer(300_000).build()
        };
        let images: Vec<_> = (0..IMAGES).map(image).collect();
        let mut content = BTreeMap::new();
        for (n, image) in images.iter().enumerate() {
            upstream.registry().push_image("app", &format!("v{n}"), image);
            upstream.registry().push_artefact("app", &signer.bundle(&image.index));
            content.extend(image.documents().map(|document| (document.digest, document.bytes.clone())));
            content.insert(image.index.digest, image.index.bytes.clone());
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("acme.pub"), signer.public_key_pem()).unwrap();
        let cache = variable("ASSAY_CRASH_DIR").map_or_else(|| home.path().join("cache"), PathBuf::from);
        Self {
            upstream,
            images: Arc::new(images),
            content: Arc::new(content),
            home,
            cache,
            cut: variable("ASSAY_CRASH_CUT"),
            random: Random::new(seed),
            seen: Arc::default(),
            pulled: BTreeSet::new(),
            published: BTreeSet::new(),
        }
    }

    /// Start, look at what the last crash left, load, crash.
    async fn cycle(&mut self, cycle: usize) {
        let server = Server::start(self.home.path(), &self.cache, &self.upstream).await;
        assert_eq!(std::fs::read_dir(self.cache.join("spool")).unwrap().count(), 0, "cycle {cycle}: leftovers");
        self.what_was_answered_is_answered_without_upstream(&server, cycle).await;
        self.upstream.behave();
        self.misbehave_a_little();

        let clients: Vec<_> = (0..CLIENTS).map(|_| self.client(server.address)).collect();
        tokio::time::sleep(Duration::from_millis(20 + self.random.below(700))).await;
        server.freeze();
        let log = server.log();
        let named = names(&self.cache);
        match &self.cut {
            None => drop(server),
            Some(program) => {
                let cut = Command::new(program).arg(server.child.id().to_string()).status().unwrap();
                assert!(cut.success(), "the power could not be cut");
                drop(server);
            }
        }
        let mut pulled = BTreeSet::new();
        for client in clients {
            pulled.extend(client.await.unwrap());
        }
        self.pulled = pulled;
        self.published = published(&log);
        self.check_the_disk(&named, cycle);
        self.forget_some();
    }

    fn check_the_disk(&self, named: &BTreeSet<Digest>, cycle: usize) {
        let after = names(&self.cache);
        // The disk may lose a name that was not synced yet; a process that ends loses none.
        let promised = if self.cut.is_some() { &self.published } else { named };
        let lost: Vec<_> = promised.difference(&after).collect();
        assert!(lost.is_empty(), "cycle {cycle}: published, and gone: {lost:?}");
        assert!(self.published.is_subset(named) || self.cut.is_some(), "cycle {cycle}");
        for digest in &after {
            let bytes = std::fs::read(path_of(&self.cache, *digest)).unwrap();
            assert_eq!(Digest::of(&bytes), *digest, "cycle {cycle}: named, and not what its name says");
        }
        let mut seen = self.seen.lock().unwrap();
        seen.published += promised.len();
        let parts = self.pulled.iter().flat_map(|n| parts(&self.images[*n]));
        seen.not_yet_published += parts.filter(|document| !after.contains(&document.digest)).count();
    }

    async fn what_was_answered_is_answered_without_upstream(&self, server: &Server, cycle: usize) {
        self.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
        for n in &self.pulled {
            let image = &self.images[*n];
            for document in parts(image) {
                let got = fetch(server.address, document).await;
                self.is_right(document, &got);
                let is_promised = names(&self.cache).contains(&document.digest);
                match got.status {
                    StatusCode::OK if got.complete => self.seen.lock().unwrap().offline += 1,
                    status => {
                        let log = server.log();
                        assert!(!is_promised, "cycle {cycle}: {status} for {} of v{n}\n{log}", document.digest);
                        assert!(status.is_server_error() || status == StatusCode::OK, "cycle {cycle}: {status}");
                    }
                }
            }
        }
        self.upstream.behave();
    }

    fn misbehave_a_little(&mut self) {
        let every = Duration::from_millis(1 + self.random.below(10));
        self.upstream.misbehave(PathMatch::any_blob(), Misbehaviour::Drip { bytes: 64 * 1024, every });
        let parts: Vec<_> = parts(&self.images[self.random.below(IMAGES as u64) as usize]).cloned().collect();
        let one = parts.last().unwrap().digest;
        self.upstream.misbehave_times(2, PathMatch::blob(one), Misbehaviour::CorruptLast);
        self.upstream.misbehave_times(2, PathMatch::blob(parts[parts.len() - 2].digest), Misbehaviour::CutAfter(1000));
    }

    /// So that there is always something to fetch, and every mixture of files and rows.
    fn forget_some(&mut self) {
        let mut gone = BTreeSet::new();
        for digest in names(&self.cache) {
            if self.random.below(3) == 0 {
                std::fs::remove_file(path_of(&self.cache, digest)).unwrap();
                gone.insert(digest);
            }
        }
        self.published.retain(|digest| !gone.contains(digest));
        if self.random.below(6) == 0 {
            for name in ["ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm"] {
                let _absent = std::fs::remove_file(self.cache.join(name));
            }
            self.pulled.clear();
        }
        // Without its manifests nothing vouches for a layer; that is no loss of the crash's.
        let images = Arc::clone(&self.images);
        self.pulled.retain(|n| parts(&images[*n]).take(2).all(|manifest| !gone.contains(&manifest.digest)));
    }

    /// Pulls image after image until the program is gone. Returns which it got whole.
    fn client(&mut self, server: SocketAddr) -> tokio::task::JoinHandle<BTreeSet<usize>> {
        let (images, content, seen) = (Arc::clone(&self.images), Arc::clone(&self.content), Arc::clone(&self.seen));
        let mut random = Random::new(self.random.next());
        tokio::spawn(async move {
            let mut whole = BTreeSet::new();
            loop {
                let n = random.below(IMAGES as u64) as usize;
                let mut all = true;
                for document in parts(&images[n]) {
                    let got = fetch(server, document).await;
                    check(&content, document, &got, &seen);
                    all &= got.complete && got.status == StatusCode::OK;
                    if got.is_gone {
                        return whole;
                    }
                }
                if all {
                    whole.insert(n);
                }
            }
        })
    }

    fn is_right(&self, document: &Document, got: &Got) {
        check(&self.content, document, got, &self.seen);
    }
}

/// Index, platform, config, layers: as an engine asks, by digest.
fn parts(image: &BuiltImage) -> impl Iterator<Item = &Document> {
    let platform = image.platform("amd64").unwrap();
    std::iter::once(&image.index).chain(platform.documents())
}

/// Whole answers are right; others are right as far as they go; and nobody is told a wrong reason.
fn check(content: &BTreeMap<Digest, Bytes>, document: &Document, got: &Got, seen: &Mutex<Seen>) {
    let mut seen = seen.lock().unwrap();
    match got.status {
        StatusCode::OK if got.complete => {
            assert_eq!(got.body, document.bytes, "complete, and wrong: {}", document.digest);
            seen.complete += 1;
        }
        StatusCode::OK => {
            // The last byte may be what upstream sent wrong, so it never comes without the rest.
            assert!(got.body.len() < document.bytes.len(), "all bytes of what is not complete: {}", document.digest);
            assert_eq!(got.body, document.bytes[..got.body.len()], "wrong bytes of {}", document.digest);
            seen.cut += 1;
        }
        status => {
            assert!(status.is_server_error(), "{status} for {}: {:?}", document.digest, got.body);
            seen.errors += 1;
        }
    }
    assert!(content.contains_key(&document.digest));
}

struct Got {
    status: StatusCode,
    body: Bytes,
    complete: bool,
    /// Nobody answers any more.
    is_gone: bool,
}

impl Got {
    fn nothing(is_gone: bool) -> Self {
        Self { status: StatusCode::OK, body: Bytes::new(), complete: false, is_gone }
    }
}

async fn fetch(server: SocketAddr, document: &Document) -> Got {
    let kind = match document.media_type.as_str() {
        kind if kind.contains("manifest") || kind.contains("index") => "manifests",
        _ => "blobs",
    };
    let path = format!("/v2/test.assay/app/{kind}/{}", document.digest);
    tokio::time::timeout(PATIENCE, exchange(server, &path)).await.unwrap_or_else(|_| panic!("no answer to {path}"))
}

async fn exchange(server: SocketAddr, path: &str) -> Got {
    let Ok(stream) = TcpStream::connect(server).await else { return Got::nothing(true) };
    let Ok((mut sender, connection)) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await else {
        return Got::nothing(true);
    };
    tokio::spawn(connection);
    let request = Request::get(path).header("host", server.to_string()).body(Empty::<Bytes>::new()).unwrap();
    let Ok(answer) = sender.send_request(request).await else { return Got::nothing(true) };
    let (status, mut body, mut bytes) = (answer.status(), answer.into_body(), BytesMut::new());
    loop {
        match body.frame().await {
            None => return Got { status, body: bytes.freeze(), complete: true, is_gone: false },
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Some(Err(_)) => return Got { status, body: bytes.freeze(), complete: false, is_gone: false },
        }
    }
}

struct Server {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Server {
    async fn start(home: &Path, cache: &Path, upstream: &NastyUpstream) -> Self {
        let (address, admin) = (free_address(), free_address());
        let log = "[log]\nformat = \"json\"\nlevel = \"debug\"\naccess = false\n";
        let config = configuration(address, admin, upstream, cache) + log;
        std::fs::write(home.join("proxy.toml"), config).unwrap();
        let log = home.join("log");
        let program = variable("ASSAY_CRASH_PROGRAM").unwrap_or(env!("CARGO_BIN_EXE_assay").to_owned());
        let child = Command::new(program)
            .args(["serve", "-c", home.join("proxy.toml").to_str().unwrap()])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, address, log };
        let started = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(started.elapsed() < PATIENCE, "it does not come up:\n{}", server.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        server
    }

    /// No step further, so that what is there now is what there is to lose.
    fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
        let stat = format!("/proc/{}/stat", self.child.id());
        let is_stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
        while !is_stopped() {
            std::thread::yield_now();
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What the program said to be safe from a power cut.
fn published(log: &str) -> BTreeSet<Digest> {
    let lines = log.lines().filter(|line| line.contains("\"content is published\""));
    lines.filter_map(|line| line.split("\"digest\":\"").nth(1)?.split('"').next()?.parse().ok()).collect()
}
