//! Clients that throw bodies away: HTTP/1.1 by hand, so that they cost little beside what they measure; HTTP/2 by hyper.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Without it, docker-registry has no indexes.
const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json";

/// How to speak to a server.
#[derive(Clone)]
pub enum Wire {
    Plain,
    Tls(Arc<rustls::ClientConfig>),
    TlsH2(Arc<rustls::ClientConfig>),
}

/// One connection.
pub enum Client {
    One(Box<dyn Stream>, Vec<u8>),
    Two(http2::SendRequest<Empty<Bytes>>, SocketAddr),
}

/// Anything with bytes in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    pub async fn connect(server: SocketAddr) -> Self {
        Self::connect_by(server, &Wire::Plain).await
    }

    pub async fn connect_by(server: SocketAddr, wire: &Wire) -> Self {
        let socket = TcpStream::connect(server).await.unwrap();
        socket.set_nodelay(true).unwrap();
        match wire {
            Wire::Plain => Self::One(Box::new(socket), vec![0; 256 * 1024]),
            Wire::Tls(config) => Self::One(Box::new(tls(config, socket).await), vec![0; 256 * 1024]),
            Wire::TlsH2(config) => {
                let io = TokioIo::new(tls(config, socket).await);
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.initial_stream_window_size(4 << 20).initial_connection_window_size(16 << 20);
                let (sender, connection) = builder.max_frame_size(64 * 1024).handshake(io).await.unwrap();
                tokio::spawn(connection);
                Self::Two(sender, server)
            }
        }
    }

    /// Reads one answer to its end; gives the moment of the first byte.
    pub async fn get(&mut self, path: &str) -> Instant {
        self.ask(&Method::GET, path).await
    }

    pub async fn ask(&mut self, method: &Method, path: &str) -> Instant {
        match self {
            Self::One(socket, buffer) => one(&mut **socket, buffer, method, path).await,
            Self::Two(sender, server) => {
                let uri = format!("https://{server}{path}");
                let request = Request::builder().method(method).uri(uri).body(Empty::new()).unwrap();
                sender.ready().await.unwrap();
                let mut answer = sender.send_request(request).await.unwrap();
                assert_eq!(answer.status(), 200, "{path}");
                let first = Instant::now();
                while let Some(frame) = answer.frame().await {
                    frame.unwrap();
                }
                first
            }
        }
    }
}

async fn one(socket: &mut dyn Stream, buffer: &mut [u8], method: &Method, path: &str) -> Instant {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\naccept: {ACCEPT}\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    // With TLS, some of it may still be on this side.
    socket.flush().await.unwrap();
    let (mut got, mut whole, mut first) = (0, None, None);
    while whole.is_none_or(|whole| got < whole) {
        // Until the head is complete, what comes is kept; afterwards only counted.
        let space = if whole.is_none() { &mut buffer[got..] } else { &mut buffer[..] };
        let count = socket.read(space).await.unwrap();
        assert!(count > 0, "{path} ended early");
        first.get_or_insert_with(Instant::now);
        got += count;
        whole = whole.or_else(|| length(&buffer[..got], method));
    }
    first.unwrap()
}

async fn tls(config: &Arc<rustls::ClientConfig>, socket: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::clone(config)).connect(name, socket).await.unwrap()
}

/// Of head and body, once the head is there.
fn length(answer: &[u8], method: &Method) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    if *method == Method::HEAD {
        return Some(head);
    }
    let headers = text.lines().filter_map(|line| line.split_once(": "));
    let (_, body) = headers.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length")).unwrap();
    Some(head + body.trim().parse::<usize>().unwrap())
}

/// What `clients` did in a while.
pub struct Load {
    pub requests: usize,
    pub took: Duration,
    /// Of each request, sorted.
    pub times: Vec<Duration>,
}

/// Each client asks again and again, until each asked `each` times or time is over.
pub async fn load(server: SocketAddr, wire: &Wire, method: Method, path: &str, clients: usize, limit: Limit) -> Load {
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(Client::connect_by(server, wire).await);
    }
    let start = Instant::now();
    let running: Vec<_> = connected
        .into_iter()
        .map(|mut client| {
            let (path, method) = (path.to_owned(), method.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while limit.goes_on(times.len(), start) {
                    let asked = Instant::now();
                    client.ask(&method, &path).await;
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for one in running {
        times.extend(one.await.unwrap());
    }
    let took = start.elapsed();
    times.sort_unstable();
    Load { requests: times.len(), took, times }
}

#[derive(Clone, Copy)]
pub enum Limit {
    Each(usize),
    For(Duration),
}

impl Limit {
    fn goes_on(self, done: usize, start: Instant) -> bool {
        match self {
            Self::Each(times) => done < times,
            Self::For(time) => start.elapsed() < time,
        }
    }
}
