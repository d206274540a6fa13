//! The load balancer of the test bed, as pure functions: which Service of type LoadBalancer has which address, and which
//! node answers for it. Addresses are of the network of all nodes, so that every cluster and this machine reach them.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A Service of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) cluster: String,
    pub(crate) namespace: String,
    pub(crate) service: String,
}

/// What matters of a Service.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) name: Name,
    /// Whether it is of type LoadBalancer, and no other controller's.
    pub(crate) wants: bool,
    /// The address its spec asks for.
    pub(crate) asked: Option<Ipv4Addr>,
    /// The addresses its status has.
    pub(crate) has: Vec<Ipv4Addr>,
    /// Whether only nodes with an endpoint of it may answer.
    pub(crate) local: bool,
}

/// Reads a list of Services.
pub(crate) fn read(cluster: &str, list: &Value) -> Vec<Service> {
    let services = list["items"].as_array().into_iter().flatten();
    services.map(|service| read_one(cluster, service)).collect()
}

fn read_one(cluster: &str, service: &Value) -> Service {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &service["spec"];
    let ingress = service["status"]["loadBalancer"]["ingress"].as_array().into_iter().flatten();
    let going = !service["metadata"]["deletionTimestamp"].is_null();
    Service {
        name: Name {
            cluster: cluster.to_owned(),
            namespace: text(&service["metadata"]["namespace"]),
            service: text(&service["metadata"]["name"]),
        },
        wants: spec["type"] == "LoadBalancer" && spec["loadBalancerClass"].is_null() && !going,
        asked: spec["loadBalancerIP"].as_str().and_then(|a| a.parse().ok()),
        has: ingress.filter_map(|i| i["ip"].as_str().and_then(|a| a.parse().ok())).collect(),
        local: spec["externalTrafficPolicy"] == "Local",
    }
}

/// Addresses to give, from the upper part of a network, which its engine gives to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pool {
    first: u32,
    last: u32,
}

impl Pool {
    /// The pool of a network such as `172.18.0.0/16`.
    pub(crate) fn of(subnet: &str) -> Result<Self> {
        let (base, bits) = subnet.split_once('/').with_context(|| format!("{subnet:?} is no subnet"))?;
        let base = u32::from(base.parse::<Ipv4Addr>().with_context(|| format!("subnet {subnet}"))?);
        let bits: u32 = bits.parse().with_context(|| format!("subnet {subnet}"))?;
        match bits {
            ..=16 => Ok(Self { first: base + 200 * 256 + 1, last: base + 200 * 256 + 254 }),
            17..=28 => {
                let size = 1_u32 << (32 - bits);
                Ok(Self { first: base + size - size / 4, last: base + size - 2 })
            }
            _ => bail!("the subnet {subnet} of the nodes' network is too small to give addresses of it"),
        }
    }

    /// Whether an address is of the pool.
    pub(crate) fn has(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&u32::from(address))
    }

    fn all(self) -> impl Iterator<Item = Ipv4Addr> {
        (self.first..=self.last).map(Ipv4Addr::from)
    }
}

/// Gives each Service that wants one an address: the one it asks for, the one it has, or the lowest that is free.
pub(crate) fn assign(services: &[Service], pool: Pool) -> BTreeMap<Name, Ipv4Addr> {
    let mut given = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let wanting = || services.iter().filter(|s| s.wants);
    for service in wanting() {
        if let Some(asked) = service.asked.filter(|a| pool.has(*a))
            && taken.insert(asked)
        {
            given.insert(service.name.clone(), asked);
        }
    }
    for service in wanting().filter(|s| s.asked.is_none()) {
        if let Some(kept) = service.has.iter().copied().find(|a| pool.has(*a) && !taken.contains(a)) {
            taken.insert(kept);
            given.insert(service.name.clone(), kept);
        }
    }
    for service in wanting().filter(|s| s.asked.is_none()) {
        if !given.contains_key(&service.name)
            && let Some(free) = pool.all().find(|a| !taken.contains(a))
        {
            taken.insert(free);
            given.insert(service.name.clone(), free);
        }
    }
    given
}

/// A change of a Service's status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StatusChange {
    pub(crate) name: Name,
    /// The address it has now; `None` takes away what we gave.
    pub(crate) address: Option<Ipv4Addr>,
}

