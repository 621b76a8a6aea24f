//! OCI layout folders: `index.json` and the manifests that it names.
//!
//! The parts of an input are `index.json` and blobs. No fuzzer finds a digest, so `@1@` stands for the digest of the
//! first blob, and so on; a blob may name those behind it.
#![no_main]

use std::cell::RefCell;
use std::fs;

use assay::oci::Digest;
use assay::upstream::Layout;
use assay_fuzz::parts;
use libfuzzer_sys::fuzz_target;

const BLOBS_MAX: usize = 4;

thread_local! {
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    FOLDER.with_borrow_mut(|folder| {
        let root = folder.get_or_insert_with(empty).path().to_owned();
        let mut files = parts(data, BLOBS_MAX + 1);
        let mut digests: Vec<(usize, Digest)> = Vec::new();
        while let Some(file) = files.pop() {
            let mut bytes = file.to_vec();
            for (number, digest) in &digests {
                bytes = replaced(&bytes, format!("@{number}@").as_bytes(), digest.to_string().as_bytes());
            }
            if files.is_empty() {
                fs::write(root.join("index.json"), &bytes).expect("a folder of ours");
            } else {
                let digest = Digest::of(&bytes);
                fs::write(root.join("blobs/sha256").join(digest.hex()), &bytes).expect("a folder of ours");
                digests.push((files.len(), digest));
            }
        }
        let opened = Layout::open(&root);
        for (_, digest) in &digests {
            let _ = fs::remove_file(root.join("blobs/sha256").join(digest.hex()));
        }
        let Ok(layout) = opened else { return };
        let images = layout.images();
        for (at, (digest, name)) in images.iter().enumerate() {
            assert!(!images[..at].iter().any(|(other, _)| other == digest), "{digest} twice");
            assert!(name.as_ref().is_none_or(|name| name.chars().count() <= 100));
        }
        match layout.only_image() {
            Ok(digest) => assert_eq!((images.len(), images[0].0), (1, digest)),
            Err(why) => assert!(images.len() != 1 && !why.to_string().is_empty()),
        }
    });
});

fn empty() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a place for files");
    fs::create_dir_all(folder.path().join("blobs/sha256")).expect("a folder of ours");
    fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a folder of ours");
    folder
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut rest = bytes;
    let mut done = Vec::new();
    while let Some(at) = rest.windows(from.len()).position(|window| window == from) {
        done.extend_from_slice(&rest[..at]);
        done.extend_from_slice(to);
        rest = &rest[at + from.len()..];
    }
    done.extend_from_slice(rest);
    done
}
