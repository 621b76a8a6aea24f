//! A signed image names layers, not manifests: a layer whose bytes read as an index proves nothing.
use assay::oci::Manifest;
use assay::trust::{AdmittedBlob, AdmittedManifest, Verified};

fn as_manifest(layer: AdmittedBlob) -> AdmittedManifest {
    layer
}

fn open(layer: AdmittedBlob, bytes: Manifest) -> Verified<Manifest> {
    layer.open(bytes).unwrap()
}

fn main() {
    let _ = (as_manifest, open);
}
