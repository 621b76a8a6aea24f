//! Small closed lists.

/// Where content came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheOutcome {
    Hit,
    Fill,
    Join,
    Memory,
    None,
}
