//! Trust bundles: the set of root certificates a cluster believes in.

use crate::Error;
use crate::pem::{certificates, encode_certificate};
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Root certificates, parsed and ready to verify with. Cheap to clone.
#[derive(Clone)]
pub struct TrustBundle {
    certs: Arc<[CertificateDer<'static>]>,
    roots: Arc<RootCertStore>,
    sha256: Arc<str>,
}

/// What people want to know of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Common name, or the whole subject where there is none.
    pub subject: String,
    /// The issuer's common name, or its whole name.
    pub issuer: String,
    /// DNS subject alternative names.
    pub dns_names: Vec<String>,
    /// Start of validity.
    pub not_before: SystemTime,
    /// End of validity.
    pub not_after: SystemTime,
    /// Whether it may sign certificates.
    pub is_ca: bool,
    /// Public key algorithm as people call it: `ECDSA P-256`, `RSA 2048`, or the object identifier.
    pub key_algorithm: String,
}

impl TrustBundle {
    /// Parses one or more PEM certificates.
    ///
    /// # Errors
    /// [`Error::Pem`], [`Error::Missing`] for an empty text, [`Error::Certificate`] for one that cannot be a root.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        Self::from_certs(certificates("trust anchors", pem)?)
    }

    fn from_certs(mut certs: Vec<CertificateDer<'static>>) -> Result<Self, Error> {
        certs.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
        certs.dedup();
        let mut roots = RootCertStore::empty();
        for cert in &certs {
            roots.add(cert.clone()).map_err(|e| Error::Certificate(e.to_string()))?;
        }
        let mut all = Vec::new();
        for cert in &certs {
            all.extend_from_slice(cert);
        }
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &all);
        let mut sha256 = String::with_capacity(64);
        for byte in digest.as_ref() {
            // Writing to a String cannot fail.
            let _ = write!(sha256, "{byte:02x}");
        }
        Ok(Self { certs: certs.into(), roots: Arc::new(roots), sha256: sha256.into() })
    }

    /// The certificates as DER, sorted, without repeats.
    pub fn certs(&self) -> &[CertificateDer<'static>] {
        &self.certs
    }

    /// The bundle as PEM, in the order of [`certs`](Self::certs).
    pub fn to_pem(&self) -> String {
        self.certs.iter().map(|c| encode_certificate(c)).collect()
    }

    /// SHA-256 over the sorted DER certificates, in hex: equal for equal sets, whatever their order.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    pub(crate) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.certs == other.certs
    }
}

impl Eq for TrustBundle {}

impl std::fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TrustBundle").field("sha256", &self.sha256).field("roots", &self.certs.len()).finish()
    }
}

/// Describes the first certificate of a PEM text, or a DER certificate.
///
/// # Errors
/// [`Error::Pem`], [`Error::Missing`] or [`Error::Certificate`].
pub fn certificate_info(pem_or_der: &[u8]) -> Result<CertificateInfo, Error> {
    let owned;
    let der: &[u8] = match std::str::from_utf8(pem_or_der) {
        Ok(text) if text.contains("-----BEGIN") => {
            owned = certificates("certificate", text)?;
            // `certificates` never answers with an empty list.
            owned.first().map_or(&[], |c| c.as_ref())
        }
        _ => pem_or_der,
    };
    let (_, cert) =
        x509_parser::parse_x509_certificate(der).map_err(|e| Error::Certificate(e.to_string()))?;
    let san = cert.subject_alternative_name().ok().flatten();
    let names = san.iter().flat_map(|san| &san.value.general_names);
    let dns_names = names
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(dns) => Some((*dns).to_owned()),
            _ => None,
        })
        .collect();
    let is_ca = matches!(cert.basic_constraints(), Ok(Some(bc)) if bc.value.ca);
    Ok(CertificateInfo {
        subject: common_name(cert.subject()),
        issuer: common_name(cert.issuer()),
        dns_names,
        not_before: system_time(cert.validity().not_before.timestamp()),
        not_after: system_time(cert.validity().not_after.timestamp()),
        is_ca,
        key_algorithm: key_algorithm(&cert),
    })
}

fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let cn = name.iter_common_name().next().and_then(|cn| cn.as_str().ok());
    cn.map_or_else(|| name.to_string(), str::to_owned)
}

fn system_time(unix: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix).unwrap_or(0))
}

fn key_algorithm(cert: &x509_parser::certificate::X509Certificate<'_>) -> String {
    use x509_parser::public_key::PublicKey;
    match cert.public_key().parsed() {
        Ok(PublicKey::EC(point)) => format!("ECDSA P-{}", point.key_size()),
        Ok(PublicKey::RSA(rsa)) => format!("RSA {}", rsa.key_size()),
        _ => cert.public_key().algorithm.algorithm.to_id_string(),
    }
}

#[cfg(test)]
mod tests;
