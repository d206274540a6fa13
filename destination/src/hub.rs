//! Who listens to which answer: every change of the index renews the answers it touches, and only those.

use crate::index::{EndpointsView, Index, ProfileView, Settings, Touched};
use crate::model::Key;
use crate::query::{ProfileQuery, ServiceQuery};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

type Cell<V> = watch::Sender<Arc<V>>;

/// The index with its listeners. All work is done under one short lock, without waiting.
pub struct Hub(Mutex<Inner>);

struct Inner {
    index: Index,
    endpoints: HashMap<ServiceQuery, Cell<EndpointsView>>,
    profiles: HashMap<ProfileQuery, Cell<ProfileView>>,
    endpoints_of: HashMap<Key, BTreeSet<ServiceQuery>>,
    profiles_of: HashMap<Key, BTreeSet<ServiceQuery>>,
    profiles_at: HashMap<IpAddr, BTreeSet<u16>>,
    /// Answers that nobody listens to are cleared away when there are this many in all.
    sweep_at: usize,
}

/// Fewer answers than this are never swept.
const SWEEP_MIN: usize = 256;

impl Hub {
    /// Knows nothing, nobody listens.
    pub fn new(settings: Settings) -> Self {
        Self(Mutex::new(Inner {
            index: Index::new(settings),
            endpoints: HashMap::new(),
            profiles: HashMap::new(),
            endpoints_of: HashMap::new(),
            profiles_of: HashMap::new(),
            profiles_at: HashMap::new(),
            sweep_at: SWEEP_MIN,
        }))
    }

    /// Changes the index and renews what that touches.
    pub fn change(&self, change: impl FnOnce(&mut Index) -> Touched) {
        let mut inner = self.0.lock();
        let touched = change(&mut inner.index);
        inner.renew(&touched);
    }

    /// Reads the index.
    pub fn read<T>(&self, read: impl FnOnce(&Index) -> T) -> T {
        read(&self.0.lock().index)
    }

    /// Listens to the endpoints of a Service's port.
    pub fn endpoints(&self, query: &ServiceQuery) -> watch::Receiver<Arc<EndpointsView>> {
        let mut inner = self.0.lock();
        inner.sweep();
        let inner = &mut *inner;
        if let Some(cell) = inner.endpoints.get(query) {
            return cell.subscribe();
        }
        let view = inner.index.endpoints(&query.service, query.port, query.part.as_deref());
        let (cell, views) = watch::channel(Arc::new(view));
        inner.endpoints.insert(query.clone(), cell);
        inner.endpoints_of.entry(query.service.clone()).or_default().insert(query.clone());
        views
    }

    /// Listens to the profile of an address or a Service's name.
    pub fn profile(&self, query: &ProfileQuery) -> watch::Receiver<Arc<ProfileView>> {
        let mut inner = self.0.lock();
        inner.sweep();
        let inner = &mut *inner;
        if let Some(cell) = inner.profiles.get(query) {
            return cell.subscribe();
        }
        let (cell, views) = watch::channel(Arc::new(profile(&inner.index, query)));
        inner.profiles.insert(query.clone(), cell);
        match query {
            ProfileQuery::Addr(addr) => {
                inner.profiles_at.entry(addr.ip()).or_default().insert(addr.port());
            }
            ProfileQuery::Name(name) => {
                inner.profiles_of.entry(name.service.clone()).or_default().insert(name.clone());
            }
        }
        views
    }

    /// How many answers have listeners or had them lately: endpoints, profiles.
    pub fn answers(&self) -> [usize; 2] {
        let inner = self.0.lock();
        [inner.endpoints.len(), inner.profiles.len()]
    }
}

fn profile(index: &Index, query: &ProfileQuery) -> ProfileView {
    match query {
        ProfileQuery::Addr(addr) => index.profile_of(*addr),
        ProfileQuery::Name(name) => index.profile_of_service(&name.service, name.port),
    }
}

impl Inner {
    fn renew(&mut self, touched: &Touched) {
        let index = &self.index;
        for key in &touched.services {
            for query in self.endpoints_of.get(key).into_iter().flatten() {
                if let Some(cell) = self.endpoints.get(query) {
                    put(cell, index.endpoints(&query.service, query.port, query.part.as_deref()));
                }
            }
            for name in self.profiles_of.get(key).into_iter().flatten() {
                let query = ProfileQuery::Name(name.clone());
                if let Some(cell) = self.profiles.get(&query) {
                    put(cell, profile(index, &query));
                }
            }
        }
        for ip in &touched.ips {
            for port in self.profiles_at.get(ip).into_iter().flatten() {
                let query = ProfileQuery::Addr((*ip, *port).into());
                if let Some(cell) = self.profiles.get(&query) {
                    put(cell, profile(index, &query));
                }
            }
        }
    }

    fn sweep(&mut self) {
        if self.endpoints.len() + self.profiles.len() < self.sweep_at {
            return;
        }
        self.endpoints.retain(|_, cell| cell.receiver_count() > 0);
        self.profiles.retain(|_, cell| cell.receiver_count() > 0);
        let (endpoints, profiles) = (&self.endpoints, &self.profiles);
        self.endpoints_of.retain(|_, queries| {
            queries.retain(|q| endpoints.contains_key(q));
            !queries.is_empty()
        });
        self.profiles_of.retain(|_, names| {
            names.retain(|n| profiles.contains_key(&ProfileQuery::Name(n.clone())));
            !names.is_empty()
        });
        self.profiles_at.retain(|ip, ports| {
            ports.retain(|port| profiles.contains_key(&ProfileQuery::Addr((*ip, *port).into())));
            !ports.is_empty()
        });
        self.sweep_at = SWEEP_MIN.max(2 * (self.endpoints.len() + self.profiles.len()));
    }
}

/// Replaces a view if it differs, so that listeners wake only for a difference.
fn put<V: PartialEq>(cell: &Cell<V>, view: V) {
    cell.send_if_modified(|held| {
        let differs = **held != view;
        if differs {
            *held = Arc::new(view);
        }
        differs
    });
}

#[cfg(test)]
mod tests;
