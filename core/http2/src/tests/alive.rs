//! Peers that are slow, and peers that are gone.

use super::raw::frame;
use super::{bytes, echo, get, post, run, serve};
use crate::frame::{MAX_WINDOW, kind};
use crate::{Error, Server, Settings, connect};
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, timeout};

const SEC: Duration = Duration::from_secs(1);

fn pinging(interval: Duration, timeout: Duration) -> Settings {
    Settings { keep_alive: Some((interval, timeout, true)), ..Settings::default() }
}

/// What a server says that grants all there is.
pub(super) fn generous() -> Vec<u8> {
    let window = [&[0, 4][..], &MAX_WINDOW.to_be_bytes()].concat();
    let more = (MAX_WINDOW - 65_535).to_be_bytes();
    [frame(kind::SETTINGS, 0, 0, &window), frame(kind::WINDOW_UPDATE, 0, 0, &more)].concat()
}

#[test]
fn pings_find_a_peer_that_is_gone() {
    run(async {
        let settings = pinging(10 * SEC, 5 * SEC);
        // One that answers.
        let (near, far) = duplex(1024);
        let served = serve(Server::new(far, Settings::default()), echo);
        let (sender, client) = connect(near, settings);
        let mut driven = spawn_local(client);
        assert!(timeout(100 * SEC, &mut driven).await.is_err());
        sender.send(get("/"), true).unwrap().0.await.unwrap();
        drop(sender);
        driven.await.unwrap().unwrap();
        served.await.unwrap().unwrap();
        // One that does not.
        let (near, _far) = duplex(1024);
        let (sender, client) = connect(near, settings);
        let (response, _) = sender.send(get("/"), true).unwrap();
        let begun = Instant::now();
        assert!(matches!(client.await, Err(Error::KeepAlive)));
        assert_eq!(begun.elapsed().as_secs(), 15);
        assert!(response.await.unwrap_err().is_io());
    });
}

#[test]
fn a_peer_that_takes_a_long_upload_slowly_is_alive_for_as_long_as_it_does() {
    run(async {
        let (near, mut far) = duplex(1024);
        let (sender, client) = connect(near, pinging(2 * SEC, 2 * SEC));
        let driven = spawn_local(client);
        far.write_all(&generous()).await.unwrap();
        let (_response, mut send) = sender.send(post("/"), false).unwrap();
        spawn_local(async move {
            while let Ok(capacity) = poll_fn(|cx| send.poll_capacity(cx)).await {
                send.send(bytes(capacity), false).unwrap();
            }
        });
        for _ in 0..300 {
            sleep(SEC / 10).await;
            assert!(!driven.is_finished());
            far.read_exact(&mut [0; 1024]).await.unwrap();
        }
        let begun = Instant::now();
        assert!(matches!(driven.await.unwrap(), Err(Error::KeepAlive)));
        assert!(begun.elapsed() <= 6 * SEC, "{:?}", begun.elapsed());
    });
}

#[test]
fn a_peer_that_says_something_else_in_place_of_its_answer_to_a_ping_is_alive() {
    run(async {
        let (near, mut far) = duplex(1024);
        let (_sender, client) = connect(near, pinging(SEC, 2 * SEC));
        let driven = spawn_local(client);
        far.write_all(&frame(kind::SETTINGS, 0, 0, &[])).await.unwrap();
        for _ in 0..20 {
            sleep(SEC * 3 / 2).await;
            far.write_all(&frame(kind::WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await.unwrap();
        }
        let begun = Instant::now();
        assert!(matches!(driven.await.unwrap(), Err(Error::KeepAlive)));
        assert_eq!(begun.elapsed().as_secs(), 2);
    });
}
