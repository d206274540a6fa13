//! Ordinary HTTPS: the sandbox's API server, webhooks, and their clients.

use crate::bundle::TrustBundle;
use crate::pem::PemPair;
use crate::{Error, provider};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Who a client certificate speaks for, as Kubernetes reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The user.
    pub common_name: String,
    /// The groups.
    pub organizations: Vec<String>,
}

/// A TLS server. With `client_roots`, clients may present a certificate, which must then verify; without, none is
/// asked for. `alpn` lists protocols in order of preference.
///
/// # Errors
/// Unreadable PEM, or a key that does not fit its certificate.
pub fn server_acceptor(
    pair: &PemPair,
    client_roots: Option<&TrustBundle>,
    alpn: &[&[u8]],
) -> Result<TlsAcceptor, Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match client_roots {
        None => builder.with_no_client_auth(),
        Some(bundle) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(bundle.roots(), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|e| Error::Certificate(e.to_string()))?,
        ),
    };
    let mut config = builder.with_single_cert(pair.chain()?, pair.key()?)?;
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// A TLS client that trusts `bundle` and, if given, presents a certificate.
///
/// # Errors
/// Unreadable PEM, or a key that does not fit its certificate.
pub fn client_connector(
    bundle: &TrustBundle,
    client: Option<&PemPair>,
    alpn: &[&[u8]],
) -> Result<TlsConnector, Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(bundle.roots());
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(pair) => builder.with_client_auth_cert(pair.chain()?, pair.key()?)?,
    };
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A TLS client that accepts any server certificate. For kubelet-style HTTPS probes only, which by Kubernetes'
/// own definition do not verify.
///
/// # Errors
/// [`Error::Tls`].
pub fn client_connector_insecure(alpn: &[&[u8]]) -> Result<TlsConnector, Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAny))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The subject of the client certificate presented on a connection, if any.
pub fn peer_subject<IO>(stream: &TlsStream<IO>) -> Option<Subject> {
    let leaf = stream.get_ref().1.peer_certificates()?.first()?;
    let (_, cert) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let common_name = cert.subject().iter_common_name().next()?.as_str().ok()?.to_owned();
    let organizations =
        cert.subject().iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect();
    Some(Subject { common_name, organizations })
}

#[derive(Debug)]
struct AcceptAny;

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
