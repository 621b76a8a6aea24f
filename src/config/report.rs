//! Collects what the checks find.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::finding::{Finding, Problems, Warning};
use super::source::Sources;
use super::tree;

/// Where checks put what they find. It knows which key stands where.
pub(super) struct Report<'a> {
    sources: &'a Sources,
    tree: DeTable<'a>,
    /// Relative paths start here: the folder of the file.
    base: PathBuf,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    /// Paths of what could not be read. What is missing because of that is not worth a word.
    unread: Vec<String>,
    files: Vec<PathBuf>,
    unheard: Finding,
}

impl<'a> Report<'a> {
    pub(super) fn new(sources: &'a Sources, tree: DeTable<'a>, base: &Path) -> Self {
        let unheard = Finding::new(None, "", None);
        Self {
            sources,
            tree,
            base: base.to_owned(),
            errors: Vec::new(),
            warnings: Vec::new(),
            unread: Vec::new(),
            files: Vec::new(),
            unheard,
        }
    }

    /// Something is wrong with what stands at `span`.
    pub(super) fn error(&mut self, span: Range<usize>, message: impl AsRef<str>) -> &mut Finding {
        let finding = self.at(&span, message.as_ref());
        self.errors.push(finding);
        self.errors.last_mut().expect("just pushed")
    }

    /// What stands at `span` cannot be read at all.
    pub(super) fn unreadable(&mut self, span: Range<usize>, message: impl AsRef<str>) -> &mut Finding {
        self.unread.extend(self.path_at(&span));
        self.error(span, message)
    }

    /// The unknown key at `span` was probably meant to be `key`, which is then not missing.
    pub(super) fn meant(&mut self, span: &Range<usize>, key: &str) {
        if let Some(path) = self.path_at(span) {
            let table = path.rsplit_once('.').map(|(table, _)| format!("{table}.")).unwrap_or_default();
            self.unread.push(format!("{table}{key}"));
        }
    }

    /// Legal, but probably not meant.
    pub(super) fn warn(&mut self, span: Range<usize>, message: impl AsRef<str>) -> &mut Finding {
        let finding = self.at(&span, message.as_ref());
        self.warnings.push(finding);
        self.warnings.last_mut().expect("just pushed")
    }

    /// The table `path`, whose head stands at `span`, lacks `key`.
    pub(super) fn missing(&mut self, path: &str, key: &str, span: Range<usize>) -> &mut Finding {
        let below = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        if self.unread.iter().any(|unread| starts_with_path(unread, &below) || starts_with_path(&below, unread)) {
            return &mut self.unheard;
        }
        self.errors.push(Finding::new(Some(&below), "missing", self.sources.place(&span)));
        self.errors.last_mut().expect("just pushed")
    }

    /// The full path of the key at `span`.
    pub(super) fn path_at(&self, span: &Range<usize>) -> Option<String> {
        tree::path_at(&self.tree, span)
    }

    /// Where `span` is in its text.
    pub(super) fn place(&self, span: &Range<usize>) -> Option<super::source::Place> {
        self.sources.place(span)
    }

    /// A path as written, from the folder of the file.
    pub(super) fn file(&self, path: &Spanned<String>) -> PathBuf {
        self.base.join(path.get_ref())
    }

    /// This file was read, and the settings rest on it.
    pub(super) fn rests_on(&mut self, path: PathBuf) {
        if !self.files.contains(&path) {
            self.files.push(path);
        }
    }

    /// Every file that was noted so, none twice.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.files.clone()
    }

    /// Whether anything below this key could not be read.
    pub(super) fn has_unread(&self, path: &str) -> bool {
        self.unread.iter().any(|unread| starts_with_path(unread, path))
    }

    /// Ends the collection: problems, or warnings only.
    pub(super) fn finish(self) -> Result<Vec<Warning>, Problems> {
        if !self.errors.is_empty() {
            return Err(self.into_problems());
        }
        Ok(in_order(self.warnings).into_iter().map(Warning).collect())
    }

    /// Ends the collection when it is known to hold problems.
    pub(super) fn into_problems(self) -> Problems {
        Problems(in_order(self.errors))
    }

    fn at(&self, span: &Range<usize>, message: &str) -> Finding {
        Finding::new(self.path_at(span).as_deref(), message, self.sources.place(span))
    }
}

fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.place.as_ref().map(|place| place.position));
    findings
}

fn starts_with_path(path: &str, start: &str) -> bool {
    path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
