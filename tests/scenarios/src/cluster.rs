//! One cluster, as kubectl and meshctl reach it.

use crate::eventually;
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A context of a kubeconfig.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Name of the context and of the cluster.
    pub name: String,
    kubeconfig: PathBuf,
}

/// What a call from inside a pod gave.
#[derive(Debug, Clone)]
pub struct Called(pub Value);

impl Called {
    /// Whether it succeeded.
    pub fn ok(&self) -> bool {
        self.0["ok"] == true
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u64> {
        self.0["status"].as_u64()
    }

    /// The cluster that answered.
    pub fn cluster(&self) -> Option<&str> {
        self.0["cluster"].as_str()
    }

    /// Why a proxy refused or failed it: `l5d-proxy-error`, else the transport's error.
    pub fn reason(&self) -> String {
        let header = self.0["headers"]["l5d-proxy-error"].as_str();
        header.or_else(|| self.0["error"].as_str()).unwrap_or_default().to_owned()
    }

    /// The body, or the greeting of the ledger.
    pub fn body(&self) -> &str {
        self.0["body"].as_str().unwrap_or_default()
    }
}

impl Cluster {
    /// The context `name` of `kubeconfig`.
    pub fn new(name: &str, kubeconfig: &Path) -> Self {
        Self { name: name.to_owned(), kubeconfig: kubeconfig.to_owned() }
    }

    /// The file that its context is in.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl and answers with its standard output.
    ///
    /// # Errors
    /// When it fails, with what it wrote to standard error.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.run(kubectl_path(), args, None)
    }

    /// kubectl with these arguments, to be run by the caller: for what streams, or is fed.
    pub fn kubectl_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(kubectl_path());
        command
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--context={}", self.name))
            .args(args);
        command
    }

    /// Runs meshctl and answers with its standard output.
    ///
    /// # Errors
    /// When it fails, with what it wrote to standard error.
    pub fn meshctl(&self, args: &[&str]) -> Result<String> {
        self.run(binary("meshctl"), args, None)
    }

    /// Runs the next version's meshctl and answers with its standard output.
    ///
    /// # Errors
    /// When it fails, with what it wrote to standard error, or where there is none.
    pub fn next_meshctl(&self, args: &[&str]) -> Result<String> {
        let folder = std::env::var_os("ISTHMUS_NEXT_BIN_DIR");
        let folder =
            folder.context("ISTHMUS_NEXT_BIN_DIR is not set: run these tests with  cargo xtask kind test")?;
        self.run(Path::new(&folder).join("meshctl"), args, None)
    }

    fn run(&self, program: PathBuf, args: &[&str], input: Option<&str>) -> Result<String> {
        let mut child = Command::new(&program)
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--context={}", self.name))
            .args(args)
            .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            stdin.write_all(text.as_bytes())?;
        }
        let output = child.wait_with_output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("{} --context {} {}: {}\n{stdout}{stderr}", name, self.name, args.join(" "), output.status);
        }
        Ok(stdout)
    }

    /// Applies YAML as `kubectl apply` does.
    ///
    /// # Errors
    /// kubectl's words.
    pub fn apply(&self, yaml: &str) -> Result<()> {
        self.feed(&["apply", "-f", "-"], yaml).map(drop)
    }

    /// Runs kubectl with this on its standard input and answers with its standard output.
    ///
    /// # Errors
    /// When it fails, with what it wrote to standard error.
    pub fn feed(&self, args: &[&str], input: &str) -> Result<String> {
        self.run(kubectl_path(), args, Some(input))
    }

    /// One object, or a list of a kind, as JSON.
    ///
    /// # Errors
    /// kubectl's words, such as NotFound.
    pub fn get(&self, args: &[&str]) -> Result<Value> {
        let mut all = vec!["get"];
        all.extend(args);
        all.extend(["-o", "json"]);
        serde_json::from_str(&self.kubectl(&all)?).context("kubectl's JSON")
    }

    /// Waits until a Deployment is rolled out.
    ///
    /// # Errors
    /// kubectl's words.
    pub fn rolled_out(&self, namespace: &str, deployment: &str) -> Result<()> {
        let target = format!("deployment/{deployment}");
        self.kubectl(&["-n", namespace, "rollout", "status", &target, "--timeout=180s"]).map(drop)
    }

    /// The name of the one living pod of `app`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, namespace: &str, app: &str) -> Result<String> {
        let pods = self.get(&["-n", namespace, "pods", "-l", &format!("app={app}")])?;
        let mut alive = pods["items"].as_array().into_iter().flatten();
        let found = alive.find(|p| p["metadata"]["deletionTimestamp"].is_null());
        let name = found.and_then(|p| p["metadata"]["name"].as_str());
        Ok(name.with_context(|| format!("no pod of {namespace}/{app} in {}", self.name))?.to_owned())
    }

    /// Makes one call from the first container of a Deployment's pod. A call that was refused is an answer, not an error.
    ///
    /// # Errors
    /// When nothing could be run there.
    pub fn call(&self, namespace: &str, from: &str, args: &[&str]) -> Result<Called> {
        let target = format!("deployment/{from}");
        let mut all = vec!["-n", namespace, "exec", &target, "-c", from, "--"];
        all.extend(["/isthmus/isthmus-demo", "call"]);
        all.extend(args);
        let output = Command::new(kubectl_path())
            .arg(format!("--kubeconfig={}", self.kubeconfig.display()))
            .arg(format!("--context={}", self.name))
            .args(&all)
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find(|l| l.starts_with('{'));
        let errors = || String::from_utf8_lossy(&output.stderr).into_owned();
        let line = line.with_context(|| format!("kubectl {}: {text}{}", all.join(" "), errors()))?;
        Ok(Called(serde_json::from_str(line)?))
    }

    /// Calls until it succeeds and answers with that; panics with what was seen last.
    #[track_caller]
    pub fn call_ok(&self, namespace: &str, from: &str, args: &[&str]) -> Called {
        let what = format!("{}: a call from {namespace}/{from} with {args:?} succeeds", self.name);
        eventually(&what, || match self.call(namespace, from, args) {
            Ok(called) if called.ok() => Ok(called),
            Ok(called) => Err(called.0.to_string()),
            Err(error) => Err(format!("{error:#}")),
        })
    }

    /// What a pod's proxy counts, as text.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub fn proxy_metrics(&self, namespace: &str, app: &str) -> Result<String> {
        let called = self.call(namespace, app, &["localhost:4191/metrics"])?;
        if !called.ok() {
            bail!("metrics of {namespace}/{app}: {}", called.0);
        }
        Ok(called.body().to_owned())
    }
}

/// The stock kubectl that `cargo xtask test` found or built, else the one on PATH.
pub(crate) fn kubectl_path() -> PathBuf {
    std::env::var_os("ISTHMUS_KUBECTL").map_or_else(|| PathBuf::from("kubectl"), PathBuf::from)
}

/// A binary of ours: from `ISTHMUS_BIN_DIR`, which `cargo xtask test` sets.
pub(crate) fn binary(name: &str) -> PathBuf {
    match std::env::var_os("ISTHMUS_BIN_DIR") {
        Some(dir) => Path::new(&dir).join(name),
        None => {
            panic!("ISTHMUS_BIN_DIR is not set: run these tests with  cargo xtask test -p mesh-scenarios")
        }
    }
}
