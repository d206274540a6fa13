//! `cargo xtask …`: what people and CI run. It links no room: it runs cargo, the tools of the machine, and the
//! binaries that cargo built.

mod bench;
mod conformance;
mod fuzz;
mod helm;
mod images;
mod kind;
mod kubectl;
mod machine;
mod suite;
mod tools;

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Every package whose binary the sandbox runs or people call.
const BINARIES: &[&str] = &[
    "mesh-link-cli",
    "mesh-sandbox",
    "mesh-image-proxy",
    "mesh-image-controller",
    "mesh-image-init",
    "mesh-demo",
];

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Build, try, test and measure Isthmus")]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Build what is needed and run the demo: two linked clusters that survive the loss of one side
    Demo {
        /// Passed on to `meshctl sandbox demo`, such as --keep
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build what the tests need and run all of them
    Test {
        /// Passed on to `cargo test`, such as -p mesh-proxy or a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Build every image, as archives that need no container engine
    Images(images::Options),
    /// Real Kubernetes clusters on this machine, made by kind
    #[command(subcommand)]
    Kind(kind::Kind),
    /// Hold the sandbox against the real thing
    #[command(subcommand)]
    Conformance(conformance::Conformance),
    /// Check formatting, lints and documentation, with warnings denied
    Lint,
    /// Fuzz what parses bytes of strangers, each target for a while (needs a nightly toolchain)
    Fuzz(fuzz::Args),
    /// Run a benchmark and print its figures
    Bench {
        /// Which one: mesh, cluster, proxy, faults, soak or instructions
        name: String,
        /// Passed on to the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("× {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Demo { args } => {
            machine::require_root("the sandbox makes network namespaces")?;
            machine::require_nft()?;
            let bin = build_binaries()?;
            call(Command::new(bin.join("meshctl")).args(["sandbox", "demo"]).args(args))
        }
        Task::Test { args } => {
            machine::require_root("tests run whole clusters in network namespaces")?;
            machine::require_nft()?;
            let kubectl = kubectl::find_or_build()?;
            let bin = build_binaries()?;
            let helm = if leaves_in(&args, "mesh-link-cli") {
                Some(("ISTHMUS_HELM", helm::find_or_build()?))
            } else {
                None
            };
            let tools = if leaves_in(&args, "mesh-protocols") { tools::ensure()? } else { Vec::new() };
            let args = if args.is_empty() { vec!["--workspace".to_owned()] } else { args };
            call(
                cargo()
                    .arg("test")
                    .args(args)
                    .envs(tools)
                    .envs(helm)
                    .env("ISTHMUS_BIN_DIR", &bin)
                    .env("ISTHMUS_KUBECTL", &kubectl)
                    .env("PATH", machine::path_beginning_with(&kubectl)?),
            )
        }
        Task::Kind(task) => kind::run(&task),
        Task::Conformance(task) => conformance::run(&task),
        Task::Images(options) => images::run(&options).map(drop),
        Task::Lint => {
            call(cargo().args(["fmt", "--all", "--check"]))?;
            call(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
            call(
                cargo()
                    .args(["doc", "--workspace", "--no-deps", "--quiet"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )
        }
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Bench { name, args } => bench::run(&name, &args),
    }
}

/// Whether the arguments of `cargo test` leave a package's tests in: they name it, or name none.
fn leaves_in(args: &[String], package: &str) -> bool {
    let flag = |arg: &str| arg == "-p" || arg == "--package";
    let mut named = args.iter().zip(args.iter().skip(1)).filter(|(arg, _)| flag(arg)).map(|(_, name)| name);
    !args.iter().any(|arg| flag(arg)) || named.any(|name| name == package)
}

/// Builds the binaries, the same static ones that go into images, and answers with the folder they are in: `bin` in
/// cargo's target folder, where people find them too.
fn build_binaries() -> Result<PathBuf> {
    build_binaries_as(env!("CARGO_PKG_VERSION"), "bin")
}

/// The binaries as this version, in this folder of cargo's target folder.
fn build_binaries_as(version: &str, folder: &str) -> Result<PathBuf> {
    let built = images::build::build(BINARIES, version, "release", images::build::Architecture::here()?)?;
    let bin = target_dir()?.join(folder);
    std::fs::create_dir_all(&bin).with_context(|| bin.display().to_string())?;
    for entry in std::fs::read_dir(&built).with_context(|| built.display().to_string())? {
        let entry = entry?;
        let meta = entry.metadata()?;
        if meta.is_file() && meta.permissions().mode() & 0o111 != 0 {
            let link = bin.join(entry.file_name());
            if link.exists() {
                std::fs::remove_file(&link).with_context(|| link.display().to_string())?;
            }
            std::fs::hard_link(entry.path(), &link).with_context(|| link.display().to_string())?;
        }
    }
    Ok(bin)
}

/// The folder of these sources, as cargo tells who it runs: what was compiled may have been so from another checkout that
/// shares the target folder.
fn sources() -> PathBuf {
    let told = std::env::var_os("CARGO_MANIFEST_DIR");
    told.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from)
}

fn target_dir() -> Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .output()
        .context("cannot run cargo metadata")?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let dir = metadata["target_directory"].as_str().context("cargo metadata names no target directory")?;
    Ok(Path::new(dir).to_owned())
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn call(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}").replace('"', "");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        bail!("{shown}: {status}");
    }
    Ok(())
}
