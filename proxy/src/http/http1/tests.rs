#![allow(clippy::unwrap_used)]

use super::response::parse;
use super::{Connection, Decoder, Error, Piece, request as head};
use crate::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a body of these bytes says when they come in pieces of that size: its data, its trailers, and what is left over.
fn decoded(mut decoder: Decoder, bytes: &[u8], size: usize) -> Result<(Vec<u8>, HeaderMap, Vec<u8>), Error> {
    let (mut read, mut data, mut trailers) = (BytesMut::new(), Vec::new(), HeaderMap::new());
    let mut pieces = bytes.chunks(size);
    while !decoder.is_done() {
        match decoder.next(&mut read)? {
            Some(Piece::Data(bytes)) => data.extend_from_slice(&bytes),
            Some(Piece::Trailers(fields)) => trailers = fields,
            Some(Piece::End) => {}
            None => match pieces.next() {
                Some(piece) => read.extend_from_slice(piece),
                None => return Err(Error::Incomplete),
            },
        }
    }
    let rest = [&read[..], &pieces.collect::<Vec<_>>().concat()].concat();
    Ok((data, trailers, rest))
}

#[test]
fn a_chunked_body_says_the_same_however_it_comes() {
    let bytes =
        b"4\r\nWiki\r\n6;name=\"v\"\r\npedia \r\n00E \r\nin \r\n\r\nchunks.\r\n0\r\nx-sum: 7\r\n\r\nHTTP/1.1";
    for size in 1..=bytes.len() {
        let (data, trailers, rest) = decoded(Decoder::chunked(), bytes, size).unwrap();
        assert_eq!(data, b"Wikipedia in \r\n\r\nchunks.", "{size}");
        assert_eq!((trailers.len(), trailers.get("x-sum").unwrap().as_bytes()), (1, &b"7"[..]));
        assert_eq!(rest, b"HTTP/1.1");
    }
    assert_eq!(
        decoded(Decoder::exact(3), b"abcd", 2).unwrap(),
        (b"abc".into(), HeaderMap::new(), b"d".into())
    );
}

#[test]
fn a_chunked_body_that_is_none_is_refused() {
    for bytes in [
        &b"\r\n"[..],
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\na\r\n0\r\n\r\n",
        b"1\na\r\n0\r\n\r\n",
        b"1 x\r\na\r\n0\r\n\r\n",
        b"1\r\nab\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"0\r\nno field\r\n\r\n",
    ] {
        let refused = decoded(Decoder::chunked(), bytes, bytes.len());
        assert!(
            matches!(refused, Err(Error::Malformed(_))),
            "{:?} {refused:?}",
            bytes.escape_ascii().to_string()
        );
    }
    let endless = [b"1;".as_slice(), &[b'x'; 5000]].concat();
    assert!(matches!(decoded(Decoder::chunked(), &endless, 100), Err(Error::Malformed(_))));
    assert!(matches!(decoded(Decoder::chunked(), b"2\r\na", 1), Err(Error::Incomplete)));
}

/// What is written of a request to a connection that takes everything.
fn written(request: Request<Body>) -> Result<String, Error> {
    let mut outgoing = head::outgoing(request);
    let out = RefCell::new(Vec::new());
    assert!(outgoing.is_unsent());
    match outgoing.poll_send(&out, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(sent) => sent.map(|()| {
            assert!(outgoing.is_sent() && !outgoing.is_unsent());
            String::from_utf8(out.take()).unwrap()
        }),
        Poll::Pending => panic!("{out:?}"),
    }
}

fn request(method: Method) -> http::request::Builder {
    Request::builder().method(method).uri("/a?b").header("host", "shop")
}

