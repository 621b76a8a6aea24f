//! Attestations that a rule asks for: missing, of another type, by others, about something else, saying something else
//! (CVE-2022-35929, CVE-2022-35930).

use assay::trust::Reason::{MissingAttestation, MissingSigner, NoSignature, WrongAttestation};
use assay::trust::{About, AttestationDemand, Candidate, Condition, Matcher, Material, Require};
use serde_json::{Value, json};

use super::case::{
    By, Case, IMAGE, OTHER_IMAGE, PROVENANCE, RELEASE, STRANGER, key, other, platform, subject, workflow,
};
use super::row::{ALL, BUNDLES, CLASSIC, Row, row, run};
use crate::support::sigstore::CertificateRequest;

const BUILDER: &str = "https://github.com/acme/builder/.github/workflows/build.yml@refs/tags/v1";
const SOURCE: &str = "https://github.com/acme/app";
const SPDX: &str = "https://spdx.dev/Document";

fn provenance(builder: &str, source: &str) -> Value {
    json!({
        "buildDefinition": { "externalParameters": { "workflow": { "repository": source } } },
        "runDetails": { "builder": { "id": builder } },
    })
}

fn demand(case: &Case, predicate_type: &str, about: About, conditions: Vec<Condition>) -> AttestationDemand {
    let signers = case.demand.signers.clone();
    AttestationDemand { predicate_type: predicate_type.to_owned(), about, require: Require::Any, signers, conditions }
}

/// The rule asks for provenance of the index beside its signature, and both are there.
fn asked(case: &mut Case) {
    asked_with(case, vec![]);
}

fn asked_with(case: &mut Case, conditions: Vec<Condition>) {
    case.attest_beside(PROVENANCE, provenance(BUILDER, SOURCE));
    let asked = demand(case, PROVENANCE, About::Index, conditions);
    case.demand.attestations.push(asked);
}

/// The rule asks for provenance of each platform, and this one's is there.
fn asked_of_platforms(case: &mut Case) {
    let asked = demand(case, PROVENANCE, About::Platform, vec![]);
    case.demand.attestations.push(asked);
    case.attest(PROVENANCE, provenance(BUILDER, SOURCE));
    case.attests = true;
    case.asked = platform();
    case.is_platform = true;
    about(case, IMAGE.platforms[0].manifest.digest);
}

fn about(case: &mut Case, digest: assay::oci::Digest) {
    case.says.subject = json!([{ "digest": { "sha256": digest.hex() } }]);
}

/// By somebody whom the rule does not name.
fn by_a_stranger(case: &mut Case) {
    case.key = STRANGER.clone();
    case.request = CertificateRequest::github("evil/app", "release.yml", "refs/tags/v1.0.0");
}

/// With white space behind the envelope, which changes nothing that is signed.
fn spaced(mut candidate: Candidate) -> Candidate {
    let Material::ClassicAttestation { envelope, .. } = &mut candidate.material else { panic!("an attestation") };
    *envelope = [envelope.as_ref(), b" "].concat().into();
    candidate
}

fn where_it_says(case: &mut Case) {
    let wanted = Matcher::expression("https://github.com/acme/.*").unwrap();
    let pointers = vec!["/buildDefinition/resolvedDependencies/*/uri".to_owned()];
    asked_with(case, vec![Condition { name: "dependency".to_owned(), pointers, wanted }]);
}

fn depends_on(case: &mut Case, uris: &[&str]) {
    let uris: Vec<_> = uris.iter().map(|uri| json!({ "uri": uri })).collect();
    case.says.predicate = json!({ "buildDefinition": { "resolvedDependencies": uris } });
}

const LACKS: &str = "no attestation `https://slsa.dev/provenance/v1` by ";

