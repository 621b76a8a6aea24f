//! `assay trust update` against a TUF repository that may lie; `show` and `diff` as people call them.
//!
//! Each refusal leaves the old file byte for byte, and no other file; each has an honest sibling.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay::trust::TrustRoot;
use assay::tuf::{FetchOptions, Source, TufError, fetch};
use serde_json::{Value, json};

use crate::cli::assay;
use crate::support::TestCa;
use crate::support::tuf_repository::{FAR, Key, PAST, Reply, Role, TufRepository};

/// Usable trust material; another number is other material.
fn material(number: u32) -> Vec<u8> {
    let text = String::from_utf8(TrustRoot::public_good_json().to_vec()).unwrap();
    text.replace("https://rekor.sigstore.dev", &format!("https://rekor{number}.example")).into_bytes()
}

/// A repository, and a folder in which somebody keeps its trust material.
struct World {
    folder: tempfile::TempDir,
    repository: TufRepository,
}

/// What the program did.
struct Outcome {
    code: i32,
    out: String,
    err: String,
}

impl World {
    /// Nothing was fetched yet.
    async fn new() -> Self {
        Self::of(TufRepository::start(material(1)).await)
    }

    fn of(repository: TufRepository) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("root.json"), repository.initial_root()).unwrap();
        Self { folder, repository }
    }

    /// The first material was fetched.
    async fn updated() -> Self {
        let world = Self::new().await;
        let first = world.update().await;
        assert_eq!(first.code, 0, "{}{}", first.out, first.err);
        assert_eq!(world.file(), material(1));
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self) -> Vec<u8> {
        fs::read(self.path("trusted_root.json")).unwrap()
    }

    async fn update(&self) -> Outcome {
        self.update_with(&[]).await
    }

    async fn update_with(&self, more: &[&str]) -> Outcome {
        let (root, output) = (self.path("root.json"), self.path("trusted_root.json"));
        let mut arguments = vec!["trust", "update", "--mirror", self.repository.url()];
        arguments.extend(["--initial-root", root.to_str().unwrap(), "-o", output.to_str().unwrap()]);
        arguments.extend(more);
        let (code, out, err) = assay(&arguments).await;
        Outcome { code, out, err }
    }

    /// The update takes over the second material.
    async fn accepts(&self) {
        let outcome = self.update().await;
        assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.err);
        assert_eq!(self.file(), material(2));
        self.assert_tidy();
    }

    /// The update ends with `code`, says `why`, and changes nothing.
    async fn refuses(&self, code: i32, why: &str) {
        self.refuses_with(&[], code, why).await;
    }

    async fn refuses_with(&self, more: &[&str], code: i32, why: &str) {
        let before = self.file();
        let outcome = self.update_with(more).await;
        assert_eq!(outcome.code, code, "{why}: {}{}", outcome.out, outcome.err);
        assert!(outcome.err.contains(why), "{why}: {}", outcome.err);
        assert_eq!(self.file(), before, "{why}");
        self.assert_tidy();
    }

    fn assert_tidy(&self) {
        assert_eq!(names(self.folder.path()), ["root.json", "trusted_root.json", "trusted_root.json.tuf"]);
        assert_eq!(names(&self.path("trusted_root.json.tuf")), ["lock", "metadata.json"]);
    }
}

fn names(folder: &Path) -> Vec<String> {
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
    names.sort();
    names
}

type Change = fn(&mut TufRepository);

/// After a first update the repository publishes a second one with this `change`, honest or not.
async fn second(change: Change) -> World {
    let mut world = World::updated().await;
    change(world.repository.next(material(2)));
    world.repository.publish();
    world
}

