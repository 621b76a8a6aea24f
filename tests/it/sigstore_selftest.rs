//! The private Sigstore is like the real one: the Sigstore project's own verifier accepts all that is honest,
//! and refuses each flaw for its own reason.

mod certificates;
mod forms;
mod gate;
mod leftovers;
mod logs;
mod real;
mod times;
mod verify;
