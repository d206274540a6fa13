//! Backends by what describes them: one stream of endpoints for each, shared by everything that refers to it.

use crate::config::Config;
use crate::control::{BACKOFF, ControlChannel};
use crate::outbound::endpoint::{
    Ailing, Backend, Endpoint, EndpointSet, FlowControl, Health, Hint, Known, Members, Setup, Transport,
};
use crate::outbound::policy::sorted;
use ahash::{AHashMap, AHashSet};
use mesh_api::destination::destination_client::DestinationClient;
use mesh_api::destination::{
    GetDestination, Update, WeightedAddr, WeightedAddrSet, protocol_hint, tls_identity, update,
};
use mesh_api::tonic::{Code, Status};
use mesh_metrics::Labels;
use mesh_types::{Authority, Identity};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{sleep, timeout, timeout_at};

/// All backends in use. Clones share them.
#[derive(Clone)]
pub struct Backends(Arc<Inner>);

struct Inner {
    config: Arc<Config>,
    client: DestinationClient<ControlChannel>,
    control: Handle,
    known: Mutex<AHashMap<String, Weak<Backend>>>,
}

impl Backends {
    /// Asks the destination service behind `client`, on the control thread.
    pub(super) fn new(
        config: Arc<Config>,
        client: DestinationClient<ControlChannel>,
        control: Handle,
    ) -> Self {
        Self(Arc::new(Inner { config, client, control, known: Mutex::default() }))
    }

    /// The backend whose endpoints the destination service knows by `path`; `labels` are what metrics say of it.
    pub fn discovered(&self, path: &str, labels: &Labels, setup: Setup) -> Arc<Backend> {
        let setup = self.with_limits(setup);
        self.get(format!("dst {path} {setup:?}"), |inner| {
            let now = Instant::now();
            let (sender, receiver) = watch::channel(EndpointSet::new(Known::Pending, Vec::new()));
            let name: Arc<str> = path.into();
            let ailing = Arc::new(Ailing::default());
            let backend =
                Backend::new(Arc::clone(&name), labels.clone(), setup, receiver, Arc::clone(&ailing), now);
            let follower = Follower { path: name, setup, config: Arc::clone(&inner.config), ailing, sender };
            inner.control.spawn(follower.run(inner.client.clone(), Arc::downgrade(&backend)));
            backend
        })
    }

    /// The backend that is one endpoint; `None` when the endpoint cannot be understood.
    pub fn forward(&self, addr: &WeightedAddr, labels: &Labels, setup: Setup) -> Option<Arc<Backend>> {
        let (now, setup) = (Instant::now(), self.with_limits(setup));
        let ailing = Arc::new(Ailing::default());
        let health = Health::new(setup.accrual, None, Arc::clone(&ailing), now);
        let endpoint = endpoint(addr, &HashMap::new(), "", health)?;
        let key =
            format!("forward {} {:?} {:?} {setup:?}", endpoint.addr, endpoint.transport, endpoint.labels);
        Some(self.get(key, |_| {
            let name: Arc<str> = endpoint.addr.to_string().into();
            let set = EndpointSet::new(Known::Present, vec![Arc::new(endpoint)]);
            // Nothing changes any more, so nobody needs the sender.
            Backend::new(name, labels.clone(), setup, watch::channel(set).1, ailing, now)
        }))
    }

    /// What the proxy's own configuration adds to what the control plane says.
    fn with_limits(&self, setup: Setup) -> Setup {
        let outbound = &self.0.config.outbound;
        let (slow_start, max_in_flight) = (outbound.slow_start, outbound.max_in_flight_per_endpoint);
        Setup { slow_start, max_in_flight, ..setup }
    }

    fn get(&self, key: String, make: impl FnOnce(&Inner) -> Arc<Backend>) -> Arc<Backend> {
        let mut known = self.0.known.lock();
        if let Some(found) = known.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        known.retain(|_, backend| backend.strong_count() > 0);
        let backend = make(&self.0);
        known.insert(key, Arc::downgrade(&backend));
        backend
    }
}

