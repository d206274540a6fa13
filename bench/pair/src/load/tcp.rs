//! Bytes: to and fro, in one direction, and over new connections.

use super::{Latencies, Outcome};
use anyhow::{Context as _, Result};
use mesh_bed::{Bed, ECHO_PORT, SERVER_IP, SOURCE_PORT};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What is sent to and fro.
const PING: [u8; 64] = [b'.'; 64];
const CHUNK: usize = 256 << 10;
const MIB: f64 = 1024.0 * 1024.0;
/// Longer than anything takes.
const LIMIT: Duration = Duration::from_secs(30);

/// What is done with connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tcp {
    /// 64 bytes to and fro.
    Echo { connections: u32 },
    /// Bytes from the server as fast as they come.
    Source { connections: u32 },
    /// 64 bytes to and fro on a connection of their own.
    Churn { connections: u32 },
}

/// What one connection or thread has done.
struct Done {
    latencies: Latencies,
    bytes: u64,
    failed: u64,
}

impl Tcp {
    pub(super) fn run(self, bed: &Bed, span: Duration) -> Result<Outcome> {
        let (Self::Echo { connections } | Self::Source { connections } | Self::Churn { connections }) = self;
        let began = Instant::now();
        let done = bed.client.run(move || -> Result<Vec<Done>> {
            let end = Instant::now() + span;
            let threads: Vec<_> =
                (0..connections).map(|_| std::thread::spawn(move || self.one(end))).collect();
            threads.into_iter().map(|t| t.join().ok().context("a load thread panicked")?).collect()
        })??;
        let seconds = began.elapsed().as_secs_f64();
        let mut all = Latencies::new()?;
        for part in &done {
            all.merge(&part.latencies)?;
        }
        let bytes: u64 = done.iter().map(|d| d.bytes).sum();
        let operations =
            if matches!(self, Self::Source { .. }) { bytes as f64 / MIB } else { all.count() as f64 };
        Ok(Outcome {
            operations,
            seconds,
            latency: all.summary(),
            failed: done.iter().map(|d| d.failed).sum(),
        })
    }

    fn one(self, end: Instant) -> Result<Done> {
        let mut done = Done { latencies: Latencies::new()?, bytes: 0, failed: 0 };
        match self {
            Self::Echo { .. } => {
                let mut stream = connect(ECHO_PORT)?;
                while Instant::now() < end {
                    let began = Instant::now();
                    ping(&mut stream)?;
                    done.latencies.record(began.elapsed());
                }
            }
            Self::Churn { .. } => {
                while Instant::now() < end {
                    let began = Instant::now();
                    match connect(ECHO_PORT).and_then(|mut stream| ping(&mut stream)) {
                        Ok(()) => done.latencies.record(began.elapsed()),
                        Err(_) => done.failed += 1,
                    }
                }
            }
            Self::Source { .. } => {
                let mut stream = connect(SOURCE_PORT)?;
                let mut buffer = vec![0; CHUNK];
                while Instant::now() < end {
                    done.bytes += stream.read(&mut buffer).context("reading from the source")? as u64;
                }
            }
        }
        Ok(done)
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect((SERVER_IP, port)).context("connecting")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    Ok(stream)
}

fn ping(stream: &mut TcpStream) -> Result<()> {
    let mut answer = [0; PING.len()];
    stream.write_all(&PING)?;
    stream.read_exact(&mut answer)?;
    Ok(())
}
