//! One HTTP/2 connection to a server. Whoever sends a request waits for its response and sends its body meanwhile; what is
//! left of the body then goes on in a task of its own.

use crate::body::Body;
use crate::error::{Cause, Error};
use crate::http::interim;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use mesh_http2::{Answer, Code, Pending, SendBody, SendError, Sender};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

/// Why there is no response.
pub(super) enum Failed {
    /// Nothing was sent: the request can go to another connection.
    Unsent(Request<Body>),
    /// That is to be told.
    Lost(Error),
}

/// A body on its way to a server.
struct Upload {
    body: Body,
    to: SendBody,
    /// What waits for the server's window.
    held: Option<Bytes>,
}

/// Sends a request and waits for the response.
pub(super) async fn exchange(to: &Sender, request: Request<Body>) -> Result<Response<Body>, Failed> {
    let (parts, body) = request.into_parts();
    let whole = body.is_end_stream();
    let (mut pending, to) = match to.send(Request::from_parts(parts, ()), whole) {
        Ok(sent) => sent,
        Err(unsent) if unsent.error.is_unprocessed() => {
            return Err(Failed::Unsent(unsent.request.map(|()| body)));
        }
        Err(unsent) => return Err(Failed::Lost(Error::Request(Cause::Http2(unsent.error)))),
    };
    let mut upload = Upload { body, to, held: None };
    let mut uploads = !whole;
    let answered = poll_fn(|cx| {
        if uploads {
            match upload.poll(pending.is_waiting(), cx) {
                Poll::Ready(Ok(())) => uploads = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Cause::Sent(Box::new(error)))),
                Poll::Pending => {}
            }
        }
        poll_response(&mut pending, cx).map_err(Cause::Http2)
    });
    match answered.await {
        Ok(response) => {
            if uploads {
                tokio::task::spawn_local(upload.finish());
            }
            Ok(response)
        }
        Err(cause) => match pending.take_unsent() {
            Some(request) => Err(Failed::Unsent(request.map(|()| upload.body))),
            None => Err(Failed::Lost(Error::Request(cause))),
        },
    }
}

/// The response; what the server says before it is told to the client.
fn poll_response(
    pending: &mut Pending,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<Body>, mesh_http2::Error>> {
    loop {
        match ready!(pending.poll_answer(cx))? {
            Answer::Informational(head) => interim::tell(head),
            Answer::Final(response) => return Poll::Ready(Ok(response.map(Body::from))),
        }
    }
}

impl Upload {
    /// Sends the body as far as it comes and the server takes it. A stream that failed ends it: what becomes of the request
    /// is told by its response.
    ///
    /// # Errors
    /// Those of the body.
    fn poll(&mut self, waiting: bool, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if waiting {
            // Until there is a stream the body is left alone: another connection may have to take it.
            let _ = self.to.poll_capacity(cx);
            return Poll::Pending;
        }
        match self.to.poll_send_all(&mut self.body, &mut self.held, cx) {
            Poll::Ready(Err(SendError::Body(error))) => {
                self.to.reset(Code::CANCEL);
                Poll::Ready(Err(error))
            }
            Poll::Ready(Ok(()) | Err(SendError::Stream(_))) => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Sends what is left.
    async fn finish(mut self) {
        if let Err(error) = poll_fn(|cx| self.poll(false, cx)).await {
            tracing::debug!(%error, "the rest of a request was not sent");
        }
    }
}
