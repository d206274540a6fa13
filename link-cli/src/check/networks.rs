//! The networks of the cluster.

use super::Context;
use super::outcome::{Category, Verdict};
use ipnet::IpNet;
use mesh_kube::k8s_openapi::api::core::v1::{Node, Pod, Service};
use mesh_kube::kube::Api;
use mesh_kube::kube::api::ListParams;
use serde_json::Value;
use std::net::IpAddr;

/// Whether `clusterNetworks` covers what the cluster uses; proxies treat other addresses as outside.
pub(super) async fn networks(context: &Context, values: &Value) -> Category {
    let mut category = Category::new("linkerd-cluster-networks");
    let fix =
        "set the value:  meshctl upgrade --set-string 'clusterNetworks=10.0.0.0/8\\,…' | kubectl apply -f -";
    let networks: Result<Vec<IpNet>, _> =
        values["clusterNetworks"].as_str().unwrap_or_default().split(',').map(|n| n.trim().parse()).collect();
    let Ok(networks) = networks else {
        let why = "clusterNetworks is not a list of networks".to_owned();
        category.add(
            "l5d-cluster-networks-cidr",
            "cluster networks are valid",
            Verdict::Error(why, fix.into()),
        );
        return category;
    };
    let covered = |ip: &IpAddr| networks.iter().any(|n| n.contains(ip));
    let verdict = match Api::<Node>::all(context.client.clone()).list(&ListParams::default()).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let cidrs = list.items.into_iter().filter_map(|n| n.spec?.pod_cidr?.parse::<IpNet>().ok());
            let outside: Vec<String> =
                cidrs.filter(|c| !networks.iter().any(|n| n.contains(c))).map(|c| c.to_string()).collect();
            Verdict::error_if(
                (!outside.is_empty()).then(|| format!("not covered: {}", outside.join(", "))),
                fix,
            )
        }
    };
    category.add("l5d-cluster-networks-cidr", "cluster networks contain all node podCIDRs", verdict);
    let verdict = match Api::<Pod>::all(context.client.clone()).list(&ListParams::default()).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let own = |p: &Pod| p.spec.as_ref().and_then(|s| s.host_network) != Some(true);
            let pods = list.items.into_iter().filter(own);
            let ips = pods.filter_map(|p| p.status?.pod_ip?.parse::<IpAddr>().ok());
            outside(ips, covered, fix)
        }
    };
    category.add("l5d-cluster-networks-pods", "cluster networks contain all pods", verdict);
    let verdict = match Api::<Service>::all(context.client.clone()).list(&ListParams::default()).await {
        Err(error) => Verdict::unanswered(&error),
        Ok(list) => {
            let ips = list.items.into_iter().filter_map(|s| s.spec?.cluster_ip?.parse::<IpAddr>().ok());
            outside(ips, covered, fix)
        }
    };
    category.add("l5d-cluster-networks-pods", "cluster networks contain all services", verdict);
    category
}

fn outside(ips: impl Iterator<Item = IpAddr>, covered: impl Fn(&IpAddr) -> bool, fix: &str) -> Verdict {
    let all: Vec<String> = ips.filter(|ip| !covered(ip)).map(|ip| ip.to_string()).collect();
    let shown = all.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    Verdict::error_if((!all.is_empty()).then(|| format!("{} not covered: {shown}", all.len())), fix)
}
