//! `tracing` output with a filter that can be changed while the process runs.

use crate::Error;
use std::str::FromStr;
use std::sync::Arc;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Plain,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "plain" => Ok(Self::Plain),
            "json" => Ok(Self::Json),
            _ => Err(format!("log format {s:?} must be plain or json")),
        }
    }
}

/// Reads and replaces the log filter of this process.
#[derive(Clone)]
pub struct LogHandle(Arc<reload::Handle<EnvFilter, Registry>>);

impl LogHandle {
    /// The filter in force, as text.
    pub fn filter(&self) -> String {
        self.0.with_current(ToString::to_string).unwrap_or_default()
    }

    /// Replaces the filter.
    ///
    /// # Errors
    /// [`Error::LogFilter`]; the old filter stays.
    pub fn set_filter(&self, filter: &str) -> Result<(), Error> {
        self.0.reload(parse(filter)?).map_err(|e| Error::LogInstalled(e.to_string()))
    }
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(translate(filter))
        .map_err(|e| Error::LogFilter { filter: filter.to_owned(), reason: e.to_string() })
}

/// Linkerd's targets name its own crates; people's annotations say `linkerd=debug`. Here they mean ours.
fn translate(filter: &str) -> String {
    let directives = filter.split(',').map(|d| match d.trim().strip_prefix("linkerd=") {
        Some(level) => OUR_TARGETS.iter().map(|t| format!("{t}={level}")).collect::<Vec<_>>().join(","),
        None => d.trim().to_owned(),
    });
    directives.filter(|d| !d.is_empty()).collect::<Vec<_>>().join(",")
}

const OUR_TARGETS: &[&str] = &["mesh", "isthmus"];

/// Sends logs to standard error, as `format`, filtered by `filter` (`warn,linkerd=info` style; `linkerd` stands
/// for all crates of ours).
///
/// # Errors
/// [`Error::LogFilter`], or [`Error::LogInstalled`] when called twice.
pub fn init_tracing(format: LogFormat, filter: &str) -> Result<LogHandle, Error> {
    let (layer, handle) = reload::Layer::new(parse(filter)?);
    let registry = tracing_subscriber::registry().with(layer);
    let installed = match format {
        LogFormat::Plain => {
            let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
            registry
                .with(tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(std::io::stderr))
                .try_init()
        }
        LogFormat::Json => registry
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr))
            .try_init(),
    };
    installed.map_err(|e| Error::LogInstalled(e.to_string()))?;
    Ok(LogHandle(Arc::new(handle)))
}

#[cfg(test)]
mod tests;
