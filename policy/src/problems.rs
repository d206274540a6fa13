//! Annotations that cannot be read are told to people: in the log, and as events on their Service, since there is nobody
//! to answer with an error.

use crate::index::Index;
use crate::model::{Key, Service};
use mesh_kube::k8s_openapi::api::core::v1 as core;
use mesh_kube::kube::Resource as _;
use mesh_kube::{Client, EventKind, Events};
use mesh_runtime::Shutdown;
use tokio::sync::mpsc;
use tracing::warn;

/// Who tells.
const COMPONENT: &str = "linkerd-policy";
/// The events' reason.
const REASON: &str = "AnnotationIgnored";
/// Events that wait to be recorded; what is beyond that is in the log.
const WAITING: usize = 256;

/// Tells people of problems. Clones tell through one task.
#[derive(Clone)]
pub(crate) struct Problems(mpsc::Sender<Told>);

/// What is told, and of what.
struct Told {
    about: core::ObjectReference,
    message: String,
}

impl Problems {
    /// Records events by `client` until the drain.
    pub(crate) fn start(client: Client, shutdown: &Shutdown) -> Self {
        let (sender, mut receiver) = mpsc::channel::<Told>(WAITING);
        let events = Events::new(client, COMPONENT);
        shutdown.spawn_until_drain("policy-events", async move {
            while let Some(Told { about, message }) = receiver.recv().await {
                let name = about.name.clone().unwrap_or_default();
                if let Err(error) = events.record_on(about, EventKind::Warning, REASON, &message).await {
                    warn!(service = name, %error, "event not recorded");
                }
            }
        });
        Self(sender)
    }

    /// Tells of a Service's problems, unless the index has them already.
    pub(crate) fn tell(&self, index: &Index, object: &core::Service, service: &Service) {
        let key = Key::of(&object.metadata);
        if index.service(&key).is_some_and(|known| known.problems == service.problems) {
            return;
        }
        for problem in &service.problems {
            warn!(service = %key, annotation = problem.annotation, reason = problem.reason, "annotation ignored");
            let told = Told { about: object.object_ref(&()), message: problem.to_string() };
            if self.0.try_send(told).is_err() {
                warn!(service = %key, "event not recorded: too many wait");
            }
        }
    }
}
