use super::*;

#[tokio::test]
async fn workers_share_a_port() {
    let first = listen("127.0.0.1:0".parse().unwrap(), 16).unwrap();
    let addr = first.local_addr().unwrap();
    listen(addr, 16).unwrap();
    let options = SocketOptions {
        keepalive: Some(Duration::from_secs(10)),
        user_timeout: Some(Duration::from_secs(30)),
    };
    let client = connect(addr, &options).await.unwrap();
    assert!(client.nodelay().unwrap());
    assert_eq!(SockRef::from(&client).tcp_user_timeout().unwrap(), Some(Duration::from_secs(30)));
}

#[tokio::test]
async fn the_wildcard_takes_both_families() {
    let listener = listen("[::]:0".parse().unwrap(), 16).unwrap();
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
