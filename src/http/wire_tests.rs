//! What clients and attackers see on real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::oci::Digest;
use crate::pull::{Answer, PullError, Refusal};
use crate::store::Failure;
use crate::tasks::Tasks;
use crate::telemetry::{CacheOutcome, Metrics};
use crate::trust::Reason;

use super::body::ServeBody;
use super::connection::Handler;
use super::fixture::Image;
use super::listener::{ListenerOptions, serve_with};
use super::reply::Reply;
use super::respond;
use super::route::Route;

const SOON: Duration = Duration::from_secs(5);

/// Serves what the path names.
struct Desk(Arc<Image>);

impl Handler for Desk {
    async fn answer(&self, request: Request<Incoming>, _: SocketAddr) -> Response<ServeBody> {
        let repository: crate::oci::Repository = "ghcr.io/acme/app".parse().unwrap();
        let blob = Route::Blob { repository: repository.clone(), digest: Digest::of(self.0.layer()) };
        let found =
            |servable| respond::content(Answer { servable, cache: CacheOutcome::Hit }, &blob, request.headers());
        let reply = match request.uri().path() {
            "/layer" if request.method() == Method::HEAD => found(self.0.layer_head()),
            "/layer" => found(self.0.layer_whole().await),
            "/part" => found(self.0.layer_part(5..15).await),
            "/broken" => {
                let mut spool = self.0.spool().await;
                let servable = self.0.layer_arriving(&spool);
                Tasks::new().spawn("upstream", async move {
                    spool.write(vec![Bytes::from(vec![8; 150_000])]).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    spool.fail(Failure::GivenUp("upstream lies".into()));
                });
                found(servable)
            }
            "/refused" => {
                let refusal = Refusal {
                    repository,
                    asked: "1.0".to_owned(),
                    reason: Reason::NoSignature,
                    rule: None,
                    detail: "x".to_owned(),
                    next_step: "y".to_owned(),
                    verdict: None,
                };
                respond::pull_error(&PullError::Refused(Box::new(refusal)), &blob, true)
            }
            "/slow" => {
                let pieces = stream::iter(0..3).then(async |n| {
                    tokio::time::sleep(Duration::from_millis(if n == 0 { 0 } else { 150 })).await;
                    Ok(Bytes::from_static(b"ab"))
                });
                return Response::new(ServeBody::scripted(6, pieces.boxed()));
            }
            "/endless" => {
                let pieces = stream::repeat_with(|| Ok(Bytes::from(vec![0; 256 * 1024])));
                return Response::new(ServeBody::scripted(1 << 40, pieces.boxed()));
            }
            _ => Reply::page(StatusCode::OK, "text/plain", "hello"),
        };
        reply.into_response(request.method() == Method::HEAD, None)
    }
}

struct Server {
    at: SocketAddr,
    stop: oneshot::Sender<()>,
    done: oneshot::Receiver<bool>,
    tasks: Tasks,
}

async fn server(options: ListenerOptions) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let desk = Desk(Arc::new(Image::new().await));
    let (ended, done) = oneshot::channel();
    let tasks = Tasks::new();
    let serving = serve_with(listener, options, desk, tasks.clone(), async {
        let _ = stopped.await;
    });
    Tasks::new().spawn("server", async {
        let _ = ended.send(serving.await);
    });
    Server { at, stop, done, tasks }
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).await.unwrap()
    }

    async fn connect_from(&self, address: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(address.parse().unwrap(), 0)).unwrap();
        socket.connect(self.at).await.unwrap()
    }

    /// Sends text and reads until the server closes.
    async fn say(&self, text: &[u8]) -> String {
        let mut socket = self.connect().await;
        socket.write_all(text).await.unwrap();
        read_all(&mut socket).await
    }

    /// Whether all connections ended by themselves. No task may be left behind either way.
    async fn stop(self) -> bool {
        self.stop.send(()).unwrap();
        let calm = timeout(SOON, self.done).await.unwrap().unwrap();
        assert!(self.tasks.stop(SOON).await, "a task outlives its connection");
        calm
    }
}

