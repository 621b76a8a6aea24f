//! Keyless images over real HTTP: what upstream says about them, hides, changes on the way, or never stops saying.

use std::time::{Duration, Instant};

use assay::demo::{Artefact, BuiltImage, Document, classic_artefact};
use assay::oci::Digest;
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST};
use assay::trust::{Demand, Enforcement, Formats, Policy, TrustRoot};
use http::StatusCode;
use serde_json::json;

use super::case::{By, Case, Form, trusted, workflow};
use crate::pull::image;
use crate::support::client::{Got, get, head};
use crate::support::proxy::rule;
use crate::support::sigstore::{CertificateRequest, OTHER_SIGSTORE, SIGSTORE, Signed};
use crate::support::{Misbehaviour, NastyUpstream, PathMatch, Proxy, Setup};

/// Longest answer of all that is here; the search's own deadline is 4 s.
const IN_TIME: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// The classic tag.
    Classic,
    /// The referrers API.
    Referrers,
    /// The fallback tag.
    FallbackTag,
}

const EVERYWHERE: [Where; 3] = [Where::Classic, Where::Referrers, Where::FallbackTag];

struct World {
    upstream: NastyUpstream,
    proxy: Proxy,
    image: BuiltImage,
    at: Where,
}

fn demand() -> Demand {
    let roots: Vec<TrustRoot> = vec![trusted("private", &SIGSTORE.trusted_root())];
    Demand { signers: vec![workflow()], roots, ..Demand::default() }
}

/// Honest, but about this image.
fn honest(at: Where, image: &BuiltImage) -> Case {
    let form = if at == Where::Classic { Form::Classic } else { Form::Stamped };
    Case::honest((form, By::Keyless)).about(image.index.digest)
}

fn artefact(at: Where, image: &BuiltImage, signed: &Signed) -> Artefact {
    match at {
        Where::Classic => classic_artefact(image.index.digest, &[signed.classic_layer()]),
        Where::Referrers | Where::FallbackTag => signed.referrer(&image.index),
    }
}

impl World {
    /// An image whose signature is changed by `change`, and a rule that is changed by `rules`.
    async fn with(at: Where, change: fn(&mut Case), rules: fn(&mut Demand)) -> Self {
        let (upstream, image) = (NastyUpstream::start().await, image("keyless"));
        upstream.registry().set_referrers_api(at != Where::FallbackTag);
        upstream.registry().push_image("app", "1.0", &image);
        let mut case = honest(at, &image);
        change(&mut case);
        let signed = (case.edit)(case.signed(), &case);
        push(&upstream, at, &image, artefact(at, &image, &signed));
        let mut demand = demand();
        rules(&mut demand);
        let policy = Policy::new(vec![rule("test", "**", Enforcement::Enforce(demand))], None);
        let proxy = Setup::new(policy).start(&upstream).await;
        Self { upstream, proxy, image, at }
    }

    async fn honest(at: Where) -> Self {
        Self::with(at, |_| {}, |_| {}).await
    }

    async fn tag(&self) -> Got {
        get(self.proxy.address, &self.proxy.manifest_path("app", "1.0")).await
    }

    /// What signs, where it lies upstream.
    fn signature_blobs(&self) -> Vec<PathMatch> {
        let case = honest(self.at, &self.image);
        let signed = case.signed();
        match self.at {
            // The payload has no randomness in it.
            Where::Classic => vec![PathMatch::blob(Digest::of(&signed.stored().bytes))],
            _ => vec![PathMatch::any_blob()],
        }
    }
}

