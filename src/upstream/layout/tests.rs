//! Layouts built in a temporary folder, honest ones and others.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use futures_util::StreamExt as _;
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::tests::{MANIFEST, descriptor, image, index};
use crate::oci::{ArtefactTag, Claim, Digest, Reference, Registry, Repository, Tag};
use crate::upstream::{
    Layout, LookOutcome, Material, NetworkOptions, Proxy, SignatureLimits, Upstream, UpstreamError, UpstreamOptions,
    Upstreams, Wanted,
};

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";
const INDEX: &str = crate::oci::media_type::OCI_INDEX;

/// A layout in the making.
struct Made {
    folder: TempDir,
    entries: Vec<String>,
}

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
        Self { folder, entries: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn blob(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        fs::write(self.blob_path(bytes), bytes).unwrap();
        self
    }

    fn blob_path(&self, bytes: &[u8]) -> std::path::PathBuf {
        self.path().join("blobs/sha256").join(Digest::of(bytes).hex())
    }

    /// A blob that `index.json` lists, with these annotations.
    fn listed(self, media_type: &str, bytes: &Bytes, annotations: &str) -> Self {
        let entry = descriptor(media_type, bytes).replace('}', &format!(r#","annotations":{{{annotations}}}}}"#));
        self.entry(entry).blob(bytes)
    }

    fn named(self, media_type: &str, bytes: &Bytes, name: &str) -> Self {
        self.listed(media_type, bytes, &format!(r#""org.opencontainers.image.ref.name":"{name}""#))
    }

    fn entry(mut self, entry: String) -> Self {
        self.entries.push(entry);
        fs::write(self.path().join("index.json"), index(&self.entries)).unwrap();
        self
    }

    fn open(&self) -> Result<Layout, String> {
        Layout::open(self.path()).map_err(|error| error.to_string())
    }

    fn upstream(&self) -> std::sync::Arc<Upstream> {
        let options = UpstreamOptions::layout(registry(), self.path());
        let network = NetworkOptions { proxy: Proxy::None, ..NetworkOptions::default() };
        Upstreams::new(vec![options], network).unwrap().get(&registry()).unwrap()
    }
}

fn registry() -> Registry {
    "folder.invalid".parse().unwrap()
}

fn repository() -> Repository {
    Repository::new(registry(), "any/thing").unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// The index of one platform, with everything that it names.
fn signed_image() -> (Made, Bytes) {
    let platform = image(&[descriptor("layer", b"layer")], None);
    let top = index(&[descriptor(MANIFEST, &platform)]);
    let made = Made::new().named(INDEX, &top, "ghcr.io/acme/app:v1").blob(&platform).blob(b"layer").blob(b"{}");
    (made, top)
}

#[tokio::test]
async fn a_folder_answers_what_a_registry_answers() {
    let (made, top) = signed_image();
    let us = made.upstream();
    let digest = Digest::of(&top);
    assert_eq!(us.layout().unwrap().only_image(), Ok(digest));
    assert_eq!(us.layout().unwrap().images(), [(digest, Some("ghcr.io/acme/app:v1".to_owned()))]);
    assert_eq!(us.resolve(&repository(), &tag("v1")).await.unwrap(), Some(digest));
    for reference in [Reference::Tag(tag("v1")), Reference::Digest(digest)] {
        assert_eq!(us.manifest(&repository(), &reference).await.unwrap().bytes(), &top);
    }
    let claim = |bytes: &[u8]| Claim { digest: Digest::of(bytes), size: bytes.len() as u64 };
    assert_eq!(us.small_blob(&repository(), claim(b"layer"), 100).await.unwrap(), "layer");
    let chunks: Vec<_> = us.blob(&repository(), claim(b"layer")).await.unwrap().collect().await;
    assert_eq!(chunks.into_iter().map(Result::unwrap).collect::<Vec<_>>().concat(), b"layer");
    assert_eq!(us.tags(&repository(), None, None).await.unwrap().tags, [tag("v1")]);
    assert!(us.referrers(&repository(), digest, 9).await.unwrap().unwrap().descriptors.is_empty());

    let absent = [
        us.resolve(&repository(), &tag("v2")).await.unwrap_err(),
        us.manifest(&repository(), &Reference::Digest(Digest::of(b"absent"))).await.unwrap_err(),
        us.small_blob(&repository(), claim(b"absent"), 100).await.unwrap_err(),
        us.blob(&repository(), claim(b"absent")).await.unwrap_err(),
    ];
    for error in absent {
        assert!(matches!(error, UpstreamError::NotFound { .. }), "{error}");
        assert!(error.to_string().contains(&made.path().display().to_string()), "{error}");
    }
}

#[tokio::test]
async fn signatures_are_found_in_every_form() {
    let (made, top) = signed_image();
    let subject = Digest::of(&top);
    let artefact = |kind| Tag::of_artefact(subject, kind).to_string();
    let (listed, in_fallback) =
        (image(&[descriptor(BUNDLE, b"one")], Some(&top)), image(&[descriptor(BUNDLE, b"two")], Some(&top)));
    let fallback = index(&[descriptor(MANIFEST, &in_fallback)]);
    let made = made
        .listed(MANIFEST, &listed, "")
        .blob(b"one")
        .named(INDEX, &fallback, &artefact(ArtefactTag::Referrers))
        .blob(&in_fallback)
        .blob(b"two")
        .named(MANIFEST, &image(&[descriptor(SIMPLE_SIGNING, b"three")], None), &artefact(ArtefactTag::Signature))
        .blob(b"three")
        .named(MANIFEST, &image(&[descriptor(DSSE, b"four")], None), &artefact(ArtefactTag::Attestation))
        .blob(b"four");
    let us = made.upstream();
    let look = async |wanted| us.signatures(&repository(), subject, wanted, &SignatureLimits::default()).await;
    let collected = look(Wanted { attestations: true }).await;
    let mut found: Vec<_> = collected
        .found
        .iter()
        .map(|found| match &found.material {
            Material::Bundle { bytes } => ("bundle", bytes.clone()),
            Material::Classic { payload, .. } => ("classic", payload.clone()),
            Material::ClassicAttestation { envelope, .. } => ("attestation", envelope.clone()),
        })
        .collect();
    found.sort();
    let want = [("attestation", "four"), ("bundle", "one"), ("bundle", "two"), ("classic", "three")];
    assert_eq!(found, want.map(|(kind, text)| (kind, Bytes::from(text))), "{collected:#?}");
    assert_eq!(look(Wanted::default()).await.found.len(), 3);
    assert_eq!(us.layout().unwrap().only_image(), Ok(subject), "signatures are no images");
}

/// `cosign save` names nothing, but says what each entry is.
#[tokio::test]
async fn what_cosign_saved_is_found() {
    let kind = |word: &str| format!(r#""kind":"dev.cosignproject.cosign/{word}""#);
    let (top, sigs) = (index(&[]), image(&[descriptor(SIMPLE_SIGNING, b"payload")], None));
    let made =
        Made::new().listed(INDEX, &top, &kind("imageIndex")).listed(MANIFEST, &sigs, &kind("sigs")).blob(b"payload");
    let us = made.upstream();
    let subject = us.layout().unwrap().only_image().unwrap();
    assert_eq!(subject, Digest::of(&top));
    let found = us.signatures(&repository(), subject, Wanted::default(), &SignatureLimits::default()).await.found;
    assert!(matches!(&found[0].material, Material::Classic { payload, .. } if payload == "payload"), "{found:?}");

    // With two images nobody knows whose the signatures are.
    let made = made.listed(INDEX, &index(&[descriptor(INDEX, &top)]), &kind("image"));
    let us = made.upstream();
    assert_eq!(us.tags(&repository(), None, None).await.unwrap().tags, []);
}

#[test]
fn one_image_needs_no_name_and_several_are_listed() {
    let (made, top) = signed_image();
    // A second name of the same image is no second image.
    let made = made.named(INDEX, &top, "latest");
    assert_eq!(made.open().unwrap().only_image(), Ok(Digest::of(&top)));
    let other = image(&[], None);
    let made = made.listed(MANIFEST, &other, "");
    let error = made.open().unwrap().only_image().unwrap_err();
    let want = format!(
        "{} holds 2 images; say which one is meant: {} (ghcr.io/acme/app:v1) {}",
        made.path().display(),
        Digest::of(&top),
        Digest::of(&other)
    );
    assert_eq!(error.to_string(), want);
    let none = Made::new();
    fs::write(none.path().join("index.json"), index(&[])).unwrap();
    assert!(none.open().unwrap().only_image().unwrap_err().to_string().ends_with("holds no image"));
}

#[tokio::test]
async fn a_name_for_two_images_is_no_answer() {
    let (one, two) = (image(&[], None), index(&[]));
    let made =
        Made::new().named(MANIFEST, &one, "ghcr.io/acme/app:v1").named(INDEX, &two, "v1").named(INDEX, &two, "v2");
    let us = made.upstream();
    let error = us.resolve(&repository(), &tag("v1")).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lied { .. }), "{error}");
    assert!(error.to_string().contains(&Digest::of(&two).to_string()), "{error}");
    assert_eq!(us.resolve(&repository(), &tag("v2")).await.unwrap(), Some(Digest::of(&two)));
    let page = us.tags(&repository(), Some(1), None).await.unwrap();
    assert_eq!((page.tags.as_slice(), page.more), ([tag("v1")].as_slice(), true));
    let page = us.tags(&repository(), Some(1), Some(&tag("v1"))).await.unwrap();
    assert_eq!((page.tags.as_slice(), page.more), ([tag("v2")].as_slice(), false));
}

#[test]
fn what_is_no_layout_says_why() {
    let (made, _) = signed_image();
    assert!(made.open().is_ok());
    for (file, text, why) in [
        ("oci-layout", Some(r#"{"imageLayoutVersion":"2.0.0"}"#), "version `2.0.0`, where 1.0.0 is known"),
        ("oci-layout", Some("{}"), "oci-layout: missing field"),
        ("oci-layout", None, "not an OCI image layout: it has no file `oci-layout`"),
        ("index.json", Some("<html>"), "index.json: manifest is not strict JSON"),
        ("index.json", Some(r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#), "stands twice"),
        (
            "index.json",
            Some(r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc/passwd","size":1}]}"#),
            "is not 64 lower-case hex characters",
        ),
        ("index.json", None, "it has no file `index.json`"),
    ] {
        let (made, _) = signed_image();
        match text {
            Some(text) => fs::write(made.path().join(file), text).unwrap(),
            None => fs::remove_file(made.path().join(file)).unwrap(),
        }
        let error = made.open().unwrap_err();
        assert!(error.contains(why) && error.starts_with(&made.path().display().to_string()), "{error}");
    }
    let (made, _) = signed_image();
    fs::write(made.path().join("oci-layout"), " ".repeat(5000)).unwrap();
    assert!(made.open().unwrap_err().contains("larger than 4096 bytes"));
    assert!(Layout::open(&made.path().join("nothing")).is_err());
}

#[tokio::test]
async fn content_is_held_against_its_digest() {
    let (made, top) = signed_image();
    let signed = image(&[descriptor(BUNDLE, b"bundle")], Some(&top));
    let made = made.listed(MANIFEST, &signed, "").blob(b"bundle");
    let us = made.upstream();
    let look =
        async || us.signatures(&repository(), Digest::of(&top), Wanted::default(), &SignatureLimits::default()).await;
    assert_eq!(look().await.found.len(), 1);
    fs::write(made.blob_path(b"bundle"), b"BUNDLE").unwrap();
    let collected = look().await;
    assert!(collected.found.is_empty());
    assert!(collected.looked_at.iter().any(|look| matches!(look.outcome, LookOutcome::Failed(_))), "{collected:#?}");
    for (content, lie) in [(&b"LAYER"[..], "hashes to"), (b"longer layer", "more than the 5 bytes"), (b"l", "")] {
        fs::write(made.blob_path(b"layer"), content).unwrap();
        let claim = Claim { digest: Digest::of(b"layer"), size: 5 };
        let error = us.small_blob(&repository(), claim, 100).await.unwrap_err();
        assert!(matches!(error, UpstreamError::Lied { .. } | UpstreamError::Cut { .. }), "{error}");
        assert!(error.to_string().contains(lie), "{error}");
        // A stream is only counted here; the spool hashes it.
        assert_eq!(us.blob(&repository(), claim).await.is_ok(), content.len() == 5);
    }
    fs::write(made.blob_path(&top), index(&[])).unwrap();
    let error = us.manifest(&repository(), &Reference::Tag(tag("v1"))).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Lied { .. }), "{error}");
}

/// A manifest that cannot be read might be the signature, so nobody says that there is none.
#[tokio::test]
async fn what_cannot_be_read_is_not_absent() {
    let missing = descriptor(MANIFEST, b"missing");
    let damaged = |made: Made| {
        let manifest = image(&[], None);
        let made = made.listed(MANIFEST, &manifest, "");
        fs::write(made.blob_path(&manifest), b"{}").unwrap();
        made
    };
    let (honest, top) = signed_image();
    let subject = Digest::of(&top);
    let look = async |made: &Made| {
        let limits = SignatureLimits::default();
        let collected = made.upstream().signatures(&repository(), subject, Wanted::default(), &limits).await;
        collected.looked_at[0].outcome.clone()
    };
    assert_eq!(look(&honest).await, LookOutcome::Absent);
    let (made, _) = signed_image();
    assert!(matches!(look(&damaged(made)).await, LookOutcome::Failed(_)));
    let made = honest.entry(missing);
    let LookOutcome::Failed(why) = look(&made).await else { panic!("a listed manifest is missing") };
    assert!(why.contains("which is not in blobs"), "{why}");
    assert!(made.upstream().manifest(&repository(), &Reference::Digest(subject)).await.is_ok());

    // A platform that was not copied along is no reason to doubt the rest.
    let sparse = Made::new().named(INDEX, &top, "v1");
    assert_eq!(look(&sparse).await, LookOutcome::Absent);
}

#[tokio::test]
async fn no_link_and_no_pipe_is_followed() {
    let (made, top) = signed_image();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), b"layer").unwrap();
    let claim = Claim { digest: Digest::of(b"layer"), size: 5 };
    let us = made.upstream();
    assert!(us.small_blob(&repository(), claim, 100).await.is_ok());
    let path = made.blob_path(b"layer");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(outside.path(), &path).unwrap();
    let error = us.small_blob(&repository(), claim, 100).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }), "{error}");
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let error = us.small_blob(&repository(), claim, 100).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }), "{error}");

    let (linked, _) = signed_image();
    fs::rename(linked.path().join("blobs"), linked.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(made.path().join("blobs"), linked.path().join("blobs")).unwrap();
    let error = linked.upstream().manifest(&repository(), &Reference::Digest(Digest::of(&top))).await.unwrap_err();
    assert!(matches!(error, UpstreamError::Unreachable { .. }), "{error}");
}

