//! Integration tests: one binary, so that they link once.

#[path = "../support/mod.rs"]
mod support;

mod pull;
mod support_selftest;
