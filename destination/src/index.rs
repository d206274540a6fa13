//! The index: Services, EndpointSlices and Pods by every key that answers are looked up with. Pure: no I/O, no clock.

mod lookup;
mod view;

pub use view::{Endpoint, EndpointsView, Hint, ProfileView};

use crate::model::{Key, Pod, Service, Slice};
use mesh_types::OpaquePorts;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

/// What answers depend on besides the cluster's objects.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Namespace of this control plane; proxies of others are not given an identity.
    pub control_plane_namespace: String,
    /// Trust domain of identities.
    pub trust_domain: String,
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Ports that are opaque where no annotation says otherwise.
    pub default_opaque: OpaquePorts,
    /// Whether meshed endpoints are said to take HTTP/2, so that HTTP/1 is carried over it.
    pub h2_upgrade: bool,
}

/// What a change may have changed the answers of.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Endpoints of these Services.
    pub services: BTreeSet<Key>,
    /// Profiles of these addresses.
    pub ips: BTreeSet<IpAddr>,
}

/// The index.
#[derive(Debug)]
pub struct Index {
    settings: Settings,
    services: HashMap<Key, Service>,
    services_by_ip: HashMap<IpAddr, Key>,
    /// Federated Services by their local member.
    federated_by_member: HashMap<Key, BTreeSet<Key>>,
    slices: HashMap<Key, Slice>,
    slices_by_service: HashMap<Key, BTreeSet<Key>>,
    slices_by_pod: HashMap<Key, BTreeSet<Key>>,
    /// How many endpoints on a node are said to be in which zone.
    zones_by_node: HashMap<String, BTreeMap<String, usize>>,
    pods: HashMap<Key, Pod>,
    /// An address may for a moment belong to a pod that ends and one that starts.
    pods_by_ip: HashMap<IpAddr, BTreeSet<Key>>,
}

