//! `cargo xtask images`: every image that ships, written as an archive without a container engine. The same content
//! gives the same bytes. `images/*/Dockerfile` makes the same images where there is an engine; a test compares the two.

mod archive;
pub(crate) mod build;
mod closure;
mod layer;
mod recipe;

#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result, bail};
use archive::Image;
use build::Architecture;
use clap::Args;
use layer::Tree;
use recipe::{RECIPES, Recipe};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which images, and what they are called.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Only these of proxy, controller, init and demo
    pub(crate) names: Vec<String>,
    /// The profile of the executables: dist is what ships, release is quicker to build
    #[arg(long, default_value = "dist")]
    pub(crate) profile: String,
    /// The images' tag, which is the version that the executables say too
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) tag: String,
    /// What is before the images' names
    #[arg(long, default_value = "isthmus")]
    pub(crate) prefix: String,
    /// Folder of static executables that are built already
    #[arg(long, value_name = "DIR", conflicts_with = "profile")]
    pub(crate) executables: Option<PathBuf>,
    /// Folder of the archives; a folder images in cargo's target folder if not given
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Builds the executables, writes the archives and prints a line for each; answers with the archives.
pub(crate) fn run(options: &Options) -> Result<Vec<PathBuf>> {
    let chosen = choose(&options.names)?;
    let architecture = Architecture::here()?;
    let out = match &options.out {
        Some(out) => out.clone(),
        None => crate::target_dir()?.join("images"),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let packages: Vec<&str> = chosen.iter().map(|recipe| recipe.package).collect();
    let executables = match &options.executables {
        Some(folder) => folder.clone(),
        None => build::build(&packages, &options.tag, &options.profile, architecture)?,
    };
    let mut written = Vec::new();
    for recipe in chosen {
        let reference = format!("{}/{}:{}", options.prefix, recipe.name, options.tag);
        let archive = out.join(format!("{}-{}.tar", recipe.name, options.tag));
        let executable = executables.join(recipe.binary);
        let (size, digest) = write(recipe, &executable, &reference, architecture, &archive)?;
        // Promised of what ships; executables for tests are larger.
        let ships = options.profile == "dist" && options.executables.is_none();
        if let Some(limit) = recipe.limit
            && ships
            && size > limit
        {
            bail!("{reference} has {size} bytes of files and may have {limit}");
        }
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let packed = mib(archive.metadata()?.len());
        println!("{reference}  {:.1} MiB ({packed:.1} packed)  {digest}  {}", mib(size), archive.display());
        written.push(archive);
    }
    Ok(written)
}

fn choose(names: &[String]) -> Result<Vec<&'static Recipe>> {
    if names.is_empty() {
        return Ok(RECIPES.iter().collect());
    }
    let find = |name: &String| {
        let known = || RECIPES.iter().map(|r| r.name).collect::<Vec<_>>().join(", ");
        RECIPES
            .iter()
            .find(|recipe| recipe.name == *name)
            .with_context(|| format!("there is no image {name:?}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Writes one archive; answers with the bytes of its files and the digest of its manifest.
fn write(
    recipe: &Recipe,
    executable: &Path,
    reference: &str,
    architecture: Architecture,
    archive: &Path,
) -> Result<(u64, String)> {
    build::require_static(executable)?;
    let mut base = base()?;
    let mut labels = labels(recipe, reference);
    if recipe.nft {
        labels.insert("dev.isthmus.debian-packages", closure::add_nft(&mut base)?.join(" "));
    }
    let mut top = Tree::default();
    let entrypoint = format!("/isthmus/{}", recipe.binary);
    top.copy(&entrypoint, 0o755, executable)?;
    let size = base.size() + top.size();
    let image = Image {
        reference,
        architecture: architecture.image,
        user: recipe.user,
        entrypoint: &entrypoint,
        path: recipe::PATH,
        labels,
        layers: vec![("what the executable stands on", base.pack()?), ("the executable", top.pack()?)],
    };
    Ok((size, image.write(archive)?))
}

/// The files of `images/rootfs`, and a place for temporary ones.
fn base() -> Result<Tree> {
    let mut tree = Tree::default();
    let folder = crate::sources().join("../images/rootfs/etc");
    for name in ["passwd", "group", "nsswitch.conf"] {
        tree.copy(Path::new("etc").join(name), 0o644, &folder.join(name))?;
    }
    tree.directory("tmp", 0o1777);
    Ok(tree)
}

fn labels(recipe: &Recipe, reference: &str) -> BTreeMap<&'static str, String> {
    let tag = reference.rsplit(':').next().unwrap_or_default();
    BTreeMap::from([
        ("org.opencontainers.image.title", format!("isthmus-{}", recipe.name)),
        ("org.opencontainers.image.description", recipe.description.to_owned()),
        ("org.opencontainers.image.version", tag.to_owned()),
        ("org.opencontainers.image.licenses", "Apache-2.0".to_owned()),
    ])
}
