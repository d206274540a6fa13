//! What can go wrong with a connection or a request, which side it went wrong on, whether another endpoint may safely
//! be tried, and what the client is told.

use crate::body::Body;
use crate::http::guard::Violation;
use crate::http::http1;
use http::{HeaderValue, Response, StatusCode, header};
use mesh_http2::Code;
use mesh_types::headers;
use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// A failed connection or request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A TCP connection to the next hop could not be made.
    #[error("connect to {addr}: {source}")]
    Connect {
        /// Where to.
        addr: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A connection to the next hop was not made in time.
    #[error("connect to {addr} timed out after {after:?}")]
    ConnectTimeout {
        /// Where to.
        addr: SocketAddr,
        /// The limit.
        after: Duration,
    },
    /// The next hop's proxy did not open a connection for bytes; nothing was sent.
    #[error("connect to {addr}: its proxy says: {reason}")]
    Refused {
        /// The peer.
        addr: SocketAddr,
        /// Its words.
        reason: String,
    },
    /// TLS with the next hop failed.
    #[error("TLS with {addr}: {reason}")]
    Tls {
        /// The peer.
        addr: SocketAddr,
        /// What rustls said.
        reason: String,
    },
    /// TLS with the client failed.
    #[error("TLS with the client: {0}")]
    ClientTls(String),
    /// The request was never written to the connection.
    #[error("request was not sent: {0}")]
    NotSent(#[source] Cause),
    /// The request was written (or may have been), and no response came.
    #[error("request failed: {0}")]
    Request(#[source] Cause),
    /// A kept HTTP/1 connection ended as an idempotent request was on its way, without a word: the usual end of an idle
    /// connection, after which such a request may be repeated (RFC 9112, 9.3.1). Or a new one was reset, as those are that
    /// a listener had not accepted when it closed.
    #[error("connection closed as the request was sent: {0}")]
    Dropped(#[source] Cause),
    /// A body could not be read.
    #[error("body: {0}")]
    Body(#[source] Cause),
    /// The destination has no endpoints.
    #[error("no endpoints for {0}")]
    NoEndpoints(Cow<'static, str>),
    /// The destination is known to be failing; nothing was sent.
    #[error("{0} is in failfast")]
    Failfast(Cow<'static, str>),
    /// Too much is queued or in flight.
    #[error("overloaded: {0}")]
    Overloaded(&'static str),
    /// No response headers in time.
    #[error("response timeout after {0:?}")]
    ResponseTimeout(Duration),
    /// The whole exchange took too long.
    #[error("request timeout after {0:?}")]
    RequestTimeout(Duration),
    /// The stream was idle for too long.
    #[error("stream idle for {0:?}")]
    IdleTimeout(Duration),
    /// Policy does not let this client do this.
    #[error("unauthorized {kind} on {server}: client {client}")]
    Unauthorized {
        /// `connection` or `request`.
        kind: &'static str,
        /// The policy server's name.
        server: String,
        /// The client as far as it is known.
        client: String,
    },
    /// Policy forbids this destination.
    #[error("forbidden: {0}")]
    Forbidden(Cow<'static, str>),
    /// No route matches.
    #[error("no route found for request")]
    RouteNotFound,
    /// No TLS route is for the server name that the client asks for, or for clients that ask for none.
    #[error("no TLS route for {}", .0.as_deref().unwrap_or("clients that name no server"))]
    TlsRouteNotFound(Option<String>),
    /// The destination takes TLS only, and the client does not begin with a ClientHello.
    #[error("the destination takes TLS only, and the client does not speak it")]
    TlsRequired,
    /// The destination takes TLS only, and no whole ClientHello came in time.
    #[error("the destination takes TLS only, and no ClientHello came within {0:?}")]
    TlsTimeout(Duration),
    /// A route or a backend is not usable as it is configured.
    #[error("invalid backend: {0}")]
    InvalidBackend(String),
    /// A route's filter answers in place of the destination.
    #[error("{message}")]
    Injected {
        /// The status to answer with.
        status: StatusCode,
        /// The reason to state.
        message: String,
    },
    /// A gRPC route's filter answers in place of the destination.
    #[error("{message}")]
    InjectedGrpc {
        /// The gRPC code to answer with.
        code: u32,
        /// The reason to state.
        message: String,
    },
    /// The connection leads back to this proxy.
    #[error("connection to {0} would loop")]
    Loop(SocketAddr),
    /// The gateway was asked to forward what came from itself.
    #[error("gateway loop detected")]
    GatewayLoop,
    /// The gateway was asked for a name outside of its domain.
    #[error("gateway domain invalid: {0}")]
    GatewayDomain(String),
    /// A direct connection came without a client certificate.
    #[error("direct connections must be mutually authenticated")]
    IdentityRequired,
    /// A direct connection came without a usable transport header.
    #[error("transport header: {0}")]
    TransportHeader(String),
    /// The request is not one that can be forwarded.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// The request is not well-framed HTTP/1; nothing of it was sent on, or not to its end.
    #[error("malformed request: {}", .0.reason)]
    Malformed(Violation),
    /// The client sends too many control frames.
    #[error("the client sends too many {0} frames")]
    Flood(&'static str),
    /// The port's rate limit is used up.
    #[error("{scope} rate limit exceeded: {rate} requests per second")]
    RateLimited {
        /// Which limit: `total`, `identity` or `override`.
        scope: &'static str,
        /// The limit.
        rate: u32,
    },
    /// The server's identity is not the one the client asked for.
    #[error("required identity {required} but the server is {found}")]
    RequiredIdentity {
        /// What the client asked for.
        required: String,
        /// Who it would be.
        found: String,
    },
    /// Reading or writing a connection failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// Serving HTTP to the client failed.
    #[error("serving HTTP: {0}")]
    Server(#[source] Cause),
    /// The control plane has not answered yet.
    #[error("no policy for {0}")]
    Undiscovered(SocketAddr),
    /// The proxy cannot run as configured.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigErrors),
    /// A part of the proxy could not start.
    #[error("{what}: {reason}")]
    Start {
        /// The part.
        what: &'static str,
        /// Why not.
        reason: String,
    },
}

/// What broke off an exchange with the next hop, or the client.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// On an HTTP/1 connection to a server.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// On an HTTP/2 connection.
    #[error(transparent)]
    Http2(#[from] mesh_http2::Error),
    /// The body that was to be sent failed.
    #[error("{0}")]
    Sent(#[source] Box<Error>),
}

impl Cause {
    /// Whether the body that was to be sent failed: the client's doing.
    pub fn is_user(&self) -> bool {
        matches!(self, Self::Http1(http1::Error::Body(_)) | Self::Sent(_))
    }

    /// What HTTP/2 says of it.
    pub fn http2(&self) -> Option<&mesh_http2::Error> {
        let Self::Http2(error) = self else { return None };
        Some(error)
    }
}

/// An extension of responses that stand for a stream the next hop has reset: an HTTP/2 client is told by a reset with the
/// same code.
#[derive(Clone, Copy, Debug)]
pub struct StreamReset(pub mesh_http2::Code);

/// Which side of the proxy a failure belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The peer that connected to us.
    Client,
    /// The next hop.
    Server,
    /// Our own decision.
    Proxy,
}

impl Error {
    /// Which side failed.
    pub fn side(&self) -> Side {
        match self {
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Refused { .. }
            | Self::Tls { .. }
            | Self::NotSent(_)
            | Self::Request(_)
            | Self::Dropped(_)
            | Self::NoEndpoints(_)
            | Self::Failfast(_)
            | Self::ResponseTimeout(_)
            | Self::RequestTimeout(_)
            | Self::IdleTimeout(_) => Side::Server,
            Self::Server(_)
            | Self::Body(_)
            | Self::ClientTls(_)
            | Self::IdentityRequired
            | Self::TransportHeader(_)
            | Self::Malformed(_)
            | Self::Flood(_)
            | Self::TlsRequired
            | Self::TlsTimeout(_)
            | Self::InvalidRequest(_) => Side::Client,
            _ => Side::Proxy,
        }
    }

    /// Whether another endpoint may be tried whoever asked: nothing of the request reached an application, or it is one
    /// that may be repeated.
    pub fn retry_safe(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. }
                | Self::ConnectTimeout { .. }
                | Self::Refused { .. }
                | Self::Tls { .. }
                | Self::NotSent(_)
                | Self::Dropped(_)
                | Self::NoEndpoints(_)
                | Self::Failfast(_)
                | Self::Overloaded(_)
        )
    }

    /// The HTTP status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoEndpoints(_) | Self::Failfast(_) | Self::Overloaded(_) | Self::Undiscovered(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::ResponseTimeout(_) | Self::RequestTimeout(_) | Self::IdleTimeout(_) => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::ConnectTimeout { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::Unauthorized { .. } | Self::Forbidden(_) | Self::IdentityRequired => StatusCode::FORBIDDEN,
            Self::RouteNotFound | Self::GatewayDomain(_) => StatusCode::NOT_FOUND,
            Self::Injected { status, .. } => *status,
            Self::Malformed(violation) => violation.status,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::GatewayLoop | Self::Loop(_) => StatusCode::LOOP_DETECTED,
            Self::InvalidRequest(_) | Self::TransportHeader(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// The gRPC status code that tells the client.
    pub fn grpc_status(&self) -> u32 {
        const INVALID_ARGUMENT: u32 = 3;
        const DEADLINE_EXCEEDED: u32 = 4;
        const NOT_FOUND: u32 = 5;
        const PERMISSION_DENIED: u32 = 7;
        const RESOURCE_EXHAUSTED: u32 = 8;
        const ABORTED: u32 = 10;
        const UNAVAILABLE: u32 = 14;
        if let Self::InjectedGrpc { code, .. } = self {
            return *code;
        }
        match self.status() {
            StatusCode::FORBIDDEN => PERMISSION_DENIED,
            StatusCode::GATEWAY_TIMEOUT if !self.retry_safe() => DEADLINE_EXCEEDED,
            StatusCode::NOT_FOUND => NOT_FOUND,
            StatusCode::BAD_REQUEST => INVALID_ARGUMENT,
            StatusCode::LOOP_DETECTED => ABORTED,
            StatusCode::TOO_MANY_REQUESTS => RESOURCE_EXHAUSTED,
            _ => UNAVAILABLE,
        }
    }

    /// Tells another proxy of the mesh by `response` whether the request may be sent elsewhere.
    pub fn mark(&self, response: &mut Response<Body>) {
        let said = match self {
            Self::Dropped(_) => headers::AGAIN,
            Self::Request(error) if !error.is_user() => headers::BROKEN,
            error if error.retry_safe() => "true",
            _ => return,
        };
        response.headers_mut().insert(headers::RETRY_SAFE, HeaderValue::from_static(said));
    }

    /// Whether this proxy could not connect for want of something of its own: the endpoint has no part in it.
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if mesh_net::shortage(source).is_some())
    }

    /// The code with which a body that failed is told to an HTTP/2 peer.
    pub fn reset_code(&self) -> Option<Code> {
        let (Self::Body(cause) | Self::Request(cause)) = self else { return None };
        cause.http2().filter(|error| error.is_reset())?.reason()
    }

    /// The code of the reset, where the next hop has reset the stream before it answered.
    fn reset_by_server(&self) -> Option<Code> {
        let Self::Request(error) = self else { return None };
        self.reset_code().filter(|_| error.http2().is_some_and(mesh_http2::Error::is_remote))
    }

    /// The value of the `error` label in `*_errors_total`.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Failfast(_) | Self::NoEndpoints(_) => "failfast",
            Self::Overloaded(_) => "loadshed",
            Self::ResponseTimeout(_) | Self::RequestTimeout(_) | Self::IdleTimeout(_) => "response timeout",
            Self::GatewayLoop | Self::Loop(_) => "gateway loop",
            Self::GatewayDomain(_) => "gateway domain invalid",
            Self::IdentityRequired | Self::RequiredIdentity { .. } => "identity required",
            Self::Unauthorized { .. } | Self::Forbidden(_) => "forbidden",
            Self::ClientTls(_) => "tls",
            Self::TlsRouteNotFound(_) => "no tls route",
            Self::TlsRequired => "not tls",
            Self::TlsTimeout(_) => "tls detection timeout",
            Self::InvalidBackend(_) => "invalid_backend",
            Self::RateLimited { .. } => "rate limited",
            Self::Malformed(violation) if violation.status == StatusCode::REQUEST_TIMEOUT => {
                "request timeout"
            }
            Self::Malformed(_) | Self::InvalidRequest(_) => "malformed",
            Self::Flood(_) => "flood",
            Self::Server(error) => server_label(error),
            Self::Connect { .. }
            | Self::ConnectTimeout { .. }
            | Self::Refused { .. }
            | Self::Io(_)
            | Self::Tls { .. } => "i/o",
            _ => "unexpected",
        }
    }

    /// The response that tells the client, as a gRPC trailers-only response where the request was gRPC.
    pub fn response(&self, grpc: bool) -> Response<Body> {
        let reason = HeaderValue::from_str(&self.to_string())
            .unwrap_or_else(|_| HeaderValue::from_static("proxy error"));
        let mut response = Response::new(Body::Empty);
        let map = response.headers_mut();
        if grpc {
            map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            map.insert("grpc-status", HeaderValue::from(self.grpc_status()));
            map.insert("grpc-message", reason.clone());
        } else {
            map.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        map.insert(headers::PROXY_ERROR, reason);
        if let Some(code) = self.reset_by_server() {
            response.extensions_mut().insert(StreamReset(code));
        }
        if !grpc {
            *response.status_mut() = self.status();
        }
        response
    }
}

/// Why serving a client's HTTP connection failed, as metrics tell it.
fn server_label(error: &Cause) -> &'static str {
    use mesh_http2::Error as Http2;
    match error {
        Cause::Http1(http1::Error::Malformed(_)) => "malformed",
        Cause::Http2(error) if error.reason() == Some(Code::ENHANCE_YOUR_CALM) => "flood",
        Cause::Http2(Http2::GoAway { remote: false, .. } | Http2::Reset { remote: false, .. }) => "malformed",
        // It went away in the middle.
        _ => "i/o",
    }
}

/// Whether a request asks for a gRPC answer.
pub fn is_grpc(headers: &http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests;
