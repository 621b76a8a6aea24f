//! "Length and digest were checked" cannot be written out.
use assay::oci::{Claim, Digest};
use assay::store::Sealed;

fn main() {
    let want = Claim { digest: Digest::of(b""), size: 0 };
    let _ = Sealed { path: "/etc/passwd".into(), want };
}
