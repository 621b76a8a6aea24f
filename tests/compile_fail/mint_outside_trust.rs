//! A proof cannot be minted outside of `trust`.
use std::sync::Arc;

use assay::oci::Manifest;
use assay::trust::{Artefact, Verdict, Verified};

fn mint(manifest: Manifest, verdict: Arc<Verdict>) -> (Verified<Manifest>, Artefact) {
    (Verified::mint(manifest.clone(), verdict.clone()), Artefact::mint(manifest, verdict))
}

fn main() {
    let _ = mint;
}
