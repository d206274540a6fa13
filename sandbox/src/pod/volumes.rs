//! A pod's volumes: directories on the node's tmpfs, written atomically and kept true.

mod payload;
mod writer;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

use super::context::NodeContext;
use super::fields::Addresses;
use super::rights;
use crate::controllers::object;
use payload::{Payload, Token};

/// The volumes of one pod.
#[derive(Debug)]
pub(crate) struct Volumes {
    /// The pod's directory, relative to the node's tmpfs.
    directory: PathBuf,
    /// What each volume was last written with.
    written: HashMap<String, Payload>,
    tokens: BTreeMap<(String, usize), Token>,
}

impl Volumes {
    /// The volumes of a pod with this uid.
    pub(crate) fn new(uid: &str) -> Self {
        Self { directory: PathBuf::from(uid), written: HashMap::new(), tokens: BTreeMap::new() }
    }

    /// Brings every volume up to date.
    ///
    /// # Errors
    /// A sentence naming the volume and what is missing.
    pub(crate) fn refresh(
        &mut self,
        context: &NodeContext,
        pod: &Value,
        addresses: Addresses,
    ) -> Result<(), String> {
        let group = rights::fs_group(pod);
        for volume in object::items(pod, "/spec/volumes") {
            let name = object::text(volume, "/name");
            let directory = context.runtime.here(&self.path(name));
            let failed = |error: String| format!("MountVolume.SetUp failed for volume {name:?}: {error}");
            if volume.get("hostPath").is_some() {
                host_path(volume).map_err(failed)?;
                continue;
            }
            if volume.get("emptyDir").is_some() {
                empty(&directory, group).map_err(|error| failed(error.to_string()))?;
                continue;
            }
            let source = payload::Source { context, pod, addresses, volume: name };
            let payload = source.read(volume, &mut self.tokens).map_err(failed)?;
            if self.written.get(name) != Some(&payload) {
                writer::write(&directory, &payload, group).map_err(|error| failed(error.to_string()))?;
                self.written.insert(name.to_owned(), payload);
            }
        }
        Ok(())
    }

    /// When a token must be renewed.
    pub(crate) fn next_renewal(&self) -> Option<Timestamp> {
        self.tokens.values().map(|token| token.renew_at).min()
    }

    /// Where a volume is, relative to the node's tmpfs.
    pub(crate) fn path(&self, volume: &str) -> PathBuf {
        self.directory.join("volumes").join(volume)
    }

    /// The pod's directory, relative to the node's tmpfs.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

fn empty(directory: &Path, group: Option<u32>) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(directory)?;
    let mode = match group {
        Some(group) => {
            chown(directory, None, Some(group))?;
            0o2777
        }
        None => 0o777,
    };
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode))
}

/// Checks, or makes, what a `hostPath` volume names.
fn host_path(volume: &Value) -> Result<(), String> {
    let path = Path::new(object::text(volume, "/hostPath/path"));
    let outcome = match object::text(volume, "/hostPath/type") {
        "DirectoryOrCreate" => std::fs::create_dir_all(path),
        "FileOrCreate" => std::fs::File::options().create(true).append(true).open(path).map(drop),
        _ => path.metadata().map(drop),
    };
    outcome.map_err(|error| format!("hostPath {}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
