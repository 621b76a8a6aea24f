//! Tries whether an expression fits values that only look like those it was written for.
//!
//! A value that fits is made from the expression and changed as an attacker would: another host, owner, repository or
//! branch. Only what the author wrote out is changed; what they left open on purpose is theirs to decide.

use std::ops::Range;

use regex_syntax::hir::Hir;

use crate::trust::Matcher;

use super::sample::{Mark, Sample, samples};

/// Whoever wants can have an account there, so a name that is left open is anybody's.
const PUBLIC_HOSTS: [&str; 4] = ["github.com", "gitlab.com", "bitbucket.org", "codeberg.org"];

/// Domains below which everybody gets a name.
const SHARED_DOMAINS: [&str; 5] = ["iam.gserviceaccount.com", "github.io", "gitlab.io", "co.uk", "com.au"];

/// A value that fits although it should not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lookalike {
    pub(super) value: String,
    /// In what it differs from what was meant.
    pub(super) another: Part,
    /// Whether a `.` that is no dot is the reason.
    pub(super) by_dot: bool,
}

/// A part of an identity that somebody controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Host,
    Owner,
    Repository,
    Branch,
}

impl Part {
    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Owner => "owner",
            Self::Repository => "repository",
            Self::Branch => "branch",
        }
    }
}

/// The first look-alike that fits. `owner_is_bound`: something besides this expression says whose it must be.
pub(super) fn find(expression: &Hir, matcher: &Matcher, owner_is_bound: bool) -> Option<Lookalike> {
    let found = samples(expression);
    let fits = |lookalike: &Lookalike| matcher.matches(&lookalike.value);
    let tried = |sample: &Sample| match Shape::of(&sample.text) {
        Some(shape) if !shape.is_whole(&sample.text) => None,
        Some(shape) => of_shape(sample, &shape, owner_is_bound).into_iter().find(fits),
        None => of_no_shape(sample).into_iter().find(fits),
    };
    found.iter().find_map(tried)
}

/// Whether a `.` stands where a host has its dots.
pub(super) fn has_dot_in_host(expression: &Hir) -> bool {
    samples(expression)
        .iter()
        .any(|sample| Shape::of(&sample.text).is_some_and(|shape| sample.marks[shape.host].contains(&Mark::Dot)))
}

/// Where the parts of a value are: a URL's, or an e-mail address's.
struct Shape {
    is_url: bool,
    host: Range<usize>,
    /// First and second component of a URL's path; empty where there is none.
    owner: Range<usize>,
    repository: Range<usize>,
    /// Behind the first `@` of a URL's path.
    branch: Range<usize>,
}

impl Shape {
    fn of(text: &str) -> Option<Self> {
        let Some(scheme) =
            text.find("://").filter(|at| text[..*at].bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+'))
        else {
            let at = text.rfind('@').filter(|_| !text.contains('/'))?;
            let nothing = text.len()..text.len();
            let host = at + 1..text.len();
            return Some(Self {
                is_url: false,
                host,
                owner: nothing.clone(),
                repository: nothing.clone(),
                branch: nothing,
            });
        };
        let until = |from: usize, ends: &[char]| from + text[from..].find(ends).unwrap_or(text.len() - from);
        let behind = |at: usize| (at + 1).min(text.len());
        let host = scheme + 3..until(scheme + 3, &['/']);
        let owner = behind(host.end)..until(behind(host.end), &['/', '@']);
        let repository = behind(owner.end)..until(behind(owner.end), &['/', '@']);
        let branch = behind(until(host.end, &['@']))..text.len();
        Some(Self { is_url: true, host, owner, repository, branch })
    }

    /// Whether an issuer could really vouch for it: where `.*` stands for nothing, parts may be empty.
    fn is_whole(&self, text: &str) -> bool {
        let host = &text[self.host.clone()];
        !host.is_empty() && !host.starts_with('.') && !host.ends_with('.') && !text.starts_with('@')
    }

    fn part<'t>(&self, part: Part, text: &'t str) -> &'t str {
        match part {
            Part::Host => registrable(&text[self.host.clone()]),
            Part::Owner => &text[self.owner.clone()],
            Part::Repository => &text[self.repository.clone()],
            Part::Branch => &text[self.branch.clone()],
        }
    }
}

