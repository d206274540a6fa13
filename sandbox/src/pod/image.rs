//! Images are binaries on the host.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::controllers::object;

/// Annotation prefix that names a host executable for a container; the container's name follows.
pub(crate) const EXECUTABLE: &str = "sandbox.isthmus.dev/executable.";
/// Where an image's binary is in its container.
const BIN: &str = "/isthmus";
/// Prefix of our binaries' names.
const PREFIX: &str = "isthmus-";
/// Host directories that containers see anyway.
const SEEN: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/opt"];

/// An image, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    /// The binary on the host.
    pub(crate) binary: PathBuf,
    /// The binary in the container.
    pub(crate) entrypoint: PathBuf,
    /// Of this project, and not a host executable.
    pub(crate) is_ours: bool,
}

impl Image {
    /// The binary must be mounted at its entry point.
    pub(crate) fn needs_mount(&self) -> bool {
        self.entrypoint.starts_with(BIN)
    }

    /// What is told as the image's id.
    pub(crate) fn id(&self) -> String {
        format!("sandbox://{}", self.binary.display())
    }
}

/// Finds a container's binary: by the pod's annotation, else by the image's name in `bin_dirs`.
///
/// # Errors
/// A sentence with the remedy.
pub(crate) fn resolve(pod: &Value, container: &Value, bin_dirs: &[PathBuf]) -> Result<Image, String> {
    let name = object::text(container, "/name");
    let annotation = format!("{EXECUTABLE}{name}");
    if let Some(path) = object::annotation(pod, &annotation) {
        let path = Path::new(path);
        if !path.is_absolute() || !is_executable(path) {
            return Err(format!(
                "annotation {annotation}: {} is no executable file on the host",
                path.display()
            ));
        }
        let entrypoint = match path.file_name() {
            Some(name) if !SEEN.iter().any(|seen| path.starts_with(seen)) => Path::new(BIN).join(name),
            _ => path.to_owned(),
        };
        return Ok(Image { binary: path.to_owned(), entrypoint, is_ours: false });
    }
    let image = object::text(container, "/image");
    let short = short_name(image);
    if short.is_empty() {
        return Err(format!("image {image:?} has no name"));
    }
    let names = [format!("{PREFIX}{short}"), short.to_owned()];
    for directory in bin_dirs {
        for name in &names {
            let binary = directory.join(name);
            if is_executable(&binary) {
                let entrypoint = Path::new(BIN).join(name);
                return Ok(Image { binary, entrypoint, is_ours: true });
            }
        }
    }
    let places: Vec<String> = bin_dirs.iter().map(|directory| directory.display().to_string()).collect();
    Err(format!(
        "the sandbox pulls nothing: image {image:?} must be a binary {} or {} in {} (or in --bin-dir), or the pod must name \
         a host executable by annotation {annotation}",
        names[0],
        names[1],
        places.join(", ")
    ))
}

/// `proxy` of `ghcr.io/isthmus/proxy:0.1.0`.
fn short_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or_default();
    let end = last.find([':', '@']).unwrap_or(last.len());
    &last[..end]
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests;
