//! Text that is safe to show, and safe to paste.

/// One line without what steers a terminal or turns its text around: details hold upstream's words.
pub(super) fn plain(line: &str) -> String {
    let steers = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    line.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// A word as a POSIX shell must be given it.
pub(super) fn shell_word(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_./:@,+%=-".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_read_more_into_them() {
        for word in ["cosign", "--key=a.pub", "ghcr.io/acme/app@sha256:00"] {
            assert_eq!(shell_word(word), word);
        }
        assert_eq!(shell_word("^a$"), "'^a$'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("$(rm -rf ~)"), "'$(rm -rf ~)'");
    }
}
