//! `await`: blocks until the admin server of this pod's proxy says ready.

use anyhow::{Context as _, bail};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Between questions.
const PERIOD: Duration = Duration::from_millis(100);
/// Limit for one question.
const LIMIT: Duration = Duration::from_secs(1);

/// Waits as `--timeout` and `--port` say.
pub(crate) fn until_ready(arguments: &[String]) -> anyhow::Result<()> {
    let (mut timeout, mut port) = (Duration::from_secs(120), mesh_types::ports::ADMIN);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (flag, value) = match argument.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (argument.as_str(), rest.next().map(String::as_str)),
        };
        let value = value.with_context(|| format!("{flag} needs a value"))?;
        match flag {
            "--timeout" => timeout = mesh_types::parse_duration(value)?,
            "--port" => port = value.parse().with_context(|| format!("--port {value:?} is not a port"))?,
            _ => bail!("unknown flag {flag:?}; --timeout and --port are known"),
        }
    }
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let deadline = Instant::now() + timeout;
    loop {
        match ask(addr) {
            Ok(true) => return Ok(()),
            _ if Instant::now() >= deadline => bail!("the proxy is not ready after {timeout:?}"),
            _ => std::thread::sleep(PERIOD),
        }
    }
}

fn ask(addr: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect_timeout(&addr, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET /ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    Ok(&status == b"HTTP/1.1 200")
}
