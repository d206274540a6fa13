//! Accepting connections so that running out of something makes the proxy slower to accept, and never ends it.
//!
//! - A failed accept for want of descriptors or memory is waited out, longer each time, while what is open goes on.
//! - Before it comes to that, connections beyond a limit are closed: a connection takes two descriptors, its own and that of
//!   the next hop, and what was accepted must be able to go on.
//! - In both cases connections without a request give way, the one that has been so the longest first.
//! - Nothing is accepted while a connection waits for a descriptor to go on with, and for a while after a want each one that
//!   was accepted may go on before the next one is.

use crate::drain::Drain;
use crate::error::Error;
use crate::shared::Shared;
use mesh_metrics::{Counter, CounterFamily, Gauge, Labels};
use mesh_net::{OriginalDst, normalize};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Pauses after accepts that failed for want of something: from, to.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How long after a want connections are accepted one by one.
const WARY: Duration = Duration::from_secs(10);
/// How many give way at a want: two, as a connection takes two, and twice as many at each further one that comes this soon.
const ROOM: (usize, usize) = (2, 64);
const SOON: Duration = Duration::from_millis(100);
/// How often, and how many times, a connection beyond the limit looks whether another one has given way.
const GIVING_WAY: (Duration, usize) = (Duration::from_millis(5), 20);
/// Between two log lines about the same want.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Descriptors for listeners, control-plane connections, the admin server and the like.
const RESERVED_FILES: u64 = 128;

/// How many connections a proxy serves at a time, where nothing else is configured: half of what it may open.
pub(crate) fn default_limit(open_files: u64) -> usize {
    usize::try_from(open_files.saturating_sub(RESERVED_FILES) / 2).unwrap_or(usize::MAX).max(16)
}

/// Accepts the connections of one listener.
pub(crate) struct Acceptor {
    listener: TcpListener,
    limit: usize,
    drain: Drain,
    failed: CounterFamily,
    labels: Labels,
    refused: Counter,
    open: Gauge,
    last_log: Option<Instant>,
}

/// Counts a connection of a worker while it lives.
struct Open(Gauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The addresses of an accepted connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addrs {
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// Where it was going.
    pub(crate) target: SocketAddr,
}

/// What serves the connections of one direction on one worker.
pub(crate) trait Side: 'static {
    /// Serves a connection to its end.
    fn serve(self: &Rc<Self>, tcp: TcpStream, addrs: Addrs) -> impl Future<Output = Result<(), Error>>;

    /// Counts a connection that failed.
    fn failed(&self, target: SocketAddr, error: &Error);

    /// Where connections were going.
    fn original_dst(&self) -> &OriginalDst;
}

/// The path of an accepted connection up to where the directions part.
async fn serve<S: Side>(side: Rc<S>, drain: Drain, tcp: TcpStream, peer: SocketAddr) {
    let _guard = drain.guard();
    let peer = normalize(peer);
    let found = tcp.local_addr().and_then(|local| {
        let local = normalize(local);
        Ok(Addrs { peer, local, target: side.original_dst().of(&tcp, local)? })
    });
    let addrs = match found {
        Ok(addrs) => addrs,
        Err(error) => return tracing::info!(%peer, %error, "no original destination"),
    };
    let target = addrs.target;
    let Err(error) = side.serve(tcp, addrs).await else {
        return tracing::debug!(%peer, %target, "connection ended");
    };
    side.failed(target, &error);
    // Clients leave as they like; probes do by reset.
    if matches!(error, Error::Io(_)) {
        tracing::debug!(%peer, %target, %error, "connection failed");
    } else {
        tracing::info!(%peer, %target, %error, "connection failed");
    }
}

/// What a failed accept means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// This one connection is gone; the next may be fine.
    Connection,
    /// Something has run out; accepting again at once would only spin.
    Want(&'static str),
}

impl Acceptor {
    /// Accepts from `listener` for `direction`, on the worker of this index.
    pub(crate) fn new(
        listener: TcpListener,
        direction: &'static str,
        worker: usize,
        shared: &Shared,
    ) -> Self {
        let registry = &shared.registry;
        let failed = registry.counter("isthmus_tcp_accept_errors", "Connections that could not be accepted");
        let labels = Labels::from_iter([("direction", direction)]);
        let open = registry.gauge("isthmus_worker_connections", "Accepted connections open now, by worker");
        Self {
            listener,
            limit: shared.max_connections,
            drain: shared.drain.clone(),
            refused: failed.get(&labels.with("reason", "connection limit")),
            failed,
            open: open.get(&labels.with("worker", worker.to_string())),
            labels,
            last_log: None,
        }
    }

