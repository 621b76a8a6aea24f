//! A TUF repository on loopback: signs what a test tells it to, honest or not, and serves it.
//!
//! Written after the TUF specification (4: file formats, 7: consistent snapshots), not after the client.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use assay::oci::Digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub const FAR: &str = "2999-01-01T00:00:00Z";
pub const PAST: &str = "2001-01-01T00:00:00Z";

/// A signer.
#[derive(Clone)]
pub struct Key(Arc<Ed25519KeyPair>);

/// One of the four roles: what its metadata says of itself, and who signs it.
#[derive(Clone)]
pub struct Role {
    pub version: u64,
    pub expires: String,
    /// Those whose signatures count, as the root says.
    pub keys: Vec<Key>,
    /// How many of them must sign, as the root says.
    pub threshold: usize,
    /// Those who do sign.
    pub signers: Vec<Key>,
}

/// What the server does when it is asked for a file.
#[derive(Clone, Debug)]
pub enum Reply {
    Bytes(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Never answers.
    Silent,
    /// Honest bytes first, then more without end.
    Endless(Vec<u8>),
}

/// Change its fields, then [`publish`](Self::publish).
pub struct TufRepository {
    pub root: Role,
    pub timestamp: Role,
    pub snapshot: Role,
    pub targets: Role,
    /// The content of `trusted_root.json`.
    pub target: Vec<u8>,
    /// What the targets metadata says of it instead of the truth.
    pub claimed: Option<Value>,
    /// A role that lists the target in place of the top-level targets.
    pub delegate: Option<(String, Key)>,
    initial_root: Vec<u8>,
    files: Arc<Mutex<BTreeMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
    url: String,
    server: JoinHandle<()>,
}

impl Key {
    pub fn generate() -> Self {
        Self(Arc::new(Ed25519KeyPair::generate().unwrap()))
    }

    fn public(&self) -> String {
        hex::encode(self.0.public_key())
    }

    fn id(&self) -> String {
        Digest::of(self.public().as_bytes()).hex()
    }

    fn json(&self) -> Value {
        json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": self.public()}})
    }
}

impl Role {
    fn new(keys: usize) -> Self {
        let keys: Vec<_> = std::iter::repeat_with(Key::generate).take(keys).collect();
        Self { version: 5, expires: FAR.to_owned(), threshold: keys.len(), signers: keys.clone(), keys }
    }

    fn authority(&self) -> Value {
        json!({"keyids": self.keys.iter().map(Key::id).collect::<Vec<_>>(), "threshold": self.threshold})
    }

    /// The metadata of this role with what `more` says, signed.
    fn signed(&self, kind: &str, more: Value) -> Vec<u8> {
        let mut signed =
            json!({"_type": kind, "spec_version": "1.0.31", "version": self.version, "expires": self.expires});
        signed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // Without control characters in it, RFC 8785 and the canonical JSON of TUF are the same.
        let canonical = serde_json_canonicalizer::to_vec(&signed).unwrap();
        let sign = |key: &Key| json!({"keyid": key.id(), "sig": hex::encode(key.0.sign(&canonical))});
        let signatures: Vec<_> = self.signers.iter().map(sign).collect();
        serde_json::to_vec(&json!({"signed": signed, "signatures": signatures})).unwrap()
    }
}

impl TufRepository {
    /// Root version 1, the rest version 5, targets signed by two of two; published.
    pub async fn start(target: Vec<u8>) -> Self {
        Self::start_with(target, None).await
    }

    /// The same, over TLS.
    pub async fn start_tls(target: Vec<u8>, tls: TlsAcceptor) -> Self {
        Self::start_with(target, Some(tls)).await
    }

    async fn start_with(target: Vec<u8>, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}/tuf", listener.local_addr().unwrap());
        let (files, asked) = (Arc::default(), Arc::default());
        let server = tokio::spawn(serve(listener, tls, Arc::clone(&files), Arc::clone(&asked)));
        let mut repository = Self {
            root: Role { version: 1, ..Role::new(1) },
            timestamp: Role::new(1),
            snapshot: Role::new(1),
            targets: Role::new(2),
            target,
            claimed: None,
            delegate: None,
            initial_root: Vec::new(),
            files,
            asked,
            url,
            server,
        };
        repository.publish();
        repository.initial_root = repository.root_json();
        repository
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn initial_root(&self) -> &[u8] {
        &self.initial_root
    }

    /// The next version of all but the root, with another target.
    pub fn next(&mut self, target: Vec<u8>) -> &mut Self {
        for role in [&mut self.timestamp, &mut self.snapshot, &mut self.targets] {
            role.version += 1;
        }
        self.target = target;
        self
    }

    /// The next root with another key of its own, signed by the old and the new one.
    pub fn rotate_root(&mut self) -> &mut Self {
        let (old, new) = (self.root.keys.clone(), Key::generate());
        let signers = [old, vec![new.clone()]].concat();
        self.root = Role { version: self.root.version + 1, keys: vec![new], signers, ..self.root.clone() };
        self
    }