#[tokio::test]
async fn a_new_version_is_taken_over_and_said() {
    let mut world = World::new().await;
    let first = world.update().await;
    assert_eq!(first.code, 0, "{}", first.err);
    assert!(first.out.contains(": written\n") && first.out.contains("timestamp    version 5"), "{}", first.out);
    let inode =
        |world: &World| std::os::unix::fs::MetadataExt::ino(&fs::metadata(world.path("trusted_root.json")).unwrap());
    let before = inode(&world);
    let again = world.update().await;
    assert!(again.code == 0 && again.out.contains(": unchanged\n"), "{}{}", again.out, again.err);
    assert_eq!(inode(&world), before, "not written again");

    world.repository.next(material(2)).publish();
    let newer = world.update_with(&["--json"]).await;
    assert_eq!((newer.code, world.file()), (0, material(2)), "{}", newer.err);
    let said: Value = serde_json::from_str(&newer.out).unwrap();
    assert_eq!((&said["schema"], &said["changed"]), (&json!("assay.trust.update/v1"), &json!(true)));
    assert_eq!(said["difference"]["changed"][0]["new"]["name"], "https://rekor2.example");
    assert_eq!(said["metadata"][3], json!({"role": "targets", "version": 6, "expires": FAR}));
    world.assert_tidy();

    fs::remove_file(world.path("trusted_root.json")).unwrap();
    assert_eq!(world.update().await.code, 0);
    assert_eq!(world.file(), material(2), "a lost file comes back though no version is new");
}

#[tokio::test]
async fn versions_never_go_backwards() {
    for (why, backwards) in [
        ("rollback detected for timestamp", (|r| r.timestamp.version = 4) as Change),
        ("rollback detected for snapshot", |r| r.snapshot.version = 4),
        ("rollback detected for targets.json", |r| r.targets.version = 4),
    ] {
        second(backwards).await.refuses(7, why).await;
    }
    second(|_| {}).await.accepts().await;
}

#[tokio::test]
async fn expired_metadata_is_refused() {
    for expire in [
        (|r| r.timestamp.expires = PAST.to_owned()) as Change,
        |r| r.snapshot.expires = PAST.to_owned(),
        |r| r.targets.expires = PAST.to_owned(),
        |r| r.rotate_root().root.expires = PAST.to_owned(),
    ] {
        second(expire).await.refuses(7, "expired at 2001-01-01").await;
    }
    let renewed: Change = |r| r.rotate_root().root.expires = FAR.to_owned();
    second(renewed).await.accepts().await;
}

#[tokio::test]
async fn a_target_that_is_not_what_the_metadata_says_is_refused() {
    let world = second(|_| {}).await;
    let path = world.repository.target_path();
    for (why, other) in [
        ("sha256 mismatch", material(3)),
        ("length", material(2).split_last().unwrap().1.to_vec()),
        ("is longer than", [material(2), b" ".to_vec()].concat()),
    ] {
        world.repository.serve(&path, Reply::Bytes(other));
        world.refuses(7, why).await;
    }
    world.repository.serve(&path, Reply::Endless(material(2)));
    world.refuses(7, "is longer than").await;
    world.repository.serve(&path, Reply::Bytes(material(2)));
    world.accepts().await;
}

#[tokio::test]
async fn a_target_beyond_the_limit_is_not_even_asked_for() {
    let large = |blanks| [material(2), vec![b' '; blanks]].concat();
    let mut world = World::updated().await;
    world.repository.next(large(1024 * 1024)).publish();
    world.refuses(7, "exceeds configured max").await;
    assert!(!world.repository.asked().contains(&format!("/tuf/{}", world.repository.target_path())));
    world.repository.next(large(1000)).publish();
    assert_eq!(world.update().await.code, 0);
    assert_eq!(world.file(), large(1000));
}

#[tokio::test]
async fn endless_metadata_ends() {
    let world = second(|_| {}).await;
    for name in ["timestamp.json", "6.snapshot.json", "6.targets.json", "2.root.json"] {
        let world = second(|_| {}).await;
        world.repository.serve(name, Reply::Endless(b"{".to_vec()));
        world.refuses(7, "is longer than").await;
    }
    world.accepts().await;
}

#[tokio::test]
async fn too_few_signatures_and_those_of_strangers_are_refused() {
    for unsigned in [
        (|r| r.timestamp.signers.clear()) as Change,
        |r| r.timestamp.signers = vec![Key::generate()],
        |r| r.timestamp.signers = r.snapshot.keys.clone(),
        |r| r.snapshot.signers = vec![Key::generate()],
        |r| drop(r.targets.signers.pop()),
        |r| r.rotate_root().root.signers = Vec::new(),
    ] {
        second(unsigned).await.refuses(7, "signature threshold not met").await;
    }
    let twice: Change = |r| r.targets.signers = vec![r.targets.keys[0].clone(); 2];
    second(twice).await.refuses(7, "duplicate signature").await;
    let more: Change = |r| r.targets.signers.push(Key::generate());
    second(more).await.accepts().await;
}

