//! Addresses for Services of type LoadBalancer, from the cluster's part of the WAN subnet.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::object::{self, Key};
use super::plan::{Action, Plan};
use super::world::{Kind, World};

/// The addresses a cluster may hand out, first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressPool {
    /// First address.
    pub(crate) first: Ipv4Addr,
    /// Last address.
    pub(crate) last: Ipv4Addr,
}

impl AddressPool {
    /// The pool of the `index`-th cluster (from 1): 198.18.n.10 to 198.18.n.250.
    pub(crate) fn of_cluster(index: u8) -> Self {
        Self { first: Ipv4Addr::new(198, 18, index, 10), last: Ipv4Addr::new(198, 18, index, 250) }
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        (self.first..=self.last).contains(&address)
    }

    /// All of them.
    pub(crate) fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        (u32::from(self.first)..=u32::from(self.last)).map(Ipv4Addr::from)
    }
}

/// Plans the addresses of all Services: keeps what is held, honours `spec.loadBalancerIP`, takes addresses back from
/// Services that no longer are load balancers.
pub(crate) fn plan(world: &World, pool: AddressPool) -> Plan {
    let mut plan = Plan::default();
    let mut taken: BTreeSet<Ipv4Addr> = BTreeSet::new();
    let mut waiting = Vec::new();
    for service in world.all(Kind::Service) {
        let held = address(service);
        if object::text(service, "/spec/type") != "LoadBalancer" {
            if held.is_some() {
                plan.push(assign(service, None));
            }
            continue;
        }
        let asked = asked_for(service);
        match held {
            Some(address) if asked.is_none_or(|asked| asked == address) => {
                taken.insert(address);
            }
            _ if !object::is_deleting(service) => waiting.push((service, asked)),
            _ => {}
        }
    }
    waiting.sort_by_key(|(_, asked)| asked.is_none());
    for (service, asked) in waiting {
        let free = match asked {
            Some(address) => {
                Some(address).filter(|address| pool.contains(*address) && !taken.contains(address))
            }
            None => pool.addresses().find(|address| !taken.contains(address)),
        };
        if let Some(address) = free {
            taken.insert(address);
            plan.push(assign(service, Some(address)));
        }
    }
    plan
}

fn address(service: &Value) -> Option<Ipv4Addr> {
    object::text(service, "/status/loadBalancer/ingress/0/ip").parse().ok()
}

fn asked_for(service: &Value) -> Option<Ipv4Addr> {
    object::text(service, "/spec/loadBalancerIP").parse().ok()
}

fn assign(service: &Value, address: Option<Ipv4Addr>) -> Action {
    let ingress = address.map(|address| json!([{ "ip": address, "ipMode": "VIP" }]));
    let patch = json!({ "status": { "loadBalancer": { "ingress": ingress } } });
    Action::PatchStatus(Kind::Service, Key::of(service), patch)
}

#[cfg(test)]
mod tests;
