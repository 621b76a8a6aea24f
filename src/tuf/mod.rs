//! Trust material from elsewhere: fetches `trusted_root.json` over TUF (The Update Framework, specification 1.0).
//!
//! TUF answers three questions that a plain download leaves open: who may say what the trust material is, is
//! this the newest, and is it all of one piece. The crate `sigstore-tuf` decides; this folder brings it bytes
//! within bounds, and keeps what was verified so that no later run accepts less. What the fetched bytes are
//! worth as trust material is not decided here.
//!
//! Nothing here runs while images are pulled.

mod error;
mod fetch;
mod kept;
mod mirror;
mod replace;
mod source;

pub use error::{MirrorError, TufError};
pub use fetch::{FetchOptions, Fetched, RoleSeen, TARGET, fetch};
pub use replace::replace_file;
pub use source::{Instance, Source};
