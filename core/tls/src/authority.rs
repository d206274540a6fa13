//! Certificate authorities: roots, issuers, and what they sign.

use crate::bundle::{CertificateInfo, TrustBundle, certificate_info};
use crate::pem::{PemPair, certificates, encode_certificate, private_key};
use crate::{Error, provider};
use mesh_types::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, UnixTime};
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// Certificates start this much in the past, so that a peer whose clock is a little behind accepts them.
const BACKDATE: Duration = Duration::from_secs(10);

/// A CA certificate with its key, able to sign.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Own certificate first, then those above it, without the root unless it is one.
    chain: Vec<CertificateDer<'static>>,
    info: CertificateInfo,
}

/// A signed workload certificate.
#[derive(Debug, Clone)]
pub struct SignedLeaf {
    /// The leaf, DER.
    pub leaf_der: Vec<u8>,
    /// Certificates between the leaf and a root, DER, leaf's issuer first.
    pub intermediates_der: Vec<Vec<u8>>,
    /// End of validity, including the clock-skew allowance.
    pub not_after: SystemTime,
}

/// Why a certificate signing request is refused.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not a CSR, or its signature is wrong.
    #[error("certificate signing request cannot be parsed: {0}")]
    Malformed(String),
    /// It asks for something other than the one expected name.
    #[error("certificate signing request {0}")]
    Rule(String),
    /// Signing failed.
    #[error(transparent)]
    Sign(#[from] Error),
}

