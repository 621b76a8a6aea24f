//! Attacks that once came through, and pulls that once were refused for no reason; each with its honest sibling.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use assay::demo::{Document, ImageBuilder, Signer};
use assay::oci::media_type::OCI_MANIFEST;
use assay::oci::{Claim, Digest};
use assay::store::DiskStore;
use assay::trust::{Enforcement, Policy, danger};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::json;

use crate::pull::image;
use crate::support::client::{Http, get, send};
use crate::support::proxy::{demand, rule, signed_by};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

/// A docker client asks for the manifest, and minutes later, or after our restart, for the last layer.
#[tokio::test]
async fn where_nothing_is_enforced_an_image_without_an_index_stays_whole_after_a_restart() {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    let unsigned = image("one platform");
    upstream.registry().push_image("app", "1.0", &unsigned);
    let platform = unsigned.platform("amd64").unwrap();
    upstream.registry().put_manifest("app", "single", platform.manifest.clone());
    let written = danger::Unsigned::as_written_by_the_operator();
    let modes = [("audit", Enforcement::Audit(demand(&[&signer]))), ("off", Enforcement::Off(written))];
    for (mode, enforcement) in modes {
        let setup = || Setup::new(Policy::new(vec![rule(mode, "**", enforcement.clone())], None));
        let proxy = setup().start(&upstream).await;
        assert_eq!(get(proxy.address, &proxy.manifest_path("app", "single")).await.status, StatusCode::OK);
        let proxy = setup().start_in(&upstream, proxy.stop().await).await;
        let layer = &platform.layers[0];
        let got = get(proxy.address, &proxy.blob_path("app", layer.digest)).await;
        assert!(got.complete && got.body == layer.bytes, "{mode}: {}", got.message());
        assert!(get(proxy.address, &proxy.blob_path("app", Digest::of(b"x"))).await.is_refusal("NOT_NAMED"));
    }
}
