//! `assay scrub`: what is stored is hashed again while the proxy is stopped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use assay::oci::Digest;
use http::StatusCode;
use insta::assert_snapshot;

use crate::support::cache_folder::path_of;
use crate::support::client::get;
use crate::support::proxy::signed_by;
use crate::support::{NastyUpstream, Proxy, Setup};

fn scrub(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assay"))
        .arg("scrub")
        .args(arguments)
        .env_clear()
        .env("ASSAY_CACHE__DIR", folder)
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    image: BuiltImage,
}

impl World {
    async fn new() -> (Self, Proxy) {
        let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
        let image = ImageBuilder::new("Hello").layer_padding(300_000).filler_layer(1000).build();
        upstream.registry().push_image("app", "1.0", &image);
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
        let proxy = Proxy::start(&upstream, &signer).await;
        let world = Self { upstream, signer, image };
        world.pull(&proxy).await;
        (world, proxy)
    }

    async fn pull(&self, proxy: &Proxy) {
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "1.0")).await.status, StatusCode::OK);
        let platform = self.image.platform("amd64").unwrap();
        for document in platform.documents() {
            let path = match document.digest == platform.manifest.digest {
                true => proxy.manifest_path("app", document.digest),
                false => proxy.blob_path("app", document.digest),
            };
            let got = get(proxy.address, &path).await;
            assert!(got.status == StatusCode::OK && got.complete && got.body == document.bytes, "{path}: {got:?}");
        }
    }
}

/// One of each kind of harm. Returns something precious that a link leads to.
fn harm(world: &World, folder: &Path) -> PathBuf {
    let platform = world.image.platform("amd64").unwrap();
    let changed = path_of(folder, platform.layers[0].digest);
    let mut bytes = fs::read(&changed).unwrap();
    bytes[1000] ^= 1;
    fs::write(&changed, bytes).unwrap();

    let linked = path_of(folder, platform.config.digest);
    let precious = folder.join("precious");
    fs::rename(&linked, &precious).unwrap();
    std::os::unix::fs::symlink(&precious, &linked).unwrap();

    let named_twice = path_of(folder, platform.layers[1].digest);
    fs::hard_link(&named_twice, folder.join("second name")).unwrap();

    fs::create_dir_all(path_of(folder, Digest::of(b"a folder")).join("deep")).unwrap();
    fs::write(folder.join("blobs/sha256/readme"), "").unwrap();
    fs::write(changed.with_file_name("half-a-name"), "").unwrap();
    fs::write(folder.join("blobs/md5"), "").unwrap();
    precious
}

#[tokio::test]
async fn what_is_not_right_is_found_taken_away_and_fetched_again() {
    for (arguments, aside) in [(&["--json"][..], 7), (&["--json", "--delete"], 0)] {
        let (world, proxy) = World::new().await;
        let folder = proxy.stop().await;
        let clean = scrub(folder.path(), &["--json"]);
        assert_eq!((clean.status.code(), json(&clean)["files"].as_u64()), (Some(0), Some(5)), "{clean:?}");

        let precious = harm(&world, folder.path());
        let found = scrub(folder.path(), arguments);
        let said = json(&found);
        assert_eq!(found.status.code(), Some(7), "{found:?}");
        assert_eq!((said["changed"].as_u64(), said["foreign"].as_u64()), (Some(1), Some(6)), "{said}");
        assert_eq!(fs::read_dir(folder.path().join("quarantine")).unwrap().count(), aside);
        assert!(precious.exists(), "links are not followed");

        let again = scrub(folder.path(), &["--json"]);
        assert_eq!((again.status.code(), json(&again)["files"].as_u64()), (Some(0), Some(2)), "{again:?}");
        let proxy = Setup::new(signed_by(&world.signer)).start_in(&world.upstream, folder).await;
        world.pull(&proxy).await;
    }
}

#[tokio::test]
async fn a_folder_that_is_in_use_is_left_alone() {
    let (world, proxy) = World::new().await;
    let output = scrub(proxy.folder(), &[]);
    assert_eq!(output.status.code(), Some(1));
    let folder = proxy.folder().display().to_string();
    assert_snapshot!(String::from_utf8_lossy(&output.stderr).replace(&folder, "DIR"), @r"
    error: cannot scrub; a running proxy does so by itself ([cache] scrub)
      because: DIR is in use by another process
    ");
    world.pull(&proxy).await;
}

#[tokio::test]
async fn a_folder_that_is_none_is_not_made_one() {
    let folder = tempfile::tempdir().unwrap();
    let output = scrub(&folder.path().join("cache"), &[]);
    assert_eq!(output.status.code(), Some(4));
    assert!(!folder.path().join("cache").exists());
}

#[tokio::test]
async fn people_read_what_was_found() {
    let (world, proxy) = World::new().await;
    let folder: Arc<_> = proxy.stop().await;
    let layer = world.image.platform("amd64").unwrap().layers[0].digest;
    fs::write(path_of(folder.path(), layer), "something else").unwrap();
    fs::write(folder.path().join("blobs/sha256/\u{1b}[31mred"), "").unwrap();
    let output = scrub(folder.path(), &[]);
    let text = String::from_utf8_lossy(&output.stdout).replace(&folder.path().display().to_string(), "DIR");
    let text = text.replace(&layer.to_string(), "sha256:LAYER");
    let text = text.lines().filter(|line| !line.contains(" hashed: ")).collect::<Vec<_>>().join("\n");
    assert_snapshot!(text, @r"
    foreign     DIR/blobs/sha256/�[31mred
    changed     sha256:LAYER
    They are in the folder `quarantine`, as far as there is room; content is fetched again when it is next asked for. See the log for what could not be taken away.
    ");
}
