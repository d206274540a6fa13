//! `portforward.k8s.io` over SPDY/3.1. Each forwarded connection is a pair of streams, one for errors and one for data, that
//! carry the same request id.

use std::collections::HashMap;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::Dial;
use crate::streaming::spdy::{self, Frame, Frames, Outlet, Refused};

/// Pieces waiting for a slow pod.
const BACKLOG: usize = 64;
/// Connections forwarded at the same time.
const MOST: usize = 1000;

/// Serves one client until it ends.
pub(super) async fn serve<T>(io: T, dial: Dial)
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let (mut frames, outlet, written) = spdy::start(io);
    let mut session = Session {
        dial,
        outlet,
        connections: HashMap::new(),
        error_streams: HashMap::new(),
        tasks: JoinSet::new(),
    };
    while let Some(frame) = frames.next().await {
        if session.take_in(&mut frames, frame).await.is_err() {
            break;
        }
    }
    // Ends the connections to the pod.
    drop(session);
    drop(frames);
    let _ = written.await;
}

struct Session {
    dial: Dial,
    outlet: Outlet,
    /// By data stream.
    connections: HashMap<u32, Connection>,
    /// Error streams by request id, until their data stream is opened.
    error_streams: HashMap<String, u32>,
    tasks: JoinSet<()>,
}

/// A connection to the pod.
struct Connection {
    /// What it is sent; `None` once the client has closed its half.
    to_pod: Option<mpsc::Sender<Vec<u8>>>,
    task: AbortHandle,
}

impl Session {
    async fn take_in<T: AsyncRead + AsyncWrite>(
        &mut self,
        frames: &mut Frames<T>,
        frame: Frame,
    ) -> Result<(), spdy::Gone> {
        match frame {
            Frame::Open { stream, headers, .. } => self.open(frames, stream, &headers).await?,
            Frame::Data { stream, data, is_last } => {
                if let Some(connection) = self.connections.get_mut(&stream)
                    && let Some(to_pod) = &connection.to_pod
                {
                    let taken = data.is_empty() || to_pod.send(data).await.is_ok();
                    if is_last || !taken {
                        connection.to_pod = None;
                    }
                }
            }
            Frame::Reset { stream } => {
                if let Some(connection) = self.connections.remove(&stream) {
                    connection.task.abort();
                }
            }
            Frame::Ping { .. } | Frame::GoAway | Frame::Other => {}
        }
        Ok(())
    }

    async fn open<T: AsyncRead + AsyncWrite>(
        &mut self,
        frames: &mut Frames<T>,
        stream: u32,
        headers: &[(String, String)],
    ) -> Result<(), spdy::Gone> {
        let header = |name: &str| {
            headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
        };
        let port = header("port").and_then(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
        let (Some(port), Some(kind @ ("error" | "data"))) = (port, header("streamtype")) else {
            return self.outlet.reset(stream, Refused::Protocol).await;
        };
        let request = header("requestid").unwrap_or_default().to_owned();
        while self.tasks.try_join_next().is_some() {}
        self.connections.retain(|_, connection| !connection.task.is_finished());
        if self.connections.len() >= MOST || self.error_streams.len() >= MOST {
            return self.outlet.reset(stream, Refused::Stream).await;
        }
        frames.accept(stream).await?;
        if kind == "error" {
            self.error_streams.insert(request, stream);
            return Ok(());
        }
        let errors = self.error_streams.remove(&request);
        let (to_pod, from_client) = mpsc::channel(BACKLOG);
        let (dial, outlet) = (self.dial.clone(), self.outlet.clone());
        let task = self.tasks.spawn(carry(dial, port, stream, errors, from_client, outlet));
        self.connections.insert(stream, Connection { to_pod: Some(to_pod), task });
        Ok(())
    }
}

/// One connection to the pod. The error stream is closed when it ends, with the reason if there is one.
async fn carry(
    dial: Dial,
    port: u16,
    stream: u32,
    errors: Option<u32>,
    mut from_client: mpsc::Receiver<Vec<u8>>,
    outlet: Outlet,
) {
    let mut reason = String::new();
    match dial(port).await {
        Ok(connection) => {
            let (reader, mut writer) = connection.into_split();
            let upload = async move {
                while let Some(data) = from_client.recv().await {
                    if writer.write_all(&data).await.is_err() {
                        return;
                    }
                }
                // The client's half is closed; the pod's may go on.
                let _ = writer.shutdown().await;
            };
            let download = outlet.copy(stream, reader);
            let mut download = std::pin::pin!(download);
            let given = tokio::select! {
                given = &mut download => given,
                () = upload => download.await,
            };
            if given.is_err() {
                return;
            }
        }
        Err(error) => reason = format!("failed to connect to port {port} inside the pod: {error}"),
    }
    // A client that has gone needs no news.
    if let Some(errors) = errors {
        let _ = outlet.data(errors, reason.as_bytes(), true).await;
    }
    if !reason.is_empty() {
        let _ = outlet.data(stream, &[], true).await;
    }
}

#[cfg(test)]
mod tests;
