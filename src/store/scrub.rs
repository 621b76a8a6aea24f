//! Hashes again what is stored, whether anybody asks for it or not.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};
use tokio::time::Instant;

use crate::oci::{Digest, Hasher};
use crate::removal;

use super::disk::{DiskStore, StoreError, blocking};
use super::on_disk::{self, Identity};

/// Hashed in one go: half a millisecond of work, so that a rate is kept evenly.
const PIECE: usize = 1024 * 1024;

/// What lies in one of the 256 folders.
#[derive(Debug, Default)]
pub struct Lying {
    /// What is named like content of this folder.
    pub content: Vec<Digest>,
    /// Everything else.
    pub foreign: Vec<PathBuf>,
}

/// What stored content turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// What its name says; so many bytes.
    Right(u64),
    /// Something else; so many bytes.
    Changed(u64),
    /// No ordinary file of ours with one name.
    Foreign,
    /// The disk does not give it back.
    Unreadable,
    /// It went, or other content took its place meanwhile.
    Gone,
}

/// Where bytes should come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// From wherever they are quickest to have; what clients like to read stays in memory.
    Shared,
    /// From the disk, as far as that can be asked for: nobody else reads.
    FromDisk,
}

/// What becomes of what is not right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposal {
    /// It goes to `DIR/quarantine`.
    Quarantine,
    /// It is removed.
    Delete,
}

/// Keeps to a rate, on the long run and from megabyte to megabyte.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u64>,
    next: Instant,
}

impl Pace {
    /// So many bytes in a second; `None`: as many as there are.
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, next: Instant::now() }
    }

    /// So many bytes were read. Waits until more may be.
    async fn spend(&mut self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        // What was not used while nothing was read is not made up for.
        self.next = self.next.max(Instant::now()) + Duration::from_secs_f64(bytes as f64 / rate as f64);
        tokio::time::sleep_until(self.next).await;
    }
}

impl DiskStore {
    /// What lies in one of the folders.
    pub async fn lying_in(&self, folder: u8) -> Result<Lying, StoreError> {
        let prefix = format!("{folder:02x}");
        let path = self.blobs().join(&prefix);
        blocking(move || {
            let mut lying = Lying::default();
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lying),
                Ok(about) if !about.is_dir() => {
                    lying.foreign.push(path);
                    return Ok(lying);
                }
                _ => {}
            }
            let failed = |source| StoreError::Io { what: "read", path: path.clone(), source };
            for entry in fs::read_dir(&path).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = entry.file_name();
                let hex = name.to_str().filter(|name| name.starts_with(&prefix));
                match hex.and_then(|hex| format!("sha256:{hex}").parse().ok()) {
                    Some(digest) => lying.content.push(digest),
                    None => lying.foreign.push(entry.path()),
                }
            }
            Ok(lying)
        })
        .await
    }

    /// What lies beside the folders of content.
    pub async fn lying_beside(&self) -> Result<Vec<PathBuf>, StoreError> {
        let sha256 = self.blobs();
        blocking(move || {
            let mut foreign = Vec::new();
            let blobs = sha256.parent().unwrap_or(&sha256);
            for (folder, belongs) in [(blobs, is_algorithm as fn(&str) -> bool), (&sha256, is_first_byte)] {
                let failed = |source| StoreError::Io { what: "read", path: folder.to_owned(), source };
                on_disk::own_folder(folder).map_err(failed)?;
                for entry in fs::read_dir(folder).map_err(failed)? {
                    let entry = entry.map_err(failed)?;
                    if !entry.file_name().to_str().is_some_and(belongs) {
                        foreign.push(entry.path());
                    }
                }
            }
            Ok(foreign)
        })
        .await
    }

    /// Hashes stored content, and takes it away if it is not what its name says.
    pub async fn scrub(&self, digest: Digest, reading: Reading, disposal: Disposal, pace: &mut Pace) -> Condition {
        let (file, identity) = match self.open_own(digest).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Condition::Gone,
            Err(error) => {
                let foreign = error.kind() == io::ErrorKind::InvalidData;
                let condition = if foreign { Condition::Foreign } else { Condition::Unreadable };
                return self.dispose(digest, None, disposal, condition).await;
            }
        };
        let advice = if reading == Reading::FromDisk { Advice::DontNeed } else { Advice::NoReuse };
        // Advice: where nobody takes it, the bytes are hashed all the same.
        let _ignored = fadvise(&*file, 0, None, advice);
        let (mut hasher, mut at) = (Hasher::default(), 0);
        loop {
            let (file, so_far) = (Arc::clone(&file), hasher);
            match blocking(move || hash_piece(&file, at, so_far)).await {
                Ok((0, so_far)) => {
                    hasher = so_far;
                    break;
                }
                Ok((length, so_far)) => {
                    hasher = so_far;
                    at += length;
                    pace.spend(length).await;
                }
                Err(error) => {
                    tracing::error!(%digest, %error, "stored content cannot be read");
                    return self.dispose(digest, Some(identity), disposal, Condition::Unreadable).await;
                }
            }
        }
        if reading == Reading::FromDisk {
            let _ignored = fadvise(&*file, 0, None, Advice::DontNeed);
        }
        match hasher.finish() == digest {
            true => Condition::Right(at),
            false => self.dispose(digest, Some(identity), disposal, Condition::Changed(at)).await,
        }
    }

    /// Takes away what is no content.
    pub async fn dispose_of_foreign(&self, path: PathBuf, disposal: Disposal) -> Result<(), StoreError> {
        let quarantine = Arc::clone(self.quarantine());
        blocking(move || {
            let gone = match disposal {
                Disposal::Quarantine => quarantine.take(&path, "foreign"),
                Disposal::Delete => removal::remove(&path),
            };
            gone.map_err(|source| StoreError::Io { what: "remove", path, source })
        })
        .await
    }

    async fn dispose(
        &self,
        digest: Digest,
        identity: Option<Identity>,
        disposal: Disposal,
        found: Condition,
    ) -> Condition {
        if self.take_away(digest, identity, disposal).await { found } else { Condition::Gone }
    }
}

