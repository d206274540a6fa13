//! One connection to a control-plane service: a task of the control thread that any other task of it can ask.

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use mesh_http2::{Code, Error, Pending, SendError, Sender, Settings};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tonic::body::Body as GrpcBody;

/// Pings find a dead control plane within this time.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));
/// What a service may send before it was read: on a stream, and on all of them.
const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// A handle by which a connection is asked. The connection ends when there is none, and no answer.
#[derive(Clone)]
pub(super) struct Connection(mpsc::UnboundedSender<Ask>);

struct Ask {
    request: Request<GrpcBody>,
    answer: oneshot::Sender<Result<Response<Received>, Unanswered>>,
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// The connection takes no more: to be asked elsewhere.
    Unsent(Box<Request<GrpcBody>>),
    /// It failed.
    Failed(Error),
}

/// The body of an answer. The stream is reset when it is dropped before its end.
#[derive(Debug)]
pub struct Received(mpsc::Receiver<Result<Frame<Bytes>, Error>>);

impl Connection {
    /// Speaks HTTP/2 over `io`, on this thread.
    pub(super) fn over<I>(io: I) -> Self
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (asks, asked) = mpsc::unbounded_channel();
        tokio::task::spawn_local(drive(io, asked));
        Self(asks)
    }

    /// Whether nothing can be asked any more.
    pub(super) fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Asks, and waits for the head of the answer.
    pub(super) async fn ask(&self, request: Request<GrpcBody>) -> Result<Response<Received>, Unanswered> {
        let (answer, answered) = oneshot::channel();
        self.0
            .send(Ask { request, answer })
            .map_err(|unsent| Unanswered::Unsent(Box::new(unsent.0.request)))?;
        answered.await.unwrap_or(Err(Unanswered::Failed(Error::Closed)))
    }
}

/// Moves a connection to its end, and has it asked.
async fn drive<I>(io: I, mut asks: mpsc::UnboundedReceiver<Ask>)
where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (stream_window, connection_window) = WINDOWS;
    let keep_alive = Some((KEEP_ALIVE.0, KEEP_ALIVE.1, true));
    let settings = Settings { stream_window, connection_window, keep_alive, ..Settings::default() };
    let (sender, connection) = mesh_http2::connect(io, settings);
    let mut connection = pin!(connection);
    let asking = async {
        loop {
            // The connection is looked at first: it may just have learned that it takes no more.
            let next = poll_fn(|cx| if sender.is_closed() { Poll::Ready(None) } else { asks.poll_recv(cx) });
            let Some(ask) = next.await else { break };
            tokio::task::spawn_local(answer(sender.clone(), ask));
        }
        asks.close();
        while let Some(Ask { request, answer }) = asks.recv().await {
            // Who asked may be gone.
            let _ = answer.send(Err(Unanswered::Unsent(Box::new(request))));
        }
        drop(sender);
    };
    let mut asking = pin!(asking);
    let mut asked = false;
    let ended = poll_fn(|cx| {
        let ended = connection.as_mut().poll(cx);
        asked = asked || asking.as_mut().poll(cx).is_ready();
        ended
    });
    if let Err(error) = ended.await {
        tracing::debug!(%error, "control-plane connection ended");
    }
}

/// Sends one request, and passes on what comes back while somebody waits for it.
async fn answer(sender: Sender, ask: Ask) {
    let Ask { request, answer } = ask;
    if sender.is_closed() {
        let _ = answer.send(Err(Unanswered::Unsent(Box::new(request))));
        return;
    }
    let (head, mut body) = request.into_parts();
    let (pending, mut sending) = match sender.send(Request::from_parts(head, ()), body.is_end_stream()) {
        Ok(sent) => sent,
        Err(unsent) => {
            let _ = answer.send(Err(Unanswered::Failed(unsent.error)));
            return;
        }
    };
    drop(sender);
    let send = async {
        if !body.is_end_stream() {
            let mut held = None;
            let sent = poll_fn(|cx| sending.poll_send_all(&mut body, &mut held, cx)).await;
            if let Err(SendError::Body(status)) = sent {
                tracing::debug!(%status, "a request to the control plane broke off");
                sending.reset(Code::CANCEL);
            }
        }
        // How it went is found in the answer.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = send => {}
        () = receive(pending, answer) => {}
    }
}

/// Passes on what comes back.
async fn receive(pending: Pending, mut answer: oneshot::Sender<Result<Response<Received>, Unanswered>>) {
    let response = tokio::select! {
        response = pending => response,
        () = answer.closed() => return,
    };
    let (head, mut body) = match response {
        Ok(response) => response.into_parts(),
        Err(error) => {
            let _ = answer.send(Err(Unanswered::Failed(error)));
            return;
        }
    };
    // One frame at a time: who reads slowly makes the service wait.
    let (frames, received) = mpsc::channel(1);
    if answer.send(Ok(Response::from_parts(head, Received(received)))).is_err() {
        return;
    }
    loop {
        let frame = tokio::select! {
            frame = poll_fn(|cx| body.poll_frame(cx)) => frame,
            () = frames.closed() => return,
        };
        let Some(frame) = frame else { return };
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

impl Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.0.poll_recv(cx)
    }
}
