//! What a certificate's fields must be: exact texts and expressions, always over the whole value.

use std::fmt;

use regex::Regex;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

/// Longest expression, in bytes; real ones have some 150.
pub const EXPRESSION_MAX: usize = 2048;

/// Largest compiled expression, in bytes: a repetition of repetitions would take gigabytes.
const COMPILED_MAX: usize = 1024 * 1024;

/// What a value must be.
#[derive(Clone)]
pub enum Matcher {
    /// Exactly this.
    Exact(String),
    /// The whole of it fits this expression.
    Expression(Expression),
}

/// A regular expression that fits a whole value or does not fit.
#[derive(Clone)]
pub struct Expression {
    text: String,
    whole: Regex,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Too long to be read by a person either.
    #[error("longer than {EXPRESSION_MAX} bytes")]
    TooLong,
    /// It does not parse, or would grow too large.
    #[error("not a regular expression: {0}")]
    Syntax(String),
}

impl Matcher {
    /// Exactly `text`.
    pub fn exact(text: impl Into<String>) -> Self {
        Self::Exact(text.into())
    }

    /// Anything that as a whole fits `text`, whether or not it is written with anchors: cosign and
    /// Go search, and then `https://github.com/acme` fits `https://evil.test/https://github.com/acme-evil`.
    pub fn expression(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_MAX {
            return Err(ExpressionError::TooLong);
        }
        let build = |pattern: &str| regex::RegexBuilder::new(pattern).size_limit(COMPILED_MAX).build();
        // By itself first: between our parentheses `a)|(?:b` would parse, and fit more than it says.
        let whole = build(text).and_then(|_| build(&whole(text))).map_err(|error| {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            ExpressionError::Syntax(last.trim_start_matches("error: ").to_owned())
        })?;
        Ok(Self::Expression(Expression { text: text.to_owned(), whole }))
    }

    /// Whether the whole value fits.
    pub fn matches(&self, value: &str) -> bool {
        match self {
            Self::Exact(text) => text == value,
            Self::Expression(expression) => expression.whole.is_match(value),
        }
    }

    /// Where a value stops to fit, as a byte offset at a character's start: the length of its longest
    /// beginning with which some fitting value begins. The whole length when it only ends too early.
    pub fn differs_at(&self, value: &str) -> usize {
        let at = match self {
            Self::Exact(text) => text.bytes().zip(value.bytes()).take_while(|(a, b)| a == b).count(),
            Self::Expression(expression) => expression.lives_until(value).unwrap_or(0),
        };
        (0..=at.min(value.len())).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0)
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(text) => text,
            Self::Expression(expression) => &expression.text,
        }
    }

    /// Whether it is an expression.
    pub fn is_expression(&self) -> bool {
        matches!(self, Self::Expression(_))
    }
}

impl Expression {
    /// How many bytes of the value an automaton reads before no continuation could fit any more.
    fn lives_until(&self, value: &str) -> Option<usize> {
        let dfa = DFA::builder()
            .configure(DFA::config().match_kind(MatchKind::All).starts_for_each_pattern(false))
            .build(&whole(&self.text))
            .ok()?;
        let mut cache = dfa.create_cache();
        let mut state = dfa.start_state(&mut cache, &start::Config::new().anchored(Anchored::Yes)).ok()?;
        for (at, byte) in value.bytes().enumerate() {
            state = dfa.next_state(&mut cache, state, byte).ok()?;
            // A match state is told one byte late, and then only the end may follow.
            if state.is_dead() || state.is_quit() || state.is_match() {
                return Some(at);
            }
        }
        Some(value.len())
    }
}

fn whole(text: &str) -> String {
    // `\A` and `\z` mean the ends of the value whatever flags the text sets.
    format!(r"\A(?:{text})\z")
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(text) => write!(f, "exactly {text:?}"),
            Self::Expression(expression) => write!(f, "fits {:?}", expression.text),
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASES: &str = r"https://github\.com/acme/[^/]+/\.github/workflows/release\.yml@refs/tags/v[0-9.]+";
    const GOOD: &str = "https://github.com/acme/api/.github/workflows/release.yml@refs/tags/v1.9";

    fn expression(text: &str) -> Matcher {
        Matcher::expression(text).unwrap()
    }

    #[test]
    fn an_expression_fits_whole_values_only() {
        for text in [RELEASES, &format!("^{RELEASES}$"), &format!("(?m)^{RELEASES}$")] {
            let matcher = expression(text);
            assert!(matcher.matches(GOOD), "{text}");
            for bad in [
                format!("https://evil.test/{GOOD}"),
                format!("{GOOD}-evil"),
                format!("{GOOD}\n"),
                format!("x\n{GOOD}"),
                format!("{GOOD}\nx"),
                GOOD.replace("acme", "acme-evil/x"),
            ] {
                assert!(!matcher.matches(&bad), "{text} fits {bad:?}");
            }
        }
        assert!(expression("a|ab").matches("ab"), "an earlier, shorter alternative does not hide the whole one");
        assert!(!expression("a|b").matches("xb"));
        assert!(!expression("a|b").matches("ax"));
    }

    #[test]
    fn what_closes_our_parentheses_is_no_expression() {
        for bad in ["a)|(?:b", "a)", "(", "(?x) a # b", "a{1000}{1000}{1000}"] {
            assert!(matches!(Matcher::expression(bad), Err(ExpressionError::Syntax(_))), "{bad}");
        }
        assert_eq!(Matcher::expression(&"a".repeat(EXPRESSION_MAX + 1)).unwrap_err(), ExpressionError::TooLong);
        assert!(expression(&"a".repeat(EXPRESSION_MAX)).matches(&"a".repeat(EXPRESSION_MAX)));
    }

    #[test]
    fn it_says_where_a_value_stops_to_fit() {
        let matcher = expression(RELEASES);
        let branch = GOOD.replace("refs/tags/v1.9", "refs/heads/main");
        assert_eq!(&branch[matcher.differs_at(&branch)..], "heads/main");
        let other = GOOD.replace("acme", "acne");
        assert_eq!(&other[matcher.differs_at(&other)..], "ne/api/.github/workflows/release.yml@refs/tags/v1.9");
        assert_eq!(matcher.differs_at(&GOOD[..30]), 30, "it only ends too early");
        let longer = format!("{GOOD}!");
        assert_eq!(&longer[matcher.differs_at(&longer)..], "!");
        assert_eq!(Matcher::exact("ab").differs_at("ac"), 1);
        assert_eq!(Matcher::exact("é").differs_at("è"), 0, "at a character's start");
        assert_eq!(expression("é").differs_at("è"), 0);
    }
}
