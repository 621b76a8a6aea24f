//! Just enough of the tar format (POSIX ustar) for a layer with a few files at the root.

const BLOCK: usize = 512;

/// A file for an archive.
pub(super) struct File<'a> {
    /// Its name at the root, without a slash in front; at most 100 bytes.
    pub(super) name: &'a str,
    /// Permission bits.
    pub(super) mode: u32,
    /// What it holds.
    pub(super) content: &'a [u8],
}

/// An archive of `files`: owned by root, dated 1970, so that equal files give equal bytes.
pub(super) fn archive(files: &[File<'_>]) -> Vec<u8> {
    let content: usize = files.iter().map(|file| BLOCK + file.content.len().next_multiple_of(BLOCK)).sum();
    let mut archive = Vec::with_capacity(content + 2 * BLOCK);
    for file in files {
        archive.extend(header(file));
        archive.extend(file.content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn header(file: &File<'_>) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, file.name);
    put(100, &format!("{:07o}", file.mode));
    put(108, "0000000"); // owner
    put(116, "0000000"); // group
    put(124, &format!("{:011o}", file.content.len()));
    put(136, "00000000000"); // time
    put(148, "        "); // the checksum counts as blanks
    put(156, "0"); // a regular file
    put(257, "ustar\x0000");
    let checksum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{checksum:06o}\0 ").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_systems_tar_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer.tar");
        let files = [
            File { name: "hello", mode: 0o755, content: b"x" },
            File { name: "filler", mode: 0o644, content: &[7; 1300] },
        ];
        std::fs::write(&path, archive(&files)).unwrap();
        let Ok(output) = std::process::Command::new("tar").arg("-tvf").arg(&path).output() else {
            return; // no tar here
        };
        let listing = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<_> = listing.lines().collect();
        assert!(lines[0].starts_with("-rwxr-xr-x") && lines[0].ends_with("hello"), "{listing}");
        assert!(lines[1].starts_with("-rw-r--r--") && lines[1].contains("1300"), "{listing}");
        assert_eq!(archive(&files).len() % BLOCK, 0);
    }
}
