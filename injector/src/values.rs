//! The installed values that concern injection, by their Helm names. They live in the ConfigMap `linkerd-config`
//! under the key `values`; unknown keys are other rooms' business and are ignored.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Values of the chart `isthmus-control-plane` that injection reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Values {
    /// DNS domain of the cluster.
    pub cluster_domain: String,
    /// Networks whose addresses belong to the cluster, comma-separated.
    pub cluster_networks: String,
    /// Trust domain; empty means the cluster domain.
    pub identity_trust_domain: String,
    /// The trust bundle in PEM.
    #[serde(rename = "identityTrustAnchorsPEM")]
    pub identity_trust_anchors_pem: String,
    /// Redirect rules come from a CNI plugin, so no container needs NET_ADMIN.
    pub cni_enabled: bool,
    /// No IPv6 listeners and rules.
    #[serde(rename = "disableIPv6")]
    pub disable_ipv6: bool,
    /// Version of the images; empty means the version of this build.
    pub linkerd_version: String,
    /// Pull policy where an image names none.
    pub image_pull_policy: String,
    /// Sidecar.
    pub proxy: Proxy,
    /// Init container.
    pub proxy_init: ProxyInit,
    /// Validator container.
    pub network_validator: NetworkValidator,
    /// Version of the cluster, which is found out and not installed; `None` means that it has every feature.
    #[serde(skip)]
    pub kubernetes: Option<crate::KubernetesVersion>,
}

/// The sidecar.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Proxy {
    /// Image.
    pub image: Image,
    /// Log filter.
    pub log_level: String,
    /// `plain` or `json`.
    pub log_format: String,
    /// `off` or `insecure`.
    #[serde(rename = "logHTTPHeaders")]
    pub log_http_headers: String,
    /// Listeners.
    pub ports: Ports,
    /// Fixed number of workers; 0 lets `resources.cpu.limit` decide.
    pub cores: u32,
    /// Worker threads.
    pub runtime: Runtime,
    /// Requests and limits.
    pub resources: Resources,
    /// User id.
    pub uid: u32,
    /// Group id; negative means unset.
    pub gid: i64,
    /// The application waits for the proxy.
    #[serde(rename = "await")]
    pub await_ready: bool,
    /// Seconds to wait before stopping.
    pub wait_before_exit_seconds: u32,
    /// Native sidecar container.
    pub native_sidecar: bool,
    /// How long to drain; empty leaves the proxy's default.
    pub shutdown_grace_period: String,
    /// `POST /shutdown` works.
    pub enable_shutdown_endpoint: bool,
    /// Ports that demand a mesh identity.
    pub require_identity_on_inbound_ports: String,
    /// Opaque ports.
    pub opaque_ports: String,
    /// Inbound ports whose policy is watched; empty takes the containers' ports.
    pub pod_inbound_ports: String,
    /// Policy of ports without a Server.
    pub default_inbound_policy: String,
    /// Profiles of external names.
    pub enable_external_profiles: bool,
    /// Time allowed for a connection to the application.
    pub inbound_connect_timeout: String,
    /// Time allowed for an outbound connection.
    pub outbound_connect_timeout: String,
    /// How long unused inbound discovery results are kept.
    pub inbound_discovery_cache_unused_timeout: String,
    /// How long unused outbound discovery results are kept.
    pub outbound_discovery_cache_unused_timeout: String,
    /// Inbound protocol detection never gives up.
    pub disable_inbound_protocol_detect_timeout: bool,
    /// Outbound protocol detection never gives up.
    pub disable_outbound_protocol_detect_timeout: bool,
    /// Liveness probe.
    pub liveness_probe: Probe,
    /// Readiness probe.
    pub readiness_probe: Probe,
    /// Startup probe of a native sidecar that is awaited.
    pub startup_probe: Probe,
    /// Control-plane streams.
    pub control: Control,
    /// Metrics.
    pub metrics: Metrics,
    /// Inbound server.
    pub inbound: Direction,
    /// Outbound server.
    pub outbound: Direction,
    /// `apache`, `json`, or empty for none.
    pub access_log: String,
    /// Added to the environment last.
    pub additional_env: Vec<Value>,
    /// Added to the environment after `additionalEnv`.
    pub experimental_env: Vec<Value>,
    /// Set by annotation only: the pod is a gateway.
    #[serde(skip)]
    pub gateway: bool,
    /// Set by `linkerd.io/inject: ingress` only.
    #[serde(skip)]
    pub ingress: bool,
}

