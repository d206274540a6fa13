//! Connections that have carried one request and then do nothing.

use super::steady::Http1;
use anyhow::{Context as _, Result};
use mesh_bed::{Bed, ECHO_PORT, SERVER_IP};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

/// How many, and of what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Idle {
    pub(crate) connections: u32,
    /// To the opaque port.
    pub(crate) opaque: bool,
}

/// Connections that stay open until this is dropped.
pub(crate) struct Held {
    _connections: Vec<TcpStream>,
    /// How long opening them took.
    pub(crate) seconds: f64,
}

impl Idle {
    /// Opens all of them, one after the other.
    pub(crate) fn hold(self, bed: &Bed) -> Result<Held> {
        bed.client.run(move || -> Result<Held> {
            let began = Instant::now();
            let mut connections = Vec::new();
            for number in 0..self.connections {
                let opened = if self.opaque { opaque() } else { http() };
                connections.push(opened.with_context(|| format!("idle connection {number}"))?);
            }
            Ok(Held { _connections: connections, seconds: began.elapsed().as_secs_f64() })
        })?
    }
}

fn http() -> Result<TcpStream> {
    let mut connection = Http1::connect()?;
    connection.get()?;
    // The buffers of ten thousand readers would be memory of this process only, but a lot of it.
    Ok(connection.into_stream())
}

fn opaque() -> Result<TcpStream> {
    let mut stream = TcpStream::connect((SERVER_IP, ECHO_PORT))?;
    let mut answer = [0; 4];
    stream.write_all(b"ping")?;
    stream.read_exact(&mut answer)?;
    Ok(stream)
}