const MISSING: &[Row] = &[
    row(5, "there is only a signature", ALL, |c| c.found = Some(c.beside.clone()), MissingAttestation, LACKS)
        .given(asked),
    row(5, "there is only an attestation", ALL, |c| c.beside.clear(), NoSignature, "no signature found")
        .given(asked)
        .beside(|c| {
            c.beside.clear();
            c.demand.attestations_only = true;
        }),
    row(6, "of another type", ALL, |c| c.says.predicate_type = SPDX.to_owned(), MissingAttestation, LACKS).given(asked),
    row(
        6,
        "of an older version of the type",
        ALL,
        |c| c.says.predicate_type = "https://slsa.dev/provenance/v0.2".to_owned(),
        MissingAttestation,
        LACKS,
    )
    .given(asked),
    row(6, "of a type that begins like it", ALL, |c| c.says.predicate_type.push_str(".1"), MissingAttestation, LACKS)
        .given(asked),
    row(
        6,
        "of the type in other case",
        ALL,
        |c| c.says.predicate_type = "https://slsa.dev/Provenance/v1".to_owned(),
        MissingAttestation,
        LACKS,
    )
    .given(asked),
    row(
        6,
        "a statement of a version that nobody knows",
        ALL,
        |c| c.says.statement_type = "https://in-toto.io/Statement/v9".to_owned(),
        MissingAttestation,
        LACKS,
    )
    .given(asked)
    .beside(|c| c.says.statement_type = "https://in-toto.io/Statement/v0.1".to_owned()),
    row(6, "by somebody else", ALL, by_a_stranger, MissingAttestation, LACKS).given(asked),
    row(
        6,
        "by a signer of the image who may not attest",
        ALL,
        |c| c.demand.attestations[0].signers = vec![key(&STRANGER)],
        MissingAttestation,
        "no attestation `https://slsa.dev/provenance/v1` by release",
    )
    .given(asked)
    .beside(|c| c.demand.attestations[0].signers.insert(0, key(&STRANGER))),
    row(6, "about another image", ALL, |c| about(c, OTHER_IMAGE.index.digest), MissingAttestation, LACKS).given(asked),
    row(6, "about a platform", ALL, |c| about(c, IMAGE.platforms[0].manifest.digest), MissingAttestation, LACKS)
        .given(asked)
        .beside(|c| about(c, subject())),
    row(6, "not in the log", ALL, |c| c.edit = |signed, _| signed.without_log_entry(), MissingAttestation, LACKS)
        .given(asked),
    row(
        6,
        "with a broken signature",
        ALL,
        |c| c.edit = |signed, _| signed.break_signature(),
        MissingAttestation,
        LACKS,
    )
    .given(asked),
    row(
        6,
        "rewritten to this image under the original signature",
        ALL,
        |c| {
            about(c, other());
            c.edit = |signed, case| {
                let ours = case.about(subject()).signed();
                signed.swap_payload_with(&ours)
            };
        },
        MissingAttestation,
        LACKS,
    )
    .given(asked),
    row(
        6,
        "one of two that are asked for",
        ALL,
        |_| {},
        MissingAttestation,
        "no attestation `https://spdx.dev/Document` by ",
    )
    .given(|c| {
        asked(c);
        let bill = demand(c, SPDX, About::Index, vec![]);
        c.demand.attestations.push(bill);
    })
    .beside(|c| {
        let mut bill = c.clone();
        bill.attest(SPDX, json!({ "SPDXID": "SPDXRef-DOCUMENT" }));
        c.beside.push(bill.candidate());
    }),
    row(
        6,
        "written otherwise than it was logged",
        CLASSIC,
        |c| c.found = Some([spaced(c.candidate())].into_iter().chain(c.beside.clone()).collect()),
        MissingAttestation,
        LACKS,
    )
    .given(asked)
    .beside(|c| c.found = Some([c.candidate()].into_iter().chain(c.beside.clone()).collect())),
    row(
        6,
        "by one of two who both must attest",
        ALL,
        |c| c.demand.attestations[0].require = Require::All,
        MissingAttestation,
        LACKS,
    )
    .given(|c| {
        asked(c);
        c.demand.attestations[0].signers = vec![workflow(), key(&RELEASE)];
    }),
    row(6, "one that is asked for twice, and says one thing of two", ALL, |_| {}, MissingAttestation, LACKS)
        .given(|c| {
            asked_with(c, vec![Condition::builder_id(Matcher::exact(BUILDER))]);
            let source =
                demand(c, PROVENANCE, About::Index, vec![Condition::source_repository(Matcher::exact(SOURCE))]);
            c.demand.attestations.push(source);
            c.says.predicate = json!({ "builder": { "id": BUILDER } });
        })
        .beside(|c| {
            let mut source = c.clone();
            source.says.predicate = json!({ "invocation": { "configSource": { "uri": SOURCE } } });
            c.beside.push(source.candidate());
        }),
    row(
        5,
        "attested twice and signed by one of two",
        BUNDLES,
        |c| c.beside.push(c.candidate()),
        MissingSigner,
        "not signed by ",
    )
    .given(|c| {
        asked(c);
        c.trust([workflow(), key(&RELEASE)]);
        c.demand.require = Require::All;
    })
    .beside(|c| {
        for by in [By::Keyless, By::Key] {
            c.beside.push(Case::honest((c.form, by)).candidate());
        }
    }),
];

