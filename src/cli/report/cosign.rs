//! The same check with cosign, as far as cosign can make it.

use crate::trust::{
    Decision, Demand, DockerReference, IdentitySigner, KeySigner, Matcher, PUBLIC_GOOD, PartKind, Reason, Require,
    Signer, Tlog, TrustRoot, Verdict,
};

use super::{Place, Report};
use crate::cli::plain::shell_word;

/// Most commands that are shown: a rule may name many signers.
const COMMANDS_MAX: usize = 4;

/// Commands to paste, and what they do not check.
pub(super) struct Cosign {
    /// Each for one signer; the words are quoted.
    pub(super) commands: Vec<String>,
    /// What cosign cannot be told, in words.
    pub(super) lacks: Vec<String>,
}

/// cosign's exact flags for claims; it has none for the others.
const CLAIM_FLAGS: [(&str, &str); 5] = [
    ("github_workflow_trigger", "--certificate-github-workflow-trigger"),
    ("github_workflow_sha", "--certificate-github-workflow-sha"),
    ("github_workflow_name", "--certificate-github-workflow-name"),
    ("github_workflow_repository", "--certificate-github-workflow-repository"),
    ("github_workflow_ref", "--certificate-github-workflow-ref"),
];

/// `None` where nobody's signature was asked for, so there is nothing to repeat.
pub(super) fn cosign(report: &Report<'_>) -> Option<Cosign> {
    let (verdict, demand) = (report.verdict()?, report.demand()?);
    let Place::Registry { host, plain_http } = &report.asked.place else {
        let lack = "it cannot read layout folders; copy the image with its signatures to a registry first";
        return Some(Cosign { commands: Vec::new(), lacks: vec![lack.to_owned()] });
    };
    let signers = asked_of(verdict, demand);
    let is_denied = matches!(verdict.refusal(), Some((Reason::Denied, _))) && verdict.candidates.is_empty();
    if signers.is_empty() || is_denied {
        return None;
    }
    let image = format!("{host}/{}@{}", report.asked.repository.path(), verdict.digest);
    let mut commands = Vec::new();
    let mut lacks = lacks(verdict, demand, signers.len());
    for signer in signers.iter().take(COMMANDS_MAX) {
        let mut flags = match signer {
            Signer::Key(key) => of_key(key, demand, verdict),
            Signer::Identity(identity) => of_identity(identity, demand, &mut lacks),
        };
        flags.extend(root(report, signer, verdict, demand, &mut lacks));
        if *plain_http {
            flags.push("--allow-http-registry".to_owned());
        }
        if demand.asks_for_a_signature() {
            let annotations =
                demand.annotations.iter().flat_map(|(key, value)| ["-a".to_owned(), format!("{key}={value}")]);
            commands.push(command("verify", flags.iter().cloned().chain(annotations), &image));
        }
        for attestation in
            demand.attestations.iter().filter(|asked| asked.signers.iter().any(|one| one.id() == signer.id()))
        {
            let mut flags = flags.clone();
            flags.extend(["--type".to_owned(), attestation.predicate_type.clone()]);
            commands.push(command("verify-attestation", flags.into_iter(), &image));
        }
    }
    if signers.len() > COMMANDS_MAX {
        lacks.push(format!("{} more signers whom the rule names", signers.len() - COMMANDS_MAX));
    }
    lacks.dedup();
    Some(Cosign { commands, lacks })
}

/// Who is to be checked: those who signed, or else everybody who may.
fn asked_of<'a>(verdict: &Verdict, demand: &'a Demand) -> Vec<&'a Signer> {
    let everybody = demand.signers.iter().chain(demand.attestations.iter().flat_map(|asked| &asked.signers));
    let mut signers: Vec<&Signer> = Vec::new();
    for signer in everybody {
        if !signers.iter().any(|other| other.id() == signer.id()) {
            signers.push(signer);
        }
    }
    if let Decision::Verified { signers: seen } = &verdict.decision {
        let attested = verdict.candidates.iter().flat_map(|candidate| &candidate.attestations);
        let seen: Vec<_> = seen.iter().chain(attested.flat_map(|seen| &seen.signers)).map(|seen| seen.id).collect();
        signers.retain(|signer| seen.contains(&signer.id()));
    }
    signers
}

fn command(verb: &str, flags: impl Iterator<Item = String>, image: &str) -> String {
    let words = ["cosign".to_owned(), verb.to_owned()].into_iter().chain(flags).chain([image.to_owned()]);
    words.map(|word| shell_word(&word)).collect::<Vec<_>>().join(" ")
}

fn of_key(signer: &KeySigner, demand: &Demand, verdict: &Verdict) -> Vec<String> {
    let mut flags = vec!["--key".to_owned(), signer.name.clone()];
    // cosign has no "optional": without an entry it must be told so.
    let logged = || match &verdict.decision {
        Decision::Verified { signers } => signers.iter().any(|seen| seen.log.is_some()),
        _ => true,
    };
    if demand.tlog == Tlog::Off || (demand.tlog == Tlog::Optional && !logged()) {
        flags.push("--insecure-ignore-tlog".to_owned());
    }
    flags
}

