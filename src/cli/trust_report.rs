//! Trusted roots, and what changed between them, for people and for programs.

use std::path::Path;

use serde_json::{Value, json};

use crate::oci::Digest;
use crate::trust::{PUBLIC_GOOD, PartKind, RootDiff, RootPart, TrustRoot};
use crate::tuf::RoleSeen;

use super::plain::plain;

/// The order in which people look at them, and their headings.
const KINDS: [(PartKind, &str); 4] = [
    (PartKind::CertificateAuthority, "certificate authorities: issue signing certificates"),
    (PartKind::CertificateTransparencyLog, "certificate transparency logs: record issued certificates"),
    (PartKind::TransparencyLog, "transparency logs: record signatures"),
    (PartKind::TimestampAuthority, "timestamp authorities: say when a signature existed"),
];

/// What `trust update` did.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// The file.
    pub file: &'a Path,
    /// What was there before, if anything.
    pub old: Option<&'a TrustRoot>,
    /// What is there now.
    pub new: &'a TrustRoot,
    /// The verified TUF metadata.
    pub metadata: &'a [RoleSeen],
}

/// `trust show`, for people.
pub fn show_text(root: &TrustRoot) -> String {
    let mut lines = vec![root.name().to_owned()];
    let mut fact = |name: &str, value: String| lines.push(format!("  {name:<12} {value}"));
    fact("fingerprint", root.fingerprint().to_string());
    if let Some(newest) = root.newest_start() {
        fact("newest start", newest.to_string());
    }
    if root.name() == PUBLIC_GOOD {
        fact("ships in", format!("this program, assay {}; not newer than that", env!("CARGO_PKG_VERSION")));
        fact("next step", "`assay trust update` writes the newest one to a file".to_owned());
    }
    for (kind, heading) in KINDS {
        let parts: Vec<_> = root.parts().iter().filter(|part| part.kind == kind).collect();
        lines.push(String::new());
        lines.push(if parts.is_empty() { format!("{heading}: none") } else { heading.to_owned() });
        for part in parts {
            lines.push(format!("  {}", part.name));
            lines.extend(details(part));
        }
    }
    joined(&lines)
}

/// `trust show`, for programs: schema `assay.trust/v1`.
pub fn show_json(root: &TrustRoot) -> Value {
    json!({
        "schema": "assay.trust/v1",
        "name": root.name(),
        "fingerprint": root.fingerprint().to_string(),
        "newest_start": root.newest_start(),
        "ships_in": (root.name() == PUBLIC_GOOD).then(|| format!("assay {}", env!("CARGO_PKG_VERSION"))),
        "parts": root.parts().iter().map(part_json).collect::<Vec<_>>(),
    })
}

/// `trust diff`, for people.
pub fn diff_text(old: &TrustRoot, new: &TrustRoot) -> String {
    joined(&diff_lines(old, new))
}

/// `trust diff`, for programs: schema `assay.trust.diff/v1`.
pub fn diff_json(old: &TrustRoot, new: &TrustRoot) -> Value {
    json!({
        "schema": "assay.trust.diff/v1",
        "old": named(old),
        "new": named(new),
        "difference": difference(old, new),
    })
}

/// `trust update`, for people.
pub fn update_text(update: &Update<'_>) -> String {
    let new = update.new.fingerprint();
    let (done, fingerprint) = match update.old.map(TrustRoot::fingerprint) {
        None => ("written", new.to_string()),
        Some(old) if old == new => ("unchanged", new.to_string()),
        Some(old) => ("updated", format!("{new}, before {old}")),
    };
    let mut lines = vec![format!("✔ {}: {done}", update.file.display()), format!("  fingerprint  {fingerprint}")];
    for seen in update.metadata {
        lines.push(format!("  {:<12} version {}, to be renewed by {}", seen.role, seen.version, seen.expires));
    }
    if let Some(old) = update.old.filter(|old| old.fingerprint() != new) {
        lines.extend(diff_lines(old, update.new));
    }
    joined(&lines)
}

