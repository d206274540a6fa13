//! The state directory: where a running sandbox is found, and how a dead one is recognised.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Where state lives unless told otherwise.
const DEFAULT: &str = "/run/isthmus-sandbox";
/// Environment variable that names another state directory.
pub const STATE_DIR_ENV: &str = "ISTHMUS_SANDBOX_DIR";

/// A sandbox's state directory. The supervisor holds a lock in it for as long as it lives, so a directory without a
/// held lock is stale, whatever else lies in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// The directory asked for, else that of `ISTHMUS_SANDBOX_DIR`, else `/run/isthmus-sandbox`.
    pub fn resolve(asked: Option<PathBuf>) -> Self {
        let from_env = || std::env::var_os(STATE_DIR_ENV).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Self(asked.or_else(from_env).unwrap_or_else(|| PathBuf::from(DEFAULT)))
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Kubeconfig with a context per cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.0.join("kubeconfig")
    }

    /// Control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    /// What the supervisor logs.
    pub fn log(&self) -> PathBuf {
        self.0.join("supervisor.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }

    fn failed(&self, action: &'static str, path: PathBuf) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::File { action, path, source }
    }

    /// Takes the directory for this process, cleaning up what a dead supervisor left. The lock lasts as long as the
    /// returned file.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] when a live supervisor holds it; [`Error::File`] when it cannot be written.
    pub(crate) fn take(&self) -> Result<File, Error> {
        fs::create_dir_all(&self.0).map_err(self.failed("create", self.0.clone()))?;
        let path = self.lock_file();
        let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut lock = opened.map_err(self.failed("open", path.clone()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::AlreadyRunning {
                    dir: self.0.clone(),
                    pid: self.recorded_pid().unwrap_or_default(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(Error::File { action: "lock", path, source }),
        }
        self.remove_leftovers()?;
        let pid = std::process::id().to_string();
        lock.set_len(0).and_then(|()| lock.write_all(pid.as_bytes())).map_err(self.failed("write", path))?;
        Ok(lock)
    }

    /// The supervisor's process id, when one is alive.
    pub(crate) fn running(&self) -> Option<u32> {
        let lock = File::options().read(true).write(true).open(self.lock_file()).ok()?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => self.recorded_pid(),
            _ => None,
        }
    }

    fn recorded_pid(&self) -> Option<u32> {
        fs::read_to_string(self.lock_file()).ok()?.trim().parse().ok()
    }

    /// Removes everything but the lock and the log.
    fn remove_leftovers(&self) -> Result<(), Error> {
        let entries = fs::read_dir(&self.0).map_err(self.failed("list", self.0.clone()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path == self.lock_file() || path == self.log() {
                continue;
            }
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(self.failed("remove", path))?;
        }
        Ok(())
    }

    /// Removes the directory of a sandbox that no longer runs. Absent is fine.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir_all(&self.0) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::File { action: "remove", path: self.0.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Writes a file of the directory that only root may read, replacing it as a whole.
    pub(crate) fn write(&self, path: &Path, content: &str) -> Result<(), Error> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let staged = path.with_extension("new");
        let failed = self.failed("write", path.to_owned());
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let written = options.open(&staged).and_then(|mut file| file.write_all(content.as_bytes()));
        written.and_then(|()| fs::rename(&staged, path)).map_err(failed)
    }
}

#[cfg(test)]
mod tests;
