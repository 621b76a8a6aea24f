//! Under a service manager: what it is told, and the sockets that it passes.

use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use assay::demo::Signer;
use http::StatusCode;
use rustix::process::Signal;

use crate::pull::image;
use crate::support::NastyUpstream;
use crate::support::client::get;
use crate::support::serving::Launch;

/// Longest wait for a word: more than the program takes to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The service manager's ear.
struct Ear {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Ear {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, folder }
    }

    fn path(&self) -> String {
        self.folder.path().join("notify").to_str().unwrap().to_owned()
    }

    /// The next message that is no mere sign of life.
    fn heard(&self) -> Vec<String> {
        loop {
            let lines = self.next();
            if lines != ["WATCHDOG=1"] {
                return lines;
            }
        }
    }

    fn next(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("nothing was said");
        String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
    }
}

fn monotonic_usec() -> i128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_hears_of_start_reload_and_end() {
    let (upstream, ear) = (NastyUpstream::start().await, Ear::new());
    let key = Signer::generate().unwrap().public_key_pem();
    let mut serving =
        Launch::new(&upstream, &key).variable("NOTIFY_SOCKET", ear.path()).variable("WATCHDOG_USEC", "200000").spawn();
    assert_eq!(ear.heard(), ["READY=1", "STATUS=serving"]);
    assert_eq!(get(serving.server, "/v2/").await.status, StatusCode::OK, "ready means that clients may come");
    while ear.next() != ["WATCHDOG=1"] {}

    let before = monotonic_usec();
    serving.edit("tlog", "tlgo");
    serving.hang_up();
    let reloading = ear.heard();
    assert_eq!(reloading[0], "RELOADING=1");
    let said: i128 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!((before..=monotonic_usec()).contains(&said), "{said}");
    let ready = ear.heard();
    assert!(ready[0] == "READY=1" && ready[1].contains("cannot be used"), "{ready:?}");
    serving.edit("tlgo", "tlog");
    serving.hang_up();
    assert_eq!(ear.heard()[0], "RELOADING=1");
    assert_eq!(ear.heard(), ["READY=1", "STATUS=serving"]);

    serving.signal(Signal::TERM);
    let stopping = ear.heard();
    assert_eq!(stopping[0], "STOPPING=1");
    assert!(stopping.iter().any(|line| line == "EXTEND_TIMEOUT_USEC=36000000"), "30 s + 1 s + 5 s: {stopping:?}");
    assert_eq!(serving.ended().await.code(), Some(0));
}

#[tokio::test]
async fn passed_sockets_are_listened_on_and_outlive_a_restart() {
    let (upstream, signer, image) = (NastyUpstream::start().await, Signer::generate().unwrap(), image("Hello"));
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = signer.public_key_pem();
    let pull = async |server| get(server, "/v2/test.assay/app/manifests/1.0").await.status;

    let mut first = Launch::new(&upstream, &key).passed(socket.try_clone().unwrap()).start().await;
    assert_eq!(pull(first.server).await, StatusCode::OK, "{}", first.log());
    first.signal(Signal::TERM);
    assert_eq!(first.ended().await.code(), Some(0));

    // Nobody is there now; who comes is not turned away but waits for the next one.
    let server = first.server;
    let early = tokio::spawn(async move { get(server, "/v2/test.assay/app/manifests/1.0").await.status });
    let second = Launch::new(&upstream, &key).passed(socket).start().await;
    assert_eq!(early.await.unwrap(), StatusCode::OK);
    drop(second);
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_said_to_be_missing() {
    let upstream = NastyUpstream::start().await;
    let key = Signer::generate().unwrap().public_key_pem();
    let mut launch = Launch::new(&upstream, &key);
    launch =
        launch.with("listen = [\"127.0.0.1:", "listen = [\"systemd\"] # [\"127.0.0.1:").variable("LISTEN_FDS", "0");
    let mut serving = launch.spawn();
    assert_eq!(serving.ended().await.code(), Some(1));
    assert!(serving.log().contains("no socket was passed"), "{}", serving.log());
}
