//! Requests that can be made again for another endpoint, and answers in the client's own HTTP version.

use super::RETRY_SAFE;
use crate::body::Body;
use crate::error::Error;
use crate::http::replay::{Keeping, Replay};
use crate::http::{orig_proto, upgrade};
use crate::outbound::endpoint::{Hint, Transport};
use ::http::uri::Authority;
use ::http::{HeaderValue, Request, Response, StatusCode, Version, header, request};
use mesh_types::headers;

/// What is kept of a body for another endpoint, whatever the route says of retries.
pub(super) const KEPT: usize = 64 * 1024;

/// A request of which copies are sent.
pub(super) struct Template {
    head: request::Parts,
    body: Replay,
    upgrade: bool,
}

/// What the client speaks.
pub(super) struct Client {
    version: Version,
}

/// An extension of responses: nothing of the request reached an application. Clients are not told; gateways tell the
/// proxies they serve.
#[derive(Clone, Copy, Debug)]
pub struct RetrySafe;

impl Template {
    /// Keeps of the body what `keeping` says.
    pub(super) fn new(request: Request<Body>, keeping: impl FnOnce() -> Keeping) -> Self {
        let upgrade = upgrade::is_upgrade(&request);
        let (mut head, body) = request.into_parts();
        if !upgrade {
            orig_proto::strip_connection_headers(&mut head.headers);
        }
        // Upgrades and the like belong to one request only.
        head.extensions.clear();
        Self { head, body: Replay::new(body, keeping), upgrade }
    }

    /// Whether another copy can be made, of a body of which no more than `limit` bytes were read.
    pub(super) fn can_repeat(&self, limit: usize) -> bool {
        self.body.can_copy(limit)
    }

    /// Whether the request has no body.
    pub(super) fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Whether it is a gRPC request.
    pub(super) fn is_grpc(&self) -> bool {
        crate::error::is_grpc(&self.head.headers)
    }

    /// Whether doing it twice is like doing it once (RFC 9110, 9.2.2).
    pub(super) fn is_idempotent(&self) -> bool {
        self.head.method.is_idempotent()
    }

    /// A copy for an endpoint.
    ///
    /// # Errors
    /// When the body cannot be read again, or the request names no authority where the endpoint needs one.
    pub(super) fn request(&self, to: &Transport) -> Result<Request<Body>, Error> {
        let body = self.body.copy().ok_or(Error::Overloaded("the request is too large to be sent again"))?;
        let mut request = Request::from_parts(self.head.clone(), body);
        if let Some(authority) = &to.authority {
            override_authority(&mut request, authority);
        }
        if request.version() != Version::HTTP_2 && to.hint == Hint::Http2 && !self.upgrade {
            orig_proto::upgrade_request(&mut request, || Authority::try_from(to.dial.to_string()).ok());
        } else if request.version() == Version::HTTP_10 && !self.upgrade {
            // Connections to endpoints are kept alive.
            *request.version_mut() = Version::HTTP_11;
            if !request.headers().contains_key(header::HOST) {
                let host = HeaderValue::from_str(&to.dial.to_string());
                request
                    .headers_mut()
                    .insert(header::HOST, host.map_err(|_| Error::InvalidRequest("no host".to_owned()))?);
            }
        }
        Ok(request)
    }
}

/// Asks for another authority than the client did, in whichever place the request names one.
fn override_authority(request: &mut Request<Body>, authority: &Authority) {
    if request.version() == Version::HTTP_2 || request.uri().authority().is_some() {
        orig_proto::set_authority(request, authority);
    }
    if request.version() != Version::HTTP_2
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    } else if request.version() == Version::HTTP_2 {
        request.headers_mut().remove(header::HOST);
    }
}

impl Client {
    pub(super) fn of(request: &Request<Body>) -> Self {
        Self { version: request.version() }
    }

    /// Makes a response one that the client understands.
    pub(super) fn finish(&self, response: &mut Response<Body>) {
        let said = response.headers_mut().remove(&RETRY_SAFE);
        if said.is_some_and(|said| said != headers::BROKEN) {
            response.extensions_mut().insert(RetrySafe);
        }
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            orig_proto::strip_connection_headers(response.headers_mut());
        }
        *response.version_mut() = match self.version {
            Version::HTTP_2 => Version::HTTP_2,
            // An HTTP/1.0 client is answered in HTTP/1.1, which hyper frames for it.
            _ => Version::HTTP_11,
        };
    }
}

#[cfg(test)]
mod tests;
