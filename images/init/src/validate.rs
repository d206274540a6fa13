//! `isthmus-init validate`.

use mesh_init::Validator;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Flags of `isthmus-init validate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A destination that nobody has; the connection must come back to this process.
    #[arg(long, default_value = "1.1.1.1:20001", value_name = "ADDR")]
    connect_addr: SocketAddr,
    /// Where the proxy will listen for outbound connections.
    #[arg(long, default_value = "0.0.0.0:4140", value_name = "ADDR")]
    listen_addr: SocketAddr,
    /// How long to wait.
    #[arg(long, default_value = "10s", value_parser = mesh_types::parse_duration, value_name = "DURATION")]
    timeout: Duration,
    /// Prove IPv6 as well, when the pod has an IPv6 route.
    #[arg(long)]
    ipv6: bool,
}

/// Runs the check.
pub(crate) fn run(args: &Args) -> ExitCode {
    let v4 =
        Validator { connect_addr: args.connect_addr, listen_addr: args.listen_addr, timeout: args.timeout };
    if let Err(error) = v4.run() {
        return failed(&error);
    }
    println!("outbound connections are redirected to {}", args.listen_addr);
    if !args.ipv6 {
        return ExitCode::SUCCESS;
    }
    match v4.ipv6().run() {
        Ok(()) => println!("outbound IPv6 connections are redirected to {}", v4.ipv6().listen_addr),
        Err(mesh_init::Error::NotRedirected { source, .. })
            if source.kind() == std::io::ErrorKind::NetworkUnreachable =>
        {
            println!("the pod has no IPv6 route: nothing to prove for IPv6");
        }
        Err(error) => return failed(&error),
    }
    ExitCode::SUCCESS
}

fn failed(error: &mesh_init::Error) -> ExitCode {
    eprintln!("isthmus-init: {error}");
    ExitCode::from(mesh_init::EXIT_CODE)
}
