//! Port numbers that manifests, redirect rules and dashboards rely on (Linkerd's published defaults).

/// Inbound proxy listener; redirected inbound traffic and direct (transport-header) connections arrive here.
pub const INBOUND: u16 = 4143;
/// Outbound proxy listener; redirected outbound traffic arrives here.
pub const OUTBOUND: u16 = 4140;
/// Proxy control (tap) listener.
pub const CONTROL: u16 = 4190;
/// Proxy admin listener: metrics, liveness, readiness.
pub const ADMIN: u16 = 4191;
/// The gateway's probe listener: answers `GET /ready` and nothing else.
pub const GATEWAY_PROBE: u16 = 4192;
/// Destination gRPC service.
pub const DESTINATION: u16 = 8086;
/// Policy gRPC service.
pub const POLICY: u16 = 8090;
/// Identity gRPC service.
pub const IDENTITY: u16 = 8080;
/// Injector webhook (HTTPS).
pub const INJECTOR: u16 = 8443;
/// Admin listener of the identity and policy controllers.
pub const CONTROLLER_ADMIN: u16 = 9990;
/// Admin listener of the injector.
pub const INJECTOR_ADMIN: u16 = 9995;
/// Admin listener of the destination controller.
pub const DESTINATION_ADMIN: u16 = 9996;
/// Admin listener of the service mirror.
pub const MIRROR_ADMIN: u16 = 9999;

/// Ports whose protocol speaks first on the server side or is otherwise opaque by default.
pub const DEFAULT_OPAQUE: &str = "25,587,3306,4444,5432,6379,9300,11211";
/// Ports that redirect rules ignore by default, inbound and outbound.
pub const DEFAULT_SKIP: &str = "4567,4568";
