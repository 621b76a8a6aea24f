//! Integration tests: one binary, so that they link once.

#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod lies;
mod pull;
mod refuse;
mod support_selftest;
