use super::*;
use crate::network::NetNs;
use std::net::UdpSocket;
use std::process::Command;

/// A namespace with a device whose other end nobody reads, and two addresses of its own.
fn namespace() -> NetNs {
    let namespace = NetNs::create().unwrap();
    let script = "ip link set lo up && ip link add v0 type veth peer name v1 && ip link set v1 up \
                  && ip addr add 10.9.0.1/24 dev v0 && ip addr add 10.9.0.2/24 dev v0 && ip link set v0 up \
                  && ip neigh add 10.9.0.3 lladdr 02:00:00:00:00:03 dev v0";
    let made = namespace.run(|| Command::new("sh").args(["-c", script]).status()).unwrap().unwrap();
    assert!(made.success());
    namespace
}

/// Records until `token` is cancelled, in a thread; answers with the number of packets.
fn recording(namespace: &NetNs, file: &Path, token: &CancellationToken) -> std::thread::JoinHandle<u64> {
    let (socket, file, token) = (namespace.run(open).unwrap().unwrap(), file.to_owned(), token.clone());
    std::thread::spawn(move || record(socket, &file, &token).unwrap())
}

#[test]
fn packets_that_stay_inside_are_not_kept_whatever_their_addresses() {
    let namespace = namespace();
    let directory = tempfile::tempdir().unwrap();
    let (file, token) = (directory.path().join("inside.pcap"), CancellationToken::new());
    let ended = recording(&namespace, &file, &token);
    let sent = namespace.run(|| {
        let socket = UdpSocket::bind("10.9.0.1:0")?;
        socket.send_to(b"stays inside", "10.9.0.2:9")?;
        socket.send_to(b"goes outside", "10.9.0.3:9")
    });
    sent.unwrap().unwrap();
    token.cancel();
    ended.join().unwrap();
    let bytes = std::fs::read(file).unwrap();
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|w| w == text);
    assert!(holds(b"goes outside"));
    assert!(!holds(b"stays inside"));
}

#[test]
fn only_ip_is_kept() {
    assert!(is_ip(&[0x45, 0]) && is_ip(&[0x60, 0]));
    assert!(!is_ip(&[0, 1, 8, 0]), "ARP");
    assert!(!is_ip(&[]));
}

#[test]
fn the_file_header_is_that_of_raw_ip() {
    let header = header();
    assert_eq!(header.len(), 24);
    assert_eq!(header[20..], LINKTYPE_RAW.to_ne_bytes());
    assert_eq!(packet_header(60, UNIX_EPOCH).len(), 16);
}

#[test]
fn a_capture_ends_although_packets_keep_coming() {
    let namespace = namespace();
    let (token, stop) = (CancellationToken::new(), CancellationToken::new());
    let busy = {
        let (namespace, stop) = (namespace.clone(), stop.clone());
        std::thread::spawn(move || {
            let sent = namespace.run(|| {
                let socket = UdpSocket::bind("10.9.0.1:0")?;
                while !stop.is_cancelled() {
                    socket.send_to(b"again", "10.9.0.3:9")?;
                }
                std::io::Result::Ok(())
            });
            sent.unwrap().unwrap();
        })
    };
    let directory = tempfile::tempdir().unwrap();
    let ended = recording(&namespace, &directory.path().join("busy.pcap"), &token);
    token.cancel();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !ended.is_finished() {
        assert!(std::time::Instant::now() < deadline, "the capture goes on while packets come");
        std::thread::yield_now();
    }
    stop.cancel();
    busy.join().unwrap();
}