/// Until the end of the connection, orderly or not.
async fn read_all(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    let _ = timeout(SOON, socket.read_to_end(&mut all)).await.expect("the server ends the connection");
    String::from_utf8_lossy(&all).into_owned()
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

async fn h2(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
) -> hyper::client::conn::http2::SendRequest<Empty<Bytes>> {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    Tasks::new().spawn("client", async {
        let _ = connection.await;
    });
    sender
}

fn h2_get(method: Method, path: &str) -> Request<Empty<Bytes>> {
    Request::builder().method(method).uri(format!("http://x{path}")).body(Empty::new()).unwrap()
}

#[tokio::test]
async fn a_tls_hello_on_the_plain_port_is_answered_at_once() {
    let server = server(ListenerOptions::default()).await;
    let hello = [b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03".as_slice(), &[0x5a; 160]].concat();
    let start = Instant::now();
    assert!(server.say(&hello).await.starts_with("HTTP/1.1 400 "));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn both_versions_are_spoken_on_the_plain_port() {
    let server = server(ListenerOptions::default()).await;
    assert!(server.say(&get("/")).await.ends_with("hello"));
    let mut sender = h2(server.connect().await).await;
    let response = sender.send_request(h2_get(Method::GET, "/layer")).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    assert_eq!(Digest::of(&response.collect().await.unwrap().to_bytes()), Digest::of(&[b'x'; 200_000]));
}

#[tokio::test]
async fn head_says_what_get_would_send() {
    let server = server(ListenerOptions::default()).await;
    let mut sender = h2(server.connect().await).await;
    for (path, length) in [("/layer", "200000"), ("/refused", "116"), ("/part", "10")] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let text = server.say(request.as_bytes()).await;
        assert!(text.contains(&format!("content-length: {length}\r\n")) && text.ends_with("\r\n\r\n"), "{text}");
        let response = sender.send_request(h2_get(Method::HEAD, path)).await.unwrap();
        assert_eq!(response.headers()["content-length"], length);
        assert!(response.collect().await.unwrap().to_bytes().is_empty());
    }
}

#[tokio::test]
async fn the_status_line_tells_the_reason() {
    let server = server(ListenerOptions::default()).await;
    for method in ["GET", "HEAD"] {
        let request = format!("{method} /refused HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let text = server.say(request.as_bytes()).await;
        assert_eq!(text.lines().next(), Some("HTTP/1.1 403 assay: NO_SIGNATURE: ghcr.io/acme/app:1.0 (no rule)"));
    }
}

#[tokio::test]
async fn a_condition_and_a_part_on_the_wire() {
    let server = server(ListenerOptions::default()).await;
    let text = server.say(b"GET /layer HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nConnection: close\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 304 ") && text.ends_with("\r\n\r\n"), "{text}");
    let text = server.say(&get("/part")).await;
    assert!(text.starts_with("HTTP/1.1 206 ") && text.contains("content-range: bytes 5-14/200000\r\n"), "{text}");
}

#[tokio::test]
async fn broken_content_is_never_complete() {
    let server = server(ListenerOptions::default()).await;
    let text = server.say(&get("/broken")).await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-length: 200000") && body.len() < 200_000, "{head}");
    let mut sender = h2(server.connect().await).await;
    let response = sender.send_request(h2_get(Method::GET, "/broken")).await.unwrap();
    assert!(response.collect().await.is_err(), "the stream is reset");
    assert!(sender.send_request(h2_get(Method::GET, "/")).await.is_ok(), "the connection goes on");
}

#[tokio::test]
async fn an_unread_request_body_ends_the_connection() {
    let server = server(ListenerOptions::default()).await;
    for framing in ["Content-Length: 100", "Transfer-Encoding: chunked", "Expect: 100-continue\r\nContent-Length: 9"] {
        let text = server.say(format!("GET / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n").as_bytes()).await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("connection: close\r\n"), "{text}");
    }
    // What follows the body is not taken for a request, however well it is hidden.
    for smuggled in [
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhelloGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        assert_eq!(server.say(smuggled.as_bytes()).await.matches("HTTP/1.1 ").count(), 1);
    }
}

#[tokio::test]
async fn slow_heads_and_silent_clients_are_cut() {
    let patience = Duration::from_millis(200);
    let options = ListenerOptions { header_timeout: patience, ..ListenerOptions::default() };
    let server = server(options).await;
    for start in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:",
        "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost:",
    ] {
        let begun = Instant::now();
        let mut socket = server.connect().await;
        let (mut read, mut write) = socket.split();
        let drip = async {
            write.write_all(start.as_bytes()).await.unwrap();
            // Of a head, a byte now and then; of a preface, nothing more that fits.
            while start.starts_with("GET") && write.write_all(b"a").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = read_all(&mut read) => {}
            () = drip => {}
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "{start:?}");
    }
}

