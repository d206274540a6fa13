//! The proxy image: a sidecar, or a gateway where the environment says so. `await` waits for a proxy to be ready.

mod wait;

use anyhow::Context as _;
use mesh_proxy::config::{Config, Env};
use mesh_proxy::run::{Options, run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const VERSION: &str = mesh_types::built_as!();

const USAGE: &str = "usage: isthmus-proxy                         run the proxy as LINKERD2_PROXY_* says
       isthmus-proxy await [--timeout 2m] [--port 4191]
                                             wait until the proxy of this pod is ready
       isthmus-proxy --version";

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        None | Some("run") => serve(),
        Some("await") => wait::until_ready(&arguments[1..]),
        Some("--version" | "-V") => {
            println!("isthmus-proxy {VERSION}");
            Ok(())
        }
        Some("--help" | "-h") => {
            println!("{USAGE}");
            Ok(())
        }
        Some(other) => anyhow::bail!("unknown command {other:?}\n{USAGE}"),
    }
}

fn serve() -> anyhow::Result<()> {
    mesh_tls::install_provider();
    let env = Env::process();
    let config = Config::parse(&env)?;
    let format =
        config.log.format.parse().map_err(|error| anyhow::anyhow!("LINKERD2_PROXY_LOG_FORMAT: {error}"))?;
    let log = mesh_runtime::init_tracing(format, &config.log.filter).context("LINKERD2_PROXY_LOG")?;
    tracing::info!(version = VERSION, identity = %config.identity.local, "starting");
    for (variable, value) in mesh_proxy::config::redacted(&env) {
        tracing::debug!(variable, value);
    }
    let gateway = mesh_gateway::factory(&config);
    let options = Options { version: VERSION, env, log: Some(log), gateway, ..Options::default() };
    Ok(run(config, options)?)
}
