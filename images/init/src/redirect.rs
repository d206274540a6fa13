//! `isthmus-init redirect`.

use ipnet::IpNet;
use mesh_init::Redirect;
use mesh_types::{PROXY_UID, PortSet, ports};

/// Flags of `isthmus-init redirect`; names and meaning are those of Linkerd's proxy-init.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port of the proxy that inbound connections are redirected to.
    #[arg(short = 'p', long, default_value_t = ports::INBOUND, value_name = "PORT")]
    incoming_proxy_port: u16,
    /// Port of the proxy that outbound connections are redirected to; 0 leaves outbound traffic alone.
    #[arg(short = 'o', long, default_value_t = ports::OUTBOUND, value_name = "PORT")]
    outgoing_proxy_port: u16,
    /// User id of the proxy; its own connections are left alone.
    #[arg(short = 'u', long, default_value_t = PROXY_UID, value_name = "UID")]
    proxy_uid: u32,
    /// Group id of the proxy; its own connections are left alone.
    #[arg(short = 'g', long, value_name = "GID")]
    proxy_gid: Option<u32>,
    /// Redirect only these inbound ports, such as 80,8000-8010 (default: all).
    #[arg(short = 'r', long, default_value = "", value_name = "PORTS")]
    ports_to_redirect: PortSet,
    /// Inbound ports and ranges to leave alone.
    #[arg(long, default_value = "", value_name = "PORTS")]
    inbound_ports_to_ignore: PortSet,
    /// Outbound ports and ranges to leave alone.
    #[arg(long, default_value = "", value_name = "PORTS")]
    outbound_ports_to_ignore: PortSet,
    /// Source subnets whose inbound connections are left alone, such as 172.17.0.0/16.
    #[arg(long, value_delimiter = ',', value_name = "CIDRS")]
    subnets_to_ignore: Vec<IpNet>,
    /// Also write rules for IPv6.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true",
          action = clap::ArgAction::Set, value_name = "BOOL")]
    ipv6: bool,
    /// Seconds the kernel keeps connections in CLOSE_WAIT; 0 leaves the setting alone.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    timeout_close_wait_secs: u32,
    /// Print the rules instead of applying them.
    #[arg(long)]
    simulate: bool,
}

/// Writes the rules.
pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let rules = Redirect {
        incoming_proxy_port: args.incoming_proxy_port,
        outgoing_proxy_port: Some(args.outgoing_proxy_port).filter(|p| *p != 0),
        proxy_uid: args.proxy_uid,
        proxy_gid: args.proxy_gid,
        ports_to_redirect: args.ports_to_redirect.clone(),
        inbound_ports_to_ignore: args.inbound_ports_to_ignore.clone(),
        outbound_ports_to_ignore: args.outbound_ports_to_ignore.clone(),
        subnets_to_ignore: args.subnets_to_ignore.clone(),
        ipv6: args.ipv6,
    }
    .ruleset();
    if args.simulate {
        print!("{rules}");
        return Ok(());
    }
    mesh_init::apply(&rules)?;
    if args.timeout_close_wait_secs > 0 {
        mesh_init::set_close_wait_timeout(args.timeout_close_wait_secs)?;
    }
    print!("{rules}");
    Ok(())
}