    /// Accepts until `stop`, and has connections served by `side` on this thread.
    pub(crate) async fn run<S: Side>(mut self, stop: CancellationToken, side: Rc<S>) {
        let mut pause = PAUSE.0;
        let mut wanted: Option<Instant> = None;
        let mut room = ROOM.0;
        loop {
            while self.drain.is_wanting() {
                wanted = Some(Instant::now());
                tokio::select! {
                    () = tokio::time::sleep(PAUSE.0) => {}
                    () = stop.cancelled() => return,
                }
            }
            if wanted.is_some_and(|wanted| wanted.elapsed() < WARY) {
                tokio::task::yield_now().await;
            }
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok(_) if !self.has_room().await => {
                    self.refused.inc();
                    if self.may_log() {
                        let (limit, direction) = (self.limit, self.labels.get("direction"));
                        tracing::warn!(limit, direction, "too many connections, closing new ones");
                    }
                }
                Ok((stream, peer)) => {
                    pause = PAUSE.0;
                    self.open.inc();
                    let open = Open(self.open.clone());
                    let serving = serve(Rc::clone(&side), self.drain.clone(), stream, peer);
                    tokio::task::spawn_local(async move {
                        serving.await;
                        drop(open);
                    });
                }
                Err(error) => {
                    let failure = classify(&error);
                    let reason = match failure {
                        Failure::Connection => "connection",
                        Failure::Want(reason) => reason,
                    };
                    self.failed.get(&self.labels.with("reason", reason)).inc();
                    if failure == Failure::Connection {
                        tracing::debug!(%error, "a connection was gone before it was accepted");
                        continue;
                    }
                    if mesh_net::shortage(&error).is_some() {
                        let soon = wanted.is_some_and(|wanted| wanted.elapsed() < SOON);
                        room = if soon { (room * 2).min(ROOM.1) } else { ROOM.0 };
                        wanted = Some(Instant::now());
                        let _ = (0..room).all(|_| self.drain.make_room());
                    }
                    if self.may_log() {
                        tracing::warn!(%error, retry_in = ?pause, "accept failed, waiting");
                    }
                    tokio::select! {
                        () = tokio::time::sleep(pause) => pause = (pause * 2).min(PAUSE.1),
                        () = stop.cancelled() => return,
                    }
                }
            }
        }
    }

    /// Whether there is room for one more connection, once another one has given way if need be.
    async fn has_room(&self) -> bool {
        let has = || self.drain.open() < self.limit;
        if has() {
            return true;
        }
        if !self.drain.make_room() {
            return false;
        }
        for _ in 0..GIVING_WAY.1 {
            tokio::time::sleep(GIVING_WAY.0).await;
            if has() {
                return true;
            }
            if !self.drain.may_make_room() {
                return false;
            }
        }
        has()
    }

    fn may_log(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last_log.is_none_or(|last| now.duration_since(last) >= LOG_EVERY);
        if due {
            self.last_log = Some(now);
        }
        due
    }
}

/// Errors of accept(2): those of the network belong to one connection, the others to us or to the machine.
fn classify(error: &io::Error) -> Failure {
    const EPROTO: i32 = 71;
    const EPERM: i32 = 1;
    if let Some(shortage) = mesh_net::shortage(error) {
        return Failure::Want(shortage);
    }
    match (error.raw_os_error(), error.kind()) {
        // A firewall forbade this one (accept(2)).
        (Some(EPROTO | EPERM), _) => Failure::Connection,
        (
            _,
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut,
        ) => Failure::Connection,
        _ => Failure::Want("unexpected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_run_out_is_waited_for() {
        let failure = |errno| classify(&io::Error::from_raw_os_error(errno));
        assert_eq!(failure(24), Failure::Want("too many open files"));
        assert_eq!(failure(23), Failure::Want("too many open files in the system"));
        assert_eq!(failure(105), Failure::Want("out of memory"));
        for errno in [103, 104, 71, 113] {
            assert_eq!(failure(errno), Failure::Connection, "{errno}");
        }
        assert_eq!(failure(22), Failure::Want("unexpected"));
    }

    #[test]
    fn half_of_the_descriptors_are_for_clients() {
        assert_eq!(default_limit(20_000), 9_936);
        assert_eq!(default_limit(0), 16);
        assert!(default_limit(u64::MAX) > 1 << 40);
    }
}
