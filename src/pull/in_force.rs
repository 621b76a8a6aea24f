//! What is in force: policy and upstreams. They change together, and a question keeps what it began with.

use std::sync::Arc;

use crate::trust::Policy;
use crate::upstream::Upstreams;

/// Who must have signed what, and where content comes from.
#[derive(Clone)]
pub struct InForce {
    /// Who must have signed what.
    pub policy: Arc<Policy>,
    /// Where content comes from. No other registry is asked.
    pub upstreams: Arc<Upstreams>,
}
