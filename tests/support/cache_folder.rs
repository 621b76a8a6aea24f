//! What lies in a cache folder, as anybody sees it who looks at the disk.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use assay::oci::Digest;

/// All names under which content lies. None where there is no such folder yet.
pub fn names(cache: &Path) -> BTreeSet<Digest> {
    let Ok(folders) = std::fs::read_dir(cache.join("blobs/sha256")) else { return BTreeSet::new() };
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| format!("sha256:{}", file.unwrap().file_name().to_str().unwrap()).parse().unwrap()).collect()
}

/// Where some content lies, if it does.
pub fn path_of(cache: &Path, digest: Digest) -> PathBuf {
    let hex = digest.hex();
    cache.join("blobs/sha256").join(&hex[..2]).join(&hex)
}

/// Files below a folder, and their bytes.
pub fn files_below(folder: &Path) -> (u64, u64) {
    let mut sum = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let about = entry.metadata().unwrap();
        let (files, bytes) = if about.is_dir() { files_below(&entry.path()) } else { (1, about.len()) };
        sum = (sum.0 + files, sum.1 + bytes);
    }
    sum
}