/// What somebody must own to have this host: its last two names, or one more below a shared domain.
fn registrable(host: &str) -> &str {
    let shared = SHARED_DOMAINS.iter().find(|domain| host.ends_with(&format!(".{domain}")));
    let names = shared.map_or(2, |domain| domain.matches('.').count() + 2);
    host.rmatch_indices('.').nth(names - 1).map_or(host, |(at, _)| &host[at + 1..])
}

/// Changed values of which each differs in one part that was meant to be fixed.
fn of_shape(sample: &Sample, shape: &Shape, owner_is_bound: bool) -> Vec<Lookalike> {
    let text = sample.text.as_str();
    let mut tried = Vec::new();
    tried.extend(dots(sample, &shape.host, Part::Host));
    tried.extend(hosts(text, shape));
    let public = PUBLIC_HOSTS.contains(&&text[shape.host.clone()]);
    if shape.owner.is_empty() {
        // A host alone: whatever follows is as open as its author left it.
    } else if is_written_out(sample, &shape.owner) {
        tried.extend(dots(sample, &shape.owner, Part::Owner));
        tried.extend(names(text, &shape.owner, Part::Owner));
    } else if public && !owner_is_bound {
        tried.extend(names(text, &shape.owner, Part::Owner));
        tried.push(replaced(text, &shape.owner, "evil", Part::Owner));
    }
    // An identity has a workflow behind its repository; only a source's URI goes on with the branch at once.
    let ends_at_once = shape.repository.end + 1 == shape.branch.start && !text.starts_with("git+");
    if is_written_out(sample, &shape.repository) && !ends_at_once {
        tried.extend(dots(sample, &shape.repository, Part::Repository));
        tried.extend(names(text, &shape.repository, Part::Repository));
    }
    tried.extend(branches(sample, shape));
    tried.retain(|lookalike| {
        let after = Shape::of(&lookalike.value);
        after
            .is_some_and(|after| after.part(lookalike.another, &lookalike.value) != shape.part(lookalike.another, text))
    });
    tried
}

fn is_written_out(sample: &Sample, part: &Range<usize>) -> bool {
    !part.is_empty() && !sample.marks[part.clone()].contains(&Mark::Free)
}

/// Another character in place of each `.`.
fn dots(sample: &Sample, part: &Range<usize>, another: Part) -> Vec<Lookalike> {
    let at = part.clone().filter(|at| sample.marks[*at] == Mark::Dot);
    at.map(|at| Lookalike { by_dot: true, ..replaced(&sample.text, &(at..at + 1), "x", another) }).collect()
}

fn hosts(text: &str, shape: &Shape) -> Vec<Lookalike> {
    let (host, part) = (&shape.host, Part::Host);
    let mut tried = vec![
        replaced(text, host, "evil.example", part),
        inserted(text, host.start, "evil-", part),
        inserted(text, host.start, "evil", part),
        inserted(text, host.end, ".evil.example", part),
    ];
    if shape.is_url {
        tried.push(inserted(text, host.start, "evil.example/", part));
        tried.push(inserted(text, 0, "https://evil.example/", part));
    }
    tried
}

fn names(text: &str, part: &Range<usize>, another: Part) -> Vec<Lookalike> {
    vec![
        inserted(text, part.end, "-evil", another),
        inserted(text, part.start, "evil-", another),
        inserted(text, part.start, "evil/", another),
    ]
}

/// A branch may be called `x@refs/heads/main`: what is left open before the `@` must not take in another one.
fn branches(sample: &Sample, shape: &Shape) -> Vec<Lookalike> {
    let text = sample.text.as_str();
    if !text[shape.branch.clone()].starts_with("refs/") || shape.repository.is_empty() {
        return Vec::new();
    }
    let at = shape.branch.start - 1;
    let ends_open =
        |end: &usize| *end == at || (sample.marks[end - 1] == Mark::Free && sample.marks[*end] != Mark::Free);
    let with_branch = |end: usize| {
        let folder = if text[..end].contains("/workflows/") { "-" } else { "/.github/workflows/" };
        let rest = if end == at { "" } else { "-" };
        inserted(text, end, &format!("{folder}evil.yml@refs/heads/x{rest}"), Part::Branch)
    };
    (shape.repository.start + 1..=at)
        .filter(ends_open)
        .filter(|end| text.is_char_boundary(*end))
        .map(with_branch)
        .collect()
}

