//! What upstreams answer besides content: lists of referrers and tags, links, challenges, redirects.
#![no_main]

use assay::upstream::fuzzing;
use libfuzzer_sys::fuzz_target;

const OWN: &str = "https://reg.example/v2/a/b/tags/list";

fuzz_target!(|data: &[u8]| {
    for max in [0, 3] {
        let Ok(found) = fuzzing::referrers(data, max) else { continue };
        assert!(found.descriptors.len() + found.unreadable <= max);
    }
    for tag in fuzzing::tags(data).unwrap_or_default() {
        assert_eq!(tag.as_str().parse().as_ref(), Ok(&tag));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(Some(next)) = fuzzing::next_page(text) {
        assert_eq!(next.as_str().split(['?', '#']).next(), Some(OWN), "{text:?}");
    }
    for realm in fuzzing::realms(text).unwrap_or_default() {
        assert!(realm.bytes().all(|b| matches!(b, b' '..=b'~' | b'\t')), "{realm:?}");
    }
    if let Ok((url, same_origin)) = fuzzing::redirect(text) {
        assert_eq!(url.scheme(), "https", "{text:?}");
        assert!(url.username().is_empty() && url.password().is_none(), "{text:?}");
        assert_eq!(same_origin, url.host_str() == Some("reg.example") && url.port().is_none(), "{text:?}");
        // A name is looked at again when it is resolved; an address must be of the public internet already.
        assert!(!matches!(url.host_str(), Some("127.0.0.1" | "[::1]" | "169.254.169.254")), "{text:?}");
    }
});
