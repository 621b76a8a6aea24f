//! What a proof is good for: what the verified document names, each in its own kind, and nothing else.

use std::sync::Arc;

use assay::demo::{ClassicSignature, Document};
use assay::oci::Claim;
use assay::oci::media_type::OCI_MANIFEST;
use assay::oci::{Digest, Manifest};
use assay::trust::{Judgement, Material, Verified};
use serde_json::{Value, json};

use super::world::{LAYOUTS, REPOSITORY, Scene, WORLD, candidate, parse};

fn verified(manifest: &Manifest) -> Verified<Manifest> {
    let made = ClassicSignature::of(&WORLD.release, REPOSITORY, manifest.digest());
    let material = Material::Classic { payload: made.payload, annotations: made.annotations };
    let scene = Scene { manifest: manifest.clone(), ..Scene::with([candidate("tag .sig", material)]) };
    let Judgement::Allow(verified) = scene.judge() else { panic!("signed") };
    verified
}

#[test]
fn an_index_admits_its_manifests_and_no_blobs() {
    for layout in LAYOUTS {
        let Judgement::Allow(index) = Scene::honest(layout).judge() else { panic!("signed") };
        let named: Vec<Digest> = index.manifests().map(|admitted| admitted.digest()).collect();
        let built: Vec<Digest> = WORLD.image.platforms.iter().map(|platform| platform.manifest.digest).collect();
        assert_eq!(named, built);
        for platform in &WORLD.image.platforms {
            assert!(index.manifest(platform.manifest.digest).is_some());
            for document in platform.documents() {
                assert!(
                    index.blob(document.digest).is_none(),
                    "a manifest is no blob, and its blobs are not the index's"
                );
            }
            for blob in platform.documents().skip(1) {
                assert!(index.manifest(blob.digest).is_none());
            }
        }
        assert!(index.manifest(index.get().digest()).is_none(), "it does not name itself");
        assert!(index.blob(index.get().digest()).is_none());
        assert!(index.manifest(WORLD.other_image.platforms[0].manifest.digest).is_none());
    }
}

#[test]
fn an_image_admits_its_blobs_and_no_manifests() {
    let platform = &WORLD.image.platforms[0];
    let image = verified(&WORLD.child());
    assert_eq!(image.manifests().count(), 0);
    for blob in platform.documents().skip(1) {
        let admitted = image.blob(blob.digest).expect("config and layers");
        assert_eq!(admitted.claim(), Claim { digest: blob.digest, size: blob.bytes.len() as u64 });
        assert!(Arc::ptr_eq(admitted.verdict(), image.verdict()));
        assert!(image.manifest(blob.digest).is_none());
    }
    assert!(image.blob(platform.manifest.digest).is_none());
    for other in WORLD.other_image.platforms[0].documents() {
        assert!(image.blob(other.digest).is_none());
    }
}

/// What a signer packed into a layer was never meant to be an index.
#[test]
fn a_layer_that_reads_as_an_index_is_only_a_layer() {
    let inner = &WORLD.other_image.index;
    let mut outer: Value = serde_json::from_slice(&WORLD.image.platforms[0].manifest.bytes).unwrap();
    outer["layers"] = json!([inner.descriptor()]);
    outer["config"] = json!(WORLD.other_image.platforms[0].manifest.descriptor());
    let image = verified(&parse(&Document::json(OCI_MANIFEST, &outer).bytes));
    for digest in [inner.digest, WORLD.other_image.platforms[0].manifest.digest] {
        assert!(image.manifest(digest).is_none());
        assert!(image.blob(digest).is_some(), "the honest sibling: it is content");
    }
    assert_eq!(image.manifests().count(), 0);
}

/// What an image or an index is about is not what it is made of.
#[test]
fn a_subject_is_not_admitted() {
    for bytes in [&WORLD.image.index.bytes, &WORLD.image.platforms[0].manifest.bytes] {
        let mut about: Value = serde_json::from_slice(bytes).unwrap();
        about["subject"] = json!(WORLD.other_image.index.descriptor());
        let proof = verified(&parse(&about.to_string().into()));
        assert!(proof.manifest(WORLD.other_image.index.digest).is_none());
        assert!(proof.blob(WORLD.other_image.index.digest).is_none());
    }
}

#[test]
fn only_the_named_bytes_open_an_admission() {
    let index = verified(&WORLD.index());
    let admitted = index.manifest(WORLD.child().digest()).unwrap();
    let opened = admitted.clone().open(WORLD.child()).unwrap();
    assert_eq!(opened.get().bytes(), &WORLD.image.platforms[0].manifest.bytes);
    assert!(Arc::ptr_eq(opened.verdict(), index.verdict()), "the verdict is that of the signed index");
    assert_eq!(opened.repository().to_string(), REPOSITORY);
    let config = WORLD.image.platforms[0].config.digest;
    assert!(opened.blob(config).is_some());

    let spaced = [&WORLD.image.platforms[0].manifest.bytes[..], b"\n"].concat();
    for other in [
        parse(&WORLD.image.platforms[1].manifest.bytes),
        parse(&WORLD.other_image.platforms[0].manifest.bytes),
        WORLD.index(),
        parse(&spaced.into()),
    ] {
        let mismatch = admitted.clone().open(other.clone()).expect_err("row 21: other bytes");
        assert_eq!((mismatch.want, mismatch.got), (WORLD.child().digest(), other.digest()));
    }
}

/// Row 22: a document that two readers take for two things proves nothing, whoever signed it.
#[test]
fn a_document_that_is_two_things_is_no_manifest() {
    let index: Value = serde_json::from_slice(&WORLD.image.index.bytes).unwrap();
    let image: Value = serde_json::from_slice(&WORLD.image.platforms[0].manifest.bytes).unwrap();
    let mut both = index.clone();
    both["config"] = image["config"].clone();
    both["layers"] = image["layers"].clone();
    let mut schema1 = index.clone();
    schema1["fsLayers"] = json!([]);
    let text = |value: &Value| value.to_string();
    let folded = text(&image).replacen("\"layers\"", "\"Layers\":[],\"layers\"", 1);
    let twice = text(&index).replacen("\"manifests\"", "\"manifests\":[],\"manifests\"", 1);
    let mut odd_digest = image.clone();
    odd_digest["layers"][0]["digest"] = json!("sha256:../../etc/passwd");
    let mut negative = image.clone();
    negative["layers"][0]["size"] = json!(-1);
    for (name, document, sent_as) in [
        ("both", text(&both), None),
        ("both, sent as an image", text(&both), Some(OCI_MANIFEST)),
        ("with fsLayers", text(&schema1), None),
        ("an index sent as an image", text(&index), Some(OCI_MANIFEST)),
        ("a key in two spellings", folded, None),
        ("a key twice", twice, None),
        ("row 23: a digest that is a path", text(&odd_digest), None),
        ("row 23: a negative size", text(&negative), None),
        ("a byte-order mark", format!("\u{feff}{}", text(&index)), None),
        ("two documents", format!("{}{}", text(&index), text(&image)), None),
    ] {
        assert!(Manifest::parse(document.into(), sent_as).is_err(), "{name}");
    }
    assert!(Manifest::parse(text(&image).into(), Some(OCI_MANIFEST)).is_ok(), "the honest sibling");
}
