//! Classic signatures, payload and annotations, before the gate: none of them is about this image.
#![no_main]

use assay::trust::Material;
use assay_fuzz::{annotated, gate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (payload, annotations) = annotated(data);
    let material = Material::Classic { payload: payload.to_vec().into(), annotations };
    assert!(!gate::is_allowed(&gate::unsigned_image(), &material));
});