fn push(upstream: &NastyUpstream, at: Where, image: &BuiltImage, artefact: Artefact) {
    upstream.registry().push_artefact("app", &artefact);
    if at == Where::FallbackTag {
        let entry = json!({
            "mediaType": OCI_MANIFEST, "digest": artefact.manifest.digest, "size": artefact.manifest.bytes.len(),
            "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        });
        let index = json!({
            "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry],
        });
        let tag = format!("sha256-{}", image.index.digest.hex());
        upstream.registry().put_manifest("app", &tag, Document::json(OCI_INDEX, &index));
    }
}

/// By tag, by index digest, by platform digest, and a layer.
async fn answers(world: &World) -> Vec<(String, Got)> {
    let platform = world.image.platform("amd64").unwrap();
    let manifest = |reference: String| world.proxy.manifest_path("app", reference);
    let paths = [
        manifest("1.0".to_owned()),
        manifest(world.image.index.digest.to_string()),
        manifest(platform.manifest.digest.to_string()),
        world.proxy.blob_path("app", platform.config.digest),
        world.proxy.blob_path("app", platform.layers[0].digest),
    ];
    let mut answers = Vec::new();
    for path in paths {
        answers.push((format!("GET {path}"), get(world.proxy.address, &path).await));
        answers.push((format!("HEAD {path}"), head(world.proxy.address, &path).await));
    }
    answers
}

/// One thing that somebody without the right to sign does, and the code of the refusal.
pub struct Stranger {
    pub number: u8,
    pub name: &'static str,
    change: fn(&mut Case),
    code: [&'static str; 2],
}

const fn stranger(number: u8, name: &'static str, change: fn(&mut Case), code: [&'static str; 2]) -> Stranger {
    Stranger { number, name, change, code }
}

/// Each in both layouts and in all three places; the codes of a classic signature and of a bundle.
pub const STRANGERS: &[Stranger] = &[
    stranger(
        20,
        "by another repository's workflow",
        |c| c.request = CertificateRequest::github("acme-evil/app", "release.yml", "refs/tags/v1.0.0"),
        ["WRONG_IDENTITY"; 2],
    ),
    stranger(
        29,
        "under another Sigstore of the same names",
        |c| c.sigstore = &OTHER_SIGSTORE,
        ["NOT_IN_LOG", "NO_SIGNING_TIME"],
    ),
    stranger(16, "in no log", |c| c.edit = |signed, _| signed.without_log_entry(), ["NOT_IN_LOG"; 2]),
    stranger(
        1,
        "with another signature's log entry",
        |c| c.edit = |signed, case| signed.swap_log_entry_with(&case.with_another_key().signed()),
        ["NOT_IN_LOG"; 2],
    ),
    stranger(26, "about another image", |c| *c = c.about(super::case::other()), ["WRONG_SUBJECT"; 2]),
];

/// Classic tag, referrers API and fallback tag.
pub const PLACES: usize = EVERYWHERE.len();

#[tokio::test]
async fn a_keyless_image_is_served_on_every_path_wherever_its_signature_lies() {
    for at in EVERYWHERE {
        let world = World::honest(at).await;
        for (path, got) in answers(&world).await {
            assert_eq!(got.status, StatusCode::OK, "{at:?} {path}: {}", got.message());
        }
        assert_eq!(world.tag().await.body, world.image.index.bytes);
    }
}

#[tokio::test]
async fn what_strangers_sign_is_refused_on_every_path() {
    for at in EVERYWHERE {
        for Stranger { number, name, change, code } in STRANGERS {
            let world = World::with(at, *change, |_| {}).await;
            let code = if at == Where::Classic { code[0] } else { code[1] };
            for (path, got) in answers(&world).await {
                assert_eq!(got.status, StatusCode::FORBIDDEN, "row {number}, {name}, {at:?} {path}");
                // A platform's own digest is looked up by itself, and a blob only in what was admitted.
                let by_name =
                    path.contains("GET") && (path.contains("1.0") || path.contains(&world.image.index.digest.hex()));
                assert!(!by_name || got.is_refusal(code), "row {number}, {name}, {at:?} {path}: {}", got.message());
            }
            let layer = world.image.platform("amd64").unwrap().layers[0].digest;
            assert_eq!(world.upstream.count(&PathMatch::blob(layer)), 0, "{name}: the layer was fetched");
        }
    }
}

/// What upstream does, and what comes of it.
pub struct Lie {
    pub number: u8,
    pub name: &'static str,
    at: Where,
    does: fn(&World),
    rules: fn(&mut Demand),
    /// The refusal's code, or `503`.
    code: &'static str,
}

const fn lie(number: u8, name: &'static str, at: Where, does: fn(&World), code: &'static str) -> Lie {
    Lie { number, name, at, does, rules: |_| {}, code }
}

fn misbehave(world: &World, wrong: &Misbehaviour) {
    for blob in world.signature_blobs() {
        world.upstream.misbehave(blob, wrong.clone());
    }
}

/// The classic manifest with its signature changed on its way up.
fn with_layers(world: &World, change: impl FnOnce(&mut serde_json::Value)) {
    let signed = honest(Where::Classic, &world.image).signed();
    let honest = artefact(Where::Classic, &world.image, &signed);
    for blob in &honest.blobs {
        world.upstream.registry().put_blob("app", blob.bytes.clone());
    }
    let mut manifest: serde_json::Value = serde_json::from_slice(&honest.manifest.bytes).unwrap();
    change(&mut manifest["layers"]);
    let tag = format!("sha256-{}.sig", world.image.index.digest.hex());
    world.upstream.registry().put_manifest("app", &tag, Document::json(OCI_MANIFEST, &manifest));
}

/// Signatures that cost a look each.
fn thousand_strangers(layers: &mut serde_json::Value) {
    let good = layers[0].clone();
    let mut stranger = good.clone();
    stranger["annotations"] = json!({ assay::demo::SIGNATURE_ANNOTATION: "MEUCIQ==" });
    let mut all = vec![stranger; 1001];
    all.push(good);
    *layers = all.into();
}

fn hide_the_bundle(world: &World) {
    world.upstream.registry().set_referrers_api(true);
    world.upstream.misbehave(PathMatch::referrers(), Misbehaviour::Replace(no_referrers()));
}

fn no_referrers() -> Document {
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
    Document::json(OCI_INDEX, &index)
}

/// Upstream without them is honest and the image is served.
pub const LIES: &[Lie] = &[
    lie(
        8,
        "1001 signatures of strangers before the good one",
        Where::Classic,
        |w| with_layers(w, thousand_strangers),
        "only 64 of 1002 signatures are looked at",
    ),
    lie(
        8,
        "endless pages of referrers",
        Where::Referrers,
        |w| {
            hide_the_bundle(w);
            w.upstream.behave();
            w.upstream.registry().set_referrers_page(Some(1));
            for n in 0..40 {
                let signed = honest(Where::Referrers, &w.image);
                let signed = Case { request: CertificateRequest::email(&format!("{n}@evil.test")), ..signed }.signed();
                w.upstream.registry().push_artefact("app", &signed.referrer(&w.image.index));
            }
            w.upstream.misbehave(PathMatch::referrers(), Misbehaviour::EndlessPages);
        },
        "200",
    ),
    lie(
        9,
        "a payload of 10 GB",
        Where::Classic,
        |w| with_layers(w, |layers| layers[0]["size"] = json!(10_000_000_000_u64)),
        "OVER_LIMIT",
    ),
    lie(
        9,
        "a payload longer than its descriptor says",
        Where::Classic,
        |w| misbehave(w, &Misbehaviour::Longer(1)),
        "503",
    ),
    lie(9, "a payload that never ends", Where::Classic, |w| misbehave(w, &Misbehaviour::Endless), "503"),
    lie(9, "a payload in gzip", Where::Classic, |w| misbehave(w, &Misbehaviour::Gzip), "503"),
    lie(9, "a payload that stops", Where::Classic, |w| misbehave(w, &Misbehaviour::StallAfter(10)), "503"),
    lie(
        9,
        "a bundle longer than its descriptor says",
        Where::Referrers,
        |w| misbehave(w, &Misbehaviour::Longer(1)),
        "503",
    ),
    lie(9, "a bundle that never ends", Where::Referrers, |w| misbehave(w, &Misbehaviour::Endless), "503"),
    lie(9, "a bundle in gzip", Where::Referrers, |w| misbehave(w, &Misbehaviour::Gzip), "503"),
    lie(
        9,
        "a bundle that drips",
        Where::Referrers,
        |w| misbehave(w, &Misbehaviour::Drip { bytes: 10, every: Duration::from_millis(500) }),
        "503",
    ),
    lie(
        21,
        "a bundle with other bytes than its digest",
        Where::Referrers,
        |w| misbehave(w, &Misbehaviour::CorruptLast),
        "503",
    ),
    lie(
        21,
        "a payload with other bytes than its digest",
        Where::Classic,
        |w| misbehave(w, &Misbehaviour::CorruptFirst),
        "503",
    ),
    lie(
        21,
        "the tag hands out another image than it named",
        Where::Referrers,
        |w| {
            w.upstream.misbehave(PathMatch::manifest("1.0"), Misbehaviour::Replace(image("evil").index.clone()));
        },
        "NO_SIGNATURE|503|honest",
    ),
    lie(
        21,
        "the index's digest hands out another image",
        Where::Referrers,
        |w| {
            let path = PathMatch::manifest(w.image.index.digest);
            w.upstream.misbehave(path, Misbehaviour::Replace(image("evil").index.clone()));
        },
        "502|503|honest",
    ),
    lie(
        25,
        "the referrers cannot be had",
        Where::Referrers,
        |w| w.upstream.misbehave(PathMatch::referrers(), Misbehaviour::Status(500)),
        "503",
    ),
    lie(25, "the referrers are hidden", Where::Referrers, hide_the_bundle, "NO_SIGNATURE"),
    lie(
        25,
        "the fallback tag cannot be had",
        Where::FallbackTag,
        |w| {
            let tag = format!("sha256-{}", w.image.index.digest.hex());
            w.upstream.misbehave(PathMatch::manifest(tag), Misbehaviour::Status(503));
        },
        "503",
    ),
    lie(
        25,
        "the classic tag cannot be had",
        Where::Classic,
        |w| w.upstream.misbehave(PathMatch::containing(".sig"), Misbehaviour::Status(502)),
        "503",
    ),
    Lie {
        rules: |demand| demand.formats = Formats { classic: false, bundle: true },
        ..lie(
            25,
            "the bundle is hidden and a classic signature is left, which the rule no longer accepts",
            Where::Referrers,
            |w| {
                hide_the_bundle(w);
                with_layers(w, |_| {});
            },
            "FORMAT_NOT_ACCEPTED",
        )
    },
];

#[tokio::test]
async fn what_upstream_says_is_worth_what_can_be_checked() {
    let mut wrong = Vec::new();
    for Lie { number, name, at, does, rules, code } in LIES {
        let sibling = World::with(*at, |_| {}, *rules).await;
        assert_eq!(sibling.tag().await.body, sibling.image.index.bytes, "the honest sibling of {name}");
        let world = World::with(*at, |_| {}, *rules).await;
        does(&world);
        let started = Instant::now();
        let got = world.tag().await;
        let answer = match got.status.as_u16() {
            200 if got.body == world.image.index.bytes => "honest".to_owned(),
            200 => "SERVED SOMETHING ELSE".to_owned(),
            403 => got.message(),
            other => other.to_string(),
        };
        println!("row {number}, {name}: {answer}");
        let expected = code.replace("200", "honest");
        if !expected.split('|').any(|code| answer.contains(code)) || started.elapsed() > IN_TIME {
            wrong.push(format!("row {number}, {name}: {answer} after {:?}, expected {code}", started.elapsed()));
        }
        let asked = world.upstream.requests().len();
        if asked > 200 {
            wrong.push(format!("row {number}, {name}: {asked} requests"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Row 24, over a tag that was asked for before: then a HEAD says where it leads, and what lies there is judged.
#[tokio::test]
async fn a_digest_header_that_lies_leads_to_nothing_that_is_not_signed() {
    for at in EVERYWHERE {
        let world = World::honest(at).await;
        let evil = image("evil");
        world.upstream.registry().push_image("app", "evil", &evil);
        let says = |digest: Digest| Misbehaviour::Header("docker-content-digest", digest.to_string());
        // At first the document comes along, and its own digest counts.
        world.upstream.misbehave(PathMatch::manifest("1.0"), says(evil.index.digest));
        let got = world.tag().await;
        assert_eq!(
            (got.header("docker-content-digest"), &got.body),
            (&*world.image.index.digest.to_string(), &world.image.index.bytes)
        );
        assert!(world.tag().await.is_refusal("NO_SIGNATURE"), "{at:?}");
        world.upstream.behave();
        world.upstream.misbehave(PathMatch::manifest("1.0"), says(world.image.index.digest));
        assert_eq!(world.tag().await.body, world.image.index.bytes, "{at:?}: the honest sibling");
    }
}

/// The sibling of the last row above: with a rule that accepts both layouts, what is left is enough.
#[tokio::test]
async fn a_classic_signature_is_enough_where_the_rule_accepts_it() {
    let world = World::honest(Where::Referrers).await;
    hide_the_bundle(&world);
    with_layers(&world, |_| {});
    assert_eq!(world.tag().await.status, StatusCode::OK);
}
