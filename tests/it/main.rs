//! Integration tests: one binary, so that they link once.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests play the other side, too")]

#[path = "../support/mod.rs"]
mod support;

mod attack;
mod cli;
mod crowd;
mod deny;
mod explain;
mod fixtures;
mod fixtures_keyless;
mod full_disk;
mod fuzz_seeds;
mod gate;
mod lies;
mod parents;
mod platforms;
mod pull;
mod real_servers;
mod refusals;
mod refuse;
mod reload;
mod resume;
mod sigstore_selftest;
mod support_selftest;
mod tuf;
