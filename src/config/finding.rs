//! What a person reads about a configuration: one finding is one message with its place and a way out.

use std::fmt;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};

use super::source::Place;

/// One thing to say about the configuration.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) place: Option<Place>,
    title: String,
    label: Option<String>,
    help: Option<String>,
}

/// Something legal that is probably not meant.
#[derive(Clone, Debug)]
pub struct Warning(pub(super) Finding);

/// Everything that keeps a configuration from being used, in the order of the text. Never empty.
#[derive(Clone, Debug)]
pub struct Problems(pub(super) Vec<Finding>);

impl Finding {
    /// `key` is the full path of the key that the finding is about.
    pub(super) fn new(key: Option<&str>, message: &str, place: Option<Place>) -> Self {
        let title = match key {
            Some(key) => format!("{key}: {message}"),
            None => message.to_owned(),
        };
        Self { place, title: printable(&title), label: None, help: None }
    }

    /// What stands at the place in the text.
    pub(super) fn label(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.label = Some(printable(text.as_ref()));
        self
    }

    /// What to do about it.
    pub(super) fn help(&mut self, text: impl AsRef<str>) -> &mut Self {
        self.help = Some(printable(text.as_ref()));
        self
    }

    fn render(&self, level: &Level<'_>, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let mut group = annotate_snippets::Group::with_title(level.clone().primary_title(&self.title));
        if let Some(place) = &self.place {
            let name = place.source.name.as_str();
            if may_hold_a_secret(place.lines()) {
                let (line, column) = place.line_and_column();
                group = group.element(Origin::path(name).line(line).char_column(column));
            } else {
                let marked = AnnotationKind::Primary.span(place.span.clone()).label(self.label.as_deref());
                group = group.element(Snippet::source(&place.source.text).path(name).annotation(marked));
            }
        }
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.decor_style(DecorStyle::Ascii).render(&[group])
    }
}

impl Warning {
    /// For a terminal or a log.
    pub fn render(&self, colour: bool) -> String {
        self.0.render(&Level::WARNING, colour)
    }
}

impl Problems {
    pub(super) fn one(finding: Finding) -> Self {
        Self(vec![finding])
    }

    /// For a terminal: every problem, with an empty line between two.
    pub fn render(&self, colour: bool) -> String {
        self.0.iter().map(|finding| finding.render(&Level::ERROR, colour)).collect::<Vec<_>>().join("\n\n")
    }

    /// How many there are: at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Problems {}

/// Files hold no secrets when they are right, but a message about a wrong one may end up in a log.
fn may_hold_a_secret(lines: &str) -> bool {
    let lower = lines.to_ascii_lowercase();
    let keyed = lower.split('=').any(|before| {
        let key = before.trim_end().rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
        let names_one = ["passw", "token", "secret"].iter().any(|word| key.contains(word));
        let harmless = ["password_file", "token_realms", "token_subject"];
        names_one && !harmless.iter().any(|name| key.ends_with(name))
    });
    let authority = |rest: &str| rest.split(['/', '"', '\'']).next().is_some_and(|host| host.contains('@'));
    keyed || lower.split("://").skip(1).any(authority)
}

/// One line, whatever it was made from.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() }).collect()
}
