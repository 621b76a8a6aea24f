//! Exit codes: part of the interface, the same for all commands.

use std::process::ExitCode;

/// How a command ended. "Could not check" ([`Exit::Unavailable`]) is never "is bad" ([`Exit::Denied`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done; the image is verified, the configuration is good.
    Ok = 0,
    /// A mistake or a failure of our own.
    Internal = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// Refused by policy, or not verified.
    Denied = 3,
    /// There is no such image, tag or file.
    NotFound = 4,
    /// Upstream or the network failed; trying again may help.
    Unavailable = 5,
    /// Content that is not what its digest says.
    Integrity = 7,
    /// Stopped by Ctrl-C.
    Interrupted = 130,
}

/// For `--help`.
pub(super) const HELP: &str = "\
Exit codes:
    0  ok
    1  internal error
    2  bad usage or configuration
    3  refused by policy, or not verified
    4  no such image, tag or file
    5  upstream or network unavailable: says nothing about the image, trying again may help
    7  content is not what its digest says, or trust material does not verify
  130  interrupted";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl std::process::Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        use Exit::{Denied, Integrity, Internal, Interrupted, NotFound, Ok, Unavailable, Usage};
        for exit in [Ok, Internal, Usage, Denied, NotFound, Unavailable, Integrity, Interrupted] {
            let start = format!("{:>5}  ", exit as u8);
            assert!(HELP.lines().any(|line| line.starts_with(&start)), "{exit:?}");
        }
    }
}
