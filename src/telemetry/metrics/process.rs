//! This process, under the names that every Prometheus client uses, so that common dashboards know them.

use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::clock::{Clock as _, SystemClock};

/// Looks when it is asked. What cannot be seen is left out.
#[derive(Debug)]
pub(super) struct Process {
    /// Seconds since 1970.
    started: i64,
}

impl Process {
    /// A registry of its own, since these names have no prefix. The process counts as started now.
    pub(super) fn registry() -> Registry {
        let mut registry = Registry::with_prefix("process");
        registry.register_collector(Box::new(Self { started: SystemClock.now().as_second() }));
        registry
    }
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: Option<i64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        gauge("start_time", "When this process started, since 1970", Some(&Unit::Seconds), Some(self.started))?;
        gauge("resident_memory", "Memory in use", Some(&Unit::Bytes), resident_bytes())?;
        gauge("open_fds", "File descriptors that are open", None, open_fds())?;
        gauge("max_fds", "File descriptors that may be open", None, max_fds())?;
        let cpu = ConstCounter::new(cpu_seconds());
        let descriptor = encoder.encode_descriptor(
            "cpu",
            "Processor time that was used",
            Some(&Unit::Seconds),
            cpu.metric_type(),
        )?;
        cpu.encode(descriptor)
    }
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    kib.trim().parse::<i64>().ok()?.checked_mul(1024)
}

fn open_fds() -> Option<i64> {
    // One of them is that of this look.
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?.checked_sub(1)
}

fn max_fds() -> Option<i64> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    limit.and_then(|limit| i64::try_from(limit).ok())
}

fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_shows_what_it_uses() {
        let page = crate::telemetry::Metrics::new().encode();
        let value = |name: &str| -> f64 {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("process_{name} ")));
            line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
        };
        assert!(value("resident_memory_bytes") > 1e6);
        assert!(value("cpu_seconds_total") > 0.0);
        assert!(value("open_fds") >= 3.0 && value("open_fds") < value("max_fds"));
        let age = SystemClock.now().as_second() - value("start_time_seconds") as i64;
        assert!((0..3600).contains(&age), "{age}");
    }
}
