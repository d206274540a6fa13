//! How failures are shown: what failed, why, and what to do about it.

use std::fmt;
use std::process::ExitCode;

/// A failure with its remedy. Travels inside `anyhow::Error`; [`print_failure`] gives it three lines.
#[derive(Debug)]
pub(crate) struct Problem {
    what: String,
    why: String,
    fix: String,
    usage: bool,
}

impl Problem {
    /// A request or check that failed (exit code 1).
    pub(crate) fn new(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), why: why.into(), fix: fix.into(), usage: false }
    }

    /// A command line that cannot be carried out as written (exit code 2).
    pub(crate) fn usage(what: impl Into<String>, why: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { usage: true, ..Self::new(what, why, fix) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.why)
    }
}

impl std::error::Error for Problem {}

/// Writes a failure to stderr.
pub(crate) fn print_failure(error: &anyhow::Error) {
    eprint!("{}", render(error));
}

fn render(error: &anyhow::Error) -> String {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return format!("× {}\n    {}\n    {}\n", problem.what, problem.why, problem.fix);
    }
    let mut chain = error.chain().map(ToString::to_string);
    let mut text = format!("× {}\n", chain.next().unwrap_or_default());
    let mut last = String::new();
    for cause in chain {
        // Wrappers often repeat their source's words.
        if !last.contains(&cause) {
            text.push_str(&format!("    {cause}\n"));
        }
        last = cause;
    }
    text
}

/// The exit code a failure ends the process with.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let usage = error.downcast_ref::<Problem>().is_some_and(|p| p.usage);
    ExitCode::from(if usage { 2 } else { 1 })
}

#[cfg(test)]
mod tests;
