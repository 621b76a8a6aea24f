//! That something is an artefact, or that its payload was looked at, cannot be written out.
use std::sync::Arc;

use assay::oci::{Claim, Manifest};
use assay::trust::{Artefact, ArtefactBlob, Inspected, Verdict};
use bytes::Bytes;

fn artefact(manifest: Manifest, verdict: Arc<Verdict>) -> Artefact {
    Artefact { manifest, verdict }
}

fn blob(claim: Claim, verdict: Arc<Verdict>) -> ArtefactBlob {
    ArtefactBlob { claim, verdict }
}

fn inspected(bytes: Bytes, blob: ArtefactBlob) -> Inspected {
    Inspected { bytes, blob }
}

fn main() {
    let _ = (artefact, blob, inspected);
}
