//! `diagnostics endpoints`: Destination.Get, as a proxy would ask it.

use super::reach;
use crate::globals::Globals;
use crate::report::Problem;
use comfy_table::{Table, presets};
use mesh_api::destination::destination_client::DestinationClient;
use mesh_api::destination::{GetDestination, Update, WeightedAddr, protocol_hint, tls_identity, update};
use mesh_api::net::TcpAddress;
use mesh_api::net::ip_address::Ip;
use mesh_types::{Authority, ports};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// The first answer holds everything; what follows within this time belongs to it.
const SETTLE: Duration = Duration::from_millis(200);

/// The control plane answers within this time or not at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// Arguments of `diagnostics endpoints`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// Names with ports, such as catalog.shop.svc.cluster.local:80
    #[arg(required = true, value_name = "AUTHORITY")]
    authorities: Vec<String>,
    /// table or json
    #[arg(long, short = 'o', default_value = "table", value_parser = ["table", "json"])]
    output: String,
    /// Ask this destination pod instead of the first that is ready
    #[arg(long, value_name = "POD")]
    destination_pod: Option<String>,
    /// Context token of the asking proxy, as JSON such as {"ns":"shop","pod":"web-1"}
    #[arg(long, default_value = "", value_name = "TOKEN")]
    token: String,
}

type Found = BTreeMap<SocketAddr, (WeightedAddr, BTreeMap<String, String>)>;

/// Runs the command; fails (exit code 1) when a name has no endpoint.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let channel = reach::destination(globals, args.destination_pod.as_deref(), ports::DESTINATION).await?;
    let mut client = DestinationClient::new(channel);
    let mut all = Vec::new();
    let mut complete = true;
    for text in &args.authorities {
        let authority: Authority = text.parse().map_err(|e: mesh_types::AuthorityError| {
            Problem::usage(
                "not a name with a port",
                e.to_string(),
                "give it as catalog.shop.svc.cluster.local:80",
            )
        })?;
        let authority = in_full(authority, globals).await?;
        let found = ask(&mut client, &authority, &args.token).await?;
        if found.is_empty() {
            complete = false;
            eprintln!("‼ {authority} has no endpoints now");
        }
        all.push((authority, found));
    }
    if args.output == "json" {
        let rows: Vec<Value> =
            all.iter().flat_map(|(a, found)| found.iter().map(|(addr, e)| as_json(a, *addr, e))).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print!("{}", render(&all));
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `catalog.shop` is short for `catalog.shop.svc.<cluster domain>`, as inside a pod.
async fn in_full(authority: Authority, globals: &Globals) -> anyhow::Result<Authority> {
    let labels: Vec<&str> = authority.host.split('.').collect();
    let short = match labels.as_slice() {
        [service, namespace] if service.parse::<u8>().is_err() => format!("{service}.{namespace}.svc"),
        [.., "svc"] => labels.join("."),
        _ => return Ok(authority),
    };
    let domain = super::policy::cluster_domain(globals).await;
    Ok(Authority { host: format!("{short}.{domain}"), port: authority.port })
}

async fn ask(
    client: &mut DestinationClient<mesh_api::tonic::transport::Channel>,
    authority: &Authority,
    token: &str,
) -> anyhow::Result<Found> {
    let request =
        GetDestination { scheme: "http:".into(), path: authority.to_string(), context_token: token.into() };
    let problem = |status: mesh_api::tonic::Status| {
        let what = format!("{authority} is not known");
        let why = format!("{:?}: {}", status.code(), status.message());
        Problem::new(
            what,
            why,
            "kubectl get services -A lists what is; use <service>.<namespace>.svc.<cluster domain>:<port>",
        )
    };
    let mut stream = client.get(request).await.map_err(problem)?.into_inner();
    let mut found = Found::new();
    let mut patience = PATIENCE;
    while let Ok(message) = tokio::time::timeout(patience, stream.message()).await {
        match message.map_err(problem)? {
            Some(update) => take(&mut found, update),
            None => break,
        }
        patience = SETTLE;
    }
    Ok(found)
}

fn take(found: &mut Found, update: Update) {
    match update.update {
        Some(update::Update::Add(set)) => {
            let shared: BTreeMap<String, String> = set.metric_labels.into_iter().collect();
            for endpoint in set.addrs {
                if let Some(addr) = endpoint.addr.as_ref().and_then(socket_addr) {
                    found.insert(addr, (endpoint, shared.clone()));
                }
            }
        }
        Some(update::Update::Remove(set)) => {
            for addr in set.addrs.iter().filter_map(socket_addr) {
                found.remove(&addr);
            }
        }
        Some(update::Update::NoEndpoints(_)) => found.clear(),
        None => {}
    }
}

fn socket_addr(address: &TcpAddress) -> Option<SocketAddr> {
    let ip = match address.ip.as_ref()?.ip.as_ref()? {
        Ip::Ipv4(v4) => IpAddr::V4(Ipv4Addr::from(*v4)),
        Ip::Ipv6(v6) => IpAddr::V6(Ipv6Addr::from((u128::from(v6.first) << 64) | u128::from(v6.last))),
    };
    Some(SocketAddr::new(ip, u16::try_from(address.port).ok()?))
}

fn render(all: &[(Authority, Found)]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["NAMESPACE", "IP", "PORT", "POD", "SERVICE", "TLS IDENTITY"]);
    for (authority, found) in all {
        for (addr, (endpoint, shared)) in found {
            let label = |name: &str| {
                endpoint.metric_labels.get(name).or_else(|| shared.get(name)).cloned().unwrap_or_default()
            };
            let pod = Some(label("pod")).filter(|p| !p.is_empty());
            let cluster = label("target_cluster");
            table.add_row([
                label("namespace"),
                addr.ip().to_string(),
                addr.port().to_string(),
                pod.unwrap_or_else(|| {
                    if cluster.is_empty() { "–".to_owned() } else { format!("gateway of {cluster}") }
                }),
                authority.to_string(),
                identity(endpoint).unwrap_or_else(|| "–".to_owned()),
            ]);
        }
    }
    table.lines().map(|l| format!("{}\n", l.trim())).collect()
}

fn identity(endpoint: &WeightedAddr) -> Option<String> {
    match endpoint.tls_identity.as_ref()?.strategy.as_ref()? {
        tls_identity::Strategy::DnsLikeIdentity(dns) => Some(dns.name.clone()),
        tls_identity::Strategy::UriLikeIdentity(uri) => Some(uri.uri.clone()),
    }
}

fn as_json(
    authority: &Authority,
    addr: SocketAddr,
    (endpoint, shared): &(WeightedAddr, BTreeMap<String, String>),
) -> Value {
    let hint = endpoint.protocol_hint.as_ref();
    let protocol = hint.and_then(|h| h.protocol.as_ref()).map(|p| match p {
        protocol_hint::Protocol::H2(_) => "h2",
        protocol_hint::Protocol::Opaque(_) => "opaque",
    });
    let labels: BTreeMap<&String, &String> = shared.iter().chain(&endpoint.metric_labels).collect();
    json!({
        "authority": authority.to_string(), "ip": addr.ip().to_string(), "port": addr.port(), "weight": endpoint.weight,
        "labels": labels, "tlsIdentity": identity(endpoint), "protocolHint": protocol,
        "inboundPort": hint.and_then(|h| h.opaque_transport.as_ref()).map(|o| o.inbound_port),
        "authorityOverride": endpoint.authority_override.as_ref().map(|a| &a.authority_override),
    })
}

#[cfg(test)]
mod tests;
