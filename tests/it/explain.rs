//! What `explain` says in situations that somebody may have to understand at three in the morning: real signatures of a
//! private Sigstore, in a real registry, judged as for a pull.
//!
//! Digests of signatures differ from run to run, so digests are shown by what they stand for.

use std::collections::{BTreeMap, BTreeSet};

use assay::cli::{Asked, Place, Report};
use assay::demo::{BuiltImage, Signer as DemoSigner, Statement};
use assay::oci::{Digest, ImageName};
use assay::pull::Puller;
use assay::tasks::Tasks;
use assay::trust::{
    About, AttestationDemand, Demand, Enforcement, IdentitySigner, KeySigner, Matcher, Policy, PublicKey, Require,
    Rule, Signer, Terms, Tlog, TrustRoot,
};
use insta::assert_snapshot;
use serde_json::json;

use crate::pull::image;
use crate::support::client::get;
use crate::support::proxy::rule;
use crate::support::sigstore::{CertificateRequest, GITHUB, OTHER_SIGSTORE, SIGSTORE, Signed};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, REGISTRY, Setup};

const RELEASES: &str = r"https://github\.com/acme/[^/]+/\.github/workflows/release\.yml@refs/tags/v[0-9.]+";
const SLSA: &str = "https://slsa.dev/provenance/v1";

struct World {
    upstream: NastyUpstream,
    image: BuiltImage,
}

impl World {
    async fn new() -> Self {
        let world = Self { upstream: NastyUpstream::start().await, image: image("Hello") };
        world.upstream.registry().push_image("app", "1.9", &world.image);
        world
    }

    /// A world in which somebody signed the image.
    async fn signed(by: &CertificateRequest) -> Self {
        let world = Self::new().await;
        world.attach(&SIGSTORE.sign_bundle(&SIGSTORE.issue(by), world.subject()));
        world
    }

    fn subject(&self) -> Digest {
        self.image.index.digest
    }

    fn attach(&self, signed: &Signed) {
        self.upstream.registry().push_artefact("app", &signed.referrer(&self.image.index));
    }

    /// What `explain` prints for the image's tag.
    async fn explain(&self, rule: Rule) -> String {
        self.explain_at(rule, "1.9", async |_: &Puller| {}).await
    }

