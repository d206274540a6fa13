//! `cargo xtask kind …`: real Kubernetes clusters on this machine, made by kind, also where no registry of images is
//! reached. `kind-configs/README.md` tells how it is used.

mod archive;
mod balancer;
pub(crate) mod binaries;
mod clusters;
mod config;
mod engine;
mod fleet;
mod keeper;
mod node_image;
mod packages;
mod places;
mod rootfs;
mod step;
pub(crate) mod test;
mod traces;

use crate::machine;
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What is done with clusters.
#[derive(Subcommand)]
pub(crate) enum Kind {
    /// Build Kubernetes, etcd, CoreDNS and kind from their Go modules, and print the folder they are in
    Binaries,
    /// Build the image that nodes are made from, and print its name
    NodeImage,
    /// Build all that `test` needs: the node image, the executables of two versions, their images
    Prepare,
    /// Bring up clusters that can reach each other, and print how to reach them
    Up(Up),
    /// Import image archives (docker or OCI) into every node
    Load {
        /// The archives, such as `cargo xtask images` writes
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Run all scenarios on real clusters: up, images, tests, down
    Test(Test),
    /// Take the clusters away, with everything they left on this machine
    Down,
    /// Say what is up
    Status,
    /// Stay, and keep addresses and routes (started by `up`)
    #[command(hide = true)]
    Keep,
}

/// Which clusters, and how they are connected.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Up {
    /// The clusters: NAME, or NAME=CONFIG with the name of a file in kind-configs (east,west if not given)
    #[arg(long, value_delimiter = ',', value_name = "NAME[=CONFIG]")]
    pub(crate) clusters: Vec<String>,
    /// The configuration of clusters that name none: same-cidr (identical subnets), ha (east gets workers)
    #[arg(long)]
    pub(crate) config: Option<String>,
    /// Route pods of different clusters to each other; gateways need no such routes
    #[arg(long)]
    pub(crate) flat: bool,
    /// A node image in place of the one that is built here
    #[arg(long)]
    pub(crate) image: Option<String>,
}

/// Which scenarios, on which clusters.
#[derive(Debug, Clone, Args)]
pub(crate) struct Test {
    /// Only on clusters of this configuration of kind-configs (default: on east and west, then same-cidr, then ha)
    #[arg(long)]
    pub(crate) config: Option<String>,
    /// Leave the clusters up
    #[arg(long)]
    pub(crate) keep: bool,
    /// Passed on to `cargo test -p mesh-scenarios` in place of all scenarios, such as --test links
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

/// Makes sure that there is an image for nodes, and answers with its name.
fn node_image() -> Result<String> {
    let engine = engine::Engine::find_or_start()?;
    let name = node_image::ensure(&engine)?;
    if fleet::Fleet::read()?.is_none() {
        engine.stop()?;
    }
    Ok(name)
}

/// Does it.
pub(crate) fn run(task: &Kind) -> Result<()> {
    match task {
        Kind::Binaries => {
            println!("{}", binaries::build_all()?.display());
            return Ok(());
        }
        Kind::Keep => return keeper::run(),
        _ => machine::require_root("nodes are privileged containers of an engine that is started here")?,
    }
    match task {
        Kind::NodeImage => {
            println!("{}", node_image()?);
            Ok(())
        }
        Kind::Prepare => {
            node_image()?;
            test::prepare()
        }
        Kind::Up(options) => clusters::up(options),
        Kind::Load { archives } => clusters::load(archives),
        Kind::Test(options) => test::run(options),
        Kind::Down => clusters::down(),
        Kind::Status => clusters::status(),
        Kind::Binaries | Kind::Keep => bail!("done already"),
    }
}
