//! Patterns of rules: whether one can match at all, and whether earlier ones leave it anything.

use crate::oci::{Registry, Repository};
use crate::trust::{Pattern, PatternError};

use super::super::file::Text;
use super::super::report::Report;

/// A pattern that parses and can match some repository.
pub(super) fn parse(text: &Text, report: &mut Report<'_>) -> Option<Pattern> {
    let pattern = match Pattern::parse(text.get_ref()) {
        Ok(pattern) => pattern,
        Err(error) => {
            let help = match &error {
                PatternError::Tag => "leave out what follows the name".to_owned(),
                PatternError::NoRegistry(_) => "a pattern names a registry and a repository".to_owned(),
                PatternError::Glob(_) => "`*` stays within one component, `**` crosses them".to_owned(),
            };
            report.error(text.span(), error.to_string()).help(help);
            return None;
        }
    };
    if let Some((why, help)) = never_matches(text.get_ref()) {
        report.error(text.span(), format!("never matches: {why}")).help(help);
        return None;
    }
    Some(pattern)
}

/// Patterns are held against canonical names, so another spelling of one matches nothing.
fn never_matches(text: &str) -> Option<(String, String)> {
    let (host, path) = text.split_once('/')?;
    if is_wild(host) {
        return None;
    }
    let registry = match host.parse::<Registry>() {
        Ok(registry) => registry,
        Err(error) => return Some((error.to_string(), "start with a registry, such as docker.io".to_owned())),
    };
    if registry.as_str() != host {
        return Some((format!("the registry is called `{registry}` here"), format!("write `{registry}/{path}`")));
    }
    if !is_wild(path) {
        return match Repository::new(registry, path) {
            Ok(repository) if repository.to_string() == text => None,
            Ok(repository) => Some((format!("the repository is `{repository}`"), format!("write `{repository}`"))),
            Err(error) => Some((error.to_string(), "compare it with the name that clients pull".to_owned())),
        };
    }
    if path.bytes().any(|b| b.is_ascii_uppercase()) && !path.contains('[') {
        return Some(("repository names are in lower case".to_owned(), format!("write `{}`", text.to_lowercase())));
    }
    if registry.is_docker_hub() && !path.contains(['/', '{', '[']) && !path.contains("**") {
        let why = "official images of Docker Hub are in `library/`".to_owned();
        return Some((why, format!("write `docker.io/library/{path}`, or `docker.io/**` for all of Docker Hub")));
    }
    None
}

/// Whether everything that `later` matches is matched by `earlier` too. May miss such a pair, but
/// never claims one that is none: equal text; `X/**` before what starts with `X/`; any pattern
/// before a plain name that it matches.
pub(super) fn covers(earlier: &Pattern, later: &Pattern) -> bool {
    let (wide, narrow) = (earlier.as_str(), later.as_str());
    let below = |prefix: &str| {
        let rest = narrow.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
        !is_wild(prefix) && rest.is_some_and(|rest| !rest.is_empty())
    };
    wide == narrow || wide.strip_suffix("/**").is_some_and(below) || (!is_wild(narrow) && earlier.matches(narrow))
}

/// Whether some repository of this registry may be matched. Says yes where it cannot tell.
pub(super) fn may_match_in(pattern: &Pattern, registry: &Registry) -> bool {
    let Some((host, _)) = pattern.as_str().split_once('/') else { return true };
    match Pattern::parse(&format!("{host}/x")) {
        Ok(any) => any.matches(&format!("{registry}/x")),
        Err(_) => true,
    }
}

fn is_wild(text: &str) -> bool {
    text.contains(['*', '?', '[', ']', '{', '}', '!'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn what_covers_what() {
        for (earlier, later, expected) in [
            ("ghcr.io/acme/**", "ghcr.io/acme/**", true),
            ("ghcr.io/acme/**", "ghcr.io/acme/app", true),
            ("ghcr.io/acme/**", "ghcr.io/acme/{a,b}/*", true),
            ("ghcr.io/acme/**", "ghcr.io/acme-evil/app", false),
            ("ghcr.io/acme/**", "ghcr.io/**", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/app", true),
            ("ghcr.io/acme/*", "ghcr.io/acme/a/b", false),
            ("ghcr.io/acme/*", "ghcr.io/acme/a*", false),
            ("*.io/**", "ghcr.io/acme/app", true),
            ("{a.io/x,b.io}/**", "{a.io/x,b.io}/y", false),
            ("ghcr.io/**", "{ghcr.io/a,quay.io/b}", false),
        ] {
            assert_eq!(covers(&pattern(earlier), &pattern(later)), expected, "{earlier} over {later}");
        }
    }

    #[test]
    fn which_patterns_look_into_which_registry() {
        for (text, registry, expected) in [
            ("ghcr.io/acme/**", "ghcr.io", true),
            ("*.io/**", "ghcr.io", true),
            ("**/acme", "ghcr.io", true),
            ("quay.io/**", "ghcr.io", false),
            ("{ghcr.io/a,quay.io/b}/**", "quay.io", true),
        ] {
            assert_eq!(may_match_in(&pattern(text), &registry.parse().unwrap()), expected, "{text} in {registry}");
        }
    }

    fn patterns() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec!["a", "b", "ab", "*", "**", "[ab]", "{a,b}", "?", "a*"]);
        prop::collection::vec(piece, 1..4).prop_map(|pieces| format!("h/{}", pieces.join("/")))
    }

    proptest! {
        #[test]
        fn a_claim_of_cover_is_always_true(
            earlier in patterns(),
            later in patterns(),
            names in prop::collection::vec("h(/[ab]{1,2}){1,4}", 20),
        ) {
            let (earlier, later) = (pattern(&earlier), pattern(&later));
            for name in names.iter().filter(|name| covers(&earlier, &later) && later.matches(name)) {
                prop_assert!(earlier.matches(name), "{} over {}: {name}", earlier.as_str(), later.as_str());
            }
        }
    }
}
