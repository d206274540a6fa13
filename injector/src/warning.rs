//! What the person who creates a pod should know: shown by `kubectl` at once, and recorded as an event.

/// Something that was not done as asked. Where an annotation cannot be obeyed, the installed value stays in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// An annotation that cannot be obeyed.
    #[error("annotation {key} on the {place}: {value:?} {problem}; it is ignored")]
    Annotation {
        /// Annotation key.
        key: String,
        /// `pod`, `service` or `namespace`.
        place: &'static str,
        /// The value found.
        value: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// A key that looks like a setting and is none.
    #[error(
        "annotation {key} on the pod is no setting of the proxy; it is ignored (docs/annotations.md lists them)"
    )]
    Unknown {
        /// Annotation key.
        key: String,
    },
    /// A Job's pod with a classic sidecar, which outlives the main container.
    #[error(
        "the proxy of this Job is a classic sidecar: the Job ends only after its main container has sent \
         POST http://localhost:{admin}/shutdown, which needs the annotation config.linkerd.io/proxy-admin-shutdown: \
         enabled; native sidecars (Kubernetes 1.29 and later) end by themselves"
    )]
    ClassicSidecarInJob {
        /// Port of the proxy's admin server.
        admin: u16,
    },
    /// The wait before the proxy's exit needs a lifecycle action that this cluster lacks.
    #[error(
        "annotation config.alpha.linkerd.io/proxy-wait-before-exit-seconds needs Kubernetes 1.30, and this is \
         {version}; the proxy will not wait"
    )]
    NoSleepAction {
        /// Version of the cluster.
        version: crate::KubernetesVersion,
    },
}
