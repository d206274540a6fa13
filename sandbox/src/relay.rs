//! Slow links: the packets of chosen cluster pairs are held back as long as a slower or narrower link would hold them.
//!
//! [`Queue`] is the pure part; [`run`] moves packets through a TUN device in the WAN namespace, to which the routing
//! rules of [`crate::faults`] lead. (Not every kernel has netem.)

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio_util::sync::CancellationToken;

/// How a link between two clusters behaves, in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Added to every packet's way.
    pub(crate) latency: Duration,
    /// Bits per second; `None` is as fast as the machine.
    pub(crate) rate: Option<u64>,
}

/// Shapes by source and destination networks.
pub(crate) type Shapes = HashMap<(Ipv4Net, Ipv4Net), Shape>;

/// Bytes waiting for a narrow link beyond which further packets are dropped, as a router's queue would.
const BACKLOG: Duration = Duration::from_millis(500);
/// How long the relay may sleep before it looks at its token again.
const TICK: Duration = Duration::from_millis(100);
/// Largest packet a TUN device delivers.
const PACKET: usize = 65_536;

struct Held {
    due: Instant,
    order: u64,
    packet: Vec<u8>,
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl Eq for Held {}
impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Held {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.order).cmp(&(other.due, other.order))
    }
}

/// Packets on their way.
#[derive(Default)]
pub(crate) struct Queue {
    held: BinaryHeap<Reverse<Held>>,
    /// When a narrow link has sent all it has accepted.
    free_at: HashMap<(Ipv4Net, Ipv4Net), Instant>,
    order: u64,
}

impl Queue {
    /// Takes in a packet. One that no shape covers is due at once; one beyond a narrow link's backlog is dropped.
    pub(crate) fn push(&mut self, shapes: &Shapes, packet: &[u8], now: Instant) {
        let mut due = now;
        if let Some((pair, shape)) = endpoints(packet).and_then(|ends| covering(shapes, ends)) {
            if let Some(rate) = shape.rate.filter(|rate| *rate > 0) {
                let start = self.free_at.get(&pair).copied().unwrap_or(now).max(now);
                if start - now > BACKLOG {
                    return;
                }
                let sent = start + Duration::from_secs_f64(packet.len() as f64 * 8.0 / rate as f64);
                self.free_at.insert(pair, sent);
                due = sent;
            }
            due += shape.latency;
        }
        self.order += 1;
        self.held.push(Reverse(Held { due, order: self.order, packet: packet.to_vec() }));
    }

    /// The next packet that is due.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.held.peek().filter(|Reverse(next)| next.due <= now)?;
        self.held.pop().map(|Reverse(next)| next.packet)
    }

    /// When the next packet is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(next)| next.due)
    }
}

/// Source and destination of an IPv4 packet.
fn endpoints(packet: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let address = |at: usize| {
        let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    if packet.first()? >> 4 != 4 {
        return None;
    }
    Some((address(12)?, address(16)?))
}

fn covering(shapes: &Shapes, (from, to): (Ipv4Addr, Ipv4Addr)) -> Option<((Ipv4Net, Ipv4Net), Shape)> {
    shapes
        .iter()
        .find(|((a, b), _)| a.contains(&from) && b.contains(&to))
        .map(|(pair, shape)| (*pair, *shape))
}

/// Moves packets until the token is cancelled. The TUN device must be non-blocking.
///
/// # Errors
/// When the device fails.
pub(crate) fn run(
    tun: &File,
    shapes: &Arc<Mutex<Arc<Shapes>>>,
    token: &CancellationToken,
) -> std::io::Result<()> {
    let mut queue = Queue::default();
    let mut buffer = vec![0; PACKET];
    while !token.is_cancelled() {
        let now = Instant::now();
        while let Some(packet) = queue.pop(now) {
            // A packet the kernel refuses is a packet lost, as on any network.
            let _ = (&mut &*tun).write(&packet);
        }
        let wait =
            queue.next_due().map_or(TICK, |due| due.saturating_duration_since(Instant::now()).min(TICK));
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut polled = [PollFd::from_borrowed_fd(tun.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut polled, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let current = shapes.lock().clone();
        loop {
            match (&mut &*tun).read(&mut buffer) {
                Ok(length) => queue.push(&current, &buffer[..length], Instant::now()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