#[tokio::test]
async fn a_root_follows_from_the_one_before() {
    let by_new_only: Change = |r| drop(r.rotate_root().root.signers.remove(0));
    second(by_new_only).await.refuses(7, "threshold not met for role root").await;
    let by_old_only: Change = |r| drop(r.rotate_root().root.signers.pop());
    second(by_old_only).await.refuses(7, "threshold not met for role root").await;
    let skips: Change = |r| r.rotate_root().root.version = 3;
    let world = second(skips).await;
    world.repository.serve("2.root.json", Reply::Bytes(fs::read(world.path("root.json")).unwrap()));
    world.refuses(7, "root version must increment by one").await;
    // Two rotations at once; the first root in between is expired, which does not matter.
    let mut world = World::updated().await;
    world.repository.rotate_root().root.expires = PAST.to_owned();
    world.repository.publish();
    world.repository.rotate_root().root.expires = FAR.to_owned();
    world.repository.next(material(2)).publish();
    world.accepts().await;
    let outcome = world.update().await;
    assert!(outcome.out.contains("root         version 3"), "{}", outcome.out);
}

#[tokio::test]
async fn a_key_that_a_new_root_dropped_counts_no_longer_even_if_that_root_is_hidden_again() {
    let replace: Change = |r| {
        let new = Key::generate();
        r.rotate_root().timestamp.keys = vec![new.clone()];
        r.timestamp.signers = vec![new];
    };
    second(replace).await.accepts().await;

    let stolen: Change = |r| drop(std::mem::replace(&mut r.rotate_root().timestamp.keys, vec![Key::generate()]));
    let world = second(stolen).await;
    world.refuses(7, "threshold not met for role timestamp").await;
    world.repository.serve("2.root.json", Reply::Status(404));
    world.refuses(7, "threshold not met for role timestamp").await;
}

#[tokio::test]
async fn a_run_broken_off_does_not_lower_the_floor() {
    // Timestamp and snapshot keys are online, and may be stolen; those of the targets are not.
    let mut world = World::new().await;
    let old = Role { version: 4, ..world.repository.targets.clone() };
    world.repository.targets = old.clone();
    world.repository.publish();
    world.repository.targets.version = 5;
    world.repository.publish();
    assert_eq!(world.update().await.code, 0);
    world.repository.next(material(2));
    world.repository.targets = old;
    world.repository.publish();
    world.repository.serve("6.snapshot.json", Reply::Status(500));
    world.refuses(5, "6.snapshot.json answers 500").await;
    world.repository.publish();
    world.refuses(7, "rollback detected for targets.json").await;
    world.repository.targets.version = 6;
    world.repository.publish();
    world.accepts().await;
}

#[tokio::test]
async fn signed_but_useless_is_not_taken_over() {
    let broken_key = String::from_utf8(material(2)).unwrap().replacen("\"rawBytes\": \"M", "\"rawBytes\": \"A", 1);
    let empty = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
    for useless in ["", "<html>", "{}", empty, broken_key.as_str()] {
        let mut world = World::updated().await;
        world.repository.next(useless.as_bytes().to_vec()).publish();
        world.refuses(7, "what was fetched cannot be used").await;
        world.repository.next(material(2)).publish();
        world.accepts().await;
    }
}

#[tokio::test]
async fn a_mirror_that_is_away_is_code_5() {
    let mut world = second(|_| {}).await;
    for (why, file, reply) in [
        ("answers 500", "timestamp.json", Reply::Status(500)),
        ("timestamp.json answers 404", "timestamp.json", Reply::Status(404)),
        ("answers 403", "timestamp.json", Reply::Status(403)),
        ("answers 500", "2.root.json", Reply::Status(500)),
        ("answers 404", "6.targets.json", Reply::Status(404)),
    ] {
        world.repository.publish();
        world.repository.serve(file, reply);
        world.refuses(5, why).await;
        // So do object stores say that something is not there.
        world.repository.serve("2.root.json", Reply::Status(403));
    }
    for file in ["2.root.json", "timestamp.json", &world.repository.target_path()] {
        world.repository.publish();
        world.repository.serve(file, Reply::Silent);
        world.refuses_with(&["--deadline", "1"], 5, "took longer than 1 s").await;
        world.repository.serve("2.root.json", Reply::Status(404));
    }
    world.repository.publish();
    world.accepts().await;
    world.repository.stop().await;
    world.refuses(5, "cannot fetch").await;
}

