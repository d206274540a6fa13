//! Sessions of one place that can be resumed. They belong to the credentials they were made under: when those change, they
//! are forgotten. Only who gave a ticket can use it, so that each place has its own.

use rustls::ClientConfig;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls_pki_types::ServerName;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Tickets of one place at most: as many connections can be opened at once without a full handshake.
const TICKETS: usize = 32;

/// The sessions of one place.
#[derive(Default)]
pub struct Sessions(Mutex<Option<Made>>);

/// The configuration that keeps the tickets.
struct Made {
    generation: u64,
    config: Arc<ClientConfig>,
}

impl Sessions {
    /// A configuration like `base` that resumes these sessions, as long as the generation is the same.
    pub(crate) fn config(&self, generation: u64, base: &Arc<ClientConfig>) -> Arc<ClientConfig> {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Made { config, .. }) = made.as_ref().filter(|made| made.generation == generation) {
            return Arc::clone(config);
        }
        let mut config = ClientConfig::clone(base);
        config.resumption = Resumption::store(Arc::new(Tickets::default()));
        let config = Arc::new(config);
        *made = Some(Made { generation, config: Arc::clone(&config) });
        config
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

/// The tickets of one place under one name, oldest first.
#[derive(Default)]
struct Tickets(Mutex<VecDeque<(ServerName<'static>, Tls13ClientSessionValue)>>);

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets")
    }
}

impl ClientSessionStore for Tickets {
    /// The groups are the same on both sides of a mesh.
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    /// TLS 1.2 is not spoken here.
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tickets.len() == TICKETS {
            tickets.pop_front();
        }
        tickets.push_back((name, ticket));
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let mut tickets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = tickets.iter().rposition(|(of, _)| of == name)?;
        tickets.remove(newest).map(|(_, ticket)| ticket)
    }
}
