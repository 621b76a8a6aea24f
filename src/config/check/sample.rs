//! Values that an expression was written for, made from the expression itself, with a note on which of their
//! characters are fixed.

use regex_syntax::hir::{Class, Hir, HirKind};

/// Longest sample, in bytes. Real values have some 150; a longer one would only cost time.
const SAMPLE_MAX: usize = 1024;

/// Most alternatives of one group that are looked at, each in a sample of its own.
const ALTERNATIVES_MAX: usize = 32;

/// Stands for what `[^/]+` and the like leave open.
const WORD: &str = "app";

/// Why a character stands in a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The expression says so.
    Fixed,
    /// The expression has a `.` there: any character fits, and a dot was probably meant.
    Dot,
    /// One of several that fit.
    Free,
}

/// A value that fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sample {
    pub(super) text: String,
    /// One for each byte.
    pub(super) marks: Vec<Mark>,
}

/// Some values that fit: for each alternative, without what may be absent and with it. None for an expression with
/// unusual parts.
pub(super) fn samples(expression: &Hir) -> Vec<Sample> {
    let variants = alternatives(expression).min(ALTERNATIVES_MAX);
    let mut found = Vec::new();
    for variant in 0..variants {
        for full in [false, true] {
            let mut sample = Sample::default();
            if (Writer { variant, full }).write(expression, &mut sample).is_some() && !found.contains(&sample) {
                found.push(sample);
            }
        }
    }
    found
}

/// Whether anything may stand at the beginning or the end, as with `.*`.
pub(super) fn open_ended(expression: &Hir) -> bool {
    match expression.kind() {
        HirKind::Repetition(repetition) => repetition.max.is_none() && is_any(&repetition.sub),
        HirKind::Capture(capture) => open_ended(&capture.sub),
        HirKind::Alternation(options) => options.iter().any(open_ended),
        HirKind::Concat(parts) => {
            let mut solid = parts.iter().filter(|part| !matches!(part.kind(), HirKind::Look(_)));
            let first = solid.next();
            let last = solid.next_back().or(first);
            first.is_some_and(open_ended) || last.is_some_and(open_ended)
        }
        _ => false,
    }
}

/// The largest number of alternatives in one group.
fn alternatives(expression: &Hir) -> usize {
    match expression.kind() {
        HirKind::Alternation(options) => options.iter().map(alternatives).max().unwrap_or(1).max(options.len()),
        HirKind::Concat(parts) => parts.iter().map(alternatives).max().unwrap_or(1),
        HirKind::Capture(capture) => alternatives(&capture.sub),
        HirKind::Repetition(repetition) => alternatives(&repetition.sub),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => 1,
    }
}

struct Writer {
    /// Which alternative is taken.
    variant: usize,
    /// Whether what may be absent is there.
    full: bool,
}

impl Writer {
    /// `None` when the sample gets too long, or is no text.
    fn write(&self, expression: &Hir, sample: &mut Sample) -> Option<()> {
        match expression.kind() {
            HirKind::Empty | HirKind::Look(_) => Some(()),
            HirKind::Literal(literal) => sample.push(std::str::from_utf8(&literal.0).ok()?, Mark::Fixed),
            HirKind::Class(_) if is_any(expression) => sample.push(".", Mark::Dot),
            HirKind::Class(class) => {
                let (character, mark) = one_of(class)?;
                sample.push(character.encode_utf8(&mut [0; 4]), mark)
            }
            HirKind::Capture(capture) => self.write(&capture.sub, sample),
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.write(part, sample)),
            HirKind::Alternation(options) => self.write(options.get(self.variant % options.len())?, sample),
            HirKind::Repetition(repetition) => {
                let least = repetition.min as usize;
                let most = repetition.max.map_or(usize::MAX, |max| max as usize);
                let times = if self.full { least.max(1).min(most) } else { least };
                if let HirKind::Class(class) = repetition.sub.kind() {
                    return sample.push(&some_of(class, times, most)?, Mark::Free);
                }
                (0..times).try_for_each(|_| self.write(&repetition.sub, sample))
            }
        }
    }
}

impl Sample {
    fn push(&mut self, text: &str, mark: Mark) -> Option<()> {
        self.text.push_str(text);
        self.marks.resize(self.text.len(), mark);
        (self.text.len() <= SAMPLE_MAX).then_some(())
    }
}

