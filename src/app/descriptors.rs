//! How many files the process may open, and how many requests may be answered at once with them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Settings;

/// Requests that are answered at once, for each connection that there may be: a node that pulls over HTTP/2 has some
/// ten layers on one. Whoever takes nothing may open 128, each of which costs some kilobytes and a file.
const REQUESTS_EACH: u64 = 8;

/// However few connections there may be: over HTTP/2 one node has many requests on one.
const REQUESTS_LEAST: u64 = 1024;

/// What is open besides: the cache's most wanted files, the ledger, upstreams, the log.
const BESIDES: u64 = 512;

/// What the configuration can need.
#[derive(Clone, Copy)]
struct Need {
    connections: u64,
    listeners: u64,
    /// Each has its spool and a connection to its upstream.
    fetches: u64,
}

/// Raises the limit as far as it may be and can be needed (what a shell gives is meant for programs that use
/// `select`), says so where that is too little, and returns how many requests each listener may answer at once.
pub(super) fn allow(settings: &Settings, listeners: usize) -> usize {
    let need = Need {
        connections: settings.server.max_connections as u64,
        listeners: listeners.max(1) as u64,
        fetches: settings.limits.concurrent_fetches as u64,
    };
    let limit = getrlimit(Resource::Nofile);
    let wanted = need.wanted().min(limit.maximum.unwrap_or(u64::MAX));
    let raised = limit.current.is_some_and(|current| current < wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }).is_ok();
    let allowed = if raised { wanted } else { limit.current.unwrap_or(u64::MAX) };
    if allowed < need.least() {
        tracing::warn!(
            allowed,
            needed = need.least(),
            "the process may open fewer files than max_connections and concurrent_fetches can need; raise its limit \
             (LimitNOFILE, ulimit -n) or lower them"
        );
    }
    need.requests(allowed)
}

impl Need {
    /// One for a connection and one for what it is sent; two for a fetch.
    fn least(self) -> u64 {
        2 * (self.connections * self.listeners + self.fetches)
    }

    /// As many connections again may wait.
    fn others(self) -> u64 {
        2 * (self.connections * self.listeners + self.fetches) + BESIDES
    }

    fn wanted(self) -> u64 {
        self.others() + self.wanted_requests() * self.listeners
    }

    fn wanted_requests(self) -> u64 {
        (REQUESTS_EACH * self.connections).max(REQUESTS_LEAST)
    }

    /// So many that connections and fetches have theirs left; where there are too few for all, a quarter.
    fn requests(self, allowed: u64) -> usize {
        let most = allowed.saturating_sub(self.others()).max(allowed / 4) / self.listeners;
        usize::try_from(most.min(self.wanted_requests()).max(1)).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_leave_descriptors_to_connections_and_fetches() {
        let need = Need { connections: 4096, listeners: 2, fetches: 64 };
        assert_eq!(need.requests(need.wanted()), 8 * 4096);
        assert_eq!(need.requests(u64::MAX), 8 * 4096);
        assert_eq!(need.requests(65536), (65536 - 16384 - 128 - 512) / 2);
        assert_eq!(need.requests(1024), 128, "warned of");
        assert!(need.least() < need.wanted());
        assert_eq!(Need { connections: 1, listeners: 1, fetches: 64 }.requests(u64::MAX), 1024);
    }
}
