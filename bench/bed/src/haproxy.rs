//! HAProxy on both sides, with mTLS between them: the baseline in C.

use crate::bed::{Layout, SERVER_IP};
use crate::sidecar::Side;
use crate::trust::{SERVER, Trust};
use crate::{HTTP_PORT, Netns, Process};
use anyhow::Result;
use mesh_types::{PROXY_UID, ports};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const READY: Duration = Duration::from_secs(30);

/// How HAProxy treats connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As HTTP: requests, and HTTP/2 between the pair.
    Http {
        /// The application is spoken to in HTTP/2 too.
        h2_app: bool,
    },
    /// As bytes, to this port of the application.
    Tcp {
        /// The application's port.
        port: u16,
    },
}

/// HAProxy's executable and mode.
#[derive(Clone, Debug)]
pub struct HaProxy {
    /// The executable.
    pub binary: PathBuf,
    /// The mode.
    pub mode: Mode,
}

impl HaProxy {
    /// Starts it on one side and waits until it accepts connections.
    pub(crate) fn start(
        &self,
        netns: &Netns,
        side: Side,
        trust: &Trust,
        layout: &Layout,
        files: &Path,
    ) -> Result<Process> {
        let dir = files.join(format!("haproxy-{}", side.name()));
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("ca.pem"), trust.anchors())?;
        std::fs::write(dir.join("cert.pem"), trust.pem(side.identity())?)?;
        chown(dir.join("cert.pem"), Some(PROXY_UID), Some(PROXY_UID))?;
        let config = dir.join("haproxy.cfg");
        std::fs::write(&config, self.config(side, layout, &dir))?;
        let mut command = Command::new(&self.binary);
        command.arg("-db").arg("-f").arg(&config);
        let name = format!("HAProxy beside the {}", side.name());
        let mut process = Process::start(netns, &name, PROXY_UID, &command, &dir.join("log"))?;
        let port = if side == Side::Client { ports::OUTBOUND } else { ports::INBOUND };
        let listens = || {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            netns.run(move || TcpStream::connect(address).is_ok()).unwrap_or(false)
        };
        process.wait_until(READY, listens)?;
        Ok(process)
    }

    fn config(&self, side: Side, layout: &Layout, dir: &Path) -> String {
        let (mode, dir) =
            (if matches!(self.mode, Mode::Http { .. }) { "http" } else { "tcp" }, dir.display());
        // One thread, as one core is what a proxy of a pair gets. No logs, as none of the others writes any.
        let mut text = format!(
            "global\n  nbthread 1\n  maxconn 9000\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n  \
             ssl-default-server-options ssl-min-ver TLSv1.3\n  tune.ssl.default-dh-param 2048\n\
             defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 10m\n  timeout server 10m\n  \
             timeout http-keep-alive 10m\n  http-reuse always\n  balance random(2)\n"
        );
        let tls = format!("ssl crt {dir}/cert.pem ca-file {dir}/ca.pem verify required");
        // Writing to a String cannot fail.
        let written = match side {
            Side::Client => {
                let alpn = if matches!(self.mode, Mode::Http { .. }) { "alpn h2" } else { "" };
                let head = write!(
                    text,
                    "frontend outbound\n  bind 127.0.0.1:{}\n  default_backend peer\nbackend peer\n",
                    ports::OUTBOUND
                );
                let to = |(name, ip): (usize, Ipv4Addr)| {
                    format!(
                        "  server s{name} {ip}:{} {tls} sni str({SERVER}) verifyhost {SERVER} {alpn}\n",
                        ports::INBOUND
                    )
                };
                let ips = if layout.endpoints == 1 { vec![SERVER_IP] } else { layout.endpoint_ips() };
                text.extend(ips.into_iter().enumerate().map(to));
                head
            }
            Side::Server => {
                let (alpn, port, app) = match self.mode {
                    Mode::Http { h2_app } => {
                        ("alpn h2,http/1.1", HTTP_PORT, if h2_app { "proto h2" } else { "" })
                    }
                    Mode::Tcp { port } => ("", port, ""),
                };
                write!(
                    text,
                    "frontend inbound\n  bind 0.0.0.0:{} {tls} {alpn}\n  default_backend app\nbackend app\n  \
                     server app 127.0.0.1:{port} {app}\n",
                    ports::INBOUND
                )
            }
        };
        let _ = written;
        text
    }
}
