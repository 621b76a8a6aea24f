//! Assay: a verifying pull-through cache for OCI registries.
#![forbid(unsafe_code)]
pub mod demo;
pub mod oci;
