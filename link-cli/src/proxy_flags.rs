//! Flags that set the sidecar: for a whole installation, or for what `inject` writes.

use crate::values::{merge, nested};
use mesh_injector::{Annotations, annotations as keys};
use mesh_types::annotations;
use serde_json::Value;

/// Flags that set the sidecar; each stands for a value of the chart.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Proxy")]
pub(crate) struct ProxyFlags {
    /// Image of the proxy, without a tag.
    #[arg(long, value_name = "IMAGE")]
    proxy_image: Option<String>,
    /// Tag of every image.
    #[arg(long, value_name = "TAG")]
    proxy_version: Option<String>,
    /// When images are pulled.
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    image_pull_policy: Option<String>,
    /// Inbound ports that do not pass the proxy, such as 25,8000-8010.
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    skip_inbound_ports: Option<String>,
    /// Outbound ports that do not pass the proxy.
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    skip_outbound_ports: Option<String>,
    /// Ports whose protocol is not looked at.
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    opaque_ports: Option<String>,
    /// User id of the proxy.
    #[arg(long, value_name = "UID")]
    proxy_uid: Option<u32>,
    /// Group id of the proxy.
    #[arg(long, value_name = "GID")]
    proxy_gid: Option<u32>,
    /// Log filter of the proxy.
    #[arg(long, value_name = "FILTER")]
    proxy_log_level: Option<String>,
    /// Port of the inbound listener.
    #[arg(long, value_name = "PORT")]
    inbound_port: Option<u16>,
    /// Port of the outbound listener.
    #[arg(long, value_name = "PORT")]
    outbound_port: Option<u16>,
    /// Port of the control listener.
    #[arg(long, value_name = "PORT")]
    control_port: Option<u16>,
    /// Port of the admin listener.
    #[arg(long, value_name = "PORT")]
    admin_port: Option<u16>,
    /// CPU requested for the proxy.
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    proxy_cpu_request: Option<String>,
    /// CPU limit of the proxy.
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    proxy_cpu_limit: Option<String>,
    /// Memory requested for the proxy.
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    proxy_memory_request: Option<String>,
    /// Memory limit of the proxy.
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    proxy_memory_limit: Option<String>,
    /// Policy of ports without a Server.
    #[arg(long, value_name = "POLICY", value_parser = POLICIES)]
    default_inbound_policy: Option<String>,
    /// Let proxies ask for profiles of names outside the cluster.
    #[arg(long)]
    enable_external_profiles: bool,
    /// Whether the proxy is a native sidecar container.
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    native_sidecar: Option<bool>,
    /// Seconds the proxy waits before it stops.
    #[arg(long, value_name = "SECONDS")]
    wait_before_exit_seconds: Option<u32>,
    /// Inbound ports whose clients must have a mesh identity.
    #[arg(long, value_name = "PORTS", value_parser = ports)]
    require_identity_on_inbound_ports: Option<String>,
}

/// Policies a port can have without a Server.
const POLICIES: [&str; 6] = [
    "all-unauthenticated",
    "all-authenticated",
    "cluster-unauthenticated",
    "cluster-authenticated",
    "deny",
    "audit",
];

/// A list of ports and ranges; kept as it was written.
fn ports(text: &str) -> Result<String, String> {
    text.parse::<mesh_types::PortSet>().map(|_| text.to_owned()).map_err(|e| e.to_string())
}

/// A Kubernetes quantity; kept as it was written.
fn quantity(text: &str) -> Result<String, String> {
    let fine = crate::values::quantity(text);
    fine.then(|| text.to_owned()).ok_or_else(|| "write a quantity such as 100m or 64Mi".to_owned())
}

