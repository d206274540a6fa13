//! WebSocket: an upgrade, then messages both ways for as long as both sides like.

use crate::bed::pair;
use futures::{SinkExt as _, StreamExt as _};
use mesh_bed::SERVER_IP;
use std::net::TcpListener;
use std::sync::Once;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;

const PORT: u16 = 8082;
const LIMIT: Duration = Duration::from_secs(30);

/// Starts a server that gives every message back, once.
fn serve() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let bed = pair();
        let listener = bed.server.run(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap()).unwrap();
        listener.set_nonblocking(true).unwrap();
        bed.server
            .spawn(move || async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
                        let (mut sink, mut stream) = socket.split();
                        while let Some(Ok(message)) = stream.next().await {
                            if !(message.is_text() || message.is_binary()) {
                                continue;
                            }
                            if sink.send(message).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            })
            .unwrap();
        bed.publish(PORT);
    });
}

/// Runs a client beside the client's proxy.
fn client<F: Future<Output = ()>>(make: impl FnOnce() -> F + Send + 'static) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let work = move || {
        let limited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime().block_on(async { tokio::time::timeout(LIMIT, make()).await.expect("a client hangs") });
        }));
        limited.map_err(|_| "the client failed; see above")
    };
    pair().client.run(work).unwrap().unwrap();
}

async fn connect() -> tokio_tungstenite::WebSocketStream<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect((SERVER_IP, PORT)).await.unwrap();
    let url = format!("ws://{SERVER_IP}:{PORT}/socket");
    let (socket, response) = tokio_tungstenite::client_async(url, stream).await.unwrap();
    assert_eq!(response.status(), 101);
    socket
}

#[test]
fn messages_of_every_size_come_back() {
    serve();
    client(|| async {
        let mut socket = connect().await;
        for size in [0, 1, 125, 126, 65_535, 65_536, 1 << 20] {
            socket.send(Message::binary(vec![7u8; size])).await.unwrap();
            let answer = socket.next().await.unwrap().unwrap();
            assert_eq!(answer.into_data().len(), size);
        }
        socket.send(Message::text("grüße")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("grüße"));
    });
}

#[test]
fn a_close_is_answered_and_ends_the_connection() {
    serve();
    client(|| async {
        let mut socket = connect().await;
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
        socket.close(None).await.unwrap();
        while let Some(message) = socket.next().await {
            assert!(message.is_ok_and(|m| m.is_close()), "something else than a close came");
        }
    });
}