/// `trust update`, for programs: schema `assay.trust.update/v1`.
pub fn update_json(update: &Update<'_>) -> Value {
    let old = update.old.map(TrustRoot::fingerprint);
    let metadata = |seen: &RoleSeen| json!({"role": seen.role, "version": seen.version, "expires": seen.expires});
    json!({
        "schema": "assay.trust.update/v1",
        "file": update.file.display().to_string(),
        "changed": old != Some(update.new.fingerprint()),
        "fingerprint": update.new.fingerprint().to_string(),
        "fingerprint_before": old.as_ref().map(Digest::to_string),
        "metadata": update.metadata.iter().map(metadata).collect::<Vec<_>>(),
        "difference": update.old.map(|old| difference(old, update.new)),
    })
}

fn diff_lines(old: &TrustRoot, new: &TrustRoot) -> Vec<String> {
    let diff = RootDiff::between(old, new);
    if diff.is_empty() {
        let why = "the same names, IDs, keys, certificates and windows; the files differ in form";
        let same = old.fingerprint() == new.fingerprint();
        return vec![if same { "no difference".to_owned() } else { format!("no difference that shows: {why}") }];
    }
    let mut lines = Vec::new();
    let mut part = |sign: char, part: &RootPart| {
        lines.push(format!("{sign} {}: {}", part.kind.as_str(), part.name));
        lines.extend(details(part));
    };
    diff.added.iter().for_each(|added| part('+', added));
    diff.removed.iter().for_each(|removed| part('-', removed));
    for changed in &diff.changed {
        let (old, new) = (&changed.old, &changed.new);
        lines.push(format!("~ {}: {}", new.kind.as_str(), new.name));
        if old.name != new.name {
            lines.push(format!("    before   {}", old.name));
        }
        lines.push(format!("    id       {}", new.id));
        if old.material != new.material {
            lines
                .push(format!("    keys or certificates are others: sha256 {}, before {}", new.material, old.material));
        }
        let before = if window(old) == window(new) { String::new() } else { format!(", before {}", window(old)) };
        lines.push(format!("    valid    {}{before}", window(new)));
    }
    lines
}

fn difference(old: &TrustRoot, new: &TrustRoot) -> Value {
    let diff = RootDiff::between(old, new);
    let parts = |parts: &[RootPart]| parts.iter().map(part_json).collect::<Vec<_>>();
    let changed = diff.changed.iter().map(|one| json!({"old": part_json(&one.old), "new": part_json(&one.new)}));
    json!({
        "added": parts(&diff.added),
        "removed": parts(&diff.removed),
        "changed": changed.collect::<Vec<_>>(),
    })
}

fn named(root: &TrustRoot) -> Value {
    json!({"name": root.name(), "fingerprint": root.fingerprint().to_string()})
}

fn details(part: &RootPart) -> [String; 2] {
    [format!("    id       {}", part.id), format!("    valid    {}", window(part))]
}

