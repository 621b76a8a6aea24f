//! The network edge: people's container engines talk to us here.
//!
//! A request is parsed (`route`), handed to the puller (`service`) and answered (`respond`, `reply`).
//! The listener sends nothing but a [`ServeBody`], which is made from what the puller proved
//! servable or from a page that this folder wrote itself. Must not judge, fetch or store anything.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]

mod access;
mod admin;
mod body;
mod conditional;
mod connection;
mod file_socket;
#[cfg(test)]
mod fixture;
#[cfg(fuzzing)]
pub mod fuzzing;
mod listener;
mod pages;
mod quiet;
mod reply;
mod respond;
mod route;
mod service;
mod shares;
mod tls;
mod unsent;
#[cfg(test)]
mod wire_tests;

pub use access::{CLIENT_LEFT, Finished, RequestSink};
pub use admin::{AdminOptions, serve_admin};
pub use body::ServeBody;
pub use listener::{ListenerOptions, listen};
pub use service::{LiveOptions, RegistryOptions, serve};
pub use tls::{Certificate, TlsError, server_config};
