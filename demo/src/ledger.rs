//! A journal over plain TCP in which the server speaks first: it greets, then acknowledges each line with its
//! number. Such a protocol cannot be detected, so its port is marked opaque.

use crate::Place;
use anyhow::{Context as _, Result, bail};
use mesh_runtime::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tracing::{debug, info};

/// The longest line the journal takes.
const MAX_LINE: usize = 1024;

/// No write takes longer.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn serve(place: Place, shutdown: &Shutdown) -> Result<()> {
    let listen = place.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    info!(%listen, "keeping the ledger");
    let lines = Arc::new(AtomicU64::new(0));
    loop {
        let (stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.context("accept")?,
            () = shutdown.draining() => return Ok(()),
        };
        let (lines, cluster) = (Arc::clone(&lines), place.cluster.clone());
        drop(shutdown.spawn_until_drain("journal", async move {
            if let Err(error) = keep(stream, &lines, &cluster).await {
                debug!("connection ended: {error:#}");
            }
        }));
    }
}

async fn keep(stream: TcpStream, lines: &AtomicU64, cluster: &str) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.write_all(format!("ledger {cluster}\n").as_bytes()).await?;
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        if line.len() > MAX_LINE {
            bail!("a line of {} bytes, at most {MAX_LINE}", line.len());
        }
        let number = lines.fetch_add(1, Ordering::Relaxed) + 1;
        stream.write_all(format!("ok {number}\n").as_bytes()).await?;
    }
}

/// Writes lines over one kept connection.
#[derive(Clone)]
pub(crate) struct LedgerClient {
    authority: Arc<str>,
    connection: Arc<Mutex<Option<BufReader<TcpStream>>>>,
    greeting: Arc<Mutex<String>>,
}

impl LedgerClient {
    pub(crate) fn new(authority: &str) -> Self {
        Self { authority: authority.into(), connection: Arc::default(), greeting: Arc::default() }
    }

    /// What the ledger said first on the latest connection.
    pub(crate) async fn greeting(&self) -> String {
        self.greeting.lock().await.clone()
    }

    /// Appends a line and waits for its acknowledgement; a broken connection is made anew once.
    pub(crate) async fn append(&self, line: &str) -> Result<()> {
        let mut slot = self.connection.lock().await;
        if let Some(stream) = slot.as_mut()
            && Self::write(stream, line).await.is_ok()
        {
            return Ok(());
        }
        *slot = None;
        let mut stream =
            tokio::time::timeout(TIMEOUT, self.connect()).await.context("no greeting in time")??;
        Self::write(&mut stream, line).await?;
        *slot = Some(stream);
        Ok(())
    }

    async fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect(&*self.authority)
            .await
            .with_context(|| format!("cannot connect to {}", self.authority))?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).await?;
        if !greeting.starts_with("ledger ") {
            bail!("not a ledger: greeted with {greeting:?}");
        }
        *self.greeting.lock().await = greeting.trim().to_owned();
        Ok(stream)
    }

    async fn write(stream: &mut BufReader<TcpStream>, line: &str) -> Result<()> {
        let exchange = async {
            stream.write_all(format!("{line}\n").as_bytes()).await?;
            let mut answer = String::new();
            stream.read_line(&mut answer).await?;
            if !answer.starts_with("ok ") {
                bail!("not acknowledged: {answer:?}");
            }
            Ok(())
        };
        tokio::time::timeout(TIMEOUT, exchange).await.context("not acknowledged in time")?
    }
}
