//! A cache folder with limits: what goes, what stays, and that every pull works all the same.

use std::sync::Arc;
use std::time::Duration;

use assay::clock::SystemClock;
use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::oci::Digest;
use assay::size::Size;
use assay::store::Limits;
use assay::trust::Pattern;
use assay::upkeep::{EvictionOptions, Evictor};
use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::cli::assay;
use crate::pull::pull_platform;
use crate::support::cache_folder::files_below;
use crate::support::client::get;
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, REGISTRY, Setup, proxy};

/// What a layer has at least; everything else of an image is small.
const LAYER: usize = 300_000;

struct World {
    upstream: NastyUpstream,
    signer: Signer,
}

impl World {
    async fn new() -> Self {
        Self { upstream: NastyUpstream::start().await, signer: Signer::generate().unwrap() }
    }

    /// A signed image under a tag of its own.
    fn push(&self, repository: &str, name: &str, build: impl FnOnce(ImageBuilder) -> ImageBuilder) -> BuiltImage {
        let image = build(ImageBuilder::new(name)).build();
        self.upstream.registry().push_image(repository, name, &image);
        self.upstream.registry().push_artefact(repository, &self.signer.bundle(&image.index));
        image
    }

    fn plain(&self, name: &str) -> BuiltImage {
        self.push("app", name, |image| image.layer_padding(LAYER))
    }

    fn setup(&self, max_size: usize, keep: &[&str]) -> Setup {
        let limits = Limits { max_size: Size::Bytes(max_size as u64), min_free: Size::Bytes(0) };
        let keep = keep.iter().map(|pattern| Pattern::parse(&format!("{REGISTRY}/{pattern}")).unwrap()).collect();
        // Tests have no minute in which nothing is used.
        let options = EvictionOptions { keep, idle: Duration::ZERO };
        Setup { space: Some((limits, options)), ..Setup::new(proxy::signed_by(&self.signer)) }
    }

    async fn proxy(&self, max_size: usize) -> Proxy {
        self.setup(max_size, &[]).start(&self.upstream).await
    }
}

/// By tag, then everything below one platform, as an engine does.
async fn pull(proxy: &Proxy, repository: &str, tag: &str, image: &BuiltImage) {
    let got = get(proxy.address, &proxy.manifest_path(repository, tag)).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.message());
    pull_platform(proxy, repository, image, "amd64").await;
    settled(proxy, image).await;
}

