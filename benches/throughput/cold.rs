//! What is not there yet: one large layer, an image of two platforms, a crowd, a long stream. Against nginx with
//! `proxy_cache`, which checks nothing, and against no proxy at all.
//!
//! Each is asked as an engine asks, from HEAD of the tag on. Each turn begins with an empty cache.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, Document, ImageBuilder, Shelf, Signer};
use futures_util::future::join_all;
use http::Method;

use super::client::Client;
use super::line::{FarUpstream, Line};
use super::median;
use super::servers::{REPOSITORY, Server};

const MIB: usize = 1024 * 1024;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
const ROUNDS: usize = 3;
const TAG: &str = "1.0";
/// Layers that engines fetch at once.
const AT_ONCE: usize = 3;
const CROWD: usize = 50;

const OFFICE: Line = Line { name: "100 MB/s, 20 ms away", away: Duration::from_millis(20), rate: Some(100e6) };
const HALL: Line = Line { name: "500 MB/s, 20 ms away", away: Duration::from_millis(20), rate: Some(500e6) };
const LOOPBACK: Line = Line { name: "loopback", away: Duration::ZERO, rate: None };

/// What one turn showed.
struct Turn {
    /// Of the first layer (in a crowd, the middle client's), since the tag was asked for.
    first_byte: Duration,
    /// Of the largest layer (in a crowd, the middle client's), since it was asked for itself.
    layer_byte: Duration,
    total: Duration,
    requests: usize,
    layer_gets: usize,
    /// Upstream's bytes.
    bytes: usize,
    cpu: f64,
    /// Most anonymous memory, and that after a quarter of the bytes.
    memory: f64,
    memory_early: f64,
}

pub async fn run(signer: &Signer, wanted: impl Fn(&str) -> bool) {
    let gib = || image("large", &[1024 * MIB]);
    let several = || image("several", &[40, 30, 25, 20, 15, 12, 10, 5].map(|mib| mib * MIB));
    let cases: [(&str, Line, &dyn Fn() -> BuiltImage, usize); 5] = [
        ("cold 1 GiB layer", OFFICE, &gib, 1),
        ("cold 1 GiB layer", LOOPBACK, &gib, 1),
        ("cold image of two platforms", OFFICE, &several, 1),
        ("cold crowd of 50, 256 MiB", HALL, &|| image("crowd", &[256 * MIB]), CROWD),
        ("cold 4 GiB layer", LOOPBACK, &|| image("huge", &[4096 * MIB]), 1),
    ];
    for (name, line, build, clients) in cases {
        let name = format!("{name}, {}", line.name);
        if wanted(&name) {
            measure(&name, line, &build(), signer, clients).await;
        }
    }
}

fn image(name: &str, layers: &[usize]) -> BuiltImage {
    layers.iter().fold(ImageBuilder::new(name), |image, bytes| image.filler_layer(*bytes)).build()
}

async fn measure(name: &str, line: Line, image: &BuiltImage, signer: &Signer, clients: usize) {
    let shelf = Arc::<Shelf>::default();
    shelf.push_image(REPOSITORY, TAG, image);
    shelf.push_artefact(REPOSITORY, &signer.bundle(&image.index));
    let upstream = FarUpstream::start(shelf, line).await;
    let mut all: Vec<(&str, Vec<Turn>)> = vec![("assay", vec![]), ("nginx", vec![]), ("direct", vec![])];
    for round in 0..ROUNDS {
        for at in 0..all.len() {
            let (name, turns) = &mut all[(at + round) % 3];
            let proxy = match *name {
                "assay" => Some(Server::assay(&upstream.url(), signer, None)),
                "nginx" => Some(Server::proxy_cache(&upstream.url())),
                _ => None,
            };
            match proxy {
                Some(None) => {}
                Some(Some(proxy)) => turns.push(turn(&upstream, Some(&proxy), image, clients).await),
                None => turns.push(turn(&upstream, None, image, clients).await),
            }
        }
    }
    let size = sent(image, clients) as f64 / clients as f64;
    println!("\n{name}");
    println!(
        "  {:8} {:>13} {:>9} {:>9} {:>15} {:>9} {:>11} {:>12} {:>10} {:>17}",
        "",
        "first byte ms",
        "its own",
        "total s",
        "÷ direct",
        "requests",
        "layer GETs",
        "bytes ÷ size",
        "CPU s/GiB",
        "anon MiB 25 %/max"
    );
    let direct = &all[2].1;
    for (name, turns) in all.iter().filter(|(_, turns)| !turns.is_empty()) {
        let of = |value: &dyn Fn(&Turn) -> f64| median(turns.iter().map(value)).0;
        let (ratio, low, high) =
            median(turns.iter().zip(direct).map(|(its, direct)| its.total.as_secs_f64() / direct.total.as_secs_f64()));
        println!(
            "  {name:8} {:>13.1} {:>9.1} {:>9.2} {:>15} {:>9} {:>11} {:>12.2} {:>10.2} {:>17}",
            of(&|turn| turn.first_byte.as_secs_f64() * 1e3),
            of(&|turn| turn.layer_byte.as_secs_f64() * 1e3),
            of(&|turn| turn.total.as_secs_f64()),
            format!("{ratio:.2} ({low:.2}–{high:.2})"),
            of(&|turn| turn.requests as f64),
            of(&|turn| turn.layer_gets as f64),
            of(&|turn| turn.bytes as f64) / size,
            of(&|turn| turn.cpu) / (size / GIB),
            format!("{:.1}/{:.1}", of(&|turn| turn.memory_early), of(&|turn| turn.memory)),
        );
    }
}

