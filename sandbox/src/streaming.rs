//! The pod streams of the API: logs, exec, attach and port-forward, as `kubectl` ≥ 1.28 and kube-rs speak them: over
//! WebSocket, or over SPDY/3.1.

mod exec;
mod logs;
mod port_forward;
mod spdy;
mod upgrade;
mod websocket;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use mesh_apiserver::{Body, PodStreams, RequestBody, StreamKind, json_response};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::controllers::object;
use crate::error::Error;
use crate::network::NetNs;

/// Writes to a process.
pub(crate) type Writer = Box<dyn AsyncWrite + Send + Unpin>;
/// Reads from a process.
pub(crate) type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// A process run in a container.
pub(crate) struct Session {
    /// Its standard input, if it has one.
    pub(crate) stdin: Option<Writer>,
    /// Its standard output, and with a terminal also its standard error.
    pub(crate) stdout: Reader,
    /// Its standard error, unless there is a terminal.
    pub(crate) stderr: Option<Reader>,
    /// Tells its terminal columns and rows; does nothing without one.
    pub(crate) resize: Box<dyn Fn(u16, u16) + Send + Sync>,
    /// Its exit code, once it has ended.
    pub(crate) exit: BoxFuture<'static, i32>,
}

/// What to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Command {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
    /// Give it a terminal?
    pub(crate) tty: bool,
    /// Give it a standard input?
    pub(crate) stdin: bool,
}

/// A container's log.
pub(crate) struct Log {
    /// File of `<RFC 3339 time> <stdout|stderr> <F|P> <text>` lines.
    pub(crate) path: PathBuf,
    /// Resolves once the container has ended and nothing more is written.
    pub(crate) ended: BoxFuture<'static, ()>,
}

/// Who runs the pods.
pub(crate) trait Pods: Send + Sync + 'static {
    /// The network namespace of a running pod.
    fn netns(&self, namespace: &str, pod: &str) -> Option<NetNs>;
    /// The log of a container, or of its previous run.
    fn log(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> Result<Log, Error>;
    /// Runs a command in a container.
    fn exec(&self, at: ContainerName, command: Command) -> BoxFuture<'static, Result<Session, Error>>;
    /// Joins a container's first process: its output from now on.
    fn attach(&self, at: ContainerName) -> BoxFuture<'static, Result<Session, Error>>;
    /// Sends a signal to a container's first process.
    fn kill(&self, at: &ContainerName, signal: i32) -> Result<(), Error>;
}

/// A container of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContainerName {
    /// Namespace.
    pub(crate) namespace: String,
    /// Pod.
    pub(crate) pod: String,
    /// Container.
    pub(crate) container: String,
}

/// Serves the streams once the node has been attached; the API server is up before the node is.
#[derive(Default)]
pub(crate) struct Streams {
    pods: OnceLock<Arc<dyn Pods>>,
}

impl Streams {
    /// Names the node that runs the pods.
    pub(crate) fn attach(&self, pods: Arc<dyn Pods>) {
        // Attached once, when the cluster starts.
        let _ = self.pods.set(pods);
    }
}

impl PodStreams for Streams {
    fn serve(
        &self,
        kind: StreamKind,
        pod: Arc<Value>,
        request: Request<RequestBody>,
    ) -> BoxFuture<'static, Response<Body>> {
        let pods = self.pods.get().cloned();
        Box::pin(async move {
            let Some(pods) = pods else {
                return refusal(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "ServiceUnavailable",
                    "the node is still starting",
                );
            };
            match kind {
                StreamKind::Log => logs::serve(&*pods, &pod, request.uri().query().unwrap_or_default()),
                StreamKind::Exec => exec::serve(&pods, &pod, request, false).await,
                StreamKind::Attach => exec::serve(&pods, &pod, request, true).await,
                StreamKind::PortForward => port_forward::serve(&*pods, &pod, request),
            }
        })
    }
}

/// A Kubernetes `Status` that refuses a request.
fn refusal(code: StatusCode, reason: &str, message: &str) -> Response<Body> {
    json_response(
        code,
        &json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "reason": reason, "message": message, "code": code.as_u16(),
        }),
    )
}

fn bad_request(message: &str) -> Response<Body> {
    refusal(StatusCode::BAD_REQUEST, "BadRequest", message)
}

/// The decoded pairs of a query string.
fn parameters(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        })
        .collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits = [bytes.next().unwrap_or_default(), bytes.next().unwrap_or_default()];
                let code = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(code.unwrap_or(b'?'));
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn first<'a>(parameters: &'a [(String, String)], key: &str) -> Option<&'a str> {
    parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn is_set(parameters: &[(String, String)], key: &str) -> bool {
    first(parameters, key).is_some_and(|value| matches!(value, "true" | "1"))
}

/// The container a request means: the one it names, the pod's default one, or its only one.
fn container(pod: &Value, asked: Option<&str>) -> Result<ContainerName, String> {
    let all: Vec<&str> = ["/spec/initContainers", "/spec/containers"]
        .iter()
        .flat_map(|list| object::items(pod, list))
        .map(|container| object::text(container, "/name"))
        .collect();
    let main = object::items(pod, "/spec/containers");
    let default = object::annotation(pod, "kubectl.kubernetes.io/default-container");
    let chosen = match (asked.filter(|name| !name.is_empty()), default, main) {
        (Some(name), _, _) | (None, Some(name), _) => name,
        (None, None, [only]) => object::text(only, "/name"),
        _ => {
            return Err(format!(
                "a container name must be specified for pod {}, choose one of: [{}]",
                object::name(pod),
                all.join(" ")
            ));
        }
    };
    if !all.contains(&chosen) {
        return Err(format!("container {chosen} is not valid for pod {}", object::name(pod)));
    }
    Ok(ContainerName {
        namespace: object::namespace(pod).to_owned(),
        pod: object::name(pod).to_owned(),
        container: chosen.to_owned(),
    })
}

#[cfg(test)]
mod tests;
