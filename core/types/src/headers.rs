//! HTTP header names that proxies add, read or strip.

/// On responses made by a proxy: the reason.
pub const PROXY_ERROR: &str = "l5d-proxy-error";
/// On responses made by a proxy: `close` when the connection must not be reused.
pub const PROXY_CONNECTION: &str = "l5d-proxy-connection";
/// On requests between proxies: the original protocol of an HTTP/1 request carried over HTTP/2.
pub const ORIG_PROTO: &str = "l5d-orig-proto";
/// Set by the server's proxy: the verified client identity.
pub const CLIENT_ID: &str = "l5d-client-id";
/// On a request: the identity the server must have.
pub const REQUIRE_ID: &str = "l5d-require-id";
/// In ingress mode: the destination to use instead of the original one.
pub const DST_OVERRIDE: &str = "l5d-dst-override";
/// The canonical name of the destination.
pub const DST_CANONICAL: &str = "l5d-dst-canonical";
/// On a request: the time it may take, where its route lets it say so; so are the next six.
pub const TIMEOUT: &str = "l5d-timeout";
/// The same.
pub const REQUEST_TIMEOUT: &str = "l5d-request-timeout";
/// On a request: the time its response may take once it is sent.
pub const RESPONSE_TIMEOUT: &str = "l5d-response-timeout";
/// On a request: HTTP conditions on which it is tried again.
pub const RETRY_HTTP: &str = "l5d-retry-http";
/// On a request: gRPC conditions on which it is tried again.
pub const RETRY_GRPC: &str = "l5d-retry-grpc";
/// On a request: how often it may be tried again.
pub const RETRY_LIMIT: &str = "l5d-retry-limit";
/// On a request: the time that one attempt may take.
pub const RETRY_TIMEOUT: &str = "l5d-retry-timeout";
/// What a request may say of its own timeouts and retries.
pub const OVERRIDES: [&str; 7] =
    [TIMEOUT, REQUEST_TIMEOUT, RESPONSE_TIMEOUT, RETRY_HTTP, RETRY_GRPC, RETRY_LIMIT, RETRY_TIMEOUT];
/// Prefix of all headers above; untrusted ones are dropped.
pub const L5D_PREFIX: &str = "l5d-";
/// Appended by gateways: `by=<gateway id>;for=<client id>;host=<svc:port>;proto=https`.
pub const FORWARDED: &str = "forwarded";
/// On a mesh proxy's own answer, whether the request may be tried elsewhere: `true` where nothing of it reached an
/// application, [`AGAIN`] or [`BROKEN`]. Proxies of the mesh drop it from what applications say, and before clients.
pub const RETRY_SAFE: &str = "isthmus-retry-safe";
/// A value of [`RETRY_SAFE`]: a kept connection to the application ended, or a new one was reset; the request may be
/// repeated, there or elsewhere.
pub const AGAIN: &str = "again";
/// A value of [`RETRY_SAFE`]: the connection to the application broke, and nobody knows how far the request got.
pub const BROKEN: &str = "broken";

/// ALPN protocol of connections that begin with a transport header.
pub const TRANSPORT_ALPN: &[u8] = b"transport.l5d.io/v1";
/// ALPN protocol of connections that carry one stream of bytes after the other (`mesh_net::Tunnel`). Ours; other proxies
/// take the transport header that is offered beside it.
pub const TUNNEL_ALPN: &[u8] = b"tunnel.isthmus.dev/v1";
