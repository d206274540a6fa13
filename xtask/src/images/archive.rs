//! An image as one file: an OCI image layout in a tar archive, which `ctr images import`, `kind load image-archive`,
//! `podman load` and `skopeo` read, with the list that an older `docker load` wants beside it.

use super::layer::{Blob, Layer};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tar::{Builder, Header};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// What a runtime is told about an image.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    /// Name and tag as pods write them, such as `isthmus/proxy:0.1.0`.
    pub(crate) reference: &'a str,
    /// `amd64` or `arm64`.
    pub(crate) architecture: &'a str,
    /// User and group.
    pub(crate) user: &'a str,
    /// The command.
    pub(crate) entrypoint: &'a str,
    /// PATH.
    pub(crate) path: &'a str,
    /// Labels.
    pub(crate) labels: BTreeMap<&'a str, String>,
    /// From the bottom up, each with what it holds.
    pub(crate) layers: Vec<(&'a str, Layer)>,
}

/// When an image says that it was made: never, so that the same content is the same image.
const CREATED: &str = "1970-01-01T00:00:00Z";

impl Image<'_> {
    /// Writes the archive; answers with the digest of the manifest.
    pub(crate) fn write(&self, file: &Path) -> Result<String> {
        let config = Blob::new(serde_json::to_vec(&self.config())?);
        let manifest = Blob::new(serde_json::to_vec(&self.manifest(&config))?);
        let mut files = BTreeMap::from([
            ("index.json".to_owned(), serde_json::to_vec(&self.index(&manifest))?),
            ("manifest.json".to_owned(), serde_json::to_vec(&self.list(&config))?),
            ("oci-layout".to_owned(), serde_json::to_vec(&json!({ "imageLayoutVersion": "1.0.0" }))?),
        ]);
        let digest = format!("sha256:{}", manifest.digest);
        let layers = self.layers.iter().map(|(_, layer)| layer.blob.clone());
        files.extend(layers.chain([config, manifest]).map(|blob| (path_of(&blob), blob.bytes)));
        // A reader must never find half an archive.
        let unfinished = file.with_extension("tar.part");
        let written = write_tar(&unfinished, &files);
        written.with_context(|| format!("cannot write {}", unfinished.display()))?;
        std::fs::rename(&unfinished, file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(digest)
    }

    fn config(&self) -> Value {
        let diff_ids = self.layers.iter().map(|(_, layer)| format!("sha256:{}", layer.diff_id));
        let history = self.layers.iter().map(|(what, _)| json!({ "created": CREATED, "created_by": what }));
        json!({
            "created": CREATED,
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "User": self.user,
                "Env": [format!("PATH={}", self.path)],
                "Entrypoint": [self.entrypoint],
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            "rootfs": { "type": "layers", "diff_ids": diff_ids.collect::<Vec<_>>() },
            "history": history.collect::<Vec<_>>(),
        })
    }

    fn manifest(&self, config: &Blob) -> Value {
        let layers = self.layers.iter().map(|(_, layer)| descriptor(LAYER, &layer.blob));
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config),
            "layers": layers.collect::<Vec<_>>(),
        })
    }

    fn index(&self, manifest: &Blob) -> Value {
        let mut entry = descriptor(MANIFEST, manifest);
        let tag = self.reference.rsplit(':').next().unwrap_or_default();
        entry["annotations"] = json!({
            // What containerd calls the image: pods that leave the registry out mean this one.
            "io.containerd.image.name": format!("docker.io/{}", self.reference),
            "org.opencontainers.image.ref.name": tag,
        });
        entry["platform"] = json!({ "architecture": self.architecture, "os": "linux" });
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] })
    }

    /// The list of `docker load`.
    fn list(&self, config: &Blob) -> Value {
        let layers = self.layers.iter().map(|(_, layer)| path_of(&layer.blob));
        json!([{
            "Config": path_of(config),
            "RepoTags": [self.reference],
            "Layers": layers.collect::<Vec<_>>(),
        }])
    }
}

fn descriptor(media_type: &str, blob: &Blob) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{}", blob.digest), "size": blob.bytes.len() })
}

fn path_of(blob: &Blob) -> String {
    format!("blobs/sha256/{}", blob.digest)
}

fn write_tar(path: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    let mut tar = Builder::new(std::io::BufWriter::new(std::fs::File::create(path)?));
    for (name, content) in files {
        let mut header = Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content.as_slice())?;
    }
    std::io::Write::flush(&mut tar.into_inner()?)?;
    Ok(())
}
