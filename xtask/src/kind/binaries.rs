//! The programs that Debian lacks, built from published Go modules. Versions and checksums are pinned by the go.mod and
//! go.sum of the folders in `kind-configs/node/go`; the checksum database stays on.

use super::places;
use super::step::{logged, output, step};
use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version of Kubernetes, as its module is tagged.
pub(crate) const KUBERNETES: &str = "v1.34.4";

/// The oldest Go that the modules accept, as a minor version of 1.
const OLDEST_GO: u32 = 24;

/// A module of `kind-configs/node/go` and the programs built from it.
pub(crate) struct Module {
    /// The module's folder.
    name: &'static str,
    /// What is built: the package, and the program's name.
    programs: &'static [(&'static str, &'static str)],
}

/// Kubernetes itself, kubectl and a small CRI client.
const KUBERNETES_PROGRAMS: Module = Module {
    name: "kubernetes",
    programs: &[
        ("k8s.io/kubernetes/cmd/kubectl", "kubectl"),
        ("k8s.io/kubernetes/cmd/kube-apiserver", "kube-apiserver"),
        ("k8s.io/kubernetes/cmd/kube-controller-manager", "kube-controller-manager"),
        ("k8s.io/kubernetes/cmd/kube-scheduler", "kube-scheduler"),
        ("k8s.io/kubernetes/cmd/kube-proxy", "kube-proxy"),
        ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
        ("k8s.io/kubernetes/cmd/kubeadm", "kubeadm"),
        ("./crictl", "crictl"),
    ],
};

/// Only kubectl, for who needs no cluster.
pub(crate) const KUBECTL: Module =
    Module { name: "kubernetes", programs: &[("k8s.io/kubernetes/cmd/kubectl", "kubectl")] };

/// The kind command line.
pub(crate) const KIND: Module = Module { name: "kind", programs: &[("sigs.k8s.io/kind", "kind")] };

const MODULES: &[Module] = &[
    KIND,
    Module { name: "etcd", programs: &[("go.etcd.io/etcd/server/v3", "etcd")] },
    KUBERNETES_PROGRAMS,
    Module { name: "coredns", programs: &[("github.com/coredns/coredns", "coredns")] },
];

/// Builds what is missing; answers with the folder in which all programs are found by name.
pub(crate) fn build_all() -> Result<PathBuf> {
    for module in MODULES {
        build(module)?;
    }
    places::cache("bin")
}

/// Builds what is missing of one module; answers with the folder of programs.
pub(crate) fn build(module: &Module) -> Result<PathBuf> {
    let go = go()?;
    let sources = places::node_sources().join("go").join(module.name);
    let version = output(Command::new(&go).args(["env", "GOVERSION", "GOARCH"]))?;
    let key = places::key_of(&sources, &version)?;
    let kept = places::cache(&format!("go/{}-{key}", module.name))?;
    let missing: Vec<_> =
        module.programs.iter().filter(|(_, program)| !kept.join(program).is_file()).copied().collect();
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|(_, program)| *program).collect();
        step(&format!("building {} (once, minutes when cold)", names.join(", ")), || {
            compile(&go, &sources, &kept, &missing)
        })?;
    }
    let bin = places::cache("bin")?;
    for (_, program) in module.programs {
        link(&kept.join(program), &bin.join(program))?;
    }
    Ok(bin)
}

/// Compiles programs together, so that Go may use all cores, and moves each to its place when all are done.
fn compile(go: &Path, sources: &Path, kept: &Path, programs: &[(&str, &str)]) -> Result<()> {
    let partial = kept.join("partial");
    places::remove(&partial)?;
    std::fs::create_dir_all(&partial)?;
    let at = "-X k8s.io/component-base/version.git";
    let minor = KUBERNETES.split('.').nth(1).context("a version has a minor")?;
    let flags = format!("-s -w {at}Version={KUBERNETES} {at}Major=1 {at}Minor={minor} {at}TreeState=clean");
    let mut build = Command::new(go);
    build.args(["build", "-mod=readonly", "-trimpath", "-ldflags", &flags, "-o"]).arg(&partial);
    build.args(programs.iter().map(|(package, _)| *package));
    build.current_dir(sources).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false").env("GOWORK", "off");
    logged(&mut build, &kept.join("build.log")).context(
        "Go could not build it\n  run the command again: what was downloaded and compiled is kept; without the module \
         proxy set GOPROXY to one that is reached",
    )?;
    for (package, program) in programs {
        let built = package_binary(package);
        std::fs::rename(partial.join(built), kept.join(program))
            .with_context(|| format!("Go built no {built} from {package}"))?;
    }
    places::remove(&partial)
}

/// The name that Go gives the program of a package: its last element that is not a major version.
fn package_binary(package: &str) -> &str {
    let is_major = |e: &&str| e.strip_prefix('v').is_some_and(|n| n.parse::<u32>().is_ok());
    package.rsplit('/').find(|element| !is_major(element)).unwrap_or(package)
}

fn go() -> Result<PathBuf> {
    let Some(go) = machine::find("go") else {
        bail!(
            "Go 1.{OLDEST_GO} or newer is needed to build Kubernetes and kind from their modules: put `go` on PATH"
        );
    };
    let version = output(Command::new(&go).args(["env", "GOVERSION"]))?;
    let minor = version.trim().strip_prefix("go1.").and_then(|v| v.split('.').next()).map(str::parse::<u32>);
    match minor {
        Some(Ok(minor)) if minor < OLDEST_GO => {
            bail!("{} is {}; Go 1.{OLDEST_GO} or newer is needed", go.display(), version.trim())
        }
        _ => Ok(go),
    }
}

/// Makes `name` a link to `target`, in place of what it was.
fn link(target: &Path, name: &Path) -> Result<()> {
    if std::fs::read_link(name).is_ok_and(|now| now == target) {
        return Ok(());
    }
    places::remove(name)?;
    std::os::unix::fs::symlink(target, name).with_context(|| format!("cannot link {}", name.display()))
}

#[cfg(test)]
mod tests {
    use super::{KUBERNETES, package_binary};
    use crate::kind::places;

    #[test]
    fn the_version_is_that_of_the_pinned_module() {
        let pinned = std::fs::read_to_string(places::node_sources().join("go/kubernetes/go.mod")).unwrap();
        assert!(pinned.contains(&format!("k8s.io/kubernetes {KUBERNETES} ")), "{pinned}");
    }

    #[test]
    fn programs_are_named_as_go_names_them() {
        assert_eq!(package_binary("k8s.io/kubernetes/cmd/kubelet"), "kubelet");
        assert_eq!(package_binary("go.etcd.io/etcd/server/v3"), "server");
        assert_eq!(package_binary("./crictl"), "crictl");
    }
}
