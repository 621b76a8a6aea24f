//! Sets up the log: text for people, JSON for machines, always on standard error.
//!
//! Standard output belongs to what a command was asked for.

use std::io::{self, IsTerminal as _};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Overrides the configured level: `debug`, or directives such as `assay=trace,hyper=debug`.
const VARIABLE: &str = "ASSAY_LOG";

/// How to log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// How a line looks.
    pub format: LogFormat,
    /// From which level on our own lines are written: `error` to `trace`. Libraries only warn.
    pub level: &'static str,
    /// Whether text lines are coloured. Colour never carries meaning.
    pub colour: bool,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One line of text.
    Text,
    /// One JSON object in a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The variable does not parse.
    #[error("{VARIABLE}={value} is no level and no list of directives")]
    Directives {
        /// What it holds.
        value: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody has set one up already.
    #[error("the log is already set up")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// The level of a log that was set up.
pub struct LogLevel(Option<Reload>);

type Reload = Box<dyn Fn(EnvFilter) + Send + Sync>;

impl LogLevel {
    /// From now on lines of this level are written, unless the variable `ASSAY_LOG` says which.
    pub fn set(&self, level: &'static str) {
        if let Some(reload) = &self.0 {
            reload(at_level(level));
        }
    }
}

/// Sets up the log of this process. Call it once.
///
/// # Errors
/// When the variable `ASSAY_LOG` does not parse, or at the second call.
pub fn init(options: &LogOptions) -> Result<LogLevel, LoggingError> {
    let directives = std::env::var(VARIABLE).ok().filter(|value| !value.is_empty());
    let filter = filter(options.level, directives.as_deref())?;
    let (subscriber, reload) = subscriber(options, filter, io::stderr().is_terminal(), io::stderr);
    subscriber.try_init()?;
    Ok(LogLevel(directives.is_none().then_some(reload)))
}

fn filter(level: &str, directives: Option<&str>) -> Result<EnvFilter, LoggingError> {
    let Some(value) = directives else {
        return Ok(at_level(level));
    };
    EnvFilter::builder().parse(value).map_err(|source| LoggingError::Directives { value: value.to_owned(), source })
}

fn at_level(level: &str) -> EnvFilter {
    // `h2` warns of each client that breaks the protocol: a line for each connection of whoever attacks.
    EnvFilter::builder().parse_lossy(format!("warn,h2=error,assay={level}"))
}

fn subscriber<W>(
    options: &LogOptions,
    filter: EnvFilter,
    terminal: bool,
    writer: W,
) -> (Box<dyn Subscriber + Send + Sync>, Reload)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // It fails only where the log is gone.
    macro_rules! reloading {
        ($builder:expr) => {{
            let builder = $builder.with_filter_reloading();
            let handle = builder.reload_handle();
            let reload: Reload = Box::new(move |filter| drop(handle.reload(filter)));
            (Box::new(builder.finish()), reload)
        }};
    }
    let json = match options.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    if json {
        reloading!(base.json().flatten_event(true).with_current_span(false).with_span_list(false))
    } else {
        reloading!(base.compact().with_ansi(options.colour).with_target(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, terminal: bool, directives: Option<&str>) -> String {
        let page = Page::default();
        let copy = page.clone();
        let options = LogOptions { format, level: "info", colour: false };
        let filter = filter(options.level, directives).unwrap();
        let (subscriber, _) = subscriber(&options, filter, terminal, move || copy.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(outcome = "refused", "image\u{1b}[31m refused");
            tracing::debug!("a detail");
            tracing::info!(target: "hyper", "chatter");
            tracing::warn!(target: "hyper", "trouble");
        });
        String::from_utf8(page.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn machines_get_one_json_object_in_a_line() {
        let text = logged(LogFormat::Auto, false, None);
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["outcome"], "refused");
        assert_eq!(lines[0]["level"], "INFO");
        assert_eq!(lines[1]["message"], "trouble");
    }

    #[test]
    fn people_get_text_without_escape_sequences() {
        let text = logged(LogFormat::Auto, true, None);
        assert!(text.contains("outcome=\"refused\""), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(!text.contains("chatter") && !text.contains("a detail"), "{text}");
    }

    #[test]
    fn the_level_can_be_changed() {
        let page = Page::default();
        let copy = page.clone();
        for format in [LogFormat::Text, LogFormat::Json] {
            let options = LogOptions { format, level: "info", colour: false };
            let copy = copy.clone();
            let (subscriber, reload) = subscriber(&options, at_level("info"), true, move || copy.clone());
            let level = LogLevel(Some(reload));
            tracing::subscriber::with_default(subscriber, || {
                let told = |text: &'static str| tracing::debug!(text);
                told("before");
                level.set("debug");
                told("meanwhile");
                level.set("error");
                told("after");
            });
        }
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("meanwhile").count(), 2, "{text}");
        assert!(!text.contains("before") && !text.contains("after"), "{text}");
    }

    #[test]
    fn the_variable_overrides_the_level() {
        let text = logged(LogFormat::Text, false, Some("debug"));
        assert!(text.contains("a detail") && text.contains("chatter"), "{text}");
        assert!(logged(LogFormat::Json, true, Some("error")).is_empty());
        let error = filter("info", Some("assay=loud")).unwrap_err();
        assert_eq!(error.to_string(), "ASSAY_LOG=assay=loud is no level and no list of directives");
    }
}
