//! A proof cannot be written out.
use std::sync::Arc;

use assay::oci::Manifest;
use assay::trust::{Verdict, Verified};

fn write_out(value: Manifest, verdict: Arc<Verdict>) -> Verified<Manifest> {
    Verified { value, verdict }
}

fn exchange(proof: Verified<Manifest>, value: Manifest) -> Verified<Manifest> {
    Verified { value, ..proof }
}

fn main() {
    let _ = (write_out, exchange);
}
