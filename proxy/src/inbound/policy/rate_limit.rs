//! Local rate limits (`HTTPLocalRateLimitPolicy`): what all clients of a port may ask for together, what each identity may,
//! and what some identities may instead. A limit holds for the whole proxy: its workers share the buckets.
//!
//! A bucket is a generic cell rate algorithm: one number, the time at which the bucket would be empty, moved on by each
//! request. A second's worth may come at once.

use super::{Client, Meta};
use ahash::AHashMap;
use mesh_types::Identity;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Identities of which buckets are kept; beyond it those are dropped that nobody uses and that are full again anyway.
const MAX_IDENTITIES: usize = 4096;
const SECOND: u64 = 1_000_000_000;

/// The limits of a server.
#[derive(Debug, Default)]
pub struct RateLimit {
    /// The policy resource.
    pub meta: Meta,
    total: Option<Bucket>,
    identity: Option<PerIdentity>,
    overrides: Vec<Override>,
}

/// What an `Override` is made from: requests a second and for whom.
pub type OverrideSpec = (u32, Vec<Identity>);

#[derive(Debug)]
struct Override {
    clients: Vec<Identity>,
    bucket: Arc<Bucket>,
}

#[derive(Debug)]
struct PerIdentity {
    rate: u32,
    /// Clients without an identity share one.
    buckets: Mutex<AHashMap<Option<Identity>, Arc<Bucket>>>,
}

/// Requests a second, and when the next one may come.
#[derive(Debug)]
struct Bucket {
    rate: u32,
    /// When the bucket would be empty, in nanoseconds since [`START`].
    empty_at: AtomicU64,
}

/// The limits of one client, resolved once for a connection.
#[derive(Clone, Debug)]
pub struct ClientLimit {
    policy: Arc<RateLimit>,
    /// The client's own bucket and its scope.
    own: Option<(&'static str, Arc<Bucket>)>,
}

/// A limit that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// `total`, `identity` or `override`.
    pub scope: &'static str,
    /// Requests a second.
    pub rate: u32,
}

/// What times are counted from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl RateLimit {
    /// Limits in requests a second; none and 0 mean no limit.
    pub fn new(meta: Meta, total: Option<u32>, identity: Option<u32>, overrides: Vec<OverrideSpec>) -> Self {
        let rate = |rate: Option<u32>| rate.filter(|rate| *rate > 0);
        let overrides = overrides.into_iter().filter(|(rate, _)| *rate > 0);
        Self {
            meta,
            total: rate(total).map(Bucket::new),
            identity: rate(identity).map(|rate| PerIdentity { rate, buckets: Mutex::default() }),
            overrides: overrides
                .map(|(rate, clients)| Override { clients, bucket: Arc::new(Bucket::new(rate)) })
                .collect(),
        }
    }

    /// Finds the buckets of a client.
    pub fn of(self: &Arc<Self>, client: &Client) -> ClientLimit {
        let identity = client.identity();
        let special = identity.and_then(|id| self.overrides.iter().find(|o| o.clients.contains(id)));
        let own = match (special, &self.identity) {
            (Some(special), _) => Some(("override", Arc::clone(&special.bucket))),
            (None, Some(each)) => Some(("identity", each.bucket(identity, now()))),
            (None, None) => None,
        };
        ClientLimit { policy: Arc::clone(self), own }
    }
}

/// Whether the limits are the same; how far they are used up does not count.
impl PartialEq for RateLimit {
    fn eq(&self, other: &Self) -> bool {
        let rate = |bucket: &Option<Bucket>| bucket.as_ref().map(|bucket| bucket.rate);
        let each = |limit: &Self| limit.identity.as_ref().map(|each| each.rate);
        self.meta == other.meta
            && rate(&self.total) == rate(&other.total)
            && each(self) == each(other)
            && self.overrides.len() == other.overrides.len()
            && self
                .overrides
                .iter()
                .zip(&other.overrides)
                .all(|(a, b)| a.clients == b.clients && a.bucket.rate == b.bucket.rate)
    }
}

impl ClientLimit {
    /// The policy resource.
    pub fn meta(&self) -> &Meta {
        &self.policy.meta
    }

    /// Takes one request out of the buckets.
    ///
    /// # Errors
    /// The limit that is used up.
    pub fn take(&self) -> Result<(), Exceeded> {
        self.take_at(now())
    }

    fn take_at(&self, now: u64) -> Result<(), Exceeded> {
        let total = self.policy.total.as_ref().map(|bucket| ("total", bucket));
        let own = self.own.as_ref().map(|(scope, bucket)| (*scope, &**bucket));
        for (scope, bucket) in total.into_iter().chain(own) {
            if !bucket.take(now) {
                return Err(Exceeded { scope, rate: bucket.rate });
            }
        }
        Ok(())
    }
}

impl PerIdentity {
    fn bucket(&self, identity: Option<&Identity>, now: u64) -> Arc<Bucket> {
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MAX_IDENTITIES {
            buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || bucket.empty_at.load(Relaxed) > now);
        }
        let make = || Arc::new(Bucket::new(self.rate));
        Arc::clone(buckets.entry(identity.cloned()).or_insert_with(make))
    }
}

impl Bucket {
    fn new(rate: u32) -> Self {
        Self { rate, empty_at: AtomicU64::new(0) }
    }

    fn take(&self, now: u64) -> bool {
        let each = SECOND / u64::from(self.rate.max(1));
        let next = |empty_at: u64| {
            let next = empty_at.max(now) + each;
            // A second's worth at most lies ahead of now.
            (next <= now + SECOND).then_some(next)
        };
        self.empty_at.fetch_update(Relaxed, Relaxed, next).is_ok()
    }
}

fn now() -> u64 {
    // Never zero, so that an untouched bucket is full.
    u64::try_from((START.elapsed() + Duration::from_secs(1)).as_nanos()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests;
