//! Logs and further processes of running containers, for the API's pod streams.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use futures::future::BoxFuture;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::Node;
use crate::container::{LogFile, Process, Streams};
use crate::error::Error;
use crate::network::NetNs;
use crate::pod::{Pod, State, beside};
use crate::streaming::{Command, ContainerName, Log, Pods, Session};

impl Pods for Node {
    fn netns(&self, namespace: &str, pod: &str) -> Option<NetNs> {
        self.pod(namespace, pod)?.netns()
    }

    fn log(&self, namespace: &str, pod: &str, container: &str, previous: bool) -> Result<Log, Error> {
        let (pod, name) = (self.find(namespace, pod)?, pod);
        let known = pod.read(|record| record.container(container).cloned());
        let known = known
            .ok_or_else(|| Error::Refused(format!("container {container} is not valid for pod {name}")))?;
        let run = if previous {
            known.restarts.checked_sub(1).ok_or_else(|| {
                Error::Refused(format!(
                    "previous terminated container \"{container}\" in pod \"{name}\" not found"
                ))
            })?
        } else {
            // A container in back-off is shown by the run that just ended.
            known.restarts
        };
        let path = LogFile::path(&pod.log_dir(), container, run);
        if !path.exists() {
            let why = match known.state {
                State::Waiting(reason, _) => reason,
                _ => "ContainerCreating",
            };
            return Err(Error::Refused(format!(
                "container \"{container}\" in pod \"{name}\" is waiting to start: {why}"
            )));
        }
        let container = container.to_owned();
        let ended = async move {
            let over = |record: &crate::pod::Record| {
                record.container(&container).is_none_or(|now| {
                    previous || now.restarts > run || !matches!(now.state, State::Running(_))
                })
            };
            pod.until(over).await;
        };
        Ok(Log { path, ended: Box::pin(ended) })
    }

    fn exec(&self, at: ContainerName, command: Command) -> BoxFuture<'static, Result<Session, Error>> {
        let node = self.clone();
        Box::pin(async move {
            let pod = node.find(&at.namespace, &at.pod)?;
            let running = pod.running(&at.container).ok_or_else(|| not_running(&at))?;
            let mut orders = beside(&running.launch, running.process.pid(), command.argv, command.tty);
            if command.tty {
                orders.env.push(("TERM".to_owned(), "xterm".to_owned()));
            }
            let ends = if command.tty { Ends::terminal() } else { Ends::pipes(command.stdin) };
            let Ends { streams, stdin, stdout, stderr, resize } =
                ends.map_err(|source| Error::System { action: "make a session's streams".into(), source })?;
            let process = Process::start(&node.context.runtime, orders, None, streams)
                .await
                .map_err(|error| Error::Refused(error.to_string()))?;
            Ok(Session {
                stdin: stdin.filter(|_| command.stdin).map(|writer| Box::new(writer) as _),
                stdout: Box::new(stdout),
                stderr: stderr.map(|reader| Box::new(reader) as _),
                resize,
                exit: Box::pin(async move { process.wait().await.code }),
            })
        })
    }

    fn attach(&self, at: ContainerName) -> BoxFuture<'static, Result<Session, Error>> {
        let node = self.clone();
        Box::pin(async move {
            let log = node.log(&at.namespace, &at.pod, &at.container, false)?;
            let pod = node.find(&at.namespace, &at.pod)?;
            let running = pod.running(&at.container).ok_or_else(|| not_running(&at))?;
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            tokio::spawn(follow(log, ours));
            Ok(Session {
                stdin: None,
                stdout: Box::new(theirs),
                stderr: None,
                resize: Box::new(|_, _| {}),
                exit: Box::pin(async move { running.process.wait().await.code }),
            })
        })
    }

    fn kill(&self, at: &ContainerName, signal: i32) -> Result<(), Error> {
        let pod = self.find(&at.namespace, &at.pod)?;
        let running = pod.running(&at.container).ok_or_else(|| not_running(at))?;
        let signal = u8::try_from(signal).map_err(|_| Error::Refused(format!("no such signal: {signal}")))?;
        running.process.signal(signal);
        Ok(())
    }
}

impl Node {
    fn find(&self, namespace: &str, name: &str) -> Result<Arc<Pod>, Error> {
        self.pod(namespace, name)
            .ok_or_else(|| Error::Refused(format!("pod {namespace}/{name} is not running here")))
    }
}

fn not_running(at: &ContainerName) -> Error {
    Error::Refused(format!("container {} of pod {}/{} is not running", at.container, at.namespace, at.pod))
}

/// Both ends of a session's streams.
struct Ends {
    streams: Streams,
    stdin: Option<pipe::Sender>,
    stdout: pipe::Receiver,
    stderr: Option<pipe::Receiver>,
    resize: Box<dyn Fn(u16, u16) + Send + Sync>,
}

impl Ends {
    fn pipes(with_input: bool) -> io::Result<Self> {
        let pair = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (stdin, input) = if with_input {
            let (read, write) = pair()?;
            (Some(pipe::Sender::from_owned_fd(write)?), Some(read))
        } else {
            (None, None)
        };
        let (out, output) = pair()?;
        let (err, error) = pair()?;
        Ok(Self {
            streams: Streams { input, output, error },
            stdin,
            stdout: pipe::Receiver::from_owned_fd(out)?,
            stderr: Some(pipe::Receiver::from_owned_fd(err)?),
            resize: Box::new(|_, _| {}),
        })
    }

    fn terminal() -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let ours = openpt(flags)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let theirs: OwnedFd = ioctl_tiocgptpeer(&ours, flags)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let size = ours.try_clone()?;
        let streams =
            Streams { input: Some(theirs.try_clone()?), output: theirs.try_clone()?, error: theirs };
        Ok(Self {
            streams,
            stdin: Some(pipe::Sender::from_owned_fd_unchecked(ours.try_clone()?)?),
            stdout: pipe::Receiver::from_owned_fd_unchecked(ours)?,
            stderr: None,
            resize: Box::new(move |columns, rows| {
                let size_now = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
                // A terminal whose program has ended has no size to set.
                let _ = tcsetwinsize(&size, size_now);
            }),
        })
    }
}

/// Copies what a container says from now on, until it ends.
async fn follow(log: Log, mut to: tokio::io::DuplexStream) {
    use std::io::{BufRead, Seek};
    let Log { path, mut ended } = log;
    let Ok(file) = std::fs::File::open(path) else { return };
    let mut reader = std::io::BufReader::new(file);
    if reader.seek(io::SeekFrom::End(0)).is_err() {
        return;
    }
    let mut over = false;
    let mut line = Vec::new();
    loop {
        while reader.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) && line.ends_with(b"\n") {
            let text = line.splitn(4, |byte| *byte == b' ').nth(3).unwrap_or_default().to_vec();
            line.clear();
            if to.write_all(&text).await.is_err() {
                return;
            }
        }
        if over {
            return;
        }
        tokio::select! {
            () = &mut ended => over = true,
            () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
        }
    }
}
