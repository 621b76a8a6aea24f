//! Checkpoints of transparency logs: signed notes, in the one form that all readers read alike.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Checks a checkpoint's form, and that one of its signatures says to be the log's that it is about. Whether it is, is
/// not looked at, nor are signatures by others, witnesses for example.
///
/// The form is that of Go's `golang.org/x/mod/sumdb/note`: lines, an empty one, and lines of the form
/// `— NAME BASE64`. The Sigstore crate's reader lets lines follow that it does not look at, and takes any name.
///
/// # Errors
/// What is wrong.
pub(super) fn check(note: &str) -> Result<(), &'static str> {
    if note.chars().any(|c| c.is_control() && c != '\n') {
        return Err("the checkpoint has control characters");
    }
    let Some((text, signatures)) = note.split_once("\n\n") else {
        return Err("the checkpoint has no signatures");
    };
    let Some(lines) = signatures.strip_suffix('\n').filter(|_| !text.starts_with('\n')) else {
        return Err("the checkpoint has lines that no log writes");
    };
    let names: Option<Vec<&str>> = lines.split('\n').map(signer).collect();
    let names = names.ok_or("the checkpoint has a line that is no signature")?;
    let origin = text.lines().next().unwrap_or_default();
    // Rekor v1 adds the number of its tree to its name.
    let of_log =
        |name: &&str| origin.strip_prefix(*name).is_some_and(|rest| rest.is_empty() || rest.starts_with(" - "));
    names.iter().any(of_log).then_some(()).ok_or("the checkpoint has no signature by the log that it is about")
}

fn signer(line: &str) -> Option<&str> {
    let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
    // A key's hint has four bytes.
    let long_enough = STANDARD.decode(signature).is_ok_and(|bytes| bytes.len() > 4);
    (!name.is_empty() && !name.contains('+') && long_enough).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "log.test - 1\n2\nI56ln/so7Z2tDVQ9DHV16s8nLjGeNTIEtz5I8Vg+ATk=\n\n— log.test wLvtxzBF\n";

    #[test]
    fn the_form_that_logs_write_passes() {
        assert_eq!(check(GOOD), Ok(()));
        assert_eq!(check(&GOOD.replace(" - 1", "")), Ok(()), "Rekor v2");
        assert_eq!(check(&format!("{GOOD}— witness.test AAAAAAAA\n")), Ok(()));
        assert_eq!(check(&GOOD.replace("\n\n", "\nTimestamp: 1\n\n")), Ok(()));
    }

    #[test]
    fn another_form_is_refused() {
        for bad in [
            String::new(),
            GOOD.replace("\n\n", "\n"),
            GOOD.replace('\n', "\r\n"),
            GOOD.replace('—', "-"),
            GOOD.replace("— log", "— other"),
            GOOD.replace("— log.test", "— log"),
            GOOD.replace("wLvtxzBF", "wLvtxw=="),
            GOOD.replace("wLvtxzBF", "wLvtxzB"),
            GOOD.replace("— log.test", "— log.test+1"),
            format!("{GOOD}— witness+1 AAAAAAAA\n"),
            format!("{GOOD}—  AAAAAAAA\n"),
            GOOD.trim_end().to_owned(),
            format!("\n{GOOD}"),
            format!("{GOOD}\n"),
            format!("{GOOD}x"),
            format!("{GOOD}\n— log.test wLvtxzBF\n"),
        ] {
            assert!(check(&bad).is_err(), "{bad:?}");
        }
    }
}
