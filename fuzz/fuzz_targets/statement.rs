//! Statements and payloads with a good signature: taken only for what a naive reader finds in them, too.
#![no_main]

use assay_fuzz::{gate, said};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    said::taken_for(data, &gate::signed_image());
});