    /// Signs everything as the fields say, and puts it where clients look.
    pub fn publish(&mut self) {
        let hash = Digest::of(&self.target).hex();
        let truth = json!({"length": self.target.len(), "hashes": {"sha256": hash}});
        let listed = json!({"trusted_root.json": self.claimed.clone().unwrap_or(truth)});
        let mut named = json!({"targets.json": {"version": self.targets.version}});
        let targets = match &self.delegate {
            None => json!({"targets": listed}),
            Some((name, key)) => {
                let role =
                    Role { keys: vec![key.clone()], signers: vec![key.clone()], threshold: 1, ..self.targets.clone() };
                self.serve_metadata(
                    role.version,
                    &percent_encoded(name),
                    role.signed("targets", json!({"targets": listed})),
                );
                named[format!("{name}.json")] = json!({"version": role.version});
                let mut delegated = role.authority();
                delegated["name"] = json!(name);
                delegated["terminating"] = json!(true);
                delegated["paths"] = json!(["*.json"]);
                json!({"targets": {}, "delegations": {"keys": {key.id(): key.json()}, "roles": [delegated]}})
            }
        };
        self.serve_metadata(self.targets.version, "targets", self.targets.signed("targets", targets));
        let snapshot = self.snapshot.signed("snapshot", json!({"meta": named}));
        let pin = json!({
            "version": self.snapshot.version,
            "length": snapshot.len(),
            "hashes": {"sha256": Digest::of(&snapshot).hex()},
        });
        self.serve_metadata(self.snapshot.version, "snapshot", snapshot);
        let timestamp = self.timestamp.signed("timestamp", json!({"meta": {"snapshot.json": pin}}));
        self.serve("timestamp.json", Reply::Bytes(timestamp));
        self.serve_metadata(self.root.version, "root", self.root_json());
        self.serve(&self.target_path(), Reply::Bytes(self.target.clone()));
    }

    /// Where the target lies.
    pub fn target_path(&self) -> String {
        format!("targets/{}.trusted_root.json", Digest::of(&self.target).hex())
    }

    /// From now on, this is the answer for a file.
    pub fn serve(&self, path: &str, reply: Reply) {
        self.files.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// The paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Nobody listens there any longer.
    pub async fn stop(&mut self) {
        self.server.abort();
        let _aborted = (&mut self.server).await;
    }

    fn serve_metadata(&self, version: u64, name: &str, bytes: Vec<u8>) {
        self.serve(&format!("{version}.{name}.json"), Reply::Bytes(bytes));
    }

    fn root_json(&self) -> Vec<u8> {
        let roles = [
            ("root", &self.root),
            ("timestamp", &self.timestamp),
            ("snapshot", &self.snapshot),
            ("targets", &self.targets),
        ];
        let keys: BTreeMap<_, _> =
            roles.iter().flat_map(|(_, role)| &role.keys).map(|key| (key.id(), key.json())).collect();
        let roles: BTreeMap<_, _> = roles.iter().map(|(name, role)| (*name, role.authority())).collect();
        self.root.signed("root", json!({"consistent_snapshot": true, "keys": keys, "roles": roles}))
    }
}

impl Drop for TufRepository {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn percent_encoded(name: &str) -> String {
    percent_encoding::utf8_percent_encode(name, percent_encoding::NON_ALPHANUMERIC)
        .to_string()
        .replace("%2E", ".")
        .replace("%2D", "-")
        .replace("%5F", "_")
}

type Files = Arc<Mutex<BTreeMap<String, Reply>>>;

async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, files: Files, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (files, asked) = (Arc::clone(&files), Arc::clone(&asked));
        // It ends when the client is gone.
        match tls.clone() {
            None => tokio::spawn(async move { answer(stream, &files, &asked).await }),
            Some(tls) => tokio::spawn(async move { answer(tls.accept(stream).await.ok()?, &files, &asked).await }),
        };
    }
}

/// One request, one answer, close. The client may leave at any moment.
async fn answer<S>(mut stream: S, files: &Files, asked: &Mutex<Vec<String>>) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    asked.lock().unwrap().push(path.clone());
    let found = path.strip_prefix("/tuf/").and_then(|path| files.lock().unwrap().get(path).cloned());
    let close = "Connection: close\r\n";
    let (head, body) = match found {
        Some(Reply::Bytes(bytes)) => (format!("200 OK\r\nContent-Length: {}\r\n{close}", bytes.len()), bytes),
        Some(Reply::Status(status)) => (format!("{status} Odd\r\nContent-Length: 0\r\n{close}"), Vec::new()),
        Some(Reply::Redirect(to)) => {
            (format!("302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n{close}"), Vec::new())
        }
        None => (format!("404 Not Found\r\nContent-Length: 0\r\n{close}"), Vec::new()),
        Some(Reply::Endless(bytes)) => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\n{close}\r\n").as_bytes()).await.ok()?;
            stream.write_all(&bytes).await.ok()?;
            loop {
                stream.write_all(&[b' '; 4096]).await.ok()?;
            }
        }
        Some(Reply::Silent) => {
            // Until the client leaves.
            let _left = stream.read_u8().await;
            return None;
        }
    };
    stream.write_all(format!("HTTP/1.1 {head}\r\n").as_bytes()).await.ok()?;
    stream.write_all(&body).await.ok()?;
    stream.shutdown().await.ok()
}
