//! Sigstore bundles before the gate: nothing that a fuzzer makes is signed for this image.
#![no_main]

use assay::trust::Material;
use assay_fuzz::gate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let material = Material::Bundle(data.to_vec().into());
    assert!(!gate::is_allowed(&gate::unsigned_image(), &material));
});
