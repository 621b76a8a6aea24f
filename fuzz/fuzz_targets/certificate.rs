//! Another certificate in an otherwise honest signature, in both layouts: only the signer's own is allowed.
#![no_main]

use std::sync::LazyLock;

use assay::trust::Material;
use assay_fuzz::{annotated, gate};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const CERTIFICATE: &[u8] = include_bytes!("../seeds/certificate/identity.der");
const ANNOTATION: &str = "dev.sigstore.cosign/certificate";

static BUNDLE: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!("../seeds/bundle/identity.json")).expect("a seed of ours is JSON")
});

fuzz_target!(|data: &[u8]| {
    let image = gate::signed_image();
    let encoded = STANDARD.encode(data);
    let mut bundle = BUNDLE.clone();
    bundle["verificationMaterial"]["certificate"]["rawBytes"] = encoded.clone().into();
    let allowed = gate::is_allowed(&image, &Material::Bundle(bundle.to_string().into()));
    assert_eq!(allowed, data == CERTIFICATE, "the bundle");

    let (payload, mut annotations) = annotated(include_bytes!("../seeds/classic/identity"));
    let pem = format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n");
    annotations.insert(ANNOTATION.to_owned(), pem);
    let allowed = gate::is_allowed(&image, &Material::Classic { payload: payload.to_vec().into(), annotations });
    assert_eq!(allowed, data == CERTIFICATE, "the classic layout");
});
