//! From the environment to [`Config`]. Default and reason stand together, beside each variable.

use super::{
    Admin, Config, ConfigError, ConfigErrors, ControlAddr, ControlStream, DefaultPolicy, Destination, Env,
    Gateway, Http, Identities, Inbound, Log, Outbound, Policy, Shutdown, Sockets,
};
use ipnet::IpNet;
use mesh_types::{
    Authority, GATEWAY_SERVICE_ACCOUNT, Identity, MULTICLUSTER_NAMESPACE, PortSet, WorkloadIdentity,
    parse_duration, ports,
};
use std::cell::RefCell;
use std::fmt::Display;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const SEC: Duration = Duration::from_secs(1);

/// HTTP/2 stream window, bytes. A receiver grants anew what was read once that is half of the window, so that one stream
/// fills a path of half this: 200 Mbit/s over 80 ms.
const H2_STREAM_WINDOW: u32 = 4 << 20;
/// HTTP/2 connection window, bytes: what slow readers can make us hold for a connection, however many they are. Eight that
/// do not read at all stop the others.
const H2_CONNECTION_WINDOW: u32 = 32 << 20;

/// Reads variables and remembers what is wrong with them.
struct Reader<'a> {
    env: &'a Env,
    errors: RefCell<Vec<ConfigError>>,
}

pub(super) fn config(env: &Env) -> Result<Config, ConfigErrors> {
    let r = Reader { env, errors: RefCell::default() };
    let inbound = inbound(&r);
    let outbound = outbound(&r);
    let identity = identity(&r);
    let destination = destination(&r);
    let policy = policy(&r);
    let gateway = gateway(&r);
    let config = Config {
        cores: cores(&r),
        max_connections: r.opt_in("ISTHMUS_", "MAX_CONNECTIONS", from_str),
        access_log: r.opt("ACCESS_LOG", from_str),
        log: Log {
            filter: r.text("LOG").unwrap_or("warn,linkerd=info,hickory=error").to_owned(),
            format: r.text("LOG_FORMAT").unwrap_or("plain").to_owned(),
        },
        admin: Admin {
            listen: r.or("ADMIN_LISTEN_ADDR", any(ports::ADMIN), from_str),
            shutdown_endpoint: r.or("SHUTDOWN_ENDPOINT_ENABLED", false, boolean),
        },
        control_stream: ControlStream {
            initial_timeout: r.duration("CONTROL_STREAM_INITIAL_TIMEOUT", 3 * SEC),
            idle_timeout: r.duration("CONTROL_STREAM_IDLE_TIMEOUT", 300 * SEC),
            lifetime: r.duration("CONTROL_STREAM_LIFETIME", 3600 * SEC),
        },
        shutdown: Shutdown {
            grace: r.duration("SHUTDOWN_GRACE_PERIOD", 120 * SEC),
            // Ours: endpoint removal reaches the other proxies within about a second.
            keep_accepting: r.or_in("ISTHMUS_", "SHUTDOWN_KEEP_ACCEPTING", SEC, duration),
        },
        metrics_retain_idle: r.duration("METRICS_RETAIN_IDLE", 600 * SEC),
        inbound,
        outbound,
        // The placeholders are never seen: an absent value is an error, and errors win.
        identity: identity.unwrap_or_else(placeholder_identity),
        destination,
        policy,
        gateway,
    };
    let errors = r.errors.into_inner();
    if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
}

fn cores(r: &Reader<'_>) -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let least = r.or("CORES_MIN", 1usize, from_str).max(1);
    let most = r.or("CORES_MAX", available, from_str).max(least);
    let by_ratio = r.opt("CORES_MAX_RATIO", ratio).map(|ratio| {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let cores = (available as f64 * ratio).round() as usize;
        cores.clamp(least, most)
    });
    r.opt("CORES", from_str::<usize>).map(|n| n.max(1)).or(by_ratio).unwrap_or(least)
}

