//! The demo shop: four services that talk HTTP/1.1, gRPC and opaque TCP with each other, and a load generator.
//! One binary; the subcommand chooses the part. The services know nothing of the mesh.

mod call;
mod catalog;
mod ledger;
mod load;
mod pricing;
mod records;
mod serving;
mod web;

use clap::{Args, Parser, Subcommand};
use mesh_runtime::{LogFormat, Shutdown, init_tracing, termination_signal};
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;
use tracing::{error, info};

/// How long open requests may take once the pod is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

#[derive(Parser)]
#[command(name = "isthmus-demo", version, about = "A small shop that shows what the mesh does")]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    part: Part,
}

/// Where this part listens and runs.
#[derive(Args, Clone)]
struct Place {
    /// Address to listen on
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080", global = true)]
    listen: SocketAddr,
    /// Name of the cluster this pod runs in, shown in every answer
    #[arg(long, env = "CLUSTER", default_value = "here", global = true)]
    cluster: String,
}

#[derive(Subcommand)]
enum Part {
    /// The front end: HTTP/1.1; asks the catalog and writes to the ledger
    Web(web::WebArgs),
    /// The goods: HTTP/1.1; asks pricing for each price
    Catalog(catalog::CatalogArgs),
    /// Prices: gRPC, unary and server-streaming
    Pricing,
    /// A journal over TCP: greets first, then acknowledges each line
    Ledger,
    /// Make one call and print what came back as JSON
    Call(call::CallArgs),
    /// Sends requests at a constant rate and keeps count of what came back
    Load(load::LoadArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = std::env::var("LOG").unwrap_or_else(|_| "info".to_owned());
    if let Err(error) = init_tracing(LogFormat::Plain, &filter) {
        eprintln!("× {error}");
        return ExitCode::from(2);
    }
    let shutdown = Shutdown::new();
    let mut part = pin!(run(cli.part, cli.place, &shutdown));
    let result = tokio::select! {
        result = &mut part => result,
        signal = termination_signal() => {
            info!(signal, "draining");
            // Some parts serve in tasks, others themselves: both finish what they have.
            let (ended, _) = tokio::join!(tokio::time::timeout(DRAIN, part), shutdown.drain(DRAIN));
            ended.unwrap_or(Ok(ExitCode::SUCCESS))
        }
    };
    result.unwrap_or_else(|error| {
        error!("{error:#}");
        ExitCode::FAILURE
    })
}

async fn run(part: Part, place: Place, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
    match part {
        Part::Web(args) => web::serve(place, args, shutdown).await?,
        Part::Catalog(args) => catalog::serve(place, args, shutdown).await?,
        Part::Pricing => pricing::serve(place, shutdown).await?,
        Part::Ledger => ledger::serve(place, shutdown).await?,
        Part::Load(args) => load::serve(place, args, shutdown).await?,
        Part::Call(args) => return call::run(args).await,
    }
    Ok(ExitCode::SUCCESS)
}
