//! Composition: builds the parts that a command needs, runs it, and holds the order of stopping.
//!
//! The only place that names concrete parts together.

mod changes;
mod command;
mod demo;
mod descriptors;
mod gc;
mod judge;
mod parts;
mod reload;
mod scrub;
mod serve;
mod systemd;
mod trust;

pub use command::run;
