//! A stock kubectl is the sandbox's acceptance client: from PATH, or built from its published Go module.

use crate::{call, machine};
use anyhow::{Context as _, Result, bail};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The oldest kubectl the tests accept, as a minor version of 1: the first that execs and forwards over WebSocket.
const OLDEST_MINOR: u32 = 31;

/// The version built where none is installed; its staging modules are published as v0.MINOR.PATCH, and its minor.
const BUILT: (&str, &str, u32) = ("v1.34.4", "v0.34.4", 34);

/// Modules that k8s.io/kubernetes replaces by its own staging folders, and that must therefore be named.
const STAGING: &[&str] = &[
    "api",
    "apiextensions-apiserver",
    "apimachinery",
    "apiserver",
    "cli-runtime",
    "client-go",
    "cloud-provider",
    "cluster-bootstrap",
    "code-generator",
    "component-base",
    "component-helpers",
    "controller-manager",
    "cri-api",
    "cri-client",
    "csi-translation-lib",
    "dynamic-resource-allocation",
    "endpointslice",
    "externaljwt",
    "kms",
    "kube-aggregator",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "metrics",
    "mount-utils",
    "pod-security-admission",
    "sample-apiserver",
    "sample-cli-plugin",
    "sample-controller",
];

/// The path of a kubectl that is new enough.
pub(crate) fn find_or_build() -> Result<PathBuf> {
    if let Some(path) = machine::find("kubectl") {
        match minor_version(&path) {
            Ok(minor) if minor >= OLDEST_MINOR => return Ok(path),
            Ok(minor) => eprintln!("{} is 1.{minor}, older than 1.{OLDEST_MINOR}", path.display()),
            Err(error) => eprintln!("{}: {error:#}", path.display()),
        }
    }
    let Some(go) = machine::find("go") else {
        bail!(
            "kubectl 1.{OLDEST_MINOR} or newer is needed: put one on PATH, or install Go so that it can be built"
        );
    };
    build(&go)
}

fn minor_version(kubectl: &Path) -> Result<u32> {
    let output = Command::new(kubectl).args(["version", "--client", "-o", "json"]).output()?;
    let version: serde_json::Value = serde_json::from_slice(&output.stdout).context("no version as JSON")?;
    let minor = version["clientVersion"]["minor"].as_str().context("no minor version")?;
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().with_context(|| format!("minor version {minor:?}"))
}

fn build(go: &Path) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    let dir = Path::new(&home).join(".cache/isthmus/kubectl").join(BUILT.0);
    let binary = dir.join("kubectl");
    if binary.is_file() && minor_version(&binary).is_ok() {
        return Ok(binary);
    }
    eprintln!("building kubectl {} (once; it is kept in {}) …", BUILT.0, dir.display());
    std::fs::create_dir_all(&dir)?;
    let mut module =
        format!("module kubectl.local\n\ngo 1.24\n\nrequire k8s.io/kubernetes {}\n\nreplace (\n", BUILT.0);
    for name in STAGING {
        writeln!(module, "\tk8s.io/{name} => k8s.io/{name} {}", BUILT.1)?;
    }
    module.push_str(")\n");
    std::fs::write(dir.join("go.mod"), module)?;
    let at = "-X k8s.io/component-base/version.git";
    let flags = format!("{at}Version={} {at}Major=1 {at}Minor={}", BUILT.0, BUILT.2);
    call(
        Command::new(go)
            .args(["build", "-mod=mod", "-trimpath", "-ldflags", &flags, "-o"])
            .arg(&binary)
            .arg("k8s.io/kubernetes/cmd/kubectl")
            .current_dir(&dir)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", ""),
    )?;
    Ok(binary)
}