#[tokio::test]
async fn redirects_stay_on_the_mirrors_host() {
    let world = second(|_| {}).await;
    let path = world.repository.target_path();
    world.repository.serve("moved", Reply::Bytes(material(2)));
    let elsewhere = World::new().await;
    elsewhere.repository.serve("moved", Reply::Bytes(material(2)));
    world.repository.serve(&path, Reply::Redirect(format!("{}/moved", elsewhere.repository.url())));
    world.refuses(5, "redirects elsewhere").await;
    assert!(elsewhere.repository.asked().is_empty());
    world.repository.serve(&path, Reply::Redirect("/tuf/moved".to_owned()));
    world.accepts().await;
}

#[tokio::test]
async fn a_mirror_behind_tls_must_be_the_one_it_says() {
    let (ours, other) = (TestCa::new(), TestCa::new());
    let tls = ours.loopback().acceptor(&["http/1.1"]);
    let world = World::of(TufRepository::start_tls(material(1), tls).await);
    for (ca, text) in [("ours.pem", ours.ca_pem()), ("other.pem", other.ca_pem()), ("none.pem", "no PEM".to_owned())] {
        fs::write(world.path(ca), text).unwrap();
    }
    for (wanted, ca) in [(5, Some("other.pem")), (2, Some("none.pem")), (4, Some("absent.pem")), (5, None)] {
        let ca = ca.map(|name| world.path(name).to_str().unwrap().to_owned());
        let outcome = world.update_with(&ca.iter().flat_map(|ca| ["--ca", ca]).collect::<Vec<_>>()).await;
        assert_eq!(outcome.code, wanted, "{ca:?}: {}{}", outcome.out, outcome.err);
        assert!(world.repository.asked().is_empty() && !world.path("trusted_root.json").exists(), "{ca:?}");
    }
    let honest = world.update_with(&["--ca", world.path("ours.pem").to_str().unwrap()]).await;
    assert_eq!((honest.code, world.file()), (0, material(1)), "{}", honest.err);
}

#[tokio::test]
async fn names_in_metadata_lead_nowhere() {
    for hash in ["../../x", "http://127.0.0.1:1/x", "/x", "..", ""] {
        let mut world = World::updated().await;
        world.repository.next(material(2));
        world.repository.claimed = Some(json!({"length": material(2).len(), "hashes": {"sha256": hash}}));
        world.repository.publish();
        let asked = world.repository.asked().len();
        world.refuses(7, "leads to a file named").await;
        assert!(!world.repository.asked()[asked..].iter().any(|path| path.ends_with("/x")), "{hash}");
    }
    // The name of a role is only a name: it is one step of a path, whatever is in it.
    for role in ["team", "../../evil", "a/../../../b", "..", "2.root"] {
        let mut world = World::updated().await;
        world.repository.delegate = Some((role.to_owned(), Key::generate()));
        world.repository.next(material(2)).publish();
        world.accepts().await;
        let steps = |path: &String| path.trim_start_matches("/tuf/targets/").matches('/').count();
        assert!(world.repository.asked().iter().all(|path| steps(path) <= 2), "{:?}", world.repository.asked());
    }
    // Unless it is the name of one of the four.
    let reserved: Change = |r| r.delegate = Some(("timestamp".to_owned(), Key::generate()));
    second(reserved).await.refuses(4, "holds no trusted_root.json").await;
}

