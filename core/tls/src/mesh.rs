//! The live credentials of a mesh proxy: a trust bundle, a key and a leaf certificate, swapped while connections
//! run. Configurations are rebuilt at each change and read without a lock; session tickets die with them.

use crate::bundle::TrustBundle;
use crate::{Error, provider};
use arc_swap::ArcSwap;
use mesh_types::{Identity, headers};
use rustls::client::Resumption;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ServerConfig, ServerConnection};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::time::SystemTime;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// What a client offers by ALPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// Nothing: the protocol inside is known or detected.
    None,
    /// `transport.l5d.io/v1`: the connection begins with a transport header.
    Transport,
}

/// A key and the request to send to the identity service for it.
pub struct CertificateRequest {
    key: PrivatePkcs8KeyDer<'static>,
    /// The request, DER.
    pub csr_der: Vec<u8>,
}

/// The credentials of one proxy. Cheap to clone; every clone sees every change.
#[derive(Clone)]
pub struct MeshTls {
    identity: Identity,
    state: Arc<ArcSwap<State>>,
}

struct State {
    bundle: TrustBundle,
    leaf: Option<Leaf>,
    /// Without a client certificate: for the identity service before the first certificate.
    anonymous: Arc<ClientConfig>,
    ready: Option<Configs>,
    generation: u64,
}

struct Leaf {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
    not_after: SystemTime,
}

struct Configs {
    client: Arc<ClientConfig>,
    client_transport: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl MeshTls {
    /// Credentials that trust `bundle` and have no certificate yet.
    ///
    /// # Errors
    /// [`Error::Tls`].
    pub fn new(identity: Identity, bundle: TrustBundle) -> Result<Self, Error> {
        let state = State::build(bundle, None, 0)?;
        Ok(Self { identity, state: Arc::new(ArcSwap::from_pointee(state)) })
    }

    /// The name these credentials are for.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The bundle in force.
    pub fn bundle(&self) -> TrustBundle {
        self.state.load().bundle.clone()
    }

    /// Rises by one at every change of bundle or certificate; pooled connections of an older generation still work
    /// but new ones are made with the newer.
    pub fn generation(&self) -> u64 {
        self.state.load().generation
    }

    /// End of validity of the certificate, if there is one.
    pub fn not_after(&self) -> Option<SystemTime> {
        self.state.load().leaf.as_ref().map(|l| l.not_after)
    }

    /// Whether a certificate is held.
    pub fn is_ready(&self) -> bool {
        self.state.load().ready.is_some()
    }

    /// A fresh key with its request.
    ///
    /// # Errors
    /// [`Error::Issue`].
    pub fn request(&self) -> Result<CertificateRequest, Error> {
        let (key, csr_der) = crate::authority::generate_csr(&self.identity)?;
        Ok(CertificateRequest { key: key.into(), csr_der })
    }

    /// Takes the certificate that answers `request`.
    ///
    /// # Errors
    /// When the certificate does not fit the key, or cannot be parsed; the old one stays in force.
    pub fn set_leaf(
        &self,
        request: CertificateRequest,
        leaf_der: Vec<u8>,
        intermediates_der: Vec<Vec<u8>>,
        not_after: SystemTime,
    ) -> Result<(), Error> {
        let mut chain = vec![CertificateDer::from(leaf_der)];
        chain.extend(intermediates_der.into_iter().map(CertificateDer::from));
        let leaf = Leaf { chain, key: request.key, not_after };
        let old = self.state.load();
        self.state.store(Arc::new(State::build(old.bundle.clone(), Some(leaf), old.generation + 1)?));
        Ok(())
    }

    /// Replaces the trust bundle, keeping the certificate. Does nothing when it is the same.
    ///
    /// # Errors
    /// [`Error::Tls`]; the old bundle stays in force.
    pub fn set_bundle(&self, bundle: TrustBundle) -> Result<(), Error> {
        let old = self.state.load();
        if old.bundle == bundle {
            return Ok(());
        }
        let leaf = old.leaf.as_ref().map(Leaf::duplicate);
        self.state.store(Arc::new(State::build(bundle, leaf, old.generation + 1)?));
        Ok(())
    }

    /// A client that presents the certificate.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] before the first certificate.
    pub fn connector(&self, alpn: Alpn) -> Result<TlsConnector, Error> {
        let state = self.state.load();
        let ready = state.ready.as_ref().ok_or(Error::NoCertificate)?;
        let config = match alpn {
            Alpn::None => &ready.client,
            Alpn::Transport => &ready.client_transport,
        };
        Ok(TlsConnector::from(Arc::clone(config)))
    }

    /// A client that presents the certificate if there is one, for control-plane connections.
    pub fn control_connector(&self) -> TlsConnector {
        let state = self.state.load();
        let config = state.ready.as_ref().map_or(&state.anonymous, |r| &r.client);
        TlsConnector::from(Arc::clone(config))
    }

    /// A server that presents the certificate and verifies one if the client has it.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] before the first certificate.
    pub fn acceptor(&self) -> Result<TlsAcceptor, Error> {
        let state = self.state.load();
        let ready = state.ready.as_ref().ok_or(Error::NoCertificate)?;
        Ok(TlsAcceptor::from(Arc::clone(&ready.server)))
    }
}

impl State {
    fn build(bundle: TrustBundle, leaf: Option<Leaf>, generation: u64) -> Result<Self, Error> {
        let client = |leaf: Option<&Leaf>, alpn: &[&[u8]]| -> Result<Arc<ClientConfig>, Error> {
            let builder = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])?
                .with_root_certificates(bundle.roots());
            let mut config = match leaf {
                None => builder.with_no_client_auth(),
                Some(leaf) => builder.with_client_auth_cert(leaf.chain.clone(), leaf.private_key())?,
            };
            config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
            config.resumption = Resumption::in_memory_sessions(256);
            Ok(Arc::new(config))
        };
        let anonymous = client(None, &[])?;
        let ready = match &leaf {
            None => None,
            Some(leaf) => Some(Configs {
                client: client(Some(leaf), &[])?,
                client_transport: client(Some(leaf), &[headers::TRANSPORT_ALPN])?,
                server: server_config(&bundle, leaf)?,
            }),
        };
        Ok(Self { bundle, leaf, anonymous, ready, generation })
    }
}

impl Leaf {
    fn duplicate(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key(), not_after: self.not_after }
    }

    fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }
}

fn server_config(bundle: &TrustBundle, leaf: &Leaf) -> Result<Arc<ServerConfig>, Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(bundle.roots(), provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| Error::Certificate(e.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(leaf.chain.clone(), leaf.private_key())?;
    config.alpn_protocols = vec![headers::TRANSPORT_ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// The verified identity a client presented, if it presented a certificate that names exactly one.
pub fn client_identity(connection: &ServerConnection) -> Option<Identity> {
    let leaf = connection.peer_certificates()?.first()?;
    let end_entity = webpki::EndEntityCert::try_from(leaf).ok()?;
    let mut names = end_entity.valid_dns_names();
    let first = names.next()?;
    if names.next().is_some() {
        return None;
    }
    first.parse().ok()
}

/// Whether client and server agreed on a transport header.
pub fn negotiated_transport(connection: &ServerConnection) -> bool {
    connection.alpn_protocol() == Some(headers::TRANSPORT_ALPN)
}

/// What the leaf certificate of the other side says, on a client connection.
pub fn peer_info<IO>(stream: &tokio_rustls::client::TlsStream<IO>) -> Option<crate::CertificateInfo> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    crate::certificate_info(leaf).ok()
}

#[cfg(test)]
mod tests;
