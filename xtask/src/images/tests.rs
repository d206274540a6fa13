#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use oci_spec::image::{ImageConfiguration, ImageIndex, ImageManifest};
use sha2::{Digest as _, Sha256};
use std::io::Read as _;

fn packed() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut base = base().unwrap();
    base.link("lib", "usr/lib");
    let mut top = Tree::default();
    top.file("/isthmus/isthmus-proxy", 0o755, b"not really".to_vec());
    let image = Image {
        reference: "isthmus/proxy:1.2.3",
        architecture: "amd64",
        user: RECIPES[0].user,
        entrypoint: "/isthmus/isthmus-proxy",
        path: recipe::PATH,
        labels: labels(&RECIPES[0], "isthmus/proxy:1.2.3"),
        layers: vec![("base", base.pack().unwrap()), ("top", top.pack().unwrap())],
    };
    image.write(&dir.path().join("proxy.tar")).unwrap();
    dir
}

fn files(dir: &tempfile::TempDir) -> BTreeMap<String, Vec<u8>> {
    let mut tar = tar::Archive::new(std::fs::File::open(dir.path().join("proxy.tar")).unwrap());
    let mut files = BTreeMap::new();
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(entry.path().unwrap().display().to_string(), content);
    }
    files
}

#[test]
fn an_archive_is_an_image_layout_whose_digests_are_right() {
    let dir = packed();
    let files = files(&dir);
    for (name, content) in files.iter().filter(|(name, _)| name.starts_with("blobs/")) {
        let digest = Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(*name, format!("blobs/sha256/{digest}"));
    }
    let blob = |digest: &oci_spec::image::Digest| &files[&format!("blobs/sha256/{}", digest.digest())][..];
    let index = ImageIndex::from_reader(&files["index.json"][..]).unwrap();
    let [entry] = &index.manifests()[..] else { panic!("{index:?}") };
    let name = &entry.annotations().as_ref().unwrap()["io.containerd.image.name"];
    assert_eq!(name, "docker.io/isthmus/proxy:1.2.3");
    let manifest = ImageManifest::from_reader(blob(entry.digest())).unwrap();
    let config = ImageConfiguration::from_reader(blob(manifest.config().digest())).unwrap();
    assert_eq!(config.config().as_ref().unwrap().user().as_deref(), Some("2102:2102"));
    for (layer, diff_id) in manifest.layers().iter().zip(config.rootfs().diff_ids()) {
        assert_eq!(layer.size(), blob(layer.digest()).len() as u64);
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(blob(layer.digest())).read_to_end(&mut plain).unwrap();
        let digest = Sha256::digest(&plain).iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(*diff_id, format!("sha256:{digest}"));
    }
    let list: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    assert_eq!(list[0]["RepoTags"][0], "isthmus/proxy:1.2.3");
    for named in list[0]["Layers"].as_array().unwrap().iter().chain([&list[0]["Config"]]) {
        assert!(files.contains_key(named.as_str().unwrap()), "{named}");
    }
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let [one, two] = [packed(), packed()].map(|dir| std::fs::read(dir.path().join("proxy.tar")).unwrap());
    assert!(one == two);
}

#[test]
fn layers_are_owned_by_root_sorted_and_have_every_parent() {
    let mut tree = Tree::default();
    tree.file("/isthmus/deep/file", 0o644, vec![1; 600]);
    tree.directory("tmp", 0o1777);
    let layer = tree.pack().unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&layer.blob.bytes[..]));
    let mut seen = Vec::new();
    for entry in tar.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, 0));
        seen.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
    }
    let expected =
        [("isthmus/", 0o755), ("isthmus/deep/", 0o755), ("isthmus/deep/file", 0o644), ("tmp/", 0o1777)];
    assert_eq!(seen, expected.map(|(path, mode)| (path.to_owned(), mode)));
    assert_eq!(tree.size(), 600);
}

/// The value of an instruction of the last stage of a Dockerfile.
fn instruction<'a>(dockerfile: &'a str, name: &str) -> Vec<&'a str> {
    let last = dockerfile.rsplit("\nFROM ").next().unwrap();
    last.lines().filter_map(|line| line.strip_prefix(name)).map(str::trim).collect()
}

#[test]
fn dockerfiles_say_the_same() {
    for recipe in RECIPES {
        let path = crate::sources().join("../images").join(recipe.name).join("Dockerfile");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("-p {}", recipe.package)), "{}", path.display());
        assert!(text.contains("\nFROM scratch\n"), "{}", path.display());
        assert_eq!(instruction(&text, "USER"), [recipe.user], "{}", path.display());
        let entrypoint = format!("[\"/isthmus/{}\"]", recipe.binary);
        assert_eq!(instruction(&text, "ENTRYPOINT"), [entrypoint.as_str()], "{}", path.display());
        assert_eq!(instruction(&text, "ENV"), [format!("PATH={}", recipe::PATH)], "{}", path.display());
        let description = format!("org.opencontainers.image.description=\"{}\"", recipe.description);
        assert!(text.contains(&description), "{}: {description}", path.display());
        assert_eq!(text.contains("nftables"), recipe.nft, "{}", path.display());
    }
}

#[test]
fn an_unknown_image_is_refused_with_the_known_ones() {
    let refused = choose(&["proxi".to_owned()]).unwrap_err().to_string();
    assert!(refused.contains("\"proxi\"") && refused.contains("proxy, controller, init, demo"), "{refused}");
}
