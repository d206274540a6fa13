//! What is compared: no proxy, sidecars, HAProxy.

use crate::workload::Workload;
use anyhow::{Context as _, Result};
use mesh_bed::{Bed, HaProxy, Mode, Sidecar};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// One of what is compared.
#[derive(Clone, Debug)]
pub(crate) enum Arm {
    /// Client and server connected directly: the floor.
    Direct,
    /// A proxy configured as a sidecar.
    Sidecar(Sidecar),
    /// HAProxy, taking connections for HTTP.
    HaProxyHttp(PathBuf),
    /// HAProxy, taking connections for bytes.
    HaProxyTcp(PathBuf),
}

pub(crate) const DIRECT: &str = "no proxy";
pub(crate) const OURS: &str = "isthmus";
pub(crate) const HAPROXY_HTTP: &str = "haproxy-http";
pub(crate) const HAPROXY_TCP: &str = "haproxy-tcp";

/// How long proxies took to start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Started {
    /// Both proxies of the pair, one after the other.
    pub(crate) pair: Duration,
    /// From the client's certificate to its being ready.
    pub(crate) after_certificate: Option<Duration>,
}

impl Arm {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Direct => DIRECT,
            Self::Sidecar(sidecar) => &sidecar.name,
            Self::HaProxyHttp(_) => HAPROXY_HTTP,
            Self::HaProxyTcp(_) => HAPROXY_TCP,
        }
    }

    /// The executable, if there is one.
    pub(crate) fn binary(&self) -> Option<&Path> {
        match self {
            Self::Direct => None,
            Self::Sidecar(sidecar) => Some(&sidecar.binary),
            Self::HaProxyHttp(binary) | Self::HaProxyTcp(binary) => Some(binary),
        }
    }

    /// Whether it can do this work: HAProxy in HTTP mode cannot carry bytes, and its endpoints do not churn.
    pub(crate) fn does(&self, workload: &Workload) -> bool {
        match self {
            Self::HaProxyHttp(_) => !workload.is_opaque(),
            Self::HaProxyTcp(_) => workload.layout().endpoints == 1,
            Self::Direct => workload.layout().endpoints == 1 && !workload.is_fresh(),
            Self::Sidecar(_) => true,
        }
    }

    /// A bed with this arm's proxies.
    pub(crate) fn bed(&self, bin: &Path, workload: &Workload) -> Result<(Bed, Started)> {
        let context = || format!("{} for {}", self.name(), workload.name);
        let mut bed = Bed::new(bin, workload.layout()).with_context(context)?;
        let began = Instant::now();
        match self {
            Self::Direct => {}
            Self::Sidecar(sidecar) => bed.start_sidecars(sidecar).with_context(context)?,
            Self::HaProxyHttp(binary) => {
                let mode = Mode::Http { h2_app: workload.is_http2() };
                bed.start_haproxy(&HaProxy { binary: binary.clone(), mode }).with_context(context)?;
            }
            Self::HaProxyTcp(binary) => {
                let mode = Mode::Tcp { port: workload.port() };
                bed.start_haproxy(&HaProxy { binary: binary.clone(), mode }).with_context(context)?;
            }
        }
        let after_certificate = bed.control.times.certified(mesh_bed::CLIENT).map(|at| at.elapsed());
        Ok((bed, Started { pair: began.elapsed(), after_certificate }))
    }
}
