//! `exec` and `attach`: a process's streams over a WebSocket or over SPDY/3.1.

mod channels;
mod streams;

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use mesh_apiserver::{Body, RequestBody};
use serde_json::{Value, json};

use super::upgrade::{self, Asked};
use super::{
    Command, ContainerName, Pods, Session, bad_request, container, first, is_set, parameters, refusal,
    websocket,
};

/// What is spoken over SPDY; kubectl since 1.5 offers it.
const OVER_SPDY: &str = "v4.channel.k8s.io";

/// Runs a command, or joins a container's process, and streams.
pub(super) async fn serve(
    pods: &Arc<dyn Pods>,
    pod: &Value,
    request: Request<RequestBody>,
    attach: bool,
) -> Response<Body> {
    let query = parameters(request.uri().query().unwrap_or_default());
    let at = match container(pod, first(&query, "container")) {
        Ok(at) => at,
        Err(message) => return bad_request(&message),
    };
    let argv = query.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
    let command = Command { argv, tty: is_set(&query, "tty"), stdin: is_set(&query, "stdin") };
    if command.argv.is_empty() && !attach {
        return bad_request("you must specify at least one command for the container");
    }
    let command = (!attach).then_some(command);
    match upgrade::asked(request.headers()) {
        Ok(Asked::WebSocket) => {
            let known = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
            let (response, _, socket) = match websocket::accept(request, &known) {
                Ok(accepted) => accepted,
                Err(message) => return bad_request(&message),
            };
            let with_input = is_set(&query, "stdin");
            begin(pods, at, command, with_input, response, |session| async move {
                if let Some(socket) = socket.await {
                    channels::stream(socket, session).await;
                }
            })
            .await
        }
        Ok(Asked::Spdy) => {
            let wanted = streams::Wanted::of(&query);
            let (response, io) = match upgrade::accept(request, OVER_SPDY) {
                Ok(accepted) => accepted,
                Err(response) => return *response,
            };
            begin(pods, at, command, wanted.stdin, response, |session| async move {
                if let Some(io) = io.await {
                    streams::stream(io, session, wanted).await;
                }
            })
            .await
        }
        Err(response) => *response,
    }
}

/// Starts the command, or joins without one, and only then lets the connection be upgraded: what cannot be run is refused
/// in the ordinary way.
async fn begin<F: Future<Output = ()> + Send + 'static>(
    pods: &Arc<dyn Pods>,
    at: ContainerName,
    command: Option<Command>,
    with_input: bool,
    response: Response<Body>,
    stream: impl FnOnce(Session) -> F,
) -> Response<Body> {
    let session = match command {
        Some(command) => pods.exec(at, command).await,
        None => pods.attach(at).await,
    };
    match session {
        Ok(mut session) => {
            if !with_input {
                session.stdin = None;
            }
            tokio::spawn(stream(session));
            response
        }
        Err(error) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", &error.to_string()),
    }
}

/// The `Status` that tells how a command ended.
fn outcome(code: i32) -> Value {
    if code == 0 {
        return json!({ "metadata": {}, "status": "Success" });
    }
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
    })
}

/// Columns and rows of a terminal's new size.
fn resized(size: &Value) -> Option<(u16, u16)> {
    let cells =
        |name: &str| size.get(name).and_then(Value::as_u64).and_then(|cells| u16::try_from(cells).ok());
    Some((cells("Width")?, cells("Height")?))
}
