//! The program itself: what it prints, and what it exits with.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use assay::demo::{Artefact, BuiltImage, Document, Signer};
use http::StatusCode;

use crate::pull::image;
use crate::support::client::get;
use crate::support::serving::free_address;
use crate::support::sigstore::{ACCOUNTS, CertificateRequest, GITHUB, OTHER_SIGSTORE, SIGSTORE};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch};

/// Runs the program; the upstream lives on this runtime, so waiting must not block it.
pub async fn assay(arguments: &[&str]) -> (i32, String, String) {
    let mut command = program(arguments);
    let output: Output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assay"));
    command.args(arguments).env_clear().env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

struct World {
    folder: tempfile::TempDir,
    upstream: NastyUpstream,
    signer: Signer,
}

async fn world() -> World {
    let world = World {
        folder: tempfile::tempdir().unwrap(),
        upstream: NastyUpstream::start().await,
        signer: Signer::generate().unwrap(),
    };
    let (signed, unsigned) = (image("signed"), image("unsigned"));
    world.upstream.registry().push_image("app", "1.0", &signed);
    world.upstream.registry().push_artefact("app", &world.signer.bundle(&signed.index));
    world.upstream.registry().push_image("app", "unsigned", &unsigned);
    world.file("acme.pub", &world.signer.public_key_pem());
    world.file("other.pub", &Signer::generate().unwrap().public_key_pem());
    world.file(
        "proxy.toml",
        &format!(
            r#"version = 1
[server]
listen = ["127.0.0.1:0"]
default_upstream = "test.assay"
[upstream."test.assay"]
url = "{}"
[network]
proxy = "none"
connect_timeout = "1s"
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
listen = "127.0.0.1:0"
"#,
            world.upstream.url(),
            world.path("cache"),
        ),
    );
    world
}

impl World {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::File::create(self.folder.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn verify_says_yes_no_and_could_not_check_with_codes_that_are_never_mixed() {
    let world = world().await;
    let config = world.path("proxy.toml");
    let (code, out, err) = assay(&["verify", "test.assay/app:1.0", "-c", &config]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.starts_with("✔ test.assay/app:1.0\n") && out.contains("acme.pub"), "{out}");
    let (code, out, _) = assay(&["verify", "test.assay/app:unsigned", "-c", &config]).await;
    assert_eq!(code, 3);
    assert!(out.contains("NO_SIGNATURE") && out.contains("next step"), "{out}");
    let (code, ..) = assay(&["verify", "test.assay/app:none", "-c", &config]).await;
    assert_eq!(code, 4);
    world.upstream.misbehave(PathMatch::referrers(), Misbehaviour::Status(500));
    let (code, out, _) = assay(&["verify", "test.assay/app:unsigned", "-c", &config]).await;
    assert_eq!(code, 5, "{out}");
    assert!(out.contains("could not check") && !out.contains("NO_SIGNATURE"), "{out}");
    world.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
    let (code, ..) = assay(&["verify", "test.assay/app:1.0", "-c", &config]).await;
    assert_eq!(code, 5);
    let (code, ..) = assay(&["verify", "other.example/app:1.0", "-c", &config]).await;
    assert_eq!(code, 2, "a registry that is not configured");
    let (code, ..) = assay(&["verify", "not an image", "-c", &config]).await;
    assert_eq!(code, 2);
}

#[tokio::test]
async fn verify_with_a_key_needs_no_configuration() {
    let world = world().await;
    let image = format!("http://{}/app:1.0", world.upstream.address());
    let key = |name: &str| ["--key".to_owned(), world.path(name)];
    let verify = async |image: &str, more: &[String]| {
        let mut line = vec!["verify", image, "--tlog", "off"];
        line.extend(more.iter().map(String::as_str));
        assay(&line).await
    };
    let (code, out, err) = verify(&image, &key("acme.pub")).await;
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, _) = verify(&image, &key("other.pub")).await;
    assert_eq!(code, 3);
    assert!(out.contains("UNTRUSTED_KEY"), "{out}");
    let (code, ..) = verify(&image, &[key("other.pub"), key("acme.pub")].concat()).await;
    assert_eq!(code, 0);
    let (code, _, err) = verify(&image, &key("absent.pub")).await;
    assert_eq!(code, 2);
    assert!(err.contains("absent.pub"), "{err}");
    // TLS is not given up silently.
    let (code, ..) = verify(&image.replace("http://", ""), &key("acme.pub")).await;
    assert_eq!(code, 5);
    // The log is demanded unless it is said otherwise.
    let (code, out, _) = assay(&["verify", &image, "--key", &world.path("acme.pub")]).await;
    assert_eq!(code, 3);
    assert!(out.contains("NOT_IN_LOG") && out.contains("--tlog off"), "{out}");
}

#[tokio::test]
async fn verify_with_an_identity_under_a_root_of_ones_own() {
    let world = world().await;
    let keyless = image("keyless");
    world.upstream.registry().push_image("keyless", "1.0", &keyless);
    let release = SIGSTORE.issue(&CertificateRequest::github("acme/api", "release.yml", "refs/tags/v1.9"));
    let signed = SIGSTORE.sign_bundle(&release, keyless.index.digest);
    world.upstream.registry().push_artefact("keyless", &signed.referrer(&keyless.index));
    world.file("root.json", &SIGSTORE.trusted_root_json());
    world.file("other_root.json", &OTHER_SIGSTORE.trusted_root_json());
    let name = format!("http://{}/keyless:1.0", world.upstream.address());
    let (root, other_root) = (world.path("root.json"), world.path("other_root.json"));
    let verify = async |more: &str| {
        let mut line = vec!["verify", &name, "--issuer", GITHUB];
        line.extend(more.split(' '));
        assay(&line).await
    };
    let good = "--identity-regexp https://github\\.com/acme/api/.*@refs/tags/v[0-9.]+";
    let (code, out, err) = verify(&format!("{good} --trust-root {root}")).await;
    assert_eq!(code, 0, "{out}{err}");
    for part in ["source_ref=refs/tags/v1.9", "trigger=push", "github_workflow_repository=acme/api"] {
        let (code, out, _) = verify(&format!("{good} --trust-root {root} --claim {part}")).await;
        assert_eq!(code, 0, "{out}");
    }
    let both = format!("{good} --trust-root {other_root} --trust-root {root}");
    assert_eq!(verify(&both).await.0, 0, "one root of two is enough");
    for (bad, reason) in [
        (format!("{good} --trust-root {other_root}"), "NOT_IN_LOG"),
        (good.to_owned(), "NOT_IN_LOG"),
        (format!("{good} --trust-root {root} --claim source_ref=refs/heads/main"), "WRONG_IDENTITY"),
        (format!("--identity me@acme.test --trust-root {root}"), "WRONG_IDENTITY"),
        (format!("{good} --trust-root {root} -a build=42"), "WRONG_ANNOTATION"),
        (format!("{good} --trust-root {root} --docker-reference repository"), "WRONG_REFERENCE"),
        (format!("{good} --trust-root {root} --attestation https://slsa.dev/provenance/v1"), "MISSING_ATTESTATION"),
    ] {
        let (code, out, err) = verify(&bad).await;
        assert_eq!(code, 3, "{bad}: {out}{err}");
        assert!(out.contains(reason), "{bad}: {out}");
    }
    for (usage, says) in [
        (format!("--trust-root {root}"), "--issuer without an identity"),
        (format!("{good} --trust-root {}", world.path("acme.pub")), "no trusted_root.json"),
        (format!("--identity-regexp ( --trust-root {root}"), "not a regular expression"),
        (format!("{good} --claim colour=red"), "no claim `colour`"),
    ] {
        let (code, _, err) = verify(&usage).await;
        assert_eq!(code, 2, "{usage}: {err}");
        assert!(err.contains(says), "{usage}: {err}");
    }
}

#[tokio::test]
async fn a_layout_folder_is_verified_without_any_registry() {
    let world = world().await;
    let signed = image("signed");
    let release = SIGSTORE.issue(&CertificateRequest::email("release@acme.test"));
    let signature = SIGSTORE.sign_bundle(&release, signed.index.digest).referrer(&signed.index);
    let folder = world.folder.path().join("layout");
    lay_out(&folder, &[(&signed, "v1")], &[&signature]);
    world.file("root.json", &SIGSTORE.trusted_root_json());
    let (layout, root) = (folder.to_str().unwrap(), world.path("root.json"));
    let verify = async |image: &str, identity: &str| {
        let line = ["verify", image, "--issuer", ACCOUNTS, "--identity", identity, "--trust-root", &root];
        assay(&line).await
    };
    for image in [format!("oci:{layout}"), format!("oci:{layout}:v1"), format!("oci:{layout}@{}", signed.index.digest)]
    {
        let (code, out, err) = verify(&image, "release@acme.test").await;
        assert_eq!(code, 0, "{image}: {out}{err}");
    }
    // Its index is looked for by the tags, unless nobody wants that.
    let platform = format!("oci:{layout}@{}", signed.platform("arm64").unwrap().manifest.digest);
    let (code, out, err) = verify(&platform, "release@acme.test").await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("(tag v1), which names it as its platform linux/arm64 and is signed"), "{out}");
    let line = ["verify", &platform, "--issuer", ACCOUNTS, "--identity", "release@acme.test", "--trust-root", &root];
    let (code, out, _) = assay(&[&line[..], &["--no-find-parent"]].concat()).await;
    assert_eq!(code, 3, "{out}");
    let (code, out, _) = verify(&format!("oci:{layout}"), "mallory@acme.test").await;
    assert_eq!(code, 3, "{out}");
    assert_eq!(verify(&format!("oci:{layout}:v2"), "release@acme.test").await.0, 4);
    assert_eq!(verify(&format!("oci:{layout}-none"), "release@acme.test").await.0, 4);
    // With the configured policy, under a name of its own; without one nothing could be about it.
    let config = world.path("proxy.toml");
    let (code, out, _) = assay(&["explain", &format!("oci:{layout}"), "--as", "test.assay/app:1", "-c", &config]).await;
    assert_eq!(code, 3);
    assert!(out.contains("rule       \"acme\"") && out.contains("UNTRUSTED_KEY"), "{out}");
    let (code, _, err) = assay(&["explain", &format!("oci:{layout}"), "-c", &config]).await;
    assert_eq!(code, 2);
    assert!(err.contains("--as"), "{err}");
    assert_eq!(assay(&["explain", "test.assay/app:1.0", "--as", "a.test/b", "-c", &config]).await.0, 2);
    // Several images: one must be named.
    lay_out(&folder, &[(&signed, "v1"), (&image("other"), "v2")], &[&signature]);
    let (code, _, err) = verify(&format!("oci:{layout}"), "release@acme.test").await;
    assert_eq!(code, 2);
    assert!(err.contains("holds 2 images") && err.contains("oci:DIR:TAG"), "{err}");
    assert_eq!(verify(&format!("oci:{layout}:v1"), "release@acme.test").await.0, 0);
}

/// Writes an OCI image layout.
fn lay_out(folder: &Path, images: &[(&BuiltImage, &str)], artefacts: &[&Artefact]) {
    let blobs = folder.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let write = |document: &Document| std::fs::write(blobs.join(document.digest.hex()), &document.bytes).unwrap();
    let mut manifests = Vec::new();
    for (image, tag) in images {
        image.documents().for_each(write);
        let mut entry = serde_json::to_value(image.index.descriptor()).unwrap();
        entry["annotations"] = serde_json::json!({ "org.opencontainers.image.ref.name": tag });
        manifests.push(entry);
    }
    for artefact in artefacts {
        write(&artefact.manifest);
        artefact.blobs.iter().for_each(write);
        manifests.push(serde_json::to_value(artefact.manifest.descriptor()).unwrap());
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    std::fs::write(folder.join("index.json"), index.to_string()).unwrap();
    std::fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[tokio::test]
async fn explain_shows_every_step_and_json_has_its_schema() {
    let world = world().await;
    let config = world.path("proxy.toml");
    let (_, out, _) = assay(&["explain", "test.assay/app:1.0", "-c", &config]).await;
    for part in ["looked at", "referrers", "✔ signature", "✔ subject", "cosign verify --key", "tlog = \"off\""] {
        assert!(out.contains(part), "`{part}` is missing in\n{out}");
    }
    let (code, out, _) = assay(&["verify", "--json", "test.assay/app:unsigned", "-c", &config]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, json["schema"].as_str()), (3, Some("assay.verify/v1")));
    assert_eq!((json["verdict"].as_str(), json["reason"].as_str()), (Some("refused"), Some("NO_SIGNATURE")));
    // Another policy, before it is put in force.
    world.file("new.toml", &std::fs::read_to_string(&config).unwrap().replace("acme.pub", "other.pub"));
    let (code, out, _) =
        assay(&["explain", "test.assay/app:1.0", "-c", &config, "--policy", &world.path("new.toml")]).await;
    assert_eq!(code, 3);
    assert!(out.contains("UNTRUSTED_KEY"), "{out}");
}

#[tokio::test]
async fn check_finds_everything_at_once() {
    let world = world().await;
    let (code, out, _) = assay(&["check", "-c", &world.path("proxy.toml")]).await;
    assert_eq!(code, 0);
    assert!(out.contains("ok — 1 upstream, 1 policy"), "{out}");
    let bad = std::fs::read_to_string(world.path("proxy.toml")).unwrap();
    world.file("bad.toml", &bad.replace("tlog = \"off\"", "tlgo = \"off\"").replace("retries = 0", "retries = \"x\""));
    let (code, _, err) = assay(&["check", "-c", &world.path("bad.toml")]).await;
    assert_eq!(code, 2);
    assert!(err.contains("tlgo") && err.contains("retries") && err.contains("bad.toml:"), "{err}");
    assert_eq!(assay(&["check", "-c", &world.path("absent.toml")]).await.0, 2);
}

#[tokio::test]
async fn the_small_commands() {
    let (code, out, _) = assay(&["version"]).await;
    assert_eq!((code, out.as_str()), (0, concat!("assay ", env!("CARGO_PKG_VERSION"), "\n")));
    assert_eq!(assay(&["no-such-command"]).await.0, 2);
    let (code, out, err) = assay(&["demo", "--once"]).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Just proved"), "{out}");
}

#[tokio::test]
async fn serve_answers_is_ready_counts_and_stops_when_told() {
    let world = world().await;
    let (port, admin) = (free_address().port(), free_address().port());
    let config = std::fs::read_to_string(world.path("proxy.toml")).unwrap();
    let config = config.replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1).replacen(
        "127.0.0.1:0",
        &format!("127.0.0.1:{admin}"),
        1,
    );
    world.file("proxy.toml", &config);
    let log = std::fs::File::create(world.folder.path().join("log")).unwrap();
    let mut serving = program(&["serve", "-c", &world.path("proxy.toml")]).stderr(log).spawn().unwrap();
    let (server, admin) = (([127, 0, 0, 1], port).into(), ([127, 0, 0, 1], admin).into());
    let started = Instant::now();
    while tokio::net::TcpStream::connect(server).await.is_err() {
        assert!(started.elapsed() < Duration::from_secs(20), "it does not come up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(get(admin, "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(admin, "/readyz").await.status, StatusCode::OK);
    assert_eq!(get(server, "/v2/test.assay/app/manifests/1.0").await.status, StatusCode::OK);
    assert_eq!(get(server, "/v2/test.assay/app/manifests/unsigned").await.status, StatusCode::FORBIDDEN);
    let metrics = String::from_utf8(get(admin, "/metrics").await.body.to_vec()).unwrap();
    for line in [r#"assay_verdicts_total{outcome="verified"} 1"#, r#"assay_verdicts_total{outcome="refused"} 1"#] {
        assert!(metrics.contains(line), "`{line}` is missing in\n{metrics}");
    }
    // One process a folder.
    let (code, _, err) = assay(&["serve", "-c", &world.path("proxy.toml")]).await;
    assert!(code != 0 && err.contains("in use by another process"), "{code}: {err}");

    let pid = rustix::process::Pid::from_child(&serving);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = tokio::task::spawn_blocking(move || serving.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    let log = std::fs::read_to_string(world.path("log")).unwrap();
    let access = log.lines().filter(|line| line.contains("\"target\":\"assay::access\"")).collect::<Vec<_>>();
    assert_eq!(access.len(), 2, "{log}");
    let refused: serde_json::Value = serde_json::from_str(access[1]).unwrap();
    for (key, value) in [("image", "test.assay/app:unsigned"), ("verdict", "refused"), ("rule", "acme")] {
        assert_eq!(refused[key], value, "{refused}");
    }
}
