//! Answers that are complete before the request is, and requests that end right after their head.

use super::pair;
use crate::app::bind;
use crate::harness::LIMIT;
use crate::peers::{self, frame};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{Request, Response};
use std::future::poll_fn;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far more than a client's window, and less than a proxy's.
const SIZE: usize = 400_000;

/// Answers as soon as the head of a request is there, with a body and trailers, and refuses the rest of the request in
/// the same breath (RFC 9113, 8.1).
async fn early() -> SocketAddr {
    let (listener, addr) = bind().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream));
        }
    });
    addr
}

async fn answer(mut io: TcpStream) -> std::io::Result<()> {
    let mut preface = [0; 24];
    io.read_exact(&mut preface).await?;
    io.write_all(&frame(4, 0, 0, &[])).await?;
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await?;
        let [_, a, b, kind, flags, id @ ..] = head;
        let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
        io.read_exact(&mut payload).await?;
        match kind {
            1 => io.write_all(&whole(u32::from_be_bytes(id))).await?,
            4 if flags == 0 => io.write_all(&frame(4, 1, 0, &[])).await?,
            _ => {}
        }
    }
}

/// Head, body, trailers and `RST_STREAM` with `NO_ERROR`.
fn whole(id: u32) -> Vec<u8> {
    let mut out = frame(1, 4, id, b"\x88\x0f\x10\x10application/grpc");
    for piece in vec![7; SIZE].chunks(16 * 1024) {
        out.extend(frame(0, 0, id, piece));
    }
    out.extend(frame(1, 5, id, b"\x00\x0bgrpc-status\x018"));
    out.extend(frame(3, 0, id, &[0; 4]));
    out
}

/// Uploads for as long as it may and reads the answer, slowly if so said: its size and gRPC status.
async fn ask(mut sender: SendRequest<Bytes>, slow: bool) -> (usize, String) {
    let request = Request::post("http://web.shop/p.S/M").header("content-type", "application/grpc");
    let request = request.header("te", "trailers").body(()).unwrap();
    let (response, mut upload) = sender.send_request(request, false).unwrap();
    let uploading = tokio::spawn(async move {
        loop {
            upload.reserve_capacity(16 * 1024);
            let Some(Ok(room)) = poll_fn(|cx| upload.poll_capacity(cx)).await else { break };
            if upload.send_data(Bytes::from(vec![1; room]), false).is_err() {
                break;
            }
        }
    });
    let mut body = response.await.unwrap().into_body();
    let mut got = 0;
    while let Some(data) = body.data().await {
        let len = data.unwrap().len();
        got += len;
        if slow {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        body.flow_control().release_capacity(len).unwrap();
    }
    let trailers = body.trailers().await.unwrap().expect("trailers");
    uploading.await.unwrap();
    (got, trailers["grpc-status"].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_early_answer_arrives_whole_however_slowly_it_is_read() {
    let (client, server) = pair(early().await).await;
    for slow in [false, true] {
        let (sender, connection) = h2::client::handshake(client.out().await).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..5 {
            let asked = ask(sender.clone().ready().await.unwrap(), slow);
            assert_eq!(timeout(LIMIT, asked).await.unwrap(), (SIZE, "8".to_owned()));
        }
    }
    for proxy in [&client, &server] {
        proxy.until_metric("response_total", &["grpc_status=\"8\""]).await;
    }
}

/// Servers of gRPC know the end of a request without messages by a frame of its own, and may not know it otherwise.
#[tokio::test]
async fn an_empty_request_that_ends_apart_from_its_head_does_so_at_the_server_too() {
    let app = peers::http2(|request, mut respond: SendResponse<Bytes>| async move {
        let status = if request.body().is_end_stream() { 204 } else { 200 };
        respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
    });
    let (client, _server) = pair(app.await).await;
    let (mut sender, connection) = h2::client::handshake(client.out().await).await.unwrap();
    tokio::spawn(connection);
    for apart in [true, false].repeat(10) {
        let request = Request::post("http://web.shop/p.S/M").body(()).unwrap();
        let (response, mut stream) = sender.send_request(request, !apart).unwrap();
        if apart {
            stream.send_data(Bytes::new(), true).unwrap();
        }
        let response = timeout(LIMIT, response).await.unwrap().unwrap();
        assert_eq!(response.status(), if apart { 200 } else { 204 });
    }
}
