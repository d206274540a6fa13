//! The issuer in force, as a pure state: new material replaces it only when it verifies.

use mesh_tls::{Authority, PemPair, TrustBundle};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The issuer in force, the anchors, and material that could not be used yet.
#[derive(Default)]
pub struct Issuer {
    current: Option<Arc<Authority>>,
    bundle: Option<TrustBundle>,
    /// The latest Secret, tried again when the anchors change: they may arrive in either order.
    offered: Option<PemPair>,
    refused: Option<String>,
}

/// What a change of Secret or anchors did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing, or the issuer waits for its anchors.
    Unchanged,
    /// A new issuer signs from now on; the text says which.
    Updated(String),
    /// The offered issuer is refused and the old one, if any, goes on; the text says why.
    Skipped(String),
    /// New anchors do not cover the issuer in force, so nothing can be signed; the text says why.
    Broken(String),
}

impl Issuer {
    /// The issuer in force.
    pub fn current(&self) -> Option<Arc<Authority>> {
        self.current.clone()
    }

    /// The anchors, once they are known.
    pub fn bundle(&self) -> Option<&TrustBundle> {
        self.bundle.as_ref()
    }

    /// Why the latest offered issuer is not in force.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Time until the issuer in force expires.
    pub fn ttl(&self, now: SystemTime) -> Option<Duration> {
        self.current.as_ref().map(|c| c.not_after().duration_since(now).unwrap_or_default())
    }

    /// Takes the content of the issuer Secret.
    pub fn set_material(&mut self, offered: PemPair) -> Outcome {
        let same = |held: &PemPair| held.cert_pem == offered.cert_pem && held.key_pem == offered.key_pem;
        if self.offered.as_ref().is_some_and(same) && self.refused.is_none() {
            return Outcome::Unchanged;
        }
        self.offered = Some(offered);
        self.adopt()
    }

    /// Takes the trust anchors. An offered issuer that was refused is tried again.
    pub fn set_bundle(&mut self, bundle: TrustBundle) -> Outcome {
        if self.bundle.as_ref() == Some(&bundle) {
            return Outcome::Unchanged;
        }
        self.bundle = Some(bundle);
        let holds = self.validate();
        match (self.adopt(), holds) {
            // The offered one is the one in force, or no better: what matters is that nothing can be signed.
            (Outcome::Unchanged | Outcome::Skipped(_), Some(Err(reason))) => Outcome::Broken(reason),
            (outcome, _) => outcome,
        }
    }

    /// Whether the issuer in force verifies against the anchors now; `None` without one.
    pub fn validate(&self) -> Option<Result<(), String>> {
        let (current, bundle) = (self.current.as_ref()?, self.bundle.as_ref()?);
        Some(current.verify(bundle).map_err(|e| e.to_string()))
    }

    fn adopt(&mut self) -> Outcome {
        let (Some(offered), Some(bundle)) = (&self.offered, &self.bundle) else {
            return Outcome::Unchanged;
        };
        let authority = Authority::from_pem(&offered.cert_pem, &offered.key_pem)
            .and_then(|authority| authority.verify(bundle).map(|()| authority));
        match authority {
            Ok(authority) => {
                self.refused = None;
                let same = |held: &Arc<Authority>| {
                    held.chain_pem() == authority.chain_pem() && held.key_pem() == authority.key_pem()
                };
                if self.current.as_ref().is_some_and(same) {
                    return Outcome::Unchanged;
                }
                let message = format!("certificates are now issued by {}", authority.info().subject);
                self.current = Some(Arc::new(authority));
                Outcome::Updated(message)
            }
            Err(error) => {
                let keeps = if self.current.is_some() { "; the previous issuer keeps signing" } else { "" };
                let reason = format!("issuer refused: {error}{keeps}");
                self.refused = Some(reason.clone());
                Outcome::Skipped(reason)
            }
        }
    }
}

#[cfg(test)]
mod tests;
