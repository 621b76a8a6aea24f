//! Assay: a verifying pull-through cache for OCI registries.
//!
//! ```text
//!  5  main.rs  app/                          the only place that names concrete parts
//!  4  http/   cli/   config/   demo/         edges: people and machines talk to us here
//!  3  pull/   upkeep/                        the pipeline, and the work that nobody waits for
//!  2  store/  upstream/  ledger/  tuf/       bytes at rest, bytes from elsewhere, what is remembered
//!  1  trust/                                 decides. Pure: no I/O, no async, no clock of its own
//!  0  oci/                                   vocabulary. Pure
//!  -  clock.rs  tasks.rs  secret.rs  size.rs  telemetry/  small helpers, usable from 2 upwards
//! ```
//!
//! A file may use its own folder and folders below it; `tests/tidy.rs` holds the code to that.
//! `ARCHITECTURE.md` says what follows from it.
// What comes from outside must not stop the program. Tests may.
#![cfg_attr(not(test), warn(clippy::panic, clippy::print_stderr, clippy::print_stdout, clippy::unwrap_used))]

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod fair;
pub mod http;
pub mod ledger;
pub mod oci;
pub mod pull;
pub mod removal;
pub mod secret;
pub mod size;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod trust;
pub mod tuf;
pub mod upkeep;
pub mod upstream;