/// Something in front of it or behind it, where the value itself says nothing about host and owner.
fn of_no_shape(sample: &Sample) -> Vec<Lookalike> {
    let text = sample.text.as_str();
    let is_fixed = |mark: Option<&Mark>| mark.is_some_and(|mark| *mark != Mark::Free);
    let mut tried = Vec::new();
    if is_fixed(sample.marks.first()) {
        let before = [("https://evil.example/", Part::Host), ("eve@evil-", Part::Host), ("evil-", Part::Owner)];
        tried.extend(before.map(|(what, another)| inserted(text, 0, what, another)));
    }
    if is_fixed(sample.marks.last()) {
        let behind = [(".evil.example", Part::Host), ("-evil", Part::Owner)];
        tried.extend(behind.map(|(what, another)| inserted(text, text.len(), what, another)));
    }
    tried
}

fn inserted(text: &str, at: usize, what: &str, another: Part) -> Lookalike {
    Lookalike { value: format!("{}{what}{}", &text[..at], &text[at..]), another, by_dot: false }
}

fn replaced(text: &str, part: &Range<usize>, by: &str, another: Part) -> Lookalike {
    Lookalike { value: format!("{}{by}{}", &text[..part.start], &text[part.end..]), another, by_dot: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn find_in(expression: &str) -> Option<(Part, String)> {
        let matcher = Matcher::expression(expression).unwrap();
        let found = find(&regex_syntax::parse(expression).unwrap(), &matcher, false)?;
        assert!(matcher.matches(&found.value), "{expression} does not fit {}", found.value);
        Some((found.another, found.value))
    }

    #[test]
    fn good_expressions_have_no_lookalike() {
        for expression in [
            r"https://github\.com/acme/[^/]+/\.github/workflows/release\.yml@refs/tags/v[0-9.]+",
            r"^https://github\.com/acme/app/\.github/workflows/[^/@]+@refs/heads/main$",
            r"https://github\.com/acme/app/\.github/workflows/release\.ya?ml@refs/(heads/main|tags/v\d+\.\d+\.\d+)",
            r"https://github\.com/(acme|acme-labs)/(app|api|web-[a-z]+)/\.github/workflows/ci\.yml@refs/heads/main",
            r"https://github\.com/acme/[^@]+@refs/heads/main",
            r"https://github\.com/acme/.*",
            r"(?i)https://github\.com/acme/app/\.github/workflows/release\.yml@refs/heads/main",
            r"https://github\.com/acme/app/.github/workflows/release.yml@refs/heads/main",
            r"https://gitlab\.com/acme/[^/]+//\.gitlab-ci\.yml@refs/heads/main",
            r"https://gitlab\.com/acme/(infra/)?[^/]+//\.gitlab-ci\.yml@refs/tags/.+",
            r"https://gitlab\.acme\.internal/[^/]+/[^/]+//\.gitlab-ci\.yml@refs/heads/main",
            r"https://token\.actions\.githubusercontent\.com(/acme)?",
            r"https://gitlab\.(com|acme\.internal)",
            r"https://[a-z0-9-]+\.acme\.com/login",
            r"https://oidc\.eks\.[a-z0-9-]+\.amazonaws\.com/id/[0-9A-F]{32}",
            r"[^@]+@acme\.com",
            r"(ada|grace)@acme\.example",
            r"krel-(staging|trust)@k8s-releng-prod\.iam\.gserviceaccount\.com",
            r"[^@]+@acme-prod\.iam\.gserviceaccount\.com",
            r"git\+https://github\.com/acme/app@refs/tags/v[0-9.]+",
            r"refs/tags/v[0-9.]+",
            r"[a-z-]+",
        ] {
            assert_eq!(find_in(expression), None, "{expression}");
        }
    }

    #[test]
    fn careless_expressions_show_what_passes() {
        use Part::{Branch, Host, Owner, Repository};
        for (expression, another, value) in [
            (r"https://github.com/acme/.*", Host, "https://githubxcom/acme/"),
            (r"https://token.actions.githubusercontent.com", Host, "https://token.actionsxgithubusercontent.com"),
            (r"https://(github|gitlab).com/acme/app", Host, "https://githubxcom/acme/app"),
            (r".*github\.com/acme/.*", Host, "https://evil.example/github.com/acme/"),
            (r"https://.*\.acme\.com/login", Host, "https://evil.example/app.acme.com/login"),
            (r"https://.*acme\.com/login", Host, "https://evil-acme.com/login"),
            (r"https://[^/]+/acme/app", Host, "https://evil.example/acme/app"),
            (r"https://accounts\.google\.com.*", Host, "https://accounts.google.com.evil.example"),
            (r"https://gitlab\..*", Host, "https://gitlab.app.evil.example"),
            (r"https://github\.com/acme.*", Owner, "https://github.com/acme-evil"),
            (r"https://github\.com/acme[^@]*@refs/heads/main", Owner, "https://github.com/acme-evil@refs/heads/main"),
            (r"https://github\.com/.*acme/app/x", Owner, "https://github.com/evil-acme/app/x"),
            (r"https://github\.com/acme-[^/]+/app/x", Owner, "https://github.com/acme-app-evil/app/x"),
            (r"https://github\.com/[^/]+/[^/]+/\.github/x", Owner, "https://github.com/app-evil/app/.github/x"),
            (r"https://gitlab\.com/(acme|[a-z]+)/app", Owner, "https://gitlab.com/evil/app"),
            (r"https://github\.com/(acme/app|other.*)/x", Owner, "https://github.com/other-evil/x"),
            (r"https://github\.com/acme/app.*", Repository, "https://github.com/acme/app-evil"),
            (r"https://github\.com/acme/acme.io/x", Repository, "https://github.com/acme/acmexio/x"),
            (
                r"https://github\.com/acme/.*@refs/heads/main",
                Branch,
                "https://github.com/acme/app/.github/workflows/evil.yml@refs/heads/x@refs/heads/main",
            ),
            (
                r"https://github\.com/acme/.*release\.yml@refs/heads/main",
                Branch,
                "https://github.com/acme/app/.github/workflows/evil.yml@refs/heads/x-release.yml@refs/heads/main",
            ),
            (
                r"https://github\.com/acme/app/\.github/workflows/.+@refs/heads/main",
                Branch,
                "https://github.com/acme/app/.github/workflows/app-evil.yml@refs/heads/x@refs/heads/main",
            ),
            (r".*@acme.com", Host, "app@acmexcom"),
            (r".*acme\.com", Host, "https://evil.example/acme.com"),
            (r"[^@]+@acme\.com.*", Host, "app@acme.com.evil.example"),
            (r"[^@]+@[^@]+\.iam\.gserviceaccount\.com", Host, "app@evil-app.iam.gserviceaccount.com"),
            (r"[^@]+@[a-z.]*acme\.com", Host, "app@evilacme.com"),
        ] {
            assert_eq!(find_in(expression), Some((another, value.to_owned())), "{expression}");
        }
    }

    #[test]
    fn an_owner_that_something_else_binds_may_be_open() {
        let text = r"https://github\.com/[^/]+/[^/]+/\.github/workflows/ci\.yml@refs/heads/main";
        let (hir, matcher) = (regex_syntax::parse(text).unwrap(), Matcher::expression(text).unwrap());
        assert!(find(&hir, &matcher, false).is_some());
        assert_eq!(find(&hir, &matcher, true), None);
    }

    #[test]
    fn whose_a_host_is() {
        for (host, expected) in [
            ("github.com", "github.com"),
            ("token.actions.githubusercontent.com", "githubusercontent.com"),
            ("a.acme.co.uk", "acme.co.uk"),
            ("acme-prod.iam.gserviceaccount.com", "acme-prod.iam.gserviceaccount.com"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(registrable(host), expected);
        }
    }

    proptest! {
        #[test]
        fn any_expression_is_looked_at(expression in r"(https://)?[ab.\[\]^$()|*+?{}0-9\\/@é-]{0,24}") {
            if let (Ok(hir), Ok(matcher)) = (regex_syntax::parse(&expression), Matcher::expression(&expression)) {
                if let Some(found) = find(&hir, &matcher, false) {
                    prop_assert!(matcher.matches(&found.value));
                }
                has_dot_in_host(&hir);
            }
        }
    }
}
