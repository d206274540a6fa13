//! Serving one HTTP/1 connection, a request after the other. The body of a request is read by who takes it.

use super::Handler;
use crate::body::{Body, Frames};
use crate::drain::Drain;
use crate::error::{Cause, Error as ProxyError};
use crate::http::guard::{Guard, Violation, Watch};
use crate::http::http1::request::{self, Answer, Asked};
use crate::http::http1::{self, Connection, Decoder, Error, Piece, response};
use crate::http::interim::Interim;
use crate::http::upgrade::{self, OnUpgrade};
use crate::relay::ResetOnClose;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite};

/// What tells a client to send its body.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// How much of a body that nobody wants is read to keep the connection.
const UNWANTED: usize = 64 * 1024;

/// The body of a request.
struct Receiving<I> {
    connection: Connection<I>,
    decoder: Decoder,
    /// Whether [`CONTINUE`] is to be written before the body is read.
    expected: bool,
    state: Rc<State>,
}

/// What became of a request's body.
#[derive(Default)]
struct State {
    /// What was left when its reader went away.
    left: Cell<Option<Decoder>>,
    /// Whether all of it was read, or reading failed.
    ended: Cell<Option<bool>>,
    waits: RefCell<Option<Waker>>,
}

/// Serves until the client closes the connection, or the drain signal has let it finish.
pub(super) async fn serve<I, H>(
    connection: Connection<Guard<I>>,
    watch: Arc<Watch>,
    handler: Rc<H>,
    drain: &Drain,
) -> Result<(), ProxyError>
where
    I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
    H: Handler,
{
    let served = Served { connection, watch, handler, drain };
    while let Some(asked) = served.next().await? {
        // Between requests there is no room for one.
        match Box::pin(served.answer(asked)).await? {
            After::Next => {}
            After::Close => break,
            After::Leave(on) => {
                if let Some(upgraded) = served.connection.upgraded() {
                    on.happened(upgraded);
                }
                return Ok(());
            }
        }
    }
    // That the client is not there any more is no failure.
    let _ = poll_fn(|cx| served.connection.poll_shutdown(cx)).await;
    Ok(())
}

/// A connection and who serves it.
struct Served<'a, I, H> {
    connection: Connection<Guard<I>>,
    watch: Arc<Watch>,
    handler: Rc<H>,
    drain: &'a Drain,
}

/// What becomes of a connection after a response.
enum After {
    Next,
    Close,
    Leave(upgrade::Promise),
}

fn server(error: Error) -> ProxyError {
    ProxyError::Server(Cause::Http1(error))
}

/// The next head; `None` at the end of the connection.
async fn head<I: AsyncRead + AsyncWrite + Unpin>(connection: &Connection<I>) -> Result<Option<Asked>, Error> {
    poll_fn(|cx| {
        loop {
            if let Some(asked) = connection.take(request::parse)? {
                return Poll::Ready(Ok(Some(asked)));
            }
            if ready!(connection.poll_head(cx))? == 0 {
                let between = connection.is_read_up();
                return Poll::Ready(if between { Ok(None) } else { Err(Error::Incomplete) });
            }
        }
    })
    .await
}

impl<I, H> Served<'_, I, H>
where
    I: AsyncRead + AsyncWrite + ResetOnClose + Unpin + Send + 'static,
    H: Handler,
{
    /// The next request; `None` when there will be none.
    async fn next(&self) -> Result<Option<Asked>, ProxyError> {
        let mut head = pin!(head(&self.connection));
        let asked = loop {
            tokio::select! {
                biased;
                asked = &mut head => break asked,
                () = self.drain.rest() => match futures::poll!(&mut head) {
                    Poll::Ready(asked) => break asked,
                    // Nothing of a request is there, or nothing will be waited for any more.
                    Poll::Pending if self.is_at_rest() || self.drain.is_draining() => return Ok(None),
                    Poll::Pending => {}
                },
            }
        };
        match asked {
            Ok(asked) => Ok(asked),
            Err(error) => {
                if let Error::Malformed(reason) = error {
                    Box::pin(self.refuse(reason)).await?;
                }
                Err(server(error))
            }
        }
    }

    /// Whether nothing of a request has come.
    fn is_at_rest(&self) -> bool {
        self.connection.is_read_up() && self.connection.look(Guard::is_empty)
    }

    /// Says what is wrong with a request, and closes the connection.
    async fn refuse(&self, reason: &'static str) -> Result<(), ProxyError> {
        let refused = Violation { status: StatusCode::BAD_REQUEST, reason };
        let refusal = self.handler.refuse(&ProxyError::Malformed(refused));
        let (mut refusal, _) = response::outgoing(refusal, Answer::LAST);
        poll_fn(|cx| self.connection.poll_send(&mut refusal, cx)).await.map_err(server)?;
        let _ = poll_fn(|cx| self.connection.poll_shutdown(cx)).await;
        Ok(())
    }

    /// Answers one request.
    async fn answer(&self, asked: Asked) -> Result<After, ProxyError> {
        let connection = &self.connection;
        let Asked { mut request, body, expects_continue, answer: mut to } = asked;
        let on = upgrade::is_upgrade(&request).then(|| {
            let (promise, on) = upgrade::promise();
            request.extensions_mut().insert::<OnUpgrade>(on);
            promise
        });
        let state = Rc::new(State::default());
        let body = if body.is_done() {
            state.ended.set(Some(true));
            Body::Empty
        } else {
            let expected = expects_continue;
            let (connection, state) = (connection.clone(), Rc::clone(&state));
            Body::frames(Receiving { connection, decoder: body, expected, state })
        };
        let response = {
            let mut responding = pin!(respond(&self.watch, &self.handler, request.map(|()| body)));
            let mut interim = Interim::default();
            poll_fn(|cx| {
                let tell = |head: Response<()>| {
                    // HTTP/1.0 knows none.
                    if to.http11 {
                        connection.put_first(|out| response::put_interim(&head, out));
                    }
                };
                let polled = interim.during(|| responding.as_mut().poll(cx), tell);
                // A connection that failed is found by the response.
                let _ = connection.poll_first(cx);
                polled
            })
            .await
        };
        to.keeps &= !self.drain.is_draining() && self.watch.violation().is_none() && !state.is_left();
        let leaves = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (to.connect && response.status().is_success());
        let (mut message, keeps) = response::outgoing(response, to);
        let closes = message.ends_with_connection();
        if closes {
            // Whatever goes wrong from here on, the client learns that there was more.
            connection.look(|io| io.reset_on_close(true));
        }
        poll_fn(|cx| connection.poll_send(&mut message, cx)).await.map_err(server)?;
        if closes {
            connection.look(|io| io.reset_on_close(false));
        }
        drop(message);
        if let Some(promise) = on.filter(|_| leaves) {
            return Ok(After::Leave(promise));
        }
        let ended = keeps && poll_fn(|cx| state.poll_ended(cx)).await;
        let read_up = ended || (keeps && skip(connection, &state));
        Ok(if read_up { After::Next } else { After::Close })
    }
}

