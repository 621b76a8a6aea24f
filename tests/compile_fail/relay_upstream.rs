//! A handler cannot pass upstream's body on.
use assay::http::ServeBody;

fn handler(upstream: http::Response<hyper::body::Incoming>) -> http::Response<ServeBody> {
    upstream.map(ServeBody::from)
}

fn main() {
    let _ = handler;
}
