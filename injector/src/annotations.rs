//! Keys of the annotations that set the proxy of one pod, or of a namespace's pods. All of them are read from the
//! pod first and then from its namespace, except [`ENABLE_GATEWAY`](mesh_types::annotations::ENABLE_GATEWAY), which
//! names the role of one workload.

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $key:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = concat!("config.linkerd.io/", $key);)*
        /// Every key of this module.
        pub const ALL: &[&str] = &[$($name),*];
    };
}

keys! {
    /// Name of the proxy's image.
    PROXY_IMAGE = "proxy-image";
    /// Tag of the proxy's image.
    PROXY_VERSION_OVERRIDE = "proxy-version";
    /// When the images of proxy and init are pulled.
    IMAGE_PULL_POLICY = "image-pull-policy";
    /// Port of the inbound listener.
    INBOUND_PORT = "inbound-port";
    /// Port of the outbound listener.
    OUTBOUND_PORT = "outbound-port";
    /// Port of the tap listener.
    CONTROL_PORT = "control-port";
    /// Port of the admin listener.
    ADMIN_PORT = "admin-port";
    /// The inbound ports whose policy the proxy watches, in place of the containers' ports.
    POD_INBOUND_PORTS = "pod-inbound-ports";
    /// CPU requested for the proxy.
    CPU_REQUEST = "proxy-cpu-request";
    /// CPU limit of the proxy; rounded up it is also its number of workers.
    CPU_LIMIT = "proxy-cpu-limit";
    /// Share of the node's CPUs the proxy may use, between 0 and 1.
    CPU_RATIO_LIMIT = "proxy-cpu-ratio-limit";
    /// Memory requested for the proxy.
    MEMORY_REQUEST = "proxy-memory-request";
    /// Memory limit of the proxy.
    MEMORY_LIMIT = "proxy-memory-limit";
    /// Ephemeral storage requested for the proxy.
    STORAGE_REQUEST = "proxy-ephemeral-storage-request";
    /// Ephemeral storage limit of the proxy.
    STORAGE_LIMIT = "proxy-ephemeral-storage-limit";
    /// User id of the proxy.
    PROXY_UID = "proxy-uid";
    /// Group id of the proxy.
    PROXY_GID = "proxy-gid";
    /// Log filter of the proxy.
    LOG_LEVEL = "proxy-log-level";
    /// `plain` or `json`.
    LOG_FORMAT = "proxy-log-format";
    /// `off` or `insecure`.
    LOG_HTTP_HEADERS = "proxy-log-http-headers";
    /// `apache` or `json`.
    ACCESS_LOG = "access-log";
    /// Whether `POST /shutdown` works.
    ADMIN_SHUTDOWN = "proxy-admin-shutdown";
    /// How long the proxy drains.
    SHUTDOWN_GRACE_PERIOD = "shutdown-grace-period";
    /// Whether the application waits for the proxy.
    PROXY_AWAIT = "proxy-await";
    /// Whether the proxy is a native sidecar container.
    NATIVE_SIDECAR = "proxy-enable-native-sidecar";
    /// Whether the proxy asks for profiles of names outside the cluster.
    EXTERNAL_PROFILES = "enable-external-profiles";
    /// Whether outbound metrics carry host names.
    METRICS_HOSTNAMES = "proxy-metrics-hostname-labels";
    /// Kernel timeout of connections in CLOSE_WAIT.
    CLOSE_WAIT_TIMEOUT = "close-wait-timeout";
    /// Time allowed for an outbound connection.
    OUTBOUND_CONNECT_TIMEOUT = "proxy-outbound-connect-timeout";
    /// Time allowed for a connection to the application.
    INBOUND_CONNECT_TIMEOUT = "proxy-inbound-connect-timeout";
    /// How long unused outbound discovery results are kept.
    OUTBOUND_DISCOVERY_TIMEOUT = "proxy-outbound-discovery-cache-unused-timeout";
    /// How long unused inbound discovery results are kept.
    INBOUND_DISCOVERY_TIMEOUT = "proxy-inbound-discovery-cache-unused-timeout";
    /// Never give up on outbound protocol detection.
    DISABLE_OUTBOUND_DETECT_TIMEOUT = "proxy-disable-outbound-protocol-detect-timeout";
    /// Never give up on inbound protocol detection.
    DISABLE_INBOUND_DETECT_TIMEOUT = "proxy-disable-inbound-protocol-detect-timeout";
    /// More environment for the proxy: a JSON list of EnvVar.
    ADDITIONAL_ENV = "proxy-additional-env";
    /// Would add a debug container; there is no such image here.
    DEBUG_SIDECAR = "enable-debug-sidecar";
}

/// Whether a key is a setting that is read here, or by the control plane, or is known to be of no use here.
pub(crate) fn is_known(key: &str) -> bool {
    use mesh_types::annotations::*;
    const OTHERS: [&str; 7] = [
        OPAQUE_PORTS,
        SKIP_INBOUND_PORTS,
        SKIP_OUTBOUND_PORTS,
        SKIP_SUBNETS,
        DEFAULT_INBOUND_POLICY,
        REQUIRE_IDENTITY_PORTS,
        ENABLE_GATEWAY,
    ];
    ALL.contains(&key) || OTHERS.contains(&key) || DEBUG_IMAGE.contains(&key)
}

/// Settings of the debug container, which is not there; [`DEBUG_SIDECAR`] tells so.
const DEBUG_IMAGE: [&str; 3] = [
    "config.linkerd.io/debug-image",
    "config.linkerd.io/debug-image-version",
    "config.linkerd.io/debug-image-pull-policy",
];

/// Seconds between the order to stop and the proxy's own stop.
pub const WAIT_BEFORE_EXIT: &str = "config.alpha.linkerd.io/proxy-wait-before-exit-seconds";
/// Older spellings of [`NATIVE_SIDECAR`], newest first.
pub const NATIVE_SIDECAR_OLD: [&str; 2] = [
    "config.beta.linkerd.io/proxy-enable-native-sidecar",
    "config.alpha.linkerd.io/proxy-enable-native-sidecar",
];
