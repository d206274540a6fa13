//! Faults put into force: packet rules in the WAN namespace, and a relay there while a link is slow or narrow.

use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;
use rtnetlink::packet_route::rule::RuleAction;
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::faults::{Faults, Site};
use crate::network::NetNs;
use crate::relay::{self, Shapes};
use crate::services::run_nft;

/// The relay's interface in the WAN namespace.
const INTERFACE: &str = "relay0";
/// Routing table whose default route is the relay.
const TABLE: u32 = 4242;

/// The WAN, seen by whoever breaks it.
pub(crate) struct WanFaults {
    netns: NetNs,
    sites: Vec<Site>,
    shapes: Arc<Mutex<Arc<Shapes>>>,
    relay: Mutex<Relay>,
}

#[derive(Default)]
struct Relay {
    /// Rules that lead packets to the relay's table; harmless while that table is empty, so they are made once.
    has_rules: bool,
    running: Option<CancellationToken>,
}

impl WanFaults {
    /// Faults between these sites, none yet.
    pub(crate) fn new(netns: NetNs, sites: Vec<Site>) -> Self {
        Self { netns, sites, shapes: Arc::default(), relay: Mutex::default() }
    }

    /// Puts exactly these faults into force. Blocks for some milliseconds.
    ///
    /// # Errors
    /// When the rules, the relay or its routes cannot be made.
    pub(crate) fn apply(&self, faults: &Faults) -> Result<(), Error> {
        let script = faults.render(&self.sites);
        self.netns.run(|| run_nft(&script)).map_err(failed("enter the WAN"))??;
        *self.shapes.lock() = Arc::new(faults.shapes(&self.sites));
        let mut relay = self.relay.lock();
        if faults.has_shapes() && relay.running.is_none() {
            let tun = self.open(!relay.has_rules)?;
            relay.has_rules = true;
            let token = CancellationToken::new();
            let (shapes, stop) = (self.shapes.clone(), token.clone());
            let body = move || {
                if let Err(error) = relay::run(&tun, &shapes, &stop) {
                    tracing::error!(%error, "the relay between clusters failed");
                }
            };
            let thread = std::thread::Builder::new().name("relay".to_owned());
            thread.spawn(body).map_err(failed("start the relay"))?;
            relay.running = Some(token);
        } else if !faults.has_shapes()
            && let Some(token) = relay.running.take()
        {
            // With the device goes its route, and packets take the short way again.
            token.cancel();
        }
        Ok(())
    }

    /// Makes the relay's device and the routes to it.
    fn open(&self, with_rules: bool) -> Result<File, Error> {
        let interfaces: Vec<&str> = if with_rules {
            self.sites.iter().map(|site| site.interface.as_str()).collect()
        } else {
            Vec::new()
        };
        let work = || -> io::Result<File> {
            let tun = mesh_sys::open_tun(INTERFACE)?;
            rustix::io::ioctl_fionbio(&tun, true)?;
            std::fs::write(format!("/proc/sys/net/ipv4/conf/{INTERFACE}/rp_filter"), "0")?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(lead_to_relay(&interfaces)).map_err(|error| match error {
                rtnetlink::Error::NetlinkError(message) => message.to_io(),
                other => io::Error::other(other.to_string()),
            })?;
            Ok(File::from(tun))
        };
        self.netns.run(work).and_then(|made| made).map_err(failed("make the relay between clusters"))
    }
}

impl Drop for WanFaults {
    fn drop(&mut self) {
        if let Some(token) = self.relay.lock().running.take() {
            token.cancel();
        }
    }
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::System { action: action.to_owned(), source }
}

/// Brings the device up, makes it the default route of the relay's table, and sends what arrives on these interfaces
/// there.
async fn lead_to_relay(interfaces: &[&str]) -> Result<(), rtnetlink::Error> {
    let unusable = |error: io::Error| rtnetlink::Error::NamespaceError(error.to_string());
    let (connection, handle, _) = rtnetlink::new_connection().map_err(unusable)?;
    tokio::spawn(connection);
    let index = index_of(INTERFACE).map_err(unusable)?;
    handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute().await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().table_id(TABLE).output_interface(index).build();
    handle.route().add(route).execute().await?;
    for interface in interfaces {
        let rule = handle.rule().add().v4().input_interface(*interface).table_id(TABLE);
        rule.action(RuleAction::ToTable).execute().await?;
    }
    Ok(())
}

fn index_of(name: &str) -> io::Result<u32> {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)?;
    Ok(rustix::net::netdevice::name_to_index(&socket, name)?)
}
