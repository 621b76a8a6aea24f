//! What is not there yet, within this process: one client, and a crowd.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, Document, Server, Signer, Whole};
use futures_util::future::join_all;
use http::Response;

use super::client::Client;
use super::median;
use super::servers::REPOSITORY;
use super::support::{self, NastyUpstream, Proxy};

const PAIRS: usize = 5;
const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// How long something took, and when the first byte of the slowest client came.
#[derive(Clone, Copy)]
struct Took {
    whole: Duration,
    first_byte: Duration,
}

pub async fn run(upstream: &NastyUpstream, signer: &Signer, image: &BuiltImage) {
    println!("\n{:32} {:>12} {:>12}   ratio", "within one process", "assay", "plain");
    let layer = image.platforms[0].layers[1].clone();
    let plain = serve(layer.clone()).await;
    let path = format!("/v2/{}/{REPOSITORY}/blobs/{}", support::REGISTRY, layer.digest);
    for (what, clients) in [("cold blob, 1 client", 1), ("cold blob, crowd of 50", 50)] {
        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            let proxy = Proxy::start(upstream, signer).await;
            for document in [&image.index, &image.platforms[0].manifest] {
                let path = proxy.manifest_path(REPOSITORY, document.digest);
                Client::connect(proxy.address).await.get(&path).await;
            }
            let ours = get_all(proxy.address, &path, clients).await;
            proxy.stop().await;
            pairs.push((ours, get_all(plain.address(), "/v2/", clients).await));
        }
        let rate = |took: &Took| (clients * layer.bytes.len()) as f64 / GIB / took.whole.as_secs_f64();
        let of = |value: &dyn Fn(&(Took, Took)) -> f64| median(pairs.iter().map(value));
        let (ratio, low, high) = of(&|(ours, plain)| rate(ours) / rate(plain));
        let (ours, plain) = (of(&|(ours, _)| rate(ours)).0, of(&|(_, plain)| rate(plain)).0);
        println!("{what:32} {ours:>7.2} GiB/s {plain:>6.2} GiB/s   {ratio:.2} ({low:.2}–{high:.2})");
        let first = |took: &Took| took.first_byte.as_secs_f64() * 1000.0;
        let (ours, plain) = (of(&|(ours, _)| first(ours)).0, of(&|(_, plain)| first(plain)).0);
        println!("{:32} {ours:>10.2} ms {plain:>9.2} ms", "  last client's first byte");
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
    let start = Instant::now();
    let running = connected.into_iter().map(|mut client| {
        let path = path.to_owned();
        tokio::spawn(async move { client.get(&path).await })
    });
    let firsts = join_all(running.collect::<Vec<_>>()).await;
    let first_byte = firsts.into_iter().map(|first| first.unwrap() - start).max().unwrap();
    Took { whole: start.elapsed(), first_byte }
}
