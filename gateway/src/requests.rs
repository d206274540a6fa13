//! A request's path through a gateway.

use crate::forwarded;
use http::{HeaderValue, Request, Response, StatusCode};
use mesh_metrics::{CounterFamily, Labels};
use mesh_proxy::Error;
use mesh_proxy::body::Body;
use mesh_proxy::error::is_grpc;
use mesh_proxy::http::orig_proto;
use mesh_proxy::http::server::Handler;
use mesh_proxy::outbound::{RetrySafe, Service};
use mesh_types::{Authority, Identity, headers};
use std::rc::Rc;

/// What all requests of one connection share.
pub(crate) struct Requests {
    pub(crate) gateway: Identity,
    pub(crate) client: Identity,
    /// The service and port the connection is for.
    pub(crate) authority: Authority,
    /// What the server is told of the client.
    pub(crate) element: HeaderValue,
    pub(crate) service: Rc<Service>,
    pub(crate) errors: CounterFamily,
}

impl Handler for Requests {
    async fn call(self: Rc<Self>, request: Request<Body>) -> Response<Body> {
        let grpc = is_grpc(request.headers());
        match self.serve(request).await {
            Ok(response) => response,
            Err(error) => {
                tracing::info!(dst = %self.authority, client = %self.client, %error, "request failed");
                self.count(&error);
                refusal(&error, grpc)
            }
        }
    }

    fn refuse(&self, error: &Error) -> Response<Body> {
        tracing::info!(dst = %self.authority, client = %self.client, %error, "request refused");
        self.count(error);
        error.response(false)
    }
}

impl Requests {
    fn count(&self, error: &Error) {
        let labels = Labels::from_iter([("error", error.label())])
            .with("target_addr", self.authority.to_string())
            .with("target_port", self.authority.port.to_string())
            .with("client_id", self.client.to_string());
        self.errors.get(&labels).inc();
    }

    async fn serve(&self, mut request: Request<Body>) -> Result<Response<Body>, Error> {
        if forwarded::loops(request.headers(), &self.gateway, &self.authority) {
            return Err(Error::GatewayLoop);
        }
        let carried = orig_proto::downgrade_request(&mut request);
        forwarded::stamp(request.headers_mut(), &self.element);
        let mut response = Service::call(&self.service, request).await?;
        // The outbound side knows it from the server's proxy; what an application says of it is dropped there.
        if response.extensions().get::<RetrySafe>().is_some() {
            response.headers_mut().insert(headers::RETRY_SAFE, HeaderValue::from_static("true"));
        }
        if let Some(carried) = carried {
            orig_proto::mark_response(&mut response, carried);
        }
        Ok(response)
    }
}

/// The answer to a request that failed here. Where nothing reached an application it is a 503 that says so, so that the
/// client's proxy may try another cluster.
fn refusal(error: &Error, grpc: bool) -> Response<Body> {
    let mut response = error.response(grpc);
    if error.retry_safe() {
        if !grpc {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response.headers_mut().insert(headers::RETRY_SAFE, HeaderValue::from_static("true"));
    }
    response
}