/// Each index names the next one twice: without a memory of what was read, the work doubles each time.
#[test]
fn indexes_that_name_indexes_cost_little() {
    let mut made = Made::new();
    let mut entry = descriptor(MANIFEST, b"the end");
    for _ in 0..20 {
        let next = index(&[entry.clone(), entry.clone(), entry.clone()]);
        made = made.blob(&next);
        entry = descriptor(INDEX, &next);
    }
    let layout = made.entry(entry).open().unwrap();
    let error = layout.referrers(Digest::of(b"x"), 9).unwrap_err();
    assert!(error.to_string().contains("nested deeper than 4"), "{error}");
}

/// Manifests of 4 MiB each: only so many are read ahead, and then nobody says that there is no signature.
#[test]
fn manifests_are_read_up_to_a_limit() {
    let large = |n: usize| {
        let small = String::from_utf8(image(&[], None).to_vec()).unwrap();
        let filler = "a".repeat(4 * 1024 * 1024 - 1000);
        Bytes::from(small.replacen('{', &format!(r#"{{"annotations":{{"{n}":"{filler}"}},"#), 1))
    };
    let of = |count: usize| {
        let mut made = Made::new();
        for n in 0..count {
            made = made.listed(MANIFEST, &large(n), "");
        }
        made.open().unwrap().referrers(Digest::of(b"x"), 9).map(|referrers| referrers.descriptors.len())
    };
    assert_eq!(of(16).unwrap(), 0);
    let error = of(17).unwrap_err().to_string();
    assert!(error.contains("more than 67108864 bytes of manifests"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_folder_makes_it_panic(
        version in r#"(\{|\}|"imageLayoutVersion"|:|"1.0.0"|,){0,6}"#,
        listed in r#"(\{|\}|\[|\]|,|:|"mediaType"|"digest"|"size"|"sha256:ab"|1|"annotations"){0,30}"#,
        honest_version: bool,
    ) {
        let made = Made::new();
        if !honest_version {
            fs::write(made.path().join("oci-layout"), version).unwrap();
        }
        fs::write(made.path().join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{listed}]}}"#)).unwrap();
        if let Ok(layout) = made.open() {
            let _ = layout.only_image();
        }
    }
}
