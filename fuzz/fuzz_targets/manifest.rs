//! Manifests: what parses keeps its bytes and its digest, and is bounded. What strict JSON refuses is no manifest.
#![no_main]

use assay::oci::{Digest, ENTRIES_MAX, Manifest, strict_json};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let strict = strict_json::check(data);
    if strict.is_ok() {
        serde_json::from_slice::<serde_json::Value>(data).expect("strict JSON is JSON");
    }
    for sent_as in [None, Some("application/vnd.oci.image.index.v1+json"), Some("text/plain")] {
        let Ok(manifest) = Manifest::parse(data.to_vec().into(), sent_as) else { continue };
        assert!(strict.is_ok());
        assert_eq!(manifest.bytes(), data);
        assert_eq!(manifest.digest(), Digest::of(data));
        assert!(manifest.named().count() <= ENTRIES_MAX + 1);
        assert_ne!(manifest.image().is_some(), manifest.index().is_some());
        // What it is served as says the same again.
        let again = Manifest::parse(data.to_vec().into(), Some(manifest.media_type().as_str())).expect("as it was");
        assert_eq!(again.media_type(), manifest.media_type());
    }
});
