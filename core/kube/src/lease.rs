//! Leader election: who holds a `coordination.k8s.io` Lease may write.
//!
//! As in client-go, a holder is judged by whether its record changes within the lease's duration by the observer's own
//! clock, so that clocks need not agree.

use crate::Client;
use crate::error::{explain, is_conflict, is_not_found};
use k8s_openapi::api::coordination::v1::{Lease as LeaseObject, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Api;
use kube::api::PostParams;
use std::time::{Duration, Instant};
use tokio::sync::watch as cell;
use tracing::{debug, info, warn};

/// How long a lease lasts and how often it is looked at.
#[derive(Debug, Clone, Copy)]
pub struct LeaseTiming {
    /// A holder that has not renewed for this long has lost it.
    pub duration: Duration,
    /// A holder renews this often.
    pub renew: Duration,
    /// Others look this often.
    pub retry: Duration,
}

impl Default for LeaseTiming {
    /// Linkerd's service mirror: 30 s, 10 s, 2 s.
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(30),
            renew: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// One candidate for one Lease.
pub struct Lease {
    api: Api<LeaseObject>,
    name: String,
    identity: String,
    timing: LeaseTiming,
}

/// The record as last seen, and when it was first seen so.
struct Observed {
    record: LeaseSpec,
    since: Instant,
}

impl Lease {
    /// The candidate `identity` (unique among replicas, such as the pod's name) for `namespace`/`name`.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str, timing: LeaseTiming) -> Self {
        let api = Api::namespaced(client, namespace);
        Self { api, name: name.to_owned(), identity: identity.to_owned(), timing }
    }

    /// Stands for election until `stop` completes, telling `held` at every change; then gives the lease back.
    pub async fn run(&self, held: &cell::Sender<bool>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut observed: Option<Observed> = None;
        let mut last_renewed: Option<Instant> = None;
        loop {
            let attempt = tokio::time::timeout(self.timing.renew, self.step(&mut observed, Instant::now()));
            let outcome = tokio::select! {
                outcome = attempt => outcome,
                () = &mut stop => break,
            };
            let now = Instant::now();
            match outcome {
                Ok(Ok(true)) => last_renewed = Some(now),
                Ok(Ok(false)) => last_renewed = None,
                Ok(Err(error)) => debug!(lease = self.name, error = explain(&error), "lease not updated"),
                Err(_) => debug!(lease = self.name, "lease not updated in time"),
            }
            // Stop writing well before others may begin.
            let limit = self.timing.duration * 2 / 3;
            let holds = last_renewed.is_some_and(|at| now.saturating_duration_since(at) < limit);
            self.tell(held, holds);
            let pause = if last_renewed == Some(now) { self.timing.renew } else { self.timing.retry };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut stop => break,
            }
        }
        if held.send_replace(false) {
            self.release().await;
        }
    }

    fn tell(&self, held: &cell::Sender<bool>, holds: bool) {
        let changed = held.send_if_modified(|current| std::mem::replace(current, holds) != holds);
        if changed && holds {
            info!(lease = self.name, identity = self.identity, "lease acquired");
        } else if changed {
            warn!(lease = self.name, identity = self.identity, "lease lost");
        }
    }

    /// Looks at the lease and writes it if this candidate may; answers whether it holds it now.
    async fn step(&self, observed: &mut Option<Observed>, now: Instant) -> Result<bool, kube::Error> {
        let object = match self.api.get(&self.name).await {
            Ok(object) => object,
            Err(error) if is_not_found(&error) => return self.create().await,
            Err(error) => return Err(error),
        };
        let record = object.spec.clone().unwrap_or_default();
        if observed.as_ref().is_none_or(|o| o.record != record) {
            *observed = Some(Observed { record: record.clone(), since: now });
        }
        let since = observed.as_ref().map_or(now, |o| o.since);
        if !may_take(&record, &self.identity, now.saturating_duration_since(since), self.timing.duration) {
            return Ok(false);
        }
        let next = self.record(Some(&record));
        match self
            .api
            .replace(&self.name, &PostParams::default(), &LeaseObject { spec: Some(next), ..object })
            .await
        {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn create(&self) -> Result<bool, kube::Error> {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let object = LeaseObject { metadata, spec: Some(self.record(None)) };
        match self.api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(true),
            Err(error) if is_conflict(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn record(&self, previous: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(k8s_openapi::jiff::Timestamp::now());
        let mine = previous.is_some_and(|p| p.holder_identity.as_deref() == Some(&self.identity));
        let transitions = previous.and_then(|p| p.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(
                i32::try_from(self.timing.duration.as_secs().max(1)).unwrap_or(i32::MAX),
            ),
            acquire_time: previous
                .filter(|_| mine)
                .and_then(|p| p.acquire_time.clone())
                .or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions + i32::from(previous.is_some() && !mine)),
            ..LeaseSpec::default()
        }
    }

    /// Leaves the lease without a holder, so that the next one need not wait.
    async fn release(&self) {
        let given_back = async {
            let mut object = self.api.get(&self.name).await?;
            if let Some(spec) =
                object.spec.as_mut().filter(|s| s.holder_identity.as_deref() == Some(&self.identity))
            {
                // Absent rather than empty: not every API server takes an empty name.
                spec.holder_identity = None;
                self.api.replace(&self.name, &PostParams::default(), &object).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Ok(Err(error)) = tokio::time::timeout(self.timing.retry, given_back).await {
            warn!(
                lease = self.name,
                error = explain(&error),
                "lease not given back; others have to wait for its end"
            );
        }
    }
}

/// Whether `identity` may write its name into `record`, which has looked the same for `unchanged`.
fn may_take(record: &LeaseSpec, identity: &str, unchanged: Duration, duration: Duration) -> bool {
    match record.holder_identity.as_deref() {
        None | Some("") => true,
        Some(holder) if holder == identity => true,
        Some(_) => {
            let stated =
                record.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map(Duration::from_secs);
            unchanged > stated.unwrap_or(duration)
        }
    }
}

#[cfg(test)]
mod tests;
