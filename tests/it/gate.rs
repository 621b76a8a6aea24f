//! The gate: what it lets through, what it refuses and with which reason, and what it cannot know.
//!
//! Each refusal stands beside its honest sibling, which differs in one thing and is let through. The
//! numbers in the tables are the rows of the list of advisories that they come from; those about
//! certificates and transparency logs have no row here, since rules name keys.

mod allowed;
mod artefacts;
mod attested;
mod claims;
mod denied;
mod keys;
mod outcomes;
mod payloads;
mod proofs;
mod recall;
mod references;
mod refusals;
mod rows;
mod signers;
mod world;
