//! The control socket: one JSON request and one JSON answer per line, over a unix socket that only root may open.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::state::StateDir;

/// What a supervisor can be asked.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What runs; answers [`crate::Status`].
    Status,
    /// Drop every packet between two clusters.
    Partition { a: String, b: String },
    /// Make a link slow: each packet from `from` to `to` takes this much longer.
    Latency { from: String, to: String, microseconds: u64 },
    /// Make a link narrow; `None` lifts the limit.
    Bandwidth { from: String, to: String, bits_per_second: Option<u64> },
    /// Lift every partition, latency and bandwidth limit.
    Heal,
    /// Refuse connections to a cluster's API server, and cut those that are open.
    StopApi { cluster: String },
    /// Undo [`Request::StopApi`].
    StartApi { cluster: String },
    /// Start writing a pod's packets to a file; answers the capture's number.
    Capture { cluster: String, namespace: String, pod: String, file: PathBuf },
    /// Stop a capture; answers how many packets the file holds.
    EndCapture { capture: u64 },
    /// Send a signal to a container's first process.
    Kill { cluster: String, namespace: String, pod: String, container: String, signal: i32 },
    /// Give a load balancer Service another address; answers it.
    ReleaseAddress { cluster: String, namespace: String, service: String },
    /// Run a host command in a cluster's network namespace, or in that of one of its pods; answers its exit code and output.
    Exec { cluster: String, namespace: Option<String>, pod: Option<String>, command: Vec<String> },
    /// End the sandbox. The answer comes when everything is gone but the process itself.
    Shutdown,
}

/// A supervisor's answer.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Response {
    /// Done; what there is to tell.
    Ok(Value),
    /// Refused, and why.
    Error(String),
}

/// Sends one request to the supervisor of a state directory and waits for its answer.
///
/// # Errors
/// [`Error::NotRunning`] without a supervisor, [`Error::Refused`] with its reason.
pub(crate) fn call(state: &StateDir, request: &Request) -> Result<Value, Error> {
    let lost = |source| Error::System { action: "talk to the supervisor".to_owned(), source };
    let mut stream =
        UnixStream::connect(state.socket()).map_err(|_| Error::NotRunning(state.path().to_owned()))?;
    let mut line = serde_json::to_string(request).map_err(|error| Error::Refused(error.to_string()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(lost)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).map_err(lost)?;
    match serde_json::from_str(&answer) {
        Ok(Response::Ok(value)) => Ok(value),
        Ok(Response::Error(reason)) => Err(Error::Refused(reason)),
        Err(_) => Err(Error::Refused("the supervisor ended before it answered".to_owned())),
    }
}

/// Answers control requests.
pub(crate) trait Control: Send + Sync + 'static {
    /// Answers one.
    fn answer(&self, request: Request) -> impl Future<Output = Result<Value, Error>> + Send;
}

/// Makes the control socket of a state directory; connections wait in it until [`serve`] takes them.
///
/// # Errors
/// When the socket cannot be made.
pub(crate) fn listen(state: &StateDir) -> Result<UnixListener, Error> {
    let path = state.socket();
    let listener = UnixListener::bind(&path).map_err(|source| Error::Listen {
        what: "control socket",
        address: path.display().to_string(),
        source,
    })?;
    let only_root = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, only_root).map_err(|source| Error::File {
        action: "restrict",
        path,
        source,
    })?;
    Ok(listener)
}

/// Answers what comes in on the control socket until the token is cancelled.
pub(crate) async fn serve<C: Control>(listener: UnixListener, control: Arc<C>, token: CancellationToken) {
    while let Some(accepted) = token.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(answer_all(stream, control.clone()));
            }
            Err(error) => tracing::warn!(%error, "control connection not accepted"),
        }
    }
}

async fn answer_all<C: Control>(stream: tokio::net::UnixStream, control: Arc<C>) {
    let (reader, mut writer) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(reader).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let response = match serde_json::from_str(&line) {
            Ok(request) => match control.answer(request).await {
                Ok(value) => Response::Ok(value),
                Err(error) => Response::Error(error.to_string()),
            },
            Err(error) => Response::Error(format!("not a control request: {error}")),
        };
        let mut text =
            serde_json::to_string(&response).unwrap_or_else(|_| "{\"error\":\"unwritable\"}".to_owned());
        text.push('\n');
        if writer.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
