//! Steady load in an open loop: each request is sent at its time whatever became of those before it, and its latency
//! counts from that time. Times are those of the runtime's clock, a millisecond coarse.

mod http1;
mod http2;
mod tcp;

use crate::record::Record;
use anyhow::{Context as _, Result};
use http1::Http1;
use http2::Http2;
use mesh_bed::Netns;
use serde::Serialize;
use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longer than anything takes that a proxy is to outlast: what has no answer by then has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// Requests of one kind that may be under way at a time.
const MOST: usize = 4000;
/// Connections that are kept for bytes.
pub(crate) const KEPT: u32 = 16;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// GET over kept HTTP/1 connections.
    Get,
    /// POST over the same: a request that may not be repeated.
    Post,
    /// GET over two HTTP/2 connections.
    Http2Get,
    /// A gRPC call with one message each way, over the same.
    Grpc,
    /// A gRPC stream of twenty messages each way, a tenth of a second apart, over the same.
    GrpcStream,
    /// A body of a mebibyte over HTTP/1.
    Download,
    /// 64 bytes to and fro on kept connections that are opaque to proxies; each is replaced after five seconds.
    Tcp,
    /// The same on a connection of its own.
    TcpNew,
    /// An answer over HTTP/1 that the application breaks off.
    ResetHttp1,
    /// An answer over HTTP/2 that the application breaks off.
    ResetHttp2,
}

impl Kind {
    /// Whether it is done in no time when all is well.
    pub(crate) fn is_small(self) -> bool {
        !matches!(self, Self::GrpcStream | Self::Download | Self::ResetHttp1 | Self::ResetHttp2)
    }

    /// What takes longer has been held up by something.
    pub(crate) fn patience(self) -> Duration {
        // The messages of a stream take two seconds when all is well.
        Duration::from_secs(if self == Self::GrpcStream { 4 } else { 1 })
    }

    /// As reports call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "HTTP/1 GET",
            Self::Post => "HTTP/1 POST",
            Self::Http2Get => "HTTP/2 GET",
            Self::Grpc => "gRPC call",
            Self::GrpcStream => "gRPC stream",
            Self::Download => "download",
            Self::Tcp => "kept opaque",
            Self::TcpNew => "new opaque",
            Self::ResetHttp1 => "broken HTTP/1 answer",
            Self::ResetHttp2 => "broken HTTP/2 answer",
        }
    }
}

/// How often something is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane {
    pub(crate) kind: Kind,
    pub(crate) per_second: u32,
}

/// The usual load: 650 requests a second of all kinds.
pub(crate) fn mixed() -> Vec<Lane> {
    [
        (Kind::Get, 150),
        (Kind::Post, 50),
        (Kind::Http2Get, 150),
        (Kind::Grpc, 80),
        (Kind::GrpcStream, 4),
        (Kind::Download, 6),
        (Kind::Tcp, 160),
        (Kind::TcpNew, 50),
    ]
    .map(|(kind, per_second)| Lane { kind, per_second })
    .into()
}

/// Clients at work.
pub(crate) struct Load {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// What lanes have in common.
#[derive(Clone)]
struct Clients {
    record: Arc<Record>,
    http1: Rc<Http1>,
    http2: Rc<Http2>,
    stop: CancellationToken,
}

impl Load {
    /// Starts clients in a namespace.
    pub(crate) fn start(netns: &Netns, lanes: Vec<Lane>, record: &Arc<Record>) -> Result<Self> {
        let (stop, record) = (CancellationToken::new(), Arc::clone(record));
        let stopped = stop.clone();
        let thread = netns.spawn(move || async move {
            let (http1, http2) = (Rc::new(Http1::default()), Rc::new(Http2::default()));
            let clients = Clients { record, http1, http2, stop: stopped };
            let all = TaskTracker::new();
            LocalSet::new()
                .run_until(async {
                    for lane in lanes {
                        all.spawn_local(clients.clone().run(lane));
                    }
                    all.close();
                    all.wait().await;
                })
                .await;
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Sends nothing more, and waits for what is under way.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.stop.cancel();
        let ended = self.thread.take().map_or(Ok(()), JoinHandle::join);
        ended.ok().context("a client panicked")
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Clients {
    async fn run(self, lane: Lane) {
        if lane.kind == Kind::Tcp {
            return tcp::keep(&self.record, &self.stop, lane.per_second).await;
        }
        let gap = Duration::from_secs(1) / lane.per_second.max(1);
        let (mut due, under_way) = (Instant::now() + gap, TaskTracker::new());
        while self.stop.run_until_cancelled(tokio::time::sleep_until(due.into())).await.is_some() {
            if under_way.len() < MOST {
                under_way.spawn_local(self.clone().once(lane.kind, due));
            } else {
                self.record.ended(lane.kind, due, Err("too many are under way".to_owned()));
            }
            due += gap;
        }
        under_way.close();
        under_way.wait().await;
    }

    async fn once(self, kind: Kind, due: Instant) {
        let doing = async {
            match kind {
                Kind::Get | Kind::Post | Kind::Download | Kind::ResetHttp1 => self.http1.call(kind).await,
                Kind::Http2Get | Kind::Grpc | Kind::ResetHttp2 => self.http2.call(kind).await,
                Kind::GrpcStream => self.http2.stream().await,
                Kind::Tcp | Kind::TcpNew => tcp::once().await,
            }
        };
        self.record.ended(kind, due, in_time(doing).await);
    }
}

/// Holds something to the deadline.
async fn in_time(doing: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    match tokio::time::timeout(DEADLINE, doing).await {
        Ok(result) => result,
        Err(_) => Err(format!("no answer in {DEADLINE:?}")),
    }
}

/// The innermost reason of an error.
fn reason(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
