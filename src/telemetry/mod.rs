//! Words shared by logs and metrics.
mod outcome;
pub use outcome::CacheOutcome;