/// The statuses that are not as they should be.
pub(crate) fn status_changes(
    services: &[Service],
    given: &BTreeMap<Name, Ipv4Addr>,
    pool: Pool,
) -> Vec<StatusChange> {
    let changed = services.iter().filter_map(|service| match given.get(&service.name) {
        Some(address) if service.has != [*address] => {
            Some(StatusChange { name: service.name.clone(), address: Some(*address) })
        }
        None if service.has.iter().any(|a| pool.has(*a)) => {
            Some(StatusChange { name: service.name.clone(), address: None })
        }
        _ => None,
    });
    changed.collect()
}

/// Chooses the node that answers for an address: the one that does already, if it may, else the first that may.
///
/// `nodes` are those that run, in order of preference; `with_endpoint` is given when only those may.
pub(crate) fn choose<'n>(
    nodes: &[&'n str],
    holder: Option<&str>,
    with_endpoint: Option<&BTreeSet<String>>,
) -> Option<&'n str> {
    let may = |node: &&&str| with_endpoint.is_none_or(|w| w.contains(**node));
    let mut able = nodes.iter().filter(may).copied();
    able.clone().find(|node| Some(*node) == holder).or_else(|| able.next())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(name: &str, has: &[&str], asked: Option<&str>) -> Service {
        let ingress: Vec<Value> = has.iter().map(|ip| json!({"ip": ip})).collect();
        let list = json!({"items": [{
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"type": "LoadBalancer", "loadBalancerIP": asked},
            "status": {"loadBalancer": {"ingress": ingress}},
        }]});
        read("east", &list).remove(0)
    }

    fn pool() -> Pool {
        Pool::of("172.18.0.0/16").unwrap()
    }

    fn assigned(services: &[Service]) -> Vec<String> {
        let given = assign(services, pool());
        services.iter().map(|s| given.get(&s.name).map(ToString::to_string).unwrap_or_default()).collect()
    }

    #[test]
    fn what_a_service_has_it_keeps_and_others_get_what_is_free() {
        let services = [service("new", &[], None), service("old", &["172.18.200.1"], None)];
        assert_eq!(assigned(&services), ["172.18.200.2", "172.18.200.1"]);
    }

    #[test]
    fn an_address_that_is_asked_for_is_given_before_all_others() {
        let services = [service("old", &["172.18.200.9"], None), service("asks", &[], Some("172.18.200.9"))];
        assert_eq!(assigned(&services), ["172.18.200.1", "172.18.200.9"]);
    }

    #[test]
    fn an_address_of_elsewhere_is_neither_given_nor_kept() {
        let services = [service("asks", &[], Some("10.0.0.1")), service("old", &["192.0.2.1"], None)];
        assert_eq!(assigned(&services), ["", "172.18.200.1"]);
    }

    #[test]
    fn a_service_that_wants_no_more_loses_the_address() {
        let mut gone = service("gone", &["172.18.200.1"], None);
        gone.wants = false;
        let changes = status_changes(&[gone.clone()], &assign(&[gone.clone()], pool()), pool());
        assert_eq!(changes, [StatusChange { name: gone.name, address: None }]);
    }

    #[test]
    fn a_status_that_is_right_is_left_alone() {
        let services = [service("old", &["172.18.200.1"], None)];
        assert!(status_changes(&services, &assign(&services, pool()), pool()).is_empty());
    }

    #[test]
    fn the_holder_stays_while_it_may() {
        let nodes = ["worker", "worker2"];
        assert_eq!(choose(&nodes, Some("worker2"), None), Some("worker2"));
        assert_eq!(choose(&nodes, Some("gone"), None), Some("worker"));
        let with = BTreeSet::from(["worker2".to_owned()]);
        assert_eq!(choose(&nodes, Some("worker"), Some(&with)), Some("worker2"));
        assert_eq!(choose(&nodes, None, Some(&BTreeSet::new())), None);
    }

    #[test]
    fn pools_fit_their_networks() {
        assert!(pool().has("172.18.200.254".parse().unwrap()));
        assert!(!pool().has("172.18.0.2".parse().unwrap()));
        let small = Pool::of("192.168.7.0/24").unwrap();
        assert!(small.has("192.168.7.254".parse().unwrap()) && !small.has("192.168.7.191".parse().unwrap()));
        assert!(Pool::of("192.168.7.0/30").is_err());
        assert!(Pool::of("fc00::/7").is_err());
    }
}
