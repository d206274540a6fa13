//! The bed: two namespaces, the link between them, the control plane, the applications, and a pair of proxies.

use crate::app::Listeners;
use crate::haproxy::HaProxy;
use crate::process::raise_file_limit;
use crate::sidecar::{Side, Sidecar, Workload, admin};
use crate::slow::{Relay, Slow};
use crate::trust::SERVER;
use crate::{Control, ECHO_PORT, HTTP_PORT, Limits, Netns, Process, SOURCE_PORT, Trust, app};
use anyhow::{Context as _, Result};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The client's address.
pub(crate) const CLIENT_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// The server's address, which clients connect to.
pub const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// Where the addresses of further endpoints are, all of them the server's.
const ENDPOINTS: &str = "10.78.0.0/16";
/// The interface of both sides.
const DEVICE: &str = "eth0";
/// Inbound ports that reach what listens there directly, as the rules of a pod leave them alone.
const SKIP: &str = "4190,4191,4567,4568";
/// What the folders of beds are called, before the process id of their owner.
const FILES: &str = "isthmus-bed-";
/// The application is a service of this destination path, with the port at its end.
const PATH: &str = "app.bed.svc.cluster.local";

/// The address of an endpoint.
pub fn endpoint_ip(index: usize) -> Ipv4Addr {
    let offset = u32::try_from(index + 1).unwrap_or(u32::MAX) & 0xffff;
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 78, 0, 0)) | offset)
}

/// What a bed is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many endpoints the service has.
    pub endpoints: usize,
    /// A slow link between client and server.
    pub slow: Option<Slow>,
}

impl Default for Layout {
    fn default() -> Self {
        Self { endpoints: 1, slow: None }
    }
}

impl Layout {
    /// The addresses of the endpoints; a single one is the server's own.
    pub(crate) fn endpoint_ips(&self) -> Vec<Ipv4Addr> {
        if self.endpoints == 1 { vec![SERVER_IP] } else { (0..self.endpoints).map(endpoint_ip).collect() }
    }
}

/// A proxy on each side.
pub struct Pair {
    /// Beside the client.
    pub client: Process,
    /// Beside the server.
    pub server: Process,
}

/// Everything, ready to be used. Processes end before namespaces do.
pub struct Bed {
    /// The proxies; none until they are started.
    pub pair: Option<Pair>,
    /// The control plane.
    pub control: Control,
    /// Who certifies.
    pub trust: Trust,
    layout: Layout,
    _relay: Option<Relay>,
    /// Where the client is.
    pub client: Netns,
    /// Where the server is.
    pub server: Netns,
    files: TempDir,
    init: PathBuf,
}

