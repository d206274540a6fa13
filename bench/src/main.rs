//! Benchmarks of the mesh on the sandbox and on real clusters. They print figures with their goals; they are not tests.

mod cluster;
mod fleet;
mod footprint;
mod generator;
mod latency;
mod mesh;
mod propagation;
mod report;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Benchmarks of the mesh.
#[derive(Debug, Parser)]
#[command(name = "mesh-bench", version)]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Two linked clusters: start, propagation, footprint, latency
    Mesh(mesh::Args),
    /// A real cluster: installation, the control plane's needs, the injector, a sidecar
    Cluster(cluster::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().bench {
        Bench::Mesh(args) => mesh::run(args).await,
        Bench::Cluster(args) => cluster::run(args).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("× {error:#}");
            ExitCode::FAILURE
        }
    }
}
