//! The HTTPS front: connections, authentication, authorization, and the way of a request to its handler.

mod accept;
pub(crate) mod body;
mod meta;
mod query;
mod resource;
mod respond;
mod route;
#[cfg(test)]
mod tests;
mod watch;

use crate::api::Api;
use crate::authn;
use crate::error::ApiError;
use crate::record::Recorder;
use crate::streams::{Body, PodStreams, RequestBody};
use crate::user::{Access, UserInfo};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use mesh_tls::{Subject, TlsAcceptor};
use parking_lot::Mutex;
use query::Query;
use route::Route;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch as watch_channel;
use tokio_util::sync::CancellationToken;

/// How long a client may take for its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an HTTP/2 client is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long connections get to finish what they do when the server stops.
const GRACE: Duration = Duration::from_millis(500);

/// What every connection shares.
pub(crate) struct Server {
    pub(crate) api: Arc<Api>,
    pub(crate) pod_streams: Option<Arc<dyn PodStreams>>,
    pub(crate) advertised: String,
    pub(crate) stop: CancellationToken,
    /// Told of every request, with its body.
    pub(crate) record: Option<Recorder>,
    /// Told whenever connections from outside are to be cut.
    pub(crate) cut: watch_channel::Sender<()>,
    /// Discovery and OpenAPI documents by path, good for one generation of the registry.
    pub(crate) documents: Mutex<(u64, HashMap<String, Response<bytes::Bytes>>)>,
}

/// Accepts until the server stops.
pub(crate) async fn accept(server: Arc<Server>, listener: TcpListener, tls: TlsAcceptor) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = server.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(connection(server.clone(), stream, tls.clone()));
            }
            Err(error) => {
                // Out of descriptors, most likely; the others need time to give some back.
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(server: Arc<Server>, stream: TcpStream, tls: TlsAcceptor) {
    // Without it small watch events wait for acknowledgements.
    let _ = stream.set_nodelay(true);
    let is_local = stream.local_addr().is_ok_and(|address| address.ip().is_loopback());
    let mut cut = server.cut.subscribe();
    let handshake = tokio::select! {
        done = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => done,
        Ok(()) = cut.changed(), if !is_local => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => return tracing::debug!("TLS handshake timed out"),
    };
    let subject = mesh_tls::peer_subject(&stream);
    let stop = server.stop.clone();
    let service = service_fn(move |request| {
        let (server, subject) = (server.clone(), subject.clone());
        let request = request.map(|body: Incoming| body.map_err(std::io::Error::other).boxed_unsync());
        async move { Ok::<_, Infallible>(server.answer(subject.as_ref(), request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    // Peers that vanish without a word take their watches along.
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(1000).keep_alive_interval(KEEP_ALIVE);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        Ok(()) = cut.changed(), if !is_local => return,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(GRACE, connection).await {
                Ok(outcome) => outcome,
                Err(_) => return,
            }
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "connection ended");
    }
}

impl Server {
    async fn answer(&self, subject: Option<&Subject>, request: Request<RequestBody>) -> Response<Body> {
        match self.handle(subject, request).await {
            Ok(response) => response,
            Err(error) => respond::error(&error),
        }
    }

    async fn handle(
        &self,
        subject: Option<&Subject>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Body>, ApiError> {
        let user = self.authenticate(subject, request.headers())?;
        let user = self.impersonate(user, request.headers())?;
        if let Some(record) = &self.record {
            request = crate::record::note(&**record, &user, request).await?;
        }
        let path = request.uri().path().to_owned();
        let query = Query::parse(request.uri().query());
        let route = Route::parse(&path);
        let access = route::access(&route, request.method(), &path, &query);
        self.api.authorizer.authorize(&self.api.store, &user, &access)?;
        match route {
            Route::Resource(place) if !self.api.registry.has_group(&place.group) => {
                Ok(respond::page_not_found())
            }
            Route::Resource(place) => {
                resource::Call { server: self, user: &user, place, query, access: &access }.run(request).await
            }
            Route::Other(segments) => self.other(&segments, request.method(), request.headers()),
        }
    }

    fn authenticate(&self, subject: Option<&Subject>, headers: &HeaderMap) -> Result<UserInfo, ApiError> {
        if let Some(subject) = subject {
            return Ok(authn::certificate_user(subject));
        }
        let Some(header) = headers.get(AUTHORIZATION) else { return Ok(authn::anonymous()) };
        let token = header.to_str().ok().and_then(|h| {
            let (scheme, token) = h.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let token = token.ok_or(ApiError::Unauthorized)?;
        authn::token_user(&self.api.tokens, &self.api.store, token).map_err(|fault| {
            tracing::debug!(%fault, "token refused");
            ApiError::Unauthorized
        })
    }

    /// `kubectl --as`: allowed to whoever may impersonate each of user, groups and uid.
    fn impersonate(&self, user: UserInfo, headers: &HeaderMap) -> Result<UserInfo, ApiError> {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
        let name = header("impersonate-user");
        let groups: Vec<String> = headers
            .get_all("impersonate-group")
            .iter()
            .filter_map(|v| v.to_str().ok().map(str::to_owned))
            .collect();
        if name.is_empty() {
            if groups.is_empty() {
                return Ok(user);
            }
            return Err(ApiError::BadRequest("requested groups without impersonating a user".into()));
        }
        let check = |group: &str, resource: &str, namespace: &str, name: &str| {
            let access = Access {
                verb: "impersonate".into(),
                group: group.into(),
                resource: resource.into(),
                namespace: namespace.into(),
                name: name.into(),
                ..Access::default()
            };
            self.api.authorizer.authorize(&self.api.store, &user, &access)
        };
        let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
        match account {
            Some((namespace, account)) => check("", "serviceaccounts", namespace, account)?,
            None => check("", "users", "", name)?,
        }
        groups.iter().try_for_each(|g| check("", "groups", "", g))?;
        let mut assumed = UserInfo {
            name: name.to_owned(),
            uid: header("impersonate-uid").to_owned(),
            ..UserInfo::default()
        };
        if !assumed.uid.is_empty() {
            check("authentication.k8s.io", "uids", "", &assumed.uid)?;
        }
        assumed.groups = groups;
        if let Some((namespace, _)) = account
            && assumed.groups.is_empty()
        {
            assumed.groups =
                vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
        }
        let everybody =
            if name == "system:anonymous" { "system:unauthenticated" } else { authn::AUTHENTICATED };
        if !assumed.groups.iter().any(|g| g == everybody) {
            assumed.groups.push(everybody.into());
        }
        Ok(assumed)
    }
}
