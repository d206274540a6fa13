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

/// What was found out about one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Connections are redirected to this address.
    Redirected(SocketAddr),
    /// The pod has no route for this address's family, so there is nothing that could pass by.
    NoRoute(SocketAddr),
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = |addr: &SocketAddr| if addr.is_ipv6() { "IPv6" } else { "IPv4" };
        match self {
            Self::Redirected(to) => write!(f, "outbound {} connections are redirected to {to}", family(to)),
            Self::NoRoute(of) => write!(f, "the pod has no {0} route: nothing to prove for {0}", family(of)),
        }
    }
}

/// Proves redirection of IPv4 and, where rules were written for it, of IPv6. A cluster may have only one of the two;
/// a pod that has neither cannot prove anything.
///
/// # Errors
/// When connections of a family that the pod has a route for end anywhere but at this process, or when it has none.
pub fn prove(v4: &Validator, ipv6: bool) -> Result<Vec<Proof>, Error> {
    let mut proofs = Vec::new();
    let mut unproven = None;
    let all = [Some(v4.clone()), ipv6.then(|| v4.ipv6())];
    for validator in all.into_iter().flatten() {
        match validator.run() {
            Ok(()) => proofs.push(Proof::Redirected(validator.listen_addr)),
            Err(error) if ipv6 && is_without_route(&error) => {
                proofs.push(Proof::NoRoute(validator.listen_addr));
                unproven.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match unproven {
        Some(error) if !proofs.iter().any(|p| matches!(p, Proof::Redirected(_))) => Err(error),
        _ => Ok(proofs),
    }
}

fn is_without_route(error: &Error) -> bool {
    let kinds = [ErrorKind::NetworkUnreachable, ErrorKind::AddrNotAvailable, ErrorKind::Unsupported];
    match error {
        Error::NotRedirected { source, .. } => kinds.contains(&source.kind()),
        Error::Listen { source, .. } => {
            source.raw_os_error() == Some(EAFNOSUPPORT) || source.kind() == ErrorKind::AddrNotAvailable
        }
        _ => false,
    }
}

/// `errno` of a kernel without IPv6.
const EAFNOSUPPORT: i32 = 97;

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
