//! Content that was hashed before leaves without another look at its bytes, as parts of its file. What happens to
//! the file meanwhile never makes a whole of what is wrong.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use assay::demo::{BuiltImage, Document, ImageBuilder, Signer};
use http::{Method, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::support::client::{Http, get, head, send};
use crate::support::{NastyUpstream, Proxy};

/// Nothing less counts as hashed: see `Identity::is_settled` of the store.
const SETTLED: Duration = Duration::from_millis(150);

struct World {
    _upstream: NastyUpstream,
    proxy: Proxy,
    layer: Document,
}

impl World {
    async fn new(size: usize) -> Self {
        let (upstream, signer) = (NastyUpstream::start().await, Signer::generate().unwrap());
        let image: BuiltImage = ImageBuilder::new("Hello").filler_layer(size).build();
        upstream.registry().push_image("app", "1.0", &image);
        upstream.registry().push_artefact("app", &signer.bundle(&image.index));
        let proxy = Proxy::start(&upstream, &signer).await;
        for reference in [image.index.digest, image.platforms[0].manifest.digest] {
            assert_eq!(get(proxy.address, &proxy.manifest_path("app", reference)).await.status, StatusCode::OK);
        }
        Self { _upstream: upstream, layer: image.platforms[0].layers[1].clone(), proxy }
    }

    fn path(&self) -> String {
        self.proxy.blob_path("app", self.layer.digest)
    }

    fn file(&self) -> PathBuf {
        let hex = self.layer.digest.hex();
        self.proxy.folder().join("blobs/sha256").join(&hex[..2]).join(&hex)
    }

    /// Fetched, left alone, and hashed: the next request finds it hot.
    async fn make_hot(&self) {
        for _ in 0..2 {
            let got = get(self.proxy.address, &self.path()).await;
            assert!(got.complete && got.body == self.layer.bytes, "{}", got.message());
            while !self.proxy.has(self.layer.digest) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(SETTLED).await;
        }
    }
}

/// Reads the head and a little, lets `meanwhile` happen, and reads the rest. Gives the body, and whether the
/// connection kept its promise about its length.
async fn get_slowly(server: SocketAddr, path: &str, meanwhile: impl FnOnce()) -> (Vec<u8>, bool) {
    let socket = TcpSocket::new_v4().unwrap();
    // So that most of the body is still to be sent.
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    let mut socket = socket.connect(server).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut got = vec![0; 4096];
    let count = socket.read(&mut got).await.unwrap();
    got.truncate(count);
    meanwhile();
    let _reset = socket.read_to_end(&mut got).await;
    let body = got.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let text = String::from_utf8_lossy(&got[..body]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
    let body = got.split_off(body);
    let complete = body.len() == length.parse::<usize>().unwrap();
    (body, complete)
}

#[tokio::test]
async fn hot_content_is_whole_in_every_protocol_and_part() {
    for size in [1, 4096, 4097, 70_000, 1024 * 1024 + 4096, 3 * 1024 * 1024 + 17] {
        let world = World::new(size).await;
        world.make_hot().await;
        let (address, path, bytes) = (world.proxy.address, world.path(), &world.layer.bytes);
        for http in [Http::One, Http::Two] {
            let got = send(address, http, Method::GET, &path, &[]).await;
            assert!(got.complete && got.body == bytes, "{size} {http:?}");
        }
        let (start, end) = (bytes.len() / 3, bytes.len() - bytes.len() / 5);
        let range = format!("bytes={start}-{}", end - 1);
        let got = send(address, Http::One, Method::GET, &path, &[("range", &range)]).await;
        assert_eq!(got.status, StatusCode::PARTIAL_CONTENT);
        assert!(got.complete && got.body == bytes[start..end], "{size}");
        assert_eq!(head(address, &path).await.headers["content-length"], bytes.len().to_string());
        let (body, complete) = get_slowly(address, &path, || {}).await;
        assert!(complete && body == bytes[..], "{size}");
    }
}

#[tokio::test]
async fn answers_on_one_connection_keep_their_order() {
    let world = World::new(1_500_000).await;
    world.make_hot().await;
    let manifest = world.proxy.manifest_path("app", "1.0");
    let mut socket = tokio::net::TcpStream::connect(world.proxy.address).await.unwrap();
    let mut asked = String::new();
    for path in [&world.path(), &manifest, &world.path(), &world.path()] {
        asked += &format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
    }
    asked += &format!("GET {manifest} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    socket.write_all(asked.as_bytes()).await.unwrap();
    let mut got = Vec::new();
    socket.read_to_end(&mut got).await.unwrap();
    let mut kinds = Vec::new();
    let mut rest = &got[..];
    while let Some(end) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
        let text = String::from_utf8(rest[..end].to_vec()).unwrap().to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        let (body, behind) = rest[end + 4..].split_at(length);
        kinds.push(body == world.layer.bytes);
        rest = behind;
    }
    assert_eq!((kinds, rest.len()), (vec![true, false, true, true, false], 0));
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_never_makes_bad_content_complete() {
    let write = |file: &Path, at: u64, bytes: &[u8]| {
        let mut file = OpenOptions::new().write(true).open(file).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(bytes).unwrap();
    };
    let world = World::new(16 * 1024 * 1024).await;
    let whole = world.layer.bytes.len() as u64;
    let end =
        move |length| move |file: &Path| OpenOptions::new().write(true).open(file).unwrap().set_len(length).unwrap();
    type Change = Box<dyn Fn(&Path)>;
    let changes: [(&str, Change); 8] = [
        ("the first byte", Box::new(move |file| write(file, 0, b"!"))),
        ("a byte in the middle", Box::new(move |file| write(file, whole / 2, b"!"))),
        ("the last byte", Box::new(move |file| write(file, whole - 1, b"!"))),
        ("half of it", Box::new(end(whole / 2))),
        ("nothing", Box::new(end(0))),
        ("more", Box::new(end(whole + 1))),
        (
            "another file",
            Box::new(move |file| {
                let other = file.with_extension("x");
                std::fs::write(&other, vec![b'!'; whole as usize]).unwrap();
                std::fs::rename(other, file).unwrap();
            }),
        ),
        (
            "a link",
            Box::new(|file| {
                std::fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink("/etc/passwd", file).unwrap();
            }),
        ),
    ];
    for (what, change) in changes {
        world.make_hot().await;
        let (body, complete) = get_slowly(world.proxy.address, &world.path(), || change(&world.file())).await;
        assert!(!complete || body == world.layer.bytes, "{what}: wrong and complete");
        let changed_in_place = !matches!(what, "another file" | "a link");
        assert_eq!(complete, !changed_in_place, "{what}");
        let next = get(world.proxy.address, &world.path()).await;
        assert!(!next.complete || next.body == world.layer.bytes, "{what}: served afterwards");
    }
    // The honest sibling: nobody touched it.
    world.make_hot().await;
    let (body, complete) = get_slowly(world.proxy.address, &world.path(), || {}).await;
    assert!(complete && body == world.layer.bytes);
}

#[tokio::test]
async fn a_file_that_changed_before_it_was_asked_for_again_is_hashed_again() {
    let world = World::new(2_000_000).await;
    world.make_hot().await;
    let file = world.file();
    let mut bytes = world.layer.bytes.to_vec();
    bytes[1_000_000] ^= 1;
    OpenOptions::new().write(true).open(&file).unwrap().write_all(&bytes).unwrap();
    let got = get(world.proxy.address, &world.path()).await;
    assert!(!got.complete, "changed content was served");
    world.make_hot().await;
}

/// `TMPFS_MAGIC` of Linux.
const TMPFS: i64 = 0x0102_1994;

/// Maps a file, dirties a page of it without changing it, and flips a byte there when it is told to.
const MAPPER: &str = "
import mmap, sys
file = open(sys.argv[1], 'r+b')
pages = mmap.mmap(file.fileno(), 0)
pages[100] = pages[100]
print(flush=True)
sys.stdin.readline()
pages[100] ^= 1
print(flush=True)
sys.stdin.readline()
";

/// The page is on its way to the disk when the file is hashed, so that the write leaves no trace in the file's times.
/// Python maps it, because nothing here may.
#[tokio::test]
async fn what_is_written_through_a_mapping_from_before_never_arrives_whole() {
    let world = World::new(3 * 1024 * 1024).await;
    world.make_hot().await;
    if rustix::fs::statfs(world.file()).unwrap().f_type == TMPFS {
        eprintln!("skipped: tmpfs stamps no file that is written to through a mapping");
        return;
    }
    let mut mapper = Command::new("python3");
    mapper.args(["-c", MAPPER]).arg(world.file()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let Ok(mut mapper) = mapper.spawn() else {
        assert!(std::env::var_os("CI").is_none(), "no python3, and CI skips nothing");
        eprintln!("skipped: no python3");
        return;
    };
    let mut said = BufReader::new(mapper.stdout.take().unwrap());
    said.read_line(&mut String::new()).unwrap();
    tokio::time::sleep(SETTLED).await;
    world.make_hot().await;
    mapper.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    said.read_line(&mut String::new()).unwrap();
    let got = get(world.proxy.address, &world.path()).await;
    assert!(!got.complete, "other bytes than were hashed");
    drop(mapper.stdin.take());
    mapper.wait().unwrap();
    world.make_hot().await;
}
