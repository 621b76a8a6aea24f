//! The real program under a mixture of everything: more images than fit, an upstream that comes and goes, rules that
//! change, clients that leave in the middle.
//!
//! Promised, and checked with each answer: what is complete is right; what nobody of the rule in force signed is never
//! served; what has to be there (a kept image; anything signed while upstream is well) is. At the end the books fit the
//! disk, each file fits its name, and the program ends when it is told to.
//!
//! By hand: `ASSAY_SOAK_SECONDS=3600`, which prints a line of what it sees every minute. `ASSAY_SOAK_SEED` repeats a
//! run as far as timing lets it. `ASSAY_SOAK_PROGRAM` is run instead of the one that was built with this.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, Document, ImageBuilder, Signer};
use assay::oci::Digest;
use http::{Method, StatusCode};
use rustix::process::Signal;
use tokio::task::JoinHandle;

use crate::support::cache_folder::{files_below, names, path_of};
use crate::support::client::{Got, Http, head, leave_after, send};
use crate::support::random::Random;
use crate::support::serving::{Launch, Serving};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch};

/// Enough to notice when something is plainly broken.
const SECONDS: u64 = 20;
const CLIENTS: u64 = 8;
/// Some three times what fits.
const IMAGES: usize = 48;
const LAYER: usize = 1_500_000;
const ROOM: &str = "50MiB";
/// So many images are asked for at a time; which ones they are moves on.
const FASHION: u64 = 12;
/// After upstream is well again, until it must be seen to be: a circuit asks each 0.8 s.
const HEALED: Duration = Duration::from_secs(5);
/// The same after it said nothing: who asked then is still waited for, and who asks for the same joins for some seconds
/// and then asks anew, each part of an image in its turn.
const HEARD_AGAIN: Duration = Duration::from_secs(40);
/// A client's, with an upstream that says nothing.
const PATIENCE: Duration = Duration::from_secs(25);
/// Most anonymous memory and open files of the program, whatever it lives through.
const MEMORY_MAX_MIB: u64 = 400;
const FILES_MAX: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_for_a_while() {
    let variable = |name: &str, or: u64| std::env::var(name).map_or(or, |text| text.parse().unwrap());
    let time = Duration::from_secs(variable("ASSAY_SOAK_SECONDS", SECONDS));
    let mut random = Random::new(variable("ASSAY_SOAK_SEED", 20_261_123));
    let world = Arc::new(World::new().await);
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(Arc::clone(&world).client(Random::new(random.next())))).collect();
    let upstream = tokio::spawn(Arc::clone(&world).upstream_comes_and_goes(Random::new(random.next())));
    let rules = tokio::spawn(Arc::clone(&world).rules_change(Random::new(random.next())));
    world.watch(time, || clients.iter().any(JoinHandle::is_finished)).await;
    world.over.store(true, Ordering::SeqCst);
    for work in clients.into_iter().chain([upstream, rules]) {
        work.await.unwrap();
    }
    world.say();
    Arc::into_inner(world).expect("all have ended").end().await;
}

/// Who signed an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum SignedBy {
    /// Whom the rule always names. The image is never evicted.
    AcmeKept,
    /// Whom the rule always names.
    Acme,
    /// Whom it names now and then.
    Guest,
    Nobody,
}

struct Image {
    built: BuiltImage,
    signed_by: SignedBy,
    repository: &'static str,
    tag: String,
}

struct World {
    upstream: NastyUpstream,
    images: Vec<Image>,
    serving: Serving,
    started: Instant,
    over: AtomicBool,
    /// Odd while upstream is unwell or not well for long.
    weather: AtomicU64,
    /// Odd while the rule changes; half of it is odd while the guest is named.
    rule: AtomicU64,
    seen: Mutex<Seen>,
}

/// What was seen.
#[derive(Default)]
struct Seen {
    answers: BTreeMap<(SignedBy, &'static str), u64>,
    bytes: u64,
    unwell: u64,
    reloads: u64,
    memory: Vec<u64>,
    files: Vec<u64>,
}

/// What held when a question was asked, and may not hold any more.
#[derive(Clone, Copy, PartialEq)]
struct Moment {
    weather: u64,
    rule: u64,
}

impl Moment {
    fn rule_held_to(self, later: Self) -> bool {
        self.rule == later.rule && self.rule.is_multiple_of(2)
    }

    fn was_fine_to(self, later: Self) -> bool {
        self.weather == later.weather && self.weather.is_multiple_of(2)
    }

