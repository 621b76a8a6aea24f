//! The servers that are compared: Assay as operators run it, nginx with the same files, Debian's docker-registry.
//!
//! Each is a process of its own on loopback, so that its processor time can be told from the clients'.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay::demo::{BuiltImage, Document, Signer};

use super::support::REGISTRY;
use super::support::certs::ServerCert;

/// The repository of the image that everybody serves.
pub const REPOSITORY: &str = "app";

/// What Linux counts processor time in for programs, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// What is served, and with which certificate.
pub struct Stock<'a> {
    pub image: &'a BuiltImage,
    pub certificate: &'a ServerCert,
    pub tls: bool,
}

/// A server under measurement. Ends when dropped.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    /// In front of `/manifests/…` and `/blobs/…`.
    pub prefix: String,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's workers end with their master only if it may say goodbye.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
}

impl Server {
    /// Assay with the gate on: a key, a signed image, everything hashed. The access log is off, as it is for the others.
    pub fn assay(upstream: &str, signer: &Signer, certificate: Option<&ServerCert>) -> Option<Self> {
        let (folder, address, admin) = (tempfile::tempdir().unwrap(), free_address(), free_address());
        let at = folder.path();
        let tls = match certificate {
            Some(_) => "[server.tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n",
            None => "",
        };
        let config = format!(
            r#"version = 1
[server]
listen = ["{address}"]
{tls}[upstream."{REGISTRY}"]
url = "{upstream}"
[network]
proxy = "none"
[[policy]]
name = "acme"
images = ["{REGISTRY}/**"]
tlog = "off"
[[policy.signer]]
key = "acme.pub"
[cache]
dir = "cache"
[log]
access = false
[admin]
listen = "{admin}"
"#
        );
        write(at, "proxy.toml", &config);
        write(at, "acme.pub", &signer.public_key_pem());
        if let Some(certificate) = certificate {
            write(at, "tls.crt", &certificate.certificate_pem);
            write(at, "tls.key", &certificate.key_pem);
        }
        let program = std::env::var("ASSAY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_assay").to_owned());
        let mut command = Command::new(program);
        command.args(["serve", "-c"]).arg(at.join("proxy.toml")).env_clear();
        Self::start("assay", command, address, format!("/v2/{REGISTRY}/{REPOSITORY}"), folder)
    }

    /// nginx with the content as static files. Does for them what its documentation advises.
    pub fn nginx(stock: &Stock<'_>) -> Option<Self> {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let at = folder.path();
        // Its workers must be able to enter.
        fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let root = at.join("root/v2").join(REPOSITORY);
        for (kind, documents) in [("manifests", manifests(stock.image)), ("blobs", blobs(stock.image))] {
            fs::create_dir_all(root.join(kind)).unwrap();
            for document in documents {
                fs::write(root.join(kind).join(document.digest.to_string()), &document.bytes).unwrap();
            }
        }
        write(at, "tls.crt", &stock.certificate.certificate_pem);
        write(at, "tls.key", &stock.certificate.key_pem);
        let (listen, tls) = match stock.tls {
            true => (" ssl http2", "ssl_certificate tls.crt; ssl_certificate_key tls.key; ssl_protocols TLSv1.3;"),
            false => ("", ""),
        };
        let config = format!(
            "worker_processes 2; daemon off; pid nginx.pid; error_log stderr crit;
             events {{ worker_connections 1024; }}
             http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;
               open_file_cache max=1000 inactive=1h; default_type application/octet-stream; {tls}
               client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
               server {{ listen {address}{listen}; root {}; }} }}",
            at.join("root").display()
        );
        write(at, "nginx.conf", &config);
        let mut command = Command::new("nginx");
        command.arg("-p").arg(at).arg("-c").arg(at.join("nginx.conf"));
        Self::start("nginx", command, address, format!("/v2/{REPOSITORY}"), folder)
    }

    /// nginx as a cache in front of `upstream`: what it once got it keeps, and one request fetches for all.
    pub fn proxy_cache(upstream: &str) -> Option<Self> {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let at = folder.path();
        // Its workers must be able to enter.
        fs::set_permissions(at, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let config = format!(
            "worker_processes 2; daemon off; pid nginx.pid; error_log stderr crit;
             events {{ worker_connections 1024; }}
             http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 100000000;
               client_body_temp_path t1; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
               proxy_cache_path {0}/cache keys_zone=all:10m max_size=100g inactive=1h use_temp_path=off;
               server {{ listen {address};
                 location / {{ proxy_pass {upstream}; proxy_http_version 1.1; proxy_set_header Connection '';
                   proxy_cache all; proxy_cache_valid 200 1h; proxy_cache_lock on; proxy_cache_lock_timeout 10m;
                   proxy_cache_lock_age 10m; proxy_buffers 16 64k; proxy_buffer_size 64k; }} }} }}",
            at.display()
        );
        write(at, "nginx.conf", &config);
        let mut command = Command::new("nginx");
        command.arg("-p").arg(at).arg("-c").arg(at.join("nginx.conf"));
        Self::start("nginx", command, address, format!("/v2/{REPOSITORY}"), folder)
    }

    /// Debian's docker-registry (distribution 2.8) with the image in its own store.
    pub fn distribution(stock: &Stock<'_>) -> Option<Self> {
        let (folder, address) = (tempfile::tempdir().unwrap(), free_address());
        let at = folder.path();
        let store = at.join("store/docker/registry/v2");
        let repository = store.join("repositories").join(REPOSITORY);
        for (links, documents) in [("_manifests/revisions", manifests(stock.image)), ("_layers", blobs(stock.image))] {
            for document in documents {
                let hex = document.digest.hex();
                let data = store.join("blobs/sha256").join(&hex[..2]).join(&hex);
                let link = repository.join(links).join("sha256").join(&hex);
                fs::create_dir_all(&data).unwrap();
                fs::create_dir_all(&link).unwrap();
                fs::write(data.join("data"), &document.bytes).unwrap();
                fs::write(link.join("link"), document.digest.to_string()).unwrap();
            }
        }
        write(at, "tls.crt", &stock.certificate.certificate_pem);
        write(at, "tls.key", &stock.certificate.key_pem);
        let tls = match stock.tls {
            true => format!(", tls: {{ certificate: {0}/tls.crt, key: {0}/tls.key }}", at.display()),
            false => String::new(),
        };
        let config = format!(
            "{{ version: 0.1, log: {{ level: error, accesslog: {{ disabled: true }} }},
               storage: {{ cache: {{ blobdescriptor: inmemory }}, filesystem: {{ rootdirectory: {}/store }} }},
               http: {{ addr: '{address}'{tls} }} }}",
            at.display()
        );
        write(at, "config.yml", &config);
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(at.join("config.yml"));
        Self::start("docker-registry", command, address, format!("/v2/{REPOSITORY}"), folder)
    }

    /// `None` where the program is not installed.
    fn start(
        name: &'static str,
        mut command: Command,
        address: SocketAddr,
        prefix: String,
        folder: tempfile::TempDir,
    ) -> Option<Self> {
        let said = folder.path().join("said");
        let log = fs::File::create(&said).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("cannot start {name}: {error}"),
        };
        let server = Self { name, address, prefix, child, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let said = fs::read_to_string(&said).unwrap_or_default();
            assert!(Instant::now() < deadline, "{name} does not come up: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(server)
    }

    /// Processor time of it and its workers so far, in seconds.
    pub fn cpu(&self) -> f64 {
        self.pids().into_iter().map(|pid| cpu_ticks(pid) as f64 / TICKS_PER_SECOND).sum()
    }

    /// Anonymous memory of it and its workers, in MiB.
    pub fn memory(&self) -> f64 {
        let of = |pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1024.0
        };
        self.pids().into_iter().map(of).sum()
    }

    fn pids(&self) -> Vec<u32> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        std::iter::once(pid).chain(children.split_whitespace().filter_map(|child| child.parse().ok())).collect()
    }

    pub fn manifest(&self, document: &Document) -> String {
        format!("{}/manifests/{}", self.prefix, document.digest)
    }

    pub fn blob(&self, document: &Document) -> String {
        format!("{}/blobs/{}", self.prefix, document.digest)
    }
}

fn manifests(image: &BuiltImage) -> Vec<&Document> {
    std::iter::once(&image.index).chain(image.platforms.iter().map(|platform| &platform.manifest)).collect()
}

fn blobs(image: &BuiltImage) -> Vec<&Document> {
    image.platforms.iter().flat_map(|platform| &platform.layers).collect()
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(PathBuf::from(folder).join(name), text).unwrap();
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// User and system time of one process.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    field(11) + field(12)
}