/// A client has the last byte a moment before the content counts as stored.
async fn settled(proxy: &Proxy, image: &BuiltImage) {
    let digests = image.platform("amd64").unwrap().documents().map(|one| one.digest).collect::<Vec<_>>();
    let is_stored = || digests.iter().all(|digest| proxy.has(*digest));
    let waiting = async {
        while !is_stored() || proxy.store.spooled() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("what was pulled is stored");
}

async fn pull_by_digest(proxy: &Proxy, repository: &str, image: &BuiltImage) {
    let got = get(proxy.address, &proxy.manifest_path(repository, image.index.digest)).await;
    assert_eq!(got.status, StatusCode::OK, "{}", got.message());
    pull_platform(proxy, repository, image, "amd64").await;
}

fn layer(image: &BuiltImage) -> Digest {
    image.platform("amd64").unwrap().layers[0].digest
}

fn assert_accounted(proxy: &Proxy, max_size: usize) {
    let usage = proxy.store.usage();
    assert_eq!((usage.blobs, usage.bytes), files_below(&proxy.folder().join("blobs")));
    assert!(usage.bytes <= max_size as u64, "{usage:?}");
    let page = proxy.metrics.encode();
    assert!(page.contains(&format!("assay_stored_bytes {}\n", usage.bytes)), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_room_for_one_image_each_pull_makes_room_for_itself() {
    let world = World::new().await;
    let (a, b) = (world.plain("a"), world.plain("b"));
    let max_size = LAYER * 3 / 2;
    let proxy = world.proxy(max_size).await;
    for (tag, image, other) in [("a", &a, &b), ("b", &b, &a), ("a", &a, &b)] {
        pull(&proxy, "app", tag, image).await;
        assert!(proxy.has(layer(image)) && !proxy.has(layer(other)), "{tag}");
        assert_accounted(&proxy, max_size);
    }
    assert!(proxy.has(a.index.digest), "served from memory, and kept again");
    let count = |image| world.upstream.count(&PathMatch::blob(layer(image)).get());
    assert_eq!((count(&a), count(&b)), (2, 1));
    // What was verified stays so: the signatures were looked for once.
    assert_eq!(world.upstream.count(&PathMatch::referrers()), 2);
    assert!(proxy.metrics.encode().contains("assay_evicted_images_total 2\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_layer_stays_as_long_as_one_image_names_it() {
    let world = World::new().await;
    let shared = |image: ImageBuilder| image.layer_padding(LAYER).filler_layer(LAYER);
    let (a, b) = (world.push("app", "a", shared), world.push("other", "b", shared));
    let c = world.plain("c");
    let base = |image: &BuiltImage| image.platform("amd64").unwrap().layers[1].digest;
    assert_eq!(base(&a), base(&b));
    let proxy = world.proxy(LAYER * 7 / 2).await;
    pull(&proxy, "app", "a", &a).await;
    pull(&proxy, "other", "b", &b).await;
    pull(&proxy, "app", "c", &c).await;
    assert!(!proxy.has(layer(&a)) && proxy.has(base(&a)) && proxy.has(layer(&b)) && proxy.has(layer(&c)));
    world.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
    pull_by_digest(&proxy, "other", &b).await;
    pull_by_digest(&proxy, "app", &c).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_matches_a_keep_pattern_is_never_evicted() {
    let world = World::new().await;
    let kept = world.push("kept/app", "1", |image| image.layer_padding(LAYER));
    let (a, b) = (world.plain("a"), world.plain("b"));
    let proxy = world.setup(LAYER * 5 / 2, &["kept/**"]).start(&world.upstream).await;
    pull(&proxy, "kept/app", "1", &kept).await;
    pull(&proxy, "app", "a", &a).await;
    pull(&proxy, "app", "b", &b).await;
    assert!(proxy.has(layer(&kept)) && !proxy.has(layer(&a)) && proxy.has(layer(&b)), "a was used later than kept");
    world.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
    pull_by_digest(&proxy, "kept/app", &kept).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_what_is_evicted_reads_to_the_end() {
    let world = World::new().await;
    // More than socket buffers take, so that the rest is still to be read.
    let large = 32 * 1024 * 1024;
    let a = world.push("app", "a", |image| image.layer_padding(large));
    let b = world.push("app", "b", |image| image.layer_padding(large));
    let proxy = world.proxy(large * 3 / 2).await;
    pull(&proxy, "app", "a", &a).await;

    let mut client = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", proxy.blob_path("app", layer(&a)));
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; 1024];
    client.read_exact(&mut answer).await.unwrap();

    pull(&proxy, "app", "b", &b).await;
    assert!(!proxy.has(layer(&a)), "evicted while it is read");
    client.read_to_end(&mut answer).await.unwrap();
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(Digest::of(&answer[body..]), layer(&a));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_least_recently_used_goes_first() {
    let world = World::new().await;
    let (a, b, c) = (world.plain("a"), world.plain("b"), world.plain("c"));
    let max_size = LAYER * 5 / 2;
    let first = world.proxy(max_size).await;
    pull(&first, "app", "a", &a).await;
    pull(&first, "app", "b", &b).await;
    // A hit of a layer alone is a use of its image.
    assert_eq!(get(first.address, &first.blob_path("app", layer(&a))).await.status, StatusCode::OK);
    let usage = first.store.usage();
    let folder = first.stop().await;

    let second = world.setup(max_size, &[]).start_in(&world.upstream, folder).await;
    assert_eq!(second.store.usage(), usage);
    pull(&second, "app", "c", &c).await;
    assert!(second.has(layer(&a)) && !second.has(layer(&b)) && second.has(layer(&c)));
    assert_accounted(&second, max_size);
    world.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
    pull_by_digest(&second, "app", &a).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_of_an_evicted_image_is_fetched_again_for_who_has_its_manifest() {
    let world = World::new().await;
    let a = world.plain("a");
    let refused = ImageBuilder::new("unsigned").layer_padding(LAYER).build();
    world.upstream.registry().push_image("app", "unsigned", &refused);
    let running = Proxy::start(&world.upstream, &world.signer).await;
    pull(&running, "app", "a", &a).await;
    empty(&running).await;
    assert_eq!(running.store.usage().blobs, 0);
    let path = running.blob_path("app", layer(&a));
    assert!(get(running.address, &path).await.complete);

    empty(&running).await;
    let restarted = Setup::new(proxy::signed_by(&world.signer)).start_in(&world.upstream, running.stop().await).await;
    let got = get(restarted.address, &path).await;
    assert!(got.status == StatusCode::OK && Digest::of(&got.body) == layer(&a), "{}", got.message());
    let other = get(restarted.address, &restarted.blob_path("app", layer(&refused))).await;
    assert!(other.is_refusal("NOT_NAMED"), "{other:?}");
}

async fn empty(proxy: &Proxy) {
    let options = EvictionOptions { keep: Vec::new(), idle: Duration::ZERO };
    let (store, ledger, clock) = (Arc::clone(&proxy.store), proxy.ledger.clone(), Arc::new(SystemClock));
    ledger.write_uses().await.unwrap();
    Evictor::new(store, ledger, clock, proxy.metrics.space(), options).collect(Some(0), false).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_not_written() {
    let world = World::new().await;
    let (small, large) = (world.plain("small"), world.push("app", "large", |image| image.layer_padding(LAYER * 10)));
    let max_size = LAYER * 2;
    let proxy = world.proxy(max_size).await;
    pull(&proxy, "app", "small", &small).await;
    assert_eq!(get(proxy.address, &proxy.manifest_path("app", "large")).await.status, StatusCode::OK);
    let _whatever_it_is = get(proxy.address, &proxy.blob_path("app", layer(&large))).await;
    assert!(!proxy.has(layer(&large)));
    assert!(proxy.has(layer(&small)), "what does not fit into an empty cache evicts nothing");
    assert_accounted(&proxy, max_size);
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_says_what_would_go_and_then_removes_it() {
    let world = World::new().await;
    let (a, b) = (world.plain("a"), world.plain("b"));
    let running = Proxy::start(&world.upstream, &world.signer).await;
    pull(&running, "app", "a", &a).await;
    pull(&running, "app", "b", &b).await;
    running.ledger.write_uses().await.unwrap();
    // A fetch whose manifest was refused afterwards, and what somebody left there.
    let orphan = bytes::Bytes::from_static(b"named by nothing");
    running.store.write(orphan.clone()).await.unwrap();
    let foreign = running.folder().join("blobs/sha256/ab");
    std::fs::create_dir_all(&foreign).unwrap();
    std::fs::write(foreign.join("notes.txt"), "left here").unwrap();

    let config = tempfile::tempdir().unwrap();
    let file = config.path().join("proxy.toml").display().to_string();
    let dir = running.folder().display().to_string();
    let text = format!(
        "version = 1\n[upstream.\"{REGISTRY}\"]\nurl = \"{}\"\n[cache]\ndir = \"{dir}\"\nmin_free = \"0B\"\n[[policy]]\nname = \"a\"\nimages = [\"{REGISTRY}/**\"]\nmode = \"off\"\n",
        world.upstream.url()
    );
    std::fs::write(&file, text).unwrap();
    let gc = |more: &'static [&'static str]| {
        let arguments =
            [&["gc", "-c", file.as_str()], more].concat().iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
        async move { assay(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await }
    };
    let (code, _, err) = gc(&["--dry-run"]).await;
    assert!(code == 1 && err.contains("in use by another process") && err.contains("evicts by itself"), "{code} {err}");

    let folder = running.stop().await;
    let before = files_below(&folder.path().join("blobs"));
    let (code, out, err) = gc(&["--target", "400KiB", "--dry-run"]).await;
    assert!(
        code == 0 && out.starts_with("would remove 1 image (") && out.contains("1 file that no image names (16 B)"),
        "{code} {out} {err}"
    );
    assert!(out.contains("notes.txt"), "{out}");
    assert_eq!(files_below(&folder.path().join("blobs")), before);
    let (code, done, _) = gc(&["--target", "400KiB"]).await;
    assert!(
        code == 0 && done.replace("removed", "would remove").starts_with(out.lines().next().unwrap()),
        "{out} {done}"
    );
    let left = files_below(&folder.path().join("blobs")).1;
    assert!(left < before.1 - LAYER as u64 && left <= 400 * 1024 + 9, "{left}");
    let (code, out, _) = gc(&["--target", "0B", "--json"]).await;
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, object["evicted"]["images"].as_u64(), object["stored_bytes"].as_u64()),
        (0, Some(1), Some(0)),
        "{out}"
    );

    let gone = text_with(&file, &dir, &format!("{dir}/nowhere"));
    std::fs::write(&file, gone).unwrap();
    assert_eq!(gc(&[]).await.0, 4);
}

fn text_with(file: &str, from: &str, to: &str) -> String {
    std::fs::read_to_string(file).unwrap().replace(from, to)
}
