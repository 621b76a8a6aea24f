//! A manifest that may be served, what it weighs in memory, and how long it stands.

use std::sync::Arc;

use jiff::Timestamp;

use crate::oci::Manifest;
use crate::trust::{self, Artefact, Decision, Verdict, Verified};

use super::question::Question;

/// A manifest that may be served.
#[derive(Clone, Debug)]
pub enum Admission {
    /// An index or image that a rule lets through.
    Image(Verified<Manifest>),
    /// A signature artefact.
    Artefact(Artefact),
}

impl Admission {
    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        match self {
            Self::Image(verified) => verified.get(),
            Self::Artefact(artefact) => artefact.manifest(),
        }
    }

    /// Why it may be served.
    pub fn verdict(&self) -> &Arc<Verdict> {
        match self {
            Self::Image(verified) => verified.verdict(),
            Self::Artefact(artefact) => artefact.verdict(),
        }
    }

    /// Some bytes that it takes in memory.
    pub(super) fn weight(&self) -> u32 {
        // Parsed, a manifest takes some three times its bytes.
        let manifest = self.manifest().bytes().len().saturating_mul(4);
        u32::try_from(manifest.saturating_add(weight(self.verdict()))).unwrap_or(u32::MAX)
    }
}

/// Some bytes that a verdict takes in memory. A small manifest can have a hundred signatures, most of them bad.
pub(super) fn weight(verdict: &Verdict) -> usize {
    const REPORT: usize = 1024;
    (verdict.candidates.len() + verdict.looked_at.len()).saturating_mul(REPORT)
}

/// Whether what was admitted earlier may be served to this question: judged under the very same rule, and
/// not outlived by what it rests on.
pub(super) fn stands(verdict: &Verdict, question: &Question, now: Timestamp) -> bool {
    match &verdict.decision {
        Decision::Verified { .. } => trust::still_stands(verdict, &question.rule, now),
        _ => verdict.fingerprint == question.rule.fingerprint(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{Found, Judgement, Looked, Rule, Search, danger};

    #[test]
    fn what_is_said_about_a_manifest_weighs_as_it_does() {
        let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let manifest = Manifest::parse(index.as_slice().into(), None).unwrap();
        let written = danger::Unsigned::as_written_by_the_operator();
        let rule = Rule::new("test".to_owned(), vec![], trust::Enforcement::Off(written));
        let weight = |places: usize| {
            let looked = Looked { place: "a place".to_owned(), found: Found::Nothing };
            let search = Search { candidates: vec![], looked_at: vec![looked; places] };
            let repository = "test.assay/app".parse().unwrap();
            match trust::judge(manifest.clone(), &repository, &rule, &search, Timestamp::UNIX_EPOCH) {
                Judgement::Allow(verified) => Admission::Image(verified).weight(),
                _ => panic!("the rule is off"),
            }
        };
        assert!(weight(0) < 1000);
        assert!(weight(1000) > 1_000_000);
    }
}