impl Index {
    /// Knows nothing yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            services: HashMap::new(),
            services_by_ip: HashMap::new(),
            federated_by_member: HashMap::new(),
            slices: HashMap::new(),
            slices_by_service: HashMap::new(),
            slices_by_pod: HashMap::new(),
            zones_by_node: HashMap::new(),
            pods: HashMap::new(),
            pods_by_ip: HashMap::new(),
        }
    }

    /// A Service is new, changed, or (with `None`) gone.
    pub fn set_service(&mut self, key: &Key, service: Option<Service>) -> Touched {
        let mut touched = Touched::default();
        if self.services.get(key) == service.as_ref() {
            return touched;
        }
        if let Some(old) = self.services.remove(key) {
            for ip in &old.cluster_ips {
                if self.services_by_ip.get(ip) == Some(key) {
                    self.services_by_ip.remove(ip);
                }
            }
            touched.ips.extend(old.cluster_ips);
            if let Some(member) = old.local_member {
                remove(&mut self.federated_by_member, &Key::new(&key.namespace, member), key);
            }
        }
        if let Some(new) = service {
            for ip in &new.cluster_ips {
                self.services_by_ip.insert(*ip, key.clone());
                touched.ips.insert(*ip);
            }
            if let Some(member) = &new.local_member {
                let member = Key::new(&key.namespace, member);
                self.federated_by_member.entry(member).or_default().insert(key.clone());
            }
            self.services.insert(key.clone(), new);
        }
        self.touch_service(key, &mut touched);
        touched
    }

    /// An EndpointSlice is new, changed, or (with `None`) gone.
    pub fn set_slice(&mut self, key: &Key, slice: Option<Slice>) -> Touched {
        let mut touched = Touched::default();
        if self.slices.get(key) == slice.as_ref() {
            return touched;
        }
        if let Some(old) = self.slices.remove(key) {
            remove(&mut self.slices_by_service, &old.service, key);
            for pod in old.endpoints.iter().filter_map(|e| e.pod.as_ref()) {
                remove(&mut self.slices_by_pod, pod, key);
            }
            for (node, zone) in old.zones() {
                self.count_zone(node, zone, false);
            }
            self.touch_service(&old.service, &mut touched);
        }
        if let Some(new) = slice {
            self.slices_by_service.entry(new.service.clone()).or_default().insert(key.clone());
            for pod in new.endpoints.iter().filter_map(|e| e.pod.clone()) {
                self.slices_by_pod.entry(pod).or_default().insert(key.clone());
            }
            for (node, zone) in new.zones() {
                self.count_zone(node, zone, true);
            }
            self.touch_service(&new.service, &mut touched);
            self.slices.insert(key.clone(), new);
        }
        touched
    }

    /// A pod is new, changed, or (with `None`) gone.
    pub fn set_pod(&mut self, key: &Key, pod: Option<Pod>) -> Touched {
        let mut touched = Touched::default();
        if self.pods.get(key) == pod.as_ref() {
            return touched;
        }
        if let Some(old) = self.pods.remove(key) {
            for ip in &old.ips {
                remove(&mut self.pods_by_ip, ip, key);
            }
            touched.ips.extend(old.ips);
        }
        if let Some(new) = pod {
            for ip in new.ips.iter().filter(|_| new.alive) {
                self.pods_by_ip.entry(*ip).or_default().insert(key.clone());
            }
            touched.ips.extend(&new.ips);
            self.pods.insert(key.clone(), new);
        }
        for slice in self.slices_by_pod.get(key).into_iter().flatten() {
            if let Some(slice) = self.slices.get(slice) {
                self.touch_service(&slice.service, &mut touched);
            }
        }
        touched
    }

    /// These are all Services there are.
    pub fn reset_services(&mut self, all: BTreeMap<Key, Service>) -> Touched {
        let gone: Vec<Key> = self.services.keys().filter(|k| !all.contains_key(k)).cloned().collect();
        let gone = gone.into_iter().map(|key| (key, None));
        let mut touched = Touched::default();
        for (key, service) in gone.chain(all.into_iter().map(|(k, s)| (k, Some(s)))) {
            touched.merge(self.set_service(&key, service));
        }
        touched
    }

    /// These are all EndpointSlices there are.
    pub fn reset_slices(&mut self, all: BTreeMap<Key, Slice>) -> Touched {
        let gone: Vec<Key> = self.slices.keys().filter(|k| !all.contains_key(k)).cloned().collect();
        let gone = gone.into_iter().map(|key| (key, None));
        let mut touched = Touched::default();
        for (key, slice) in gone.chain(all.into_iter().map(|(k, s)| (k, Some(s)))) {
            touched.merge(self.set_slice(&key, slice));
        }
        touched
    }

    /// These are all pods there are.
    pub fn reset_pods(&mut self, all: BTreeMap<Key, Pod>) -> Touched {
        let gone: Vec<Key> = self.pods.keys().filter(|k| !all.contains_key(k)).cloned().collect();
        let gone = gone.into_iter().map(|key| (key, None));
        let mut touched = Touched::default();
        for (key, pod) in gone.chain(all.into_iter().map(|(k, p)| (k, Some(p)))) {
            touched.merge(self.set_pod(&key, pod));
        }
        touched
    }

    /// What was given at the start.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many Services, slices and pods are known.
    pub fn sizes(&self) -> [usize; 3] {
        [self.services.len(), self.slices.len(), self.pods.len()]
    }

    fn count_zone(&mut self, node: &str, zone: &str, more: bool) {
        let zones = self.zones_by_node.entry(node.to_owned()).or_default();
        let endpoints = zones.entry(zone.to_owned()).or_default();
        *endpoints = if more { *endpoints + 1 } else { endpoints.saturating_sub(1) };
        if *endpoints == 0 {
            zones.remove(zone);
        }
        if zones.is_empty() {
            self.zones_by_node.remove(node);
        }
    }

    fn touch_service(&self, key: &Key, touched: &mut Touched) {
        touched.services.insert(key.clone());
        touched.services.extend(self.federated_by_member.get(key).into_iter().flatten().cloned());
    }
}

impl Touched {
    fn merge(&mut self, other: Self) {
        self.services.extend(other.services);
        self.ips.extend(other.ips);
    }

    /// Whether nothing can have changed.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.ips.is_empty()
    }
}

fn remove<K: Eq + std::hash::Hash, V: Ord>(map: &mut HashMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(set) = map.get_mut(key) {
        set.remove(value);
        if set.is_empty() {
            map.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
