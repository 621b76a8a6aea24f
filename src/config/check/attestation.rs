//! `[[policy.attestation]]`: what else must be attested, by whom, and what it must say.

use toml::Spanned;
use url::Url;

use crate::trust::{AttestationDemand, COSIGN_SIGN_V1, Condition, Matcher, PREDICATE_TYPES, Signer, predicate_type};

use super::super::file::{self, Text};
use super::super::read::nearest;
use super::super::report::Report;
use super::expression::{self, Says};
use super::signer;

/// All attestations that the policy at `path` asks for. Those without signers of their own take the policy's.
pub(super) fn all(
    written: Vec<Spanned<file::Table<file::Attestation>>>,
    path: &str,
    signers: &[Signer],
    report: &mut Report<'_>,
) -> Vec<AttestationDemand> {
    let mut found: Vec<AttestationDemand> = Vec::new();
    for (i, table) in written.into_iter().enumerate() {
        let head = table.span();
        let path = format!("{path}.attestation[{i}]");
        let Some(demand) = one(table, &path, signers, report) else { continue };
        if let Some(same) = found.iter().position(|other| other.id() == demand.id()) {
            report.warn(head, format!("asks for the same as attestation[{same}]")).help("take one of them out");
        }
        found.push(demand);
    }
    found
}

fn one(
    table: Spanned<file::Table<file::Attestation>>,
    path: &str,
    signers: &[Signer],
    report: &mut Report<'_>,
) -> Option<AttestationDemand> {
    let head = table.span();
    let written = table.into_inner().0;
    let predicate_type = match &written.predicate_type {
        Some(text) => of_type(text, report),
        None => {
            report
                .missing(path, "type", head.clone())
                .help("write a predicate type: type = \"https://slsa.dev/provenance/v1\"");
            None
        }
    };
    let conditions = conditions(&written, predicate_type.as_deref(), report);
    let require = written.require.unwrap_or_default();
    let own = !written.signer.is_empty() || report.has_unread(&format!("{path}.signer"));
    let signers = match own {
        true => signer::all(written.signer, &format!("{path}.signer"), require, report),
        false => signers.to_vec(),
    };
    if signers.is_empty() && !own && !report.has_unread(&format!("{}.signer", path.split(".attestation").next()?)) {
        report
            .error(head, "nobody may attest it: neither this table nor the policy has signers")
            .help("add [[policy.attestation.signer]], or [[policy.signer]] for both");
    }
    let about = written.about.unwrap_or_default();
    Some(AttestationDemand { predicate_type: predicate_type?, about, require, signers, conditions })
}

fn of_type(text: &Text, report: &mut Report<'_>) -> Option<String> {
    let found = predicate_type(text.get_ref());
    if found == COSIGN_SIGN_V1 {
        report
            .error(text.span(), "that is the type of signatures, not of attestations")
            .help("[[policy.signer]] asks for signatures; take this table out");
        return None;
    }
    if Url::parse(found).is_err() {
        let short = PREDICATE_TYPES.map(|(short, _)| short);
        let help = match nearest(text.get_ref(), &short) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("write the predicate type's URI, or one of cosign's words: {}", short.join(", ")),
        };
        report.error(text.span(), "not a predicate type").help(help);
        return None;
    }
    Some(found.to_owned())
}

fn conditions(written: &file::Attestation, of_type: Option<&str>, report: &mut Report<'_>) -> Vec<Condition> {
    let mut found = Vec::new();
    let (builder, builder_regexp) = (written.builder_id.as_ref(), written.builder_id_regexp.as_ref());
    let (source, source_regexp) = (written.source_repository.as_ref(), written.source_repository_regexp.as_ref());
    let builder_id = expression::either(builder, builder_regexp, "builder_id", Says::Who, report);
    let source_repository = expression::either(source, source_regexp, "source_repository", Says::Who, report);
    for at in [builder.or(builder_regexp), source.or(source_regexp)].into_iter().flatten() {
        if of_type.is_some_and(|uri| !uri.starts_with("https://slsa.dev/provenance/")) {
            report
                .error(at.span(), "only SLSA provenance has this field, and `type` is another one")
                .help("use `where` with a JSON pointer, or type = \"https://slsa.dev/provenance/v1\"");
        }
    }
    found.extend(builder_id.map(Condition::builder_id));
    found.extend(source_repository.map(Condition::source_repository));
    found.extend(written.conditions.iter().filter_map(|(pointer, text)| at(pointer, text, report)));
    found
}

fn at(pointer: &Text, text: &Text, report: &mut Report<'_>) -> Option<Condition> {
    if !is_pointer(pointer.get_ref()) {
        report
            .error(pointer.span(), "not a JSON pointer")
            .help("write the path into the predicate with slashes: \"/buildDefinition/buildType\"; `*` is every member of a list");
        return None;
    }
    let wanted = Matcher::exact(text.get_ref().as_str());
    Some(Condition { name: pointer.get_ref().clone(), pointers: vec![pointer.get_ref().clone()], wanted })
}

/// RFC 6901, without the empty one: a predicate is an object.
fn is_pointer(text: &str) -> bool {
    let escapes = |part: &str| part.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.len() > 1 && text.starts_with('/') && escapes(text)
}
