//! Embeds `charts/`, so that `meshctl` installs what it was built with.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let charts = manifest.join("../charts");
    println!("cargo:rerun-if-changed={}", charts.display());
    let mut out = String::new();
    for (constant, folder) in [
        ("CRDS", "isthmus-crds"),
        ("CONTROL_PLANE", "isthmus-control-plane"),
        ("MULTICLUSTER", "isthmus-multicluster"),
    ] {
        let root = charts.join(folder).canonicalize()?;
        let mut files = Vec::new();
        walk(&root, &mut files)?;
        files.sort();
        let _ = writeln!(out, "static {constant}: &[(&str, &str)] = &[");
        for file in files {
            let name = file.strip_prefix(&root).unwrap_or(&file);
            let _ = writeln!(out, "    ({:?}, include_str!({:?})),", name.display().to_string(), file);
        }
        let _ = writeln!(out, "];");
    }
    let target = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(target.join("charts.rs"), out)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    println!("cargo:rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
