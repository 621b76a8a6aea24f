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
impl CacheOutcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Fill => "fill",
            Self::Join => "join",
            Self::Memory => "memory",
            Self::None => "none",
        }
    }
}
