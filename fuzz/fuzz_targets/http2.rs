//! HTTP/2 of a stranger, in either role: nothing panics, what is said are frames, and no more memory is held than
//! windows, budgets and buffers allow.
#![no_main]

use futures::executor::LocalPool;
use futures::future::poll_fn;
use futures::task::LocalSpawnExt as _;
use http::{Request, Response};
use libfuzzer_sys::fuzz_target;
use mesh_http2::frame::{HEADER, Head, PREFACE};
use mesh_http2::{Answer, RecvBody, Respond, Server, Settings, connect};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Beyond what an input of libFuzzer's longest, 4 KiB, could have made us keep.
const MEMORY: usize = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let Some((how, bytes)) = bytes.split_first() else { return };
    let (as_server, as_frames, piece) = (how & 1 == 0, how & 2 == 0, 1 << (how >> 2 & 15));
    let mut input = if as_server { PREFACE.to_vec() } else { Vec::new() };
    if as_frames {
        put_frames(bytes, &mut input);
    } else {
        input.extend_from_slice(bytes);
    }
    let said = Rc::new(RefCell::new(Vec::new()));
    let wire = Wire { input, at: 0, piece, said: said.clone() };
    if as_server { serve(wire) } else { ask(wire) }
    check(&said.borrow(), as_server);
});

/// Bytes as frames whose lengths are right: type, flags, stream and length in a byte each, then the payload.
fn put_frames(mut bytes: &[u8], out: &mut Vec<u8>) {
    while let Some((&[kind, flags, id, len], rest)) = bytes.split_first_chunk() {
        let (payload, rest) = rest.split_at(rest.len().min(len.into()));
        Head { len: payload.len(), kind: kind % 12, flags, id: u32::from(id) }.put(out);
        out.extend_from_slice(payload);
        bytes = rest;
    }
}

fn serve(wire: Wire) {
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    pool.run_until(async move {
        let mut server = Server::new(wire, Settings { connect_protocol: true, ..Settings::default() });
        while let Some(Ok((request, respond))) = server.accept().await {
            assert!(server.memory() < MEMORY, "{}", server.memory());
            spawner.spawn_local(echo(request, respond)).expect("the pool lives");
        }
    });
}

async fn echo(request: Request<RecvBody>, respond: Respond) {
    let mut body = request.into_body();
    let Ok(mut send) = respond.respond(Response::new(()), body.is_end_stream()) else { return };
    let mut held = None;
    let _ = poll_fn(|cx| send.poll_send_all(&mut body, &mut held, cx)).await;
}

fn ask(wire: Wire) {
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let (sender, mut connection) = connect(wire, Settings::default());
    for end in [true, false, true] {
        let request = Request::get("http://example.com/").body(()).expect("a request");
        let (mut pending, body) = sender.send(request, end).expect("nothing came yet");
        let asked = async move {
            let response = loop {
                match poll_fn(|cx| pending.poll_answer(cx)).await {
                    Ok(Answer::Informational(_)) => {}
                    Ok(Answer::Final(response)) => break response,
                    Err(_) => return,
                }
            };
            let mut received = response.into_body();
            while let Some(Ok(_)) = poll_fn(|cx| received.poll_frame(cx)).await {}
            drop(body);
        };
        spawner.spawn_local(asked).expect("the pool lives");
    }
    drop(sender);
    pool.run_until(poll_fn(|cx| {
        assert!(connection.memory() < MEMORY, "{}", connection.memory());
        connection.poll_drive(cx).map(drop)
    }));
}

/// What was said is frames that a peer may be sent; the last may be cut off by the end.
fn check(said: &[u8], as_server: bool) {
    let mut rest = said;
    if !as_server {
        let (preface, frames) = said.split_at(PREFACE.len().min(said.len()));
        assert!(PREFACE.starts_with(preface));
        rest = frames;
    }
    while let Some(head) = Head::parse(rest) {
        head.check().expect("what is said is a frame");
        rest = rest.get(HEADER + head.len..).unwrap_or_default();
    }
}

/// What a stranger says, piece by piece and then no more, and what it hears.
struct Wire {
    input: Vec<u8>,
    at: usize,
    piece: usize,
    said: Rc<RefCell<Vec<u8>>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &self.input[self.at..];
        let len = rest.len().min(self.piece).min(buf.remaining());
        buf.put_slice(&rest[..len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let len = bytes.len().min(self.piece);
        self.said.borrow_mut().extend_from_slice(&bytes[..len]);
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
