//! Connecting to whoever is next. Without a descriptor for it, connections of clients that have no request give way, and
//! otherwise the end of some other connection is waited for, a second at least.

use crate::drain::Drain;
use crate::error::Error;
use mesh_net::SocketOptions;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Between attempts while descriptors are wanted.
const WANTING: Duration = Duration::from_millis(10);
/// How long descriptors are waited for, where a connection may not take longer than that.
const PATIENCE: Duration = Duration::from_secs(1);

/// Connects to `addr` within `limit`. The same time, or a second, may pass before, while descriptors are wanted.
///
/// # Errors
/// [`Error::Connect`] or [`Error::ConnectTimeout`].
pub(crate) async fn dial(
    addr: SocketAddr,
    options: &SocketOptions,
    limit: Duration,
    drain: &Drain,
) -> Result<TcpStream, Error> {
    let patience = Instant::now() + limit.max(PATIENCE);
    loop {
        let connected = timeout(limit, mesh_net::connect(addr, options)).await;
        let source = match connected.map_err(|_| Error::ConnectTimeout { addr, after: limit })? {
            Ok(tcp) => return Ok(tcp),
            Err(source) => source,
        };
        if mesh_net::shortage(&source).is_none() || Instant::now() >= patience {
            return Err(Error::Connect { addr, source });
        }
        let _wants = drain.wants();
        drain.make_room();
        sleep(WANTING).await;
    }
}
