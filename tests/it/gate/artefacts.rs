//! What passes without a signature of its own because it is one, and what only says so.

use assay::demo::{
    Artefact, BUNDLE_TYPE, BuiltPlatform, BundleSignature, ClassicSignature, Document, Referrer, Statement,
    classic_artefact,
};
use assay::oci::media_type::{OCI_INDEX, OCI_MANIFEST, SIMPLE_SIGNING};
use assay::oci::{Descriptor, Digest};
use assay::trust::artefact::NotAnArtefact;
use assay::trust::{self, Decision, Inspected, pass_artefact};
use serde_json::{Value, json};

use super::world::{LAYOUTS, REPOSITORY, Scene, WORLD, assert_none, at, parse, repository};

const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn pass(manifest: &Document) -> Result<trust::Artefact, NotAnArtefact> {
    let scene = Scene::honest(LAYOUTS[0]);
    pass_artefact(parse(&manifest.bytes), &repository(REPOSITORY), &scene.rule(), at("2026-06-01T00:00:00Z"))
}

/// The manifest passes, and each blob that it names.
fn passes_whole(artefact: &Artefact) -> Result<(), String> {
    let passed = pass(&artefact.manifest).map_err(|why| why.to_string())?;
    assert_eq!(passed.verdict().decision, Decision::Artefact);
    for blob in &artefact.blobs {
        let inspected = inspect(&passed, blob).map_err(|why| why.to_string())?;
        assert_eq!((inspected.bytes(), inspected.blob().claim().digest), (&blob.bytes, blob.digest));
    }
    Ok(())
}

fn inspect(passed: &trust::Artefact, blob: &Document) -> Result<Inspected, NotAnArtefact> {
    passed.blob(blob.digest).expect("named").inspect(blob.bytes.clone())
}

/// A manifest with these layers, all said to be of `media_type`, about the world's index or about nothing.
fn holding(media_type: &str, layers: &[&[u8]], subject: bool) -> Artefact {
    let layers = layers.iter().map(|bytes| Document::new(media_type, bytes.to_vec())).collect();
    let held = Document::new(media_type, "{}");
    let referrer = Referrer::holding(&WORLD.image.index, held, "x");
    let subject = subject.then(|| WORLD.image.index.descriptor());
    Referrer { layers, subject, ..referrer }.artefact()
}

fn bundle() -> Artefact {
    WORLD.release.bundle(&WORLD.image.index)
}

fn index(entries: Value) -> Document {
    Document::json(OCI_INDEX, &json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }))
}

fn entry(artifact_type: Option<&str>) -> Descriptor {
    Descriptor { artifact_type: artifact_type.map(str::to_owned), ..bundle().manifest.descriptor() }
}

fn platform() -> &'static BuiltPlatform {
    &WORLD.image.platforms[0]
}

#[test]
fn signature_artefacts_pass_whole() {
    let subject = WORLD.subject();
    let classic = ClassicSignature::of(&WORLD.release, REPOSITORY, subject);
    let keyless = {
        let mut keyless = classic.clone();
        keyless.annotations.insert("dev.sigstore.cosign/certificate".to_owned(), "PEM".to_owned());
        keyless
    };
    let attestation =
        BundleSignature::of(&WORLD.release, &Statement::attestation(subject, "https://slsa.dev/x", json!({})));
    let envelope = attestation.json()["dsseEnvelope"].to_string();
    let spdx: &[u8] = b"SPDXVersion: SPDX-2.3\nDataLicense: CC0-1.0\r\n\tx\n";
    let xml: &[u8] = b"<?xml version=\"1.0\"?>\n<bom>\xc3\xa9</bom>\n";
    let pem: &[u8] = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    for (name, artefact) in [
        ("classic", classic_artefact(subject, std::slice::from_ref(&classic))),
        ("classic, several", classic_artefact(subject, &[classic.clone(), keyless])),
        ("classic by a stranger", WORLD.stranger.classic("x", subject)),
        ("bundle", bundle()),
        ("bundle by a stranger", WORLD.stranger.bundle(&WORLD.image.index)),
        ("attestation as a bundle", attestation.referrer(&WORLD.image.index).artefact()),
        (".att", holding(DSSE, &[envelope.as_bytes()], false)),
        (".sbom, SPDX", holding("text/spdx", &[spdx], false)),
        (".sbom, SPDX as JSON", holding("text/spdx+json", &[b"{}"], false)),
        (".sbom, CycloneDX", holding("application/vnd.cyclonedx+xml", &[xml], false)),
        ("bundle under a tag", holding(BUNDLE_TYPE, &[b"{}"], false)),
        ("referrer with a type of its own", holding("application/vnd.acme.report", &[b"[1]", pem, b" {}\n"], true)),
    ] {
        assert_eq!(passes_whole(&artefact), Ok(()), "{name}");
    }
}

