//! What a crash, a full disk or a careless hand may leave in the cache folder: Assay starts, serves what is right, and
//! gets the rest again.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use http::StatusCode;
use tempfile::TempDir;

use crate::support::cache_folder::path_of;
use crate::support::client::get;
use crate::support::proxy::signed_by;
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    image: BuiltImage,
}

/// What is done to a file.
type Harm = fn(&Path);

/// Index, platform, layer.
type Statuses = [StatusCode; 3];

const OK: StatusCode = StatusCode::OK;
/// Stands for any 5xx.
const AWAY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
/// Of a layer whose image nobody asked for yet, nothing is known.
const UNNAMED: StatusCode = StatusCode::FORBIDDEN;

impl World {
    async fn new() -> Self {
        let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
        let image = ImageBuilder::new("Hello").layer_padding(300_000).build();
        upstream.registry().push_image("app", "1.0", &image);
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
        Self { upstream, signer, image }
    }

    async fn start(&self, folder: Arc<TempDir>) -> Proxy {
        Setup::new(signed_by(&self.signer)).start_in(&self.upstream, folder).await
    }

    async fn statuses(&self, proxy: &Proxy) -> Statuses {
        let platform = self.image.platform("amd64").unwrap();
        let mut statuses = Vec::new();
        for (document, path) in [
            (&self.image.index, proxy.manifest_path("app", self.image.index.digest)),
            (&platform.manifest, proxy.manifest_path("app", platform.manifest.digest)),
            (&platform.layers[0], proxy.blob_path("app", platform.layers[0].digest)),
        ] {
            let got = get(proxy.address, &path).await;
            assert!(got.status != OK || !got.complete || got.body == document.bytes);
            let is_away = got.status.is_server_error() || (got.status == OK && !got.complete);
            statuses.push(if is_away { AWAY } else { got.status });
        }
        statuses.try_into().unwrap()
    }

    /// Pulls, stops, does that to the folder, and starts: first without upstream, then with it, then again without.
    async fn after(&self, what: &str, harm: impl FnOnce(&Path), without_upstream: Statuses) {
        let proxy = self.start(Arc::new(tempfile::tempdir().unwrap())).await;
        assert_eq!(self.statuses(&proxy).await, [OK; 3], "{what}");
        let folder = proxy.stop().await;
        harm(folder.path());

        self.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
        let proxy = self.start(folder).await;
        assert_eq!(self.statuses(&proxy).await, without_upstream, "{what}: without upstream");
        assert_eq!(proxy.spooled(), 0, "{what}: nothing unfinished stays");
        self.upstream.behave();
        assert_eq!(self.statuses(&proxy).await, [OK; 3], "{what}: with upstream");

        self.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
        let proxy = self.start(proxy.stop().await).await;
        assert_eq!(self.statuses(&proxy).await, [OK; 3], "{what}: everything is here again");
        self.upstream.behave();
    }
}

#[tokio::test]
async fn unfinished_files_are_removed() {
    let world = World::new().await;
    let leave = |folder: &Path| {
        fs::write(folder.join("spool/7"), "half of something").unwrap();
        fs::create_dir_all(folder.join("spool/folder/deep")).unwrap();
        fs::write(folder.join("ledger.sqlite-wal"), "half a write").unwrap();
        fs::write(folder.join("scrub"), "half a li").unwrap();
        fs::write(folder.join("quarantine/0000000003-x"), "what was wrong before").unwrap();
        fs::write(folder.join("quarantine/not ours"), "").unwrap();
    };
    world.after("leftovers", leave, [OK; 3]).await;
}

#[tokio::test]
async fn without_its_ledger_nothing_is_believed_and_nothing_is_lost() {
    let world = World::new().await;
    let ledger = |folder: &Path| folder.join("ledger.sqlite");
    world.after("no ledger", |folder| fs::remove_file(ledger(folder)).unwrap(), [AWAY, AWAY, UNNAMED]).await;
    world.after("an empty ledger", |folder| fs::write(ledger(folder), "").unwrap(), [AWAY, AWAY, UNNAMED]).await;
    world
        .after("no database", |folder| fs::write(ledger(folder), "garbage".repeat(999)).unwrap(), [AWAY, AWAY, UNNAMED])
        .await;
    let truncate = |folder: &Path| {
        let file = fs::OpenOptions::new().write(true).open(ledger(folder)).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    };
    world.after("half a ledger", truncate, [AWAY, AWAY, UNNAMED]).await;
}

#[tokio::test]
async fn rows_without_files_cost_a_fetch() {
    let world = World::new().await;
    let platform = world.image.platform("amd64").unwrap();
    let (index, manifest, layer) = (world.image.index.digest, platform.manifest.digest, platform.layers[0].digest);
    let remove = |digest| move |folder: &Path| fs::remove_file(path_of(folder, digest)).unwrap();
    world.after("no index", remove(index), [AWAY; 3]).await;
    world.after("no platform", remove(manifest), [OK, AWAY, AWAY]).await;
    world.after("no layer", remove(layer), [OK, OK, AWAY]).await;
    world.after("no blobs", |folder| fs::remove_dir_all(folder.join("blobs")).unwrap(), [AWAY; 3]).await;
}

#[tokio::test]
async fn files_that_are_not_what_their_names_say_are_set_aside() {
    let world = World::new().await;
    let layer = world.image.platform("amd64").unwrap().layers[0].digest;
    let quarantined = |folder: &Path| fs::read_dir(folder.join("quarantine")).unwrap().count();
    let harms: [(&str, Harm); 4] = [
        ("empty", |file| fs::write(file, "").unwrap()),
        ("changed", |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes[200_000] ^= 1;
            fs::write(file, bytes).unwrap();
        }),
        ("a link", |file| {
            let elsewhere = file.with_extension("elsewhere");
            fs::rename(file, &elsewhere).unwrap();
            std::os::unix::fs::symlink(elsewhere, file).unwrap();
        }),
        ("a folder", |file| {
            fs::remove_file(file).unwrap();
            fs::create_dir(file).unwrap();
        }),
    ];
    for (what, harm) in harms {
        world.after(what, |folder| harm(&path_of(folder, layer)), [OK, OK, AWAY]).await;
    }
    let proxy = world.start(Arc::new(tempfile::tempdir().unwrap())).await;
    world.statuses(&proxy).await;
    proxy.published(layer).await;
    fs::write(path_of(proxy.folder(), layer), vec![0; world.image.platform("amd64").unwrap().layers[0].bytes.len()])
        .unwrap();
    world.statuses(&proxy).await;
    assert_eq!(quarantined(proxy.folder()), 1);
    assert_eq!(world.statuses(&proxy).await, [OK; 3]);

    // Without such a folder it works, too.
    fs::remove_dir_all(proxy.folder().join("quarantine")).unwrap();
    fs::write(proxy.folder().join("quarantine"), "in the way").unwrap();
    proxy.published(layer).await;
    fs::write(path_of(proxy.folder(), layer), "").unwrap();
    let proxy = world.start(proxy.stop().await).await;
    world.statuses(&proxy).await;
    assert_eq!(world.statuses(&proxy).await, [OK; 3]);
}
