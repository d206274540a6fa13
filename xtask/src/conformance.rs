//! Holds the sandbox's API server against a real one, built where it is missing.

use crate::kind::binaries;
use crate::{call, cargo};
use anyhow::Result;
use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Conformance {
    /// Ask a real kube-apiserver what the corpus of tests/conformance asks, compare with the recording, and the sandbox
    /// with that
    Api {
        /// Renew the recording instead of comparing it with the real server
        #[arg(long)]
        record: bool,
    },
}

pub(crate) fn run(task: &Conformance) -> Result<()> {
    let Conformance::Api { record } = task;
    let folder = binaries::build_all()?;
    let mut real = cargo();
    real.args(["test", "--workspace", "--test", "real", "--", "--ignored", "--nocapture"]);
    real.env("ISTHMUS_KUBE_BINARIES", folder);
    if *record {
        real.env("ISTHMUS_REGENERATE", "1");
    }
    call(&mut real)?;
    call(cargo().args(["test", "--workspace", "--test", "sandbox"]))
}