impl Bed {
    /// Makes a bed without proxies. `bin` is the folder of `isthmus-init`.
    ///
    /// # Errors
    /// When namespaces cannot be made (this needs root), or `ip` is missing (package iproute2).
    pub fn new(bin: &Path, layout: Layout) -> Result<Self> {
        raise_file_limit()?;
        let (client, server) = (Netns::create("client")?, Netns::create("server")?);
        let relay = link(&client, &server, layout.slow)?;
        let trust = Trust::new()?;
        let control = Control::start(&trust, &[&client, &server])?;
        sweep(&std::env::temp_dir());
        let files = tempfile::Builder::new().prefix(&format!("{FILES}{}-", std::process::id())).tempdir()?;
        // Proxies run as a user of their own, and look for their files in here.
        std::fs::set_permissions(files.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let init = bin.join("isthmus-init");
        let bed = Self { pair: None, control, trust, layout, _relay: relay, client, server, files, init };
        for port in [HTTP_PORT, ECHO_PORT, SOURCE_PORT] {
            bed.publish(port);
        }
        bed.serve()?;
        Ok(bed)
    }

    /// Makes a port of the server a service whose endpoints are the layout's.
    pub fn publish(&self, port: u16) {
        let path = format!("{PATH}:{port}");
        self.control.set_endpoints(&path, endpoints(&self.layout.endpoint_ips(), port));
        self.control.publish(SERVER_IP, port, &path);
    }

    /// Leaves out every endpoint of the HTTP service whose number is this one modulo `of`.
    pub fn without(&self, one: usize, of: usize) {
        let ips = self.layout.endpoint_ips();
        let kept: Vec<Ipv4Addr> =
            ips.into_iter().enumerate().filter(|(i, _)| i % of != one).map(|(_, ip)| ip).collect();
        self.control.set_endpoints(&format!("{PATH}:{HTTP_PORT}"), endpoints(&kept, HTTP_PORT));
    }

    fn serve(&self) -> Result<()> {
        let listeners = self.server.run(Listeners::bind)??;
        self.server.spawn(move || async move { drop(app::serve(listeners).await) }).map(drop)
    }

    /// Starts a sidecar on both sides, with the redirect rules of a pod.
    ///
    /// # Errors
    /// When one does not become ready, with what it said.
    pub fn start_sidecars(&mut self, sidecar: &Sidecar) -> Result<()> {
        let server = self.start_sidecar(sidecar, Side::Server)?;
        let client = self.start_sidecar(sidecar, Side::Client)?;
        self.pair = Some(Pair { client, server });
        Ok(())
    }

    /// Starts a sidecar beside the server only, with the redirect rules of a pod.
    ///
    /// # Errors
    /// When it does not become ready, with what it said.
    pub fn start_server_sidecar(&self, sidecar: &Sidecar) -> Result<Process> {
        self.start_sidecar(sidecar, Side::Server)
    }

    /// Starts a sidecar beside the client only, with the redirect rules of a pod and limits on what it may use. It may
    /// have run before.
    ///
    /// # Errors
    /// When it does not become ready, with what it said.
    pub fn start_client_sidecar(&self, sidecar: &Sidecar, limits: &Limits) -> Result<Process> {
        self.redirect(&self.client)?;
        let workload = Workload::from(Side::Client);
        sidecar.start(&self.client, &workload, &self.trust, self.files.path(), limits)
    }

    fn start_sidecar(&self, sidecar: &Sidecar, side: Side) -> Result<Process> {
        let netns = self.side(side);
        self.redirect(netns)?;
        sidecar.start(netns, &side.into(), &self.trust, self.files.path(), &Limits::default())
    }

    /// Starts HAProxy on both sides, with the same redirect rules.
    ///
    /// # Errors
    /// When one does not start, with what it said.
    pub fn start_haproxy(&mut self, haproxy: &HaProxy) -> Result<()> {
        let start = |side| -> Result<Process> {
            self.redirect(self.side(side))?;
            haproxy.start(self.side(side), side, &self.trust, &self.layout, self.files.path())
        };
        let server = start(Side::Server)?;
        self.pair = Some(Pair { client: start(Side::Client)?, server });
        Ok(())
    }

    /// What the proxies' admin servers say to a path: the client's and the server's.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn admin(&self, path: &str) -> Result<[(u16, String); 2]> {
        Ok([admin(&self.client, path)?, admin(&self.server, path)?])
    }

    /// A folder that goes with the bed.
    pub fn files(&self) -> &Path {
        self.files.path()
    }

    fn side(&self, side: Side) -> &Netns {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(crate) fn redirect(&self, netns: &Netns) -> Result<()> {
        let mut init = Command::new(&self.init);
        init.args(["redirect", "--inbound-ports-to-ignore", SKIP]);
        netns.output(init).map(drop).with_context(|| format!("{} (built by cargo)", self.init.display()))
    }
}

/// Removes the folders of processes that have ended without removing them: that were killed, or had a bed in a static.
fn sweep(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|n| n.strip_prefix(FILES)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Another process may be sweeping too.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn endpoints(ips: &[Ipv4Addr], port: u16) -> Vec<(Ipv4Addr, u16, &'static str)> {
    ips.iter().map(|ip| (*ip, port, SERVER)).collect()
}

/// Links the two, and gives them their addresses.
fn link(client: &Netns, server: &Netns, slow: Option<Slow>) -> Result<Option<Relay>> {
    let relay = match slow {
        Some(slow) => Some(Relay::start(slow, client, server, DEVICE)?),
        None => {
            let tid = server.tid().to_string();
            client.ip(&["link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns", &tid])?;
            None
        }
    };
    for (netns, own, other) in [(client, CLIENT_IP, SERVER_IP), (server, SERVER_IP, CLIENT_IP)] {
        netns.ip(&["addr", "add", &own.to_string(), "peer", &other.to_string(), "dev", DEVICE])?;
        netns.ip(&["link", "set", DEVICE, "up"])?;
    }
    client.ip(&["route", "add", ENDPOINTS, "via", &SERVER_IP.to_string()])?;
    server.ip(&["route", "add", "local", ENDPOINTS, "dev", "lo"])?;
    Ok(relay)
}

#[cfg(test)]
mod tests;
