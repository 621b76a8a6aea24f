//! Assay: a verifying pull-through cache for OCI registries.
#![forbid(unsafe_code)]
pub mod config;
pub mod oci;
pub mod trust;