/// Reads the rest of a body that nobody wants, if it is there already and short; says whether that was all.
fn skip<I: AsyncRead + AsyncWrite + Unpin>(connection: &Connection<I>, state: &State) -> bool {
    let Some(mut decoder) = state.left.take() else { return false };
    let (mut skipped, mut cx) = (0, Context::from_waker(Waker::noop()));
    while !decoder.is_done() && skipped < UNWANTED {
        match connection.poll_piece(&mut decoder, &mut cx) {
            Poll::Ready(Ok(Some(Piece::Data(data)))) => skipped += data.len(),
            Poll::Ready(Ok(Some(_))) => {}
            Poll::Ready(Ok(None) | Err(_)) | Poll::Pending => return false,
        }
    }
    decoder.is_done()
}

/// The handler's answer, or what takes its place when the request turns out not to be one.
async fn respond<H: Handler>(watch: &Watch, handler: &Rc<H>, request: Request<Body>) -> Response<Body> {
    let refusal = || Some(handler.refuse(&ProxyError::Malformed(watch.violation()?)));
    // What stands in for a refused request.
    if let Some(refusal) = refusal() {
        return refusal;
    }
    let connect = *request.method() == Method::CONNECT;
    let response = Rc::clone(handler).call(request).await;
    // The body turned out to be malformed while it was sent on.
    if let Some(refusal) = refusal() {
        return refusal;
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS || (connect && response.status().is_success()) {
        watch.leave_http();
    }
    response
}

impl State {
    fn end(&self, complete: bool) {
        if self.ended.get().is_none() {
            self.ended.set(Some(complete));
            if let Some(waits) = self.waits.take() {
                waits.wake();
            }
        }
    }

    /// Whether nobody reads the rest, and it is too much to be skipped.
    fn is_left(&self) -> bool {
        let left = self.left.take();
        let short = left.as_ref().is_none_or(|left| left.left().is_none_or(|len| len <= UNWANTED as u64));
        let nobody = self.ended.get() == Some(false);
        let waits = nobody && left.is_none();
        self.left.set(left);
        nobody && (waits || !short)
    }

    /// Whether all was read, once that is certain.
    fn poll_ended(&self, cx: &Context<'_>) -> Poll<bool> {
        if let Some(complete) = self.ended.get() {
            return Poll::Ready(complete);
        }
        *self.waits.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Receiving<I> {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, Error>> {
        if std::mem::take(&mut self.expected) {
            self.connection.put_first(|out| out.extend_from_slice(CONTINUE));
        }
        ready!(self.connection.poll_first(cx))?;
        self.connection.poll_piece(&mut self.decoder, cx)
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> Frames for Receiving<I> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ProxyError>>> {
        if self.state.ended.get().is_some() {
            return Poll::Ready(None);
        }
        let piece = ready!(self.poll_piece(cx));
        if self.decoder.is_done() || piece.is_err() {
            self.state.end(piece.is_ok());
        }
        Poll::Ready(http1::frame(piece))
    }

    fn is_end_stream(&self) -> bool {
        self.state.ended.get().is_some()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<I> Drop for Receiving<I> {
    fn drop(&mut self) {
        if self.state.ended.get().is_none() && !self.expected {
            let decoder = std::mem::replace(&mut self.decoder, Decoder::exact(0));
            self.state.left.set(Some(decoder));
        }
        self.state.end(false);
    }
}
