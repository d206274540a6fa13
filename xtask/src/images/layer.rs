//! A layer: files that give the same bytes whenever and wherever they are packed.

use anyhow::{Context as _, Result};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// What is at a path.
#[derive(Debug, Clone)]
enum Entry {
    Directory { mode: u32 },
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
}

/// Files of a layer by path, relative to the root. Parents come by themselves.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tree(BTreeMap<PathBuf, Entry>);

/// A blob and its name.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    /// SHA-256, in hexadecimal.
    pub(crate) digest: String,
    /// The content.
    pub(crate) bytes: Vec<u8>,
}

/// A packed layer.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// The compressed archive.
    pub(crate) blob: Blob,
    /// SHA-256 of the archive before it was compressed.
    pub(crate) diff_id: String,
}

impl Tree {
    /// A folder with a mode of its own.
    pub(crate) fn directory(&mut self, path: impl AsRef<Path>, mode: u32) {
        self.put(path.as_ref(), Entry::Directory { mode });
    }

    /// A file.
    pub(crate) fn file(&mut self, path: impl AsRef<Path>, mode: u32, content: Vec<u8>) {
        self.put(path.as_ref(), Entry::File { mode, content });
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: impl AsRef<Path>, target: &str) {
        self.put(path.as_ref(), Entry::Link { target: target.to_owned() });
    }

    /// A copy of a file on this machine.
    pub(crate) fn copy(&mut self, path: impl AsRef<Path>, mode: u32, from: &Path) -> Result<()> {
        let content = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.file(path, mode, content);
        Ok(())
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        let sizes = self.0.values().map(|entry| match entry {
            Entry::File { content, .. } => content.len() as u64,
            _ => 0,
        });
        sizes.sum()
    }

    fn put(&mut self, path: &Path, entry: Entry) {
        let path = path.strip_prefix("/").unwrap_or(path).to_owned();
        for parent in path.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            self.0.entry(parent.to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
        self.0.insert(path, entry);
    }

    /// Packs it: sorted, owned by root, dated at the beginning of time.
    pub(crate) fn pack(&self) -> Result<Layer> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = Header::new_ustar();
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(0);
            match entry {
                Entry::Directory { mode } => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(*mode);
                    tar.append_data(&mut header, format!("{}/", path.display()), std::io::empty())?;
                }
                Entry::File { mode, content } => {
                    header.set_entry_type(EntryType::Regular);
                    header.set_mode(*mode);
                    header.set_size(content.len() as u64);
                    tar.append_data(&mut header, path, content.as_slice())?;
                }
                Entry::Link { target } => {
                    header.set_entry_type(EntryType::Symlink);
                    header.set_mode(0o777);
                    tar.append_link(&mut header, path, target)?;
                }
            }
        }
        let plain = tar.into_inner()?;
        let diff_id = sha256(&plain);
        let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
        compressed.write_all(&plain)?;
        Ok(Layer { blob: Blob::new(compressed.finish()?), diff_id })
    }
}

impl Blob {
    /// A blob under the digest of its content.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { digest: sha256(&bytes), bytes }
    }
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