fn inbound(r: &Reader<'_>) -> Inbound {
    Inbound {
        listen: r.or("INBOUND_LISTEN_ADDR", any(ports::INBOUND), from_str),
        sockets: sockets(r, "INBOUND"),
        http: http(r, "INBOUND", SEC),
        connect_timeout: r.duration("INBOUND_CONNECT_TIMEOUT", Duration::from_millis(300)),
        detect_timeout: r.duration("INBOUND_DETECT_TIMEOUT", 10 * SEC),
        discovery_idle_timeout: r.duration("INBOUND_DISCOVERY_IDLE_TIMEOUT", 90 * SEC),
        ips: r.or("INBOUND_IPS", Vec::new(), list::<IpAddr>),
        ports: r.ports("INBOUND_PORTS"),
        require_identity: r.ports("INBOUND_PORTS_REQUIRE_IDENTITY"),
        require_tls: r.ports("INBOUND_PORTS_REQUIRE_TLS"),
        opaque: r.ports("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION"),
        default_policy: r.or("INBOUND_DEFAULT_POLICY", DefaultPolicy::AllUnauthenticated, default_policy),
        cluster_networks: r.or("POLICY_CLUSTER_NETWORKS", Vec::new(), list::<IpNet>),
        gateways: r
            .opt_in("ISTHMUS_", "INBOUND_GATEWAY_IDENTITIES", list::<Identity>)
            .unwrap_or_else(|| own_gateway(r).into_iter().collect()),
    }
}

/// The gateway of our own cluster where the multicluster extension installs it. Others never send anything to our pods,
/// and a name of another trust domain is for that domain's owners to give.
fn own_gateway(r: &Reader<'_>) -> Option<Identity> {
    let local: Identity = r.text("IDENTITY_LOCAL_NAME")?.parse().ok()?;
    let gateway = WorkloadIdentity {
        service_account: GATEWAY_SERVICE_ACCOUNT.to_owned(),
        namespace: MULTICLUSTER_NAMESPACE.to_owned(),
        ..local.workload().ok()?
    };
    gateway.identity().ok()
}

fn outbound(r: &Reader<'_>) -> Outbound {
    let single = r.opt("OUTBOUND_LISTEN_ADDR", list::<SocketAddr>);
    let loopback = SocketAddr::from(([127, 0, 0, 1], ports::OUTBOUND));
    Outbound {
        listen: r
            .opt("OUTBOUND_LISTEN_ADDRS", list::<SocketAddr>)
            .or(single)
            .unwrap_or_else(|| vec![loopback]),
        sockets: sockets(r, "OUTBOUND"),
        http: http(r, "OUTBOUND", 3 * SEC),
        connect_timeout: r.duration("OUTBOUND_CONNECT_TIMEOUT", SEC),
        detect_timeout: r.duration("OUTBOUND_DETECT_TIMEOUT", 10 * SEC),
        discovery_idle_timeout: r.duration("OUTBOUND_DISCOVERY_IDLE_TIMEOUT", 5 * SEC),
        tcp_queue_capacity: r.or("OUTBOUND_TCP_QUEUE_CAPACITY", 10_000, from_str),
        tcp_failfast_timeout: r.duration("OUTBOUND_TCP_FAILFAST_TIMEOUT", 3 * SEC),
        // These three are ours; the outbound API has no words for them.
        slow_start: r.or_in("ISTHMUS_", "OUTBOUND_SLOW_START", 10 * SEC, duration),
        max_in_flight_per_endpoint: r.or_in("ISTHMUS_", "OUTBOUND_MAX_IN_FLIGHT_PER_ENDPOINT", 0, from_str),
        max_buffered_bytes: r.or_in("ISTHMUS_", "OUTBOUND_MAX_BUFFERED_BYTES", 32 << 20, from_str),
        hostname_labels: r.or("OUTBOUND_METRICS_HOSTNAME_LABELS", false, boolean),
        disable_informational_headers: r.or("OUTBOUND_DISABLE_INFORMATIONAL_HEADERS", false, boolean),
        ingress_mode: r.or("INGRESS_MODE", false, boolean),
    }
}

fn sockets(r: &Reader<'_>, side: &str) -> Sockets {
    let option = |name: &str, default| {
        Some(r.duration(&format!("{side}_{name}"), default)).filter(|value| !value.is_zero())
    };
    Sockets {
        accept_keepalive: option("ACCEPT_KEEPALIVE", 10 * SEC),
        accept_user_timeout: option("ACCEPT_USER_TIMEOUT", 30 * SEC),
        connect_keepalive: option("CONNECT_KEEPALIVE", 10 * SEC),
        connect_user_timeout: option("CONNECT_USER_TIMEOUT", 30 * SEC),
        backlog: r.or(&format!("{side}_TCP_LISTEN_BACKLOG"), 4096, from_str),
    }
}