impl Authority {
    /// A new self-signed ECDSA P-256 root with the common name `cn`.
    ///
    /// # Errors
    /// [`Error::Issue`].
    pub fn new_root(cn: &str, lifetime: Duration) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let params = authority_params(cn, lifetime)?;
        let cert = params.self_signed(&key)?;
        Self::assemble(vec![cert.der().clone()], key)
    }

    /// Reads an authority from PEM: its chain (own certificate first) and its key.
    ///
    /// # Errors
    /// Unreadable PEM, a certificate that is no CA, or a key that does not belong to it.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, Error> {
        let chain = certificates("issuer certificate", chain_pem)?;
        let key_der = private_key("issuer key", key_pem)?;
        let key = KeyPair::try_from(&key_der).map_err(Error::Issue)?;
        let authority = Self::assemble(chain, key)?;
        authority.check_key(key_der)?;
        Ok(authority)
    }

    fn assemble(chain: Vec<CertificateDer<'static>>, key: KeyPair) -> Result<Self, Error> {
        let own =
            chain.first().ok_or(Error::Missing { what: "issuer certificate", wanted: "certificate" })?;
        let info = certificate_info(own)?;
        if !info.is_ca {
            return Err(Error::NotAuthority(info.subject));
        }
        let issuer = Issuer::from_ca_cert_der(own, key)?;
        if !issuer.key_usages().is_empty() && !issuer.key_usages().contains(&KeyUsagePurpose::KeyCertSign) {
            return Err(Error::NotAuthority(info.subject));
        }
        Ok(Self { issuer, chain, info })
    }

    fn check_key(&self, key: PrivateKeyDer<'static>) -> Result<(), Error> {
        let signing = provider().key_provider.load_private_key(key)?;
        let certified = rustls::sign::CertifiedKey::new(self.chain.clone(), signing);
        certified.keys_match().map_err(|_| Error::KeyMismatch(self.info.subject.clone()))
    }

    /// A CA below this one.
    ///
    /// # Errors
    /// [`Error::Issue`].
    pub fn issue_authority(&self, cn: &str, lifetime: Duration) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let mut params = authority_params(cn, lifetime)?;
        params.use_authority_key_identifier_extension = true;
        let cert = params.signed_by(&key, &self.issuer)?;
        let mut chain = vec![cert.der().clone()];
        chain.extend(self.intermediates().cloned());
        Self::assemble(chain, key)
    }

    /// A server certificate for DNS names and addresses.
    ///
    /// # Errors
    /// [`Error::Issue`], for a name that is no DNS name among others.
    pub fn issue_server(&self, dns: &[&str], ips: &[IpAddr], lifetime: Duration) -> Result<PemPair, Error> {
        let mut params = leaf_params(lifetime)?;
        for name in dns {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        params.subject_alt_names.extend(ips.iter().copied().map(SanType::IpAddress));
        if let Some(first) = dns.first() {
            params.distinguished_name.push(DnType::CommonName, *first);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue_pair(&params)
    }

    /// A client certificate as Kubernetes reads it: common name = user, organizations = groups (at most two).
    ///
    /// # Errors
    /// [`Error::Issue`]; [`Error::Groups`] for more than two groups.
    pub fn issue_client(&self, cn: &str, orgs: &[&str], lifetime: Duration) -> Result<PemPair, Error> {
        let mut params = leaf_params(lifetime)?;
        // rcgen keeps one value per attribute type, so a second organization needs another spelling of its OID.
        let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        if orgs.len() > types.len() {
            return Err(Error::Groups(orgs.len()));
        }
        for (ty, org) in types.into_iter().zip(orgs) {
            params.distinguished_name.push(ty, *org);
        }
        params.distinguished_name.push(DnType::CommonName, cn);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue_pair(&params)
    }

    fn issue_pair(&self, params: &CertificateParams) -> Result<PemPair, Error> {
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        let mut cert_pem = encode_certificate(cert.der());
        cert_pem.extend(self.intermediates().map(|c| encode_certificate(c)));
        Ok(PemPair { cert_pem, key_pem: key.serialize_pem() })
    }

    /// Signs a workload's request for exactly `name`, valid from `skew` before now until `lifetime` + `skew` after.
    ///
    /// # Errors
    /// [`CsrError::Malformed`]; [`CsrError::Rule`] when it has other names, e-mail, IP or URI names, a common name
    /// other than `name`, or asks to be a CA; [`CsrError::Sign`].
    pub fn sign_csr(
        &self,
        csr_der: &[u8],
        name: &Identity,
        lifetime: Duration,
        skew: Duration,
    ) -> Result<SignedLeaf, CsrError> {
        let der = CertificateSigningRequestDer::from(csr_der);
        let csr = CertificateSigningRequestParams::from_der(&der)
            .map_err(|e| CsrError::Malformed(e.to_string()))?;
        check_csr(&csr.params, name)?;
        let now = SystemTime::now();
        let not_after = (now + lifetime + skew).min(self.info.not_after);
        let mut params = leaf_params(lifetime)?;
        params.not_before = (now - skew).into();
        params.not_after = not_after.into();
        params.subject_alt_names = csr.params.subject_alt_names;
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&csr.public_key, &self.issuer).map_err(Error::from)?;
        Ok(SignedLeaf {
            leaf_der: cert.der().to_vec(),
            intermediates_der: self.intermediates().map(|c| c.to_vec()).collect(),
            not_after,
        })
    }

    /// What peers need beside a leaf: the chain without a self-signed root.
    fn intermediates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.chain.iter().filter(|c| certificate_info(c).map_or(true, |i| i.subject != i.issuer))
    }

    /// Own certificate as PEM.
    pub fn cert_pem(&self) -> String {
        self.chain.first().map(|c| encode_certificate(c)).unwrap_or_default()
    }

    /// Own certificate and those above it as PEM.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|c| encode_certificate(c)).collect()
    }

    /// The private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// End of validity of the own certificate.
    pub fn not_after(&self) -> SystemTime {
        self.info.not_after
    }

    /// What the own certificate says.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// Checks that this authority chains to `bundle` and is within its validity now.
    ///
    /// # Errors
    /// [`Error::Untrusted`] with the verifier's reason.
    pub fn verify(&self, bundle: &TrustBundle) -> Result<(), Error> {
        let subject = || self.info.subject.clone();
        // A throw-away leaf below this authority lets the verifier walk the very path that peers will.
        let probe = self.issue_server(&["probe.invalid"], &[], Duration::from_secs(60))?;
        let chain = probe.chain()?;
        let (leaf, rest) =
            chain.split_first().ok_or(Error::Missing { what: "probe", wanted: "certificate" })?;
        let parsed = rustls::server::ParsedCertificate::try_from(leaf)?;
        let algorithms = provider().signature_verification_algorithms.all;
        rustls::client::verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &bundle.roots(),
            rest,
            UnixTime::now(),
            algorithms,
        )
        .map_err(|e| Error::Untrusted { subject: subject(), reason: refusal(&e) })
    }
}

