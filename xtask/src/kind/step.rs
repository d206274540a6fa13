//! How a step is told and how a tool is run: what it does, how long it took, and, when it fails, what the tool said.

use anyhow::{Context as _, Result, bail};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How much of a failed tool's output is shown.
const SHOWN_LINES: usize = 20;

/// Says what is done, does it, and says how long it took.
pub(crate) fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("• {what} …");
    let begun = Instant::now();
    let done = work().with_context(|| what.to_owned())?;
    eprintln!("  {what}: {:.1} s", begun.elapsed().as_secs_f64());
    Ok(done)
}

/// Runs a tool without showing what it prints, unless it fails; answers with its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{shown}: {}\n{}", output.status, last_lines(&String::from_utf8_lossy(&said)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a tool with its output in `log`, the end of which is shown when it fails. For tools that print much.
pub(crate) fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = shown(command);
    let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        let said = std::fs::read(log).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        bail!("{shown}: {status}\n{}\n    all of it: {}", last_lines(&said), log.display());
    }
    Ok(())
}

/// Runs two tools, the second reading what the first prints; answers with what the second prints.
pub(crate) fn piped(first: &mut Command, second: &mut Command) -> Result<String> {
    let shown_first = shown(first);
    let mut writer = first
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {shown_first}"))?;
    let pipe = writer.stdout.take().context("a piped process has an output")?;
    let shown = shown(second);
    let output = second.stdin(pipe).output().with_context(|| format!("cannot run {shown}"));
    // The command holds the pipe's reading end, without which a writer whose reader has gone would wait for ever.
    second.stdin(Stdio::null());
    let status = writer.wait()?;
    let output = output?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{shown}: {}\n{}", output.status, last_lines(&String::from_utf8_lossy(&said)));
    }
    if !status.success() {
        bail!("{shown_first}: {status}");
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The SHA-256 of some bytes, in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> Result<String> {
    let mut tool = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run sha256sum")?;
    tool.stdin.take().context("a piped process has an input")?.write_all(bytes)?;
    let output = tool.wait_with_output()?;
    first_word(&String::from_utf8_lossy(&output.stdout))
}

/// The SHA-256 of a file, in hexadecimal.
pub(crate) fn digest_of(file: &Path) -> Result<String> {
    first_word(&output(Command::new("sha256sum").arg(file))?)
}

/// Asks until the answer is yes; fails with `what` when it has not been for `patience`.
pub(crate) fn wait_until(what: &str, patience: Duration, mut ask: impl FnMut() -> bool) -> Result<()> {
    let until = Instant::now() + patience;
    while !ask() {
        if Instant::now() > until {
            bail!("{what}: not within {} s", patience.as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn first_word(text: &str) -> Result<String> {
    Ok(text.split_whitespace().next().context("sha256sum printed nothing")?.to_owned())
}

fn shown(command: &Command) -> String {
    format!("{command:?}").replace('"', "")
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(SHOWN_LINES);
    lines[from..].iter().map(|l| format!("    {l}")).collect::<Vec<_>>().join("\n")
}
