//! Where a redirect leads: one step, without I/O.

use http::StatusCode;
use url::Url;

use super::guard::{Guard, Purpose, host_of};

/// Most redirects of one request. Registries use one or two.
pub(super) const REDIRECTS_MAX: usize = 5;

/// Whether this status sends us elsewhere with the same question.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// One step of a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Where it leads.
    pub(super) url: Url,
    /// Whether scheme, host and port stay the same, so that our login may go along.
    pub(super) same_origin: bool,
}

/// Follows one `Location`, which may be relative.
///
/// # Errors
/// A sentence that says why we do not go there.
pub(super) fn step(guard: &Guard, from: &Url, location: Option<&str>) -> Result<Step, String> {
    let location = location.ok_or("redirects without saying where")?;
    let url = from.join(location).map_err(|_| "redirects to something that is not a URL")?;
    if from.scheme() == "https" && url.scheme() == "http" {
        return Err(format!("redirects from https to http (`{}`)", host_of(&url)));
    }
    guard.check(&url, Purpose::Redirect).map_err(|why| format!("redirect {why}"))?;
    Ok(Step { same_origin: url.origin() == from.origin(), url })
}

#[cfg(test)]
mod tests {
    use super::super::options::{Proxy, UpstreamOptions};
    use super::*;
    use proptest::prelude::*;

    fn go(own: &str, from: &str, location: &str) -> Result<Step, String> {
        let mut options = UpstreamOptions::new("reg.example".parse().unwrap(), own.parse().unwrap());
        options.redirect_hosts = vec!["plain.example".to_owned()];
        let guard = Guard::new(&options, &Proxy::None).unwrap();
        step(&guard, &from.parse().unwrap(), Some(location))
    }

    #[test]
    fn the_login_goes_along_only_to_the_same_origin() {
        let own = "https://reg.example";
        for (location, same) in [
            ("/elsewhere", true),
            ("//reg.example/x", true),
            ("https://reg.example:443/x", true),
            ("https://REG.example/x", true),
            ("https://reg.example:8443/x", false),
            ("https://sub.reg.example/x", false),
            ("https://reg.example.evil.example/x", false),
        ] {
            assert_eq!(go(own, own, location).unwrap().same_origin, same, "{location}");
        }
        assert!(!go("http://reg.example", "http://reg.example", "https://reg.example/").unwrap().same_origin);
    }

    #[test]
    fn it_never_leads_from_https_to_http() {
        let own = "https://reg.example";
        for bad in ["http://reg.example/", "http://cdn.example/", "http://plain.example/"] {
            assert!(go(own, own, bad).unwrap_err().contains("from https to http"), "{bad}");
        }
        // An upstream that the operator wrote as http may go on as it is, until it met https.
        assert!(go("http://reg.example", "http://reg.example", "http://cdn.example/").is_ok());
        assert!(go("http://reg.example", "https://cdn.example", "http://cdn.example/").is_err());
    }

    #[test]
    fn odd_locations_are_refused() {
        let own = "https://reg.example";
        for bad in ["https://", "https://[", "ftp://reg.example/", "file:///etc/passwd", "https://u:p@reg.example/"] {
            assert!(go(own, own, bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_location_panics_or_leaves_the_rules(location in "\\PC{0,60}") {
            if let Ok(step) = go("https://reg.example", "https://reg.example/a/b", &location) {
                prop_assert_eq!(step.url.scheme(), "https");
                prop_assert!(step.url.username().is_empty());
            }
        }
    }
}
