//! Single values: durations, bounds, addresses, URLs, hosts, moments.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::Spanned;
use url::Url;

use super::super::file::{Moment, Text};
use super::super::report::Report;
use super::super::settings::HostPort;

/// A duration, 0 included.
pub(super) fn duration(written: Option<&Text>, default: Duration, report: &mut Report<'_>) -> Duration {
    let Some(text) = written else { return default };
    parse_duration(text.get_ref()).unwrap_or_else(|| {
        report
            .error(text.span(), "not a duration")
            .help("write a whole number and a unit, such as \"30s\": ms, s, m, h or d");
        default
    })
}

/// A duration that something is waited for: with 0 nothing would ever succeed.
pub(super) fn waiting(written: Option<&Text>, default: Duration, report: &mut Report<'_>) -> Duration {
    let found = duration(written, default, report);
    if let Some(text) = written
        && found.is_zero()
    {
        report.error(text.span(), "must be longer than 0").help("with 0 nothing would ever succeed");
    }
    found
}

/// How often something is done, or `"off"`. Doing it without a pause is surely not meant.
pub(super) fn interval(
    written: Option<&Text>,
    default: Duration,
    shortest: Duration,
    report: &mut Report<'_>,
) -> Option<Duration> {
    let Some(text) = written else { return Some(default) };
    if text.get_ref() == "off" {
        return None;
    }
    let found = duration(written, default, report);
    if found < shortest {
        let message = format!("must be at least {} s, or \"off\"", shortest.as_secs());
        report.error(text.span(), message).help(format!("the default is {} h", default.as_secs() / 3600));
    }
    Some(found)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().ok()?;
    let seconds = match unit {
        "ms" => return Some(Duration::from_millis(number)),
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return None,
    };
    // A century is surely a mistake, and adding it to a clock may overflow.
    let total = number.checked_mul(seconds).filter(|total| *total <= 100 * 365 * 24 * 60 * 60)?;
    Some(Duration::from_secs(total))
}

/// A number with bounds.
pub(super) fn within<T: Copy + PartialOrd + Display>(
    written: Option<&Spanned<T>>,
    default: T,
    bounds: RangeInclusive<T>,
    report: &mut Report<'_>,
) -> T {
    let Some(number) = written else { return default };
    if !bounds.contains(number.get_ref()) {
        let message = format!("must be from {} to {}", bounds.start(), bounds.end());
        report.error(number.span(), message).help(format!("the default is {default}"));
    }
    *number.get_ref()
}

/// An address to listen on.
pub(super) fn address(text: &Text, report: &mut Report<'_>) -> Option<SocketAddr> {
    let found = text.get_ref().parse().ok();
    if found.is_none() {
        let help = match text.get_ref().rsplit_once(':') {
            Some(("" | "*", port)) => format!("to listen on all addresses, write \"0.0.0.0:{port}\""),
            Some(("localhost", port)) => format!("names may mean several addresses; write \"127.0.0.1:{port}\""),
            _ => "write an address and a port, such as \"127.0.0.1:5050\" or \"[::1]:5050\"".to_owned(),
        };
        report.error(text.span(), "not an address with a port").help(help);
    }
    found
}

/// A URL of scheme, host and port only.
pub(super) fn origin(text: &Text, schemes: &[&str], report: &mut Report<'_>) -> Option<Url> {
    let example = format!("write it as {}://HOST or {}://HOST:PORT", schemes[0], schemes[0]);
    let url = match Url::parse(text.get_ref()) {
        Ok(url) => url,
        Err(error) => {
            report.error(text.span(), format!("not a URL: {error}")).help(example);
            return None;
        }
    };
    let wrong = if !schemes.contains(&url.scheme()) {
        Some((format!("the scheme must be {}", schemes.join(" or ")), example))
    } else if !url.username().is_empty() || url.password().is_some() {
        let help =
            "this file holds no passwords; upstreams take `credentials`, a proxy with a login goes into HTTPS_PROXY";
        Some(("a URL here has no user and no password".to_owned(), help.to_owned()))
    } else if url.query().is_some() || url.fragment().is_some() {
        Some(("a URL here has no query and no fragment".to_owned(), example))
    } else if !matches!(url.path(), "" | "/") {
        Some(("a URL here has no path".to_owned(), format!("write \"{}\"", url.origin().ascii_serialization())))
    } else {
        None
    };
    if let Some((message, help)) = wrong {
        report.error(text.span(), message).help(help);
        return None;
    }
    Some(url)
}

/// Hosts, each perhaps with a port.
pub(super) fn hosts(list: &[Text], report: &mut Report<'_>) -> Vec<HostPort> {
    let parse = |text: &Text| {
        let found = host_port(text.get_ref());
        if found.is_none() {
            report
                .error(text.span(), "not a host or host:port")
                .help("write \"auth.example.com\" or \"auth.example.com:8443\", without a scheme, a path or wildcards");
        }
        found
    };
    list.iter().filter_map(parse).collect()
}

fn host_port(text: &str) -> Option<HostPort> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !text.ends_with(']') => {
            let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
            (host, Some(port.parse::<u16>().ok().filter(|port| digits && *port != 0)?))
        }
        _ => (text, None),
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    if !host.bytes().all(plain) {
        return None;
    }
    Some(HostPort { host: url::Host::parse(host).ok()?, port })
}

/// Which end of a day a bare date means.
#[derive(Clone, Copy)]
pub(super) enum Bound {
    /// The day's first moment.
    From,
    /// The day's last moment: `not_after = 2026-12-31` includes that day.
    Until,
}

/// A moment in RFC 3339, or a day in UTC.
pub(super) fn moment(written: Option<&Spanned<Moment>>, bound: Bound, report: &mut Report<'_>) -> Option<Timestamp> {
    let moment = written?;
    let text = moment.get_ref().0.as_str();
    let found = match text.parse::<Date>() {
        Ok(day) if text.len() == "2026-01-31".len() => match bound {
            Bound::From => day.to_zoned(TimeZone::UTC).ok(),
            Bound::Until => day.tomorrow().ok().and_then(|next| next.to_zoned(TimeZone::UTC).ok()),
        }
        .map(|midnight| midnight.timestamp())
        .and_then(|at| match bound {
            Bound::From => Some(at),
            Bound::Until => at.checked_sub(jiff::SignedDuration::from_nanos(1)).ok(),
        }),
        _ => text.parse::<Timestamp>().ok(),
    };
    if found.is_none() {
        report
            .error(moment.span(), "not a date or a time")
            .help("write 2026-01-31, or a time with its offset: 2026-01-31T12:00:00Z");
    }
    found
}