fn http(r: &Reader<'_>, side: &str, failfast: Duration) -> Http {
    let key = |name: &str| format!("{side}_{name}");
    let interval = r.duration(&key("SERVER_HTTP2_KEEP_ALIVE_INTERVAL"), 10 * SEC);
    let timeout = r.duration(&key("SERVER_HTTP2_KEEP_ALIVE_TIMEOUT"), 3 * SEC);
    // Ours: a head comes in one piece or at the pace of a bad network; an hour idle is what pools allow themselves.
    let head = r.or_in("ISTHMUS_", &key("HTTP1_HEADER_READ_TIMEOUT"), 30 * SEC, duration);
    let idle = r.or_in("ISTHMUS_", &key("HTTP1_IDLE_TIMEOUT"), 3600 * SEC, duration);
    Http {
        queue_capacity: r.or(&key("HTTP_QUEUE_CAPACITY"), 10_000, from_str),
        failfast_timeout: r.duration(&key("HTTP_FAILFAST_TIMEOUT"), failfast),
        max_in_flight: r.or(&key("MAX_IN_FLIGHT"), 100_000, from_str),
        max_idle_per_endpoint: r.or(&key("MAX_IDLE_CONNS_PER_ENDPOINT"), 10_000, from_str),
        pool_idle_timeout: r.duration(&key("HTTP1_CONNECTION_POOL_IDLE_TIMEOUT"), 3 * SEC),
        h2_stream_window: window(r, side, "STREAM", H2_STREAM_WINDOW),
        h2_connection_window: window(r, side, "CONNECTION", H2_CONNECTION_WINDOW),
        server_keep_alive: (!interval.is_zero()).then_some((interval, timeout)),
        header_read_timeout: head,
        idle_timeout: Some(idle).filter(|idle| !idle.is_zero()),
    }
}

/// A window of one side; the name without a side sets both.
fn window(r: &Reader<'_>, side: &str, of: &str, default: u32) -> u32 {
    let both = r.or(&format!("HTTP2_INITIAL_{of}_WINDOW_SIZE"), default, h2_window);
    r.or(&format!("{side}_SERVER_HTTP2_INITIAL_{of}_WINDOW_SIZE"), both, h2_window)
}

fn identity(r: &Reader<'_>) -> Option<Identities> {
    let local = r.required("IDENTITY_LOCAL_NAME", from_str::<Identity>);
    let trust_anchors = r.required("IDENTITY_TRUST_ANCHORS", pem);
    let token_file = r.required("IDENTITY_TOKEN_FILE", from_str::<PathBuf>);
    let service = r.control("IDENTITY");
    let min_refresh = r.duration("IDENTITY_MIN_REFRESH", 10 * SEC);
    let max_refresh = r.duration("IDENTITY_MAX_REFRESH", 24 * 3600 * SEC);
    Some(Identities {
        local: local?,
        trust_anchors: trust_anchors?,
        token_file: token_file?,
        dir: r.opt("IDENTITY_DIR", from_str),
        service: service?,
        min_refresh,
        max_refresh: max_refresh.max(min_refresh),
    })
}

fn placeholder_identity() -> Identities {
    let loopback = Authority { host: "localhost".into(), port: ports::IDENTITY };
    Identities {
        #[allow(clippy::expect_used)] // a constant, covered by the tests of an empty environment
        local: "invalid".parse().expect("a constant name"),
        trust_anchors: String::new(),
        token_file: PathBuf::new(),
        dir: None,
        service: ControlAddr { addr: loopback, identity: None },
        min_refresh: SEC,
        max_refresh: SEC,
    }
}

fn destination(r: &Reader<'_>) -> Destination {
    Destination {
        service: r.control("DESTINATION").unwrap_or_else(|| placeholder_identity().service),
        context: r.text("DESTINATION_CONTEXT").unwrap_or_default().to_owned(),
        profile_networks: r.or("DESTINATION_PROFILE_NETWORKS", Vec::new(), list::<IpNet>),
        profile_suffixes: r.or(
            "DESTINATION_PROFILE_SUFFIXES",
            vec!["svc.cluster.local".to_owned()],
            suffixes,
        ),
    }
}

fn policy(r: &Reader<'_>) -> Policy {
    Policy {
        service: r.control("POLICY").unwrap_or_else(|| placeholder_identity().service),
        workload: r.required("POLICY_WORKLOAD", from_str::<String>).unwrap_or_default(),
    }
}

