//! Port-forward: over SPDY/3.1 on the connection itself (kubectl before 1.31) or inside a WebSocket (kubectl since), or by
//! channels of a WebSocket (kube-rs).

mod channels;
mod streams;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use mesh_apiserver::{Body, RequestBody};
use serde_json::Value;

use super::upgrade::{self, Asked};
use super::{Pods, bad_request, parameters, refusal, websocket};
use crate::controllers::object;
use crate::network::NetNs;

/// kubectl's protocol.
const STREAMS: &str = "portforward.k8s.io";
/// The same inside a WebSocket.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// kube-rs' protocol.
const CHANNELS: &str = "v4.channel.k8s.io";
/// How long a pod may take to accept a connection on its own loopback.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Connects to a port of the pod.
type Dial = Arc<dyn Fn(u16) -> BoxFuture<'static, std::io::Result<tokio::net::TcpStream>> + Send + Sync>;

/// Forwards ports: with channels those named in the query, else those the client opens streams for.
pub(super) fn serve(pods: &dyn Pods, pod: &Value, request: Request<RequestBody>) -> Response<Body> {
    let Some(netns) = pods.netns(object::namespace(pod), object::name(pod)) else {
        let message = format!("pod {} does not run", object::name(pod));
        return refusal(StatusCode::CONFLICT, "Conflict", &message);
    };
    let dial: Dial = Arc::new(move |port| Box::pin(connect(netns.clone(), port)));
    match upgrade::asked(request.headers()) {
        Ok(Asked::WebSocket) => over_websocket(dial, request),
        Ok(Asked::Spdy) => {
            let (response, io) = match upgrade::accept(request, STREAMS) {
                Ok(accepted) => accepted,
                Err(response) => return *response,
            };
            tokio::spawn(async move {
                if let Some(io) = io.await {
                    streams::serve(io, dial).await;
                }
            });
            response
        }
        Err(response) => *response,
    }
}

fn over_websocket(dial: Dial, request: Request<RequestBody>) -> Response<Body> {
    let query = parameters(request.uri().query().unwrap_or_default());
    let ports: Result<Vec<u16>, _> = query
        .iter()
        .filter(|(key, _)| key == "ports" || key == "port")
        .flat_map(|(_, value)| value.split(','))
        .map(str::parse)
        .collect();
    let (response, protocol, socket) = match websocket::accept(request, &[TUNNEL, CHANNELS]) {
        Ok(accepted) => accepted,
        Err(message) => return bad_request(&message),
    };
    let ports = ports.unwrap_or_default();
    if protocol == CHANNELS && !(1..=100).contains(&ports.len()) {
        return bad_request("query parameter \"ports\" must name between 1 and 100 port numbers");
    }
    tokio::spawn(async move {
        match socket.await {
            Some(socket) if protocol == TUNNEL => streams::serve(websocket::bytes(socket), dial).await,
            Some(socket) => channels::forward(socket, dial, ports).await,
            None => {}
        }
    });
    response
}

/// Connects to a port inside a pod, as a process of the pod would: on its loopback.
async fn connect(netns: NetNs, port: u16) -> std::io::Result<tokio::net::TcpStream> {
    let dial = move || {
        netns.run(|| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let stream = TcpStream::connect_timeout(&address, CONNECT_WITHIN)?;
            stream.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(stream)
        })
    };
    let dialed = tokio::task::spawn_blocking(dial).await.map_err(std::io::Error::other)?;
    tokio::net::TcpStream::from_std(dialed??)
}
