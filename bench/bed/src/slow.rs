//! A slow and narrow link: two TUN devices, and packets that wait between them as long as a real path would make them.

use anyhow::{Context as _, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Netns;

/// What a link does to packets, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slow {
    /// There and back.
    pub round_trip: Duration,
    /// Bits per second.
    pub rate: u64,
}

/// Longer than any packet of the device.
const PACKET: usize = 65_536;
/// How long a relay sleeps before it looks whether it should end.
const TICK: Duration = Duration::from_millis(50);

/// Packets on their way in one direction, in order.
#[derive(Default)]
struct Line {
    held: VecDeque<(Instant, Vec<u8>)>,
    free_at: Option<Instant>,
}

impl Line {
    /// Takes a packet in; one that would wait for longer than a round trip is dropped, as a router's queue would.
    fn push(&mut self, slow: Slow, packet: &[u8], now: Instant) {
        let start = self.free_at.unwrap_or(now).max(now);
        if start - now > slow.round_trip {
            return;
        }
        let sent = start + Duration::from_secs_f64(packet.len() as f64 * 8.0 / slow.rate as f64);
        self.free_at = Some(sent);
        self.held.push_back((sent + slow.round_trip / 2, packet.to_vec()));
    }

    fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.held.front().filter(|(due, _)| *due <= now)?;
        self.held.pop_front().map(|(_, packet)| packet)
    }

    fn next_due(&self) -> Option<Instant> {
        self.held.front().map(|(due, _)| *due)
    }
}

/// The running link; it ends when dropped.
pub(crate) struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Makes a device of this name in both namespaces, and moves packets between them.
    pub(crate) fn start(slow: Slow, a: &Netns, b: &Netns, device: &'static str) -> Result<Self> {
        let open = move || -> Result<File> {
            let tun = mesh_sys::open_tun(device).context("cannot make a TUN device")?;
            rustix::io::ioctl_fionbio(&tun, true)?;
            Ok(File::from(tun))
        };
        let ends = [Arc::new(a.run(open)??), Arc::new(b.run(open)??)];
        let mut this = Self { stop: Arc::default(), threads: Vec::new() };
        for (from, to) in [(0, 1), (1, 0)] {
            let (from, to, stop) = (Arc::clone(&ends[from]), Arc::clone(&ends[to]), Arc::clone(&this.stop));
            let relay = move || drop(relay(slow, &from, &to, &stop));
            this.threads.push(std::thread::Builder::new().name("relay".into()).spawn(relay)?);
        }
        Ok(this)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn relay(slow: Slow, from: &File, to: &File, stop: &AtomicBool) -> std::io::Result<()> {
    let (mut line, mut buffer) = (Line::default(), vec![0; PACKET]);
    while !stop.load(Ordering::Relaxed) {
        while let Some(packet) = line.pop(Instant::now()) {
            // A packet the kernel refuses is a packet lost, as on any network.
            let _ = (&mut &*to).write(&packet);
        }
        let wait =
            line.next_due().map_or(TICK, |due| due.saturating_duration_since(Instant::now()).min(TICK));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        match poll(&mut [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            match (&mut &*from).read(&mut buffer) {
                Ok(length) => line.push(slow, &buffer[..length], Instant::now()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                // The device comes up a moment after it is made.
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(1));
                    break;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