fn hash_piece(file: &File, at: u64, mut hasher: Hasher) -> io::Result<(u64, Hasher)> {
    let mut piece = vec![0; PIECE];
    let length = loop {
        match file.read_at(&mut piece, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    hasher.update(piece.get(..length).unwrap_or_default());
    Ok((length as u64, hasher))
}

fn is_algorithm(name: &str) -> bool {
    name == "sha256"
}

fn is_first_byte(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    async fn scrub(store: &DiskStore, digest: Digest) -> Condition {
        store.scrub(digest, Reading::Shared, Disposal::Quarantine, &mut Pace::new(None)).await
    }

    #[tokio::test]
    async fn right_content_stays_and_changed_content_goes() {
        let home = tempfile::tempdir().unwrap();
        let store = DiskStore::open(home.path()).unwrap();
        let bytes = Bytes::from(vec![7; 3 * PIECE + 1]);
        let digest = Digest::of(&bytes);
        assert_eq!(scrub(&store, digest).await, Condition::Gone);
        store.write(bytes.clone()).await.unwrap();
        assert_eq!(scrub(&store, digest).await, Condition::Right(bytes.len() as u64));

        let path = store.blobs().join(super::super::account::below(digest));
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"8", bytes.len() as u64 - 1).unwrap();
        assert_eq!(scrub(&store, digest).await, Condition::Changed(bytes.len() as u64));
        assert_eq!(scrub(&store, digest).await, Condition::Gone);
        store.write(bytes).await.unwrap();
        assert!(matches!(scrub(&store, digest).await, Condition::Right(_)));
    }

    /// Between looking and taking away, a fetch may have put good content there.
    #[tokio::test]
    async fn what_came_in_between_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let store = DiskStore::open(home.path()).unwrap();
        let bytes = Bytes::from_static(b"content");
        let digest = Digest::of(&bytes);
        let path = store.blobs().join(super::super::account::below(digest));
        store.write(bytes.clone()).await.unwrap();
        let (_, old) = store.open_own(digest).await.unwrap().unwrap();
        let kept = home.path().join("kept");
        fs::rename(&path, &kept).unwrap();
        store.write(bytes).await.unwrap();
        assert!(!store.take_away(digest, Some(old), Disposal::Delete).await);
        assert!(path.exists());
        let (_, new) = store.open_own(digest).await.unwrap().unwrap();
        assert!(store.take_away(digest, Some(new), Disposal::Delete).await);
        assert!(!path.exists());
    }
}
