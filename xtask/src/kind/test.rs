//! All scenarios on real clusters, in one command: clusters up, images built and loaded, tests, clusters away.

use super::places;
use super::step::step;
use super::{Test, Up, clusters, keeper};
use crate::images;
use crate::suite::Suite;
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// The scenarios for a cluster of several nodes; all others are for two clusters of any shape.
const SEVERAL_NODES: &str = "kind_ha";

/// The scenarios that are told of two clusters with the same subnets too, after the others.
const LINKS: &str = "links";

/// What is true of clusters with the same subnets only.
const NOT_ON_DISTINCT_SUBNETS: &[(&str, &str)] =
    &[("clusters_have_the_same_subnets", "these clusters have subnets of their own; it is run on same-cidr")];

/// What is run on clusters: the executables, and the images made of them.
struct Built {
    bin: PathBuf,
    /// The same sources, built as the next version.
    next: PathBuf,
    archives: Vec<PathBuf>,
}

impl Built {
    /// Executables and images of this version and of the next one, for an upgrade.
    fn build() -> Result<Self> {
        let next_version = next_version()?;
        let bin = step("building the binaries", crate::build_binaries)?;
        let next = step("building the binaries as the next version", || {
            crate::build_binaries_as(&next_version, "bin-next")
        })?;
        let archives = step("building the images", || {
            let mut archives = Vec::new();
            let changed = ["proxy", "init", "controller"].map(str::to_owned).to_vec();
            let versions = [(env!("CARGO_PKG_VERSION"), &bin, Vec::new()), (&next_version, &next, changed)];
            for (version, folder, names) in versions {
                let options = images::Options {
                    names,
                    profile: "release".to_owned(),
                    tag: version.to_owned(),
                    prefix: "isthmus".to_owned(),
                    executables: Some(folder.clone()),
                    out: None,
                };
                archives.extend(images::run(&options)?);
            }
            Ok(archives)
        })?;
        Ok(Self { bin, next, archives })
    }

    /// Brings clusters up, does what is to be done there, and takes them away.
    fn on_clusters(&self, config: Option<&str>, keep: bool, act: impl FnOnce() -> Result<()>) -> Result<()> {
        // What an earlier run left up may be something else.
        clusters::down()?;
        clusters::up(&Up { config: config.map(str::to_owned), ..Up::default() })?;
        clusters::load(&self.archives)?;
        let done = act();
        if done.is_err() {
            eprintln!("the keeper of the test bed said:\n{}", keeper::said());
        }
        if keep {
            eprintln!("• the clusters stay: `cargo xtask kind down` takes them away");
            return done;
        }
        clusters::down().and(done)
    }

    /// What a program is told of the clusters.
    fn environment(&self) -> Result<Vec<(&'static str, OsString)>> {
        let kubectl = super::fleet::kubectl_path()?;
        Ok(vec![
            ("ISTHMUS_SUBSTRATE", "kind".into()),
            ("ISTHMUS_KIND", places::FLEET.into()),
            ("ISTHMUS_BIN_DIR", self.bin.clone().into()),
            ("ISTHMUS_KUBECTL", kubectl.clone().into()),
            ("ISTHMUS_NEXT_BIN_DIR", self.next.clone().into()),
            ("PATH", crate::machine::path_beginning_with(&kubectl)?),
        ])
    }
}

/// Builds what [`run`] puts on clusters.
pub(crate) fn prepare() -> Result<()> {
    Built::build().map(|_| ())
}

/// Runs scenarios on the clusters they are for, and takes the clusters away.
pub(crate) fn run(options: &Test) -> Result<()> {
    let rounds: Vec<Option<&str>> = match (&options.config, options.args.is_empty()) {
        (Some(config), _) => vec![Some(config)],
        (None, true) => vec![None, Some("same-cidr"), Some("ha")],
        (None, false) => vec![None],
    };
    let built = Built::build()?;
    let mut failed = Vec::new();
    for config in rounds {
        let shown = config.unwrap_or("east and west");
        let test = || step(&format!("scenarios on {shown}"), || scenarios(config, &options.args, &built));
        if let Err(error) = built.on_clusters(config, options.keep, test) {
            eprintln!("× {error:#}");
            failed.push(shown.to_owned());
        }
        if options.keep {
            break;
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("scenarios failed on: {}", failed.join("; ")) }
}

/// Runs a program on two clusters with this tree's images in them, and takes the clusters away.
pub(crate) fn bench(program: &mut Command) -> Result<()> {
    let built = Built::build()?;
    built.on_clusters(None, false, || crate::call(program.envs(built.environment()?)))
}

/// This version with its last number one higher.
fn next_version() -> Result<String> {
    let (rest, last) = env!("CARGO_PKG_VERSION").rsplit_once('.').context("a version has dots")?;
    Ok(format!("{rest}.{}", last.parse::<u32>().context("a version ends with a number")? + 1))
}

fn scenarios(config: Option<&str>, args: &[String], built: &Built) -> Result<()> {
    let environment = built.environment()?;
    if !args.is_empty() {
        let mut test = crate::cargo();
        return crate::call(test.args(["test", "--package", "mesh-scenarios"]).args(args).envs(environment));
    }
    let not_here: &[_] = if config == Some("same-cidr") { &[] } else { NOT_ON_DISTINCT_SUBNETS };
    let wanted = |file: &str| match config {
        Some("ha") => file == SEVERAL_NODES,
        Some("same-cidr") => file == LINKS,
        _ => file != SEVERAL_NODES,
    };
    Suite { environment, wanted: &wanted, not_here }.run()
}

#[cfg(test)]
mod tests {
    use super::{LINKS, SEVERAL_NODES, next_version};

    #[test]
    fn the_next_version_is_another_one() {
        assert_ne!(next_version().unwrap(), env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn the_scenarios_for_clusters_of_one_shape_are_there() {
        let tests = crate::sources().join("../tests/scenarios/tests");
        for file in [SEVERAL_NODES, LINKS] {
            assert!(tests.join(format!("{file}.rs")).is_file(), "{file}");
        }
    }
}
