//! Asks upstream registries: manifests, blobs, tags, referrers, and where signatures may lie.
//!
//! This folder carries claims. It bounds what it reads, holds what was asked by digest against that
//! digest, and keeps our credentials and our network from whatever an upstream answers. It must not
//! know what a signature is worth: that is for `trust`, which it may not use.
//!
//! From the outside in: [`Upstreams`] is the closed world of configured registries, [`Upstream`] what can
//! be asked of one: of a registry (`client`, `referrers`, `listing`), or of a folder (`layout`). `signatures`
//! looks for signatures in either. `call` runs a question with login (`auth`, `challenge`, `credentials`), redirects
//! (`redirect`, `guard`, `address`) and retries (`retry`); `circuit` holds questions back while an upstream fails, `fair`
//! shares out the places at it; `transport` is the only file that knows the
//! HTTP client.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod address;
mod auth;
mod body;
mod call;
mod challenge;
mod circuit;
mod client;
mod credentials;
mod error;
mod fair;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod layout;
mod link;
mod listing;
mod options;
mod redirect;
mod referrers;
mod retry;
mod signatures;
mod source;
#[cfg(test)]
mod tests;
mod transport;
mod upstreams;

pub use body::BlobStream;
pub use client::blob_time;
pub use error::{Asked, Cause, SetupError, UpstreamError};
pub use fair::{FairPlaces, Place};
pub use layout::{Layout, NotOneImage};
pub use listing::TagPage;
pub use options::{Credentials, Freshness, NetworkOptions, Proxy, UpstreamOptions};
pub use referrers::Referrers;
pub use signatures::{Collected, Found, Look, LookOutcome, Material, SignatureLimits, Wanted};
pub use source::Upstream;
pub use upstreams::Upstreams;
