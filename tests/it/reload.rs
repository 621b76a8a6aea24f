//! Rules that change in the files while `assay serve` runs.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay::demo::Signer;
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};

use crate::pull::image;
use crate::support::NastyUpstream;
use crate::support::client::get;

/// Longest wait for something that must come: more than the program takes to look at its files.
const PATIENCE: Duration = Duration::from_secs(30);

struct Serving {
    folder: tempfile::TempDir,
    child: Child,
    server: SocketAddr,
    admin: SocketAddr,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Serving {
    async fn start(upstream: &NastyUpstream, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (server, admin) = (port(), port());
        let config = format!(
            r#"version = 1
[server]
listen = ["{server}"]
[upstream."test.assay"]
url = "{}"
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
dir = "{}"
[admin]
listen = "{admin}"
"#,
            upstream.url(),
            folder.path().join("cache").display(),
        );
        std::fs::write(folder.path().join("proxy.toml"), config).unwrap();
        std::fs::write(folder.path().join("acme.pub"), key).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_assay"))
            .args(["serve", "-c", folder.path().join("proxy.toml").to_str().unwrap()])
            .env_clear()
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let serving = Self { folder, child, server, admin };
        serving.wait_for("it comes up", async || tokio::net::TcpStream::connect(server).await.is_ok()).await;
        serving
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }

    async fn status(&self) -> StatusCode {
        get(self.server, "/v2/test.assay/app/manifests/1.0").await.status
    }

    async fn reloads(&self, outcome: &str, count: usize) -> bool {
        let page = get(self.admin, "/metrics").await.body;
        let line = format!("assay_config_reloads_total{{outcome=\"{outcome}\"}} {count}\n");
        String::from_utf8_lossy(&page).contains(&line)
    }

    async fn wait_for(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let started = Instant::now();
        while !is_so().await {
            assert!(started.elapsed() < PATIENCE, "waited in vain: {what}\n{}", self.read("log"));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn changed_files_count_without_a_restart_and_bad_ones_do_not() {
    let (upstream, signer, image) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("Hello"));
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let good_key = signer.public_key_pem();
    let serving = Serving::start(&upstream, &good_key).await;
    let good = serving.read("proxy.toml");
    assert_eq!(serving.status().await, StatusCode::OK);

    // Another key in the same file: what is in memory is judged again.
    serving.write("acme.pub", &Signer::generate().unwrap().public_key_pem());
    serving.hang_up();
    serving.wait_for("the new key counts", async || serving.reloads("ok", 1).await).await;
    assert_eq!(serving.status().await, StatusCode::FORBIDDEN);
    assert!(serving.read("log").contains("rules changed: \\\"acme\\\""), "{}", serving.read("log"));

    // A file that cannot be used changes nothing, and is told once.
    serving.write("proxy.toml", &good.replace("tlog", "tlgo"));
    serving.hang_up();
    serving.wait_for("the bad file is noticed", async || serving.reloads("failed", 1).await).await;
    assert_eq!(serving.status().await, StatusCode::FORBIDDEN, "the rule from before is in force");
    let log = serving.read("log");
    assert!(log.contains("tlgo") && log.contains("stays in force"), "{log}");

    // Mended, it counts by itself. What needs a restart is named.
    serving.write("acme.pub", &good_key);
    serving.write("proxy.toml", &good.replace("retries = 0", "retries = 1"));
    serving.wait_for("the good file counts", async || serving.reloads("ok", 2).await).await;
    assert_eq!(serving.status().await, StatusCode::OK);
    assert!(serving.reloads("failed", 1).await, "told once");
    assert!(serving.read("log").contains("\"settings\":\"network\""), "{}", serving.read("log"));
}