    fn names_guest(self) -> bool {
        self.rule / 2 % 2 == 1
    }
}

const ALONE: &str = "key = \"acme.pub\"\n";
const WITH_GUEST: &str = "key = \"acme.pub\"\n[[policy.signer]]\nkey = \"guest.pub\"\n";

impl World {
    async fn new() -> Self {
        let (upstream, acme, guest) =
            (NastyUpstream::start().await, Signer::generate().unwrap(), Signer::generate().unwrap());
        let images = (0..IMAGES).map(|n| {
            let signed_by = match n {
                0 | 1 => SignedBy::AcmeKept,
                _ if n % 12 == 5 => SignedBy::Nobody,
                _ if n % 6 == 3 => SignedBy::Guest,
                _ => SignedBy::Acme,
            };
            let repository = if signed_by == SignedBy::AcmeKept { "kept" } else { "app" };
            // No layer in common: one that a signed image names, too, may be served.
            let built = ImageBuilder::new(format!("image {n}")).layer_padding(LAYER).filler_layer(LAYER + n).build();
            Image { built, signed_by, repository, tag: format!("v{n}") }
        });
        let images: Vec<_> = images.collect();
        for Image { built, signed_by, repository, tag } in &images {
            upstream.registry().push_image(repository, tag, built);
            match signed_by {
                SignedBy::AcmeKept | SignedBy::Acme => {
                    upstream.registry().push_artefact(repository, &acme.bundle(&built.index));
                }
                SignedBy::Guest => {
                    upstream.registry().push_artefact(repository, &guest.bundle(&built.index));
                }
                SignedBy::Nobody => {}
            }
        }
        let room = format!(
            "[cache]\nmax_size = \"{ROOM}\"\nmin_free = \"0%\"\nkeep = [\"test.assay/kept\"]\nscrub = \"1h\"\nreverify = \"1m\"\n"
        );
        let launch = Launch::new(&upstream, &acme.public_key_pem()).with("[cache]\n", &room);
        launch.write("guest.pub", &guest.public_key_pem());
        let serving = match std::env::var("ASSAY_SOAK_PROGRAM") {
            Ok(program) => launch.program(program),
            Err(_) => launch,
        };
        let world = Self {
            upstream,
            images,
            serving: serving.start().await,
            started: Instant::now(),
            over: AtomicBool::new(false),
            weather: AtomicU64::new(0),
            rule: AtomicU64::new(0),
            seen: Mutex::default(),
        };
        for image in world.images.iter().filter(|image| image.signed_by == SignedBy::AcmeKept) {
            for architecture in ["amd64", "arm64"] {
                for (path, document) in std::iter::once(image.by_tag()).chain(image.parts(architecture)) {
                    let got = world.get(&path).await;
                    assert!(got.complete && got.body == document.bytes, "{path}: {} {}", got.status, got.message());
                }
            }
        }
        world
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn now(&self) -> Moment {
        Moment { weather: self.weather.load(Ordering::SeqCst), rule: self.rule.load(Ordering::SeqCst) }
    }

    async fn get(&self, path: &str) -> Got {
        send(self.serving.server, Http::One, Method::GET, path, &[]).await
    }

    /// Sleeps as long, or until all is over.
    async fn pause(&self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until && !self.is_over() {
            tokio::time::sleep(Duration::from_millis(50).min(time)).await;
        }
    }

    async fn client(self: Arc<Self>, mut random: Random) {
        while !self.is_over() {
            let image = self.choose(&mut random);
            let architecture = if random.below(4) == 0 { "arm64" } else { "amd64" };
            if random.below(3) == 0 {
                let (path, index) = image.by_tag();
                self.ask(image, &path, index, &mut random).await;
            }
            for (path, document) in image.parts(architecture) {
                let goes_on = self.ask(image, &path, document, &mut random).await;
                // An engine that does not get a manifest goes no further; an attacker does.
                if self.is_over() || !(goes_on || image.signed_by == SignedBy::Nobody) {
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(20 + random.below(60))).await;
        }
    }

    fn choose(&self, random: &mut Random) -> &Image {
        if random.below(10) == 0 {
            return &self.images[random.below(2) as usize];
        }
        // A step of one image every three seconds: all are in fashion again after some minutes.
        let first = self.started.elapsed().as_secs() / 3;
        &self.images[2 + ((first + random.below(FASHION)) % (IMAGES as u64 - 2)) as usize]
    }

    /// Whether the rest of the image is worth asking for.
    async fn ask(&self, image: &Image, path: &str, document: &Document, random: &mut Random) -> bool {
        let before = self.now();
        let Ok(asked) = tokio::time::timeout(PATIENCE, self.ask_somehow(path, document, random)).await else {
            let is_steady = before.rule_held_to(self.now()) && before.was_fine_to(self.now());
            assert!(
                !is_steady && image.signed_by != SignedBy::AcmeKept,
                "no answer in time: {:?} {path}",
                image.signed_by
            );
            self.count(image.signed_by, "late", 0);
            return false;
        };
        // Who left may have left before there was an answer.
        let Some((got, wanted)) = asked else { return false };
        self.check(image, path, &got, wanted, (before, self.now()));
        got.status.is_success()
    }

    /// The answer, and what must be in it; none if the client left.
    async fn ask_somehow<'a>(
        &self,
        path: &str,
        document: &'a Document,
        random: &mut Random,
    ) -> Option<(Got, &'a [u8])> {
        let (server, bytes) = (self.serving.server, &document.bytes[..]);
        let place = random.below(bytes.len() as u64) as usize;
        Some(match random.below(20) {
            0 => (head(server, path).await, &bytes[..0]),
            1 => {
                let range = format!("bytes={place}-");
                let got = send(server, Http::One, Method::GET, path, &[("range", &range)]).await;
                let from = if got.status == StatusCode::PARTIAL_CONTENT { place } else { 0 };
                (got, &bytes[from..])
            }
            2 => {
                leave_after(server, path, place).await;
                return None;
            }
            3 => (send(server, Http::Two, Method::GET, path, &[]).await, bytes),
            _ => (self.get(path).await, bytes),
        })
    }

    fn check(&self, image: &Image, path: &str, got: &Got, wanted: &[u8], (before, after): (Moment, Moment)) {
        let what = || {
            format!("{:?} {path} after {:?}: {} {}", image.signed_by, self.started.elapsed(), got.status, got.message())
        };
        let is_there = matches!(got.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) && got.complete;
        if is_there {
            assert!(got.body == wanted, "complete, and wrong: {}", what());
        } else if got.status.is_success() {
            assert!(got.body.len() <= wanted.len() && got.body == wanted[..got.body.len()], "wrong bytes: {}", what());
            assert!(got.body.len() < wanted.len() || wanted.is_empty(), "all bytes, and not complete: {}", what());
        }
        let is_steady = before.rule_held_to(after);
        let is_well = is_steady && before.was_fine_to(after);
        let is_named = match image.signed_by {
            SignedBy::AcmeKept | SignedBy::Acme => Some(true),
            SignedBy::Guest => is_steady.then_some(before.names_guest()),
            SignedBy::Nobody => Some(false),
        };
        if is_named == Some(false) {
            assert!(!got.status.is_success(), "served, and nobody vouches for it: {}", what());
        }
        if is_named == Some(true) && (is_well || image.signed_by == SignedBy::AcmeKept) {
            assert!(is_there, "must be served: {}", what());
        }
        if is_named == Some(true) {
            assert!(got.status != StatusCode::FORBIDDEN && got.status != StatusCode::NOT_FOUND, "wrongly: {}", what());
        }
        let answer = match (is_there, got.status) {
            (true, _) => "whole",
            (_, status) if status.is_success() => "cut",
            (_, StatusCode::FORBIDDEN) => "refused",
            (_, status) if status.is_server_error() => "5xx",
            (_, StatusCode::NOT_FOUND) => "404",
            _ => "other",
        };
        self.count(image.signed_by, answer, got.body.len() as u64);
    }

    fn count(&self, signed_by: SignedBy, answer: &'static str, bytes: u64) {
        let mut seen = self.seen.lock().unwrap();
        *seen.answers.entry((signed_by, answer)).or_default() += 1;
        seen.bytes += bytes;
    }

    async fn upstream_comes_and_goes(self: Arc<Self>, mut random: Random) {
        while !self.is_over() {
            self.pause(Duration::from_secs(2 + random.below(8))).await;
            self.weather.fetch_add(1, Ordering::SeqCst);
            self.seen.lock().unwrap().unwell += 1;
            let every = Duration::from_millis(20);
            let (path, misbehaviour) = match random.below(9) {
                0 => (PathMatch::any(), Misbehaviour::Close),
                1 => (PathMatch::any(), Misbehaviour::Status(503)),
                2 => (PathMatch::any(), Misbehaviour::RateLimit(3600)),
                3 => (PathMatch::any(), Misbehaviour::StallBeforeHeaders),
                4 => (PathMatch::any_blob(), Misbehaviour::CorruptLast),
                5 => (PathMatch::any_blob(), Misbehaviour::CutAfter(LAYER / 2)),
                6 => (PathMatch::any_blob(), Misbehaviour::Drip { bytes: 64 * 1024, every }),
                7 => (PathMatch::any_manifest(), Misbehaviour::HtmlPage),
                _ => (PathMatch::referrers(), Misbehaviour::Status(500)),
            };
            let is_silent = matches!(misbehaviour, Misbehaviour::StallBeforeHeaders);
            self.upstream.misbehave(path, misbehaviour);
            self.pause(Duration::from_secs(1 + random.below(6))).await;
            self.upstream.behave();
            self.upstream.forget_requests();
            self.pause(if is_silent { HEARD_AGAIN } else { HEALED }).await;
            self.weather.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn rules_change(self: Arc<Self>, mut random: Random) {
        let mut reloads = 0;
        while !self.is_over() {
            self.pause(Duration::from_secs(3 + random.below(6))).await;
            if random.below(4) == 0 {
                self.serving.edit("version = 1", "version = 77");
                self.serving.hang_up();
                self.pause(Duration::from_secs(2)).await;
                self.serving.edit("version = 77", "version = 1");
            }
            let now = self.rule.fetch_add(1, Ordering::SeqCst);
            match now / 2 % 2 {
                0 => self.serving.edit(ALONE, WITH_GUEST),
                _ => self.serving.edit(WITH_GUEST, ALONE),
            }
            let before = self.taken_over().await;
            self.serving.hang_up();
            let asked = Instant::now();
            while self.taken_over().await == before {
                assert!(
                    asked.elapsed() < Duration::from_secs(30),
                    "a changed rule does not count\n{}",
                    self.serving.log()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            self.rule.fetch_add(1, Ordering::SeqCst);
            reloads += 1;
        }
        self.seen.lock().unwrap().reloads = reloads;
    }

    /// How often a configuration was taken over.
    async fn taken_over(&self) -> u64 {
        self.metric("assay_config_reloads_total{outcome=\"ok\"} ").await
    }

    async fn metric(&self, name: &str) -> u64 {
        let page = self.serving.metrics().await;
        let value = page.lines().find_map(|line| line.strip_prefix(name));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Samples for as long, unless a client has failed.
    async fn watch(&self, time: Duration, failed: impl Fn() -> bool) {
        let mut said = Instant::now();
        while self.started.elapsed() < time && !failed() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let (memory, files) = (self.serving.memory_mib(), self.serving.open_files());
            assert!(memory <= MEMORY_MAX_MIB && files <= FILES_MAX, "{memory} MiB, {files} open files");
            {
                let mut seen = self.seen.lock().unwrap();
                seen.memory.push(memory);
                seen.files.push(files);
            }
            if said.elapsed() >= Duration::from_secs(60) {
                said = Instant::now();
                self.say();
            }
        }
    }

    fn say(&self) {
        let mut seen = self.seen.lock().unwrap();
        let spread = |values: &[u64]| {
            let (min, max) = (values.iter().min().unwrap_or(&0), values.iter().max().unwrap_or(&0));
            format!("{min}–{max}")
        };
        let memory = spread(&std::mem::take(&mut seen.memory));
        let files = spread(&std::mem::take(&mut seen.files));
        println!(
            "{:>5} s  {memory} MiB, {} open files, {} MiB served, {} times unwell, {:?}",
            self.started.elapsed().as_secs(),
            files,
            seen.bytes >> 20,
            seen.unwell,
            seen.answers
        );
    }

    async fn end(mut self) {
        self.upstream.behave();
        let is_quiet = async || self.metric("assay_spool_bytes ").await == 0 && self.booked().await == self.on_disk();
        self.serving.wait_for("the books fit the disk", is_quiet).await;
        let cache = self.serving.path("cache");
        for digest in names(&cache) {
            let bytes = std::fs::read(path_of(&cache, digest)).unwrap();
            assert_eq!(Digest::of(&bytes), digest, "named, and not what its name says");
        }
        let (bytes, files) = self.on_disk();
        let evicted = self.metric("assay_evicted_images_total ").await;
        println!(
            "{bytes} bytes in {files} files, as the books say; {evicted} evicted; {} reloads",
            self.seen.lock().unwrap().reloads
        );
        self.serving.signal(Signal::TERM);
        assert!(self.serving.ended().await.success(), "{}", self.serving.log());
    }

    async fn booked(&self) -> (u64, u64) {
        (self.metric("assay_stored_bytes ").await, self.metric("assay_stored_blobs ").await)
    }

    fn on_disk(&self) -> (u64, u64) {
        let (files, bytes) = files_below(&self.serving.path("cache").join("blobs"));
        (bytes, files)
    }
}

impl Image {
    fn by_tag(&self) -> (String, &Document) {
        (format!("/v2/test.assay/{}/manifests/{}", self.repository, self.tag), &self.built.index)
    }

    /// As an engine asks, by digest.
    fn parts(&self, architecture: &str) -> impl Iterator<Item = (String, &Document)> {
        let platform = self.built.platform(architecture).unwrap();
        let repository = self.repository;
        std::iter::once(&self.built.index).chain(platform.documents()).map(move |document| {
            let is_manifest = document.media_type.contains("manifest") || document.media_type.contains("index");
            let kind = if is_manifest { "manifests" } else { "blobs" };
            (format!("/v2/test.assay/{repository}/{kind}/{}", document.digest), document)
        })
    }
}
