//! The real Helm, which must make the same objects of the charts as `meshctl`: built once from its published Go module.

use crate::{call, machine};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that is built.
const BUILT: &str = "v3.19.5";

/// The minor version of the Kubernetes that this Helm was made for.
const KUBERNETES_MINOR: u32 = 34;

/// The path of a Helm 3: the one built before, or one built now.
pub(crate) fn find_or_build() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    let dir = Path::new(&home).join(".cache/isthmus/helm").join(BUILT);
    let binary = dir.join("helm");
    if works(&binary) {
        return Ok(binary);
    }
    match (machine::find("helm"), machine::find("go")) {
        (Some(installed), _) if works(&installed) => Ok(installed),
        (_, Some(go)) => build(&go, &dir, &binary).map(|()| binary),
        _ => bail!(
            "Helm 3 is needed to compare charts: put one on PATH, or install Go so that it can be built"
        ),
    }
}

/// Whether this is a Helm 3 that runs.
fn works(helm: &Path) -> bool {
    let output = Command::new(helm).args(["version", "--template", "{{.Version}}"]).output();
    output.is_ok_and(|o| o.status.success() && o.stdout.starts_with(b"v3."))
}

fn build(go: &Path, dir: &Path, binary: &Path) -> Result<()> {
    eprintln!("building helm {BUILT} (once; it is kept in {}) …", dir.display());
    std::fs::create_dir_all(dir)?;
    std::fs::write(
        dir.join("go.mod"),
        format!("module helm.local\n\ngo 1.24.0\n\nrequire helm.sh/helm/v3 {BUILT}\n"),
    )?;
    // As Helm's own build says them: its version, and the Kubernetes it takes for granted without a cluster.
    let (at, minor) = ("-X helm.sh/helm/v3", KUBERNETES_MINOR);
    let flags = format!(
        "-s -w {at}/internal/version.version={BUILT} {at}/pkg/chartutil.k8sVersionMajor=1 \
         {at}/pkg/chartutil.k8sVersionMinor={minor} {at}/pkg/lint/rules.k8sVersionMajor=1 \
         {at}/pkg/lint/rules.k8sVersionMinor={minor}"
    );
    call(
        Command::new(go)
            .args(["build", "-mod=mod", "-trimpath", "-ldflags", &flags, "-o"])
            .arg(binary)
            .arg("helm.sh/helm/v3/cmd/helm")
            .current_dir(dir)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", ""),
    )
}