#[tokio::test]
async fn a_frozen_mirror_is_noticed_when_its_metadata_expires() {
    let mut world = World::new().await;
    world.repository.timestamp.expires = "2030-01-01T00:00:00Z".to_owned();
    world.repository.publish();
    let options = FetchOptions {
        source: Source::new(world.repository.url(), world.repository.initial_root().to_vec()).unwrap(),
        folder: world.path("kept"),
        ca: Vec::new(),
        deadline: Duration::from_secs(60),
        target_max: 1 << 20,
    };
    let (before, after) = ("2029-12-31T00:00:00Z".parse().unwrap(), "2030-01-02T00:00:00Z".parse().unwrap());
    assert_eq!(fetch(&options, before).await.unwrap().bytes, material(1));
    assert_eq!(fetch(&options, before).await.unwrap().bytes, material(1));
    let frozen = fetch(&options, after).await.unwrap_err();
    assert!(matches!(&frozen, TufError::Refused(why) if why.to_string().contains("expired")), "{frozen:?}");
    world.repository.timestamp = Role { version: 6, expires: FAR.to_owned(), ..world.repository.timestamp.clone() };
    world.repository.publish();
    assert_eq!(fetch(&options, after).await.unwrap().bytes, material(1));
}

#[tokio::test]
async fn trust_begins_with_the_root_that_was_named() {
    let (world, stranger) = (World::new().await, World::new().await);
    fs::write(world.path("root.json"), stranger.repository.initial_root()).unwrap();
    let outcome = world.update().await;
    assert_eq!(outcome.code, 7, "{}", outcome.err);
    assert!(!world.path("trusted_root.json").exists());
    fs::write(world.path("root.json"), b"{}").unwrap();
    let outcome = world.update().await;
    assert_eq!(outcome.code, 2, "{}", outcome.err);
    assert!(outcome.err.contains("initial root"), "{}", outcome.err);
    let (url, output) = (world.repository.url(), world.path("trusted_root.json"));
    let (code, _, err) = assay(&["trust", "update", "--mirror", url, "-o", output.to_str().unwrap()]).await;
    assert_eq!(code, 7, "no mirror of the public instance: {err}");
    fs::write(world.path("root.json"), world.repository.initial_root()).unwrap();
    assert_eq!(world.update().await.code, 0);
}

#[tokio::test]
async fn files_that_are_something_else_are_left_alone() {
    let world = second(|_| {}).await;
    let kept = world.path("trusted_root.json.tuf/metadata.json");
    let metadata = fs::read(&kept).unwrap();
    fs::write(&kept, &metadata[..metadata.len() / 2]).unwrap();
    world.refuses(1, "is damaged").await;
    fs::write(&kept, metadata).unwrap();
    fs::write(world.path("trusted_root.json"), b"my poems").unwrap();
    let asked = world.repository.asked().len();
    world.refuses(2, "no trusted root").await;
    assert_eq!(world.repository.asked().len(), asked, "noticed before anything was fetched");
    fs::write(world.path("trusted_root.json"), material(9)).unwrap();
    world.accepts().await;
}

#[tokio::test]
async fn show_and_diff_read_files_and_the_root_that_ships() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("new.json"), material(2)).unwrap();
    fs::write(path("bad.json"), b"{}").unwrap();
    let (code, out, _) = assay(&["trust", "show"]).await;
    assert!(code == 0 && out.contains("ships in") && out.contains("https://rekor.sigstore.dev"), "{out}");
    let (code, out, _) = assay(&["trust", "show", &path("new.json"), "--json"]).await;
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["schema"], "assay.trust/v1");
    let (code, out, _) = assay(&["trust", "diff", "public-good", "public-good"]).await;
    assert_eq!((code, out.as_str()), (0, "no difference\n"));
    let (code, out, _) = assay(&["trust", "diff", "public-good", &path("new.json")]).await;
    assert!(code == 0 && out.starts_with("~ transparency log: https://rekor2.example\n"), "{out}");
    let (code, _, err) = assay(&["trust", "update", "-o", &path("no/x.json")]).await;
    assert!(code == 2 && err.contains("there is no folder"), "{err}");
    for (wanted, file) in [(4, "absent.json"), (2, "bad.json")] {
        assert_eq!(assay(&["trust", "show", &path(file)]).await.0, wanted, "{file}");
        assert_eq!(assay(&["trust", "diff", "public-good", &path(file)]).await.0, wanted, "{file}");
    }
}
