//! Reads the `Link` header (RFC 8288) as far as registries use it: where is the next page?

use url::Url;

/// Longest header we read.
const HEADER_MAX: usize = 8 * 1024;

/// The target of the link with `rel="next"`, if the header has one and can be read.
pub(super) fn next(header: &str) -> Option<&str> {
    if header.len() > HEADER_MAX {
        return None;
    }
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (target, behind) = rest.strip_prefix('<')?.split_once('>')?;
        let (is_next, behind) = params(behind)?;
        if is_next {
            return Some(target);
        }
        rest = behind;
    }
}

/// Reads the parameters of one link. Returns whether they say `next`, and what follows the link.
fn params(mut rest: &str) -> Option<(bool, &str)> {
    let mut is_next = None;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if rest.is_empty() || rest.starts_with(',') {
            return Some((is_next == Some(true), rest));
        }
        rest = rest.strip_prefix(';')?.trim_start_matches([' ', '\t']);
        let end = rest.find(['=', ';', ',']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let (value, behind) = match behind.strip_prefix('=') {
            Some(behind) => value(behind.trim_start_matches([' ', '\t']))?,
            None => ("", behind),
        };
        // The first `rel` counts (RFC 8288, section 3.3).
        if name.trim_end().eq_ignore_ascii_case("rel") && is_next.is_none() {
            is_next = Some(value.split([' ', '\t']).any(|relation| relation.eq_ignore_ascii_case("next")));
        }
        rest = behind;
    }
}

/// A token or a quoted string, and what follows it. Escapes stay as they are: no relation needs one.
fn value(rest: &str) -> Option<(&str, &str)> {
    let Some(inside) = rest.strip_prefix('"') else {
        let end = rest.find([';', ',', ' ', '\t']).unwrap_or(rest.len());
        return Some(rest.split_at(end));
    };
    let mut escaped = false;
    let end = inside.find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })?;
    Some((&inside[..end], &inside[end + 1..]))
}

/// The URL of the next page. It must be the same resource as `page`, only with another query: a link
/// is no way to make us ask another host or another repository.
///
/// # Errors
/// A sentence, when the link leads elsewhere.
pub(super) fn next_page(page: &Url, header: &str) -> Result<Option<Url>, String> {
    let Some(target) = next(header) else {
        return Ok(None);
    };
    let elsewhere = || "the link to the next page leads elsewhere".to_owned();
    let url = page.join(target).map_err(|_| elsewhere())?;
    let same = url.origin() == page.origin()
        && url.path() == page.path()
        && url.username().is_empty()
        && url.password().is_none();
    if same { Ok(Some(url)) } else { Err(elsewhere()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_registries_send() {
        for (header, want) in [
            (r#"</v2/a/tags/list?n=1&last=x>; rel="next""#, Some("/v2/a/tags/list?n=1&last=x")),
            ("<x>;rel=next", Some("x")),
            ("<x>; REL=NEXT", Some("x")),
            (r#"<a>; rel="prev", <b>; title="x, <y>; rel=next"; rel="last next""#, Some("b")),
            (r#"<a>; title="\", <z>; rel=next"; rel=prev, <b>; rel=next"#, Some("b")),
            ("<a>; rel=prev; rel=next", None),
            ("<a>; rel=nextish", None),
            ("<a>", None),
            ("a; rel=next", None),
            ("<a; rel=next", None),
            (r#"<a>; rel="next"#, None),
            ("", None),
        ] {
            assert_eq!(next(header), want, "{header}");
        }
    }

    #[test]
    fn the_next_page_is_the_same_resource() {
        let page: Url = "https://a.example/p/v2/r/tags/list?n=1".parse().unwrap();
        let go = |target: &str| next_page(&page, &format!("<{target}>; rel=next"));
        let want = Ok(Some("https://a.example/p/v2/r/tags/list?last=x".parse().unwrap()));
        for same in ["/p/v2/r/tags/list?last=x", "?last=x", "https://a.example/p/v2/r/tags/list?last=x", "list?last=x"]
        {
            assert_eq!(go(same), want, "{same}");
        }
        for other in [
            "/p/v2/other/tags/list",
            "https://evil.example/p/v2/r/tags/list",
            "//evil.example/p/v2/r/tags/list",
            "http://a.example/p/v2/r/tags/list",
            "https://a.example:8443/p/v2/r/tags/list",
            "https://u:p@a.example/p/v2/r/tags/list",
            "https://[",
        ] {
            assert!(go(other).is_err(), "{other}");
        }
        assert_eq!(next_page(&page, "<x>; rel=prev"), Ok(None));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(header in "\\PC{0,80}", near in "(<|>|;|,|=|\"|\\\\|rel|next| |é){0,30}") {
            let page: Url = "https://a.example/x".parse().unwrap();
            let _ = next_page(&page, &header);
            let _ = next_page(&page, &near);
        }
    }
}
