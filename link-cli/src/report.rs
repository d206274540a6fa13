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

/// What to do about a failure that nobody foresaw.
const LAST_RESORT: &str = "add --verbose, or see whether the cluster and the mesh are well:  meshctl check";

/// Writes a failure to stderr.
pub(crate) fn print_failure(error: &anyhow::Error) {
    eprint!("{}", render(error));
}

fn render(error: &anyhow::Error) -> String {
    if let Some(problem) = error.downcast_ref::<Problem>() {
        return format!("× {}\n    {}\n    {}\n", problem.what, problem.why, problem.fix);
    }
    let mut chain = error.chain().map(|cause| one_line(&cause.to_string()));
    let what = chain.next().unwrap_or_default();
    let mut causes: Vec<String> = Vec::new();
    for cause in chain {
        // Wrappers often repeat their source's words.
        if !causes.last().is_some_and(|last| last.contains(&cause)) {
            causes.push(cause);
        }
    }
    if causes.is_empty() {
        return format!("× {what}\n    {LAST_RESORT}\n");
    }
    format!("× {what}\n    {}\n    {LAST_RESORT}\n", causes.join(": "))
}

/// The first line of a message, without the label that parsers put before it: what follows is a drawing of the input.
pub(crate) fn one_line(text: &str) -> String {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    first.trim_start_matches("error: ").to_owned()
}

/// The exit code a failure ends the process with.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let usage = error.downcast_ref::<Problem>().is_some_and(|p| p.usage);
    ExitCode::from(if usage { 2 } else { 1 })
}

#[cfg(test)]
mod tests;
