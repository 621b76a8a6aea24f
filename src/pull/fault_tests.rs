//! Pulls while the disk fails: they get what they ask for, verified to the last byte, or nothing complete.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, header};
use rustix::io::Errno;
use tempfile::TempDir;

use super::{BlobWant, Puller, PullerParts};
use crate::clock::SystemClock;
use crate::demo::{BuiltImage, ImageBuilder, Server, Shelf, Signer, Whole};
use crate::ledger::Ledger;
use crate::oci::{Digest, RangeAsk, Reference, Repository};
use crate::store::DiskStore;
use crate::store::faults::{Fault, Operation};
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, Metrics};
use crate::trust::{self, Demand, Enforcement, KeySigner, Pattern, Policy, PublicKey, Rule, Tlog};
use crate::upstream::{NetworkOptions, Proxy, SignatureLimits, UpstreamOptions, Upstreams};

/// Several pieces, and far more than is held back.
const SIZE: usize = 3_000_000;

/// How upstream answers the n-th question for a blob of at least [`SIZE`] bytes.
#[derive(Clone, Copy, Debug)]
enum Manners {
    Honest,
    /// Once asked for a part, sends all.
    WithoutRanges,
    /// One byte of the n-th answer is another one: the first, or that in its middle.
    Wrong {
        answer: usize,
        middle: bool,
    },
}

struct World {
    puller: Puller,
    ledger: Ledger,
    image: BuiltImage,
    folder: TempDir,
    asked: Arc<AtomicUsize>,
    _server: Server,
}

impl World {
    async fn new(manners: Manners) -> Self {
        let signer = Signer::generate().unwrap();
        let image = ImageBuilder::new("Hello").layer_padding(SIZE).build();
        let shelf = Arc::new(Shelf::default());
        shelf.push_image("app", "1.0", &image);
        shelf.push_artefact("app", &signer.bundle(&image.index));
        let (asked, count) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counting = Arc::clone(&asked);
        let server = Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None, move |request: Request<_>| {
            let (mut request, _) = request.into_parts();
            if matches!(manners, Manners::WithoutRanges) {
                request.headers.remove(header::RANGE);
            }
            let mut answer = shelf.answer(&request);
            let is_large = request.uri.path().contains("/blobs/") && answer.body().len() > 60_000;
            if is_large {
                counting.fetch_add(1, Ordering::SeqCst);
                let n = count.fetch_add(1, Ordering::SeqCst);
                if let Manners::Wrong { answer: wrong, middle } = manners
                    && wrong == n
                {
                    let mut bytes = answer.body().to_vec();
                    let at = if middle { bytes.len() / 2 } else { 0 };
                    bytes[at] ^= 1;
                    *answer.body_mut() = bytes.into();
                }
            }
            std::future::ready(Ok::<_, Infallible>(answer.map(Whole::new)))
        });
        let server = server.await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&folder.path().join("ledger.sqlite")).unwrap();
        let puller = puller(&server, &signer, folder.path(), ledger.clone());
        Self { puller, ledger, image, folder, asked, _server: server }
    }

    /// As [`World::new`], with the image's manifests admitted.
    async fn admitted(manners: Manners) -> Self {
        let world = Self::new(manners).await;
        world.manifests().await.unwrap();
        world
    }

    async fn manifests(&self) -> Result<(), String> {
        let platform = Reference::Digest(self.image.platform("amd64").unwrap().manifest.digest);
        for reference in ["1.0".parse().unwrap(), platform] {
            self.puller.manifest(&repository(), &reference).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn fault(&self, operation: Operation, error: Errno) -> Fault {
        Fault::inject(self.folder.path(), operation, error)
    }

    fn layer(&self) -> &crate::demo::Document {
        &self.image.platform("amd64").unwrap().layers[0]
    }

    /// What a client gets, and where it came from. An error once some bytes came tells how many.
    async fn blob(&self, digest: Digest, want: BlobWant) -> Result<(Vec<u8>, CacheOutcome), String> {
        let answer = self.puller.blob(&repository(), digest, want).await.map_err(|error| error.to_string())?;
        let (cache, mut content) = (answer.cache, answer.servable.into_content());
        let mut bytes = Vec::new();
        loop {
            match content.next().await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                Ok(None) => return Ok((bytes, cache)),
                Err(error) => return Err(format!("cut after {} bytes: {error}", bytes.len())),
            }
        }
    }

    async fn whole(&self) -> Result<(Vec<u8>, CacheOutcome), String> {
        self.blob(self.layer().digest, BlobWant::Whole).await
    }

    fn left_over(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("spool")).unwrap().count()
    }

    /// Once nothing fails any more: what is asked for next is kept, and is right.
    async fn is_kept_again(&self) {
        let layer = self.layer();
        let (bytes, cache) = self.whole().await.unwrap();
        assert!(bytes == layer.bytes && cache != CacheOutcome::Pass, "{cache}");
        let kept = async {
            while self.whole().await.unwrap().1 != CacheOutcome::Hit {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), kept).await.expect("it is kept");
        assert_eq!(self.left_over(), 0);
    }
}

