//! HTTP/1.1 at a constant rate: a request is sent at its time whatever became of those before it, and its latency
//! counts from that time. So a pause of the server is felt by every request that it made late (no coordinated
//! omission). Blocking sockets on a thread each, because timers of a runtime are a millisecond coarse.

use super::{Latencies, Outcome};
use anyhow::{Context as _, Result, ensure};
use mesh_bed::{Bed, HTTP_PORT, SERVER_IP, SMALL_PATH};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

/// What the kernel may be late with a timer, nanoseconds; it takes 50,000 otherwise.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(1);
/// Longer than any answer takes.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) fn run(bed: &Bed, rate: u32, connections: u32, span: Duration) -> Result<Outcome> {
    let all = bed.client.run(move || -> Result<(Latencies, u64)> {
        let begin = Instant::now() + Duration::from_millis(50);
        let gap = Duration::from_secs(1) / rate;
        let mut threads = Vec::new();
        for number in 0..connections {
            // Each connection takes its turn: together they are evenly spaced.
            let first = begin + gap * number;
            threads.push(std::thread::spawn(move || one(first, gap * connections, begin + span)));
        }
        let (mut all, mut failed) = (Latencies::new()?, 0);
        for thread in threads {
            let (latencies, lost) = thread.join().ok().context("a load thread panicked")??;
            all.merge(&latencies)?;
            failed += lost;
        }
        Ok((all, failed))
    })??;
    let (latencies, failed) = all;
    Ok(Outcome {
        operations: latencies.count() as f64,
        seconds: span.as_secs_f64(),
        latency: latencies.summary(),
        failed,
    })
}

fn one(mut due: Instant, gap: Duration, end: Instant) -> Result<(Latencies, u64)> {
    // Without it latencies are 50 µs coarser, and no worse.
    let _ = rustix::thread::set_current_timer_slack(SLACK);
    let mut latencies = Latencies::new()?;
    let mut connection = Http1::connect()?;
    let mut failed = 0;
    while due < end {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        match connection.get() {
            Ok(()) => latencies.record(due.elapsed()),
            Err(_) => {
                failed += 1;
                connection = Http1::connect()?;
            }
        }
        due += gap;
    }
    Ok((latencies, failed))
}

/// A connection that knows just enough HTTP/1.1 for the bed's application.
pub(super) struct Http1 {
    stream: BufReader<TcpStream>,
    line: String,
    body: Vec<u8>,
}

impl Http1 {
    pub(super) fn connect() -> Result<Self> {
        let stream = TcpStream::connect((SERVER_IP, HTTP_PORT)).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LIMIT))?;
        Ok(Self { stream: BufReader::new(stream), line: String::new(), body: Vec::new() })
    }

    /// One request and its whole answer.
    pub(super) fn get(&mut self) -> Result<()> {
        let request = format!("GET {SMALL_PATH} HTTP/1.1\r\nhost: app.bed\r\n\r\n");
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read_line()?;
        ensure!(self.line.split(' ').nth(1) == Some("200"), "answered {:?}", self.line);
        let mut length = 0;
        loop {
            self.read_line()?;
            if self.line.is_empty() {
                break;
            }
            if let Some((name, value)) = self.line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().context("content-length")?;
            }
        }
        self.body.resize(length, 0);
        Ok(self.stream.read_exact(&mut self.body)?)
    }

    /// The bare connection; nothing is unread between requests.
    pub(super) fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }

    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        ensure!(self.stream.read_line(&mut self.line)? > 0, "closed");
        self.line.truncate(self.line.trim_end().len());
        Ok(())
    }
}
