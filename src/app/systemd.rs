//! The service manager: the sockets that it passes, and what it is told. Without one, nothing of this does anything.
//!
//! Described in systemd's `sd_listen_fds(3)` and `sd_notify(3)`; others speak the same.

use std::convert::Infallible;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::Context as _;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::tasks::Tasks;

/// Sockets to listen on that this process was started with.
pub(super) struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// Takes them over. Call it while the program has one thread: it takes the variables away that tell of them,
    /// so that no program that we start believes they were for it.
    ///
    /// # Errors
    /// When one of them is no TCP socket.
    pub(super) fn take() -> anyhow::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut listeners = Vec::new();
        for at in 0..passed.len() {
            let listener = passed
                .take_tcp_listener(at)
                .context("a socket that was passed by the service manager (LISTEN_FDS) cannot be listened on")?;
            listeners.extend(listener);
        }
        Ok(Self(listeners))
    }

    /// None.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Ready for the runtime, if the configuration wants them.
    ///
    /// # Errors
    /// When it does and there are none. The other way round there is only a warning.
    pub(super) fn listeners(self, wanted: bool) -> anyhow::Result<Vec<tokio::net::TcpListener>> {
        match (wanted, self.0.len()) {
            (true, 0) => anyhow::bail!(
                "[server] listen names \"systemd\", but no socket was passed (LISTEN_FDS): start assay.socket, which starts \
                 assay.service, or write an address"
            ),
            (false, 1..) => {
                tracing::warn!(
                    "sockets were passed by the service manager, but [server] listen does not name \"systemd\": closed"
                );
                return Ok(Vec::new());
            }
            _ => {}
        }
        let ready = |listener: TcpListener| {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        self.0.into_iter().map(ready).collect::<Result<_, _>>().context("cannot listen on a socket that was passed")
    }
}

/// Tells the service manager how we are.
#[derive(Clone)]
pub(super) struct Manager {
    tasks: Tasks,
}

impl Manager {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { tasks }
    }

    /// Clients may come. `status` is for whoever asks `systemctl status`.
    pub(super) fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is being read again; [`Self::ready`] follows, whatever comes of it.
    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the monotonic clock cannot be read"),
        }
    }

    /// The end has begun, and may take so long.
    pub(super) fn stopping(&self, longest: Duration) {
        let longest = u32::try_from(longest.as_micros()).unwrap_or(u32::MAX);
        let status = NotifyState::Status("stopping: running downloads finish");
        tell(&[NotifyState::Stopping, status, NotifyState::ExtendTimeoutUsec(longest)]);
    }

    /// Shows that we are alive, twice as often as it is asked for. Never ends. Each sign of life is a task of its own:
    /// where no worker of the runtime gets to it, there is none.
    pub(super) async fn keep_alive(&self) -> Infallible {
        let Some(period) = sd_notify::watchdog_enabled().filter(|period| !period.is_zero()) else {
            return std::future::pending().await;
        };
        let mut ticks = tokio::time::interval(period / 2);
        loop {
            ticks.tick().await;
            self.tasks.spawn("watchdog", async { tell(&[NotifyState::Watchdog]) });
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told (NOTIFY_SOCKET)");
    }
}
