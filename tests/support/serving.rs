//! The real program, serving: its own process, its own files, its own signals.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::NastyUpstream;
use super::client::get;

/// Longest wait for something that must come: more than the program takes to look at its files.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program to be started.
pub struct Launch {
    folder: tempfile::TempDir,
    server: SocketAddr,
    admin: SocketAddr,
    program: String,
    passed: Option<TcpListener>,
    environment: Vec<(&'static str, String)>,
}

/// A running program. Dropped, it is killed.
pub struct Serving {
    pub server: SocketAddr,
    pub admin: SocketAddr,
    folder: tempfile::TempDir,
    child: Child,
}

/// A configuration with one upstream, `test.assay`, and one rule about everything for the key `acme.pub` beside it.
pub fn configuration(server: SocketAddr, admin: SocketAddr, upstream: &NastyUpstream, cache: &Path) -> String {
    let (url, cache) = (upstream.url(), cache.display());
    format!(
        r#"version = 1
[server]
listen = ["{server}"]
[upstream."test.assay"]
url = "{url}"
[network]
proxy = "none"
retries = 0
[[policy]]
name = "acme"
images = ["test.assay/**"]
tlog = "off"
[[policy.signer]]
key = "acme.pub"
[cache]
dir = "{cache}"
[admin]
listen = "{admin}"
"#
    )
}

/// Where nobody listens. Not one of those that the kernel hands out: until the program listens there, a connection
/// of another test could have got it.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = (std::process::id() % 200) as u16 * 100;
    loop {
        let port = 10_000 + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener.local_addr().unwrap();
        }
    }
}

impl Launch {
    /// In front of an upstream, which it calls `test.assay`, with one rule about everything for one key.
    pub fn new(upstream: &NastyUpstream, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, admin) = (free_address(), free_address());
        let config = configuration(server, admin, upstream, &folder.path().join("cache"));
        let program = env!("CARGO_BIN_EXE_assay").to_owned();
        let launch = Self { folder, server, admin, program, passed: None, environment: Vec::new() };
        launch.write("proxy.toml", &config);
        launch.write("acme.pub", key);
        launch
    }

    /// Changes the configuration: `old` stands in it once.
    pub fn with(self, old: &str, new: &str) -> Self {
        edit(self.folder.path(), old, new);
        self
    }

    /// Beside the configuration.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Beside the configuration.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    /// Another than the one that was built with the test.
    pub fn program(self, program: String) -> Self {
        Self { program, ..self }
    }

    /// With an environment variable.
    pub fn variable(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// With a socket to listen on, passed as a service manager does it; the configuration says so.
    pub fn passed(mut self, listener: TcpListener) -> Self {
        let own = format!("listen = [\"{}\"]\n[upstream", self.server);
        edit(self.folder.path(), &own, "listen = [\"systemd\"]\n[upstream");
        self.server = listener.local_addr().unwrap();
        self.passed = Some(listener);
        self
    }

    /// Starts it and waits until it answers.
    pub async fn start(self) -> Serving {
        let serving = self.spawn();
        let answers = async || {
            let answer = tokio::net::TcpStream::connect(serving.admin).await;
            answer.is_ok() && get(serving.admin, "/readyz").await.status == 200
        };
        serving.wait_for("it comes up", answers).await;
        serving
    }

    /// Starts it.
    pub fn spawn(self) -> Serving {
        let Self { folder, server, admin, program, passed, environment } = self;
        let mut command = match passed {
            None => Command::new(&program),
            // A shell, because only the new process itself can move the socket to the third descriptor.
            Some(listener) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null", &program]);
                shell.stdin(OwnedFd::from(listener));
                shell
            }
        };
        if command.get_program() == program.as_str() {
            command.stdin(Stdio::null());
        }
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command
            .args(["serve", "-c", folder.path().join("proxy.toml").to_str().unwrap()])
            .env_clear()
            .envs(environment)
            .stderr(log)
            .spawn()
            .unwrap();
        Serving { server, admin, folder, child }
    }
}

impl Serving {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Changes the configuration: `old` stands in it once.
    pub fn edit(&self, old: &str, new: &str) {
        edit(self.folder.path(), old, new);
    }

    pub fn log(&self) -> String {
        self.read("log")
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "it does not end\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Anonymous memory, in MiB.
    pub fn memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    pub fn open_files(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count() as u64
    }

    pub async fn metrics(&self) -> String {
        String::from_utf8(get(self.admin, "/metrics").await.body.to_vec()).unwrap()
    }

    pub async fn reloads(&self, outcome: &str, count: usize) -> bool {
        self.metrics().await.contains(&format!("assay_config_reloads_total{{outcome=\"{outcome}\"}} {count}\n"))
    }

    pub async fn wait_for(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let started = Instant::now();
        while !is_so().await {
            assert!(started.elapsed() < PATIENCE, "waited in vain: {what}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn edit(folder: &Path, old: &str, new: &str) {
    let file = folder.join("proxy.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.matches(old).count(), 1, "`{old}` in\n{text}");
    // Whole or not at all, as operators should.
    let beside = folder.join("proxy.toml.new");
    std::fs::write(&beside, text.replace(old, new)).unwrap();
    std::fs::rename(beside, file).unwrap();
}