#[tokio::test]
async fn a_connection_without_requests_is_ended() {
    let options = ListenerOptions { idle_timeout: Duration::from_millis(100), ..ListenerOptions::default() };
    let server = server(options).await;
    let mut sender = h2(server.connect().await).await;
    sender.send_request(h2_get(Method::GET, "/slow")).await.unwrap().collect().await.unwrap();
    assert!(!sender.is_closed(), "an answer that takes longer is no silence");
    timeout(SOON, async {
        while !sender.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("ended");
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut() {
    let options =
        ListenerOptions { stall_timeout: Duration::from_millis(200), max_connections: 1, ..Default::default() };
    let server = server(options).await;
    let mut one = server.connect().await;
    one.write_all(&get("/endless")).await.unwrap();
    assert!(server.say(&get("/")).await.ends_with("hello"), "the slot came free");
    let two = h2(server.connect().await).await.send_request(h2_get(Method::GET, "/endless")).await.unwrap();
    assert!(server.say(&get("/")).await.ends_with("hello"), "the slot came free");
    drop(one);
    assert!(server.stop().await, "nothing runs on");
    drop(two);
}

#[tokio::test]
async fn above_the_cap_clients_wait_and_are_not_refused() {
    let metrics = Arc::<Metrics>::default();
    let full = || metrics.encode().contains("assay_connections_full_total 1\n");
    let shown = Some(Arc::clone(&metrics));
    let server = server(ListenerOptions { max_connections: 1, metrics: shown, ..Default::default() }).await;
    assert!(!full());
    let mut first = server.connect().await;
    first.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    let mut second = server.connect().await;
    second.write_all(&get("/")).await.unwrap();
    assert!(timeout(Duration::from_millis(100), second.read(&mut start)).await.is_err(), "not served yet");
    assert!(full(), "and an operator sees it");
    drop(first);
    assert!(read_all(&mut second).await.ends_with("hello"));
}

#[tokio::test]
async fn a_client_that_takes_all_connections_keeps_no_other_out() {
    let metrics = Arc::<Metrics>::default();
    let shown = Some(Arc::clone(&metrics));
    let server = server(ListenerOptions { max_connections: 16, metrics: shown, ..Default::default() }).await;
    let mut greedy = Vec::new();
    for _ in 0..14 {
        let mut socket = server.connect().await;
        socket.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        socket.read_exact(&mut [0; 12]).await.expect("while there is plenty, it gets them");
        greedy.push(socket);
    }
    let said = async |mut socket: TcpStream| {
        socket.write_all(&get("/")).await.unwrap();
        timeout(SOON, read_all(&mut socket)).await.expect("it ends")
    };
    let mut waits = server.connect().await;
    waits.write_all(&get("/")).await.unwrap();
    let waited = timeout(Duration::from_millis(100), waits.read(&mut [0; 12])).await;
    assert!(waited.is_err(), "what is left is for others");
    assert!(metrics.encode().contains("assay_client_share_exceeded_total{kind=\"connection\"} 1\n"));
    assert!(said(server.connect_from("127.0.0.2").await).await.ends_with("hello"));
    drop(greedy.pop());
    assert!(read_all(&mut waits).await.ends_with("hello"), "it was waited for, not refused");
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answers_leaves_requests_to_others() {
    let server = server(ListenerOptions { max_requests: 16, ..Default::default() }).await;
    let mut greedy = h2(server.connect().await).await;
    let mut open = Vec::new();
    for _ in 0..14 {
        let answer = greedy.send_request(h2_get(Method::GET, "/endless")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        open.push(answer);
    }
    let put_off = greedy.send_request(h2_get(Method::GET, "/")).await.unwrap();
    assert_eq!(put_off.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(put_off.headers().contains_key("retry-after"));
    let mut other = h2(server.connect_from("127.0.0.2").await).await;
    let hello = other.send_request(h2_get(Method::GET, "/")).await.unwrap();
    assert_eq!(hello.collect().await.unwrap().to_bytes(), "hello");
    open.truncate(10);
    let again = async {
        // The server learns of a stream that was given up a moment later.
        while greedy.send_request(h2_get(Method::GET, "/")).await.unwrap().status() != StatusCode::OK {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, again).await.expect("there is plenty again");
}

#[tokio::test]
async fn a_running_answer_is_finished_before_the_end() {
    let server = server(ListenerOptions::default()).await;
    let mut idle = server.connect().await;
    let mut running = server.connect().await;
    running.write_all(&get("/slow")).await.unwrap();
    let slow = h2(server.connect().await).await.send_request(h2_get(Method::GET, "/slow")).await.unwrap();
    let mut start = [0; 12];
    running.read_exact(&mut start).await.unwrap();
    let at = server.at;
    assert!(server.stop().await, "all ended by themselves");
    assert!(read_all(&mut running).await.ends_with("ababab"));
    assert_eq!(slow.collect().await.unwrap().to_bytes(), "ababab");
    assert_eq!(read_all(&mut idle).await, "");
    assert!(TcpStream::connect(at).await.is_err());
}

#[tokio::test]
async fn an_answer_that_never_ends_is_cut_after_the_grace() {
    let server = server(ListenerOptions { grace: Duration::from_millis(100), ..Default::default() }).await;
    let mut endless = server.connect().await;
    endless.write_all(&get("/endless")).await.unwrap();
    let stream = h2(server.connect().await).await.send_request(h2_get(Method::GET, "/endless")).await.unwrap();
    let mut start = [0; 12];
    endless.read_exact(&mut start).await.unwrap();
    assert!(!server.stop().await);
    let _ = timeout(SOON, tokio::io::copy(&mut endless, &mut tokio::io::sink())).await.expect("cut");
    let mut body = stream.into_body();
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    timeout(SOON, drained).await.expect("cut");
}

#[tokio::test]
async fn tls_has_both_versions_and_a_deadline() {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let certificate = super::Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    let config = super::server_config(Arc::new(certificate));
    let options = ListenerOptions { tls: Some(config.into()), ..ListenerOptions::default() };
    let strict = ListenerOptions { tls_handshake_timeout: Duration::from_millis(100), ..options.clone() };
    let (server, strict) = (server(options).await, server(strict).await);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(pair.cert.der().clone()).unwrap();
    let connect = async |alpn: &[u8]| {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect("localhost".try_into().unwrap(), server.connect().await).await.unwrap()
    };
    let mut one = connect(b"http/1.1").await;
    one.write_all(&get("/")).await.unwrap();
    assert!(read_all(&mut one).await.ends_with("hello"));
    let response = h2(connect(b"h2").await).await.send_request(h2_get(Method::GET, "/layer")).await.unwrap();
    assert_eq!(response.collect().await.unwrap().to_bytes().len(), 200_000);
    assert_eq!(read_all(&mut strict.connect().await).await, "", "a client that never shakes hands is cut");
}

#[tokio::test]
async fn heads_are_bounded() {
    let server = server(ListenerOptions::default()).await;
    let many: String = (0..150).map(|n| format!("X-{n}: 1\r\n")).collect();
    for (head, status) in [(many, "431"), (format!("X: {}\r\n", "a".repeat(100_000)), "431")] {
        let text = server.say(format!("GET / HTTP/1.1\r\nHost: x\r\n{head}\r\n").as_bytes()).await;
        assert!(text.is_empty() || text.starts_with(&format!("HTTP/1.1 {status} ")), "{text}");
    }
    let mut sender = h2(server.connect().await).await;
    let mut request = h2_get(Method::GET, "/");
    let long: HeaderMap =
        [("x".parse::<http::HeaderName>().unwrap(), "a".repeat(60_000).parse().unwrap())].into_iter().collect();
    request.headers_mut().extend(long);
    assert!(!sender.send_request(request).await.is_ok_and(|response| response.status() == StatusCode::OK));
}
