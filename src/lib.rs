//! Assay: a verifying pull-through cache for OCI registries.
#![forbid(unsafe_code)]
pub mod clock;
pub mod demo;
pub mod http;
pub mod ledger;
pub mod oci;
pub mod pull;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod trust;
pub mod upstream;
