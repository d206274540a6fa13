use super::*;
use tokio::io::AsyncReadExt as _;

#[tokio::test]
async fn workers_share_a_port() {
    let options = SocketOptions::default();
    let first = listen("127.0.0.1:0".parse().unwrap(), 16, &options).unwrap();
    listen(first.local_addr().unwrap(), 16, &options).unwrap();
}

#[tokio::test]
async fn both_ends_of_a_connection_have_their_options() {
    let options = |seconds| SocketOptions {
        keepalive: Some(Duration::from_secs(seconds)),
        user_timeout: Some(Duration::from_secs(3 * seconds)),
    };
    let listener = listen("127.0.0.1:0".parse().unwrap(), 16, &options(20)).unwrap();
    let client = connect(listener.local_addr().unwrap(), &options(10)).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    for (stream, seconds) in [(&client, 10), (&server, 20)] {
        let socket = SockRef::from(stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(seconds));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(seconds));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(3 * seconds)));
    }
}

#[tokio::test]
async fn the_wildcard_takes_both_families() {
    let listener = listen("[::]:0".parse().unwrap(), 16, &SocketOptions::default()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = connect(SocketAddr::from(([127, 0, 0, 1], port)), &SocketOptions::default()).await.unwrap();
    let (server, peer) = listener.accept().await.unwrap();
    assert_eq!(normalize(peer), client.local_addr().unwrap());
    assert!(normalize(server.local_addr().unwrap()).is_ipv4());
}

#[test]
fn own_addresses_are_recognised() {
    let pod: IpAddr = "10.42.0.7".parse().unwrap();
    assert!(is_own_address("10.42.0.7:4143".parse().unwrap(), pod, 4143));
    assert!(is_own_address("127.0.0.1:4143".parse().unwrap(), pod, 4143));
    assert!(is_own_address("[::ffff:10.42.0.7]:4143".parse().unwrap(), pod, 4143));
    assert!(!is_own_address("10.42.0.8:4143".parse().unwrap(), pod, 4143));
    assert!(!is_own_address("10.42.0.7:8080".parse().unwrap(), pod, 4143));
}

#[tokio::test]
async fn a_connection_that_is_to_be_reset_is_and_no_other() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    for resets in [true, false] {
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        reset_on_close(&server, true);
        reset_on_close(&server, resets);
        drop(server);
        let ended = client.read(&mut [0]).await.map_err(|error| error.kind());
        assert_eq!(ended, if resets { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) });
    }
}
