//! Which URL means what.

use super::*;
use proptest::prelude::*;

const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Routes with docker.io (default), ghcr.io, corp and localhost:5000 configured.
fn routed(method: &str, target: &str) -> Result<Route, RouteError> {
    let default = Registry::docker_hub();
    let knows = |r: &Registry| ["docker.io", "ghcr.io", "corp", "localhost:5000", "[::1]:80"].contains(&r.as_str());
    let upstreams = Upstreams { default: &default, knows: &knows };
    let uri: Uri = target.parse().map_err(|_| RouteError::Unsupported)?;
    route(&method.parse().unwrap(), &uri, Some("Mirror.corp:5050"), &upstreams)
}

/// The image a target means, or the refusal's text.
fn means(target: &str) -> String {
    match routed("GET", target) {
        Ok(route) => format!("{} {}", route.kind(), route.image().unwrap_or_default()),
        Err(error) => format!("{error:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}

#[test]
fn names_find_their_registry() {
    for (target, want) in [
        ("/v2/library/alpine/manifests/3", "manifest docker.io/library/alpine:3"),
        ("/v2/alpine/manifests/3", "manifest docker.io/library/alpine:3"),
        ("/v2/docker.io/alpine/manifests/3", "manifest docker.io/library/alpine:3"),
        ("/v2/index.docker.io/library/alpine/manifests/3", "manifest docker.io/library/alpine:3"),
        ("/v2/ghcr.io/acme/app/manifests/1.0", "manifest ghcr.io/acme/app:1.0"),
        ("/v2/corp/app/manifests/1", "manifest corp/app:1"),
        ("/v2/corp/manifests/1", "manifest docker.io/library/corp:1"),
        ("/v2/localhost:5000/app/manifests/1", "manifest localhost:5000/app:1"),
        ("/v2/localhost%3a5000/app/manifests/1", "manifest localhost:5000/app:1"),
        ("/v2/acme/app/manifests/1?ns=ghcr.io", "manifest ghcr.io/acme/app:1"),
        ("/v2/acme/app/manifests/1?ns=localhost%3A5000", "manifest localhost:5000/acme/app:1"),
        ("/v2/corp/app/manifests/1?ns=ghcr.io", "manifest ghcr.io/corp/app:1"),
        ("/v2/ghcr.io/acme/app/manifests/1?ns=mirror.corp:5050", "manifest ghcr.io/acme/app:1"),
        ("/v2/alpine/manifests/3?ns=&x=1", "manifest docker.io/library/alpine:3"),
        ("http://evil.example/v2/alpine/manifests/3", "manifest docker.io/library/alpine:3"),
        ("/v2/quay.io/a/b/manifests/1", "UnknownRegistry"),
        ("/v2/169.254.169.254/a/manifests/1", "UnknownRegistry"),
        ("/v2/a/b/manifests/1?ns=quay.io", "UnknownRegistry"),
        ("/v2/a/b/manifests/1?ns=evil.example%2f..", "Name"),
        ("/v2/a/b/manifests/1?ns=ghcr.io%00", "Name"),
        ("/v2/ghcr.io/manifests/1", "NoRepository"),
        ("/v2/quay.io/manifests/1", "UnknownRegistry"),
    ] {
        assert_eq!(means(target), want, "{target}");
    }
}

#[test]
fn every_shape_is_read_from_the_right() {
    for (target, want) in [
        ("/v2", "ping ".to_owned()),
        ("/v2/", "ping ".to_owned()),
        (&format!("/v2/a/b/manifests/{D}"), format!("manifest docker.io/a/b@{D}")),
        (&format!("/v2/a/b/manifests/{}", D.replace(':', "%3A")), format!("manifest docker.io/a/b@{D}")),
        (&format!("/v2/a/b/blobs/{D}"), format!("blob docker.io/a/b@{D}")),
        (&format!("/v2/a/b/referrers/{D}"), format!("referrers docker.io/a/b@{D}")),
        ("/v2/a/b/tags/list", "tags docker.io/a/b".to_owned()),
        ("/v2/a/manifests/manifests/blobs", "manifest docker.io/a/manifests:blobs".to_owned()),
        ("/v2/manifests/manifests/manifests", "manifest docker.io/library/manifests:manifests".to_owned()),
        (&format!("/v2/a/manifests/1/blobs/{D}"), format!("blob docker.io/a/manifests/1@{D}")),
        ("/v2/a/blobs/tags/list", "tags docker.io/a/blobs".to_owned()),
    ] {
        assert_eq!(means(target), want, "{target}");
    }
}

#[test]
fn what_is_no_pull_is_refused() {
    for (target, want) in [
        ("/", "Unsupported"),
        ("/v1/_ping", "Unsupported"),
        ("/v2x", "Unsupported"),
        ("/v2/_catalog", "Unsupported"),
        ("/v2/_catalog?n=5", "Unsupported"),
        ("/v2/a/b", "Unsupported"),
        ("/v2/a/b/tags", "Unsupported"),
        ("/v2/a/b/tags/", "Unsupported"),
        ("/v2/a/b/tags/list/", "Unsupported"),
        ("/v2/a/b/tags/other", "Unsupported"),
        ("/v2/a/b/blobs/uploads/", "Unsupported"),
        ("/v2/a/b/blobs/uploads/123", "Unsupported"),
        ("/metrics", "Unsupported"),
        ("//v2/a/manifests/1", "Unsupported"),
        ("/v2//manifests/1", "Name"),
        ("/v2/manifests/1", "Name"),
        ("/v2/a//b/manifests/1", "Name"),
        ("/v2//a/b/manifests/1", "Name"),
        ("/v2/a/../b/manifests/1", "Name"),
        ("/v2/../../etc/manifests/passwd", "Name"),
        ("/v2/./a/manifests/1", "Name"),
        ("/v2/A/b/manifests/1", "Name"),
        ("/v2/a/b/manifests/", "Reference"),
        ("/v2/a/b/manifests/.hidden", "Reference"),
        ("/v2/a/b/manifests/a+b", "Reference"),
        ("/v2/a/b/manifests/sha512:00", "Digest"),
        ("/v2/a/b/manifests/a:b", "Digest"),
        ("/v2/a/b/blobs/uploads", "Digest"),
        ("/v2/a/b/blobs/latest", "Digest"),
        ("/v2/a/b/referrers/latest", "Digest"),
        ("/v2/a%2fb/manifests/1", "Escape"),
        ("/v2/a/%2e%2e/b/manifests/1", "Escape"),
        ("/v2/a/b/manifests/1%00", "Escape"),
        ("/v2/a/b/manifests/%253A", "Escape"),
        ("/v2/a/b/manifests/1?ns=ghcr.io&ns=docker.io", "Query"),
        ("/v2/a/b/tags/list?n=5&n=5", "Query"),
        ("/v2/a/b/tags/list?last=a&last=a", "Query"),
        ("/v2/a/b/tags/list?n=-1", "Query"),
        ("/v2/a/b/tags/list?n=+1", "Query"),
        ("/v2/a/b/tags/list?n=", "Query"),
        ("/v2/a/b/tags/list?n=x", "Query"),
        ("/v2/a/b/tags/list?last=..%2f", "Query"),
        ("/v2/a/b/tags/list?last=%ff", "Query"),
    ] {
        assert_eq!(means(target), want, "{target}");
    }
    assert_eq!(means(&format!("/v2/{}/manifests/1", "a".repeat(300))), "Name");
    for method in ["PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get", "X"] {
        for target in ["/v2/", "/v2/a/b/manifests/1", "/v2/a/b/blobs/uploads/", "*"] {
            assert_eq!(routed(method, target), Err(RouteError::Unsupported), "{method} {target}");
        }
    }
    assert_eq!(routed("HEAD", "/v2/"), Ok(Route::Ping));
}

#[test]
fn pages_are_bounded_and_remember_how_they_were_asked_for() {
    let Ok(Route::Tags(ask)) = routed("GET", "/v2/ghcr.io/a/b/tags/list?n=5000&last=v1") else { panic!() };
    assert_eq!((ask.name.as_str(), ask.ns, ask.n), ("ghcr.io/a/b", None, Some(PAGE_MAX)));
    assert_eq!(ask.last.unwrap().as_str(), "v1");
    let Ok(Route::Tags(ask)) = routed("GET", "/v2/a/b/tags/list?ns=ghcr.io&n=0&last=") else { panic!() };
    assert_eq!((ask.name.as_str(), ask.n, ask.last), ("a/b", Some(0), None));
    assert_eq!(ask.ns.unwrap().as_str(), "ghcr.io");
    let Ok(Route::Tags(ask)) = routed("GET", "/v2/a/b/tags/list?n=99999999999999999999") else { panic!() };
    assert_eq!(ask.n, Some(PAGE_MAX));
}

#[test]
fn the_artefact_type_keeps_its_plus() {
    for written in ["application/vnd.a%2Bjson", "application%2fvnd.a+json"] {
        let target = format!("/v2/a/b/referrers/{D}?artifactType={written}");
        let Ok(Route::Referrers { artifact_type, .. }) = routed("GET", &target) else { panic!("{target}") };
        assert_eq!(artifact_type.as_deref(), Some("application/vnd.a+json"));
    }
}

proptest! {
    #[test]
    fn no_target_makes_it_panic(path in "/v2/[a-zA-Z0-9/.:%@?&=_é-]{0,60}") {
        let _ = routed("GET", &path);
    }

    #[test]
    fn what_parses_is_canonical(
        name in "(docker.io/|ghcr.io/|corp/|quay.io/|[a-zA-Z.%]{1,6}/)?[a-zA-Z0-9/._%-]{1,20}",
        last in "[a-zA-Z0-9._:%-]{1,12}",
        ns in prop_oneof![Just(String::new()), Just("?ns=ghcr.io".to_owned()), "\\?ns=[a-zA-Z.:0-9]{0,12}"],
    ) {
        let Ok(Route::Manifest { repository, reference }) = routed("GET", &format!("/v2/{name}/manifests/{last}{ns}"))
        else { return Ok(()) };
        prop_assert_eq!(repository.to_string().parse::<Repository>(), Ok(repository.clone()));
        prop_assert_eq!(reference.to_string().parse::<Reference>(), Ok(reference));
        prop_assert!(["docker.io", "ghcr.io", "corp", "localhost:5000", "[::1]:80"].contains(&repository.registry().as_str()));
        prop_assert!(!repository.path().split('/').any(|c| matches!(c, "" | "." | "..")));
    }
}
