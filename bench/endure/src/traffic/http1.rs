//! A client of HTTP/1 as most are: it keeps connections, and sends a request again over another one when the kept one
//! turned out to be closed before anything was written.

use super::{Kind, reason};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mesh_bed::{BODY, BODY_PATH, HTTP_PORT, RESET_PORT, SERVER_IP, SMALL_PATH};
use std::cell::RefCell;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// Requests after which a connection is closed, so that connections come and go.
const USES: u32 = 100;
/// Connections that were not used for as long are closed: more were needed for a moment.
const IDLE: Duration = Duration::from_secs(5);
/// What POST sends.
const POSTED: &[u8] = &[b'.'; 100];
/// How long [`SMALL_PATH`]'s body is.
const SMALL: usize = 100;

/// Connections that are kept.
#[derive(Default)]
pub(super) struct Http1 {
    idle: RefCell<Vec<Kept>>,
}

struct Kept {
    sender: SendRequest<Full<Bytes>>,
    uses: u32,
    since: Instant,
}

impl Http1 {
    /// One request and its whole answer.
    pub(super) async fn call(&self, kind: Kind) -> Result<(), String> {
        if kind == Kind::ResetHttp1 {
            let (response, _) =
                connect(RESET_PORT).await?.send(get(SMALL_PATH)?).await.map_err(|(e, _)| e)?;
            return broken(response).await;
        }
        let request = match kind {
            Kind::Post => post()?,
            Kind::Download => get(BODY_PATH)?,
            _ => get(SMALL_PATH)?,
        };
        let (response, kept) = self.send(request).await?;
        whole(response, if kind == Kind::Download { BODY } else { SMALL }).await?;
        if kept.uses < USES && !kept.sender.is_closed() {
            self.idle.borrow_mut().push(Kept { since: Instant::now(), ..kept });
        }
        Ok(())
    }

    async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Kept), String> {
        while let Some(kept) = self.pooled() {
            match kept.send(request).await {
                Ok(answered) => return Ok(answered),
                Err((_, Some(unsent))) => request = unsent,
                Err((reason, None)) => return Err(reason),
            }
        }
        connect(HTTP_PORT).await?.send(request).await.map_err(|(reason, _)| reason)
    }

    fn pooled(&self) -> Option<Kept> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|kept| !kept.sender.is_closed() && kept.since.elapsed() < IDLE);
        let ready = idle.iter().rposition(|kept| kept.sender.is_ready())?;
        Some(idle.remove(ready))
    }
}

type Unsent = (String, Option<Request<Full<Bytes>>>);

impl Kept {
    async fn send(mut self, request: Request<Full<Bytes>>) -> Result<(Response<Incoming>, Self), Unsent> {
        self.uses += 1;
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok((response, self)),
            Err(mut error) => {
                let unsent = error.take_message();
                Err((reason(error.error()), unsent))
            }
        }
    }
}

async fn connect(port: u16) -> Result<Kept, String> {
    let stream = TcpStream::connect((SERVER_IP, port)).await.map_err(|e| format!("connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| reason(&e))?;
    // How a connection fails is told by its request.
    tokio::task::spawn_local(async move { drop(connection.await) });
    Ok(Kept { sender, uses: 0, since: Instant::now() })
}

fn get(path: &str) -> Result<Request<Full<Bytes>>, String> {
    Request::get(path).header("host", "app.bed").body(Full::default()).map_err(|e| e.to_string())
}

fn post() -> Result<Request<Full<Bytes>>, String> {
    let body = Full::new(Bytes::from_static(POSTED));
    Request::post(SMALL_PATH).header("host", "app.bed").body(body).map_err(|e| e.to_string())
}

/// Whether an answer is the application's.
pub(super) fn good<B>(response: &Response<B>) -> Result<(), String> {
    if response.status() == http::StatusCode::OK {
        return Ok(());
    }
    let said = response.headers().get("l5d-proxy-error").map(|v| String::from_utf8_lossy(v.as_bytes()));
    Err(format!("{} {}", response.status().as_u16(), said.unwrap_or_default()))
}

/// Reads a good answer to its end, which must be where it was announced.
pub(super) async fn whole(response: Response<Incoming>, length: usize) -> Result<(), String> {
    good(&response)?;
    let (read, end) = read(response.into_body()).await;
    end.map_err(|reason| format!("body: {reason}"))?;
    if read == length { Ok(()) } else { Err(format!("a body of {read} bytes in place of {length}")) }
}

/// Reads an answer that the application has broken off. That is a failure, and the worst one where nobody is told.
pub(super) async fn broken(response: Response<Incoming>) -> Result<(), String> {
    good(&response)?;
    match read(response.into_body()).await {
        (_, Err(reason)) => Err(format!("body: {reason}")),
        (length, Ok(())) => Err(format!("half an answer of {length} bytes looked whole")),
    }
}

async fn read(mut body: Incoming) -> (usize, Result<(), String>) {
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => length += frame.data_ref().map_or(0, Bytes::len),
            Err(error) => return (length, Err(reason(&error))),
        }
    }
    (length, Ok(()))
}