fn window(part: &RootPart) -> String {
    match (part.valid_from, part.valid_until) {
        (None, None) => "always".to_owned(),
        (Some(from), None) => format!("from {from}"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("from {from} until {until}"),
    }
}

fn part_json(part: &RootPart) -> Value {
    json!({
        "kind": part.kind,
        "name": part.name,
        "id": part.id,
        "material": part.material,
        "valid_from": part.valid_from.map(|time| time.to_string()),
        "valid_until": part.valid_until.map(|time| time.to_string()),
    })
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| plain(line)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn shipped() -> TrustRoot {
        TrustRoot::public_good().unwrap()
    }

    /// The shipped root with some of its text replaced.
    fn with(from: &str, to: &str) -> TrustRoot {
        let text = String::from_utf8(TrustRoot::public_good_json().to_vec()).unwrap();
        let other = text.replacen(from, to, 1);
        assert_ne!(text, other);
        TrustRoot::from_json("new.json", other.as_bytes()).unwrap()
    }

    #[test]
    fn the_shipped_root_shows_all_it_trusts_and_that_it_ships() {
        assert_snapshot!(show_text(&shipped()), @r"
    public-good
      fingerprint  sha256:6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66
      newest start 2025-09-23T00:00:00Z
      ships in     this program, assay 0.1.0; not newer than that
      next step    `assay trust update` writes the newest one to a file

    certificate authorities: issue signing certificates
      sigstore.dev sigstore (https://fulcio.sigstore.dev)
        id       03a38ffb1f450100c2596d1d10b900ac4d504058006dda58199576bbeb9c73d0
        valid    from 2021-03-07T03:20:29Z until 2022-12-31T23:59:59.999Z
      sigstore.dev sigstore (https://fulcio.sigstore.dev)
        id       15d795348226b4649f750f5802592c393bee7cc53c3b86982175b7ad087efe47
        valid    from 2022-04-13T20:06:15Z

    certificate transparency logs: record issued certificates
      https://ctfe.sigstore.dev/test
        id       086092f02852ff6845d1d16b27849c456718ac163dc338d26de6bc2206366f72
        valid    from 2021-03-14T00:00:00Z until 2022-10-31T23:59:59.999Z
      https://ctfe.sigstore.dev/2022
        id       dd3d306ac6c7113263191e1c99673702a24a5eb8de3cadff878a72802f29ee8e
        valid    from 2022-10-20T00:00:00Z

    transparency logs: record signatures
      https://rekor.sigstore.dev
        id       c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d
        valid    from 2021-01-12T11:53:27Z
      https://log2025-1.rekor.sigstore.dev
        id       cf1199155bddd051268d1f16ac5c0c75c009f6fb5a63f4177f8e18d7051e3fa0
        valid    from 2025-09-23T00:00:00Z

    timestamp authorities: say when a signature existed
      sigstore.dev sigstore-tsa-selfsigned (https://timestamp.sigstore.dev/api/v1/timestamp)
        id       85f927bc07ab62cac3b44356c10efc81b2c6883fda7ab9e6d870d9d13acd05b7
        valid    from 2025-07-04T00:00:00Z
    ");
        let json = show_json(&shipped());
        assert_eq!(json["schema"], "assay.trust/v1");
        assert_eq!(json["parts"].as_array().unwrap().len(), shipped().parts().len());
        let file = with("\n", " \n");
        assert!(!show_text(&file).contains("ships in"), "a file ships in nothing");
        assert_eq!(show_json(&file)["ships_in"], Value::Null);
    }

    #[test]
    fn a_difference_is_told_in_plain_lines() {
        let old = shipped();
        assert_eq!(diff_text(&old, &old), "no difference");
        assert!(diff_text(&old, &with("\n", " \n")).starts_with("no difference that shows: "));
        let moved = with("https://rekor.sigstore.dev", "https://log.example/\\u001b[2J");
        assert_snapshot!(diff_text(&old, &moved), @"
    ~ transparency log: https://log.example/\u{fffd}[2J
        before   https://rekor.sigstore.dev
        id       c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d
        valid    from 2021-01-12T11:53:27Z
    ");
        assert_eq!(diff_json(&old, &moved)["difference"]["changed"].as_array().unwrap().len(), 1);
        // A certificate more behind the first is one more authority.
        let mut longer: Value = serde_json::from_slice(TrustRoot::public_good_json()).unwrap();
        let stranger = longer["certificateAuthorities"][0]["certChain"]["certificates"][0].clone();
        longer["certificateAuthorities"][1]["certChain"]["certificates"].as_array_mut().unwrap().push(stranger);
        let longer = TrustRoot::from_json("new.json", longer.to_string().as_bytes()).unwrap();
        let told = diff_text(&old, &longer);
        assert!(told.starts_with("~ certificate authority: ") && told.contains("certificates are others"), "{told}");
        assert_eq!(diff_json(&old, &longer)["difference"]["changed"].as_array().unwrap().len(), 1);
        let later = with("\"start\": \"2025-09-23T00:00:00Z\"", "\"start\": \"2025-09-24T00:00:00Z\"");
        assert_snapshot!(diff_text(&old, &later), @"
    ~ transparency log: https://log2025-1.rekor.sigstore.dev
        id       cf1199155bddd051268d1f16ac5c0c75c009f6fb5a63f4177f8e18d7051e3fa0
        valid    from 2025-09-24T00:00:00Z, before from 2025-09-23T00:00:00Z
    ");
    }
}