/// Follows the endpoints of one backend until nobody refers to it.
struct Follower {
    path: Arc<str>,
    setup: Setup,
    config: Arc<Config>,
    ailing: Arc<Ailing>,
    sender: watch::Sender<Arc<EndpointSet>>,
}

impl Follower {
    async fn run(self, client: DestinationClient<ControlChannel>, backend: Weak<Backend>) {
        let mut members = Members::default();
        let follow = async {
            let mut failures = 0u32;
            loop {
                let started = Instant::now();
                let result = self.read(client.clone(), &mut members, &backend).await;
                failures = if started.elapsed() > super::HEALTHY { 0 } else { failures + 1 };
                if let Err(status) = result {
                    tracing::debug!(path = %self.path, code = ?status.code(), message = status.message(), "endpoints stream ended");
                    if matches!(status.code(), Code::NotFound | Code::InvalidArgument) {
                        members.clear();
                        self.publish(&members, Known::Absent, &backend);
                    }
                }
                sleep(BACKOFF.delay(failures.min(16), rand::random())).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = self.sender.closed() => tracing::debug!(path = %self.path, "backend is not used any more"),
        }
    }

    async fn read(
        &self,
        mut client: DestinationClient<ControlChannel>,
        members: &mut Members,
        backend: &Weak<Backend>,
    ) -> Result<(), Status> {
        let limits = self.config.control_stream;
        let end = tokio::time::Instant::now() + limits.lifetime;
        let request = GetDestination {
            scheme: "k8s".to_owned(),
            path: self.path.to_string(),
            context_token: self.config.destination.context.clone(),
        };
        let first = async {
            let mut stream = client.get(request).await?.into_inner();
            let message = stream.message().await?;
            Ok::<_, Status>((stream, message))
        };
        let late = |_| Status::deadline_exceeded("no endpoints in time");
        let (mut stream, mut next) = timeout(limits.initial_timeout, first).await.map_err(late)??;
        let mut fresh = true;
        while let Some(Update { update: Some(update) }) = next {
            self.apply(update, std::mem::take(&mut fresh), members, backend);
            next = match timeout_at(end, stream.message()).await {
                Ok(message) => message?,
                // Reopened, so that control-plane replicas share the load.
                Err(_) => return Ok(()),
            };
        }
        Ok(())
    }

    /// Applies an update. The first one of a stream replaces all that an earlier stream has said.
    fn apply(&self, update: update::Update, fresh: bool, members: &mut Members, backend: &Weak<Backend>) {
        let mut known = Known::Present;
        match update {
            update::Update::Add(set) => {
                // What comes while others are in use is a newcomer.
                let added = self.endpoints(&set, !members.is_empty());
                if fresh {
                    let kept: AHashSet<_> = added.iter().map(|e| e.addr).collect();
                    members.retain(|addr| kept.contains(addr));
                }
                added.into_iter().for_each(|endpoint| members.put(endpoint));
            }
            update::Update::Remove(set) => {
                let addrs = set.addrs.into_iter().filter_map(|addr| SocketAddr::try_from(addr).ok());
                addrs.for_each(|addr| members.remove(addr));
            }
            update::Update::NoEndpoints(none) => {
                members.clear();
                known = if none.exists { Known::Present } else { Known::Absent };
            }
        }
        self.publish(members, known, backend);
    }

    fn publish(&self, members: &Members, known: Known, backend: &Weak<Backend>) {
        let set = members.set(known);
        tracing::debug!(path = %self.path, endpoints = set.endpoints.len(), ?known, "endpoints");
        self.sender.send_replace(set);
        if let Some(backend) = backend.upgrade() {
            backend.recovered.notify_waiters();
            // The standing as a tier runs from now, not from the next request.
            backend.standing(Instant::now());
        }
    }

    fn endpoints(&self, set: &WeightedAddrSet, newcomers: bool) -> Vec<Endpoint> {
        let now = Instant::now();
        let one = |addr| {
            let health =
                Health::new(self.setup.accrual, newcomers.then_some(now), Arc::clone(&self.ailing), now);
            endpoint(addr, &set.metric_labels, &self.path, health)
        };
        set.addrs.iter().filter_map(one).collect()
    }
}

/// An endpoint as discovery describes it; `None` without a usable address or identity, which is logged.
fn endpoint(
    addr: &WeightedAddr,
    set_labels: &HashMap<String, String>,
    path: &str,
    health: Health,
) -> Option<Endpoint> {
    let at = SocketAddr::try_from(addr.addr?).ok()?;
    let identity = match addr.tls_identity.as_ref().and_then(|tls| tls.strategy.as_ref()) {
        None => None,
        Some(tls_identity::Strategy::DnsLikeIdentity(dns)) => match dns.name.parse::<Identity>() {
            Ok(identity) => Some(identity),
            Err(error) => {
                tracing::error!(endpoint = %at, %error, "endpoint has an invalid identity, leaving it out");
                return None;
            }
        },
        Some(tls_identity::Strategy::UriLikeIdentity(uri)) => {
            tracing::error!(endpoint = %at, uri = uri.uri, "endpoints with URI identities are not supported, leaving it out");
            return None;
        }
    };
    let server_name = identity.as_ref().map(|id| mesh_tls::server_name(id.as_str())).transpose().ok()?;
    let hint = addr.protocol_hint.as_ref();
    let inbound = hint.and_then(|h| h.opaque_transport).and_then(|t| u16::try_from(t.inbound_port).ok());
    let inbound = inbound.filter(|port| *port > 0);
    let named = addr.authority_override.as_ref().map(|o| o.authority_override.as_str());
    let named = named.and_then(|name| Authority::parse(name, at.port()).ok());
    let direct = identity.is_some() && (inbound.is_some() || named.is_some());
    let header = direct.then(|| match &named {
        Some(name) => (name.port, Some(name.host.clone())),
        None => (at.port(), None),
    });
    let transport =
        Transport {
            dial: SocketAddr::new(at.ip(), inbound.filter(|_| direct).unwrap_or(at.port())),
            tls: identity.clone().zip(server_name),
            header,
            hint: match hint.and_then(|h| h.protocol.as_ref()) {
                // What proxies do between themselves they do over TLS only.
                Some(protocol_hint::Protocol::H2(_)) if identity.is_some() => Hint::Http2,
                None | Some(protocol_hint::Protocol::H2(_)) => Hint::Unknown,
                Some(protocol_hint::Protocol::Opaque(_)) => Hint::Opaque,
            },
            authority: named.and_then(|name| name.to_string().parse().ok()),
            keep_alive: addr.http2.as_ref().and_then(|h| h.keep_alive.as_ref()).and_then(|k| {
                Some((k.interval?.try_into().ok()?, k.timeout?.try_into().ok()?, k.while_idle))
            }),
            flow_control: addr.http2.as_ref().and_then(|h| h.flow_control.as_ref()).map(|f| FlowControl {
                stream_window: f.initial_stream_window_size,
                connection_window: f.initial_connection_window_size,
                adaptive: f.adaptive_flow_control,
            }),
        };
    let labels = labels(at, &transport, path, set_labels, &addr.metric_labels);
    Some(Endpoint { addr: at, transport, weight: addr.weight, labels, health: Arc::new(health) })
}

/// The labels Linkerd's proxy gives the metrics of an endpoint.
fn labels(
    at: SocketAddr,
    transport: &Transport,
    path: &str,
    set: &HashMap<String, String>,
    own: &HashMap<String, String>,
) -> Labels {
    let mut labels = Labels::from_iter([("direction", "outbound")]);
    if !path.is_empty() {
        labels = labels.with("authority", path.to_owned());
    }
    labels = labels
        .with("target_addr", at.to_string())
        .with("target_ip", at.ip().to_string())
        .with("target_port", at.port().to_string());
    labels = match &transport.tls {
        Some((identity, _)) => labels.with("tls", "true").with("server_id", identity.to_string()),
        None => labels.with("tls", "no_identity").with("no_tls_reason", "not_provided_by_service_discovery"),
    };
    let dst = sorted(set).into_iter().chain(sorted(own));
    labels.extend(dst.map(|(name, value)| (format!("dst_{name}"), value.clone())))
}

#[cfg(test)]
mod tests;
