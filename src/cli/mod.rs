//! The command line: what can be asked, and how answers are shown.
//!
//! Data goes to standard output, talk to standard error. Commands take ready-made parts; the
//! composition root builds them. Only `check_config.rs` knows the configuration.

mod args;
mod check_config;
mod exit;
mod gc;
mod image_argument;
mod judge_image;
mod plain;
mod report;
pub mod scrub_report;
mod signer_args;
mod trust_args;
pub mod trust_report;

pub use args::{Args, Colour, Command, ImageArgs, Input, config_file};
pub use check_config::check_config;
pub use exit::Exit;
pub use gc::{GcAsked, show_gc};
pub use image_argument::{ImageArgument, ImageArgumentError};
pub use judge_image::{Show, judge_image};
pub use report::{Asked, Place, Report};
pub use signer_args::{LogArgument, ReferenceArgument, SignerArgs, SignerArgsError};
pub use trust_args::{RootName, TrustCommand, UpdateArgs};
pub use trust_report::Update;
