//! `multicluster gateways`: how the gateways of linked clusters are doing, as the mirror sees them.

mod screen;

use crate::globals::Globals;
use crate::report::Problem;
use mesh_kube::k8s_openapi::api::core::v1::Service;
use mesh_kube::k8s_openapi::jiff::Timestamp;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{Api, ResourceExt as _};
use mesh_kube::link::{Link, LinkStatus};
use mesh_types::{MULTICLUSTER_NAMESPACE, annotations, labels};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

/// Shows the gateways of linked clusters: alive, round trips, services, freshness, trust, credentials.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Exit code 1 when a gateway is dead. With -o json, one object a link: clusterName, mode, alive, \
    addressesAlive, addresses, rttMs, rttP50Ms, rttP99Ms (of the nearest address), numServices, synced, trust and \
    credentials (true, false, or null while unknown), lastSynced, credentialsExpire (RFC 3339), reasons."
)]
pub(crate) struct Args {
    /// Show only this linked cluster
    #[arg(long, value_name = "NAME")]
    cluster_name: Option<String>,
    /// Namespace of the multicluster extension
    #[arg(long, short = 'n', default_value = MULTICLUSTER_NAMESPACE, value_name = "NAMESPACE")]
    namespace: String,
    /// table or json
    #[arg(long, short = 'o', default_value = "table", value_parser = ["table", "json"])]
    output: String,
}

/// A linked cluster with what is known of its link.
struct Peer {
    cluster: String,
    status: LinkStatus,
}

impl Peer {
    fn of(link: &Link) -> Self {
        let named = Some(link.spec.target_cluster_name.clone()).filter(|n| !n.is_empty());
        Self {
            cluster: named.unwrap_or_else(|| link.name_any()),
            status: link.status.clone().unwrap_or_default(),
        }
    }

    /// Gateway addresses: those that answer, and all.
    fn addresses(&self) -> (usize, usize) {
        let all = self.status.gateway.as_ref().map_or(&[][..], |g| &g.addresses);
        (all.iter().filter(|a| a.alive == Some(true)).count(), all.len())
    }

    fn is_alive(&self) -> bool {
        self.addresses().0 > 0
    }

    /// What a condition says; `None` while it is unknown.
    fn holds(&self, condition: &str) -> Option<bool> {
        match self.status.condition(condition)?.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        }
    }

    fn services(&self) -> usize {
        self.status.mirror_services.len() + self.status.federated_services.len()
    }

    /// The federated services here that it is a member of.
    fn federated(&self) -> impl Iterator<Item = (&str, &str)> {
        let conditions = self.status.federated_services.iter().flat_map(|s| &s.conditions);
        conditions.filter_map(|c| c.local_ref.as_ref()).map(|r| (r.namespace.as_str(), r.name.as_str()))
    }
}

/// Which clusters stand behind each federated service; the own one is called `here`.
type Members = BTreeMap<(String, String), BTreeSet<String>>;

/// Runs the command; fails (exit code 1) when a gateway is dead.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let client = globals.client().await?;
    let links: Api<Link> = Api::namespaced(client.clone(), &args.namespace);
    let listed = links.list(&ListParams::default()).await.map_err(|e| {
        let fix = "meshctl multicluster install | kubectl apply -f -";
        Problem::new("links cannot be listed", mesh_kube::explain(&e), fix)
    })?;
    let all: Vec<Peer> = listed.items.iter().map(Peer::of).collect();
    let wanted = |p: &&Peer| args.cluster_name.as_ref().is_none_or(|c| p.cluster == *c);
    let shown: Vec<&Peer> = all.iter().filter(wanted).collect();
    if shown.is_empty() {
        let why = match &args.cluster_name {
            Some(name) => format!("namespace {} holds no Link to {name}", args.namespace),
            None => format!("namespace {} holds no Link", args.namespace),
        };
        let fix = "meshctl --context west multicluster link --to-context east links two clusters";
        return Err(Problem::new("no linked cluster", why, fix).into());
    }
    let members = members(Api::all(client)).await;
    let now = Timestamp::now();
    let reasons = |peer: &Peer| screen::reasons(peer, &all, &members, now);
    if args.output == "json" {
        let rows: Vec<_> = shown.iter().map(|p| as_json(p, &reasons(p))).collect();
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        let rows: Vec<_> = shown.iter().map(|p| (screen::cells(p, now), reasons(p))).collect();
        print!("{}", screen::render(&rows));
    }
    Ok(if shown.iter().all(|p| p.is_alive()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The members of federated services; nothing where they may not be listed, which costs only a half sentence.
async fn members(services: Api<Service>) -> Members {
    let ours = ListParams::default().labels(&format!("{}=true", labels::FEDERATED_SERVICE));
    let listed = services.list(&ours).await.map(|l| l.items).unwrap_or_default();
    let members = |service: &Service| {
        let notes = service.annotations();
        let remote = notes.get(annotations::REMOTE_DISCOVERY).map_or("", String::as_str);
        let remote = remote.split(',').filter_map(|m| Some(m.split_once('@')?.1.to_owned()));
        let here = notes.get(annotations::LOCAL_DISCOVERY).map(|_| "here".to_owned());
        remote.chain(here).collect()
    };
    let key = |s: &Service| (s.namespace().unwrap_or_default(), s.name_any());
    listed.iter().map(|s| (key(s), members(s))).collect()
}

fn as_json(peer: &Peer, reasons: &[String]) -> serde_json::Value {
    let (alive, all) = peer.addresses();
    let gateway = peer.status.gateway.clone().unwrap_or_default();
    let nearest = gateway.nearest();
    json!({
        "clusterName": peer.cluster,
        "mode": screen::mode(peer),
        "alive": alive > 0,
        "addressesAlive": alive,
        "addresses": all,
        "rttMs": nearest.and_then(|a| a.rtt_ms),
        "rttP50Ms": nearest.and_then(|a| a.rtt_p50_ms),
        "rttP99Ms": nearest.and_then(|a| a.rtt_p99_ms),
        "numServices": peer.services(),
        "synced": peer.holds("Synced"),
        "lastSynced": peer.status.last_synced,
        "trust": peer.holds("TrustEstablished"),
        "credentials": peer.holds("CredentialsValid"),
        "credentialsExpire": peer.status.credentials_expire,
        "reasons": reasons,
    })
}
