//! Trusted roots: one that is read has the digest of its text, names whom it trusts, and can be used.
#![no_main]

use assay::oci::Digest;
use assay::trust::{Material, PartKind, TrustRoot};
use assay_fuzz::gate;
use libfuzzer_sys::fuzz_target;

const SEED: &[u8] = include_bytes!("../seeds/bundle/identity.json");

fuzz_target!(|data: &[u8]| {
    let Ok(root) = TrustRoot::from_json("fuzz", data) else { return };
    assert_eq!(root.fingerprint(), Digest::of(data));
    assert!(root.has(PartKind::CertificateAuthority) || root.has(PartKind::TransparencyLog));
    let mut demand = gate::signature(&gate::TRUSTED.signers, Default::default());
    demand.roots = vec![root];
    let rule = gate::rule(demand);
    // Whether it is allowed depends on what the root still names.
    gate::judged(gate::signed_image(), Material::Bundle(SEED.into()), &rule);
});
