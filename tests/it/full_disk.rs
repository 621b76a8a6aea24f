//! A cache folder on a real disk that is too small: pulls go on, and what fits is kept.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use assay::demo::{BuiltImage, ImageBuilder, Signer};
use futures_util::future::join_all;
use http::StatusCode;

use crate::support::client::get;
use crate::support::proxy::{Setup, signed_by};
use crate::support::{NastyUpstream, Proxy};

/// A file system in memory of a few MiB. Unmounted when it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, and loudly so, where this user may not mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=0700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "assay-test"]).arg(at).output();
        match mounted {
            Ok(done) if done.status.success() => Some(Self(at.to_owned())),
            failed => {
                eprintln!("NOT TESTED: a full disk. This needs to mount a tmpfs (root): {failed:?}");
                None
            }
        }
    }
}

impl SmallDisk {
    /// As soon as nobody has a file open for writing.
    async fn make_read_only(&self) {
        let remounted = async {
            while !Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0).status().unwrap().success() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), remounted).await.expect("nobody writes");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the proxy may hold files in it a moment longer.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn images(upstream: &NastyUpstream, signer: &Signer, count: usize, size: usize) -> Vec<BuiltImage> {
    let image = |n: usize| {
        let image = ImageBuilder::new(format!("Hello {n}")).layer_padding(size).build();
        upstream.registry().push_image("app", &format!("v{n}"), &image);
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
        image
    };
    (0..count).map(image).collect()
}

/// As an engine pulls: tag, platform, and then its blobs.
async fn pull(proxy: &Proxy, n: usize, image: &BuiltImage) {
    let platform = image.platform("amd64").unwrap();
    for (reference, bytes) in
        [(format!("v{n}"), &image.index.bytes), (platform.manifest.digest.to_string(), &platform.manifest.bytes)]
    {
        let got = get(proxy.address, &proxy.manifest_path("app", reference)).await;
        assert!(got.status == StatusCode::OK && got.body == *bytes, "v{n}: {} {}", got.status, got.message());
    }
    for blob in platform.layers.iter().chain([&platform.config]) {
        let got = get(proxy.address, &proxy.blob_path("app", blob.digest)).await;
        assert!(got.complete && got.body == blob.bytes, "v{n}: {} {}", got.status, got.message());
    }
}

fn stored(proxy: &Proxy, images: &[BuiltImage]) -> usize {
    images.iter().filter(|image| proxy.has(image.platform("amd64").unwrap().layers[0].digest)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_pulls_onto_a_disk_that_fills_up_all_complete_and_what_comes_after_is_kept_again() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let Some(_disk) = SmallDisk::mount(folder.path(), "12m") else { return };
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let images = images(&upstream, &signer, 20, 2_000_000).await;
    let proxy = Setup::new(signed_by(&signer)).start_in(&upstream, Arc::clone(&folder)).await;
    join_all(images.iter().enumerate().map(|(n, image)| pull(&proxy, n, image))).await;
    assert!(stored(&proxy, &images) < images.len(), "the disk was too small");
    assert!(proxy.puller.keeps().await.unwrap_err().starts_with("disk full: passing through"));
    assert_eq!(proxy.spooled(), 0);
    // Once more, now that it is full from the start; and one after the other.
    for (n, image) in images.iter().enumerate() {
        pull(&proxy, n, image).await;
    }

    let blobs = folder.path().join("blobs/sha256");
    for entry in std::fs::read_dir(blobs).unwrap() {
        std::fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
    pull(&proxy, 0, &images[0]).await;
    assert_eq!(stored(&proxy, &images), 1, "there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_folder_serves_what_it_holds_and_the_rest_passes_through() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let Some(disk) = SmallDisk::mount(folder.path(), "64m") else { return };
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let images = images(&upstream, &signer, 2, 500_000).await;
    let proxy = Setup::new(signed_by(&signer)).start_in(&upstream, Arc::clone(&folder)).await;
    pull(&proxy, 0, &images[0]).await;
    drop(proxy.stop().await);
    disk.make_read_only().await;

    let proxy = Setup::new(signed_by(&signer)).start_in(&upstream, Arc::clone(&folder)).await;
    upstream.forget_requests();
    pull(&proxy, 0, &images[0]).await;
    let beyond_the_tag = upstream.requests().into_iter().filter(|seen| !seen.path.ends_with("/manifests/v0")).count();
    assert_eq!(beyond_the_tag, 0, "verdicts and content are read: {:?}", upstream.requests());
    pull(&proxy, 1, &images[1]).await;
    pull(&proxy, 1, &images[1]).await;
    assert!(proxy.puller.keeps().await.unwrap_err().starts_with("disk read-only: passing through"));
    assert_eq!(stored(&proxy, &images), 1);
}
