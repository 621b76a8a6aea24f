//! Membership in something verified cannot be written out.
use std::sync::Arc;

use assay::oci::{Claim, Descriptor};
use assay::trust::{AdmittedBlob, AdmittedManifest, Verdict};

fn manifest(descriptor: Descriptor, verdict: Arc<Verdict>) -> AdmittedManifest {
    AdmittedManifest { descriptor, verdict }
}

fn blob(claim: Claim, verdict: Arc<Verdict>) -> AdmittedBlob {
    AdmittedBlob { claim, verdict }
}

fn main() {
    let _ = (manifest, blob);
}
