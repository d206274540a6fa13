//! Identity and policy services, as small as the wire API lets them be.

use crate::destinations::Destinations;
use futures::stream::BoxStream;
use mesh_api::destination::destination_server::DestinationServer;
use mesh_api::identity::identity_server::{Identity as IdentityService, IdentityServer};
use mesh_api::identity::{CertifyRequest, CertifyResponse};
use mesh_api::inbound::inbound_server_policies_server::{InboundServerPolicies, InboundServerPoliciesServer};
use mesh_api::inbound::{self as api, PortSpec, Server};
use mesh_api::outbound::outbound_policies_server::OutboundPoliciesServer;
use mesh_api::tonic::{self, Request, Response, Status};
use mesh_api::trust::trust_server::{Trust, TrustServer};
use mesh_api::trust::{Bundle, Held};
use mesh_tls::Authority;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Mutex, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{TcpListenerStream, WatchStream};

/// Signs for whoever shows the token `valid`.
pub(crate) struct Signer {
    pub(crate) issuer: Arc<Authority>,
    pub(crate) lifetime: Duration,
}

#[tonic::async_trait]
impl IdentityService for Signer {
    async fn certify(&self, request: Request<CertifyRequest>) -> Result<Response<CertifyResponse>, Status> {
        let CertifyRequest { identity, token, certificate_signing_request } = request.into_inner();
        if token != b"valid" {
            return Err(Status::unauthenticated("token is not valid"));
        }
        let name = identity.parse().map_err(|_| Status::invalid_argument("identity"))?;
        let leaf = self
            .issuer
            .sign_csr(&certificate_signing_request, &name, self.lifetime, Duration::from_secs(20))
            .map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(CertifyResponse {
            leaf_certificate: leaf.leaf_der,
            intermediate_certificates: leaf.intermediates_der,
            valid_until: Some(leaf.not_after.into()),
        }))
    }
}

/// Tells every proxy the bundle set, and notes what proxies say they hold.
#[derive(Clone, Default)]
pub(crate) struct TrustService {
    pub(crate) bundle: watch::Sender<String>,
    pub(crate) held: watch::Sender<Held>,
}

#[tonic::async_trait]
impl Trust for TrustService {
    type WatchStream = BoxStream<'static, Result<Bundle, Status>>;

    async fn watch(
        &self,
        said: Request<tonic::Streaming<Held>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (mut said, held) = (said.into_inner(), self.held.clone());
        tokio::spawn(async move {
            while let Ok(Some(message)) = said.message().await {
                held.send_replace(message);
            }
        });
        let bundles = WatchStream::new(self.bundle.subscribe()).filter(|pem| !pem.is_empty());
        Ok(Response::new(Box::pin(bundles.map(|pem| Ok(Bundle { pem, sha256: String::new() })))))
    }
}

/// Says of every port what was set for it, and NOT_FOUND until then.
#[derive(Clone, Default)]
pub(crate) struct PolicyService(Arc<Mutex<HashMap<u32, watch::Sender<Option<Server>>>>>);

impl PolicyService {
    pub(crate) async fn set(&self, port: u16, server: Server) {
        self.port(u32::from(port)).await.send_replace(Some(server));
    }

    async fn port(&self, port: u32) -> watch::Sender<Option<Server>> {
        self.0.lock().await.entry(port).or_insert_with(|| watch::Sender::new(None)).clone()
    }
}

#[tonic::async_trait]
impl InboundServerPolicies for PolicyService {
    type WatchPortStream = BoxStream<'static, Result<Server, Status>>;

    async fn get_port(&self, _: Request<PortSpec>) -> Result<Response<Server>, Status> {
        Err(Status::unimplemented("proxies watch"))
    }

    async fn watch_port(&self, spec: Request<PortSpec>) -> Result<Response<Self::WatchPortStream>, Status> {
        let sender = self.port(spec.into_inner().port).await;
        let updates = WatchStream::new(sender.subscribe()).filter_map(|server| server.map(Ok));
        Ok(Response::new(Box::pin(updates)))
    }
}

/// Serves all on one loopback port.
pub(crate) async fn serve(
    signer: Signer,
    trust: TrustService,
    policy: PolicyService,
    destinations: Destinations,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(IdentityServer::new(signer))
            .add_service(TrustServer::new(trust))
            .add_service(InboundServerPoliciesServer::new(policy))
            .add_service(OutboundPoliciesServer::new(destinations.clone()))
            .add_service(DestinationServer::new(destinations))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    addr
}

/// A server that lets clients in as `authz` says.
pub(crate) fn server(protocol: api::proxy_protocol::Kind, authz: Vec<api::Authz>) -> Server {
    let label = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    Server {
        protocol: Some(api::ProxyProtocol { kind: Some(protocol) }),
        server_ips: Vec::new(),
        authorizations: authz,
        labels: HashMap::from([label("group", ""), label("kind", "default"), label("name", "test")]),
    }
}

/// HTTP or opaque, found out.
pub(crate) fn detect(routes: Vec<api::HttpRoute>) -> api::proxy_protocol::Kind {
    api::proxy_protocol::Kind::Detect(api::proxy_protocol::Detect {
        timeout: Some(Duration::from_secs(5).try_into().unwrap()),
        http_routes: routes,
        http_local_rate_limit: None,
    })
}

/// Lets everyone in from anywhere.
pub(crate) fn anyone() -> api::Authz {
    authz(api::authn::Permit::Unauthenticated(api::authn::PermitUnauthenticated {}))
}

/// Lets mesh clients in that have one of these identities.
pub(crate) fn identities(names: &[&str]) -> api::Authz {
    use api::authn::permit_mesh_tls::{Clients, PermitClientIdentities};
    let identities = names.iter().map(|name| api::Identity { name: (*name).to_owned() }).collect();
    let clients = Clients::Identities(PermitClientIdentities { identities, suffixes: Vec::new() });
    authz(api::authn::Permit::MeshTls(api::authn::PermitMeshTls { clients: Some(clients) }))
}

fn authz(permit: api::authn::Permit) -> api::Authz {
    let net = |ip: std::net::IpAddr| api::Network {
        net: Some(mesh_api::net::IpNetwork { ip: Some(ip.into()), prefix_len: 0 }),
        except: Vec::new(),
    };
    api::Authz {
        networks: vec![net([0, 0, 0, 0].into()), net([0u16; 8].into())],
        authentication: Some(api::Authn { permit: Some(permit) }),
        labels: HashMap::new(),
        metadata: None,
    }
}
