//! What integration tests share: an upstream that misbehaves on command, a certificate authority, keys.
//!
//! Images, signatures and the honest registry come from `assay::demo`.
#![allow(dead_code, reason = "tests use different parts")]

pub mod cache_folder;
pub mod certs;
pub mod client;
pub mod gate;
pub mod keys;
pub mod misbehaviour;
pub mod nasty;
pub mod proxy;
pub mod random;
pub mod serving;
pub mod sigstore;
pub mod tuf_repository;

pub use certs::TestCa;
pub use gate::Gate;
pub use misbehaviour::Misbehaviour;
pub use nasty::{NastyUpstream, PathMatch, Protocol};
pub use proxy::{Proxy, REGISTRY, Setup};
