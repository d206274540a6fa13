//! The plays: what is asked, in which order.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A sequence of requests. All plays are asked of one cluster, so that each has names of its own for what it makes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Play {
    /// File name without its end; also the name of the recording.
    #[serde(skip)]
    pub name: String,
    /// Who asks such things.
    pub about: String,
    /// Paths of answers that may differ in every step, and why.
    #[serde(default)]
    pub differs: BTreeMap<String, String>,
    /// The requests.
    pub steps: Vec<Step>,
}

/// One request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it is about, in a few words; no two steps of a play have the same.
    pub name: String,
    /// Method, path and query: `GET /api/v1/pods?limit=1`. `${x}` stands for what an earlier step kept.
    pub ask: String,
    /// What the answer should look like: `json`, `table`, `metadata`, `discovery`, or a media type.
    #[serde(default)]
    pub accept: String,
    /// What the body is: `json`, `yaml`, `merge-patch`, `strategic-merge-patch`, `json-patch`, `apply-patch`, or a media
    /// type.
    #[serde(default)]
    pub content: String,
    /// The body.
    #[serde(default)]
    pub body: Value,
    /// The body as it is, for what is no JSON.
    #[serde(default)]
    pub text: Option<String>,
    /// Who asks, if not an administrator.
    #[serde(default)]
    pub user: String,
    /// The groups of that user.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Values of the answer that later steps use: name and JSON pointer.
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
    /// A watch, of which so many events are read.
    #[serde(default)]
    pub events: Option<usize>,
    /// Asked again until the answer has this status.
    #[serde(default)]
    pub eventually: Option<u16>,
    /// The answer is not compared: the step only prepares the next ones. Its status must still be below 300, or what
    /// `eventually` says.
    #[serde(default)]
    pub quiet: bool,
    /// Paths of the answer that may differ, and why. One that no longer differs is a mistake.
    #[serde(default)]
    pub differs: BTreeMap<String, String>,
}

/// This crate's folder, as it is now: a binary may have been built in another checkout that shares the target folder.
pub fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// All plays, by name.
///
/// # Errors
/// A play that cannot be read, or makes no sense, by its file's name.
pub fn plays() -> Result<Vec<Play>> {
    let folder = root().join("corpus");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "yaml"));
    paths.sort();
    paths.iter().map(|path| play(path).with_context(|| path.display().to_string())).collect()
}

fn play(path: &Path) -> Result<Play> {
    let mut play: Play = serde_saphyr::from_str(&std::fs::read_to_string(path)?)?;
    play.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut names = BTreeSet::new();
    for step in &play.steps {
        ensure!(names.insert(&step.name), "two steps are named {:?}", step.name);
        ensure!(
            step.ask.split_once(' ').is_some_and(|(_, path)| path.starts_with('/')),
            "step {:?}: ask {:?} is not a method and a path",
            step.name,
            step.ask
        );
    }
    Ok(play)
}