fn puller(server: &Server, signer: &Signer, folder: &Path, ledger: Ledger) -> Puller {
    let key = PublicKey::from_pem(&signer.public_key_pem()).unwrap();
    let signers =
        vec![trust::Signer::Key(KeySigner { name: "key.pub".to_owned(), key, not_before: None, not_after: None })];
    let demand = Demand { signers, tlog: Tlog::Off, ..Demand::default() };
    let pattern = Pattern::parse("test.assay/**").unwrap();
    let rule = Rule::new("test".to_owned(), vec![pattern], Enforcement::Enforce(demand));
    let url = format!("http://{}", server.address());
    let options = UpstreamOptions::new("test.assay".parse().unwrap(), url.parse().unwrap());
    let network = NetworkOptions { proxy: Proxy::None, retries: 1, ..NetworkOptions::default() };
    Puller::new(PullerParts {
        policy: Arc::new(Policy::new(vec![rule], None)),
        upstreams: Arc::new(Upstreams::new(vec![options], network).unwrap()),
        store: Arc::new(DiskStore::open(folder).unwrap()),
        ledger,
        clock: Arc::new(SystemClock),
        tasks: Tasks::new(),
        limits: SignatureLimits::default(),
        fetches_max: 64,
        metrics: Arc::new(Metrics::new()),
        absent_for: std::time::Duration::ZERO,
    })
}

fn repository() -> Repository {
    "test.assay/app".parse().unwrap()
}