#[test]
fn the_length_of_a_body_is_said_once() {
    let get = request(Method::GET).body(Body::Empty).unwrap();
    assert_eq!(written(get).unwrap(), "GET /a?b HTTP/1.1\r\nhost: shop\r\n\r\n");
    let post = request(Method::POST).body(Body::full("four")).unwrap();
    assert_eq!(written(post).unwrap(), "POST /a?b HTTP/1.1\r\nhost: shop\r\ncontent-length: 4\r\n\r\nfour");
    let chunked = request(Method::POST).header("transfer-encoding", "chunked").header("content-length", "9");
    let written_ = written(chunked.body(Body::full("four")).unwrap()).unwrap();
    assert_eq!(
        written_,
        "POST /a?b HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfour\r\n0\r\n\r\n"
    );
    let large = Bytes::from(vec![b'x'; 100_000]);
    let old = request(Method::PUT).version(Version::HTTP_10).header("transfer-encoding", "chunked");
    let text = written(old.body(Body::Full(large)).unwrap()).unwrap();
    assert!(
        text.starts_with("PUT /a?b HTTP/1.0\r\nhost: shop\r\ncontent-length: 100000\r\n\r\nxxx"),
        "{text}"
    );
    assert_eq!(text.matches('x').count(), 100_000);
}

#[test]
fn a_body_that_is_not_as_long_as_was_said_breaks_off() {
    for said in ["3", "5"] {
        let post = request(Method::POST).header("content-length", said).body(Body::full("four")).unwrap();
        assert!(matches!(written(post), Err(Error::Malformed(_))), "{said}");
    }
}

#[test]
fn only_announced_trailers_are_sent() {
    let fields: HeaderMap = [("x-sum", "7"), ("host", "other")]
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .into_iter()
        .collect();
    let post = request(Method::POST).header("transfer-encoding", "chunked").header("trailer", "X-Sum");
    let text = written(post.body(Body::Trailers(Box::new(fields))).unwrap()).unwrap();
    assert!(text.ends_with("\r\n\r\n0\r\nx-sum: 7\r\n\r\n"), "{text}");
}

/// A status, whether the connection is kept, and the data of the body, where it is complete.
type Answered = (StatusCode, bool, Option<Vec<u8>>);

fn answered(bytes: &[u8], method: &Method) -> Result<Answered, Error> {
    let mut read = BytesMut::from(bytes);
    let head = parse(&mut read, method, drop)?.ok_or(Error::Incomplete)?;
    let data = decoded(head.body, &read, 1).map(|(data, ..)| data).ok();
    Ok((head.response.status(), head.keeps, data))
}