#[test]
fn the_list_of_referrers_passes_and_admits_nothing() {
    let list = index(json!([entry(Some(BUNDLE_TYPE)), entry(Some("x"))]));
    let passed = pass(&list).unwrap();
    assert!(passed.blob(bundle().manifest.digest).is_none());
}

#[test]
fn what_is_an_image_does_not_pass() {
    let subject = WORLD.image.index.descriptor();
    let with_layer = |media_type: &str, subject: bool| holding(media_type, &[b"{}"], subject).manifest;
    let mixed = {
        let layers = vec![Document::new(SIMPLE_SIGNING, "{}"), Document::new(LAYER, GZIP)];
        let referrer = Referrer::holding(&WORLD.image.index, Document::new(BUNDLE_TYPE, "{}"), "x");
        Referrer { layers, ..referrer }.artefact().manifest
    };
    let platforms: Vec<Descriptor> =
        serde_json::from_value(serde_json::from_slice::<Value>(&WORLD.image.index.bytes).unwrap()["manifests"].clone())
            .unwrap();
    let disguised: Vec<_> = platforms
        .iter()
        .map(|entry| Descriptor { artifact_type: Some(BUNDLE_TYPE.to_owned()), ..entry.clone() })
        .collect();
    let image_with_subject = {
        let mut image: Value = serde_json::from_slice(&platform().manifest.bytes).unwrap();
        image["subject"] = json!(subject);
        image["artifactType"] = json!(BUNDLE_TYPE);
        Document::json(OCI_MANIFEST, &image)
    };
    let mut wrong = Vec::new();
    for (name, manifest) in [
        ("an index", WORLD.image.index.clone()),
        ("an image", platform().manifest.clone()),
        ("an image that is about something", image_with_subject),
        ("an empty index", index(json!([]))),
        ("an index without artefact types", index(json!([entry(None)]))),
        ("an index with one artefact among images", index(json!([entry(Some(BUNDLE_TYPE)), entry(None)]))),
        ("an index of platforms with artefact types", index(json!(disguised))),
        ("no layers", holding(SIMPLE_SIGNING, &[], true).manifest),
        ("no layers and no subject", holding(SIMPLE_SIGNING, &[], false).manifest),
        ("a layer beside a payload", mixed),
        ("an OCI layer", with_layer(LAYER, true)),
        ("an OCI layer, not compressed", with_layer("application/vnd.oci.image.layer.v1.tar", true)),
        (
            "a layer nobody may pass on",
            with_layer("application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", true),
        ),
        ("a Docker layer", with_layer("application/vnd.docker.image.rootfs.diff.tar.gzip", true)),
        ("a foreign Docker layer", with_layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", true)),
        ("a layer in capitals", with_layer("Application/VND.OCI.Image.Layer.v1.tar", true)),
        ("a payload of any type under a tag", with_layer("application/vnd.acme.report", false)),
        ("a payload without type under a tag", with_layer("", false)),
        ("a payload type in capitals under a tag", with_layer("Text/SPDX", false)),
        ("a chart", with_layer("application/vnd.cncf.helm.chart.content.v1.tar+gzip", false)),
    ] {
        if !matches!(pass(&manifest), Err(NotAnArtefact::Form(_))) {
            wrong.push(format!("{name} passes"));
        }
    }
    assert_none(&wrong);
}

#[test]
fn a_payload_is_what_the_manifest_names() {
    let artefact = bundle();
    let passed = pass(&artefact.manifest).unwrap();
    let payload = &artefact.blobs[1];
    assert!(inspect(&passed, payload).is_ok());
    for other in [&payload.bytes[1..], &[&payload.bytes[..], b" "].concat(), b"", b"{}"] {
        let refused = passed.blob(payload.digest).unwrap().inspect(other.to_vec().into());
        assert!(matches!(refused, Err(NotAnArtefact::Mismatch(_))));
    }
    assert!(passed.blob(Digest::of(b"other")).is_none());
    assert!(passed.blob(WORLD.subject()).is_none(), "the subject is named, but not as content");

    // The size is part of the claim.
    let mut lying: Value = serde_json::from_slice(&artefact.manifest.bytes).unwrap();
    lying["layers"][0]["size"] = json!(payload.bytes.len() + 1);
    let passed = pass(&Document::json(OCI_MANIFEST, &lying)).unwrap();
    assert!(matches!(inspect(&passed, payload), Err(NotAnArtefact::Mismatch(_))));
}

/// The manifest calls them text; their bytes say otherwise.
#[test]
fn a_layer_called_a_document_does_not_pass() {
    let layer = &platform().layers[0].bytes;
    let elf = &[&[0x7f][..], b"ELF\x02\x01\x01"].concat();
    let json = |text: &str| text.as_bytes().to_vec();
    let mut wrong = Vec::new();
    for (name, bytes) in [
        ("tar", layer.to_vec()),
        ("gzip", GZIP.to_vec()),
        ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 0, 1, 0, 0]),
        ("xz", vec![0xfd, b'7', b'z', b'X', b'Z', 0]),
        ("bzip2", b"BZh91AY&SY".to_vec()),
        ("ELF", elf.clone()),
        ("a script", b"#!/bin/sh\necho\n".to_vec()),
        ("zip", b"PK\x03\x04".to_vec()),
        ("nothing", Vec::new()),
        ("white space", b" \n".to_vec()),
        ("words", b"hello".to_vec()),
        ("a number", b"1".to_vec()),
        ("a JSON text", b"\"hello\"".to_vec()),
        ("JSON and a tar behind it", [b"{}".as_slice(), layer].concat()),
        ("JSON and ELF behind it", [b"{}".as_slice(), elf].concat()),
        ("JSON twice", b"{}{}".to_vec()),
        ("JSON, not whole", b"{\"a\":".to_vec()),
        ("a zero byte", b"{\"a\":\"\0\"}".to_vec()),
        ("XML and a zero byte", b"<a>\0</a>".to_vec()),
        ("an escape", b"<a>\x1b[31m</a>".to_vec()),
        ("a delete", b"<a>\x7f</a>".to_vec()),
        ("Latin 1", b"<a>\xe9</a>".to_vec()),
        ("a byte-order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("a tar of printable characters, SPDX", printable_tar("SPDXVersion: 2")),
        ("a tar of printable characters, XML", printable_tar("<?xml")),
        ("a tar of printable characters, PEM", printable_tar("-----BEGIN ")),
        ("a tar that is JSON", json_tar()),
        ("a tar with more than ASCII in it", summed_tar(|unsigned, _| format!("{unsigned:06o}  "))),
        ("a tar whose sum is of signed bytes", summed_tar(|_, signed| format!("{signed:06o}  "))),
        ("a tar whose sum begins with a blank", summed_tar(|unsigned, _| format!(" {unsigned:06o} "))),
        ("an image's config", platform().config.bytes.to_vec()),
        ("a config in Go's other spellings", json(r#"{"RootFS":{},"Config":{"Cmd":["sh"]}}"#)),
        ("a config said twice", json(r#"{"config":{"Env":["A=1"]},"rootfs":{},"config":{}}"#)),
        ("a config that is a text", json(r#"{"rootfs":{},"config":"sh"}"#)),
        ("a config that is a number", json(r#"{"rootfs":{},"config":1}"#)),
        ("a config that is a negative number", json(r#"{"rootfs":{},"config":-1}"#)),
        ("a config that is a fraction", json(r#"{"rootfs":{},"config":1.5}"#)),
        ("a config that is true", json(r#"{"rootfs":{},"config":true}"#)),
        ("a config that is a list", json(r#"{"rootfs":{},"config":["sh"]}"#)),
    ] {
        for subject in [true, false] {
            let artefact = holding(SIMPLE_SIGNING, &[&bytes], subject);
            let passed = pass(&artefact.manifest).unwrap();
            if !matches!(inspect(&passed, &artefact.blobs[1]), Err(NotAnArtefact::Payload(_))) {
                wrong.push(format!("{name} passes, subject: {subject}"));
            }
        }
    }
    assert_none(&wrong);
    // Their honest siblings.
    for bytes in [
        &b"{\"rootfs\":{\"diff_ids\":[]},\"config\":{},\"os\":\"\"}"[..],
        b"{\"rootfs\":{},\"config\":null}",
        b"{\"config\":{\"Cmd\":[\"sh\"]}}",
        b"{\"config\":1.5,\"a\":true,\"b\":-1,\"c\":null}",
        b"[{\"rootfs\":{},\"config\":{\"Cmd\":[\"sh\"]}}]",
        b"{\"a\":{\"rootfs\":{},\"config\":{\"Cmd\":[\"sh\"]}}}",
        &[b"SPDXVersion: 2\n".as_slice(), &b"x".repeat(2000)].concat(),
        &[b"SPDXVersion: 2\n".as_slice(), &b"0000000 ".repeat(200)].concat(),
    ] {
        let artefact = holding(SIMPLE_SIGNING, &[bytes], true);
        assert_eq!(passes_whole(&artefact), Ok(()), "{}", String::from_utf8_lossy(bytes));
    }
}

/// A tar archive (V7, whose header ends in nothing) with one file, without a single control character.
/// GNU tar and Go's reader unpack it.
fn printable_tar(start: &str) -> Vec<u8> {
    let name = format!("{start}/../{}", "./".repeat(50));
    tar_of(&name[..92], "/bin/run", "#!/bin/sh\necho hello\n")
}

/// With letters whose bytes are no ASCII, and the sum that is made of the sums of its bytes, unsigned and signed.
fn summed_tar(sum: fn(i64, i64) -> String) -> Vec<u8> {
    let mut tar = printable_tar("SPDXVersion: \u{e9}\u{e9}");
    tar[148..156].fill(b' ');
    let (unsigned, signed) = (|byte: &u8| i64::from(*byte), |byte: &u8| i64::from(byte.cast_signed()));
    let sum = sum(tar[..512].iter().map(unsigned).sum(), tar[..512].iter().map(signed).sum());
    tar[148..156].copy_from_slice(sum.as_bytes());
    tar
}

fn json_tar() -> Vec<u8> {
    let name = format!("{{\"a\":\"/../{}", "./".repeat(50));
    let tar = tar_of(&name[..92], "/bin/run", "echo hello; exit 0 #\"}");
    assert!(serde_json::from_slice::<Value>(&tar).is_ok(), "it really is JSON");
    tar
}

fn tar_of(folder: &str, file: &str, content: &str) -> Vec<u8> {
    let fields =
        [folder, file, "0000755 ", "0000000 ", "0000000 ", &format!("{:011o} ", content.len()), "00000000000 "];
    let mut tar = fields.concat().into_bytes();
    tar.extend(b"        0");
    tar.resize(512, b' ');
    let sum: u64 = tar.iter().map(|byte| u64::from(*byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}  ").as_bytes());
    tar.extend(content.bytes());
    tar.resize(1024, b' ');
    assert!(tar.iter().all(|byte| *byte == b'\n' || !byte.is_ascii_control()));
    tar
}
