//! From a signature to what the gate judges. The only place of this folder that knows the gate's types.

use assay::trust::{Candidate, Material};

use super::layout::Stored;
use super::signed::{Layout, Signed};

impl Signed {
    /// As if it had been found at its usual place.
    pub fn candidate(&self) -> Candidate {
        let place = match self.layout {
            Layout::Classic => "tag .sig",
            Layout::ClassicAttestation => "tag .att",
            Layout::Bundle(_) => "referrers",
        };
        Candidate { place: place.to_owned(), material: self.material() }
    }

    fn material(&self) -> Material {
        let Stored { bytes, annotations, .. } = self.stored();
        match self.layout {
            Layout::Classic => Material::Classic { payload: bytes.into(), annotations },
            Layout::ClassicAttestation => Material::ClassicAttestation { envelope: bytes.into(), annotations },
            Layout::Bundle(_) => Material::Bundle(bytes.into()),
        }
    }
}
