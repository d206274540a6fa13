//! The shape of the workspace, as facts that a test can check: which crate may depend on which, how long a source
//! file may be, and that every source file is reached by a `mod`.

use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The longest source file, in lines.
pub const MAX_LINES: usize = 500;

/// The most lines of `core/sys`, the only crate that may hold `unsafe`.
pub const MAX_SYS_LINES: usize = 200;

/// A layer of the workspace: dependencies may only point to a lower number.
fn layer(crate_name: &str) -> Option<u8> {
    Some(match crate_name {
        "mesh-types" => 0,
        "mesh-rules" | "mesh-balance" | "mesh-metrics" | "mesh-net" | "mesh-http2" | "mesh-tls"
        | "mesh-sys" | "mesh-api" => 1,
        "mesh-runtime" | "mesh-kube" | "mesh-apiserver" => 2,
        "mesh-testkit" => 3,
        "mesh-proxy"
        | "mesh-identity"
        | "mesh-destination"
        | "mesh-policy"
        | "mesh-injector"
        | "mesh-service-mirror"
        | "mesh-init"
        | "mesh-demo" => 4,
        "mesh-gateway" => 5,
        "mesh-sandbox" | "mesh-image-proxy" | "mesh-image-controller" | "mesh-image-init" => 6,
        "mesh-link-cli" | "mesh-bed" | "mesh-scenarios" => 7,
        "mesh-layout" | "mesh-conformance" | "mesh-protocols" | "mesh-bench" | "mesh-bench-proxy"
        | "mesh-bench-endure" | "mesh-hot" | "mesh-xtask" => 8,
        _ => return None,
    })
}

/// Crates that one crate alone may name.
const NAMED_ONLY_IN: &[(&str, &[&str])] = &[
    ("kube", &["mesh-kube"]),
    ("k8s-openapi", &["mesh-kube"]),
    ("schemars", &["mesh-kube"]),
    ("rustls", &["mesh-tls"]),
    ("tokio-rustls", &["mesh-tls"]),
    ("rustls-webpki", &["mesh-tls"]),
    ("kube-cel", &["mesh-apiserver"]),
];

