//! Further servers of a bed: each in a namespace of its own, with the application as a process and a proxy beside it, so
//! that either can be ended, stopped or cut off while the others serve.

use crate::sidecar::{Workload, admin};
use crate::trust::SERVER;
use crate::{Bed, HTTP_PORT, Limits, Netns, Process, Sidecar};
use anyhow::{Context as _, Result};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The user that applications run as: nobody's, and not the proxy's.
const USER: u32 = 65_534;
/// How long an application may take to listen on a busy machine.
const READY: Duration = Duration::from_secs(30);
/// The table of nftables that loses packets.
const TABLE: &str = "isthmus_fault";
/// The interface of a server.
const DEVICE: &str = "eth0";

/// One server. Processes end before the namespace does.
pub struct Server {
    /// The proxy.
    pub proxy: Process,
    /// The application.
    pub app: Process,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Where it is.
    pub netns: Netns,
}

/// The address of a server of a bed that has several.
pub fn server_ip(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 79, 0, number.saturating_add(1))
}

impl Bed {
    /// Adds a server whose application is `app`, a program that calls [`crate::run_applications`]. Nobody is told of
    /// it: that is for [`crate::Control::set_endpoints`].
    ///
    /// # Errors
    /// When application or proxy do not become ready, with what they said.
    pub fn add_server(&self, number: u8, app: &Command, sidecar: &Sidecar) -> Result<Server> {
        let (name, ip) = (format!("server-{number}"), server_ip(number));
        let netns = Netns::create(&name)?;
        self.link_server(&netns, number, ip)?;
        self.control.serve_in(&netns)?;
        let app = self.start_app(&netns, &name, app)?;
        self.redirect(&netns)?;
        let workload = Workload { name, identity: SERVER };
        let proxy = sidecar.start(&netns, &workload, &self.trust, self.files(), &Limits::default())?;
        Ok(Server { proxy, app, ip, netns })
    }

    /// Starts the application of a server again.
    ///
    /// # Errors
    /// When it does not listen, with what it said.
    pub fn restart_app(&self, server: &mut Server, app: &Command) -> Result<()> {
        server.app.kill();
        let name = server.netns.name().to_owned();
        server.app = self.start_app(&server.netns, &name, app)?;
        Ok(())
    }

    fn start_app(&self, netns: &Netns, name: &str, app: &Command) -> Result<Process> {
        // The program may lie where only root may look.
        let copy = self.files().join("app");
        if !copy.exists() {
            crate::install(Path::new(app.get_program()), &copy)?;
        }
        let mut command = Command::new(&copy);
        command.args(app.get_args());
        let log = self.files().join(format!("app-{name}"));
        let mut process = Process::start(netns, &format!("application of {name}"), USER, &command, &log)?;
        let listens = || TcpStream::connect((Ipv4Addr::LOCALHOST, HTTP_PORT)).is_ok();
        process.wait_until(READY, || netns.run(listens).unwrap_or(false))?;
        Ok(process)
    }

    fn link_server(&self, netns: &Netns, number: u8, ip: Ipv4Addr) -> Result<()> {
        let (tid, own, device) = (netns.tid().to_string(), ip.to_string(), format!("server{number}"));
        let client = crate::bed::CLIENT_IP.to_string();
        self.client.ip(&["link", "add", &device, "type", "veth", "peer", "name", DEVICE, "netns", &tid])?;
        for (side, address, peer, name) in
            [(&self.client, &client, &own, device.as_str()), (netns, &own, &client, DEVICE)]
        {
            side.ip(&["addr", "add", address, "peer", peer, "dev", name])?;
            side.ip(&["link", "set", name, "up"])?;
        }
        Ok(())
    }
}

impl Server {
    /// What the proxy's admin server says to a path.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn admin(&self, path: &str) -> Result<(u16, String)> {
        admin(&self.netns, path)
    }

    /// Loses every packet from and to other namespaces, without a word to either side.
    ///
    /// # Errors
    /// When `nft` refuses (package nftables).
    pub fn cut_off(&self) -> Result<()> {
        let rules = format!(
            "table inet {TABLE} {{\n\
             chain in {{ type filter hook prerouting priority -400; iifname {DEVICE} drop; }}\n\
             chain out {{ type filter hook postrouting priority 400; oifname {DEVICE} drop; }}\n}}\n"
        );
        self.nft(&rules).context("losing packets")
    }

    /// Lets packets through again.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn join_again(&self) -> Result<()> {
        self.nft(&format!("delete table inet {TABLE}\n"))
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let mut nft = Command::new("nft");
        nft.arg(rules);
        self.netns.output(nft).map(drop)
    }
}
