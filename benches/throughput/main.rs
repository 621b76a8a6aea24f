//! Assay over real sockets, beside others who serve the same bytes: `cargo bench --bench throughput`.
//!
//! Hot content: the program itself as a process of its own, with the gate on, against nginx with static files (sendfile)
//! and Debian's docker-registry, where they are installed. Everybody takes a turn in each round, so that what else the
//! machine does meets all alike; a ratio is the median of the rounds' ratios, with the lowest and the highest behind
//! it. The clients share the machine with the servers, so processor time tells more than throughput.
//!
//! Cold content: in front of an upstream in this process, against nginx with proxy_cache and against no proxy at all.
//!
//! `cargo bench --bench throughput -- tls` measures only rows with `tls` in their name.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark plays the other side, too")]

#[path = "../../tests/support/mod.rs"]
#[expect(unused_imports, reason = "benchmarks use a part of it")]
mod support;

mod client;
mod cold;
mod line;
mod servers;

use std::sync::Arc;
use std::time::Duration;

use assay::demo::{BuiltImage, Document, ImageBuilder, Signer};
use client::{Client, Limit, Load, Wire, load};
use http::Method;
use rustls::crypto::aws_lc_rs;
use servers::{REPOSITORY, Server, Stock};
use support::{NastyUpstream, TestCa};

const MIB: usize = 1024 * 1024;
const BLOB: usize = 64 * MIB;
/// Turns that each server takes.
const ROUNDS: usize = 5;
/// How long each turn with manifests lasts.
const TURN: Duration = Duration::from_millis(1500);
/// Longer than a file must be left alone to count as hashed.
const SETTLED: Duration = Duration::from_millis(300);

#[tokio::main]
async fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()));
    let bench = Bench::new().await;
    for name in ["nginx", "docker-registry"] {
        if bench.plain.iter().all(|server| server.name != name) {
            println!("NOT MEASURED: {name} is not installed");
        }
    }
    let (h1, h2) = (Wire::Tls(bench.tls_client("http/1.1")), Wire::TlsH2(bench.tls_client("h2")));
    for (transport, wire, servers) in
        [("plain", Wire::Plain, &bench.plain), ("tls h1", h1, &bench.tls), ("tls h2", h2, &bench.tls)]
    {
        for (clients, each) in [(1, 16), (8, 3), (64, 1)] {
            let name = format!("hot blob, {transport}, {clients} client(s)");
            if wanted(&name) {
                bench.blobs(&name, servers, &wire, clients, each).await;
            }
        }
    }
    for method in [Method::GET, Method::HEAD] {
        let name = format!("manifest by digest, {method}, 64 connections");
        if wanted(&name) {
            bench.requests(&name, &method, |server| server.manifest(&bench.image.index)).await;
        }
    }
    if wanted("blob, HEAD, 64 connections") {
        bench.requests("blob, HEAD, 64 connections", &Method::HEAD, |server| server.blob(bench.layer())).await;
    }
    let signer = bench.signer;
    drop((bench.plain, bench.tls, bench.upstream));
    cold::run(&signer, wanted).await;
}

struct Bench {
    upstream: NastyUpstream,
    signer: Signer,
    image: BuiltImage,
    ca: TestCa,
    plain: Vec<Server>,
    tls: Vec<Server>,
}

/// One turn of one server.
#[derive(Clone, Copy)]
struct Turn {
    /// GiB or requests in a second.
    rate: f64,
    /// Processor seconds for a GiB, or microseconds for a request.
    cpu: f64,
    p50: Duration,
    p99: Duration,
    p999: Duration,
    memory: f64,
}

impl Bench {
    async fn new() -> Self {
        let (upstream, signer, ca) = (NastyUpstream::start().await, Signer::generate().unwrap(), TestCa::new());
        let image = ImageBuilder::new("Hello").filler_layer(BLOB).build();
        upstream.registry().push_image(REPOSITORY, "1.0", &image);
        upstream.registry().push_artefact(REPOSITORY, &signer.bundle(&image.index));
        let certificate = ca.loopback();
        let all = |tls| {
            let stock = Stock { image: &image, certificate: &certificate, tls };
            let servers = [
                Server::assay(&upstream.url(), &signer, tls.then_some(&certificate)),
                Server::nginx(&stock),
                Server::distribution(&stock),
            ];
            servers.into_iter().flatten().collect::<Vec<_>>()
        };
        let (plain, tls) = (all(false), all(true));
        let bench = Self { upstream, signer, image, ca, plain, tls };
        let h1 = Wire::Tls(bench.tls_client("http/1.1"));
        for (servers, wire) in [(&bench.plain, Wire::Plain), (&bench.tls, h1)] {
            for server in servers {
                bench.warm(server, &wire).await;
            }
        }
        bench
    }

