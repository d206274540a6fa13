//! Command lines as a person types them.

use crate::Fleet;
use crate::cluster::{binary, kubectl_path};
use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};

impl Fleet {
    /// Runs a line in bash, with `meshctl` and `kubectl` on PATH, the clusters in KUBECONFIG, and the scratch folder as
    /// the working one. Answers with standard output and error together. A pipe fails when any part of it does.
    ///
    /// # Errors
    /// When the line fails, with all that was said.
    pub fn shell(&self, line: &str) -> Result<String> {
        let tools = [binary("meshctl"), kubectl_path()];
        let mut folders: Vec<_> =
            tools.iter().filter_map(|tool| tool.parent()).map(ToOwned::to_owned).collect();
        folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let output = Command::new("bash")
            .args(["-o", "pipefail", "-c", &format!("exec 2>&1; {line}")])
            .env("PATH", std::env::join_paths(folders)?)
            .env("KUBECONFIG", self.east.kubeconfig())
            .current_dir(self.scratch(""))
            .stdin(Stdio::null())
            .output()
            .context("bash")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("$ {line}\n{said}{}", output.status);
        }
        Ok(said)
    }
}
