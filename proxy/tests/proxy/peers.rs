//! Applications and clients that do what libraries hide.

use crate::app::bind;
use crate::harness::LIMIT;
use h2::server::SendResponse;
use http::Request;
use hyper::body::Bytes;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Answers every request on every connection with `answer`, and keeps all bytes that came.
pub(crate) async fn raw(answer: &'static str) -> (SocketAddr, Seen) {
    let (listener, addr) = bind().await;
    let seen = Seen::default();
    let kept = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = Arc::clone(&kept);
            tokio::spawn(async move {
                let (mut request, mut buf) = (String::new(), [0; 4096]);
                while let Ok(n @ 1..) = stream.read(&mut buf).await {
                    let piece = String::from_utf8_lossy(&buf[..n]);
                    request.push_str(&piece);
                    kept.lock().unwrap().push_str(&piece);
                    if is_whole(&request) {
                        request.clear();
                        stream.write_all(answer.as_bytes()).await?;
                    }
                }
                std::io::Result::Ok(())
            });
        }
    });
    (addr, seen)
}

/// What a [`raw`] application has read.
pub(crate) type Seen = Arc<Mutex<String>>;

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (field("content-length:"), field("transfer-encoding:")) {
        (Some(length), _) => body.len() >= length.parse().unwrap(),
        (None, Some(_)) => body.starts_with("0\r\n") || body.contains("\r\n0\r\n"),
        (None, None) => true,
    }
}

/// HTTP/2 only: what to do with each stream is up to the test.
pub(crate) async fn http2<F>(
    serve: impl Fn(Request<h2::RecvStream>, SendResponse<Bytes>) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let (listener, addr) = bind().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let serve = serve.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    tokio::spawn(serve(request, respond));
                }
            });
        }
    });
    addr
}

/// Writes `bytes` and reads until the text so far ends with `end`, or the other side closes.
pub(crate) async fn exchange(
    io: &mut (impl AsyncRead + AsyncWrite + Unpin),
    bytes: &str,
    end: &str,
) -> String {
    let mut out = Vec::new();
    let exchanging = async {
        io.write_all(bytes.as_bytes()).await.unwrap();
        let mut buf = [0; 4096];
        while end.is_empty() || !out.ends_with(end.as_bytes()) {
            match io.read(&mut buf).await {
                Ok(n @ 1..) => out.extend_from_slice(&buf[..n]),
                _ => break,
            }
        }
    };
    tokio::time::timeout(LIMIT, exchanging).await.expect("no answer in time");
    String::from_utf8_lossy(&out).into_owned()
}

/// An HTTP/2 frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The preface of an HTTP/2 client, and its empty settings.
pub(crate) fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

/// The header block of `GET / HTTP/2` for the authority `web`.
pub(crate) const GET: &[u8] = &[0x82, 0x86, 0x84, 0x41, 3, b'w', b'e', b'b'];
