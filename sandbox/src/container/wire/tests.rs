use std::os::fd::AsFd;

use super::*;

#[test]
fn a_value_arrives_with_its_descriptors() {
    let (near, far) = UnixStream::pair().unwrap();
    let (read, write) = rustix::pipe::pipe().unwrap();
    let value = vec!["long".repeat(100_000)];
    let sent = value.clone();
    let sender = std::thread::spawn(move || send(&near, &sent, &[write.as_fd()]).unwrap());
    let (received, mut fds) = receive::<Vec<String>>(&far).unwrap();
    sender.join().unwrap();
    assert_eq!(received, value);
    rustix::io::write(fds.pop().unwrap(), b"x").unwrap();
    assert!(fds.is_empty());
    assert_eq!(rustix::io::read(&read, &mut [0; 2]).unwrap(), 1);
}

#[test]
fn a_closed_socket_is_an_end_of_file() {
    let (near, far) = UnixStream::pair().unwrap();
    drop(near);
    assert_eq!(receive::<String>(&far).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}
