//! The live credentials of a mesh proxy: a trust bundle, a key and a leaf certificate, swapped while connections
//! run. Configurations are rebuilt at each change and read without a lock; session tickets die with them.

use crate::bundle::TrustBundle;
use crate::sessions::Sessions;
use crate::stream::{Session, TlsStream};
use crate::{Error, provider};
use arc_swap::ArcSwap;
use mesh_types::{Identity, headers};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::CryptoProvider;
use rustls::server::{ServerSessionMemoryCache, UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{CipherSuite, ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

/// Sessions that a server remembers, for all its clients together: about 2 KiB each. The oldest are forgotten first.
const SERVER_SESSIONS: usize = 1024;
/// Tickets for each connection. A ticket is used once and brings the next one, so that one is enough.
const TICKETS: usize = 1;

/// What a client offers by ALPN, and what is agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// Nothing: the protocol inside is known or detected.
    None,
    /// `transport.l5d.io/v1`: the connection begins with a transport header.
    Transport,
    /// [`headers::TUNNEL_ALPN`]: the connection carries one stream after the other. A client offers a transport header too.
    Tunnel,
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
    client_tunnel: Arc<ClientConfig>,
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

    /// A client that presents the certificate, and resumes no sessions.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] before the first certificate.
    pub fn connector(&self, alpn: Alpn) -> Result<Connector, Error> {
        let state = self.state.load();
        Ok(Connector { config: Arc::clone(state.client(alpn)?), generation: state.generation })
    }

    /// A client that presents the certificate, and resumes the sessions of one place. These must always be used with the
    /// same `alpn`.
    ///
    /// # Errors
    /// [`Error::NoCertificate`] before the first certificate.
    pub fn connector_to(&self, sessions: &Sessions, alpn: Alpn) -> Result<Connector, Error> {
        let state = self.state.load();
        let config = sessions.config(state.generation, state.client(alpn)?);
        Ok(Connector { config, generation: state.generation })
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
    pub fn acceptor(&self) -> Result<Acceptor, Error> {
        let state = self.state.load();
        let ready = state.ready.as_ref().ok_or(Error::NoCertificate)?;
        Ok(Acceptor { config: Arc::clone(&ready.server), generation: state.generation })
    }
}

/// Opens connections with the credentials that were in force when it was made.
pub struct Connector {
    pub(crate) config: Arc<ClientConfig>,
    generation: u64,
}

impl Connector {
    /// Shakes hands with a server, which must prove that it is `name`. Our last words go with the first bytes that are sent,
    /// or when something is read.
    ///
    /// # Errors
    /// Of the connection; [`io::ErrorKind::InvalidData`] when the server is somebody else.
    pub async fn connect<IO>(&self, name: ServerName<'static>, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connection =
            UnbufferedClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        TlsStream::handshake(io, Session::Client(Box::new(connection)), self.generation).await
    }
}

/// Takes connections with the credentials that were in force when it was made.
pub struct Acceptor {
    config: Arc<ServerConfig>,
    generation: u64,
}

impl Acceptor {
    /// Shakes hands with a client.
    ///
    /// # Errors
    /// Of the connection; [`io::ErrorKind::InvalidData`] when the client's certificate does not verify.
    pub async fn accept<IO>(&self, io: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connection =
            UnbufferedServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
        TlsStream::handshake(io, Session::Server(Box::new(connection)), self.generation).await
    }
}

/// The provider of mesh connections: AES with 128 bits is first where the processor has it in hardware. It needs fewer rounds
/// than with 256, and its key schedule hashes with SHA-256, which processors have too; ChaCha20 is for those that have neither.
pub(crate) fn mesh_provider() -> Arc<CryptoProvider> {
    let mut provider = CryptoProvider::clone(&provider());
    let first = if has_aes() {
        CipherSuite::TLS13_AES_128_GCM_SHA256
    } else {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
    };
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != first);
    Arc::new(provider)
}

fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

impl State {
    fn build(bundle: TrustBundle, leaf: Option<Leaf>, generation: u64) -> Result<Self, Error> {
        let client = |leaf: Option<&Leaf>, alpn: &[&[u8]]| -> Result<Arc<ClientConfig>, Error> {
            let builder = ClientConfig::builder_with_provider(mesh_provider())
                .with_protocol_versions(&[&TLS13])?
                .with_root_certificates(bundle.roots());
            let mut config = match leaf {
                None => builder.with_no_client_auth(),
                Some(leaf) => builder.with_client_auth_cert(leaf.chain.clone(), leaf.private_key())?,
            };
            config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
            config.resumption = Resumption::disabled();
            Ok(Arc::new(config))
        };
        let anonymous = client(None, &[])?;
        let ready = match &leaf {
            None => None,
            Some(leaf) => Some(Configs {
                client: client(Some(leaf), &[])?,
                client_transport: client(Some(leaf), &[headers::TRANSPORT_ALPN])?,
                client_tunnel: client(Some(leaf), &[headers::TUNNEL_ALPN, headers::TRANSPORT_ALPN])?,
                server: server_config(&bundle, leaf)?,
            }),
        };
        Ok(Self { bundle, leaf, anonymous, ready, generation })
    }

    fn client(&self, alpn: Alpn) -> Result<&Arc<ClientConfig>, Error> {
        let ready = self.ready.as_ref().ok_or(Error::NoCertificate)?;
        Ok(match alpn {
            Alpn::None => &ready.client,
            Alpn::Transport => &ready.client_transport,
            Alpn::Tunnel => &ready.client_tunnel,
        })
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
    let mut config = ServerConfig::builder_with_provider(mesh_provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(leaf.chain.clone(), leaf.private_key())?;
    // The server's order decides.
    config.alpn_protocols = vec![headers::TUNNEL_ALPN.to_vec(), headers::TRANSPORT_ALPN.to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SERVER_SESSIONS);
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