fn part(first: u64, last: Option<u64>) -> BlobWant {
    BlobWant::Range(RangeAsk::From { first, last })
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_fails_while_content_is_written_the_client_gets_it_and_nothing_is_left_behind() {
    use Operation::{Create, Rename, Sync, SyncFolder, Write};
    for (operation, error) in [
        (Create, Errno::NOSPC),
        (Create, Errno::ROFS),
        (Create, Errno::MFILE),
        (Write(0), Errno::NOSPC),
        (Write(1_000_000), Errno::NOSPC),
        (Write(SIZE as u64 - 10), Errno::DQUOT),
        (Write(700_001), Errno::IO),
        (Sync, Errno::IO),
        (Rename, Errno::NOSPC),
        (SyncFolder, Errno::IO),
    ] {
        let world = World::admitted(Manners::Honest).await;
        let layer = world.layer().clone();
        let config = world.image.platform("amd64").unwrap().config.clone();
        let fault = world.fault(operation, error);
        for document in [&layer, &config] {
            let got = world.blob(document.digest, BlobWant::Whole).await;
            let (bytes, cache) = got.unwrap_or_else(|why| panic!("{operation:?} {error}: {why}"));
            assert!(bytes == document.bytes, "{operation:?} {error}: other bytes");
            assert!(operation != Create || cache == CacheOutcome::Pass);
        }
        let (bytes, _) = world.blob(layer.digest, part(2_000_000, None)).await.unwrap();
        assert!(bytes == layer.bytes[2_000_000..], "{operation:?} {error}: other bytes in a part");
        let trouble = world.puller.keeps().await.expect_err("it says so");
        assert!(trouble.contains("passing through"), "{trouble}");
        assert_eq!(world.left_over(), 0, "{operation:?} {error}");
        drop(fault);
        world.is_kept_again().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_clients_of_a_disk_that_fills_up_all_get_the_blob() {
    for operation in [Operation::Create, Operation::Write(1_500_000), Operation::Sync] {
        let world = World::admitted(Manners::Honest).await;
        let fault = world.fault(operation, Errno::NOSPC);
        for got in join_all((0..20).map(|_| world.whole())).await {
            let (bytes, _) = got.unwrap();
            assert!(bytes == world.layer().bytes, "{operation:?}");
        }
        drop(fault);
        world.is_kept_again().await;
    }
}

/// The beginning from one answer and the end from another: only their sum is what the client gets.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_changes_its_source_is_checked_as_a_whole() {
    let wrong = |answer, middle| Manners::Wrong { answer, middle };
    for (manners, is_right) in [
        (Manners::Honest, true),
        (Manners::WithoutRanges, true),
        // What was spooled before the disk failed.
        (wrong(0, false), false),
        // What came after that.
        (wrong(1, false), false),
        (wrong(1, true), false),
    ] {
        let world = World::admitted(manners).await;
        let fault = world.fault(Operation::Write(1_000_000), Errno::NOSPC);
        let got = world.whole().await;
        match got {
            Ok((bytes, _)) => assert!(is_right && bytes == world.layer().bytes, "{manners:?}: complete"),
            Err(why) => assert!(!is_right && why.starts_with("cut after"), "{manners:?}: {why}"),
        }
        drop(fault);
        world.is_kept_again().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_cannot_be_kept_is_complete_only_if_the_whole_is_right() {
    let parts = [(0, None), (1_000_000, None), (0, Some(9)), (100, Some(2_000_000)), (SIZE as u64 - 5, None)];
    for (first, last) in parts {
        for (manners, is_right) in [
            (Manners::Honest, true),
            (Manners::Wrong { answer: 0, middle: true }, false),
            (Manners::WithoutRanges, true),
        ] {
            let world = World::admitted(manners).await;
            let _fault = world.fault(Operation::Create, Errno::NOSPC);
            let layer = world.layer().clone();
            let end = last.map_or(layer.bytes.len(), |last| last as usize + 1);
            match world.blob(layer.digest, part(first, last)).await {
                Ok((bytes, cache)) => {
                    assert!(is_right && bytes == layer.bytes[first as usize..end], "{first}-{last:?}: {manners:?}");
                    assert_eq!(cache, CacheOutcome::Pass);
                }
                Err(why) => assert!(!is_right && why.starts_with("cut after"), "{first}-{last:?}: {manners:?}: {why}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_served_whole_though_nothing_of_it_can_be_written_down() {
    let world = World::new(Manners::Honest).await;
    let _fault = world.fault(Operation::Create, Errno::NOSPC);
    world.ledger.fill_up();
    world.manifests().await.unwrap();
    let platform = world.image.platform("amd64").unwrap();
    for document in platform.layers.iter().chain([&platform.config]) {
        let (bytes, cache) = world.blob(document.digest, BlobWant::Whole).await.unwrap();
        assert!(bytes == document.bytes && cache == CacheOutcome::Pass);
    }
    // Never asked for before, and its platform's manifest neither: dockerd does that.
    let other = &world.image.platform("arm64").unwrap().config;
    assert_eq!(world.blob(other.digest, BlobWant::Whole).await.unwrap().0, other.bytes);
    let stranger = world.blob(Digest::of(b"a stranger"), BlobWant::Whole).await.unwrap_err();
    assert!(stranger.contains("NOT_NAMED"), "{stranger}");
    assert!(world.ledger.tops(&repository(), 8).await.unwrap().is_empty(), "nothing was written down");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_disk_cannot_read_any_more_is_fetched_again() {
    let world = World::admitted(Manners::Honest).await;
    world.is_kept_again().await;
    let config = world.image.platform("amd64").unwrap().config.clone();
    let asked = world.asked.load(Ordering::SeqCst);
    let fault = world.fault(Operation::Read, Errno::IO);
    // The disk reads nothing at all now, so not even a spool can be followed.
    let got = world.whole().await;
    assert!(got.is_err() || got.as_ref().is_ok_and(|(bytes, _)| *bytes == world.layer().bytes));
    drop(fault);
    assert_eq!(world.blob(config.digest, BlobWant::Whole).await.unwrap().0, config.bytes);
    world.is_kept_again().await;
    assert!(world.asked.load(Ordering::SeqCst) > asked, "it was removed, and fetched");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_through_holds_no_memory_of_the_whole() {
    let world = World::admitted(Manners::Honest).await;
    let _fault = world.fault(Operation::Create, Errno::NOSPC);
    let answer = world.puller.blob(&repository(), world.layer().digest, BlobWant::Whole).await.unwrap();
    let mut content = answer.servable.into_content();
    let mut first = Bytes::new();
    while first.is_empty() {
        first = content.next().await.unwrap().unwrap();
    }
    let rest = world.layer().bytes.len() - first.len();
    assert!(rest > 64 * 1024, "it flows before its end is here");
}
