//! Debian's `nft` with everything it needs to run where nothing else is.

use super::layer::Tree;
use crate::machine;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Adds `/usr/sbin/nft`, the loader, the libraries, and the copyright notices of their packages; answers with the
/// packages and their versions.
pub(crate) fn add_nft(tree: &mut Tree) -> Result<Vec<String>> {
    machine::require_nft()?;
    let nft = machine::find("nft").context("nft is not there")?;
    let libraries = libraries_of(&nft)?;
    tree.copy("usr/sbin/nft", 0o755, &nft)?;
    for library in &libraries {
        tree.copy(merged(library), 0o755, library)?;
    }
    // As on Debian. The loader is asked for by its old path.
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")]
    {
        tree.directory(target, 0o755);
        tree.link(link, target);
    }
    let mut packages = BTreeSet::new();
    for file in libraries.iter().chain([&nft]) {
        packages.insert(package_of(file)?);
    }
    let mut versions = Vec::new();
    for package in packages {
        let name = package.split(':').next().unwrap_or_default();
        let notice = Path::new("/usr/share/doc").join(name).join("copyright");
        tree.copy(&notice, 0o644, &notice)?;
        versions.push(format!(
            "{name}={}",
            said(Command::new("dpkg-query").args(["-W", "-f=${Version}", &package]))?
        ));
    }
    Ok(versions)
}

/// The loader and every library, as `ldd` finds them.
fn libraries_of(executable: &Path) -> Result<Vec<PathBuf>> {
    let told = said(Command::new("ldd").arg(executable))?;
    let mut found = Vec::new();
    for line in told.lines().map(str::trim) {
        if line.contains("not found") {
            bail!("{}: {line}", executable.display());
        }
        // `name => path (address)`, the loader without a name, and the kernel's own without a path.
        let path = line.split("=> ").last().and_then(|rest| rest.split(" (").next()).unwrap_or_default();
        if path.starts_with('/') {
            found.push(PathBuf::from(path));
        }
    }
    if found.is_empty() {
        bail!("ldd names no library of {}:\n{told}", executable.display());
    }
    Ok(found)
}

/// Where a library lies when `/lib` is a link to `/usr/lib`.
fn merged(path: &Path) -> PathBuf {
    if path.starts_with("/usr") {
        return path.to_owned();
    }
    Path::new("/usr").join(path.strip_prefix("/").unwrap_or(path))
}

/// The Debian package of a file, which dpkg may know by either of two paths.
fn package_of(file: &Path) -> Result<String> {
    let real = file.canonicalize()?;
    let in_usr = merged(&real);
    let in_root = Path::new("/").join(in_usr.strip_prefix("/usr").unwrap_or(&in_usr));
    for path in [&in_usr, &in_root] {
        if let Ok(told) = said(Command::new("dpkg-query").arg("-S").arg(path))
            && let Some((package, _)) = told.split_once(": ")
        {
            return Ok(package.to_owned());
        }
    }
    bail!(
        "no package has {}: the init image is made from Debian's nftables (apt-get install nftables)",
        file.display()
    )
}

/// Standard output of a command that succeeds.
fn said(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown}: {}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