    fn layer(&self) -> &Document {
        &self.image.platforms[0].layers[1]
    }

    /// Everything was asked for, fetched, verified and hashed before the clock starts.
    async fn warm(&self, server: &Server, wire: &Wire) {
        let mut client = Client::connect_by(server.address, wire).await;
        for document in [&self.image.index, &self.image.platforms[0].manifest] {
            client.get(&server.manifest(document)).await;
        }
        for _ in 0..3 {
            client.get(&server.blob(self.layer())).await;
            tokio::time::sleep(SETTLED).await;
        }
    }

    async fn blobs(&self, name: &str, servers: &[Server], wire: &Wire, clients: usize, each: usize) {
        let gib = |load: &Load| (load.requests * self.layer().bytes.len()) as f64 / (1024 * MIB) as f64;
        let turn = async |server: &Server| {
            let path = server.blob(self.layer());
            measure(server, gib, load(server.address, wire, Method::GET, &path, clients, Limit::Each(each))).await
        };
        table(name, ("GiB/s", "CPU s/GiB", 1.0), &rounds(servers, turn).await);
    }

    async fn requests(&self, name: &str, method: &Method, path: impl Fn(&Server) -> String) {
        let turn = async |server: &Server| {
            let path = path(server);
            let load = load(server.address, &Wire::Plain, method.clone(), &path, 64, Limit::For(TURN));
            measure(server, |load| load.requests as f64, load).await
        };
        table(name, ("requests/s", "CPU us", 1e6), &rounds(&self.plain, turn).await);
    }

    fn tls_client(&self, protocol: &str) -> Arc<rustls::ClientConfig> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.ca_pem().as_bytes()).unwrap()).unwrap();
        let mut provider = aws_lc_rs::default_provider();
        // The same for everybody.
        provider.cipher_suites = vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider));
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        Arc::new(config)
    }
}

async fn measure(server: &Server, work: impl Fn(&Load) -> f64, load: impl Future<Output = Load>) -> Turn {
    let before = server.cpu();
    let load = load.await;
    let (work, cpu) = (work(&load), server.cpu() - before);
    let at = |share: f64| load.times[((load.times.len() as f64 * share) as usize).min(load.times.len() - 1)];
    let (p50, p99, p999) = (at(0.5), at(0.99), at(0.999));
    Turn { rate: work / load.took.as_secs_f64(), cpu: cpu / work, p50, p99, p999, memory: server.memory() }
}

/// By server, one turn of each round.
async fn rounds(servers: &[Server], turn: impl AsyncFn(&Server) -> Turn) -> Vec<(&'static str, Vec<Turn>)> {
    let mut all: Vec<_> = servers.iter().map(|server| (server.name, Vec::new())).collect();
    for round in 0..ROUNDS {
        // Another one begins each time.
        for at in 0..servers.len() {
            let at = (at + round) % servers.len();
            all[at].1.push(turn(&servers[at]).await);
        }
    }
    all
}

/// Medians, and what the first server is to each of the others.
fn table(name: &str, (rate, cpu, scale): (&str, &str, f64), all: &[(&'static str, Vec<Turn>)]) {
    println!("\n{name}");
    println!(
        "  {:16} {rate:>11} {cpu:>10}  p50/p99/p99.9 ms     anon MiB   assay's rate ÷ its      assay's CPU ÷ its",
        ""
    );
    let (_, ours) = &all[0];
    for (server, turns) in all {
        let of = |value: fn(&Turn) -> f64| median(turns.iter().map(value)).0;
        let millis = |value: fn(&Turn) -> Duration| median(turns.iter().map(|turn| value(turn).as_secs_f64() * 1e3)).0;
        let ratio = |value: fn(&Turn) -> f64| {
            let (middle, low, high) = median(ours.iter().zip(turns).map(|(our, its)| value(our) / value(its)));
            format!("{middle:.2} ({low:.2}–{high:.2})")
        };
        println!(
            "  {server:16} {:>11.2} {:>10.3}  {:<20} {:>8.1}   {:<20}    {}",
            of(|turn| turn.rate),
            of(|turn| turn.cpu) * scale,
            format!("{:.2}/{:.2}/{:.2}", millis(|t| t.p50), millis(|t| t.p99), millis(|t| t.p999)),
            of(|turn| turn.memory),
            ratio(|turn| turn.rate),
            ratio(|turn| turn.cpu),
        );
    }
}

/// With the lowest and the highest.
fn median(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}
