//! One running process of a container, seen from the node.

use std::io;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::runtime::{Runtime, Streams};
use super::spec::{Launch, Report};
use crate::network::NetNs;

/// Exit code of a process whose end nobody reported: killed with its shim.
const KILLED: i32 = 137;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// Its exit code; 128 and the signal's number when a signal ended it.
    pub(crate) code: i32,
}

/// Why a process did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct StartError {
    /// What was being done and why it failed.
    pub(crate) message: String,
    /// 126 or 127 for a program that cannot be executed or found, 128 for the rest.
    pub(crate) code: i32,
}

/// A running process. Dropping the handle kills it.
#[derive(Debug)]
pub(crate) struct Process {
    pid: i32,
    control: OwnedWriteHalf,
    exit: watch::Receiver<Option<Exit>>,
}

impl Process {
    /// Starts a process: in a new container of the pod with network `netns`, or inside a running one.
    ///
    /// # Errors
    /// When the program or its surroundings cannot be started.
    pub(crate) async fn start(
        runtime: &Runtime,
        launch: Launch,
        netns: Option<NetNs>,
        streams: Streams,
    ) -> Result<Self, StartError> {
        let failed = |error: io::Error| StartError { message: format!("start the shim: {error}"), code: 128 };
        let (mut child, socket) = runtime.spawn(launch, netns, streams).await.map_err(failed)?;
        let (reader, control) = UnixStream::from_std(socket).map_err(failed)?.into_split();
        let mut lines = BufReader::new(reader).lines();
        let outcome = match next(&mut lines).await {
            Some(Report::Started(pid)) => Ok(pid),
            Some(Report::Failed { message, code }) => Err(StartError { message, code }),
            _ => {
                Err(StartError { message: "the shim ended early; see the container's log".into(), code: 128 })
            }
        };
        let (ended, exit) = watch::channel(None);
        tokio::spawn(async move {
            let code = match next(&mut lines).await {
                Some(Report::Exited(code)) => code,
                _ => KILLED,
            };
            let _ = ended.send(Some(Exit { code }));
            let _ = tokio::task::spawn_blocking(move || child.wait()).await;
        });
        Ok(Self { pid: outcome?, control, exit })
    }

    /// Its id, for starting other processes beside it.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal. A process that has ended does not mind.
    pub(crate) fn signal(&self, signal: u8) {
        let _ = self.control.try_write(&[signal]);
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self) -> Exit {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit { code: KILLED }),
            Err(_) => Exit { code: KILLED },
        }
    }
}

async fn next(lines: &mut Lines<BufReader<OwnedReadHalf>>) -> Option<Report> {
    let line = lines.next_line().await.ok()??;
    serde_json::from_str(&line).ok()
}
