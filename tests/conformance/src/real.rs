//! A real API server: etcd, kube-apiserver, and of the controllers those that the sandbox's server has built in.

use anyhow::{Context as _, Result, bail};
use mesh_testkit::Http;
use mesh_tls::{Authority, PemPair};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// Names the folder with `etcd`, `kube-apiserver` and `kube-controller-manager`.
pub const BINARIES: &str = "ISTHMUS_KUBE_BINARIES";
/// How long each program may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longer than any run.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// What the sandbox's server does itself: default accounts and certificates of namespaces, their end, owners' garbage.
const CONTROLLERS: &str = "serviceaccount-controller,root-ca-certificate-publisher-controller,namespace-controller,\
                           garbage-collector-controller";

/// A running server; its programs end with it.
pub struct Real {
    directory: TempDir,
    programs: Vec<Child>,
    address: SocketAddr,
    ca: String,
    admin: PemPair,
}

impl Real {
    /// Starts one from the programs in the folder that [`BINARIES`] names.
    ///
    /// # Errors
    /// Something is missing or does not start; the error tells what, and the end of its log.
    pub async fn start() -> Result<Self> {
        let folder = std::env::var_os(BINARIES).map(PathBuf::from).with_context(|| {
            format!("{BINARIES} must name a folder with etcd, kube-apiserver and kube-controller-manager")
        })?;
        let directory = tempfile::tempdir()?;
        let authority = Authority::new_root("kubernetes", LIFETIME)?;
        let serving = authority.issue_server(
            &["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"],
            &[Ipv4Addr::LOCALHOST.into(), Ipv4Addr::new(10, 43, 0, 1).into()],
            LIFETIME,
        )?;
        let admin = authority.issue_client("kubernetes-admin", &["system:masters"], LIFETIME)?;
        let accounts = authority.issue_client("service-accounts", &[], LIFETIME)?;
        let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
        file("ca.crt", &authority.cert_pem())?;
        for (name, pair) in [("server", &serving), ("admin", &admin), ("accounts", &accounts)] {
            file(&format!("{name}.crt"), &pair.cert_pem)?;
            file(&format!("{name}.key"), &pair.key_pem)?;
        }
        let address = free_address()?;
        file("kubeconfig", &kubeconfig(address))?;
        let mut real = Self { directory, programs: Vec::new(), address, ca: authority.cert_pem(), admin };
        let store = real.start_store(&folder)?;
        real.start_server(&folder, &store)?;
        real.until_ready().await?;
        real.start_controllers(&folder)?;
        Ok(real)
    }

    /// Raw HTTPS as an administrator.
    ///
    /// # Errors
    /// The certificate cannot be used.
    pub fn http(&self) -> Result<Http> {
        Http::connecting_to(self.address, &self.ca, Some(&self.admin), None)
    }

    /// A kubeconfig of an administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    fn run(&mut self, folder: &Path, program: &str, arguments: &[String]) -> Result<()> {
        let path = folder.join(program);
        let log = File::create(self.log(program))?;
        let child = Command::new(&path)
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| {
                format!("cannot run {} (cargo xtask conformance api builds it)", path.display())
            })?;
        self.programs.push(child);
        Ok(())
    }

    fn log(&self, program: &str) -> PathBuf {
        self.directory.path().join(format!("{program}.log"))
    }

    fn start_store(&mut self, folder: &Path) -> Result<String> {
        let (client, peer) = (format!("http://{}", free_address()?), format!("http://{}", free_address()?));
        let arguments = [
            "--data-dir=etcd".to_owned(),
            "--unsafe-no-fsync".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=default={peer}"),
        ];
        self.run(folder, "etcd", &arguments)?;
        Ok(client)
    }

    fn start_server(&mut self, folder: &Path, store: &str) -> Result<()> {
        let arguments = [
            format!("--etcd-servers={store}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", self.address.port()),
            "--tls-cert-file=server.crt".to_owned(),
            "--tls-private-key-file=server.key".to_owned(),
            "--client-ca-file=ca.crt".to_owned(),
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
            "--service-account-key-file=accounts.crt".to_owned(),
            "--service-account-signing-key-file=accounts.key".to_owned(),
            "--service-cluster-ip-range=10.43.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        self.run(folder, "kube-apiserver", &arguments)
    }

    fn start_controllers(&mut self, folder: &Path) -> Result<()> {
        let arguments = [
            "--kubeconfig=kubeconfig".to_owned(),
            "--authentication-kubeconfig=kubeconfig".to_owned(),
            "--authorization-kubeconfig=kubeconfig".to_owned(),
            format!("--controllers={CONTROLLERS}"),
            "--service-account-private-key-file=accounts.key".to_owned(),
            "--root-ca-file=ca.crt".to_owned(),
            "--leader-elect=false".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={}", free_address()?.port()),
            "--cert-dir=controllers".to_owned(),
        ];
        self.run(folder, "kube-controller-manager", &arguments)
    }

    async fn until_ready(&mut self) -> Result<()> {
        let http = self.http()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if http.get("/readyz").await.is_ok_and(|reply| reply.status.is_success()) {
                return Ok(());
            }
            for (program, child) in ["etcd", "kube-apiserver"].iter().zip(&mut self.programs) {
                if let Some(status) = child.try_wait()? {
                    let log = std::fs::read_to_string(self.directory.path().join(format!("{program}.log")))?;
                    bail!("{program} ended with {status}: {}", tail(&log));
                }
            }
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(self.log("kube-apiserver"))?;
                bail!("kube-apiserver is not ready after {PATIENCE:?}: {}", tail(&log));
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        // Clients before servers, so that none waits for the other.
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}

/// An address nobody listens on, most likely until it is used.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: real\nclusters:\n- name: real\n  cluster:\n    server: \
         https://{address}\n    certificate-authority: ca.crt\ncontexts:\n- name: real\n  context: {{cluster: real, user: \
         admin}}\nusers:\n- name: admin\n  user: {{client-certificate: admin.crt, client-key: admin.key}}\n"
    )
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}
