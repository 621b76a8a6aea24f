//! Assay: a verifying pull-through cache for OCI registries.
#![forbid(unsafe_code)]
pub mod cli;
pub mod config;
pub mod oci;
pub mod telemetry;
pub mod trust;
