//! Bytes that no proxy may take for a protocol: kept connections, and one for each exchange.

use super::{KEPT, Kind, in_time};
use crate::record::Record;
use mesh_bed::{ECHO_PORT, SERVER_IP};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What is sent to and fro.
const PING: [u8; 64] = [b'.'; 64];
/// How long a kept connection is used, as pools do so that they follow changes.
const LIFE: Duration = Duration::from_secs(5);

/// A connection for one exchange.
pub(super) async fn once() -> Result<(), String> {
    ping(&mut connect().await?).await
}

/// Exchanges on kept connections, in turn and evenly spaced. On one connection an exchange waits for the one before.
pub(super) async fn keep(record: &Arc<Record>, stop: &CancellationToken, per_second: u32) {
    let (gap, all, begin) = (Duration::from_secs(1) / per_second.max(1), TaskTracker::new(), Instant::now());
    for number in 0..KEPT {
        let (record, stop, first) = (Arc::clone(record), stop.clone(), begin + gap * number);
        // Their ends are spread, too.
        let until = begin + LIFE * (number + 1) / KEPT;
        all.spawn_local(async move { one(&record, &stop, first, gap * KEPT, until).await });
    }
    all.close();
    all.wait().await;
}

async fn one(record: &Record, stop: &CancellationToken, mut due: Instant, gap: Duration, mut until: Instant) {
    let mut open: Option<TcpStream> = None;
    while stop.run_until_cancelled(tokio::time::sleep_until(due.into())).await.is_some() {
        if Instant::now() > until {
            open = None;
            until = Instant::now() + LIFE;
        }
        let (kept, slot) = (open.take(), &mut open);
        let result = in_time(async move {
            let mut stream = match kept {
                Some(stream) => stream,
                None => connect().await?,
            };
            ping(&mut stream).await?;
            *slot = Some(stream);
            Ok(())
        });
        record.ended(Kind::Tcp, due, result.await);
        due += gap;
    }
}

async fn connect() -> Result<TcpStream, String> {
    let stream = TcpStream::connect((SERVER_IP, ECHO_PORT)).await.map_err(|e| format!("connect: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    Ok(stream)
}

async fn ping(stream: &mut TcpStream) -> Result<(), String> {
    stream.write_all(&PING).await.map_err(|e| e.to_string())?;
    let (mut answer, mut length) = ([0; PING.len()], 0);
    while length < answer.len() {
        match stream.read(&mut answer[length..]).await {
            Ok(0) => return Err("closed".to_owned()),
            Ok(more) => length += more,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}
