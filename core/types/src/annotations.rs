//! Annotation keys read and written by the mesh.

/// `enabled`, `disabled` or `ingress`, on a namespace or a pod.
pub const INJECT: &str = "linkerd.io/inject";
/// Who made an object, e.g. `linkerd/cli 0.1.0`.
pub const CREATED_BY: &str = "linkerd.io/created-by";
/// Version of the injected proxy.
pub const PROXY_VERSION: &str = "linkerd.io/proxy-version";
/// SHA-256 of the trust bundle a pod was injected with.
pub const TRUST_ROOT_SHA256: &str = "linkerd.io/trust-root-sha256";
/// Prefix of all proxy configuration annotations.
pub const CONFIG_PREFIX: &str = "config.linkerd.io/";
/// Ports treated as opaque TCP: numbers, ranges, named container ports.
pub const OPAQUE_PORTS: &str = "config.linkerd.io/opaque-ports";
/// Ports that inbound redirect rules leave alone.
pub const SKIP_INBOUND_PORTS: &str = "config.linkerd.io/skip-inbound-ports";
/// Ports that outbound redirect rules leave alone.
pub const SKIP_OUTBOUND_PORTS: &str = "config.linkerd.io/skip-outbound-ports";
/// Subnets that redirect rules leave alone.
pub const SKIP_SUBNETS: &str = "config.linkerd.io/skip-subnets";
/// The inbound policy for ports without a Server.
pub const DEFAULT_INBOUND_POLICY: &str = "config.linkerd.io/default-inbound-policy";
/// Ports on which clients must be meshed whatever the default policy says.
pub const REQUIRE_IDENTITY_PORTS: &str = "config.linkerd.io/proxy-require-identity-inbound-ports";
/// Makes an injected proxy a multicluster gateway.
pub const ENABLE_GATEWAY: &str = "config.linkerd.io/enable-gateway";

/// Resource version of the remote Service a mirror was last written from.
pub const REMOTE_RESOURCE_VERSION: &str = "mirror.linkerd.io/remote-resource-version";
/// Fully qualified name of the Service in its own cluster.
pub const REMOTE_SVC_FQ_NAME: &str = "mirror.linkerd.io/remote-svc-fq-name";
/// TLS identity of the gateway behind a mirror's endpoints.
pub const REMOTE_GATEWAY_IDENTITY: &str = "mirror.linkerd.io/remote-gateway-identity";
/// On the gateway Service: its TLS identity.
pub const GATEWAY_IDENTITY: &str = "mirror.linkerd.io/gateway-identity";
/// On the gateway Service: marks it as a gateway.
pub const MULTICLUSTER_GATEWAY: &str = "mirror.linkerd.io/multicluster-gateway";
/// On the gateway Service: seconds between probes.
pub const PROBE_PERIOD: &str = "mirror.linkerd.io/probe-period";
/// On the gateway Service: path probed.
pub const PROBE_PATH: &str = "mirror.linkerd.io/probe-path";
/// On a federated Service: remote members as `svc@cluster,…` (flat mode).
pub const REMOTE_DISCOVERY: &str = "multicluster.linkerd.io/remote-discovery";
/// On a federated Service: the local member's name.
pub const LOCAL_DISCOVERY: &str = "multicluster.linkerd.io/local-discovery";
/// On a link's credentials in the control-plane namespace: the remote trust domain.
pub const TRUST_DOMAIN: &str = "multicluster.linkerd.io/trust-domain";
/// On a link's credentials in the control-plane namespace: the remote cluster domain.
pub const CLUSTER_DOMAIN: &str = "multicluster.linkerd.io/cluster-domain";

/// On a federated gateway slice: how many endpoints are ready behind that gateway.
pub const READY_ENDPOINTS: &str = "isthmus.dev/ready-endpoints";
/// On a federated Service or its members: `enabled`, or cluster names in order of preference.
pub const FAILOVER: &str = "isthmus.dev/failover";
/// On a federated Service: clusters by smoothed gateway round trip, written by the mirror.
pub const CLUSTER_ORDER: &str = "isthmus.dev/cluster-order";

/// `consecutive` or `unified`.
pub const FAILURE_ACCRUAL: &str = "balancer.linkerd.io/failure-accrual";
/// Failures in a row that eject an endpoint (7).
pub const FAILURE_ACCRUAL_MAX_FAILURES: &str = "balancer.linkerd.io/failure-accrual-consecutive-max-failures";
/// Shortest ejection (1s).
pub const FAILURE_ACCRUAL_MIN_PENALTY: &str = "balancer.linkerd.io/failure-accrual-consecutive-min-penalty";
/// Longest ejection (60s).
pub const FAILURE_ACCRUAL_MAX_PENALTY: &str = "balancer.linkerd.io/failure-accrual-consecutive-max-penalty";
/// Jitter added to ejections (0.5).
pub const FAILURE_ACCRUAL_JITTER: &str = "balancer.linkerd.io/failure-accrual-consecutive-jitter-ratio";
/// Ejected endpoints come back no sooner than `Retry-After` says (`true` or `false`).
pub const FAILURE_ACCRUAL_HONOR_RETRY_AFTER: &str =
    "balancer.alpha.linkerd.io/failure-accrual-honor-retry-after";
/// Success rate below which `unified` ejects (0.8).
pub const FAILURE_ACCRUAL_SUCCESS_RATE: &str =
    "balancer.alpha.linkerd.io/failure-accrual-success-rate-threshold";
/// Time over which `unified` counts (10s).
pub const FAILURE_ACCRUAL_WINDOW: &str = "balancer.alpha.linkerd.io/failure-accrual-success-rate-window";
/// Requests below which `unified` does not judge (5).
pub const FAILURE_ACCRUAL_MIN_REQUESTS: &str =
    "balancer.alpha.linkerd.io/failure-accrual-success-rate-min-requests";
/// Endpoints that fail or say that they have too much to do get less, by a greater assumed latency (`true` or `false`).
pub const PENALIZE_FAILURES: &str = "balancer.alpha.linkerd.io/penalize-failures";
/// The latency that a failure adds (5s).
pub const LOAD_BIASER_PENALTY: &str = "balancer.alpha.linkerd.io/load-biaser-penalty";
/// The latency that a failure adds at most where the endpoint sends `Retry-After` (300s).
pub const LOAD_BIASER_MAX_RETRY_AFTER: &str = "balancer.alpha.linkerd.io/load-biaser-max-retry-after";

/// Time for a whole request.
pub const TIMEOUT_REQUEST: &str = "timeout.linkerd.io/request";
/// Time for a response, once the request is sent.
pub const TIMEOUT_RESPONSE: &str = "timeout.linkerd.io/response";
/// Time between two frames.
pub const TIMEOUT_IDLE: &str = "timeout.linkerd.io/idle";
/// Responses that are retried: `5xx`, `gateway-error`, codes and ranges of codes.
pub const RETRY_HTTP: &str = "retry.linkerd.io/http";
/// gRPC statuses that are retried.
pub const RETRY_GRPC: &str = "retry.linkerd.io/grpc";
/// How often a request is retried (1).
pub const RETRY_LIMIT: &str = "retry.linkerd.io/limit";
/// Time for one attempt of a request that can be retried.
pub const RETRY_TIMEOUT: &str = "retry.linkerd.io/timeout";
