//! A manifest that nobody judged cannot be served, not even as an artefact.
use assay::oci::Manifest;
use assay::pull::Servable;

fn serve(manifest: &Manifest) -> Servable {
    Servable::manifest(manifest)
}

fn serve_as_artefact(manifest: &Manifest) -> Servable {
    Servable::artefact(manifest)
}

fn main() {
    let _ = (serve, serve_as_artefact);
}
