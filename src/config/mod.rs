//! `proxy.toml`: from what an operator wrote to settings that can be run, or to messages that help.
//!
//! Two shapes: `file.rs` is the text as written, unknown keys refused; [`Settings`] is checked and
//! holds only parsed types. In between, `read.rs` collects what has the wrong shape and `check` what
//! makes no sense; [`Problems`] tells all of it at once. Knows `oci` and `trust`, and no other part:
//! the composition root makes each part's options from the settings.

mod check;
mod env;
mod file;
mod finding;
mod read;
mod report;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod tree;

pub use env::Override;
pub use finding::{Problems, Warning};
pub use settings::{
    Cache, Credentials, HostPort, Integrity, Limits, Log, LogFormat, LogLevel, Network, Proxy, Server, Settings, Tls,
    Upstream, VerifyReads,
};