#[test]
fn a_response_ends_where_its_head_says() {
    let data = |bytes: &[u8], method: &Method| {
        let (_, keeps, data) = answered(bytes, method).unwrap();
        (keeps, data)
    };
    let get = Method::GET;
    assert_eq!(data(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", &get), (true, Some(b"ab".into())));
    assert_eq!(data(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", &Method::HEAD), (true, Some(vec![])));
    assert_eq!(data(b"HTTP/1.1 304 Not\r\ncontent-length: 2\r\n\r\n", &get), (true, Some(vec![])));
    assert_eq!(data(b"HTTP/1.1 204 No\r\n\r\n", &get), (true, Some(vec![])));
    assert_eq!(
        data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\nab", &get),
        (true, Some(b"ab".into()))
    );
    let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    assert_eq!(data(chunked, &get), (true, Some(b"a".into())));
    // The other length is of no use, and so is the connection.
    let both = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_eq!(data(both, &get), (false, Some(vec![])));
    assert_eq!(data(b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", &get), (false, Some(vec![])));
    let kept = b"HTTP/1.0 200 OK\r\nconnection: foo, Keep-Alive\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(data(kept, &get), (true, Some(vec![])));
    let closed =
        b"HTTP/1.1 200 OK\r\nconnection: keep-alive\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(data(closed, &get), (false, Some(vec![])));
    // Until the end of the connection, which has not come.
    assert_eq!(data(b"HTTP/1.1 200 OK\r\n\r\nab", &get), (false, None));
}

#[test]
fn interim_responses_are_no_answer() {
    let bytes = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
    let (status, keeps, _) = answered(bytes, &Method::GET).unwrap();
    assert_eq!((status, keeps), (StatusCode::NO_CONTENT, true));
    for cut in 0..bytes.len() {
        assert!(matches!(answered(&bytes[..cut], &Method::GET), Err(Error::Incomplete)), "{cut}");
    }
    let mut read = BytesMut::from(&b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\nrest"[..]);
    let head = parse(&mut read, &Method::GET, drop).unwrap().unwrap();
    assert!(head.leaves_http && !head.keeps);
    assert_eq!(read, "rest");
}

#[test]
fn a_response_that_two_readers_may_read_differently_is_refused() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
        b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/3.1 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH\r\n",
    ] {
        let refused = answered(bytes, &Method::GET);
        assert!(
            matches!(refused, Err(Error::Malformed(_))),
            "{:?} {refused:?}",
            bytes.escape_ascii().to_string()
        );
    }
    let large = [b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'x'; 70_000]].concat();
    assert!(matches!(answered(&large, &Method::GET), Err(Error::Malformed(_))));
}

/// A peer that takes nothing.
#[derive(Default)]
struct TakesNothing(usize);

impl AsyncRead for TakesNothing {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for TakesNothing {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.0 += 1;
        assert!(self.0 < 10, "asked for ever");
        Poll::Ready(Ok(0))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn a_connection_that_takes_nothing_ends_with_an_error() {
    let connection = Connection::new(TakesNothing::default());
    connection.put_first(|first| first.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"));
    let sent = connection.poll_first(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(&sent, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::WriteZero), "{sent:?}");
}

/// Takes bytes at once, and holds them back until it is flushed when it is ready.
#[derive(Default)]
struct Holding {
    held: usize,
    passed: usize,
    ready: bool,
}

impl AsyncWrite for Holding {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.held += buf.len();
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ready {
            return Poll::Pending;
        }
        self.passed += std::mem::take(&mut self.held);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn what_could_not_be_flushed_goes_out_while_the_body_pauses() {
    let body = Body::frames(Script { frames: [Ok(Bytes::from_static(b"event"))].into(), pauses: true });
    let mut message = head::outgoing(request(Method::POST).body(body).unwrap());
    let io = RefCell::new(Holding::default());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(message.poll_send(&io, &mut cx).is_pending());
    let held = io.borrow().held;
    assert!(held > 5 && io.borrow().passed == 0);
    io.borrow_mut().ready = true;
    assert!(message.poll_send(&io, &mut cx).is_pending());
    assert_eq!(io.borrow().passed, held);
}

/// A body of these frames.
struct Script {
    frames: VecDeque<Result<Bytes, crate::error::Error>>,
    /// Whether nothing follows them, not even an end.
    pauses: bool,
}

impl crate::body::Frames for Script {
    fn poll_frame(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, crate::error::Error>>> {
        match self.frames.pop_front() {
            None if self.pauses => Poll::Pending,
            frame => Poll::Ready(frame.map(|frame| frame.map(http_body::Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::new()
    }
}

fn script(frames: impl IntoIterator<Item = Result<Bytes, crate::error::Error>>) -> Body {
    Body::frames(Script { frames: frames.into_iter().collect(), pauses: false })
}

/// Takes up to so many bytes at once, and counts how often; of none it has to be waited for.
struct Counting {
    taken: Vec<u8>,
    most: usize,
    writes: usize,
}

impl AsyncWrite for Counting {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.most == 0 {
            return Poll::Pending;
        }
        let before = self.taken.len();
        for buf in bufs {
            let left = self.most - (self.taken.len() - before);
            self.taken.extend_from_slice(&buf[..left.min(buf.len())]);
        }
        self.writes += 1;
        Poll::Ready(Ok(self.taken.len() - before))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn counting(most: usize) -> RefCell<Counting> {
    RefCell::new(Counting { taken: Vec::new(), most, writes: 0 })
}

fn send(request: Request<Body>, io: &RefCell<Counting>) -> Result<(), Error> {
    let mut outgoing = head::outgoing(request);
    match outgoing.poll_send(io, &mut Context::from_waker(Waker::noop())) {
        Poll::Ready(sent) => sent,
        Poll::Pending => panic!("{} bytes", io.borrow().taken.len()),
    }
}

#[test]
fn frames_at_hand_are_written_together_and_whole_however_little_is_taken_at_once() {
    let frames: Vec<Bytes> = (0..20_u8).map(|n| vec![b'a' + n; 16_000].into()).collect();
    for most in [7, 5_000, usize::MAX] {
        let exact = request(Method::POST).header("content-length", "320000");
        let io = counting(most);
        send(exact.body(script(frames.iter().cloned().map(Ok))).unwrap(), &io).unwrap();
        let io = io.into_inner();
        assert!(io.taken.ends_with(&frames.concat()), "{most}");
        assert!(most < usize::MAX || io.writes <= 5, "{} writes", io.writes);

        let chunked = request(Method::POST).header("transfer-encoding", "chunked");
        let io = counting(most);
        send(chunked.body(script(frames.iter().cloned().map(Ok))).unwrap(), &io).unwrap();
        let io = io.into_inner();
        let body = io.taken.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let (data, _, rest) = decoded(Decoder::chunked(), &io.taken[body..], 9_999).unwrap();
        assert!(data == frames.concat() && rest.is_empty(), "{most}");
        assert!(most < usize::MAX || io.writes <= 6, "{} writes", io.writes);
    }
}

#[test]
fn what_came_of_a_body_that_breaks_off_is_sent_first() {
    let broken = || Err(crate::error::Error::Body(Error::Incomplete.into()));
    let io = counting(usize::MAX);
    let large = script([Ok(vec![b'x'; 16_000].into()), Ok(vec![b'y'; 16_000].into()), broken()]);
    let sent = send(request(Method::POST).header("content-length", "48000").body(large).unwrap(), &io);
    assert!(matches!(sent, Err(Error::Body(_))), "{sent:?}");
    assert!(io.borrow().taken.ends_with(&[b'y'; 16_000]));
    let io = counting(usize::MAX);
    let small = script((0..20_u8).map(|n| Ok(vec![n; 4_000].into())).chain([broken()]));
    let sent = send(request(Method::POST).header("content-length", "99000").body(small).unwrap(), &io);
    assert!(matches!(sent, Err(Error::Body(_))), "{sent:?}");
    assert!(io.borrow().taken.ends_with(&[19; 4_000]));
    let io = counting(usize::MAX);
    let sent =
        send(request(Method::POST).header("content-length", "4").body(script([broken()])).unwrap(), &io);
    assert!(matches!(sent, Err(Error::Body(_))), "{sent:?}");
    assert!(io.borrow().taken.is_empty(), "a request that never began");
}

#[test]
fn a_slow_peer_gets_what_came_of_a_broken_body_unless_it_is_too_late() {
    use crate::error::Error as Cause;
    let begin = |cause: Cause| {
        let body = script([Ok(vec![b'x'; 16_000].into()), Err(cause)]);
        head::outgoing(request(Method::POST).header("content-length", "48000").body(body).unwrap())
    };
    let mut cx = Context::from_waker(Waker::noop());
    let io = counting(0);
    let mut outgoing = begin(Cause::Body(Error::Incomplete.into()));
    assert!(outgoing.poll_send(&io, &mut cx).is_pending() && !outgoing.is_sent());
    io.borrow_mut().most = usize::MAX;
    assert!(matches!(outgoing.poll_send(&io, &mut cx), Poll::Ready(Err(Error::Body(_)))));
    assert!(io.borrow().taken.len() > 16_000);
    let io = counting(0);
    let mut outgoing = begin(Cause::IdleTimeout(std::time::Duration::from_secs(1)));
    assert!(matches!(outgoing.poll_send(&io, &mut cx), Poll::Ready(Err(Error::Body(_)))));
}