impl ProxyFlags {
    /// Writes the flags into chart values.
    pub(crate) fn apply(&self, values: &mut Value) {
        let mut put = |path: &str, value: Option<Value>| {
            let Some(value) = value else { return };
            merge(values, &nested(path, value));
        };
        put("proxy/image/name", self.proxy_image.clone().map(Value::from));
        put("linkerdVersion", self.proxy_version.clone().map(Value::from));
        put("imagePullPolicy", self.image_pull_policy.clone().map(Value::from));
        put("proxyInit/ignoreInboundPorts", self.skip_inbound_ports.clone().map(Value::from));
        put("proxyInit/ignoreOutboundPorts", self.skip_outbound_ports.clone().map(Value::from));
        put("proxy/opaquePorts", self.opaque_ports.clone().map(Value::from));
        put("proxy/uid", self.proxy_uid.map(Value::from));
        put("proxy/gid", self.proxy_gid.map(Value::from));
        put("proxy/logLevel", self.proxy_log_level.clone().map(Value::from));
        put("proxy/ports/inbound", self.inbound_port.map(Value::from));
        put("proxy/ports/outbound", self.outbound_port.map(Value::from));
        put("proxy/ports/control", self.control_port.map(Value::from));
        put("proxy/ports/admin", self.admin_port.map(Value::from));
        put("proxy/resources/cpu/request", self.proxy_cpu_request.clone().map(Value::from));
        put("proxy/resources/cpu/limit", self.proxy_cpu_limit.clone().map(Value::from));
        put("proxy/resources/memory/request", self.proxy_memory_request.clone().map(Value::from));
        put("proxy/resources/memory/limit", self.proxy_memory_limit.clone().map(Value::from));
        put("proxy/defaultInboundPolicy", self.default_inbound_policy.clone().map(Value::from));
        put("proxy/enableExternalProfiles", self.enable_external_profiles.then_some(true.into()));
        put("proxy/nativeSidecar", self.native_sidecar.map(Value::from));
        put("proxy/waitBeforeExitSeconds", self.wait_before_exit_seconds.map(Value::from));
        let identity_ports = self.require_identity_on_inbound_ports.clone();
        put("proxy/requireIdentityOnInboundPorts", identity_ports.map(Value::from));
    }

    /// The flags as annotations, for workloads that the injector will set up.
    pub(crate) fn annotations(&self) -> Annotations {
        let mut out = Annotations::new();
        let mut put = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                out.insert(key.to_owned(), value);
            }
        };
        put(keys::PROXY_IMAGE, self.proxy_image.clone());
        put(keys::PROXY_VERSION_OVERRIDE, self.proxy_version.clone());
        put(keys::IMAGE_PULL_POLICY, self.image_pull_policy.clone());
        put(annotations::SKIP_INBOUND_PORTS, self.skip_inbound_ports.clone());
        put(annotations::SKIP_OUTBOUND_PORTS, self.skip_outbound_ports.clone());
        put(annotations::OPAQUE_PORTS, self.opaque_ports.clone());
        put(annotations::REQUIRE_IDENTITY_PORTS, self.require_identity_on_inbound_ports.clone());
        put(annotations::DEFAULT_INBOUND_POLICY, self.default_inbound_policy.clone());
        put(keys::PROXY_UID, self.proxy_uid.map(|v| v.to_string()));
        put(keys::PROXY_GID, self.proxy_gid.map(|v| v.to_string()));
        put(keys::LOG_LEVEL, self.proxy_log_level.clone());
        put(keys::INBOUND_PORT, self.inbound_port.map(|v| v.to_string()));
        put(keys::OUTBOUND_PORT, self.outbound_port.map(|v| v.to_string()));
        put(keys::CONTROL_PORT, self.control_port.map(|v| v.to_string()));
        put(keys::ADMIN_PORT, self.admin_port.map(|v| v.to_string()));
        put(keys::CPU_REQUEST, self.proxy_cpu_request.clone());
        put(keys::CPU_LIMIT, self.proxy_cpu_limit.clone());
        put(keys::MEMORY_REQUEST, self.proxy_memory_request.clone());
        put(keys::MEMORY_LIMIT, self.proxy_memory_limit.clone());
        put(keys::EXTERNAL_PROFILES, self.enable_external_profiles.then(|| "true".to_owned()));
        put(keys::NATIVE_SIDECAR, self.native_sidecar.map(|v| v.to_string()));
        put(keys::WAIT_BEFORE_EXIT, self.wait_before_exit_seconds.map(|v| v.to_string()));
        out
    }
}
