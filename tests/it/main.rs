//! Integration tests: one binary, so that they link once.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests play the other side, too")]

#[path = "../support/mod.rs"]
mod support;

mod attack;
mod cli;
mod crash;
mod crowd;
mod deny;
mod eviction;
mod explain;
mod fixtures;
mod fixtures_keyless;
mod freshness;
mod full_disk;
mod fuzz_seeds;
mod gate;
mod hostile_folder;
mod hot_files;
mod lies;
mod outage;
mod outage_measured;
mod parents;
mod platforms;
mod pull;
mod real_servers;
mod recovery;
mod refusals;
mod refuse;
mod reload;
mod resume;
mod reverify;
mod rule_change;
mod scrub;
mod shutdown;
mod sigstore_selftest;
mod soak;
mod space;
mod support_selftest;
mod systemd;
mod tuf;
