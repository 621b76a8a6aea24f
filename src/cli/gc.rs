//! `gc`: what went from the cache folder, or would go.

use std::io::{self, Write};

use serde::Serialize;

use crate::size::Bytes;
use crate::upkeep::Collected;

/// What was asked.
#[derive(Clone, Copy, Debug)]
pub struct GcAsked {
    /// No more than so many bytes are to be left.
    pub target: Option<u64>,
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// As one JSON object.
    pub json: bool,
}

#[derive(Serialize)]
struct Object<'a> {
    schema: &'static str,
    dry_run: bool,
    target: Option<u64>,
    #[serde(flatten)]
    collected: &'a Collected,
}

/// Shows what [`crate::upkeep::Evictor::collect`] did.
///
/// # Errors
/// Only when it cannot be written.
pub fn show_gc(collected: &Collected, asked: GcAsked, out: &mut impl Write) -> io::Result<()> {
    if asked.json {
        let object = Object { schema: "assay.gc/v1", dry_run: asked.dry_run, target: asked.target, collected };
        return writeln!(out, "{}", serde_json::to_string(&object).map_err(io::Error::other)?);
    }
    let Collected { evicted, .. } = collected;
    let oldest = match evicted.oldest_use {
        Some(at) => format!(", oldest last used {}", at.strftime("%F")),
        None => String::new(),
    };
    let kept = match evicted.kept {
        0 => String::new(),
        kept => format!("; {kept} kept by `keep`"),
    };
    writeln!(
        out,
        "{} {} ({}){oldest}{kept}; {} that no image names ({})",
        if asked.dry_run { "would remove" } else { "removed" },
        count(evicted.images, "image"),
        Bytes(evicted.image_bytes),
        count(evicted.orphans, "file"),
        Bytes(evicted.orphan_bytes),
    )?;
    let left = if asked.dry_run { collected.stored_bytes - evicted.bytes() } else { collected.stored_bytes };
    writeln!(
        out,
        "{} {} in {}",
        if asked.dry_run { "would leave" } else { "left" },
        Bytes(left),
        count(collected.images, "image")
    )?;
    if let Some(more) = asked.target.and_then(|target| left.checked_sub(target)).filter(|more| *more > 0) {
        writeln!(out, "{} more than the target cannot go: all of it is kept by `keep`", Bytes(more))?;
    }
    if collected.miscounted_folders > 0 {
        let folders = count(collected.miscounted_folders, "folder");
        writeln!(out, "the account of {folders} was wrong; it is right now")?;
    }
    for path in &collected.foreign_files {
        writeln!(out, "left alone, not ours by name or kind: {}", path.display())?;
    }
    Ok(())
}

fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upkeep::Evicted;
    use insta::assert_snapshot;

    fn shown(asked: GcAsked) -> String {
        let evicted = Evicted {
            images: 14,
            image_bytes: 22_870_700_000,
            orphans: 1,
            orphan_bytes: 120 << 20,
            kept: 3,
            oldest_use: Some("2026-06-02T10:00:00Z".parse().unwrap()),
        };
        let collected = Collected {
            evicted,
            stored_blobs: 900,
            stored_bytes: 100 << 30,
            images: 80,
            miscounted_folders: 2,
            foreign_files: vec!["/cache/blobs/sha256/ab/notes.txt".into()],
        };
        let mut out = Vec::new();
        show_gc(&collected, asked, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_would_go_in_words_and_as_json() {
        assert_snapshot!(shown(GcAsked { target: Some(70 << 30), dry_run: true, json: false }), @"
        would remove 14 images (21.3 GiB), oldest last used 2026-06-02; 3 kept by `keep`; 1 file that no image names (120 MiB)
        would leave 78.6 GiB in 80 images
        8.6 GiB more than the target cannot go: all of it is kept by `keep`
        the account of 2 folders was wrong; it is right now
        left alone, not ours by name or kind: /cache/blobs/sha256/ab/notes.txt
        ");
        let json = shown(GcAsked { target: None, dry_run: false, json: true });
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(object["schema"], "assay.gc/v1");
        assert_eq!(object["evicted"]["images"], 14);
    }
}
