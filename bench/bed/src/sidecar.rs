//! A proxy that is configured by the `LINKERD2_PROXY_*` environment, as Linkerd's injector sets it.

use crate::control::PORT as CONTROL_PORT;
use crate::trust::{CLIENT, SERVER, Trust};
use crate::{Limits, Netns, Process};
use anyhow::{Context as _, Result};
use mesh_types::{PROXY_UID, ports};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long a proxy may take to become ready on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// How long an admin server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// A proxy binary, and what is set in its environment beside what the bed sets.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// For messages and reports.
    pub name: String,
    /// The executable.
    pub binary: PathBuf,
    /// More variables; these win.
    pub env: Vec<(String, String)>,
}

/// Which of the two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

impl Side {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }

    pub(crate) fn identity(self) -> &'static str {
        match self {
            Self::Client => CLIENT,
            Self::Server => SERVER,
        }
    }
}

/// What a proxy stands beside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Workload {
    /// The name of its pod.
    pub(crate) name: String,
    pub(crate) identity: &'static str,
}

impl From<Side> for Workload {
    fn from(side: Side) -> Self {
        Self { name: side.name().to_owned(), identity: side.identity() }
    }
}

impl Sidecar {
    /// Starts it beside a workload and waits until it is ready. Started again, it finds what it has kept.
    pub(crate) fn start(
        &self,
        netns: &Netns,
        workload: &Workload,
        trust: &Trust,
        files: &Path,
        limits: &Limits,
    ) -> Result<Process> {
        let dir = files.join(format!("{}-{}", self.name, workload.name));
        let identity_dir = dir.join("identity");
        std::fs::create_dir_all(&identity_dir)?;
        chown(&identity_dir, Some(PROXY_UID), Some(PROXY_UID))?;
        std::fs::write(dir.join("token"), "bed")?;
        // Some proxies want to find a key and a request here that another program made; others make their own.
        let identity = workload.identity.parse().context("identity")?;
        let (key, csr) = mesh_tls::generate_csr(&identity)?;
        for (file, der) in [("key.p8", key), ("csr.der", csr)] {
            let path = identity_dir.join(file);
            std::fs::write(&path, der)?;
            chown(&path, Some(PROXY_UID), Some(PROXY_UID))?;
        }
        // The executable may lie where only root may look.
        let binary = dir.join("proxy");
        crate::process::install(&self.binary, &binary)?;
        let mut command = Command::new(&binary);
        command.envs(environment(workload, trust, &dir)).envs(self.env.iter().map(|(k, v)| (k, v)));
        let name = format!("{} beside the {}", self.name, workload.name);
        let log = unused(&dir, "log");
        let mut process = Process::start_within(limits, netns, &name, PROXY_UID, &command, &log)?;
        process.wait_until(READY, || admin(netns, "/ready").is_ok_and(|(status, _)| status == 200))?;
        Ok(process)
    }
}

/// The name itself, or one with the first number that makes it new: what was said before a restart is kept.
fn unused(dir: &Path, name: &str) -> PathBuf {
    let numbered = (2..u32::MAX).map(|n| dir.join(format!("{name}-{n}")));
    std::iter::once(dir.join(name))
        .chain(numbered)
        .find(|path| !path.exists())
        .unwrap_or_else(|| dir.join(name))
}

fn environment(beside: &Workload, trust: &Trust, dir: &Path) -> Vec<(String, String)> {
    let control = format!("127.0.0.1:{CONTROL_PORT}");
    let workload = format!(r#"{{"ns":"bed","pod":"{0}","nodeName":"bed"}}"#, beside.name);
    let file = |name: &str| dir.join(name).display().to_string();
    let service = "linkerd-destination.linkerd.serviceaccount.identity.linkerd.cluster.local".to_owned();
    [
        ("CORES", "1".to_owned()),
        ("LOG", "warn".to_owned()),
        ("LOG_FORMAT", "plain".to_owned()),
        ("CONTROL_LISTEN_ADDR", format!("0.0.0.0:{}", ports::CONTROL)),
        ("ADMIN_LISTEN_ADDR", format!("0.0.0.0:{}", ports::ADMIN)),
        ("INBOUND_LISTEN_ADDR", format!("0.0.0.0:{}", ports::INBOUND)),
        ("OUTBOUND_LISTEN_ADDR", format!("127.0.0.1:{}", ports::OUTBOUND)),
        ("OUTBOUND_LISTEN_ADDRS", format!("127.0.0.1:{}", ports::OUTBOUND)),
        ("DESTINATION_SVC_ADDR", control.clone()),
        ("DESTINATION_SVC_NAME", service.clone()),
        ("DESTINATION_PROFILE_NETWORKS", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16".to_owned()),
        ("DESTINATION_PROFILE_SUFFIXES", "svc.cluster.local.".to_owned()),
        ("DESTINATION_CONTEXT", workload.clone()),
        ("POLICY_SVC_ADDR", control.clone()),
        ("POLICY_SVC_NAME", service),
        ("POLICY_WORKLOAD", workload),
        ("POLICY_CLUSTER_NETWORKS", "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16".to_owned()),
        ("INBOUND_DEFAULT_POLICY", "all-unauthenticated".to_owned()),
        ("INBOUND_PORTS", format!("{}", crate::HTTP_PORT)),
        ("INBOUND_CONNECT_TIMEOUT", "1s".to_owned()),
        ("OUTBOUND_CONNECT_TIMEOUT", "1s".to_owned()),
        ("IDENTITY_DIR", file("identity")),
        ("IDENTITY_TOKEN_FILE", file("token")),
        ("IDENTITY_TRUST_ANCHORS", trust.anchors()),
        ("IDENTITY_LOCAL_NAME", beside.identity.to_owned()),
        ("IDENTITY_SVC_ADDR", control),
        (
            "IDENTITY_SVC_NAME",
            "linkerd-identity.linkerd.serviceaccount.identity.linkerd.cluster.local".to_owned(),
        ),
    ]
    .map(|(name, value)| (format!("LINKERD2_PROXY_{name}"), value))
    .into()
}

/// Asks the admin server of the proxy in a namespace; answers with status and body.
///
/// # Errors
/// When nothing answers.
pub fn admin(netns: &Netns, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    netns.run(move || -> Result<(u16, String)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::ADMIN));
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("half an answer")?;
        let status = head.split_whitespace().nth(1).and_then(|s| s.parse().ok()).context("no status")?;
        Ok((status, body.to_owned()))
    })?
}
