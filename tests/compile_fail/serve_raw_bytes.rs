//! A handler cannot answer with bytes that came from anywhere.
use assay::http::ServeBody;
use bytes::Bytes;
use http_body_util::Full;

fn handler() -> http::Response<ServeBody> {
    http::Response::new(Full::new(Bytes::from_static(b"evil")))
}

fn convert() -> ServeBody {
    ServeBody::from(Bytes::from_static(b"evil"))
}

fn main() {
    let _ = (handler, convert);
}
