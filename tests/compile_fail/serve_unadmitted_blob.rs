//! A claim is no admission, and stored content is not servable because it is stored.
use assay::oci::Claim;
use assay::pull::Servable;
use assay::store::StoredBlob;

fn serve(claim: &Claim, blob: StoredBlob) -> Option<Servable> {
    Servable::stored(claim, blob)
}

fn main() {
    let _ = serve;
}
