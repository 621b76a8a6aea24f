//! Names, tags, digests and ranges: what is read prints as it parses, and every range lies in its content.
#![no_main]

use assay::oci::{Digest, ImageName, RangeAsk, Reference, Registry, Repository, Tag};
use assay::trust::Pattern;
use assay_fuzz::round_trip;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    round_trip::<ImageName>(text);
    round_trip::<Reference>(text);
    round_trip::<Registry>(text);
    if let Some(digest) = round_trip::<Digest>(text) {
        assert_eq!(digest.to_string(), text);
    }
    if let Some(tag) = round_trip::<Tag>(text) {
        assert_eq!(tag.as_str(), text);
        if let Some((digest, kind)) = tag.as_artefact() {
            assert_eq!(Tag::of_artefact(digest, kind), tag);
        }
    }
    if let Some(repository) = round_trip::<Repository>(text) {
        assert!(!repository.path().split('/').any(|part| matches!(part, "" | "." | "..")), "{repository}");
    }
    if let Ok(pattern) = Pattern::parse(text) {
        pattern.matches("registry.test/acme/app");
    }
    for size in [0, 1, 1000, u64::MAX] {
        let Some(range) = RangeAsk::parse(text).and_then(|asked| asked.within(size)) else { continue };
        assert!(range.start < range.end && range.end <= size, "{range:?} of {size}");
    }
});
