//! Assay over real sockets, beside a plain server that has the same bytes in memory and checks nothing:
//! `cargo bench --bench throughput`.
//!
//! All of it, clients too, runs in this process, so only the ratios mean something. Each is the
//! median of pairs of runs that were taken in turns.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark plays the other side, too")]

#[path = "../../tests/support/mod.rs"]
#[expect(unused_imports, reason = "benchmarks use a part of it")]
mod support;

mod client;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, Document, ImageBuilder, Server, Signer, Whole};
use client::Client;
use futures_util::future::join_all;
use http::Response;
use support::{NastyUpstream, Proxy};

const MIB: usize = 1024 * 1024;
const BLOB: usize = 64 * MIB;
const PAIRS: usize = 5;
const REQUESTS: usize = 2000; // on each connection

#[tokio::main]
async fn main() {
    let bench = Bench::new().await;
    println!("{:44} {:>12} {:>12} {:>8}", "", "assay", "plain", "ratio");
    let proxy = bench.filled_proxy().await;
    for clients in [1, 8] {
        let (ours, plain) = (bench.get_all(proxy.address, &bench.path, clients), bench.get_all_plain(clients));
        rate(&format!("hot blob, {clients} client(s)"), clients * BLOB, pairs(&ours, &plain).await);
    }
    let manifest = proxy.manifest_path("app", bench.image.index.digest);
    let ours = || repeat(proxy.address, &manifest, 8);
    let plain = || repeat(bench.plain_index.address(), "/v2/", 8);
    requests("manifest by digest, 8 connections", 8 * REQUESTS, pairs(&ours, &plain).await);

    for (what, clients) in [("cold blob, 1 client", 1), ("cold blob, crowd of 50", 50)] {
        let ours = || bench.cold(clients);
        rate(what, clients * BLOB, pairs(&ours, &bench.get_all_plain(clients)).await);
    }
}

struct Bench {
    upstream: NastyUpstream,
    signer: Signer,
    image: BuiltImage,
    plain_layer: Server,
    plain_index: Server,
    path: String,
}

/// How long something took, and when the first byte of the slowest client came.
#[derive(Clone, Copy)]
struct Took {
    whole: Duration,
    first_byte: Duration,
}

impl Bench {
    async fn new() -> Self {
        let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
        let image = ImageBuilder::new("Hello").filler_layer(BLOB).build();
        upstream.registry().push_image("app", "1.0", &image);
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
        let layer = image.platforms[0].layers[1].clone();
        let path = format!("/v2/{}/app/blobs/{}", support::REGISTRY, layer.digest);
        let (plain_layer, plain_index) = (serve(layer).await, serve(image.index.clone()).await);
        Self { upstream, signer, image, plain_layer, plain_index, path }
    }

    /// Assay with an empty cache that knows the image's manifests.
    async fn proxy(&self) -> Proxy {
        let proxy = Proxy::start(&self.upstream, &self.signer).await;
        for reference in ["1.0".to_owned(), self.image.platforms[0].manifest.digest.to_string()] {
            let path = proxy.manifest_path("app", reference);
            Client::connect(proxy.address).await.get(&path).await;
        }
        proxy
    }

    async fn filled_proxy(&self) -> Proxy {
        let proxy = self.proxy().await;
        // The second time it is read from the store and hashed, from then on it is hot.
        for _ in 0..3 {
            get_all(proxy.address, &self.path, 1).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        proxy
    }

    fn get_all(&self, server: SocketAddr, path: &str, clients: usize) -> impl AsyncFn() -> Took {
        let path = path.to_owned();
        async move || get_all(server, &path, clients).await
    }

    fn get_all_plain(&self, clients: usize) -> impl AsyncFn() -> Took {
        self.get_all(self.plain_layer.address(), "/v2/", clients)
    }

    async fn cold(&self, clients: usize) -> Took {
        let proxy = self.proxy().await;
        let took = get_all(proxy.address, &self.path, clients).await;
        proxy.stop().await;
        took
    }
}

/// hyper, and nothing else.
async fn serve(document: Document) -> Server {
    let answer = move |_| {
        let body = Whole::new(document.bytes.clone());
        async move { Ok::<_, Infallible>(Response::new(body)) }
    };
    Server::start(SocketAddr::from(([127, 0, 0, 1], 0)), None, answer).await.unwrap()
}

async fn get_all(server: SocketAddr, path: &str, clients: usize) -> Took {
    let connected = join_all((0..clients).map(|_| Client::connect(server))).await;
    let (start, path) = (Instant::now(), Arc::<str>::from(path));
    let running = connected.into_iter().map(|mut client| {
        let path = Arc::clone(&path);
        tokio::spawn(async move { client.get(&path).await })
    });
    let firsts = join_all(running.collect::<Vec<_>>()).await;
    let first_byte = firsts.into_iter().map(|first| first.unwrap() - start).max().unwrap();
    Took { whole: start.elapsed(), first_byte }
}

/// Each client asks [`REQUESTS`] times on its one connection.
async fn repeat(server: SocketAddr, path: &str, clients: usize) -> Took {
    let connected = join_all((0..clients).map(|_| Client::connect(server))).await;
    let (start, path) = (Instant::now(), Arc::<str>::from(path));
    let running = connected.into_iter().map(|mut client| {
        let path = Arc::clone(&path);
        tokio::spawn(async move {
            for _ in 0..REQUESTS {
                client.get(&path).await;
            }
        })
    });
    join_all(running.collect::<Vec<_>>()).await;
    Took { whole: start.elapsed(), first_byte: Duration::ZERO }
}

async fn pairs(ours: &impl AsyncFn() -> Took, plain: &impl AsyncFn() -> Took) -> Vec<(Took, Took)> {
    let mut all = Vec::new();
    for _ in 0..PAIRS {
        all.push((ours().await, plain().await));
    }
    all
}

fn rate(what: &str, bytes: usize, pairs: Vec<(Took, Took)>) {
    let gib = |took: Took| bytes as f64 / (1024 * MIB) as f64 / took.whole.as_secs_f64();
    row(what, "GiB/s", &pairs, gib);
    let first = median(pairs.iter().map(|(ours, _)| ours.first_byte.as_secs_f64() * 1000.0));
    let plain = median(pairs.iter().map(|(_, plain)| plain.first_byte.as_secs_f64() * 1000.0));
    println!("{:44} {first:9.2} ms {plain:9.2} ms", "    last client's first byte");
}

fn requests(what: &str, count: usize, pairs: Vec<(Took, Took)>) {
    row(what, "/s", &pairs, |took| count as f64 / took.whole.as_secs_f64());
}

fn row(what: &str, unit: &str, pairs: &[(Took, Took)], value: impl Fn(Took) -> f64) {
    let ours = median(pairs.iter().map(|(ours, _)| value(*ours)));
    let plain = median(pairs.iter().map(|(_, plain)| value(*plain)));
    let ratio = median(pairs.iter().map(|(ours, plain)| value(*ours) / value(*plain)));
    println!("{what:44} {ours:>12.2} {plain:>12.2} {ratio:>8.2}  {unit}");
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
