//! Answers that break off, where the end of the connection would be their end.

use super::{pair, pair_with};
use crate::app::bind;
use crate::destinations::opaque;
use crate::harness::{CLIENT, LIMIT, Proxy, read_all};
use crate::outbound::{WEB, pair_of};
use crate::peers::exchange;
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

/// So much that some of it is on its way when the proxy has closed the connection to a slow client.
const MUCH: usize = 4 << 20;

/// Answers until it closes the connection, in two parts: the first at once, and the second when it is told to. It ends in
/// order after `/whole` and a lot of `/much`, is reset after a lot of `/cut` and in place of the second part of `/broken`,
/// and does not end after `/open`.
async fn closing() -> (SocketAddr, Arc<Notify>) {
    let (listener, addr) = bind().await;
    let told = Arc::new(Notify::new());
    let go_on = Arc::clone(&told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            tokio::spawn(async move { answer(stream, &told).await });
        }
    });
    (addr, go_on)
}

async fn answer(mut stream: TcpStream, told: &Notify) -> io::Result<()> {
    let request = exchange(&mut stream, "", "\r\n\r\n").await;
    let path = request.split(' ').nth(1).unwrap_or_default();
    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\npart").await?;
    told.notified().await;
    match path {
        "/whole" => stream.write_all(b"rest").await?,
        "/much" | "/cut" => stream.write_all(&vec![b'x'; MUCH]).await?,
        "/broken" => {}
        _ => std::future::pending().await,
    }
    match path {
        "/whole" | "/much" => stream.shutdown().await,
        _ => SockRef::from(&stream).set_linger(Some(Duration::ZERO)),
    }
}

/// Asks, and gives back the connection when a part of the answer is there.
async fn begin<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, path: &str) -> I {
    let request = format!("GET {path} HTTP/1.0\r\nhost: web\r\n\r\n");
    let answer = exchange(&mut io, &request, "part").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\npart"), "{answer}");
    io
}

/// Reads to the end, and says how much there was and how it ended.
async fn end(mut io: impl AsyncRead + Unpin) -> (usize, io::Result<()>) {
    let mut rest = Vec::new();
    let ended = timeout(LIMIT, io.read_to_end(&mut rest)).await.expect("the connection stays open");
    (rest.len(), ended.map(|_| ()))
}

async fn breaks(io: impl AsyncRead + AsyncWrite + Unpin, go_on: &Notify, how: io::ErrorKind) {
    let io = begin(io, "/broken").await;
    go_on.notify_one();
    let (more, ended) = end(io).await;
    assert_eq!(more, 0);
    assert_eq!(ended.unwrap_err().kind(), how);
}

