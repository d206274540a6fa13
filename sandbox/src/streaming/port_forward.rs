//! Port-forward over WebSocket. Subprotocol `v4.channel.k8s.io` (kube-rs) has two channels a port, data and error, each
//! beginning with the port's number; kubectl's is in [`super::tunnel`].

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use mesh_apiserver::Body;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;

use super::websocket::{self, Socket};
use super::{Pods, bad_request, parameters, refusal, tunnel};
use crate::controllers::object;
use crate::network::NetNs;

/// kubectl's protocol.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// kube-rs' protocol.
const CHANNELS: &str = "v4.channel.k8s.io";
/// Bytes read from a pod at once.
const CHUNK: usize = 32 * 1024;
/// Messages waiting for a slow client.
const BACKLOG: usize = 16;
/// How long a pod may take to accept a connection on its own loopback.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Forwards the ports named in the query.
pub(super) fn serve(pods: &dyn Pods, pod: &Value, request: Request<Incoming>) -> Response<Body> {
    let query = parameters(request.uri().query().unwrap_or_default());
    let ports: Result<Vec<u16>, _> = query
        .iter()
        .filter(|(key, _)| key == "ports" || key == "port")
        .flat_map(|(_, value)| value.split(','))
        .map(str::parse)
        .collect();
    let Some(netns) = pods.netns(object::namespace(pod), object::name(pod)) else {
        let message = format!("pod {} does not run", object::name(pod));
        return refusal(StatusCode::CONFLICT, "Conflict", &message);
    };
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
            Some(socket) if protocol == TUNNEL => tunnel::serve(socket, netns).await,
            Some(socket) => forward(socket, netns, ports).await,
            None => {}
        }
    });
    response
}

/// Connects to a port inside a pod, as a process of the pod would: on its loopback.
pub(super) async fn connect(netns: NetNs, port: u16) -> std::io::Result<tokio::net::TcpStream> {
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

async fn forward(socket: Socket, netns: NetNs, ports: Vec<u16>) {
    let (mut sink, mut incoming) = socket.split();
    let (sender, mut outgoing) = mpsc::channel(BACKLOG);
    let mut writers = HashMap::new();
    for (index, port) in (0_u8..).zip(&ports) {
        let (data, error) = (index * 2, index * 2 + 1);
        for channel in [data, error] {
            if sink.send(websocket::message(channel, &port.to_le_bytes())).await.is_err() {
                return;
            }
        }
        match connect(netns.clone(), *port).await {
            Ok(stream) => {
                let (reader, writer) = stream.into_split();
                writers.insert(data, writer);
                tokio::spawn(send_back(reader, data, sender.clone()));
            }
            Err(reason) => {
                let text = format!("failed to connect to port {port} inside the pod: {reason}");
                let _ = sink.send(websocket::message(error, text.as_bytes())).await;
            }
        }
    }
    drop(sender);
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => {
                    if sink.send(message).await.is_err() {
                        return;
                    }
                }
                None => break,
            },
            message = incoming.next() => match message {
                Some(Ok(Message::Binary(data))) => {
                    let channel = data.first().copied().unwrap_or(u8::MAX);
                    if let Some(writer) = writers.get_mut(&channel)
                        && writer.write_all(&data[1..]).await.is_err()
                    {
                        writers.remove(&channel);
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
        }
    }
    // Every connection has ended on the pod's side.
    let _ = sink.send(websocket::close()).await;
}

async fn send_back(mut reader: OwnedReadHalf, channel: u8, sender: mpsc::Sender<Message>) {
    let mut buffer = vec![0; CHUNK];
    while let Ok(length) = reader.read(&mut buffer).await {
        if length == 0 || sender.send(websocket::message(channel, &buffer[..length])).await.is_err() {
            return;
        }
    }
}
