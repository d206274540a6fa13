//! The index of all kinds that policies are made from. Pure: no I/O, no clock. A further kind (Server, route, limit) is
//! one more map with its `set`, telling what it touches.

use crate::inbound::{self, InboundSettings};
use crate::model::{Key, Member, Namespace, Pod, Service};
use crate::outbound::{self, OutboundSettings, Target};
use mesh_api::inbound::Server;
use mesh_api::outbound::OutboundPolicy;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

/// What a change may have changed the answers of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Inbound policies of these pods.
    pub pods: BTreeSet<Key>,
    /// Outbound policies of these Services.
    pub services: BTreeSet<Key>,
    /// Outbound policies of these addresses.
    pub ips: BTreeSet<IpAddr>,
}

/// What an outbound policy is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Destination {
    /// An address.
    Addr(SocketAddr),
    /// A Service by name, and of a federated one perhaps one member.
    Name {
        /// The Service.
        service: Key,
        /// Its port.
        port: u16,
        /// A member's cluster.
        part: Option<String>,
    },
}

/// The index.
#[derive(Debug)]
pub struct Index {
    inbound: InboundSettings,
    outbound: OutboundSettings,
    namespaces: HashMap<String, Namespace>,
    pods: BTreeMap<Key, Pod>,
    services: HashMap<Key, Service>,
    services_by_ip: HashMap<IpAddr, Key>,
    members: HashMap<Key, Member>,
    members_of: HashMap<Key, BTreeSet<Key>>,
}

impl Index {
    /// Knows nothing yet.
    pub fn new(inbound: InboundSettings, outbound: OutboundSettings) -> Self {
        Self {
            inbound,
            outbound,
            namespaces: HashMap::new(),
            pods: BTreeMap::new(),
            services: HashMap::new(),
            services_by_ip: HashMap::new(),
            members: HashMap::new(),
            members_of: HashMap::new(),
        }
    }

    /// The cluster's domain, by which Services are named.
    pub fn cluster_domain(&self) -> &str {
        &self.outbound.cluster_domain
    }

    /// A Namespace is new, changed, or (with `None`) gone.
    pub fn set_namespace(&mut self, key: &Key, namespace: Option<Namespace>) -> Touched {
        let mut touched = Touched::default();
        if self.namespaces.get(&key.name) == namespace.as_ref() {
            return touched;
        }
        match namespace {
            Some(new) => self.namespaces.insert(key.name.clone(), new),
            None => self.namespaces.remove(&key.name),
        };
        let first = Key::new(&key.name, "");
        let inside = self.pods.range(first..).take_while(|(pod, _)| pod.namespace == key.name);
        touched.pods.extend(inside.map(|(pod, _)| pod.clone()));
        touched
    }

    /// A pod is new, changed, or (with `None`) gone.
    pub fn set_pod(&mut self, key: &Key, pod: Option<Pod>) -> Touched {
        if self.pods.get(key) == pod.as_ref() {
            return Touched::default();
        }
        match pod {
            Some(new) => self.pods.insert(key.clone(), new),
            None => self.pods.remove(key),
        };
        Touched { pods: BTreeSet::from([key.clone()]), ..Touched::default() }
    }

    /// A Service is new, changed, or (with `None`) gone.
    pub fn set_service(&mut self, key: &Key, service: Option<Service>) -> Touched {
        let mut touched = Touched::default();
        if self.services.get(key) == service.as_ref() {
            return touched;
        }
        touched.services.insert(key.clone());
        if let Some(old) = self.services.remove(key) {
            for ip in old.cluster_ips {
                if self.services_by_ip.get(&ip) == Some(key) {
                    self.services_by_ip.remove(&ip);
                }
                touched.ips.insert(ip);
            }
        }
        if let Some(new) = service {
            for ip in &new.cluster_ips {
                self.services_by_ip.insert(*ip, key.clone());
                touched.ips.insert(*ip);
            }
            self.services.insert(key.clone(), new);
        }
        touched
    }

    /// An EndpointSlice of a linked cluster is new, changed, or (with `None`) gone.
    pub fn set_member(&mut self, key: &Key, member: Option<Member>) -> Touched {
        let mut touched = Touched::default();
        if self.members.get(key) == member.as_ref() {
            return touched;
        }
        if let Some(old) = self.members.remove(key) {
            if let Some(slices) = self.members_of.get_mut(&old.service) {
                slices.remove(key);
            }
            self.touch_service(&old.service, &mut touched);
        }
        if let Some(new) = member {
            self.members_of.entry(new.service.clone()).or_default().insert(key.clone());
            self.touch_service(&new.service, &mut touched);
            self.members.insert(key.clone(), new);
        }
        self.members_of.retain(|_, slices| !slices.is_empty());
        touched
    }

    fn touch_service(&self, key: &Key, touched: &mut Touched) {
        touched.services.insert(key.clone());
        let ips = self.services.get(key).map(|s| s.cluster_ips.as_slice()).unwrap_or_default();
        touched.ips.extend(ips);
    }

    /// Keys of all objects of a kind, to find what a relist no longer has.
    pub(crate) fn namespaces(&self) -> Vec<Key> {
        self.namespaces.keys().map(|name| Key::new("", name)).collect()
    }

    pub(crate) fn pods(&self) -> Vec<Key> {
        self.pods.keys().cloned().collect()
    }

    pub(crate) fn services(&self) -> Vec<Key> {
        self.services.keys().cloned().collect()
    }

    pub(crate) fn members(&self) -> Vec<Key> {
        self.members.keys().cloned().collect()
    }

    /// A pod.
    pub fn pod(&self, key: &Key) -> Option<&Pod> {
        self.pods.get(key)
    }

    /// A Service.
    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.services.get(key)
    }

    /// The policy of a port of a pod; `None` when there is no such pod.
    pub fn inbound(&self, pod: &Key, port: u16) -> Option<Server> {
        let namespace = self.namespaces.get(&pod.namespace);
        Some(inbound::server(&self.inbound, self.pods.get(pod)?, namespace, port))
    }

    /// The policy for a destination; `None` when there is no such Service.
    pub fn outbound(&self, destination: &Destination, gateway: bool) -> Option<OutboundPolicy> {
        let (key, port, part) = match destination {
            Destination::Addr(addr) => (self.services_by_ip.get(&addr.ip())?, addr.port(), None),
            Destination::Name { service, port, part } => (service, *port, part.as_deref()),
        };
        let service = self.services.get(key)?;
        let members = self.members_of.get(key).into_iter().flatten().filter_map(|k| self.members.get(k));
        let clusters = members.map(|m| m.cluster.as_str()).collect();
        Some(outbound::policy(&self.outbound, &Target { key, service, clusters, port, part }, gateway))
    }
}

impl Touched {
    /// Adds what another change touched.
    pub fn merge(&mut self, other: Self) {
        self.pods.extend(other.pods);
        self.services.extend(other.services);
        self.ips.extend(other.ips);
    }
}

#[cfg(test)]
mod tests;