const SAYS_OTHERWISE: &[Row] = &[
    row(
        6,
        "by another builder",
        ALL,
        |c| c.says.predicate = provenance("https://evil.test/builder", SOURCE),
        WrongAttestation,
        "builder_id: found `https://evil.test/builder`, expected `https://github.com/acme/builder/",
    )
    .given(|c| asked_with(c, vec![Condition::builder_id(Matcher::exact(BUILDER))])),
    row(
        6,
        "by a builder that begins like it",
        ALL,
        |c| c.says.predicate = provenance(&format!("{BUILDER}-evil"), SOURCE),
        WrongAttestation,
        "builder_id: found `",
    )
    .given(|c| asked_with(c, vec![Condition::builder_id(Matcher::expression(BUILDER).unwrap())])),
    row(
        6,
        "by no builder",
        ALL,
        |c| c.says.predicate = json!({}),
        WrongAttestation,
        "builder_id: found nothing at /builder/id or /runDetails/builder/id",
    )
    .given(|c| asked_with(c, vec![Condition::builder_id(Matcher::exact(BUILDER))]))
    .beside(|c| c.says.predicate = json!({ "builder": { "id": BUILDER } })),
    row(
        6,
        "a builder that is no text",
        ALL,
        |c| c.says.predicate = json!({ "builder": { "id": [BUILDER] } }),
        WrongAttestation,
        "builder_id: found nothing",
    )
    .given(|c| asked_with(c, vec![Condition::builder_id(Matcher::exact(BUILDER))])),
    row(
        6,
        "from another source",
        ALL,
        |c| c.says.predicate = provenance(BUILDER, "https://github.com/acme-evil/app"),
        WrongAttestation,
        "source_repository: found `https://github.com/acme-evil/app`, expected `https://github.com/acme/app`",
    )
    .given(|c| asked_with(c, vec![Condition::source_repository(Matcher::exact(SOURCE))])),
    row(
        6,
        "the right builder, from another source",
        ALL,
        |c| c.says.predicate = provenance(BUILDER, "https://github.com/evil/app"),
        WrongAttestation,
        "source_repository: found `https://github.com/evil/app`",
    )
    .given(|c| {
        let conditions =
            vec![Condition::builder_id(Matcher::exact(BUILDER)), Condition::source_repository(Matcher::exact(SOURCE))];
        asked_with(c, conditions);
    }),
    row(
        6,
        "another builder, where somebody else may say anything",
        ALL,
        |c| c.says.predicate = provenance("https://evil.test/builder", SOURCE),
        WrongAttestation,
        "builder_id: found `https://evil.test/builder`",
    )
    .given(|c| {
        asked_with(c, vec![Condition::builder_id(Matcher::exact(BUILDER))]);
        let mut anything = demand(c, PROVENANCE, About::Index, vec![]);
        anything.signers = vec![key(&STRANGER)];
        c.demand.attestations.push(anything);
    })
    .beside(|c| {
        let mut strangers = c.clone();
        (strangers.by, strangers.key) = (By::Key, STRANGER.clone());
        c.beside.push(strangers.candidate());
    }),
    row(
        6,
        "another builder, where another type is missing, too",
        ALL,
        |c| c.says.predicate = provenance("https://evil.test/builder", SOURCE),
        MissingAttestation,
        "no attestation `https://spdx.dev/Document` by ",
    )
    .given(|c| {
        asked_with(c, vec![Condition::builder_id(Matcher::exact(BUILDER))]);
        let bill = demand(c, SPDX, About::Index, vec![]);
        c.demand.attestations.insert(0, bill);
    })
    .beside(|c| {
        let mut bill = c.clone();
        bill.attest(SPDX, json!({ "SPDXID": "SPDXRef-DOCUMENT" }));
        c.beside.push(bill.candidate());
    }),
    row(
        6,
        "none of its dependencies fits",
        ALL,
        |c| depends_on(c, &["https://evil.test/a", "https://evil.test/https://github.com/acme/b"]),
        WrongAttestation,
        "dependency: found `https://evil.test/a`, expected `https://github.com/acme/.*`",
    )
    .given(where_it_says)
    .beside(|c| depends_on(c, &["https://evil.test/a", "https://github.com/acme/b"])),
    row(
        6,
        "what is said elsewhere in the predicate",
        ALL,
        |c| c.says.predicate = json!({ "uri": "https://github.com/acme/b" }),
        WrongAttestation,
        "dependency: found nothing",
    )
    .given(where_it_says)
    .beside(|c| depends_on(c, &["https://github.com/acme/b"])),
];

const PLATFORMS: &[Row] = &[
    row(6, "no attestation of the platform", ALL, |c| c.found = Some(vec![]), MissingAttestation, LACKS)
        .given(asked_of_platforms),
    row(6, "about the index instead of the platform", ALL, |c| about(c, subject()), MissingAttestation, LACKS)
        .given(asked_of_platforms),
    row(
        6,
        "about another platform of the index",
        ALL,
        |c| about(c, IMAGE.platforms[1].manifest.digest),
        MissingAttestation,
        LACKS,
    )
    .given(asked_of_platforms),
    row(
        6,
        "of another type about the platform",
        ALL,
        |c| c.says.predicate_type = SPDX.to_owned(),
        MissingAttestation,
        LACKS,
    )
    .given(asked_of_platforms),
    row(6, "by somebody else about the platform", ALL, by_a_stranger, MissingAttestation, LACKS)
        .given(asked_of_platforms),
    row(
        6,
        "another builder of the platform",
        ALL,
        |c| c.says.predicate = provenance("https://evil.test/builder", SOURCE),
        WrongAttestation,
        "builder_id: found `https://evil.test/builder`",
    )
    .given(|c| {
        asked_of_platforms(c);
        c.demand.attestations[0].conditions = vec![Condition::builder_id(Matcher::exact(BUILDER))];
    }),
];

pub fn rows() -> Vec<Row> {
    [MISSING, SAYS_OTHERWISE, PLATFORMS].concat()
}

#[test]
fn what_is_asked_for_must_be_attested() {
    run(MISSING);
}

#[test]
fn an_attestation_must_say_what_is_asked_for() {
    run(SAYS_OTHERWISE);
}

#[test]
fn platforms_are_attested_by_themselves() {
    run(PLATFORMS);
}