async fn is_whole(io: impl AsyncRead + AsyncWrite + Unpin, go_on: &Notify) {
    let io = begin(io, "/whole").await;
    go_on.notify_one();
    let (more, ended) = end(io).await;
    ended.unwrap();
    assert_eq!(more, "rest".len());
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_broken_off_where_it_breaks_off() {
    let (app, go_on) = closing().await;
    let (client, server) = pair(app).await;
    for _ in 0..3 {
        // By HTTP/2 between two proxies, through one, and by TLS.
        breaks(client.out().await, &go_on, io::ErrorKind::ConnectionReset).await;
        breaks(server.plain().await, &go_on, io::ErrorKind::ConnectionReset).await;
        breaks(server.meshed(CLIENT).await, &go_on, io::ErrorKind::UnexpectedEof).await;
        is_whole(client.out().await, &go_on).await;
        is_whole(server.plain().await, &go_on).await;
        is_whole(server.meshed(CLIENT).await, &go_on).await;
    }
}

#[tokio::test]
async fn however_slow_the_client_is_a_whole_answer_is_whole_and_a_broken_one_is_not() {
    let (app, go_on) = closing().await;
    let (client, server) = pair(app).await;
    for path in ["/much", "/cut"] {
        for io in [client.out().await, server.plain().await] {
            let mut io = begin(io, path).await;
            go_on.notify_one();
            let (mut read, mut buf) = (0, vec![0; 32 * 1024]);
            let ended = loop {
                tokio::time::sleep(Duration::from_millis(1)).await;
                match timeout(LIMIT, io.read(&mut buf)).await.expect("the connection stays open") {
                    Ok(0) => break Ok(()),
                    Ok(n) => read += n,
                    Err(error) => break Err(error.kind()),
                }
            };
            let cut = path == "/cut";
            assert_eq!(ended, if cut { Err(io::ErrorKind::ConnectionReset) } else { Ok(()) });
            assert!(cut || read == MUCH, "{read} bytes");
        }
    }
}

/// A client of HTTP/1.1 misses the last chunk. It loses nothing of what came before.
#[tokio::test]
async fn an_answer_in_chunks_that_breaks_off_has_no_last_chunk() {
    let (app, go_on) = closing().await;
    let (client, server) = pair(app).await;
    for mut io in [client.out().await, server.plain().await] {
        let begun = exchange(&mut io, "GET /cut HTTP/1.1\r\nhost: web\r\n\r\n", "part\r\n").await;
        assert!(begun.contains("transfer-encoding: chunked\r\n"), "{begun}");
        go_on.notify_one();
        let rest = read_all(&mut io).await;
        assert!(!rest.ends_with("0\r\n\r\n"), "{} bytes", rest.len());
    }
}

#[tokio::test]
async fn an_answer_that_a_proxy_does_not_wait_for_any_more_is_broken_off() {
    let (app, _) = closing().await;
    let (client, server) = pair_with(app, &[("SHUTDOWN_GRACE_PERIOD", "100ms")]).await;
    let far = begin(client.out().await, "/open").await;
    let near = begin(server.plain().await, "/open").await;
    server.begin_stop();
    for io in [far, near] {
        let (_, ended) = end(io).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    server.stopped().await.unwrap();
}

const UPGRADE: &str = "GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: bytes\r\n\r\n";
const UPGRADED: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: bytes\r\n\r\n";

/// An application that says `part`, after an upgrade if there is to be one. Then it breaks the connection when it is told to,
/// or else reports how that ended.
struct Abrupt {
    addr: SocketAddr,
    go_on: Arc<Notify>,
    ended: mpsc::UnboundedReceiver<io::Result<()>>,
}

impl Abrupt {
    async fn start(upgrades: bool) -> Self {
        let (listener, addr) = bind().await;
        let (go_on, (report, ended)) = (Arc::new(Notify::new()), mpsc::unbounded_channel());
        let told = Arc::clone(&go_on);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (told, report) = (Arc::clone(&told), report.clone());
                tokio::spawn(async move {
                    if upgrades {
                        exchange(&mut stream, "", "\r\n\r\n").await;
                        stream.write_all(UPGRADED.as_bytes()).await.unwrap();
                    }
                    stream.write_all(b"part").await.unwrap();
                    let mut rest = Vec::new();
                    tokio::select! {
                        () = told.notified() => {
                            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                        ended = stream.read_to_end(&mut rest) => report.send(ended.map(drop)).unwrap(),
                    }
                });
            }
        });
        Self { addr, go_on, ended }
    }

    /// Breaks one connection here and one at the client, having `asked` what the application waits for.
    async fn breaks(&mut self, asked: &str, connect: impl AsyncFn() -> TcpStream) {
        let begin = async || {
            let mut io = connect().await;
            let said = exchange(&mut io, asked, "part").await;
            assert!(said.ends_with("part"), "{said}");
            io
        };
        let io = begin().await;
        self.go_on.notify_one();
        assert_eq!(end(io).await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let io = begin().await;
        SockRef::from(&io).set_linger(Some(Duration::ZERO)).unwrap();
        drop(io);
        let ended = timeout(LIMIT, self.ended.recv()).await.expect("the connection stays open").unwrap();
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn bytes_that_break_off_on_one_side_break_off_on_the_other() {
    let mut app = Abrupt::start(false).await;
    let (client, _server) = pair_of(opaque(WEB), app.addr, &[]).await;
    app.breaks("", async || client.out().await).await;
    let port = app.addr.port().to_string();
    let server = Proxy::start(app.addr, &[("INBOUND_PORTS_DISABLE_PROTOCOL_DETECTION", &port)]).await;
    app.breaks("", async || server.plain().await).await;
    let mut app = Abrupt::start(true).await;
    let (client, server) = pair(app.addr).await;
    app.breaks(UPGRADE, async || client.out().await).await;
    app.breaks(UPGRADE, async || server.plain().await).await;
}

#[tokio::test]
async fn bytes_that_a_proxy_does_not_wait_for_any_more_break_off() {
    let app = Abrupt::start(false).await;
    let (client, server) = pair_of(opaque(WEB), app.addr, &[("SHUTDOWN_GRACE_PERIOD", "100ms")]).await;
    let mut io = client.out().await;
    exchange(&mut io, "", "part").await;
    server.begin_stop();
    assert_eq!(end(io).await.1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    server.stopped().await.unwrap();
}
