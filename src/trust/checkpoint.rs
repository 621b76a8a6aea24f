//! Checkpoints of transparency logs: signed notes, in the one form that all readers read alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The first bytes of a log's ID: which key made a signature.
type KeyHint = [u8; 4];

/// Which keys of the log that it is about a checkpoint says it is signed with; whether it is, is not looked at.
/// Signatures by others, witnesses for example, are left out.
///
/// The form is that of Go's `golang.org/x/mod/sumdb/note`: lines, an empty one, and lines of the form
/// `— NAME BASE64`. The Sigstore crate's reader lets lines follow that it does not look at.
pub(super) fn signed_with(note: &str) -> Result<Vec<KeyHint>, &'static str> {
    if note.chars().any(|c| c.is_control() && c != '\n') {
        return Err("the checkpoint has control characters");
    }
    let Some((text, signatures)) = note.split_once("\n\n") else {
        return Err("the checkpoint has no signatures");
    };
    let Some(lines) = signatures.strip_suffix('\n').filter(|_| !text.starts_with('\n')) else {
        return Err("the checkpoint has lines that no log writes");
    };
    let origin = text.lines().next().unwrap_or_default();
    // Rekor v1 adds the number of its tree to its name.
    let of_log = |name: &str| origin.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" - "));
    let signatures: Option<Vec<_>> = lines.split('\n').map(signature).collect();
    let signatures = signatures.ok_or("the checkpoint has a line that is no signature")?;
    Ok(signatures.into_iter().filter(|(name, _)| of_log(name)).map(|(_, hint)| hint).collect())
}

fn signature(line: &str) -> Option<(&str, KeyHint)> {
    let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
    let bytes = STANDARD.decode(signature).ok()?;
    let (hint, signature) = bytes.split_first_chunk()?;
    (!name.is_empty() && !name.contains('+') && !signature.is_empty()).then_some((name, *hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "log.test - 1\n2\nI56ln/so7Z2tDVQ9DHV16s8nLjGeNTIEtz5I8Vg+ATk=\n\n— log.test wLvtxzBF\n";

    #[test]
    fn a_checkpoint_names_its_keys() {
        assert_eq!(signed_with(GOOD), Ok(vec![[0xc0, 0xbb, 0xed, 0xc7]]));
        assert_eq!(signed_with(&GOOD.replace(" - 1", "")).map(|hints| hints.len()), Ok(1), "Rekor v2");
        assert_eq!(signed_with(&format!("{GOOD}— log.test AAAAAAAA\n")).map(|hints| hints.len()), Ok(2));
    }

    #[test]
    fn others_signatures_are_left_out() {
        assert_eq!(signed_with(&format!("{GOOD}— witness.test AAAAAAAA\n")).map(|hints| hints.len()), Ok(1));
        assert_eq!(signed_with(&GOOD.replace("— log", "— other")), Ok(vec![]));
        assert_eq!(signed_with(&GOOD.replace("— log.test", "— log")), Ok(vec![]));
    }

    #[test]
    fn another_form_is_refused() {
        for bad in [
            String::new(),
            GOOD.replace("\n\n", "\n"),
            GOOD.replace('\n', "\r\n"),
            GOOD.replace('—', "-"),
            GOOD.replace("wLvtxzBF", "wLvtxw=="),
            GOOD.replace("wLvtxzBF", "wLvtxzB"),
            GOOD.replace("— log.test", "— log.test+1"),
            GOOD.trim_end().to_owned(),
            format!("\n{GOOD}"),
            format!("{GOOD}\n"),
            format!("{GOOD}x"),
            format!("{GOOD}\n— log.test wLvtxzBF\n"),
        ] {
            assert!(signed_with(&bad).is_err(), "{bad:?}");
        }
    }
}
