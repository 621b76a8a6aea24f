//! A configuration that changes in the files while `assay serve` runs.

use std::net::SocketAddr;
use std::sync::Arc;

use assay::demo::{BuiltImage, Signer};
use assay::pull::InForce;
use assay::upstream::UpstreamOptions;
use http::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::pull::image;
use crate::support::client::get;
use crate::support::proxy::signed_by;
use crate::support::serving::{Launch, Serving, free_address};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Proxy, REGISTRY, Setup, TestCa};

async fn stocked(signer: &Signer, greeting: &str) -> (NastyUpstream, BuiltImage) {
    let (upstream, image) = (NastyUpstream::start().await, image(greeting));
    upstream.registry().push_image("app", "1.0", &image);
    upstream.registry().push_artefact("app", &signer.bundle(&image.index));
    (upstream, image)
}

async fn status(serving: &Serving) -> StatusCode {
    get(serving.server, "/v2/test.assay/app/manifests/1.0").await.status
}

#[tokio::test]
async fn changed_files_count_without_a_restart_and_bad_ones_do_not() {
    let signer = Signer::generate().unwrap();
    let (upstream, _) = stocked(&signer, "Hello").await;
    let good_key = signer.public_key_pem();
    let serving = Launch::new(&upstream, &good_key).start().await;
    assert_eq!(status(&serving).await, StatusCode::OK);

    // Another key in the same file: what is in memory is judged again.
    serving.write("acme.pub", &Signer::generate().unwrap().public_key_pem());
    serving.hang_up();
    serving.wait_for("the new key counts", async || serving.reloads("ok", 1).await).await;
    assert_eq!(status(&serving).await, StatusCode::FORBIDDEN);
    assert!(serving.log().contains("rules changed: \\\"acme\\\""), "{}", serving.log());

    // A file that cannot be used changes nothing, and is told once.
    serving.edit("tlog", "tlgo");
    serving.hang_up();
    serving.wait_for("the bad file is noticed", async || serving.reloads("failed", 1).await).await;
    assert_eq!(status(&serving).await, StatusCode::FORBIDDEN, "the rule from before is in force");
    assert!(serving.log().contains("tlgo") && serving.log().contains("stays in force"), "{}", serving.log());
    assert!(serving.metrics().await.contains("assay_config_last_reload_successful 0\n"));

    // Mended, it counts by itself. What needs a restart is named, and nothing else.
    serving.write("acme.pub", &good_key);
    serving.edit("tlgo", "tlog");
    serving.edit("retries = 0", "retries = 1");
    serving.edit("[server]", "[server]\nshutdown_grace = \"7s\"");
    serving.wait_for("the good file counts", async || serving.reloads("ok", 2).await).await;
    assert_eq!(status(&serving).await, StatusCode::OK);
    assert!(serving.reloads("failed", 1).await, "told once");
    assert!(serving.metrics().await.contains("assay_config_last_reload_successful 1\n"));
    assert!(serving.log().contains("\"settings\":\"server.shutdown_grace\""), "{}", serving.log());
}