/// `.`, or a class that is as wide.
fn is_any(expression: &Hir) -> bool {
    match expression.kind() {
        HirKind::Class(class) => "/.@- x0:".chars().all(|c| contains(class, c)),
        HirKind::Capture(capture) => is_any(&capture.sub),
        _ => false,
    }
}

/// A character of the class, readable if there is one. A letter in both cases counts as that letter.
fn one_of(class: &Class) -> Option<(char, Mark)> {
    let first = match class {
        Class::Unicode(class) => class.ranges().first()?.start(),
        Class::Bytes(class) => char::from(class.ranges().first()?.start()),
    };
    let readable = "aAx1v-_./:@".chars().chain('b'..='z').chain('0'..='9').find(|c| contains(class, *c));
    let lower = first.to_lowercase().next().unwrap_or(first);
    let both_cases = first != lower && contains(class, lower) && count(class) == 2;
    if both_cases { Some((lower, Mark::Fixed)) } else { Some((readable.unwrap_or(first), Mark::Free)) }
}

/// A word of the class where one fits, else one of its characters again and again.
fn some_of(class: &Class, times: usize, most: usize) -> Option<String> {
    if times == 0 {
        return Some(String::new());
    }
    if times <= WORD.len() && WORD.len() <= most && WORD.chars().all(|c| contains(class, c)) {
        return Some(WORD.to_owned());
    }
    let (character, _) = one_of(class)?;
    (times <= SAMPLE_MAX).then(|| character.to_string().repeat(times))
}

fn contains(class: &Class, character: char) -> bool {
    match class {
        Class::Unicode(class) => class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&character)),
        Class::Bytes(class) => {
            let byte = u8::try_from(character).ok();
            byte.is_some_and(|b| class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&b)))
        }
    }
}

fn count(class: &Class) -> u32 {
    match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| range.end() as u32 - range.start() as u32 + 1).sum(),
        Class::Bytes(class) => class.ranges().iter().map(|range| u32::from(range.end() - range.start()) + 1).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(expression: &str) -> Vec<String> {
        samples(&regex_syntax::parse(expression).unwrap()).into_iter().map(|sample| sample.text).collect()
    }

    #[test]
    fn samples_are_what_the_author_had_in_mind() {
        for (expression, expected) in [
            (r"https://github\.com/acme/[^/]+", vec!["https://github.com/acme/app"]),
            (r"^https://github.com/acme/.*$", vec!["https://github.com/acme/", "https://github.com/acme/app"]),
            (r"refs/(heads/main|tags/v[0-9.]+)", vec!["refs/heads/main", "refs/tags/v1"]),
            (r"(?i)acme\d{4}", vec!["acme1111"]),
            (r"a(/b)?", vec!["a", "a/b"]),
            (r"[^@]+@acme\.test", vec!["app@acme.test"]),
        ] {
            assert_eq!(texts(expression), expected, "{expression}");
        }
    }

    #[test]
    fn marks_tell_what_is_fixed() {
        let found = samples(&regex_syntax::parse(r"(?i)g.c/[^/]+").unwrap());
        let letters = found[0].marks.iter().map(|mark| match mark {
            Mark::Fixed => 'f',
            Mark::Dot => '.',
            Mark::Free => '*',
        });
        assert_eq!((found[0].text.as_str(), letters.collect::<String>()), ("g.c/app", "f.ff***".to_owned()));
    }

    #[test]
    fn open_ends() {
        for (expression, expected) in [
            (".*", true),
            ("^.*$", true),
            (".*x", true),
            ("x.+", true),
            ("(x.*)$", true),
            ("a|b.*", true),
            (r"[\s\S]*x", true),
            ("x.*y", false),
            ("x[^/]+", false),
            ("x.?", false),
            ("", false),
        ] {
            assert_eq!(open_ended(&regex_syntax::parse(expression).unwrap()), expected, "{expression}");
        }
    }

    proptest! {
        #[test]
        fn samples_fit_and_end(expression in r"[ab.\[\]^$()|*+?{}0-9\\/@-]{0,24}") {
            if let (Ok(hir), Ok(regex)) = (regex_syntax::parse(&expression), regex::Regex::new(&format!(r"\A(?:{expression})\z"))) {
                // Word boundaries and anchors inside may leave a sample that does not fit; others always do.
                let plain = !expression.contains(['^', '$', '\\']);
                for sample in samples(&hir) {
                    prop_assert!(!plain || regex.is_match(&sample.text), "{expression}: {:?}", sample.text);
                    prop_assert_eq!(sample.text.len(), sample.marks.len());
                }
            }
        }
    }
}