    /// The same for any reference, with a look at the puller before.
    async fn explain_at(&self, rule: Rule, reference: &str, before: impl AsyncFnOnce(&Puller)) -> String {
        let name: ImageName = match reference.contains(':') {
            true => format!("{REGISTRY}/app@{reference}"),
            false => format!("{REGISTRY}/app:{reference}"),
        }
        .parse()
        .unwrap();
        let policy = Policy::new(vec![rule], None);
        let asked = Asked {
            shown: name.to_string(),
            repository: name.repository.clone(),
            policy: policy.clone(),
            by_arguments: false,
            place: Place::Registry { host: "registry.acme.test".to_owned(), plain_http: false },
            root_files: BTreeMap::from([("private".to_owned(), "private_root.json".to_owned())]),
        };
        let (folder, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let puller = Setup::new(policy).puller(&self.upstream, folder.path(), &tasks);
        before(&puller).await;
        let result = puller.explain(&name.repository, &name.reference).await;
        let report = Report::new(&asked, &result);
        let json = report.json();
        assert_eq!(json["schema"], "assay.verify/v1");
        format!("{}\nexit {}", self.readable(&report.text(true)), json["exit"])
    }

    /// Digests and addresses by what they stand for.
    fn readable(&self, text: &str) -> String {
        let mut text = text.replace(&self.upstream.address().to_string(), "127.0.0.1:PORT");
        text = text.replace(&self.subject().hex(), "<index>");
        for platform in &self.image.platforms {
            text = text.replace(&platform.manifest.digest.hex(), &format!("<{}>", platform.platform.architecture));
        }
        // The log is shared by all tests.
        text = regex::Regex::new("entry [0-9]+ of").unwrap().replace_all(&text, "entry <N> of").into_owned();
        let digests = regex::Regex::new("[0-9a-f]{64}").unwrap();
        let others: Vec<String> = digests.find_iter(&text).map(|found| found.as_str().to_owned()).collect();
        let mut seen = BTreeSet::new();
        for hex in others {
            if seen.insert(hex.clone()) {
                text = text.replace(&hex, &format!("<{}>", seen.len()));
            }
        }
        text
    }
}

fn tag_build() -> CertificateRequest {
    CertificateRequest::github("acme/api", "release.yml", "refs/tags/v1.9")
}

fn root() -> TrustRoot {
    TrustRoot::from_json("private", SIGSTORE.trusted_root_json().as_bytes()).unwrap()
}

fn releases() -> Signer {
    let identity = Matcher::expression(RELEASES).unwrap();
    Signer::Identity(IdentitySigner {
        name: "acme releases".to_owned(),
        ..IdentitySigner::new(Matcher::exact(GITHUB), identity)
    })
}

fn demand() -> Demand {
    Demand { signers: vec![releases()], roots: vec![root()], ..Demand::default() }
}

fn acme(demand: Demand) -> Rule {
    rule("acme", "**", Enforcement::Enforce(demand))
}

fn key(name: &str, signer: &DemoSigner) -> Signer {
    let key = PublicKey::from_pem(&signer.public_key_pem()).unwrap();
    Signer::Key(KeySigner { name: name.to_owned(), key, not_before: None, not_after: None })
}

#[tokio::test]
async fn signed_by_the_workflow_that_the_rule_names() {
    let world = World::signed(&tag_build()).await;
    assert_snapshot!(world.explain(acme(demand())).await);
}

#[tokio::test]
async fn a_platform_that_its_index_vouches_for() {
    let world = World::signed(&tag_build()).await;
    let arm = world.image.platform("arm64").unwrap().manifest.digest.to_string();
    let pulled: ImageName = format!("{REGISTRY}/app:1.9").parse().unwrap();
    let pull = async |puller: &Puller| {
        puller.explain(&pulled.repository, &pulled.reference).await.unwrap();
    };
    assert_snapshot!(world.explain_at(acme(demand()), &arm, pull).await);
}

#[tokio::test]
async fn built_from_a_branch_where_the_rule_wants_a_tag() {
    let world = World::signed(&CertificateRequest::github("acme/api", "release.yml", "refs/heads/dev")).await;
    assert_snapshot!(world.explain(acme(demand())).await);
}

#[tokio::test]
async fn clients_hear_the_same_next_step_as_whoever_asks_for_an_explanation() {
    let world = World::signed(&CertificateRequest::github("acme/api", "release.yml", "refs/heads/dev")).await;
    let proxy = Setup::new(Policy::new(vec![acme(demand())], None)).start(&world.upstream).await;
    let refused = get(proxy.address, &proxy.manifest_path("app", "1.9")).await;
    assert!(refused.is_refusal("WRONG_IDENTITY"), "{refused:?}");
    let text = String::from_utf8_lossy(&refused.body).into_owned();
    assert!(text.contains("Next step: it was built from branch `dev`"), "{text}");
    proxy.stop().await;
}

#[tokio::test]
async fn another_issuer_vouches_for_the_same_name() {
    let identity = "https://github.com/acme/api/.github/workflows/release.yml@refs/tags/v1.9";
    let world = World::signed(&CertificateRequest::uri(identity, "https://token.actions.example.com")).await;
    let more = IdentitySigner::new(Matcher::exact("https://accounts.acme.test"), Matcher::exact("me@acme.test"));
    let demand = Demand { signers: vec![releases(), Signer::Identity(more)], ..demand() };
    assert_snapshot!(world.explain(acme(demand)).await);
}

#[tokio::test]
async fn nobody_signed_it() {
    assert_snapshot!(World::new().await.explain(acme(demand())).await);
}

#[tokio::test]
async fn a_key_signed_it_and_the_rule_names_an_identity() {
    let world = World::new().await;
    let stranger = DemoSigner::generate().unwrap();
    world.upstream.registry().push_artefact("app", &stranger.bundle(&world.image.index));
    assert_snapshot!(world.explain(acme(demand())).await);
}

#[tokio::test]
async fn an_identity_signed_it_and_the_rule_names_a_key() {
    let world = World::signed(&tag_build()).await;
    let demand = Demand { signers: vec![key("acme.pub", &DemoSigner::generate().unwrap())], ..demand() };
    assert_snapshot!(world.explain(acme(demand)).await);
}

#[tokio::test]
async fn where_signatures_lie_could_not_be_looked_at() {
    let world = World::signed(&tag_build()).await;
    world.upstream.misbehave(PathMatch::referrers(), Misbehaviour::Status(503));
    assert_snapshot!(world.explain(acme(demand())).await);
}

#[tokio::test]
async fn there_is_only_an_attestation() {
    let world = World::new().await;
    let statement = Statement::attestation(world.subject(), SLSA, json!({}));
    world.attach(&SIGSTORE.attest(&SIGSTORE.issue(&tag_build()), &statement));
    assert_snapshot!(world.explain(acme(demand())).await);
}

#[tokio::test]
async fn signed_under_another_sigstore() {
    let world = World::new().await;
    world.attach(&OTHER_SIGSTORE.sign_bundle(&OTHER_SIGSTORE.issue(&tag_build()), world.subject()));
    assert_snapshot!(world.explain(acme(demand())).await);
}

#[tokio::test]
async fn signed_with_the_right_key_and_not_in_the_log() {
    let (world, signer) = (World::new().await, DemoSigner::generate().unwrap());
    world.upstream.registry().push_artefact("app", &signer.bundle(&world.image.index));
    let demand = |tlog| Demand { signers: vec![key("acme.pub", &signer)], tlog, ..demand() };
    assert_snapshot!("not_in_the_log", world.explain(acme(demand(Tlog::Required))).await);
    assert_snapshot!("no_log_asked_for", world.explain(acme(demand(Tlog::Off))).await);
}

#[tokio::test]
async fn no_rule_is_about_it() {
    let world = World::signed(&tag_build()).await;
    assert_snapshot!(world.explain(rule("others", "another/**", Enforcement::Enforce(demand()))).await);
}

fn with_provenance() -> Demand {
    let asked = AttestationDemand {
        predicate_type: SLSA.to_owned(),
        about: About::Index,
        require: Require::Any,
        signers: vec![releases()],
        conditions: Vec::new(),
    };
    Demand { attestations: vec![asked], ..demand() }
}

#[tokio::test]
async fn signed_and_an_attestation_is_missing() {
    let world = World::signed(&tag_build()).await;
    assert_snapshot!("attestation_missing", world.explain(acme(with_provenance())).await);
    let statement = Statement::attestation(world.subject(), SLSA, json!({}));
    world.attach(&SIGSTORE.attest(&SIGSTORE.issue(&tag_build()), &statement));
    assert_snapshot!("attestation_there", world.explain(acme(with_provenance())).await);
}

#[tokio::test]
async fn an_attestation_alone_is_asked_for() {
    let world = World::new().await;
    let alone = || Demand { attestations_only: true, ..with_provenance() };
    let text = world.explain(acme(alone())).await;
    assert!(text.contains("NO_SIGNATURE") || text.contains("MISSING_ATTESTATION"), "{text}");
    let statement = Statement::attestation(world.subject(), SLSA, json!({}));
    world.attach(&SIGSTORE.attest(&SIGSTORE.issue(&tag_build()), &statement));
    assert_snapshot!(world.explain(acme(alone())).await);
    // What asks for no attestation asks for a signature, whatever else it says.
    let nothing = Demand { attestations_only: true, ..demand() };
    let text = world.explain(acme(nothing)).await;
    assert!(text.contains("NOT_A_SIGNATURE") && text.ends_with("exit 3"), "{text}");
}

#[tokio::test]
async fn audit_would_refuse_it() {
    let world = World::signed(&CertificateRequest::email("mallory@evil.test")).await;
    assert_snapshot!(world.explain(rule("acme", "**", Enforcement::Audit(demand()))).await);
}

#[tokio::test]
async fn its_digest_is_denied() {
    let world = World::signed(&tag_build()).await;
    let denied = Terms { denied_digests: [world.subject()].into(), ..Terms::default() };
    assert_snapshot!(world.explain(acme(demand()).with_terms(denied)).await);
}

#[tokio::test]
async fn there_is_no_such_tag() {
    let world = World::new().await;
    assert_snapshot!(world.explain_at(acme(demand()), "none", async |_: &Puller| {}).await);
}