#[tokio::test]
async fn upstreams_come_move_and_go_without_a_restart() {
    let signer = Signer::generate().unwrap();
    let ((here, old), (there, new)) = (stocked(&signer, "old").await, stocked(&signer, "new").await);
    let serving = Launch::new(&here, &signer.public_key_pem()).start().await;
    let digest = async |registry: &str| {
        let got = get(serving.server, &format!("/v2/{registry}/app/manifests/1.0")).await;
        got.headers.get("docker-content-digest").map(|digest| digest.to_str().unwrap().to_owned())
    };
    let (old, new) = (Some(old.index.digest.to_string()), Some(new.index.digest.to_string()));
    assert_eq!((digest("test.assay").await, digest("more.assay").await), (old.clone(), None));

    // Added, with its rule. Less is logged from now on, too.
    let table = |name: &str, url: &str| format!("[upstream.\"{name}\"]\nurl = \"{url}\"\n");
    serving.edit("[network]", &format!("{}[log]\nlevel = \"warn\"\n[network]", table("more.assay", &there.url())));
    serving.edit(r#"["test.assay/**"]"#, r#"["test.assay/**", "more.assay/**"]"#);
    serving.hang_up();
    serving.wait_for("there is one more", async || serving.reloads("ok", 1).await).await;
    let lines = || serving.log().lines().count();
    let before = lines();
    assert_eq!((digest("test.assay").await, digest("more.assay").await), (old, new.clone()));
    assert_eq!(lines(), before, "requests are INFO");

    // The one is elsewhere now, the other is gone: it exists no longer.
    serving.edit(&table("more.assay", &there.url()), "");
    serving.edit(&here.url(), &there.url());
    serving.edit(r#"["test.assay/**", "more.assay/**"]"#, r#"["test.assay/**"]"#);
    serving.hang_up();
    serving.wait_for("one is gone", async || serving.reloads("ok", 2).await).await;
    assert_eq!(digest("test.assay").await, new);
    let gone = get(serving.server, "/v2/more.assay/app/manifests/1.0").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "{}", gone.message());
    assert!(!serving.log().contains("need a restart"), "{}", serving.log());
}

#[tokio::test]
async fn a_question_to_another_upstream_does_not_wait_for_the_answer_of_the_one_before() {
    let signer = Signer::generate().unwrap();
    let ((slow, old), (quick, new)) = (stocked(&signer, "old").await, stocked(&signer, "new").await);
    let proxy = Proxy::start(&slow, &signer).await;
    let (gate, path, address) = (Gate::new(), proxy.manifest_path("app", "1.0"), proxy.address);
    slow.misbehave(PathMatch::any_manifest(), Misbehaviour::HoldHeaders(gate.clone()));
    let first = tokio::spawn({
        let path = path.clone();
        async move { get(address, &path).await }
    });
    gate.wait_started(1).await;

    let InForce { policy, upstreams } = (*proxy.puller.in_force()).clone();
    let moved = UpstreamOptions::new(REGISTRY.parse().unwrap(), quick.url().parse().unwrap());
    let network = Setup::new(signed_by(&signer)).network;
    let upstreams = Arc::new(upstreams.renewed(vec![moved], network).unwrap());
    proxy.puller.put_in_force(InForce { policy, upstreams });
    let second = get(address, &path).await;
    assert!(second.status == StatusCode::OK && second.body == new.index.bytes, "{}", second.message());

    // What began before keeps its upstream to the end.
    gate.release();
    let first = first.await.unwrap();
    assert!(first.status == StatusCode::OK && first.body == old.index.bytes, "{}", first.message());
}

#[tokio::test]
async fn it_starts_while_its_upstream_is_away() {
    let upstream = NastyUpstream::start().await;
    let nobody = free_address();
    let launch = Launch::new(&upstream, &Signer::generate().unwrap().public_key_pem());
    let serving = launch.with(&upstream.url(), &format!("http://{nobody}")).start().await;
    assert_eq!(status(&serving).await, StatusCode::BAD_GATEWAY);
    assert!(serving.metrics().await.contains("{upstream=\"test.assay\",outcome=\"unreachable\"} 1\n"));
}

/// The certificate that a server shows to whoever trusts `authority`.
async fn shown(server: SocketAddr, authority: &TestCa) -> CertificateDer<'static> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.ca_pem().as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector =
        tokio_rustls::TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
    let socket = tokio::net::TcpStream::connect(server).await.unwrap();
    let stream = connector.connect(ServerName::try_from("127.0.0.1").unwrap(), socket).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_a_bad_renewal_is_not() {
    let (upstream, authority) = (NastyUpstream::start().await, TestCa::new());
    let (first, second) = (authority.loopback(), authority.loopback());
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let launch = Launch::new(&upstream, &Signer::generate().unwrap().public_key_pem())
        .with("[upstream", "[server.tls]\ncert = \"tls.crt\"\nkey = \"tls.key\"\n[upstream");
    launch.write("tls.crt", &first.certificate_pem);
    launch.write("tls.key", &first.key_pem);
    let serving = launch.start().await;
    assert_eq!(shown(serving.server, &authority).await, der(&first.certificate_pem));
    assert!(serving.metrics().await.contains("assay_tls_certificate_expires_timestamp_seconds{} 6"));

    // Half of a renewal: the key is still the old one. It is noticed without being asked for.
    serving.write("tls.crt", &second.certificate_pem);
    serving.wait_for("the bad pair is noticed", async || serving.reloads("failed", 1).await).await;
    assert!(serving.log().contains("does not belong to the certificate"), "{}", serving.log());
    assert_eq!(shown(serving.server, &authority).await, der(&first.certificate_pem));

    serving.write("tls.key", &second.key_pem);
    serving.wait_for("the whole renewal counts", async || serving.reloads("ok", 1).await).await;
    assert_eq!(shown(serving.server, &authority).await, der(&second.certificate_pem));
}
