//! Starting a server, and what its owner can do with it.

use crate::admission::{ServiceResolver, Webhooks};
use crate::allocate::Allocator;
use crate::api::Api;
use crate::authn::{AUTHENTICATED, Tokens};
use crate::authz::Authorizer;
use crate::http::{Server, accept};
use crate::local::LocalClient;
use crate::record::Recorder;
use crate::resource::Registry;
use crate::store::Store;
use crate::streams::PodStreams;
use crate::user::UserInfo;
use crate::{collect, world};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::Ipv4Net;
use mesh_tls::{Authority, PemPair, TrustBundle};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// Life of the server's own authority and certificate: longer than any sandbox.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How to run a server.
pub struct Config {
    /// Name of the cluster, of its context in kubeconfigs.
    pub cluster_name: String,
    /// Sockets to serve HTTPS on.
    pub listeners: Vec<std::net::TcpListener>,
    /// More names for the server's certificate.
    pub san_dns: Vec<String>,
    /// More addresses for the server's certificate; those of the listeners are in it anyway.
    pub san_ips: Vec<IpAddr>,
    /// Network that Service addresses come from. Its first address is the API server's, its tenth DNS's.
    pub service_cidr: Ipv4Net,
    /// Domain of the cluster's names.
    pub cluster_domain: String,
    /// Where clients outside reach the server; stands in the `kubernetes` EndpointSlice. Empty: the listeners' addresses.
    pub advertised: Vec<SocketAddr>,
    /// Who serves logs, exec, attach and port-forward.
    pub pod_streams: Option<Arc<dyn PodStreams>>,
    /// Told of every request, to find out what clients ask.
    pub record: Option<Recorder>,
    /// How webhooks of Services are reached. Without one, their EndpointSlices say.
    pub resolve_service: Option<ServiceResolver>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster_name: "cluster".into(),
            listeners: Vec::new(),
            san_dns: Vec::new(),
            san_ips: Vec::new(),
            service_cidr: Ipv4Net::new_assert(Ipv4Addr::new(10, 43, 0, 0), 16),
            cluster_domain: "cluster.local".into(),
            advertised: Vec::new(),
            pod_streams: None,
            record: None,
            resolve_service: None,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener is unusable.
    #[error("a listener cannot be used: {0}")]
    Listener(#[from] std::io::Error),
    /// Keys or certificates could not be made.
    #[error("the server's certificates cannot be made: {0}")]
    Tls(#[from] mesh_tls::Error),
    /// The token key could not be made.
    #[error("the key for service account tokens cannot be made")]
    TokenKey,
}

/// The server.
pub struct ApiServer;

/// A running server. Dropping it does not stop it; [`Handle::shutdown`] does.
#[derive(Clone)]
pub struct Handle {
    api: Arc<Api>,
    authority: Arc<Authority>,
    cluster_name: Arc<str>,
    addresses: Arc<[SocketAddr]>,
    stop: CancellationToken,
    cut: watch::Sender<()>,
}

impl ApiServer {
    /// Starts a server on the current runtime; it serves when this returns.
    ///
    /// # Errors
    /// [`StartError`].
    #[allow(clippy::unused_async)] // tasks are spawned: the caller must be on a runtime
    pub async fn start(config: Config) -> Result<Handle, StartError> {
        mesh_tls::install_provider();
        let authority = Authority::new_root("kubernetes", CERTIFICATE_LIFETIME)?;
        let addresses =
            config.listeners.iter().map(std::net::TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        let allocator = Allocator::new(config.service_cidr);
        let pair = serving_pair(&authority, &config, &addresses, allocator.nth(1))?;
        let bundle = TrustBundle::from_pem(&authority.cert_pem())?;
        let tls = mesh_tls::server_acceptor(&pair, Some(&bundle), &[b"h2", b"http/1.1"])?;
        let (work, jobs) = mpsc::unbounded_channel();
        let api = Arc::new(Api {
            store: Arc::new(Store::default()),
            registry: Registry::new(),
            webhooks: Webhooks::new(config.resolve_service),
            allocator,
            tokens: Tokens::new(&config.cluster_domain).map_err(|_| StartError::TokenKey)?,
            authorizer: Authorizer::default(),
            ca_pem: authority.cert_pem(),
            work,
            generation: AtomicU64::new(1),
        });
        let advertised = if config.advertised.is_empty() { addresses.clone() } else { config.advertised };
        world::found(&api, &advertised);
        let (stop, cut) = (CancellationToken::new(), watch::Sender::new(()));
        tokio::spawn(stop.clone().run_until_cancelled_owned(collect::run(api.clone(), jobs)));
        let server = Arc::new(Server {
            api: api.clone(),
            pod_streams: config.pod_streams,
            record: config.record,
            advertised: advertised.first().map(ToString::to_string).unwrap_or_default(),
            stop: stop.clone(),
            cut: cut.clone(),
            documents: parking_lot::Mutex::default(),
        });
        for listener in config.listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(accept(server.clone(), listener, tls.clone()));
        }
        Ok(Handle {
            api,
            authority: Arc::new(authority),
            cluster_name: config.cluster_name.into(),
            addresses: addresses.into(),
            stop,
            cut,
        })
    }
}

fn serving_pair(
    authority: &Authority,
    config: &Config,
    addresses: &[SocketAddr],
    service_address: Ipv4Addr,
) -> Result<PemPair, mesh_tls::Error> {
    let qualified = format!("kubernetes.default.svc.{}", config.cluster_domain);
    let own = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", &qualified];
    let mut dns: Vec<&str> = own.into_iter().chain(config.san_dns.iter().map(String::as_str)).collect();
    dns.dedup();
    let mut ips: Vec<IpAddr> = vec![Ipv4Addr::LOCALHOST.into(), service_address.into()];
    ips.extend(addresses.iter().map(SocketAddr::ip));
    ips.extend(config.advertised.iter().map(SocketAddr::ip));
    ips.extend(&config.san_ips);
    ips.sort();
    ips.dedup();
    authority.issue_server(&dns, &ips, CERTIFICATE_LIFETIME)
}

impl Handle {
    /// The certificate clients verify the server by.
    pub fn ca_pem(&self) -> String {
        self.api.ca_pem.clone()
    }

    /// Addresses served.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A kubeconfig with one context, of the cluster's name, for somebody who may do everything.
    ///
    /// # Errors
    /// The certificate could not be issued.
    pub fn admin_kubeconfig(&self, server_url: &str) -> Result<String, StartError> {
        let pair = self.issue_client_cert("kubernetes-admin", &["system:masters"])?;
        let name = &self.cluster_name;
        let (certificate, key) = (STANDARD.encode(&pair.cert_pem), STANDARD.encode(&pair.key_pem));
        Ok(format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {name}\n{}contexts:\n- name: {name}\n  context:\n    \
             cluster: {name}\n    user: {name}-admin\nusers:\n- name: {name}-admin\n  user:\n    \
             client-certificate-data: {certificate}\n    client-key-data: {key}\n",
            self.clusters(name, server_url)
        ))
    }

    fn clusters(&self, name: &str, server_url: &str) -> String {
        let ca = STANDARD.encode(&self.api.ca_pem);
        format!(
            "clusters:\n- name: {name}\n  cluster:\n    server: {server_url}\n    certificate-authority-data: {ca}\n"
        )
    }

    /// Publishes, in `kube-public/cluster-info`, the URL at which other clusters reach this server.
    pub fn publish_cluster_info(&self, server_url: &str) {
        let kubeconfig = format!(
            "apiVersion: v1\nkind: Config\npreferences: {{}}\ncontexts: null\nusers: null\ncurrent-context: \"\"\n{}",
            self.clusters("\"\"", server_url)
        );
        world::publish_cluster_info(&self.api, &kubeconfig);
    }

    /// A client certificate for a user in groups.
    ///
    /// # Errors
    /// The certificate could not be issued.
    pub fn issue_client_cert(&self, user: &str, groups: &[&str]) -> Result<PemPair, StartError> {
        Ok(self.authority.issue_client(user, groups, CERTIFICATE_LIFETIME)?)
    }

    /// An in-process client that acts as this user.
    pub fn client(&self, user: &str, groups: &[&str]) -> LocalClient {
        let mut groups: Vec<String> = groups.iter().map(|g| (*g).to_owned()).collect();
        groups.push(AUTHENTICATED.to_owned());
        LocalClient::new(self.api.clone(), UserInfo { name: user.to_owned(), groups, ..UserInfo::default() })
    }

    /// Name of the resource of a kind, as `deployments.apps`, which in-process clients go by.
    pub fn resource_of(&self, api_version: &str, kind: &str) -> Option<String> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.api.registry.by_kind(group, kind).map(|def| def.qualified())
    }

    /// Forgets past changes, as etcd's compaction does: watches and lists from older revisions get 410.
    pub fn compact(&self) {
        self.api.store.compact(self.api.store.revision());
    }

    /// What it all works on.
    #[cfg(test)]
    pub(crate) fn api(&self) -> &Api {
        &self.api
    }

    /// Cuts, without grace, every connection that did not come over loopback, as an outage would. New ones are served.
    pub fn cut_connections(&self) {
        self.cut.send_replace(());
    }

    /// Stops serving. Watches end; connections get half a second.
    pub fn shutdown(&self) {
        self.stop.cancel();
    }
}
