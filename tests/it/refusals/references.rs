//! For which repository it was signed, where the rule asks for it.

use assay::demo::classic_payload;
use assay::trust::DockerReference;
use assay::trust::Reason::WrongReference;

use super::case::{Case, REPOSITORY, subject};
use super::row::{BUNDLES, CLASSIC, Row, row, run};

fn signed_for(case: &mut Case, reference: &str) {
    case.payload = classic_payload(reference, subject()).into_bytes();
}

fn asked_as(case: &mut Case, name: &str) {
    case.repository = name.parse().unwrap();
}

fn remap(case: &mut Case) {
    let (ours, signed) = ("mirror.test/acme".to_owned(), "registry.test/acme".to_owned());
    case.demand.docker_reference = DockerReference::Remap { ours, signed };
    asked_as(case, "mirror.test/acme/app");
}

const REFERENCES: &[Row] = &[
    row(
        30,
        "signed for another repository",
        CLASSIC,
        |c| signed_for(c, "registry.test/acme/other"),
        WrongReference,
        "signed for `registry.test/acme/other`, expected `registry.test/acme/app`",
    )
    .given(|c| c.demand.docker_reference = DockerReference::Repository),
    row(
        30,
        "asked for in another repository",
        CLASSIC,
        |c| asked_as(c, "registry.test/acme/copy"),
        WrongReference,
        "signed for `registry.test/acme/app`, expected `registry.test/acme/copy`",
    )
    .given(|c| c.demand.docker_reference = DockerReference::Repository),
    row(
        30,
        "signed for no repository",
        CLASSIC,
        |c| signed_for(c, ""),
        WrongReference,
        "signed for ``, expected `registry.test/acme/app`",
    )
    .given(|c| c.demand.docker_reference = DockerReference::Repository)
    .beside(|c| signed_for(c, "registry.test/acme/app:1.0")),
    row(
        30,
        "not signed for the one repository of the rule",
        CLASSIC,
        |c| c.demand.docker_reference = DockerReference::Exact("registry.test/acme/other".parse().unwrap()),
        WrongReference,
        "signed for `registry.test/acme/app`, expected `registry.test/acme/other`",
    )
    .given(|c| asked_as(c, "mirror.test/somewhere/else"))
    .beside(|c| c.demand.docker_reference = DockerReference::Exact(REPOSITORY.parse().unwrap())),
    row(
        30,
        "signed for the one repository of the rule and more",
        CLASSIC,
        |c| signed_for(c, "registry.test/acme/app/evil"),
        WrongReference,
        "signed for `registry.test/acme/app/evil`, expected `registry.test/acme/app`",
    )
    .given(|c| c.demand.docker_reference = DockerReference::Exact(REPOSITORY.parse().unwrap())),
    row(
        30,
        "signed for another repository than the mirrored one",
        CLASSIC,
        |c| signed_for(c, "registry.test/acme/other"),
        WrongReference,
        "signed for `registry.test/acme/other`, expected `registry.test/acme/app`",
    )
    .given(remap),
    row(
        30,
        "signed under the mirror's own name",
        CLASSIC,
        |c| signed_for(c, "mirror.test/acme/app"),
        WrongReference,
        "signed for `mirror.test/acme/app`, expected `registry.test/acme/app`",
    )
    .given(remap),
    row(
        30,
        "outside of the mirrored prefix",
        CLASSIC,
        |c| asked_as(c, "mirror.test/acme-evil/app"),
        WrongReference,
        "expected `mirror.test/acme-evil/app`",
    )
    .given(remap),
    row(
        30,
        "a bundle, which names no repository",
        BUNDLES,
        |c| c.demand.docker_reference = DockerReference::Repository,
        WrongReference,
        "a bundle names no repository",
    ),
    row(
        30,
        "a bundle, where one repository is asked for",
        BUNDLES,
        |c| c.demand.docker_reference = DockerReference::Exact(REPOSITORY.parse().unwrap()),
        WrongReference,
        "a bundle names no repository",
    ),
];

pub fn rows() -> Vec<Row> {
    REFERENCES.to_vec()
}

#[test]
fn a_signature_counts_for_its_own_repository() {
    run(REFERENCES);
}
