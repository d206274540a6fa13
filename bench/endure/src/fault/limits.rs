//! What a proxy may use runs out: file descriptors, and the memory of its container.

use super::{ALL, ANY, BYTES, CUT, Fault, Kind, cover, promise};
use crate::scene::{Scene, Setup};
use anyhow::{Context as _, Result};
use mesh_bed::{ECHO_PORT, Limits, Process, SERVER_IP};
use std::io::ErrorKind;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Files that the client's proxy may open, where its own limit on connections is to hold: 136 of them.
const GUARDED: u64 = 400;
/// And where that is switched off.
const UNGUARDED: u64 = 200;
/// Connections that clients open beside the usual ones.
const FLOOD: usize = 500;
/// Memory that the client's proxy and what is in its group may use.
const MEMORY: u64 = 128 << 20;
/// What the ballast leaves of it.
const LEFT: u64 = MEMORY / 20;
/// The ballast's own memory beside what it holds.
const OWN: u64 = 4 << 20;
/// How long the ballast may take to hold what it should.
const HOLDS: Duration = Duration::from_secs(20);

pub(super) fn faults() -> Vec<Fault> {
    const NEW: &[Kind] = &[Kind::Get, Kind::Post, Kind::Download, Kind::Tcp, Kind::TcpNew];
    const REFUSED: &[&str] = &["closed", "reset", "Broken pipe", "connection closed", "connect: "];
    vec![
        Fault {
            name: "descriptors",
            what: "the client's proxy may open 400 files, and 500 more connections are opened to it and held",
            promise: promise(
                "the proxy closes connections beyond its limit at once, those of the usual load too where they are \
                 new; requests on connections that are open go on",
                2,
                vec![cover(NEW, REFUSED, ANY)],
            ),
            setup: guarded,
            run: flood,
        },
        Fault {
            name: "descriptors-unguarded",
            what: "the same with 200 files and without a limit on connections: descriptors do run out",
            promise: promise(
                "new connections wait to be accepted until others end, or cannot be sent on; requests on connections \
                 that are open go on",
                4,
                vec![cover(NEW, &["closed", "reset", "no answer", "connect", "503 ", "502 "], ANY)],
            ),
            setup: unguarded,
            run: flood,
        },
        Fault {
            name: "memory",
            what: "nineteen twentieths of the memory that the client's proxy's control group may use are used up",
            promise: promise(
                "above nine tenths the proxy takes on nothing new while anything is in flight: requests are \
                 answered with 503, opaque connections are closed",
                2,
                vec![cover(ALL, &["memory is nearly used up"], ANY), cover(BYTES, CUT, ANY)],
            ),
            setup: grouped,
            run: memory,
        },
    ]
}

fn guarded(setup: &mut Setup) -> Result<Option<String>> {
    setup.limits.open_files = Some(GUARDED);
    Ok(None)
}

fn unguarded(setup: &mut Setup) -> Result<Option<String>> {
    setup.limits.open_files = Some(UNGUARDED);
    setup.client_env.push(("ISTHMUS_MAX_CONNECTIONS".to_owned(), "100000".to_owned()));
    Ok(None)
}

fn flood(scene: &mut Scene) -> Result<()> {
    let before = scene.client.usage()?.open_files;
    scene.begin();
    let open = || (0..FLOOD).filter_map(|_| TcpStream::connect((SERVER_IP, ECHO_PORT)).ok()).collect();
    let flood: Vec<TcpStream> = scene.bed.client.run(open)?;
    scene.go_on(scene.span(5, 4));
    let during = scene.client.usage()?.open_files;
    let closed = flood.iter().filter(|stream| is_closed(stream)).count();
    drop(flood);
    scene.end();
    let accept = scene.metric(None, "isthmus_tcp_accept_errors_total", "")?;
    scene.notes.push(format!(
        "{closed} of {FLOOD} connections were closed at once; {before} files were open before, {during} while; \
         {accept:.0} accepts failed or were refused"
    ));
    Ok(())
}

fn is_closed(stream: &TcpStream) -> bool {
    let waiting = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    !waiting.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

/// A control group for the memory of processes; it goes with this process's last run.
struct Group {
    dir: PathBuf,
    used: &'static str,
    limit: &'static str,
}

impl Group {
    /// The one that [`grouped`] has made, of version 1 or 2.
    fn of(dir: &Path) -> Self {
        let (used, limit) = if dir.starts_with("/sys/fs/cgroup/memory") {
            ("memory.usage_in_bytes", "memory.limit_in_bytes")
        } else {
            ("memory.current", "memory.max")
        };
        Self { dir: dir.to_owned(), used, limit }
    }

    fn used(&self) -> Result<u64> {
        Ok(std::fs::read_to_string(self.dir.join(self.used))?.trim().parse()?)
    }
}

fn grouped(setup: &mut Setup) -> Result<Option<String>> {
    let name = format!("isthmus-endure-{}", std::process::id());
    for root in ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"] {
        let dir = Path::new(root).join(&name);
        // One of an earlier run in this process is used again.
        if std::fs::create_dir(&dir).is_err_and(|error| error.kind() != ErrorKind::AlreadyExists) {
            continue;
        }
        let group = Group::of(&dir);
        if std::fs::write(dir.join(group.limit), MEMORY.to_string()).is_ok() {
            setup.limits = Limits { group: Some(dir), open_files: None };
            return Ok(None);
        }
        drop(std::fs::remove_dir(&dir));
    }
    Ok(Some("no control group for memory can be made here".to_owned()))
}

fn memory(scene: &mut Scene) -> Result<()> {
    let dir = scene.setup.limits.group.clone().context("a control group")?;
    let group = Group::of(&dir);
    let before = group.used()?;
    let bytes = MEMORY.saturating_sub(before + LEFT + OWN);
    let program = scene.bed.files().join("app");
    let mut command = Command::new(program);
    command.args(["ballast", &bytes.to_string()]);
    let log = scene.setup.files.path().join("ballast");
    scene.begin();
    let mut ballast =
        Process::start_within(&scene.setup.limits, &scene.bed.client, "ballast", 65_534, &command, &log)?;
    ballast.wait_until(HOLDS, || group.used().is_ok_and(|used| used > MEMORY / 100 * 92))?;
    scene.go_on(scene.span(5, 4));
    let used = group.used()?;
    ballast.kill();
    scene.end();
    let mib = |bytes: u64| bytes >> 20;
    scene.notes.push(format!(
        "of {} MiB {} were used before, {} while; the proxy holds {} MiB itself",
        mib(MEMORY),
        mib(before),
        mib(used),
        scene.client.usage()?.rss >> 10
    ));
    Ok(())
}

/// Removes the control group, once nothing runs in it any more.
pub(crate) fn sweep() {
    let name = format!("isthmus-endure-{}", std::process::id());
    for root in ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"] {
        // There is none where it was not wanted.
        drop(std::fs::remove_dir(Path::new(root).join(&name)));
    }
}
