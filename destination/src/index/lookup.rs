//! Answers made from the index.

use super::{Endpoint, EndpointsView, Hint, Index, ProfileView};
use crate::model::{GatewaySlice, Key, Pod, Service, Slice, SliceEndpoint};
use mesh_types::LOCAL_MEMBER;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The weight of one endpoint.
const WEIGHT: u32 = 10_000;

impl Index {
    /// Whether a Service exists, and whether it is of type `ExternalName`.
    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.services.get(key)
    }

    /// The zone of a node, learned from the endpoints on it: Kubernetes writes zones into EndpointSlices, so nodes need
    /// not be watched. Unknown for a node that serves nothing.
    pub fn zone_of(&self, node: &str) -> Option<&str> {
        let zones = self.zones_by_node.get(node)?;
        zones.iter().max_by_key(|(_, endpoints)| **endpoints).map(|(zone, _)| zone.as_str())
    }

    /// The endpoints behind a Service's port; of a part of it, the one endpoint of that host name, or of a federated
    /// Service the one member of that cluster.
    pub fn endpoints(&self, key: &Key, port: u16, part: Option<&str>) -> EndpointsView {
        let Some(service) = self.services.get(key) else { return EndpointsView::default() };
        let mut view = EndpointsView {
            exists: true,
            service: Some(key.clone()),
            node_local: service.node_local,
            endpoints: BTreeMap::new(),
        };
        let (member, hostname) = if service.federated { (part, None) } else { (None, part) };
        if member.is_none_or(|m| m != LOCAL_MEMBER) {
            let opaque = service.is_opaque(port, &self.settings.default_opaque);
            self.collect(key, port, hostname, opaque, member, &mut view.endpoints);
        }
        if let Some(local) = &service.local_member
            && member.is_none_or(|m| m == LOCAL_MEMBER)
        {
            let local = Key::new(&key.namespace, local);
            self.collect(&local, port, None, false, None, &mut view.endpoints);
        }
        view
    }

    /// Adds the endpoints in the slices of one Service. `cluster` keeps the slices of one linked cluster only.
    fn collect(
        &self,
        key: &Key,
        port: u16,
        hostname: Option<&str>,
        opaque: bool,
        cluster: Option<&str>,
        into: &mut BTreeMap<SocketAddr, Arc<Endpoint>>,
    ) {
        let Some(port_name) = self.services.get(key).and_then(|s| s.port(port)).map(|p| p.name.as_str())
        else {
            return;
        };
        let slices = self.slices_by_service.get(key).into_iter().flatten().filter_map(|k| self.slices.get(k));
        for slice in slices {
            let of = slice.gateway.as_ref().map(|g| g.cluster.as_str());
            if cluster.is_some() && cluster != of {
                continue;
            }
            let Some(target) = slice.port(port_name) else { continue };
            let named = |e: &&SliceEndpoint| hostname.is_none_or(|h| e.hostname.as_deref() == Some(h));
            for endpoint in slice.endpoints.iter().filter(|e| e.ready).filter(named) {
                let made = match &slice.gateway {
                    Some(gateway) => self.gateway_endpoint(slice, gateway, port, opaque),
                    None => self.slice_endpoint(endpoint, &key.namespace, target),
                };
                let Some(made) = made.map(Arc::new) else { continue };
                for ip in &endpoint.addresses {
                    into.insert(SocketAddr::new(*ip, target), Arc::clone(&made));
                }
            }
        }
    }

    /// A gateway's address; `None` when nothing is ready behind the gateway.
    fn gateway_endpoint(
        &self,
        slice: &Slice,
        gateway: &GatewaySlice,
        port: u16,
        opaque: bool,
    ) -> Option<Endpoint> {
        let weight = match gateway.ready_endpoints {
            None => WEIGHT,
            Some(0) => return None,
            Some(ready) => {
                let share = u64::from(ready) * u64::from(WEIGHT) / slice.ready().max(1) as u64;
                u32::try_from(share.max(1)).unwrap_or(u32::MAX)
            }
        };
        let mut labels = BTreeMap::new();
        if !gateway.cluster.is_empty() {
            labels.insert("target_cluster".to_owned(), gateway.cluster.clone());
        }
        let mut name = gateway.remote_name.split('.');
        if let (Some(service), Some(namespace)) = (name.next(), name.next()) {
            labels.insert("target_service".to_owned(), service.to_owned());
            labels.insert("target_service_namespace".to_owned(), namespace.to_owned());
        }
        Some(Endpoint {
            weight,
            labels,
            identity: Some(gateway.identity.clone()),
            hint: if opaque { Hint::Opaque } else { Hint::H2 },
            transport_port: None,
            authority_override: Some(format!("{}:{port}", gateway.remote_name)),
            pod: None,
            node: None,
            for_zones: Vec::new(),
        })
    }

    /// An endpoint of a slice; `None` while its pod is not known, since it might be meshed and must not be sent
    /// plaintext in the meantime.
    fn slice_endpoint(&self, endpoint: &SliceEndpoint, namespace: &str, port: u16) -> Option<Endpoint> {
        let mut made = match &endpoint.pod {
            Some(key) => self.pod_endpoint(key, self.pods.get(key)?, port),
            None => bare_endpoint(namespace),
        };
        made.node.clone_from(&endpoint.node);
        made.for_zones.clone_from(&endpoint.for_zones);
        if let Some(zone) = &endpoint.zone {
            made.labels.insert("zone".to_owned(), zone.clone());
        }
        Some(made)
    }

    fn pod_endpoint(&self, key: &Key, pod: &Pod, port: u16) -> Endpoint {
        let mut made = bare_endpoint(&key.namespace);
        made.labels.extend(pod.labels.clone());
        made.labels.insert("pod".to_owned(), key.name.clone());
        made.labels.insert("serviceaccount".to_owned(), pod.service_account.clone());
        made.pod = Some(key.clone());
        let Some(proxy) = &pod.proxy else { return made };
        made.labels.insert("control_plane_ns".to_owned(), proxy.control_plane_namespace.clone());
        if proxy.skip_inbound.contains(port) {
            return made;
        }
        let settings = &self.settings;
        made.hint = match (pod.is_opaque(port, &settings.default_opaque), settings.h2_upgrade) {
            (true, _) => Hint::Opaque,
            (false, true) => Hint::H2,
            (false, false) => Hint::Meshed,
        };
        made.transport_port = Some(proxy.inbound_port).filter(|_| !proxy.own_ports.contains(&port));
        if proxy.control_plane_namespace == settings.control_plane_namespace {
            made.identity = Some(format!(
                "{}.{}.serviceaccount.identity.{}.{}",
                pod.service_account, key.namespace, settings.control_plane_namespace, settings.trust_domain
            ));
        }
        made
    }

    /// What an address is: a Service's cluster IP, a pod, or nothing known.
    pub fn profile_of(&self, addr: SocketAddr) -> ProfileView {
        if let Some(key) = self.services_by_ip.get(&addr.ip()) {
            return self.profile_of_service(key, addr.port());
        }
        let pods = self.pods_by_ip.get(&addr.ip()).into_iter().flatten();
        let Some((key, pod)) = pods.filter_map(|k| Some((k, self.pods.get(k)?))).next() else {
            return ProfileView::Unknown { opaque: self.settings.default_opaque.contains(addr.port(), None) };
        };
        let opaque = pod.is_opaque(addr.port(), &self.settings.default_opaque);
        ProfileView::Pod { addr, endpoint: Arc::new(self.pod_endpoint(key, pod, addr.port())), opaque }
    }

    /// What a port of a Service is.
    pub fn profile_of_service(&self, key: &Key, port: u16) -> ProfileView {
        match self.services.get(key) {
            None => ProfileView::NoService,
            Some(service) if service.port(port).is_none() => ProfileView::UndefinedPort,
            Some(service) => ProfileView::Service {
                service: key.clone(),
                port,
                name: format!("{}.{}.svc.{}", key.name, key.namespace, self.settings.cluster_domain),
                opaque: service.is_opaque(port, &self.settings.default_opaque),
            },
        }
    }
}

fn bare_endpoint(namespace: &str) -> Endpoint {
    Endpoint {
        weight: WEIGHT,
        labels: BTreeMap::from([("namespace".to_owned(), namespace.to_owned())]),
        identity: None,
        hint: Hint::Unknown,
        transport_port: None,
        authority_override: None,
        pod: None,
        node: None,
        for_zones: Vec::new(),
    }
}
