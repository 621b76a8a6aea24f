//! What clients write: the request's target, and the headers of conditions.
#![no_main]

use assay::http::fuzzing;
use assay::oci::{Digest, Repository};
use assay_fuzz::parts;
use http::header::{IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let parts = parts(data, 5);
    let text = |at: usize| parts.get(at).and_then(|part| std::str::from_utf8(part).ok());
    for host in [None, text(1)] {
        let Some(Ok(asked)) = text(0).map(|target| fuzzing::asked(target, host)) else { continue };
        let Some(repository) = asked.repository else { continue };
        assert_eq!(repository.to_string().parse::<Repository>().as_ref(), Ok(&repository));
        let known = ["docker.io", "ghcr.io", "localhost:5000"].contains(&repository.registry().as_str());
        assert!(known, "nobody configured {repository}");
        assert!(!repository.path().split('/').any(|part| matches!(part, "" | "." | "..")), "{repository}");
        let image = asked.image.expect("there is a repository");
        assert!(image.bytes().all(|b| b.is_ascii_graphic()), "{image:?}");
        if let Some(digest) = asked.digest {
            assert_eq!(image, format!("{repository}@{digest}"));
        }
    }
    let mut headers = HeaderMap::new();
    for (name, part) in [IF_NONE_MATCH, IF_RANGE, RANGE].into_iter().zip(parts.iter().skip(2)) {
        HeaderValue::from_bytes(part).ok().map(|value| headers.append(name, value));
    }
    let digest = Digest::of(b"");
    let (held, range) = fuzzing::conditions(&headers, digest);
    let written = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert!(!held || written.trim() == "*" || written.contains(&digest.to_string()), "{written:?}");
    assert!(range.is_none() || headers.contains_key(RANGE));
});
