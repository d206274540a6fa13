use std::sync::Arc;

use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::streaming::spdy::testing::{Client, Said};

const ALL: Wanted = Wanted { stdin: true, stdout: true, stderr: true, resize: false };

async fn open_all(client: &mut Client, kinds: &[&str]) {
    for (stream, kind) in (1..).step_by(2).zip(kinds) {
        client.open(stream, &[("streamtype", kind)]).await;
        assert_eq!(client.said().await, Some(Said::Accepted(stream)));
    }
}

/// A session that says its input backwards once that has ended, and `done` on the side, and ends with a code.
fn reversing(code: i32) -> Session {
    let (stdin, mut input) = tokio::io::duplex(16);
    let (mut output, stdout) = tokio::io::duplex(16);
    let exit = tokio::spawn(async move {
        let mut text = Vec::new();
        input.read_to_end(&mut text).await.unwrap();
        text.reverse();
        output.write_all(&text).await.unwrap();
        code
    });
    Session {
        stdin: Some(Box::new(stdin)),
        stdout: Box::new(stdout),
        stderr: Some(Box::new(&b"done"[..])),
        resize: Box::new(|_, _| {}),
        exit: exit.map(Result::unwrap).boxed(),
    }
}

#[tokio::test]
async fn a_session_takes_input_and_tells_output_and_how_it_ended() {
    let (mut client, io) = Client::new();
    let session = tokio::spawn(stream(io, reversing(3), ALL));
    open_all(&mut client, &["error", "stdin", "stdout", "stderr"]).await;
    client.data(3, b"abc", false).await;
    client.data(3, b"def", true).await;
    let mut said = Vec::new();
    loop {
        match client.said().await.unwrap() {
            Said::GoAway(is_mistake) => break assert!(!is_mistake),
            next => said.push(next),
        }
    }
    let of = |wanted: u32| -> (Vec<u8>, bool) {
        said.iter().fold((Vec::new(), false), |(mut bytes, ended), next| match next {
            Said::Data(stream, data, is_last) if *stream == wanted => {
                bytes.extend(data);
                (bytes, *is_last)
            }
            _ => (bytes, ended),
        })
    };
    assert_eq!(of(5), (b"fedcba".to_vec(), true));
    assert_eq!(of(7), (b"done".to_vec(), true));
    let Some(Said::Data(1, status, true)) = said.last() else { panic!("{said:?}") };
    let status: Value = serde_json::from_slice(status).unwrap();
    assert_eq!(status, outcome(3));
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    client.hang_up().await;
    session.await.unwrap();
    assert_eq!(client.said().await, None);
}

#[tokio::test]
async fn unknown_and_doubled_streams_are_refused() {
    let (mut client, io) = Client::new();
    let wanted = Wanted { stdin: false, stdout: true, stderr: false, resize: false };
    tokio::spawn(stream(io, reversing(0), wanted));
    for (stream, kind) in [(1, "error"), (3, "nonsense"), (5, "error")] {
        client.open(stream, &[("streamtype", kind)]).await;
    }
    assert_eq!(client.said().await, Some(Said::Accepted(1)));
    assert_eq!(client.said().await, Some(Said::Reset(3, 1)));
    assert_eq!(client.said().await, Some(Said::Reset(5, 1)));
}

#[tokio::test]
async fn a_terminal_is_resized_however_the_sizes_are_cut() {
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let (seen, (end, ended)) = (sizes.clone(), tokio::sync::oneshot::channel::<()>());
    let session = Session {
        stdin: None,
        stdout: Box::new(&b""[..]),
        stderr: None,
        resize: Box::new(move |columns, rows| seen.lock().push((columns, rows))),
        exit: ended.map(|_| 0).boxed(),
    };
    let (mut client, io) = Client::new();
    let wanted = Wanted { stdin: false, stdout: true, stderr: false, resize: true };
    let session = tokio::spawn(stream(io, session, wanted));
    open_all(&mut client, &["error", "stdout", "resize"]).await;
    for piece in
        ["{\"Width\":80,\"Hei", "ght\":24}\n{\"Width\":100,\"Height\":40}\n{", "\"Width\":1,\"Height\":2}"]
    {
        client.data(5, piece.as_bytes(), false).await;
    }
    client.send(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]).await;
    while client.said().await.unwrap() != Said::Pong(1) {}
    assert_eq!(*sizes.lock(), [(80, 24), (100, 40), (1, 2)]);
    drop(end);
    client.hang_up().await;
    session.await.unwrap();
}
