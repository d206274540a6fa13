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
    /// Prove IPv6 as well; a family that the pod has no route for is passed over, but not both.
    #[arg(long)]
    ipv6: bool,
}

/// Runs the check.
pub(crate) fn run(args: &Args) -> ExitCode {
    let v4 =
        Validator { connect_addr: args.connect_addr, listen_addr: args.listen_addr, timeout: args.timeout };
    match mesh_init::prove(&v4, args.ipv6) {
        Ok(proofs) => {
            proofs.iter().for_each(|proof| println!("{proof}"));
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &mesh_init::Error) -> ExitCode {
    eprintln!("isthmus-init: {error}");
    ExitCode::from(mesh_init::EXIT_CODE)
}
