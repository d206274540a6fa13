//! Where things are: what is kept between runs, what lasts as long as the clusters, and the files of the node image.

use super::step;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// The folder of everything that lasts as long as the clusters: sockets, process ids, kubeconfigs. `down` removes it.
pub(crate) const STATE: &str = "/run/isthmus-kind";

/// The merged kubeconfig.
pub(crate) const KUBECONFIG: &str = "/run/isthmus-kind/kubeconfig";

/// Where the clusters, their nodes and the tools to reach them are written down.
pub(crate) const FLEET: &str = "/run/isthmus-kind/fleet.json";

/// The folder of the kind configurations.
pub(crate) fn configs() -> PathBuf {
    crate::sources().join("../kind-configs")
}

/// The folder of the node image's sources.
pub(crate) fn node_sources() -> PathBuf {
    configs().join("node")
}

/// A file or folder of the state.
pub(crate) fn state(name: &str) -> PathBuf {
    Path::new(STATE).join(name)
}

/// A folder of the cache, made if it is not there.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set; the cache lies in $HOME/.cache/isthmus")?;
    let dir = Path::new(&home).join(".cache/isthmus/kind").join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// Twelve hexadecimal digits that change when any file of the folder, or `also`, changes.
pub(crate) fn key_of(folder: &Path, also: &str) -> Result<String> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut bytes = also.as_bytes().to_vec();
    for file in files {
        let name = file.strip_prefix(folder).unwrap_or(&file);
        bytes.extend_from_slice(format!("\n{}\n", name.display()).as_bytes());
        bytes.extend(std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?);
    }
    Ok(step::digest(&bytes)?[..12].to_owned())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() { collect(&path, files)? } else { files.push(path) }
    }
    Ok(())
}

/// A folder that is either whole or not there: filled under another name, then renamed.
///
/// # Errors
/// When `fill` fails; what it left stays under the other name until the next attempt begins anew.
pub(crate) fn folder_once(dir: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let name = dir.file_name().context("a folder has a name")?.to_string_lossy().into_owned();
    let partial = dir.with_file_name(format!("{name}.partial"));
    remove(&partial)?;
    std::fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    fill(&partial)?;
    std::fs::rename(&partial, dir).with_context(|| format!("cannot rename to {}", dir.display()))
}

/// Removes a file or folder, which need not be there.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let gone = if path.is_dir() && !path.is_symlink() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match gone {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
