//! `mesh-bench cluster`: what the mesh costs on a real cluster: how long an installation takes, what the control plane
//! needs while nothing happens and while it tells hundreds of proxies of hundreds of pods, and what a sidecar needs.

mod admission;
mod many;
mod processes;
mod streams;

use crate::report::{Figure, Report, quantile};
use anyhow::{Context as _, Result};
use mesh_kube::{Client, Connection};
use mesh_scenarios::{Fleet, shop_in};
use processes::Usage;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::task::block_in_place;

/// Where the control plane and its extension are.
const NAMESPACES: [&str; 2] = ["linkerd", "linkerd-multicluster"];

/// Arguments of the benchmark.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Pods that the API knows; nodes run none of them
    #[arg(long, default_value_t = 500)]
    pods: usize,
    /// Streams of discovery that one process holds open
    #[arg(long, default_value_t = 500)]
    streams: usize,
    /// Seconds over which processor time is read
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// `table` or `json`
    #[arg(long, short, default_value = "table", value_parser = ["table", "json"])]
    output: String,
}

/// Measures in the cluster `east` and prints.
pub(crate) async fn run(args: Args) -> Result<()> {
    let mut report = Report::default();
    let span = Duration::from_secs(args.seconds.max(1));
    let fleet = block_in_place(Fleet::bare);
    let east = &fleet.east;
    let began = Instant::now();
    block_in_place(|| fleet.install_in(east, &[]))?;
    let took = began.elapsed().as_secs_f64();
    report.add(
        Figure::new("installed to all ready", took, "s")
            .note("CRDs, control plane, gateway with its address"),
    );
    block_in_place(|| shop_in(east, "shop"))?;
    usage(&fleet, &NAMESPACES, "idle", span, &mut report).await?;
    usage(&fleet, &["shop"], "idle", span, &mut report).await?;

    let client = connect(&fleet).await?;
    let before = admission::Seen::by(&client).await?;
    many::namespaces(&client).await?;
    let plain = many::pods(&client, many::PLAIN, args.pods.min(200)).await?;
    let injected = many::pods(&client, many::INJECTED, args.pods).await?;
    let after = admission::Seen::by(&client).await?;
    let note = format!("{} calls", after.calls_since(&before));
    report.add(
        Figure::new("injector, p99 as the API server saw it", after.quantile_since(&before, 0.99), "ms")
            .note(format!("{note}; the upper end of a bucket")),
    );
    for (share, name) in [(0.5, "p50"), (0.99, "p99")] {
        for (what, times) in [("without injection", &plain), ("with injection", &injected)] {
            let figure =
                Figure::new(format!("a pod is created {what}, {name}"), quantile(times, share), "ms");
            report.add(figure);
        }
    }
    many::service(&client, args.pods).await?;
    let load = format!("{} pods", args.pods);
    usage(&fleet, &NAMESPACES, &load, span, &mut report).await?;
    let began = Instant::now();
    let streams = streams::open(&client, args.streams, args.pods).await?;
    report.add(
        Figure::new("every stream told of every pod", began.elapsed().as_secs_f64(), "s")
            .note(format!("{} streams, {} endpoints each", args.streams, args.pods)),
    );
    let load = format!("{} pods, {} streams", args.pods, args.streams);
    usage(&fleet, &NAMESPACES, &load, span, &mut report).await?;
    let told = streams.told_of_a_change(&client).await?;
    for (share, name) in [(0.5, "p50"), (0.99, "p99"), (1.0, "max")] {
        report.add(Figure::new(
            format!("a pod goes, streams are told, {name}"),
            quantile(&told, share),
            "ms",
        ));
    }
    match args.output.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&report)?),
        _ => print!("\n{}", report.table()),
    }
    Ok(())
}

async fn connect(fleet: &Fleet) -> Result<Client> {
    let connection = Connection {
        kubeconfig: Some(fleet.east.kubeconfig().to_owned()),
        context: Some(fleet.east.name.clone()),
        ..Connection::default()
    };
    Ok(mesh_kube::connect(&connection).await?)
}

/// Resident memory and processor time of every container over a while.
async fn usage(
    fleet: &Fleet,
    namespaces: &[&str],
    when: &str,
    span: Duration,
    report: &mut Report,
) -> Result<()> {
    let read = || block_in_place(|| processes::read(fleet, namespaces));
    // What was asked for a moment ago is over.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (first, began): (BTreeMap<String, Usage>, _) = (read()?, Instant::now());
    tokio::time::sleep(span).await;
    let (second, elapsed) = (read()?, began.elapsed().as_secs_f64());
    for (container, now) in &second {
        let then = first.get(container).with_context(|| format!("{container} was not there before"))?;
        let millicores = (now.seconds - then.seconds) / elapsed * 1000.0;
        report.add(
            Figure::new(format!("{container}, {when}"), now.megabytes, "MB")
                .note(format!("{millicores:.1} millicores")),
        );
    }
    Ok(())
}
