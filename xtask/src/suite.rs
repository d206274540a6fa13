//! The scenarios, run file by file against clusters that are there, with an account of each: none is left out in silence.

use crate::{call, cargo};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What became of a scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    /// With the reason.
    Skipped(String),
}

/// A file's scenarios, how long they took, and what became of each.
struct Account {
    file: String,
    took: Duration,
    outcomes: Vec<(String, Outcome)>,
}

/// A file of scenarios, built.
struct File {
    name: String,
    executable: PathBuf,
}

/// Which scenarios, and what they are told.
pub(crate) struct Suite<'a> {
    /// What the scenarios find in their environment.
    pub(crate) environment: Vec<(&'a str, OsString)>,
    /// Which files.
    pub(crate) wanted: &'a dyn Fn(&str) -> bool,
    /// Scenarios that say nothing about these clusters, with the reason.
    pub(crate) not_here: &'a [(&'a str, &'a str)],
}

impl Suite<'_> {
    /// Runs every scenario, those marked for real clusters too, and fails if any did.
    pub(crate) fn run(&self) -> Result<()> {
        let begun = Instant::now();
        let mut accounts = Vec::new();
        for file in files()?.into_iter().filter(|file| (self.wanted)(&file.name)) {
            let since = Instant::now();
            let mut outcomes = self.run_file(&file)?;
            outcomes.sort_by(|a, b| a.0.cmp(&b.0));
            accounts.push(Account { file: file.name, took: since.elapsed(), outcomes });
        }
        tell(&accounts, begun.elapsed())
    }

    fn run_file(&self, file: &File) -> Result<Vec<(String, Outcome)>> {
        let mut outcomes = Vec::new();
        let mut command = Command::new(&file.executable);
        command.arg("--include-ignored");
        for (name, reason) in self.not_here.iter().filter(|(name, _)| listed(file, name).unwrap_or(false)) {
            command.args(["--skip", name]);
            outcomes.push(((*name).to_owned(), Outcome::Skipped((*reason).to_owned())));
        }
        eprintln!("\n• scenarios of {}", file.name);
        let mut child = command
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", file.executable.display()))?;
        let output = child.stdout.take().context("a piped process has an output")?;
        for line in BufReader::new(output).lines() {
            let line = line?;
            outcomes.extend(outcome_in(&line));
            println!("{line}");
        }
        let status = child.wait()?;
        if !status.success() && outcomes.iter().all(|(_, outcome)| *outcome != Outcome::Failed) {
            bail!("the scenarios of {} ended with {status}", file.name);
        }
        Ok(outcomes)
    }
}

fn tell(accounts: &[Account], took: Duration) -> Result<()> {
    let all = || accounts.iter().flat_map(|account| &account.outcomes);
    let count = |wanted: fn(&Outcome) -> bool| all().filter(|(_, outcome)| wanted(outcome)).count();
    println!("\nscenarios that ran ({:.0} s)", took.as_secs_f64());
    for Account { file, took, outcomes } in accounts {
        println!("  {file} ({:.0} s)", took.as_secs_f64());
        for (name, outcome) in outcomes {
            match outcome {
                Outcome::Passed => println!("    √ {name}"),
                Outcome::Failed => println!("    × {name}"),
                Outcome::Skipped(reason) => println!("    - {name}: skipped, {reason}"),
            }
        }
    }
    let (passed, failed) = (count(|o| *o == Outcome::Passed), count(|o| *o == Outcome::Failed));
    println!("\n{passed} passed, {failed} failed, {} skipped", count(|o| matches!(o, Outcome::Skipped(_))));
    if failed > 0 {
        bail!("{failed} scenarios failed");
    }
    if passed == 0 {
        bail!("no scenario ran");
    }
    Ok(())
}

/// What libtest says of a test when it has ended: `test NAME ... ok`.
fn outcome_in(line: &str) -> Option<(String, Outcome)> {
    let (name, said) = line.strip_prefix("test ")?.split_once(" ... ")?;
    // A test that is marked to be ignored, and run all the same, has its mark behind its name.
    let name = name.split(" - ").next().unwrap_or(name).to_owned();
    match said.split([' ', ',']).next()? {
        "ok" => Some((name, Outcome::Passed)),
        "FAILED" => Some((name, Outcome::Failed)),
        "ignored" => Some((
            name,
            Outcome::Skipped(said.trim_start_matches("ignored").trim_matches([',', ' ']).to_owned()),
        )),
        _ => None,
    }
}

/// Builds the scenarios and answers with their files, in the order of their names.
fn files() -> Result<Vec<File>> {
    let manifest = crate::sources().join("../tests/scenarios/Cargo.toml").canonicalize()?;
    let build = || -> Result<Command> {
        let mut build = cargo();
        // Of the whole workspace, so that crates are built with the features that its other tests want too.
        build.args(["test", "--workspace", "--no-run"]);
        for name in names(&manifest.with_file_name("tests"))? {
            build.args(["--test", &name]);
        }
        Ok(build)
    };
    // Once with its words for people, once for the list.
    call(build()?.arg("--quiet"))?;
    let output = build()?.args(["--message-format", "json"]).stderr(Stdio::null()).output();
    let mut files = Vec::new();
    for line in String::from_utf8_lossy(&output.context("cannot run cargo")?.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's messages")?;
        let is_ours = message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
        if let (true, Some(executable)) = (is_ours, message["executable"].as_str()) {
            let name = message["target"]["name"].as_str().unwrap_or_default().to_owned();
            files.push(File { name, executable: executable.into() });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    if files.is_empty() {
        bail!("cargo built no scenario");
    }
    Ok(files)
}

/// The names of the tests in a folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    Ok(names)
}

/// Whether a file has a scenario of that name.
fn listed(file: &File, name: &str) -> Result<bool> {
    let output = Command::new(&file.executable).args(["--list", "--include-ignored"]).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().any(|line| line == format!("{name}: test")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_a_test_ends_is_understood() {
        let named = |name: &str, outcome| Some((name.to_owned(), outcome));
        assert_eq!(outcome_in("test a_call_crosses ... ok"), named("a_call_crosses", Outcome::Passed));
        assert_eq!(outcome_in("test a ... FAILED"), named("a", Outcome::Failed));
        let ignored = Outcome::Skipped("needs real nodes".to_owned());
        assert_eq!(outcome_in("test a ... ignored, needs real nodes"), named("a", ignored));
        assert_eq!(outcome_in("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(outcome_in("running 3 tests"), None);
    }
}
