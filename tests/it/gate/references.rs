//! For which repository a signature was made, where a rule asks for it.

use assay::demo::classic_payload;
use assay::trust::{DockerReference, Reason};

use super::world::{ALLOWED, Bundle, Classic, LAYOUTS, Layout, Scene, WORLD, assert_none, refused, repository};

fn remap(ours: &str, signed: &str) -> DockerReference {
    DockerReference::Remap { ours: ours.to_owned(), signed: signed.to_owned() }
}

/// Signed for `signed`, asked as `asked`.
fn scene(signed: &str, asked: &str, reference: DockerReference) -> Scene {
    let mut material = Classic::honest();
    material.payload = classic_payload(signed, WORLD.subject()).into_bytes();
    Scene { repository: repository(asked), reference, ..Scene::with([material.candidate()]) }
}

#[test]
fn a_signature_counts_for_its_own_repository() {
    use DockerReference::{Ignore, Repository};
    let acme = || remap("mirror.test/acme", "ghcr.io/acme");
    let hub = || remap("mirror.test/hub", "docker.io");
    let mut wrong = Vec::new();
    for (signed, asked, reference, allowed) in [
        // Row 30: the same digest, pulled from where it was not signed.
        ("registry.test/acme/app", "registry.test/acme/app", Repository, true),
        ("registry.test/acme/app:1.0", "registry.test/acme/app", Repository, true),
        ("Registry.TEST/acme/app", "registry.test/acme/app", Repository, true),
        ("registry.test/acme/app", "registry.test/acme/other", Repository, false),
        ("registry.test/acme/app", "registry.test/acme/app/x", Repository, false),
        ("registry.test/acme/app/x", "registry.test/acme/app", Repository, false),
        ("registry.test/acme/app", "registry.test:5000/acme/app", Repository, false),
        ("registry.test/acme/app", "evil.test/acme/app", Repository, false),
        ("evil.test/registry.test/acme/app", "registry.test/acme/app", Repository, false),
        ("registry.test/acme", "registry.test/acme/app", Repository, false),
        ("acme/app", "registry.test/acme/app", Repository, false),
        ("", "registry.test/acme/app", Repository, false),
        ("registry.test/acme/app ", "registry.test/acme/app", Repository, false),
        ("registry.test/ACME/app", "registry.test/acme/app", Repository, false),
        ("registry.test/acme/../acme/app", "registry.test/acme/app", Repository, false),
        ("https://registry.test/acme/app", "registry.test/acme/app", Repository, false),
        ("registry.test/acme/app", "registry.test/acme/other", Ignore, true),
        ("", "registry.test/acme/app", Ignore, true),
        ("???", "registry.test/acme/app", Ignore, true),
        // Docker Hub has many names.
        ("index.docker.io/library/nginx", "docker.io/library/nginx", Repository, true),
        ("docker.io/library/nginx", "docker.io/library/nginx", Repository, true),
        ("registry-1.docker.io/library/nginx", "docker.io/library/nginx", Repository, true),
        ("docker.io/nginx", "docker.io/library/nginx", Repository, true),
        ("nginx", "docker.io/library/nginx", Repository, true),
        ("index.docker.io/acme/app", "docker.io/acme/app", Repository, true),
        ("acme/app", "docker.io/acme/app", Repository, true),
        ("nginx", "docker.io/acme/nginx", Repository, false),
        ("docker.io/library/nginx", "docker.io/acme/nginx", Repository, false),
        // A mirror: what is asked here was signed there.
        ("ghcr.io/acme/app", "mirror.test/acme/app", acme(), true),
        ("ghcr.io/acme/a/b", "mirror.test/acme/a/b", acme(), true),
        ("ghcr.io/acme/other", "mirror.test/acme/app", acme(), false),
        ("ghcr.io/app", "mirror.test/acme/app", acme(), false),
        ("mirror.test/acme/app", "mirror.test/acme/app", acme(), false),
        // What lies outside of the prefix is asked for by its own name.
        ("mirror.test/acme-evil/app", "mirror.test/acme-evil/app", acme(), true),
        ("ghcr.io/acme-evil/app", "mirror.test/acme-evil/app", acme(), false),
        ("ghcr.io/acme/app", "mirror.test/acme-evil/app", acme(), false),
        ("ghcr.io/acme/app", "mirror.test/other/app", acme(), false),
        ("ghcr.io/acme/app", "mirror.test.evil.test/acme/app", acme(), false),
        ("docker.io.evil.test/x/app", "mirror.test.evil.test/x/app", remap("mirror.test", "docker.io"), false),
        ("ghcr.io/acme-evil/x", "docker.io/acme-evil/x", remap("docker.io/acme", "ghcr.io/acme"), false),
        // A whole repository, a whole registry.
        ("ghcr.io/acme/app", "mirror.test/x/y", remap("mirror.test/x/y", "ghcr.io/acme/app"), true),
        ("ghcr.io/acme/app-evil", "mirror.test/x/y-evil", remap("mirror.test/x/y", "ghcr.io/acme/app"), false),
        ("ghcr.io/acme/app", "mirror.test/acme/app", remap("mirror.test", "ghcr.io"), true),
        ("ghcr.io/acme/app", "mirror.test:5000/acme/app", remap("mirror.test", "ghcr.io"), false),
        ("ghcr.io/acme/app", "mirror.test:5000/acme/app", remap("mirror.test:5000", "ghcr.io"), true),
        // However the prefixes are written.
        ("ghcr.io/acme/app", "mirror.test/acme/app", remap("mirror.test/acme/", "ghcr.io/acme"), true),
        ("ghcr.io/acme/app", "mirror.test/acme/app", remap("mirror.test/acme", "ghcr.io/acme/"), true),
        ("ghcr.io/acmeapp", "mirror.test/acme/app", remap("mirror.test/acme/", "ghcr.io/acme"), false),
        ("ghcr.io/acme/app", "mirror.test/acme/app", remap("Mirror.TEST/acme", "GHCR.io/acme"), true),
        ("ghcr.io/acme/app", "docker.io/acme/app", remap("index.docker.io/acme", "ghcr.io/acme"), true),
        ("index.docker.io/acme/app", "mirror.test/hub/acme/app", hub(), true),
        ("index.docker.io/library/nginx", "mirror.test/hub/library/nginx", hub(), true),
        ("nginx", "mirror.test/hub/nginx", hub(), true),
        ("index.docker.io/acme/app", "mirror.test/hub/acme/app", remap("mirror.test/hub", "index.docker.io"), true),
        ("index.docker.io/acme/app", "mirror.test/hubcap/acme/app", hub(), false),
        // Prefixes of nothing.
        ("ghcr.io/registry.test/acme/app", "registry.test/acme/app", remap("", "ghcr.io"), false),
        ("registry.test/acme/app", "registry.test/acme/app", remap("", "ghcr.io"), true),
        ("acme/app", "mirror.test/acme/app", remap("mirror.test", ""), false),
    ] {
        let outcome = scene(signed, asked, reference.clone()).outcome();
        let expected = if allowed { ALLOWED.to_owned() } else { refused(Reason::WrongReference) };
        if outcome != expected {
            wrong.push(format!("signed for `{signed}`, asked as `{asked}`, {reference:?}: {outcome}"));
        }
    }
    assert_none(&wrong);
}

/// A bundle names no repository, so it cannot satisfy a rule that asks for one; it never counts as
/// if it had named the right one.
#[test]
fn a_bundle_cannot_prove_a_repository() {
    for reference in [DockerReference::Repository, remap("registry.test", "registry.test"), remap("x.test", "y.test")] {
        let scene = Scene { reference, ..Scene::honest(Layout::Bundle) };
        assert_eq!(scene.outcome(), refused(Reason::WrongReference));
    }
    let mut material = Bundle::honest();
    material.json = |json| json["docker-reference"] = serde_json::json!("registry.test/acme/app");
    let scene = Scene { reference: DockerReference::Repository, ..Scene::with([material.candidate()]) };
    assert_eq!(scene.outcome(), refused(Reason::MalformedSignature));
    for layout in LAYOUTS {
        assert_eq!(Scene { reference: DockerReference::Ignore, ..Scene::honest(layout) }.outcome(), ALLOWED);
    }
}
