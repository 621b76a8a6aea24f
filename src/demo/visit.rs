//! A small pull client for the demo: asks as a container engine does, and checks as one.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::oci::Digest;

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a pull ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything came, and every digest fits. So many bytes.
    Complete(u64),
    /// Refused, with the registry's message.
    Refused(String),
    /// A response broke off, or another error came. What the next try was told.
    Broken(String),
    /// Everything came, and some digest does not fit. Must never happen.
    Poisoned(String),
}

struct Got {
    status: StatusCode,
    verdict: String,
    body: Result<Bytes, String>,
}

/// Pulls `repository:reference` for linux/amd64: manifest, platform manifest, config, layers.
/// Returns how it ended and what the `Assay-Verdict` header said.
pub async fn pull(server: SocketAddr, repository: &str, reference: &str) -> (Ending, String) {
    let mut verdict = String::new();
    let ending = match walk(server, repository, reference, &mut verdict).await {
        Ok(bytes) => Ending::Complete(bytes),
        Err(ending) => ending,
    };
    (ending, verdict)
}

async fn walk(server: SocketAddr, repository: &str, reference: &str, verdict: &mut String) -> Result<u64, Ending> {
    let mut document = manifest(server, repository, reference, verdict).await?;
    let mut bytes = document.len() as u64;
    if let Some(platform) = platform_of(&document) {
        document = manifest(server, repository, &platform, verdict).await?;
        bytes += document.len() as u64;
    }
    for digest in blobs_of(&document) {
        let path = format!("/v2/{repository}/blobs/{digest}");
        bytes += checked(content(server, &path).await?, &digest)?.len() as u64;
    }
    Ok(bytes)
}

async fn manifest(
    server: SocketAddr,
    repository: &str,
    reference: &str,
    verdict: &mut String,
) -> Result<Bytes, Ending> {
    let got = get(server, &format!("/v2/{repository}/manifests/{reference}")).await;
    if !got.verdict.is_empty() {
        *verdict = got.verdict.clone();
    }
    checked(accepted(got)?, reference)
}

/// A blob. When the response breaks off, asks once more, as engines do, and reports what it is told.
async fn content(server: SocketAddr, path: &str) -> Result<Bytes, Ending> {
    let first = get(server, path).await;
    if first.status == StatusCode::OK && first.body.is_err() {
        return match accepted(get(server, path).await) {
            Ok(_) => Err(Ending::Poisoned("the second try got what the first did not".to_owned())),
            Err(Ending::Refused(why) | Ending::Broken(why)) => Err(Ending::Broken(format!("cut off; then: {why}"))),
            Err(other) => Err(other),
        };
    }
    accepted(first)
}

fn accepted(got: Got) -> Result<Bytes, Ending> {
    let body = got.body.map_err(Ending::Broken)?;
    if got.status == StatusCode::OK {
        return Ok(body);
    }
    let message =
        serde_json::from_slice::<Value>(&body).ok().and_then(|v| Some(v["errors"][0]["message"].as_str()?.to_owned()));
    let message = message.unwrap_or_else(|| got.status.to_string());
    Err(if got.status == StatusCode::FORBIDDEN { Ending::Refused(message) } else { Ending::Broken(message) })
}

fn checked(bytes: Bytes, asked: &str) -> Result<Bytes, Ending> {
    match asked.parse::<Digest>() {
        Ok(want) if Digest::of(&bytes) != want => Err(Ending::Poisoned(format!("{want} came with other bytes"))),
        _ => Ok(bytes),
    }
}

fn platform_of(document: &[u8]) -> Option<String> {
    let index: Value = serde_json::from_slice(document).ok()?;
    let amd64 = index["manifests"].as_array()?.iter().find(|entry| entry["platform"]["architecture"] == "amd64")?;
    Some(amd64["digest"].as_str()?.to_owned())
}

fn blobs_of(document: &[u8]) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(document).unwrap_or_default();
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    std::iter::once(&manifest["config"]).chain(&layers).filter_map(|d| Some(d["digest"].as_str()?.to_owned())).collect()
}

async fn get(server: SocketAddr, path: &str) -> Got {
    let broken = |why: String| Got { status: StatusCode::OK, verdict: String::new(), body: Err(why) };
    match tokio::time::timeout(PATIENCE, ask(server, path)).await {
        Ok(Ok(got)) => got,
        Ok(Err(error)) => broken(error.to_string()),
        Err(_) => broken("no answer in time".to_owned()),
    }
}

async fn ask(server: SocketAddr, path: &str) -> anyhow::Result<Got> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path).header("host", server.to_string()).body(String::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let (status, verdict) = (response.status(), header("assay-verdict"));
        Ok(Got { status, verdict, body: read(response.into_body()).await })
    };
    tokio::select! {
        got = exchange => got,
        // The connection ends by itself only when the exchange has failed.
        ended = connection => Err(ended.err().map_or_else(|| anyhow::anyhow!("closed"), anyhow::Error::from)),
    }
}

async fn read(mut body: Incoming) -> Result<Bytes, String> {
    let mut all = Vec::new();
    loop {
        let frame = std::future::poll_fn(|cx| std::pin::Pin::new(&mut body).poll_frame(cx)).await;
        match frame {
            None => return Ok(all.into()),
            Some(Ok(frame)) => all.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Some(Err(error)) => return Err(format!("broke off after {} bytes: {error}", all.len())),
        }
    }
}