fn of_identity(signer: &IdentitySigner, demand: &Demand, lacks: &mut Vec<String>) -> Vec<String> {
    let mut flags = Vec::new();
    flags.extend(matched("--certificate-identity", &signer.identity));
    flags.extend(matched("--certificate-oidc-issuer", &signer.issuer));
    for (name, wanted) in &signer.claims {
        match CLAIM_FLAGS.iter().find(|(claim, _)| claim == name) {
            Some((_, flag)) if !wanted.is_expression() => {
                flags.extend([(*flag).to_owned(), wanted.as_str().to_owned()])
            }
            _ => lacks.push(format!("{name}, which the rule wants to be `{wanted}`")),
        }
    }
    if demand.tlog == Tlog::Off && demand.roots.iter().all(|root| !root.has(PartKind::TransparencyLog)) {
        flags.extend(["--insecure-ignore-tlog".to_owned(), "--use-signed-timestamps".to_owned()]);
    }
    flags
}

fn matched(flag: &str, wanted: &Matcher) -> [String; 2] {
    match wanted {
        Matcher::Exact(text) => [flag.to_owned(), text.clone()],
        Matcher::Expression(_) => [format!("{flag}-regexp"), anchored(wanted.as_str())],
    }
}

/// An expression as we match it, over the whole value; cosign looks for it anywhere in the value.
fn anchored(text: &str) -> String {
    let plain = !text.contains('|') && !text.contains("(?") && !text.ends_with(r"\$");
    if plain && text.starts_with('^') && text.ends_with('$') {
        return text.to_owned();
    }
    format!("^(?:{text})$")
}

/// The trusted root that it was verified under, or the first that could be.
fn root(
    report: &Report<'_>,
    signer: &Signer,
    verdict: &Verdict,
    demand: &Demand,
    lacks: &mut Vec<String>,
) -> Vec<String> {
    if signer.key().is_some() && demand.tlog == Tlog::Off {
        return Vec::new();
    }
    let used = match &verdict.decision {
        Decision::Verified { signers } => {
            signers.iter().find(|seen| seen.id == signer.id()).and_then(|seen| seen.root.as_deref())
        }
        _ => None,
    };
    let named = |root: &&TrustRoot| used.is_none_or(|used| used == root.name());
    let Some(root) = demand.roots.iter().find(named) else { return Vec::new() };
    if used.is_none() && demand.roots.len() > 1 {
        let others: Vec<&str> = demand.roots.iter().skip(1).map(TrustRoot::name).collect();
        lacks.push(format!("under the other trusted roots ({})", others.join(", ")));
    }
    let mut flags = Vec::new();
    if !root.has(PartKind::CertificateTransparencyLog) && signer.identity().is_some() {
        flags.push("--insecure-ignore-sct".to_owned());
    }
    if root.name() != PUBLIC_GOOD {
        let file = report.asked.root_files.get(root.name()).map_or_else(|| root.name(), String::as_str);
        flags.extend(["--trusted-root".to_owned(), file.to_owned()]);
    }
    flags
}

/// What a rule asks besides, and cosign cannot be asked.
fn lacks(verdict: &Verdict, demand: &Demand, signers: usize) -> Vec<String> {
    let mut lacks = Vec::new();
    if demand.require == Require::All && demand.signers.len() > 1 && signers > 1 {
        lacks.push("that all of them signed: run every command".to_owned());
    }
    if demand.docker_reference != DockerReference::Ignore {
        lacks.push("the repository that a classic signature names".to_owned());
    }
    if !demand.formats.classic || !demand.formats.bundle {
        lacks.push("in which layout the signature is written".to_owned());
    }
    if demand.max_signature_age.is_some() {
        lacks.push("how old the signature is".to_owned());
    }
    if !demand.denied_identities.is_empty() {
        lacks.push("which identities are denied".to_owned());
    }
    if demand.signers.iter().filter_map(Signer::key).any(|key| key.not_before.or(key.not_after).is_some()) {
        lacks.push("when a key may be used".to_owned());
    }
    if demand.attestations.iter().any(|asked| !asked.conditions.is_empty()) {
        lacks.push("what the attestation says".to_owned());
    }
    match verdict.refusal() {
        Some((Reason::NotASignature, _)) => {
            lacks.push("that it is a signature: it takes any statement by the right signer for one".to_owned());
        }
        Some((Reason::RolledBack, _)) => lacks.push("what the tag led to before".to_owned()),
        _ => {}
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_anchored_as_we_match_them() {
        assert_eq!(anchored("a.*"), "^(?:a.*)$");
        assert_eq!(anchored("^a$"), "^a$");
        assert_eq!(anchored("^a|b$"), "^(?:^a|b$)$", "each alternative has one anchor only");
        assert_eq!(anchored(r"^a\$"), r"^(?:^a\$)$", "that is a dollar sign");
        assert_eq!(anchored("(?i)^a$"), "^(?:(?i)^a$)$");
    }
}