/// Bytes of all that the clients get.
fn sent(image: &BuiltImage, clients: usize) -> usize {
    let platforms = if clients == 1 { &image.platforms[..] } else { &image.platforms[..1] };
    let layers: std::collections::BTreeMap<_, _> =
        platforms.iter().flat_map(|platform| &platform.layers).map(|layer| (layer.digest, layer.bytes.len())).collect();
    clients * layers.values().sum::<usize>()
}

async fn turn(upstream: &FarUpstream, proxy: Option<&Server>, image: &BuiltImage, clients: usize) -> Turn {
    upstream.take_counts();
    let (address, prefix) = match proxy {
        Some(proxy) => (proxy.address, proxy.prefix.clone()),
        None => (upstream.address(), format!("/v2/{REPOSITORY}")),
    };
    let cpu = || proxy.map_or(0.0, Server::cpu);
    let (cpu_before, asked) = (cpu(), Instant::now());
    let mut first = Client::connect(address).await;
    first.ask(&Method::HEAD, &format!("{prefix}/manifests/{TAG}")).await;
    first.get(&format!("{prefix}/manifests/{}", image.index.digest)).await;
    // In a crowd all have the manifest already: the layer is what they wait for.
    let platforms = if clients == 1 { &image.platforms[..] } else { &image.platforms[..1] };
    for platform in platforms {
        first.get(&format!("{prefix}/manifests/{}", platform.manifest.digest)).await;
        first.get(&format!("{prefix}/blobs/{}", platform.config.digest)).await;
    }
    let mut layers: Vec<&Document> = platforms.iter().flat_map(|platform| &platform.layers).collect();
    layers.sort_by_key(|layer| std::cmp::Reverse(layer.bytes.len()));
    layers.dedup_by_key(|layer| layer.digest);
    let (firsts, layer_bytes) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let (samples, wanted) = (Mutex::new((0.0_f64, 0.0_f64)), sent(image, clients));
    let work = async {
        let ask = async |layer: &Document, client: &mut Client| {
            let began = Instant::now();
            let first = client.get(&format!("{prefix}/blobs/{}", layer.digest)).await;
            firsts.lock().unwrap().push(first - asked);
            if layer.digest == layers[0].digest {
                layer_bytes.lock().unwrap().push(first - began);
            }
        };
        match clients {
            1 => {
                let next = AtomicUsize::new(0);
                let mut connected = join_all((0..AT_ONCE).map(|_| Client::connect(address))).await;
                let fetching = connected.iter_mut().map(async |client| {
                    while let Some(layer) = layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                        ask(layer, client).await;
                    }
                });
                join_all(fetching).await;
            }
            _ => {
                let mut connected = join_all((0..clients).map(|_| Client::connect(address))).await;
                let largest = layers[0];
                join_all(connected.iter_mut().map(async |client| ask(largest, client).await)).await;
            }
        }
    };
    let watch = async {
        loop {
            let memory = proxy.map_or(0.0, Server::memory);
            let is_early = upstream.sent() < wanted / clients / 4;
            {
                let (early, all) = &mut *samples.lock().unwrap();
                *all = all.max(memory);
                *early = if is_early { early.max(memory) } else { *early };
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = watch => {}
    }
    let total = asked.elapsed();
    let (requests, layer_gets, bytes) = upstream.take_counts();
    let (mut firsts, mut layer_bytes) = (firsts.into_inner().unwrap(), layer_bytes.into_inner().unwrap());
    firsts.sort();
    layer_bytes.sort();
    let (memory_early, memory) = samples.into_inner().unwrap();
    // The last is synced and named after its client has it, which costs its processor time, too.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let first_byte = if clients == 1 { firsts[0] } else { firsts[firsts.len() / 2] };
    let layer_byte = layer_bytes[layer_bytes.len() / 2];
    Turn { first_byte, layer_byte, total, requests, layer_gets, bytes, cpu: cpu() - cpu_before, memory, memory_early }
}
