//! Replacing the contents of a volume at once, as the kubelet does: files live in a directory of their own, `..data` is a
//! link to it, and renaming that link is the change. Readers see all old files or all new ones.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use jiff::Timestamp;

use super::payload::Payload;

/// The link that is renamed.
const DATA: &str = "..data";

/// Makes `directory` contain exactly `payload`. A group gets to read the files.
pub(super) fn write(directory: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let generation = format!("..{}", Timestamp::now().as_nanosecond());
    let fresh = directory.join(&generation);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, (text, mode)) in payload {
        let file = inside(&fresh, path)?;
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, text)?;
        let mode = if group.is_some() { mode | 0o440 } else { *mode };
        chown(&file, None, group)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
    }
    let previous = fs::read_link(directory.join(DATA)).ok();
    let link = directory.join("..data_tmp");
    let _ = fs::remove_file(&link);
    symlink(&generation, &link)?;
    fs::rename(&link, directory.join(DATA))?;
    let shown: BTreeSet<&str> = payload.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &shown {
        let link = directory.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !shown.contains(&*name) {
            fs::remove_file(directory.join(&*name))?;
        }
    }
    if let Some(previous) = previous {
        fs::remove_dir_all(directory.join(previous))?;
    }
    Ok(())
}

fn inside(directory: &Path, path: &str) -> io::Result<std::path::PathBuf> {
    if path.is_empty() || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        let message = format!("path {path:?} leads out of the volume");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(directory.join(path))
}
