use super::*;

#[test]
fn packets_that_stay_inside_are_not_kept() {
    let packet = |from: [u8; 4], to: [u8; 4]| {
        let mut packet = vec![0x45; 20];
        packet[12..16].copy_from_slice(&from);
        packet[16..20].copy_from_slice(&to);
        packet
    };
    assert!(crosses(&packet([10, 42, 0, 5], [10, 42, 0, 6])));
    assert!(!crosses(&packet([10, 42, 0, 5], [10, 42, 0, 5])));
    assert!(!crosses(&packet([127, 0, 0, 1], [127, 0, 0, 1])));
    assert!(!crosses(&[0, 1, 8, 0]), "not IP");
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
    let namespace = crate::network::NetNs::create().unwrap();
    let (token, stop) = (CancellationToken::new(), CancellationToken::new());
    let busy = {
        let (namespace, stop) = (namespace.clone(), stop.clone());
        std::thread::spawn(move || {
            namespace
                .run(|| {
                    std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
                    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
                    let to = socket.local_addr()?;
                    while !stop.is_cancelled() {
                        socket.send_to(b"again", to)?;
                    }
                    std::io::Result::Ok(())
                })
                .unwrap()
                .unwrap();
        })
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("busy.pcap");
    let socket = namespace.run(open).unwrap().unwrap();
    let ended = {
        let token = token.clone();
        std::thread::spawn(move || record(socket, &file, &token).unwrap())
    };
    token.cancel();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !ended.is_finished() {
        assert!(std::time::Instant::now() < deadline, "the capture goes on while packets come");
        std::thread::yield_now();
    }
    stop.cancel();
    busy.join().unwrap();
}