/// Crates that stay small: none of their normal dependencies, at any depth, may be one of these.
const KEPT_FROM: &[(&str, &[&str])] = &[
    ("mesh-proxy", &["mesh-kube", "mesh-apiserver"]),
    ("mesh-gateway", &["mesh-kube", "mesh-apiserver"]),
    ("mesh-apiserver", &["mesh-kube"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

/// A workspace member.
#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    src_path: PathBuf,
}

/// The workspace as cargo describes it.
pub struct Workspace {
    metadata: Metadata,
}

impl Workspace {
    /// Asks cargo.
    ///
    /// # Errors
    /// When cargo cannot be run or answers something else than metadata.
    pub fn read() -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        // As it is now, not as it was built: checkouts that share a target folder share this binary too. Cargo tells it to
        // whatever it runs; without cargo it is the working directory.
        let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| ".".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(here)
            .output()
            .context("cannot run cargo metadata")?;
        let metadata = serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?;
        Ok(Self { metadata })
    }

    /// Every dependency that points up or sideways, and every room that has no layer.
    pub fn wrong_arrows(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for package in &self.metadata.packages {
            let Some(own) = layer(&package.name) else {
                wrong.push(format!("{} has no layer in tests/layout", package.name));
                continue;
            };
            for dep in package.normal_dependencies() {
                if let Some(other) = layer(dep)
                    && other >= own
                    && !allowed_beside(&package.name, dep)
                {
                    wrong.push(format!("{} (layer {own}) depends on {dep} (layer {other})", package.name));
                }
            }
            if package.name == "mesh-xtask" {
                let rooms = package.normal_dependencies().filter(|d| layer(d).is_some());
                wrong.extend(rooms.map(|d| format!("mesh-xtask links {d}; it may only run binaries")));
            }
            if package.name == "mesh-link-cli" {
                let linked = package.normal_dependencies().filter(|d| layer(d) == Some(4));
                let forbidden = linked.filter(|d| !["mesh-injector", "mesh-init"].contains(d));
                wrong.extend(
                    forbidden.map(|d| format!("mesh-link-cli links {d}; rooms talk over the wire API")),
                );
            }
        }
        wrong
    }

    /// Every crate that is named where it must not be.
    pub fn misplaced_dependencies(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for package in &self.metadata.packages {
            for dep in &package.dependencies {
                let rule = NAMED_ONLY_IN.iter().find(|(name, _)| *name == dep.name);
                if let Some((name, allowed)) = rule
                    && !allowed.contains(&package.name.as_str())
                {
                    wrong.push(format!("{} names {name}; only {allowed:?} may", package.name));
                }
            }
        }
        for (package, kept_from) in KEPT_FROM {
            let reached = self.reachable(package);
            let found = kept_from.iter().filter(|k| reached.contains(**k));
            wrong.extend(found.map(|k| format!("{package} reaches {k}; it must stay free of it")));
        }
        wrong
    }

    fn reachable(&self, from: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![from.to_owned()];
        while let Some(name) = todo.pop() {
            let package = self.metadata.packages.iter().find(|p| p.name == name);
            for dep in package.into_iter().flat_map(Package::normal_dependencies) {
                if layer(dep).is_some() && seen.insert(dep.to_owned()) {
                    todo.push(dep.to_owned());
                }
            }
        }
        seen
    }

    /// Every source file that is too long.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn long_files(&self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for file in self.source_files()? {
            let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
            let lines = text.lines().count();
            if lines > MAX_LINES {
                wrong.push(format!(
                    "{} has {lines} lines, at most {MAX_LINES}",
                    self.relative(&file).display()
                ));
            }
        }
        Ok(wrong)
    }

    /// The lines of `core/sys` without blank lines, comments and tests.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn sys_lines(&self) -> Result<usize> {
        let root = self.metadata.workspace_root.join("core/sys/src");
        let mut lines = 0;
        for file in rust_files(&root)?.into_iter().filter(|f| !f.ends_with("tests.rs")) {
            let text = std::fs::read_to_string(&file)?;
            lines += text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")).count();
        }
        Ok(lines)
    }

    /// Every `.rs` file of a crate that no target reaches by `mod`, and every `mod.rs`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn orphans(&self) -> Result<Vec<String>> {
        let mut reached = BTreeSet::new();
        for target in self.metadata.packages.iter().flat_map(|p| &p.targets) {
            reach(&target.src_path, true, &mut reached)?;
        }
        let mut wrong = Vec::new();
        for file in self.source_files()? {
            if file.file_name().is_some_and(|n| n == "mod.rs") {
                wrong.push(format!("{}: use foo.rs beside foo/", self.relative(&file).display()));
            }
            if !reached.contains(&file) {
                wrong.push(format!("{}: no module declares it", self.relative(&file).display()));
            }
        }
        Ok(wrong)
    }

    fn source_files(&self) -> Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for package in &self.metadata.packages {
            let dir = package.manifest_path.parent().context("manifest without folder")?;
            for part in ["src", "tests", "benches", "examples"] {
                let path = dir.join(part);
                if path.is_dir() {
                    files.extend(rust_files(&path)?);
                }
            }
        }
        Ok(files)
    }

    fn relative<'a>(&self, file: &'a Path) -> &'a Path {
        file.strip_prefix(&self.metadata.workspace_root).unwrap_or(file)
    }
}

impl Package {
    fn normal_dependencies(&self) -> impl Iterator<Item = &str> {
        self.dependencies.iter().filter(|d| d.kind.is_none()).map(|d| d.name.as_str())
    }
}

/// Shelves of one layer that may use each other: still without a cycle, which cargo itself refuses.
fn allowed_beside(package: &str, dep: &str) -> bool {
    matches!((package, dep), ("mesh-image-proxy", "mesh-gateway"))
}

fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Adds `file` and every file its `mod x;` lines lead to. A crate root's modules lie beside it, any other file's in
/// the folder of its name.
fn reach(file: &Path, root: bool, reached: &mut BTreeSet<PathBuf>) -> Result<()> {
    if !reached.insert(file.to_owned()) {
        return Ok(());
    }
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let dir = file.parent().context("file without folder")?;
    let stem = file.file_stem().context("file without name")?;
    let base = if root { dir.to_owned() } else { dir.join(stem) };
    let mut path_attribute = None;
    for line in text.lines().map(str::trim) {
        if let Some(path) = line.strip_prefix("#[path = \"").and_then(|l| l.strip_suffix("\"]")) {
            path_attribute = Some(dir.join(path));
        } else if let Some(name) = declared_module(line) {
            let default = base.join(format!("{name}.rs"));
            let path = path_attribute.take().unwrap_or(default);
            if path.is_file() {
                reach(&path, false, reached)?;
            }
        }
    }
    Ok(())
}

fn declared_module(line: &str) -> Option<&str> {
    let line = line.strip_suffix(';')?;
    let name = line.rsplit_once("mod ").map(|(before, name)| (before.trim(), name));
    let (before, name) = name?;
    let fine = before.is_empty() || before == "pub" || before.starts_with("pub(") || before.starts_with("#[");
    (fine && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(name)
}
