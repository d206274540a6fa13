//! Container logs in the format of the container runtime interface: `<RFC 3339 with nanoseconds> <stream> <F|P> <text>`.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;

/// A line longer than this is written in parts, all but the last marked `P`; as containerd does.
const LINE_LIMIT: usize = 16 * 1024;

/// The log of one run of a container.
#[derive(Debug, Clone)]
pub(crate) struct LogFile {
    file: Arc<Mutex<File>>,
}

impl LogFile {
    /// Where run number `restart` of a container logs, as the kubelet names it.
    pub(crate) fn path(directory: &Path, container: &str, restart: u64) -> PathBuf {
        directory.join(container).join(format!("{restart}.log"))
    }

    /// Makes the log of run number `restart` and removes that of the run before the previous one.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn create(directory: &Path, container: &str, restart: u64) -> std::io::Result<Self> {
        let path = Self::path(directory, container, restart);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        if let Some(old) = restart.checked_sub(2) {
            let _ = std::fs::remove_file(Self::path(directory, container, old));
        }
        let file = File::options().create(true).append(true).open(&path)?;
        Ok(Self { file: Arc::new(Mutex::new(file)) })
    }

    /// A pipe whose text goes to the log under a stream's name, until its last writer closes it.
    ///
    /// # Errors
    /// When no pipe can be made.
    pub(crate) fn stream(&self, name: &'static str) -> std::io::Result<(OwnedFd, JoinHandle<()>)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let reader = Receiver::from_owned_fd(read)?;
        Ok((write, tokio::spawn(copy(reader, self.file.clone(), name))))
    }

    /// A pipe whose first `limit` bytes are kept as text, until its last writer closes it.
    ///
    /// # Errors
    /// When no pipe can be made.
    pub(crate) fn collect(limit: usize) -> std::io::Result<(OwnedFd, JoinHandle<String>)> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut reader = Receiver::from_owned_fd(read)?;
        let text = tokio::spawn(async move {
            let (mut out, mut chunk) = (Vec::new(), vec![0; 4096]);
            while let Ok(length @ 1..) = reader.read(&mut chunk).await {
                let left = limit - out.len();
                out.extend_from_slice(&chunk[..length.min(left)]);
            }
            String::from_utf8_lossy(&out).into_owned()
        });
        Ok((write, text))
    }
}

async fn copy(mut reader: Receiver, file: Arc<Mutex<File>>, name: &'static str) {
    let mut pending = Vec::with_capacity(LINE_LIMIT);
    loop {
        match reader.read_buf(&mut pending).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {
                let (out, rest) = records(&pending, name, Timestamp::now());
                pending.drain(..pending.len() - rest);
                let _ = file.lock().write_all(&out);
            }
        }
    }
    if !pending.is_empty() {
        let _ = file.lock().write_all(&record(&pending, name, 'P', Timestamp::now()));
    }
}

/// The records of all whole lines (and overlong parts), and how many bytes are left for later.
fn records(text: &[u8], name: &str, now: Timestamp) -> (Vec<u8>, usize) {
    let (mut out, mut rest) = (Vec::with_capacity(text.len() + 64), text);
    loop {
        let window = &rest[..rest.len().min(LINE_LIMIT)];
        match window.iter().position(|byte| *byte == b'\n') {
            Some(end) => {
                out.extend(record(&rest[..end], name, 'F', now));
                rest = &rest[end + 1..];
            }
            None if rest.len() >= LINE_LIMIT => {
                out.extend(record(window, name, 'P', now));
                rest = &rest[LINE_LIMIT..];
            }
            None => return (out, rest.len()),
        }
    }
}

fn record(text: &[u8], name: &str, tag: char, now: Timestamp) -> Vec<u8> {
    let mut out = format!("{now:.9} {name} {tag} ").into_bytes();
    out.extend_from_slice(text);
    out.push(b'\n');
    out
}

#[cfg(test)]
mod tests;