/// Why a TLS handshake failed, in words.
pub fn handshake_refusal(error: &std::io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(refused @ rustls::Error::InvalidCertificate(_)) => {
            format!("its certificate does not verify against the trust anchors: {}", refusal(refused))
        }
        Some(other) => other.to_string(),
        None => error.to_string(),
    }
}

/// A verifier's refusal in words.
fn refusal(error: &rustls::Error) -> String {
    use rustls::CertificateError as E;
    match error {
        rustls::Error::InvalidCertificate(E::UnknownIssuer) => "none of them has issued it".to_owned(),
        rustls::Error::InvalidCertificate(E::BadSignature) => {
            "an anchor has the name of its issuer, but another key has signed it".to_owned()
        }
        rustls::Error::InvalidCertificate(E::Expired | E::ExpiredContext { .. }) => {
            "its validity, or an anchor's, is over".to_owned()
        }
        rustls::Error::InvalidCertificate(E::NotValidYet | E::NotValidYetContext { .. }) => {
            "its validity, or an anchor's, has not begun".to_owned()
        }
        other => other.to_string(),
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("info", &self.info).finish_non_exhaustive()
    }
}

/// A new key (PKCS#8 DER) and a request for exactly `name` (DER).
///
/// # Errors
/// [`Error::Issue`].
pub fn generate_csr(name: &Identity) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![name.as_str().to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let csr = params.serialize_request(&key)?;
    Ok((key.serialize_der(), csr.der().to_vec()))
}

/// Checks a workload's request as [`Authority::sign_csr`] does, without signing it.
///
/// # Errors
/// [`CsrError::Malformed`] or [`CsrError::Rule`].
pub fn verify_csr(csr_der: &[u8], name: &Identity) -> Result<(), CsrError> {
    let der = CertificateSigningRequestDer::from(csr_der);
    let csr =
        CertificateSigningRequestParams::from_der(&der).map_err(|e| CsrError::Malformed(e.to_string()))?;
    check_csr(&csr.params, name)
}

fn check_csr(params: &CertificateParams, name: &Identity) -> Result<(), CsrError> {
    let rule = |text: String| Err(CsrError::Rule(text));
    match params.subject_alt_names.as_slice() {
        [SanType::DnsName(dns)] if dns.as_str() == name.as_str() => {}
        [SanType::DnsName(dns)] => {
            return rule(format!("names {:?}, expected {:?}", dns.as_str(), name.as_str()));
        }
        [] => return rule(format!("has no DNS name, expected {:?}", name.as_str())),
        [_] => return rule("may hold a DNS name only, no e-mail, IP or URI name".to_owned()),
        many => return rule(format!("must hold exactly one DNS name, has {} names", many.len())),
    }
    if let Some(cn) = params.distinguished_name.get(&DnType::CommonName) {
        let text = match cn {
            rcgen::DnValue::Utf8String(s) => s.clone(),
            rcgen::DnValue::PrintableString(s) => s.as_str().to_owned(),
            other => format!("{other:?}"),
        };
        if !text.is_empty() && text != name.as_str() {
            return rule(format!("has common name {text:?}, expected none or {:?}", name.as_str()));
        }
    }
    if matches!(params.is_ca, IsCa::Ca(_)) {
        return rule("asks to be a certificate authority".to_owned());
    }
    Ok(())
}

fn authority_params(cn: &str, lifetime: Duration) -> Result<CertificateParams, Error> {
    let mut params = leaf_params(lifetime)?;
    params.distinguished_name.push(DnType::CommonName, cn);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = false;
    Ok(params)
}

fn leaf_params(lifetime: Duration) -> Result<CertificateParams, Error> {
    let now = SystemTime::now();
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = DistinguishedName::new();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + lifetime).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests;