fn gateway(r: &Reader<'_>) -> Option<Gateway> {
    let probe_listen = r.opt_in("ISTHMUS_", "GATEWAY_PROBE_LISTEN_ADDR", from_str);
    r.opt("INBOUND_GATEWAY_SUFFIXES", suffixes).map(|suffixes| Gateway { suffixes, probe_listen })
}

impl<'a> Reader<'a> {
    fn text(&self, name: &str) -> Option<&'a str> {
        self.env.get(&format!("LINKERD2_PROXY_{name}"))
    }

    fn fail(&self, variable: String, problem: impl Display) {
        self.errors.borrow_mut().push(ConfigError { variable, problem: problem.to_string() });
    }

    fn opt_in<T>(&self, prefix: &str, name: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let variable = format!("{prefix}{name}");
        let text = self.env.get(&variable)?;
        parse(text).map_err(|problem| self.fail(variable, problem)).ok()
    }

    fn or_in<T>(&self, prefix: &str, name: &str, default: T, parse: fn(&str) -> Result<T, String>) -> T {
        self.opt_in(prefix, name, parse).unwrap_or(default)
    }

    fn opt<T>(&self, name: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        self.opt_in("LINKERD2_PROXY_", name, parse)
    }

    fn or<T>(&self, name: &str, default: T, parse: fn(&str) -> Result<T, String>) -> T {
        self.opt(name, parse).unwrap_or(default)
    }

    fn required<T>(&self, name: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        if self.text(name).is_none() {
            self.fail(format!("LINKERD2_PROXY_{name}"), "must be set");
        }
        self.opt(name, parse)
    }

    fn duration(&self, name: &str, default: Duration) -> Duration {
        self.or(name, default, duration)
    }

    fn ports(&self, name: &str) -> PortSet {
        self.or(name, PortSet::default(), from_str)
    }

    fn control(&self, service: &str) -> Option<ControlAddr> {
        let addr = self.required(&format!("{service}_SVC_ADDR"), authority)?;
        let loopback = addr.host == "localhost" || addr.ip().is_some_and(|ip| ip.is_loopback());
        let identity =
            if loopback { None } else { Some(self.required(&format!("{service}_SVC_NAME"), from_str)?) };
        Some(ControlAddr { addr, identity })
    }
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))
}

fn from_str<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| format!("{text:?}: {error}"))
}

fn list<T: FromStr<Err: Display>>(text: &str) -> Result<Vec<T>, String> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(from_str).collect()
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "true" | "on" | "yes" => Ok(true),
        "0" | "false" | "off" | "no" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// RFC 9113, 6.5.2 and 6.9.1: a window is positive and below 2^31.
fn h2_window(text: &str) -> Result<u32, String> {
    const MAX: u32 = (1 << 31) - 1;
    let bytes: u32 = from_str(text)?;
    if (1..=MAX).contains(&bytes) { Ok(bytes) } else { Err(format!("{text} must lie between 1 and {MAX}")) }
}

fn ratio(text: &str) -> Result<f64, String> {
    let value: f64 = from_str(text)?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(format!("{text} must lie between 0.0 and 1.0")) }
}

fn authority(text: &str) -> Result<Authority, String> {
    Authority::parse(text, 0)
        .map_err(|error| error.to_string())
        .and_then(|a| if a.port == 0 { Err(format!("{text:?} has no port")) } else { Ok(a) })
}

fn pem(text: &str) -> Result<String, String> {
    if text.contains("-----BEGIN CERTIFICATE-----") {
        Ok(text.to_owned())
    } else {
        Err("must hold at least one PEM certificate".to_owned())
    }
}

fn suffixes(text: &str) -> Result<Vec<String>, String> {
    let trim = |s: &str| s.trim().trim_matches('.').to_ascii_lowercase();
    Ok(text.split(',').filter(|s| !s.trim().is_empty()).map(trim).collect())
}

fn default_policy(text: &str) -> Result<DefaultPolicy, String> {
    Ok(match text {
        "all-unauthenticated" => DefaultPolicy::AllUnauthenticated,
        "all-authenticated" => DefaultPolicy::AllAuthenticated,
        "cluster-unauthenticated" => DefaultPolicy::ClusterUnauthenticated,
        "cluster-authenticated" => DefaultPolicy::ClusterAuthenticated,
        "audit" => DefaultPolicy::Audit,
        "deny" => DefaultPolicy::Deny,
        _ => {
            return Err(format!(
                "{text:?} is none of all-unauthenticated, all-authenticated, cluster-unauthenticated, \
                 cluster-authenticated, audit, deny"
            ));
        }
    })
}
