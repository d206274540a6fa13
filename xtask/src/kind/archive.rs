//! Container images written by hand, in the form that `docker save` writes: a folder of layers, configurations and a
//! manifest, which containerd imports. No engine is needed.

use super::step::{digest, digest_of, output};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A layer of an image, written into an archive's folder.
#[derive(Clone)]
pub(crate) struct Layer {
    digest: String,
}

/// A folder that becomes an archive of images.
pub(crate) struct Archive {
    dir: PathBuf,
    manifest: Vec<Value>,
}

impl Archive {
    /// An empty one in a folder that is there.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), manifest: Vec::new() }
    }

    /// Makes a layer of what a folder holds.
    pub(crate) fn layer(&self, tree: &Path) -> Result<Layer> {
        let file = self.dir.join("layer.partial");
        output(
            Command::new("tar")
                .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-cf"])
                .arg(&file)
                .arg("-C")
                .arg(tree)
                .arg("."),
        )?;
        let digest = digest_of(&file)?;
        std::fs::rename(&file, self.dir.join(format!("{digest}.tar")))?;
        Ok(Layer { digest })
    }

    /// Makes a layer that holds a single program.
    pub(crate) fn program(&self, program: &Path, at: &str) -> Result<Layer> {
        let tree = self.dir.join("tree.partial");
        super::places::remove(&tree)?;
        let target = tree.join(at);
        std::fs::create_dir_all(target.parent().context("a program lies in a folder")?)?;
        std::fs::copy(program, &target).with_context(|| format!("cannot copy {}", program.display()))?;
        let layer = self.layer(&tree)?;
        super::places::remove(&tree)?;
        Ok(layer)
    }

    /// Adds an image of layers.
    pub(crate) fn image(&mut self, name: &str, layers: &[&Layer], entrypoint: &[&str]) -> Result<()> {
        let digests: Vec<String> = layers.iter().map(|l| format!("sha256:{}", l.digest)).collect();
        let files: Vec<String> = layers.iter().map(|l| format!("{}.tar", l.digest)).collect();
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Entrypoint": entrypoint,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": digests},
        });
        let text = config.to_string();
        let file = format!("{}.json", digest(text.as_bytes())?);
        std::fs::write(self.dir.join(&file), text)?;
        self.manifest.push(json!({"Config": file, "RepoTags": [name], "Layers": files}));
        Ok(())
    }

    /// Writes the manifest; answers with the tool that prints the whole archive.
    pub(crate) fn finish(self) -> Result<Command> {
        std::fs::write(self.dir.join("manifest.json"), json!(self.manifest).to_string())?;
        let mut tar = Command::new("tar");
        tar.args(["-cf", "-", "-C"]).arg(&self.dir).arg(".");
        Ok(tar)
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}
