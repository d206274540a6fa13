//! Proof that redirection works, from the place of an ordinary process.
//!
//! The validator listens where the proxy will listen, connects to an address that does not exist, and expects its
//! own random token back. Only redirect rules can bring that about.

use crate::Error;
use rand::distr::{Alphanumeric, SampleString};
use socket2::SockRef;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

/// What the process ends with when redirection does not work, so that controllers can tell it from other failures.
pub const EXIT_CODE: u8 = 95;

const TOKEN_LENGTH: usize = 63;
/// How often the listener looks whether a connection has come.
const POLL: Duration = Duration::from_millis(5);

/// A check of outbound redirection.
#[derive(Clone, Debug)]
pub struct Validator {
    /// A destination that nobody has.
    pub connect_addr: SocketAddr,
    /// Where the proxy will listen.
    pub listen_addr: SocketAddr,
    /// How long to wait for the answer.
    pub timeout: Duration,
}

impl Default for Validator {
    fn default() -> Self {
        Self {
            connect_addr: SocketAddr::from(([1, 1, 1, 1], 20001)),
            listen_addr: SocketAddr::from(([0, 0, 0, 0], mesh_types::ports::OUTBOUND)),
            timeout: Duration::from_secs(10),
        }
    }
}

impl Validator {
    /// The same check for IPv6.
    #[must_use]
    pub fn ipv6(&self) -> Self {
        let fake = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1);
        Self {
            connect_addr: SocketAddr::from((fake, self.connect_addr.port())),
            listen_addr: SocketAddr::from((Ipv6Addr::UNSPECIFIED, self.listen_addr.port())),
            timeout: self.timeout,
        }
    }

    /// Connects and waits for the token.
    ///
    /// # Errors
    /// When the connection ends anywhere but at this process.
    pub fn run(&self) -> Result<(), Error> {
        let listen = |source| Error::Listen { addr: self.listen_addr, source };
        let listener = bind(self.listen_addr).map_err(listen)?;
        let token = Alphanumeric.sample_string(&mut rand::rng(), TOKEN_LENGTH);
        let deadline = Instant::now() + self.timeout;
        let answer = token.clone();
        let expected = self.connect_addr;
        let server = thread::spawn(move || serve(&listener, &answer, expected, deadline));
        let heard = self.hear(deadline);
        // The listener ends by itself at the deadline; after an answer it has ended already.
        if heard.is_ok() {
            let _ = server.join();
        }
        let not_redirected =
            |source| Error::NotRedirected { addr: self.connect_addr, timeout: self.timeout, source };
        match heard.map_err(not_redirected)? {
            text if text == token => Ok(()),
            _ => Err(Error::WrongAnswer { addr: self.connect_addr }),
        }
    }

    fn hear(&self, deadline: Instant) -> io::Result<String> {
        let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let mut stream = TcpStream::connect_timeout(&self.connect_addr, left())?;
        stream.set_read_timeout(Some(left()))?;
        let mut heard = vec![0; TOKEN_LENGTH];
        stream.read_exact(&mut heard)?;
        Ok(String::from_utf8_lossy(&heard).into_owned())
    }
}

fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // The IPv4 check has a listener of its own on the same port.
        socket.set_only_v6(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(8)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn serve(listener: &TcpListener, token: &str, expected: SocketAddr, deadline: Instant) {
    while Instant::now() < deadline {
        match listener.accept() {
            // Anything else that is redirected here meanwhile gets a closed connection, not the token.
            Ok((mut stream, _)) if original_destination(&stream) == Some(expected) => {
                let _ = stream.write_all(token.as_bytes());
                return;
            }
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => thread::sleep(POLL),
            Err(_) => return,
        }
    }
}

fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let original = match stream.local_addr().ok()?.ip() {
        IpAddr::V4(_) => socket.original_dst_v4(),
        IpAddr::V6(_) => socket.original_dst_v6(),
    };
    original.ok()?.as_socket()
}

#[cfg(test)]
mod tests;
