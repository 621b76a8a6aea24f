//! Where configuration comes from: one file, and environment variables as if they stood behind it.

use std::ops::Range;
use std::sync::Arc;

/// One text with the name that messages call it by.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// A piece of one source.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    pub(super) span: Range<usize>,
    /// Its start among all texts: findings are told in this order.
    pub(super) position: usize,
}

/// All texts, end to end, so that one span stands for one place in one of them.
#[derive(Debug)]
pub(super) struct Sources {
    parts: Vec<(usize, Arc<Source>)>,
    end: usize,
}

impl Sources {
    /// The file comes first, so the spans of its parser need no change.
    pub(super) fn of_file(name: &str, text: &str) -> Self {
        let mut sources = Self { parts: Vec::new(), end: 0 };
        sources.add(name.to_owned(), text.to_owned());
        sources
    }

    /// Adds a text and tells which span stands for it.
    pub(super) fn add(&mut self, name: String, text: String) -> Range<usize> {
        let span = self.end..self.end + text.len();
        self.parts.push((self.end, Arc::new(Source { name, text })));
        // One between two texts, so that the empty span behind one is not the start of the next.
        self.end = span.end + 1;
        span
    }

    /// The place that a span stands for, on whole characters of one source.
    pub(super) fn place(&self, span: &Range<usize>) -> Option<Place> {
        let (start, source) = self.parts.iter().rev().find(|(start, _)| *start <= span.start)?;
        let whole = |at: usize| {
            let at = at.saturating_sub(*start).min(source.text.len());
            (0..=at).rev().find(|at| source.text.is_char_boundary(*at)).unwrap_or(0)
        };
        let (from, to) = (whole(span.start), whole(span.end));
        Some(Place { source: Arc::clone(source), span: from..to.max(from), position: span.start })
    }
}

impl Place {
    /// Line and column of its start, both from 1; the column in characters.
    pub(super) fn line_and_column(&self) -> (usize, usize) {
        let before = &self.source.text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The lines that it touches.
    pub(super) fn lines(&self) -> &str {
        let text = &self.source.text;
        let from = text[..self.span.start].rfind('\n').map_or(0, |at| at + 1);
        let to = text[self.span.end..].find('\n').map_or(text.len(), |at| self.span.end + at);
        &text[from..to]
    }
}
