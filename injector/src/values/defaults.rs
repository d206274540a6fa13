//! Defaults, equal to those of `charts/isthmus-control-plane/values.yaml` (a test of `meshctl` compares them).

use super::*;
use mesh_types::ports;

impl Default for Values {
    fn default() -> Self {
        Self {
            cluster_domain: mesh_types::CLUSTER_DOMAIN.into(),
            cluster_networks: "10.0.0.0/8,100.64.0.0/10,172.16.0.0/12,192.168.0.0/16,fd00::/8".into(),
            identity_trust_domain: String::new(),
            identity_trust_anchors_pem: String::new(),
            cni_enabled: false,
            disable_ipv6: true,
            linkerd_version: String::new(),
            image_pull_policy: "IfNotPresent".into(),
            proxy: Proxy::default(),
            proxy_init: ProxyInit::default(),
            network_validator: NetworkValidator::default(),
            kubernetes: None,
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            image: Image { name: "isthmus/proxy".into(), ..Image::default() },
            log_level: "warn,linkerd=info,hickory=error".into(),
            log_format: "plain".into(),
            log_http_headers: "off".into(),
            ports: Ports::default(),
            cores: 0,
            runtime: Runtime::default(),
            resources: Resources::default(),
            uid: mesh_types::PROXY_UID,
            gid: -1,
            await_ready: true,
            wait_before_exit_seconds: 0,
            native_sidecar: true,
            shutdown_grace_period: String::new(),
            enable_shutdown_endpoint: false,
            require_identity_on_inbound_ports: String::new(),
            opaque_ports: ports::DEFAULT_OPAQUE.into(),
            pod_inbound_ports: String::new(),
            default_inbound_policy: "all-unauthenticated".into(),
            enable_external_profiles: false,
            inbound_connect_timeout: "100ms".into(),
            outbound_connect_timeout: "1000ms".into(),
            inbound_discovery_cache_unused_timeout: "90s".into(),
            outbound_discovery_cache_unused_timeout: "5s".into(),
            disable_inbound_protocol_detect_timeout: false,
            disable_outbound_protocol_detect_timeout: false,
            liveness_probe: Probe { initial_delay_seconds: 10, period_seconds: 10, ..Probe::default() },
            readiness_probe: Probe { period_seconds: 5, ..Probe::default() },
            startup_probe: Probe { failure_threshold: 120, ..Probe::default() },
            control: Control::default(),
            metrics: Metrics::default(),
            inbound: Direction::default(),
            outbound: Direction::default(),
            access_log: String::new(),
            additional_env: Vec::new(),
            experimental_env: Vec::new(),
            gateway: false,
            ingress: false,
        }
    }
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            admin: ports::ADMIN,
            control: ports::CONTROL,
            inbound: ports::INBOUND,
            outbound: ports::OUTBOUND,
        }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Self { minimum: 1, maximum_cpu_ratio: None }
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self { initial_delay_seconds: 0, period_seconds: 1, timeout_seconds: 1, failure_threshold: 3 }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self { initial_timeout: "3s".into(), idle_timeout: "5m".into(), lifetime: "1h".into() }
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self { keep_alive_interval: "10s".into(), keep_alive_timeout: "3s".into() }
    }
}

impl Default for ProxyInit {
    fn default() -> Self {
        Self {
            image: Image { name: "isthmus/init".into(), ..Image::default() },
            ignore_inbound_ports: ports::DEFAULT_SKIP.into(),
            ignore_outbound_ports: ports::DEFAULT_SKIP.into(),
            kube_api_server_ports: "443,6443".into(),
            skip_subnets: String::new(),
            close_wait_timeout_secs: 0,
            privileged: false,
            run_as_user: 0,
            run_as_group: 0,
        }
    }
}

impl Default for NetworkValidator {
    fn default() -> Self {
        Self { connect_addr: "1.1.1.1:20001".into(), listen_addr: String::new(), timeout: "10s".into() }
    }
}

impl Values {
    /// Trust domain in force.
    pub fn trust_domain(&self) -> &str {
        match self.identity_trust_domain.as_str() {
            "" => &self.cluster_domain,
            domain => domain,
        }
    }

    /// The version that is installed.
    pub fn version(&self) -> &str {
        if self.linkerd_version.is_empty() { mesh_types::VERSION } else { &self.linkerd_version }
    }

    /// Full reference of an image.
    pub fn image(&self, image: &Image) -> String {
        let version = if image.version.is_empty() { self.version() } else { &image.version };
        format!("{}:{version}", image.name)
    }

    /// Pull policy of an image.
    pub fn pull_policy<'a>(&'a self, image: &'a Image) -> &'a str {
        if image.pull_policy.is_empty() { &self.image_pull_policy } else { &image.pull_policy }
    }
}