/// An image.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Image {
    /// Repository.
    pub name: String,
    /// Tag; empty means the version of the installation.
    pub version: String,
    /// Pull policy; empty means the installation's.
    pub pull_policy: String,
}

/// Listener ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ports {
    /// Metrics and probes.
    pub admin: u16,
    /// Tap.
    pub control: u16,
    /// Inbound.
    pub inbound: u16,
    /// Outbound.
    pub outbound: u16,
}

/// Worker threads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// Bounds.
    pub workers: Workers,
}

/// Bounds of the number of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Workers {
    /// At least so many.
    pub minimum: u32,
    /// At most this share of the node's CPUs.
    #[serde(rename = "maximumCPURatio", skip_serializing_if = "Option::is_none")]
    pub maximum_cpu_ratio: Option<f64>,
}

/// Requests and limits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Resources {
    /// CPU.
    pub cpu: Resource,
    /// Memory.
    pub memory: Resource,
    /// Ephemeral storage.
    pub ephemeral_storage: Resource,
}

/// One resource; empty texts are unset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resource {
    /// Request.
    pub request: String,
    /// Limit.
    pub limit: String,
}

/// Timing of a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Probe {
    /// Seconds before the first.
    #[serde(skip_serializing_if = "is_zero")]
    pub initial_delay_seconds: u32,
    /// Seconds between two.
    pub period_seconds: u32,
    /// Seconds allowed for the answer.
    pub timeout_seconds: u32,
    /// Failures in a row that count.
    pub failure_threshold: u32,
}

/// Control-plane streams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Control {
    /// Timeouts.
    pub streams: Streams,
}

/// Timeouts of control-plane streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Streams {
    /// Until the first message.
    pub initial_timeout: String,
    /// Between messages.
    pub idle_timeout: String,
    /// Of a whole stream.
    pub lifetime: String,
}

/// Metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Host names as labels.
    pub hostname_labels: bool,
}

/// One direction's server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Direction {
    /// Server.
    pub server: Server,
}

/// Server settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// HTTP/2.
    pub http2: Http2,
}

/// HTTP/2 keep-alive of a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http2 {
    /// Between pings.
    pub keep_alive_interval: String,
    /// For the answer.
    pub keep_alive_timeout: String,
}

/// The init container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyInit {
    /// Image; also the validator's and the gateway's.
    pub image: Image,
    /// Inbound ports left alone.
    pub ignore_inbound_ports: String,
    /// Outbound ports left alone.
    pub ignore_outbound_ports: String,
    /// Ports of the Kubernetes API, which the control plane reaches directly.
    #[serde(rename = "kubeAPIServerPorts")]
    pub kube_api_server_ports: String,
    /// Source subnets left alone.
    pub skip_subnets: String,
    /// Seconds in CLOSE_WAIT; 0 leaves the kernel's setting.
    pub close_wait_timeout_secs: u32,
    /// Runs privileged.
    pub privileged: bool,
    /// User id. A user other than 0 has no capabilities in Kubernetes, so the default is 0 with all but
    /// NET_ADMIN dropped.
    pub run_as_user: u32,
    /// Group id.
    pub run_as_group: u32,
}

/// The validator container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkValidator {
    /// A destination nobody has.
    pub connect_addr: String,
    /// Where the proxy will listen; empty means its outbound port on all addresses.
    pub listen_addr: String,
    /// How long to wait.
    pub timeout: String,
}

/// Kubernetes leaves a zero out, and so do we: what is applied twice must not look changed.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

mod defaults;
