//! A client that sees everything: status line, headers, and how a body ends.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Which protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

/// An answer, as far as it came.
#[derive(Debug)]
pub struct Got {
    pub status: StatusCode,
    pub reason: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the body ended as a whole. False: cut (HTTP/1.1) or reset (HTTP/2).
    pub complete: bool,
    /// From the request to the first byte of the body.
    pub first_byte: Option<Duration>,
}

/// Longest wait before a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(30);

pub async fn get(server: SocketAddr, path: &str) -> Got {
    send(server, Http::One, Method::GET, path, &[]).await
}

pub async fn head(server: SocketAddr, path: &str) -> Got {
    send(server, Http::One, Method::HEAD, path, &[]).await
}

pub async fn send(server: SocketAddr, http: Http, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
    tokio::time::timeout(PATIENCE, exchange(server, http, method, path, headers)).await.expect("no answer in time")
}

/// Asks, reads about so many bytes, and is gone.
pub async fn leave_after(server: SocketAddr, path: &str, bytes: usize) {
    let leaving = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n\r\n").as_bytes()).await?;
        let (mut buffer, mut got) = (vec![0; 64 * 1024], 0);
        while got < bytes {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => got += count,
            }
        }
        std::io::Result::Ok(())
    };
    // Whatever became of it: who leaves does not look.
    let _left = tokio::time::timeout(PATIENCE, leaving).await;
}

async fn exchange(server: SocketAddr, version: Http, method: Method, path: &str, headers: &[(&str, &str)]) -> Got {
    let io = TokioIo::new(TcpStream::connect(server).await.unwrap());
    let started = Instant::now();
    let mut request = Request::builder().method(method);
    request = match version {
        Http::One => request.uri(path).header("host", server.to_string()),
        Http::Two => request.uri(format!("http://{server}{path}")),
    };
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let answer = match version {
        Http::One => {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        }
        Http::Two => {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(request).await
        }
    };
    // HTTP/2 may deliver the reset before the headers: nothing was received at all.
    let Ok(answer) = answer else {
        return Got {
            status: StatusCode::OK,
            reason: String::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            complete: false,
            first_byte: None,
        };
    };
    let reason = answer
        .extensions()
        .get::<hyper::ext::ReasonPhrase>()
        .map(|r| String::from_utf8_lossy(r.as_bytes()).into_owned());
    let (parts, body) = answer.into_parts();
    let (body, complete, first_byte) = read(body, started).await;
    Got { status: parts.status, reason: reason.unwrap_or_default(), headers: parts.headers, body, complete, first_byte }
}

async fn read(mut body: Incoming, started: Instant) -> (Bytes, bool, Option<Duration>) {
    let (mut all, mut first) = (Vec::new(), None);
    loop {
        match body.frame().await {
            None => return (all.into(), true, first),
            Some(Err(_)) => return (all.into(), false, first),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    first.get_or_insert_with(|| started.elapsed());
                    all.extend_from_slice(&data);
                }
            }
        }
    }
}

impl Got {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The message of the registry error in the body.
    pub fn message(&self) -> String {
        let body: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        body["errors"][0]["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn is_refusal(&self, code: &str) -> bool {
        self.status == StatusCode::FORBIDDEN && self.message().starts_with("assay: ") && self.message().contains(code)
    }
}
