//! What must be attested about each platform is judged before the platform is served.

use assay::demo::{BuiltImage, BundleSignature, Document, ImageBuilder, Signer, Statement};
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use assay::oci::{Descriptor, Platform};
use assay::trust::{About, AttestationDemand, Enforcement, Policy, Require};
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::json;

use crate::support::client::{Got, get};
use crate::support::proxy::{demand, rule};
use crate::support::{Gate, Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

struct World {
    upstream: NastyUpstream,
    signer: Signer,
    builder: Signer,
    image: BuiltImage,
}

/// An image that is signed, and of whose platforms amd64 is attested.
async fn world() -> World {
    let world = World {
        upstream: NastyUpstream::start().await,
        signer: Signer::generate().unwrap(),
        builder: Signer::generate().unwrap(),
        image: ImageBuilder::new("Hello").build(),
    };
    world.upstream.registry().push_image("app", "1.0", &world.image);
    world.upstream.registry().push_artefact("app", &world.signer.bundle(&world.image.index));
    world.attest(&world.builder, &world.image.platforms[0].manifest);
    world
}

impl World {
    fn attest(&self, by: &Signer, manifest: &Document) {
        let statement = Statement::attestation(manifest.digest, PROVENANCE, json!({"builder": {"id": "ci"}}));
        let artefact = BundleSignature::of(by, &statement).referrer(manifest).artefact();
        self.upstream.registry().push_artefact("app", &artefact);
    }

    fn policy(&self, enforcement: fn(assay::trust::Demand) -> Enforcement) -> Policy {
        let attestation = AttestationDemand {
            predicate_type: PROVENANCE.to_owned(),
            about: About::Platform,
            require: Require::Any,
            signers: demand(&[&self.builder]).signers,
            conditions: Vec::new(),
        };
        let demand = assay::trust::Demand { attestations: vec![attestation], ..demand(&[&self.signer]) };
        Policy::new(vec![rule("test", "**", enforcement(demand))], None)
    }

    async fn start(&self) -> Proxy {
        Setup::new(self.policy(Enforcement::Enforce)).start(&self.upstream).await
    }
}

async fn manifest(proxy: &Proxy, reference: impl std::fmt::Display) -> Got {
    get(proxy.address, &proxy.manifest_path("app", reference)).await
}

async fn blob(proxy: &Proxy, document: &Document) -> StatusCode {
    get(proxy.address, &proxy.blob_path("app", document.digest)).await.status
}

#[tokio::test]
async fn a_platform_without_its_attestation_is_refused_and_so_are_its_blobs() {
    let world = world().await;
    let [amd64, arm64] = world.image.platforms.as_slice() else { panic!("two platforms") };
    let proxy = world.start().await;
    assert_eq!(manifest(&proxy, "1.0").await.status, StatusCode::OK, "nothing is asked of the index");
    // As an engine that kept the manifests: the blobs first.
    assert_eq!(blob(&proxy, &arm64.layers[0]).await, StatusCode::FORBIDDEN);
    assert_eq!(blob(&proxy, &amd64.layers[0]).await, StatusCode::OK);
    let refused = manifest(&proxy, arm64.manifest.digest).await;
    assert!(refused.is_refusal("MISSING_ATTESTATION") && refused.message().contains(PROVENANCE), "{refused:?}");
    let served = manifest(&proxy, amd64.manifest.digest).await;
    assert_eq!(served.body, amd64.manifest.bytes, "{}", served.message());
    assert_eq!(blob(&proxy, &arm64.config).await, StatusCode::FORBIDDEN);
    assert_eq!(blob(&proxy, &amd64.config).await, StatusCode::OK);
    // A stranger's attestation is none.
    world.attest(&Signer::generate().unwrap(), &arm64.manifest);
    assert_eq!(manifest(&proxy, arm64.manifest.digest).await.status, StatusCode::FORBIDDEN);
    // The right one is seen at once.
    world.attest(&world.builder, &arm64.manifest);
    assert_eq!(manifest(&proxy, arm64.manifest.digest).await.status, StatusCode::OK);
    assert_eq!(blob(&proxy, &arm64.layers[0]).await, StatusCode::OK);
}

#[tokio::test]
async fn an_attestation_that_cannot_be_looked_for_is_not_missing() {
    let world = world().await;
    let [amd64, arm64] = world.image.platforms.as_slice() else { panic!("two platforms") };
    let proxy = world.start().await;
    assert_eq!(manifest(&proxy, "1.0").await.status, StatusCode::OK);
    world.upstream.misbehave(PathMatch::referrers(), Misbehaviour::Status(500));
    for platform in [amd64, arm64] {
        let got = manifest(&proxy, platform.manifest.digest).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{got:?}");
    }
    // As an engine that kept the manifests, on a proxy that saw the index only.
    let fresh = world.start().await;
    world.upstream.behave();
    assert_eq!(manifest(&fresh, "1.0").await.status, StatusCode::OK);
    world.upstream.misbehave(PathMatch::referrers(), Misbehaviour::Status(500));
    for _ in 0..2 {
        assert_eq!(blob(&fresh, &amd64.layers[0]).await, StatusCode::SERVICE_UNAVAILABLE);
    }
    world.upstream.behave();
    assert_eq!(manifest(&proxy, amd64.manifest.digest).await.status, StatusCode::OK);
    assert!(manifest(&proxy, arm64.manifest.digest).await.is_refusal("MISSING_ATTESTATION"));
}

#[tokio::test]
async fn what_was_proven_needs_no_network_again_and_is_proven_again() {
    let world = world().await;
    let [amd64, arm64] = world.image.platforms.as_slice() else { panic!("two platforms") };
    let proxy = world.start().await;
    assert_eq!(manifest(&proxy, "1.0").await.status, StatusCode::OK);
    assert_eq!(manifest(&proxy, amd64.manifest.digest).await.status, StatusCode::OK);
    let folder = proxy.stop().await;
    world.upstream.misbehave(PathMatch::any(), Misbehaviour::Close);
    let proxy = Setup::new(world.policy(Enforcement::Enforce)).start_in(&world.upstream, folder).await;
    assert_eq!(manifest(&proxy, amd64.manifest.digest).await.status, StatusCode::OK, "from the record");
    let folder = proxy.stop().await;

    // Somebody writes into the ledger that what speaks for one platform speaks for the other.
    let ledger = rusqlite::Connection::open(folder.path().join("ledger.sqlite")).unwrap();
    let (from, to) = (amd64.manifest.digest.to_string(), arm64.manifest.digest.to_string());
    let sql = "INSERT INTO attested SELECT repository, ?2, proven_at, proofs FROM attested WHERE digest = ?1";
    assert_eq!(ledger.execute(sql, [&from, &to]).unwrap(), 1);
    drop(ledger);
    world.upstream.behave();
    let proxy = Setup::new(world.policy(Enforcement::Enforce)).start_in(&world.upstream, folder).await;
    let got = manifest(&proxy, arm64.manifest.digest).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN, "{got:?}");
    assert_eq!(manifest(&proxy, amd64.manifest.digest).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_costs_one_search_for_attestations() {
    let world = world().await;
    let amd64 = &world.image.platforms[0];
    let proxy = world.start().await;
    assert_eq!(manifest(&proxy, "1.0").await.status, StatusCode::OK);
    let searches = PathMatch::containing(&format!("/referrers/{}", amd64.manifest.digest));
    let gate = Gate::new();
    world.upstream.misbehave(searches.clone(), Misbehaviour::HoldHeaders(gate.clone()));
    let blobs = join_all((0..20).map(|_| blob(&proxy, &amd64.layers[0])));
    let manifests = join_all((0..20).map(|_| manifest(&proxy, amd64.manifest.digest)));
    let open = async {
        gate.wait_started(1).await;
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        gate.release();
    };
    let (blobs, manifests, ()) = tokio::join!(blobs, manifests, open);
    assert!(blobs.iter().all(|status| *status == StatusCode::OK), "{blobs:?}");
    assert!(manifests.iter().all(|got| got.status == StatusCode::OK));
    assert_eq!(world.upstream.count(&searches), 1);
}

#[tokio::test]
async fn audit_serves_a_platform_that_lacks_something_and_says_so() {
    let world = world().await;
    let [amd64, arm64] = world.image.platforms.as_slice() else { panic!("two platforms") };
    let proxy = Setup::new(world.policy(Enforcement::Audit)).start(&world.upstream).await;
    for (reference, verdict) in [
        ("1.0".to_owned(), "verified"),
        (amd64.manifest.digest.to_string(), "verified"),
        (arm64.manifest.digest.to_string(), "audit"),
    ] {
        let got = manifest(&proxy, &reference).await;
        assert_eq!(got.status, StatusCode::OK, "{reference}: {got:?}");
        assert!(got.header("assay-verdict").starts_with(verdict), "{reference}: {}", got.header("assay-verdict"));
    }
    assert_eq!(blob(&proxy, &arm64.layers[0]).await, StatusCode::OK);
}

#[tokio::test]
async fn only_what_runs_nowhere_needs_no_attestation() {
    let world = world().await;
    let amd64 = &world.image.platforms[0];
    let unknown = Platform { os: "unknown".to_owned(), architecture: "unknown".to_owned(), variant: None };
    let shelf = world.upstream.registry();
    let statement = Document::new("application/vnd.in-toto+json", b"{}".to_vec());
    shelf.put_blob("app", statement.bytes.clone());
    let buildkit = |layers: serde_json::Value| {
        Document::json(
            OCI_MANIFEST,
            &json!({
                "schemaVersion": 2, "mediaType": OCI_MANIFEST,
                "config": amd64.config.descriptor(), "layers": layers,
            }),
        )
    };
    let attestation = buildkit(json!([statement.descriptor()]));
    let disguised = buildkit(json!([statement.descriptor(), amd64.layers[0].descriptor()]));
    let twice = buildkit(json!([statement.descriptor(), statement.descriptor()]));
    let entry = |document: &Document, platform: &Platform| Descriptor {
        platform: Some(platform.clone()),
        ..document.descriptor()
    };
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        entry(&amd64.manifest, &amd64.platform),
        entry(&attestation, &unknown),
        entry(&disguised, &unknown),
        entry(&twice, &unknown),
        entry(&twice, &amd64.platform),
    ]});
    let index = Document::json(OCI_INDEX, &index);
    for document in [&attestation, &disguised, &twice] {
        shelf.put_manifest("app", &document.digest.to_string(), document.clone());
    }
    shelf.put_manifest("app", "2.0", index.clone());
    shelf.push_artefact("app", &world.signer.bundle(&index));
    let proxy = world.start().await;
    assert_eq!(manifest(&proxy, "2.0").await.status, StatusCode::OK);
    assert_eq!(manifest(&proxy, attestation.digest).await.status, StatusCode::OK, "BuildKit's attestations");
    assert_eq!(blob(&proxy, &statement).await, StatusCode::OK);
    let got = manifest(&proxy, disguised.digest).await;
    assert!(got.is_refusal("MISSING_ATTESTATION"), "layers that an engine could unpack: {got:?}");
    let got = manifest(&proxy, twice.digest).await;
    assert!(got.is_refusal("MISSING_ATTESTATION"), "named for a machine, too: {got:?}");
}
