//! May this be served? Rules, signatures, verdicts, and the proofs that the rest of the program needs.
//!
//! Pure: bytes and a time in, a verdict with evidence out. No I/O, no async, no clock of its own.
//! The only place that mints proofs.

mod key;
mod policy;

pub use key::{KeyError, KeySigner, PublicKey};
pub use policy::{
    Demand, DockerReference, Enforcement, Fingerprint, Pattern, PatternError, Policy, Require, Rule, danger,
};
