//! An artefact's payload cannot be served before somebody looked at its bytes.
use assay::pull::Servable;
use assay::trust::ArtefactBlob;

fn serve(payload: &ArtefactBlob) -> Servable {
    Servable::inspected(payload)
}

fn serve_as_layer(payload: &ArtefactBlob) -> Servable {
    Servable::head(payload)
}

fn main() {
    let _ = (serve, serve_as_layer);
}
