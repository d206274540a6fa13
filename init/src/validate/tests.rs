use super::*;

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn without_rules_the_check_fails_and_names_the_destination() {
    // Port 1 of loopback refuses at once, and loopback is never redirected.
    let validator =
        Validator { connect_addr: loopback(1), listen_addr: loopback(0), timeout: Duration::from_secs(2) };
    let error = validator.run().unwrap_err();
    assert!(matches!(error, Error::NotRedirected { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

#[test]
fn an_answer_from_somebody_else_is_not_taken_for_redirection() {
    let other = TcpListener::bind(loopback(0)).unwrap();
    let addr = other.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = other.accept().unwrap();
        stream.write_all(&[b'x'; TOKEN_LENGTH]).unwrap();
    });
    let validator =
        Validator { connect_addr: addr, listen_addr: loopback(0), timeout: Duration::from_secs(2) };
    let error = validator.run().unwrap_err();
    server.join().unwrap();
    assert!(matches!(error, Error::WrongAnswer { .. }), "{error}");
}

#[test]
fn a_taken_port_is_named() {
    let taken = TcpListener::bind(loopback(0)).unwrap();
    let addr = taken.local_addr().unwrap();
    let validator =
        Validator { connect_addr: loopback(1), listen_addr: addr, timeout: Duration::from_secs(1) };
    let error = validator.run().unwrap_err();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}
