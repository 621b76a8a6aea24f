//! The ways in which an upstream can be wrong, applied to an honest answer.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use assay::demo::Document;
use assay::oci::Digest;
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;

use super::gate::Gate;

pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

/// How long data gets to leave before the connection is cut behind it.
const FLUSH: Duration = Duration::from_millis(30);
const CHUNK: usize = 64 * 1024;

/// One way of being wrong. Those about the body leave HEAD alone.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// The first byte is another one.
    CorruptFirst,
    /// The last byte is another one.
    CorruptLast,
    /// Only so many bytes, and a `Content-Length` that fits them.
    Shorter(usize),
    /// The honest `Content-Length`, about so many bytes, then the connection breaks (HTTP/2: reset).
    CutAfter(usize),
    /// The honest `Content-Length`, about so many bytes, then an orderly end (HTTP/1.1: a close).
    EndAfter(usize),
    /// So many bytes too many, and a `Content-Length` that fits them.
    Longer(usize),
    /// Honest bytes without `Content-Length`.
    Chunked,
    /// The honest bytes, then more without end, without `Content-Length`.
    Endless,
    /// So many bytes, then silence.
    StallAfter(usize),
    /// Silence.
    StallBeforeHeaders,
    /// The connection is closed (HTTP/2: the stream reset) without an answer.
    Close,
    /// So many bytes, a pause, and again.
    Drip { bytes: usize, every: Duration },
    /// So many bytes; the rest when the gate opens.
    HoldAfter(usize, Gate),
    /// Nothing until the gate opens; then honest.
    HoldHeaders(Gate),
    /// A pause; then honest, as over a long line.
    Late(Duration),
    /// An error with the registry's JSON.
    Status(u16),
    /// 429 with `Retry-After` in seconds.
    RateLimit(u64),
    /// 401 with this `WWW-Authenticate`.
    Challenge(String),
    /// 200 with a web page.
    HtmlPage,
    /// 200 with another document, correctly labelled. On GET only: a tag that moves behind HEAD.
    Replace(Document),
    /// The honest bytes in gzip, with `Content-Encoding`.
    Gzip,
    /// `Docker-Content-Digest` of something else.
    WrongDigest,
    /// Another value for a header.
    Header(&'static str, String),
    /// A header less.
    WithoutHeader(&'static str),
    /// 307 to any URL.
    Redirect(String),
    /// 307 to itself.
    RedirectLoop,
    /// A question for a part is answered with all of it.
    WholeForPart,
    /// A question for a part is answered with one that begins a byte later, and says so.
    OtherPart,
    /// A question for a part is answered with one that begins a byte later, and says that it is the wanted one.
    ShiftedPart,
    /// A `Link` to a next page, on every page.
    EndlessPages,
}

impl Misbehaviour {
    /// Spoils `honest`, the answer to `request`. An error: no answer at all.
    pub async fn spoil(self, request: &Parts, honest: Response<Bytes>) -> io::Result<Response<Body>> {
        let head = request.method == Method::HEAD;
        let (mut parts, bytes) = honest.into_parts();
        let mut set = |name: HeaderName, value: &str| {
            parts.headers.insert(name, HeaderValue::from_str(value).unwrap());
        };
        let length = bytes.len();
        let upto = |n: usize| bytes.slice(..n.min(length));
        let body = match self {
            Self::StallBeforeHeaders => std::future::pending().await,
            Self::Close => return Err(io::Error::other("closed on purpose")),
            Self::HoldHeaders(gate) => {
                gate.pass().await;
                whole(bytes)
            }
            Self::Late(pause) => {
                tokio::time::sleep(pause).await;
                whole(bytes)
            }
            Self::Status(status) => return Ok(error(status)),
            Self::RateLimit(seconds) => return Ok(with(error(429), RETRY_AFTER, &seconds.to_string())),
            Self::Challenge(challenge) => return Ok(with(error(401), WWW_AUTHENTICATE, &challenge)),
            Self::Redirect(target) => return Ok(with(error(307), LOCATION, &target)),
            Self::RedirectLoop => return Ok(with(error(307), LOCATION, request.uri.path())),
            Self::HtmlPage => return Ok(page("text/html", "<html><body>Please log in.</body></html>".into(), head)),
            Self::Replace(document) => {
                let answer = page(&document.media_type, document.bytes, head);
                return Ok(with(answer, DOCKER_DIGEST, &document.digest.to_string()));
            }
            Self::WrongDigest => {
                set(DOCKER_DIGEST, &Digest::of(b"something else").to_string());
                whole(bytes)
            }
            Self::Header(name, value) => {
                set(HeaderName::from_static(name), &value);
                whole(bytes)
            }
            Self::WithoutHeader(name) => {
                parts.headers.remove(name);
                whole(bytes)
            }
            Self::EndlessPages => {
                let query = request.uri.query().unwrap_or("page=0");
                let page: u64 = query.rsplit_once('=').and_then(|(_, page)| page.parse().ok()).unwrap_or(0);
                set(LINK, &format!("<{}?page={}>; rel=\"next\"", request.uri.path(), page + 1));
                whole(bytes)
            }
            Self::OtherPart | Self::ShiftedPart if parts.status == StatusCode::PARTIAL_CONTENT => {
                set(CONTENT_LENGTH, &(length - 1).to_string());
                if matches!(self, Self::OtherPart) {
                    let range = parts.headers[CONTENT_RANGE].to_str().unwrap();
                    let (first, rest) = range.trim_start_matches("bytes ").split_once('-').unwrap();
                    let range = format!("bytes {}-{rest}", first.parse::<u64>().unwrap() + 1);
                    parts.headers.insert(CONTENT_RANGE, HeaderValue::from_str(&range).unwrap());
                }
                whole(bytes.slice(1..))
            }
            Self::OtherPart | Self::ShiftedPart | Self::WholeForPart => whole(bytes),
            // What follows is about bodies.
            _ if head => whole(bytes),
            Self::CorruptFirst => whole(flipped(&bytes, 0)),
            Self::CorruptLast => whole(flipped(&bytes, length.saturating_sub(1))),
            Self::Shorter(n) => {
                set(CONTENT_LENGTH, &upto(n).len().to_string());
                whole(upto(n))
            }
            Self::Longer(extra) => {
                set(CONTENT_LENGTH, &(length + extra).to_string());
                whole([&bytes[..], &vec![b'x'; extra]].concat().into())
            }
            Self::Gzip => {
                let packed = gzip(&bytes);
                set(CONTENT_LENGTH, &packed.len().to_string());
                set(CONTENT_ENCODING, "gzip");
                whole(packed.into())
            }
            Self::Chunked => {
                parts.headers.remove(CONTENT_LENGTH);
                flowing(stream::iter([bytes]))
            }
            Self::Endless => {
                parts.headers.remove(CONTENT_LENGTH);
                let more = stream::repeat(Bytes::from(vec![0; CHUNK]));
                flowing(stream::iter([bytes]).chain(more.then(|chunk| async {
                    tokio::task::yield_now().await;
                    chunk
                })))
            }
            Self::CutAfter(n) => {
                let cut = stream::once(async {
                    tokio::time::sleep(FLUSH).await;
                    Err(io::Error::other("cut on purpose"))
                });
                BodyExt::boxed_unsync(StreamBody::new(stream::iter([Ok(Frame::data(upto(n)))]).chain(cut)))
            }
            Self::EndAfter(n) => {
                let end = stream::once(tokio::time::sleep(FLUSH)).map(|()| Bytes::new());
                flowing(stream::iter([upto(n)]).chain(end))
            }
            Self::StallAfter(n) => flowing(stream::iter([upto(n)]).chain(stream::pending())),
            Self::HoldAfter(n, gate) => {
                let rest = bytes.slice(n.min(length)..);
                let held = stream::once(async move {
                    gate.pass().await;
                    rest
                });
                flowing(stream::iter([upto(n)]).chain(held))
            }
            Self::Drip { bytes: step, every } => {
                let drops: Vec<_> = bytes.chunks(step.max(1)).map(|drop| bytes.slice_ref(drop)).collect();
                flowing(stream::iter(drops).then(move |drop| async move {
                    tokio::time::sleep(every).await;
                    drop
                }))
            }
        };
        Ok(Response::from_parts(parts, body))
    }
}

const DOCKER_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// An honest body.
pub fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

fn flowing(chunks: impl Stream<Item = Bytes> + Send + 'static) -> Body {
    BodyExt::boxed_unsync(StreamBody::new(chunks.map(|chunk| Ok(Frame::data(chunk)))))
}

fn error(status: u16) -> Response<Body> {
    let body = assay::oci::error_body(assay::oci::ErrorCode::Unavailable, "misbehaving on purpose");
    let mut answer = page("application/json", body.into(), false);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap();
    answer
}

fn page(media_type: &str, body: Bytes, head: bool) -> Response<Body> {
    let length = body.len().to_string();
    let answer = Response::new(whole(if head { Bytes::new() } else { body }));
    with(with(answer, CONTENT_TYPE, media_type), CONTENT_LENGTH, &length)
}

fn with(mut answer: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    answer.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    answer
}

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes.into()
}

/// RFC 1952 with blocks that are merely stored (RFC 1951, 3.2.4): right for every decoder.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    for block in bytes.chunks(0xffff) {
        let length = u16::try_from(block.len()).unwrap();
        packed.push(0);
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.extend(block);
    }
    packed.extend([1, 0, 0, 0xff, 0xff]);
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 })
    });
    packed.extend((!crc).to_le_bytes());
    packed.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
    packed
}
