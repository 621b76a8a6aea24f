//! Integration tests: one binary, so that they link once.

#[path = "../support/mod.rs"]
mod support;

mod fixtures;
mod gate;
mod support_selftest;
