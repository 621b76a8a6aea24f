//! What a first verdict adds to a pull, over an upstream whose every answer takes 20 ms: `cargo bench --bench cold_verdict`.
//!
//! Real sockets, many images, each seen for the first time. "Round trips" is the time in units of those 20 ms.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark plays the other side, too")]

#[path = "../tests/support/mod.rs"]
#[expect(unused_imports, reason = "benchmarks use a part of it")]
mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use assay::demo::{Artefact, BuiltImage, ImageBuilder, Signer};
use assay::pull::ABSENT_FOR;
use assay::upstream::Freshness;
use support::client::{get, head};
use support::proxy::signed_by;
use support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

const ROUND_TRIP: Duration = Duration::from_millis(20);
const IMAGES: usize = 41;
const REPOSITORY: &str = "acme/app";

/// One way in which images are signed and asked for.
struct Case {
    name: &'static str,
    sign: fn(&Signer, &BuiltImage) -> Artefact,
    referrers_api: bool,
    asked: Asked,
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    /// By a tag that nobody asked for before.
    NewTag,
    /// By a tag that is known, and leads to something new.
    KnownTag,
    /// By the index's digest.
    Digest,
}

#[tokio::main]
async fn main() {
    let bundle: fn(&Signer, &BuiltImage) -> Artefact = |signer, image| signer.bundle(&image.index);
    let classic: fn(&Signer, &BuiltImage) -> Artefact =
        |signer, image| signer.classic("test.assay/acme/app", image.index.digest);
    println!("{:52} {:>9} {:>9} {:>9} {:>7} {:>9}", "", "direct", "assay", "added", "trips", "requests");
    for (name, sign, referrers_api, asked) in [
        ("bundle, referrers API, by digest", bundle, true, Asked::Digest),
        ("bundle, referrers API, by a known tag", bundle, true, Asked::KnownTag),
        ("bundle, referrers API, by a new tag", bundle, true, Asked::NewTag),
        ("bundle, fallback tag, by digest", bundle, false, Asked::Digest),
        ("bundle, fallback tag, by a new tag", bundle, false, Asked::NewTag),
        ("classic, referrers API, by digest", classic, true, Asked::Digest),
        ("classic, no referrers API, by a new tag", classic, false, Asked::NewTag),
    ] {
        measure(Case { name, sign, referrers_api, asked }).await;
    }
}

async fn measure(case: Case) {
    let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
    upstream.registry().set_referrers_api(case.referrers_api);
    // As shipped.
    let mut setup = Setup::new(signed_by(&signer));
    (setup.freshness, setup.absent_for) = (Freshness::default(), ABSENT_FOR);
    let proxy = setup.start(&upstream).await;
    let images: Vec<BuiltImage> = (0..=IMAGES).map(|n| ImageBuilder::new(format!("Hello {n}")).build()).collect();
    for (n, image) in images.iter().enumerate() {
        upstream.registry().push_image(REPOSITORY, &format!("t{n}"), image);
        upstream.registry().push_artefact(REPOSITORY, &(case.sign)(&signer, image));
    }
    if case.asked == Asked::KnownTag {
        learn_tags(&upstream, &proxy, &signer, &images).await;
    }
    upstream.misbehave(PathMatch::any(), Misbehaviour::Late(ROUND_TRIP));
    let (mut direct, mut ours, mut requests) = (Vec::new(), Vec::new(), 0);
    for (n, image) in images.iter().enumerate() {
        let reference = match case.asked {
            Asked::Digest => image.index.digest.to_string(),
            _ => format!("t{n}"),
        };
        let path = format!("/v2/{REPOSITORY}/manifests/{reference}");
        let before = upstream.requests().len();
        let here = timed(proxy.address, &proxy.manifest_path(REPOSITORY, &reference), &image.index.bytes).await;
        let asked = upstream.requests().len() - before;
        let there = timed(upstream.address(), &path, &image.index.bytes).await;
        // The first one also opens connections and learns what the registry can do.
        if n > 0 {
            ours.push(here);
            direct.push(there);
            requests += asked;
        }
    }
    let (ours, direct) = (median(ours), median(direct));
    let added = ours.saturating_sub(direct);
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    println!(
        "{:52} {:>9} {:>9} {:>9} {:>7.1} {:>9.1}",
        case.name,
        millis(direct),
        millis(ours),
        millis(added),
        added.as_secs_f64() / ROUND_TRIP.as_secs_f64(),
        requests as f64 / IMAGES as f64,
    );
    proxy.stop().await;
}

/// Pulls every tag while it leads to something else, and waits until that has to be asked again.
async fn learn_tags(upstream: &NastyUpstream, proxy: &Proxy, signer: &Signer, images: &[BuiltImage]) {
    let before = ImageBuilder::new("before").build();
    upstream.registry().push_artefact(REPOSITORY, &signer.bundle(&before.index));
    for n in 0..images.len() {
        upstream.registry().push_image(REPOSITORY, &format!("t{n}"), &before);
        timed(proxy.address, &proxy.manifest_path(REPOSITORY, format!("t{n}")), &before.index.bytes).await;
    }
    tokio::time::sleep(Freshness::default().tag_ttl).await;
    for (n, image) in images.iter().enumerate() {
        upstream.registry().push_image(REPOSITORY, &format!("t{n}"), image);
    }
}

/// HEAD and then GET, as containerd asks; both through one connection each.
async fn timed(address: SocketAddr, path: &str, expected: &[u8]) -> Duration {
    let began = Instant::now();
    let known = head(address, path).await;
    let got = get(address, path).await;
    let took = began.elapsed();
    assert_eq!((known.status.as_u16(), got.status.as_u16()), (200, 200), "{path}: {}", got.message());
    assert!(got.complete && got.body == expected, "{path}");
    took
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
