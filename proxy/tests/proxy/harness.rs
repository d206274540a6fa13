//! A mesh of one proxy: its authorities, its control plane, itself, and clients of it.

use crate::control::{PolicyService, Signer, TrustService, serve};
use crate::destinations::Destinations;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_net::{OriginalDst, TransportHeader};
use mesh_proxy::GatewayFactory;
use mesh_proxy::config::{Config, Env};
use mesh_proxy::run::{Options, run};
use mesh_tls::{Alpn, Authority, MeshTls, TlsStream, TrustBundle};
use socket2::{Domain, Socket, Type};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) const SERVER: &str = "web.shop.serviceaccount.identity.linkerd.cluster.local";
pub(crate) const CLIENT: &str = "client.shop.serviceaccount.identity.linkerd.cluster.local";
/// Nothing in these tests takes this long.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A root, an issuer and what they sign.
pub(crate) struct Trust {
    pub(crate) root: Authority,
    pub(crate) issuer: Arc<Authority>,
}

/// Trust and a control plane for any number of proxies.
pub(crate) struct Mesh {
    pub(crate) trust: Trust,
    pub(crate) policy: PolicyService,
    pub(crate) destinations: Destinations,
    pub(crate) anchors: TrustService,
    control: SocketAddr,
}

/// How a proxy is started.
pub(crate) struct Setup<'a> {
    pub(crate) identity: &'a str,
    pub(crate) token: &'a [u8],
    /// Where inbound connections were going.
    pub(crate) app: SocketAddr,
    /// Where outbound connections were going.
    pub(crate) outbound: SocketAddr,
    /// Environment, without `LINKERD2_PROXY_`; names of our own in full.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    pub(crate) gateway: Option<GatewayFactory>,
    /// Where the access log goes, if there is one.
    pub(crate) access_log: Option<Box<dyn std::io::Write + Send>>,
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) mesh: Arc<Mesh>,
    pub(crate) admin: SocketAddr,
    pub(crate) inbound: u16,
    pub(crate) registry: mesh_metrics::Registry,
    pub(crate) outbound: u16,
    identity: String,
    stop: CancellationToken,
    _stop_on_drop: DropGuard,
    thread: JoinHandle<Result<(), mesh_proxy::Error>>,
    _files: tempfile::TempDir,
    _ports: Vec<Socket>,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        Self {
            identity: SERVER,
            token: b"valid",
            app: nowhere,
            outbound: nowhere,
            settings: &[],
            gateway: None,
            access_log: None,
        }
    }
}

impl Mesh {
    pub(crate) async fn new() -> Arc<Self> {
        mesh_tls::install_provider();
        let trust = Trust::new();
        let policy = PolicyService::default();
        let destinations = Destinations::default();
        let signer = Signer { issuer: Arc::clone(&trust.issuer), lifetime: Duration::from_secs(600) };
        let anchors = TrustService::default();
        let control = serve(signer, anchors.clone(), policy.clone(), destinations.clone()).await;
        Arc::new(Self { trust, policy, destinations, anchors, control })
    }

    /// Starts a proxy and waits until it is ready.
    pub(crate) async fn proxy(self: &Arc<Self>, setup: Setup<'_>) -> Proxy {
        let proxy = self.unready(setup).await;
        proxy.until_ready().await;
        proxy
    }

    /// Starts a proxy.
    pub(crate) async fn unready(self: &Arc<Self>, setup: Setup<'_>) -> Proxy {
        let Setup { identity, token, app, outbound: outbound_to, settings, gateway, access_log } = setup;
        let files = tempfile::tempdir().unwrap();
        let token_file = files.path().join("token");
        std::fs::write(&token_file, token).unwrap();
        let (reserved, ports): (Vec<_>, Vec<_>) = (0..3).map(|_| reserve()).unzip();
        let [inbound, outbound, admin] = ports[..] else { panic!("three ports") };
        let control = format!("localhost:{}", self.control.port());
        let mut env: Env = [
            ("INBOUND_LISTEN_ADDR", format!("[::]:{inbound}")),
            ("OUTBOUND_LISTEN_ADDRS", format!("127.0.0.1:{outbound},[::1]:{outbound}")),
            ("ADMIN_LISTEN_ADDR", format!("127.0.0.1:{admin}")),
            ("IDENTITY_LOCAL_NAME", identity.to_owned()),
            ("IDENTITY_TRUST_ANCHORS", self.trust.root.cert_pem()),
            ("IDENTITY_TOKEN_FILE", token_file.display().to_string()),
            ("IDENTITY_SVC_ADDR", control.clone()),
            ("DESTINATION_SVC_ADDR", control.clone()),
            ("POLICY_SVC_ADDR", control),
            ("POLICY_WORKLOAD", r#"{"ns":"shop","pod":"web"}"#.to_owned()),
        ]
        .map(|(key, value)| (format!("LINKERD2_PROXY_{key}"), value))
        .into_iter()
        .collect();
        env.set("ISTHMUS_SHUTDOWN_KEEP_ACCEPTING", "0ms");
        for (key, value) in settings {
            let prefix = if key.starts_with("ISTHMUS_") { "" } else { "LINKERD2_PROXY_" };
            env.set(format!("{prefix}{key}"), *value);
        }
        let config = Config::parse(&env).unwrap();
        let stop = CancellationToken::new();
        // Connections to 127.0.0.1 were redirected on their way to the application; those to 127.0.0.2 were not.
        let direct = std::net::IpAddr::from([127, 0, 0, 2]);
        let registry = mesh_metrics::Registry::new();
        let options = Options {
            env,
            inbound_dst: OriginalDst::Lookup(Arc::new(
                move |local, _| if local.ip() == direct { local } else { app },
            )),
            outbound_dst: OriginalDst::fixed(outbound_to),
            gateway,
            registry: registry.clone(),
            access_log,
            stop: stop.clone(),
            ..Options::default()
        };
        Proxy {
            registry,
            mesh: Arc::clone(self),
            admin: SocketAddr::from(([127, 0, 0, 1], admin)),
            inbound,
            outbound,
            identity: identity.to_owned(),
            _stop_on_drop: stop.clone().drop_guard(),
            stop,
            thread: std::thread::spawn(move || run(config, options)),
            _files: files,
            _ports: reserved,
        }
    }
}

impl Trust {
    pub(crate) fn new() -> Self {
        let root = Authority::new_root("root.linkerd.cluster.local", Duration::from_secs(3600)).unwrap();
        let issuer =
            root.issue_authority("identity.linkerd.cluster.local", Duration::from_secs(1800)).unwrap();
        Self { root, issuer: Arc::new(issuer) }
    }

    /// Credentials of a workload.
    pub(crate) fn credentials(&self, name: &str) -> MeshTls {
        let bundle = TrustBundle::from_pem(&self.root.cert_pem()).unwrap();
        let tls = MeshTls::new(name.parse().unwrap(), bundle).unwrap();
        let request = tls.request().unwrap();
        let leaf = self
            .issuer
            .sign_csr(&request.csr_der, tls.identity(), Duration::from_secs(600), Duration::from_secs(20))
            .unwrap();
        tls.set_leaf(request, leaf.leaf_der, leaf.intermediates_der, leaf.not_after).unwrap();
        tls
    }
}

/// A port that stays ours: bound with `SO_REUSEPORT` and never listened on.
fn reserve() -> (Socket, u16) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&SocketAddr::from(([0, 0, 0, 0], 0)).into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    (socket, port)
}

/// Whether a condition comes to hold, within [`LIMIT`].
async fn holds<F: Future<Output = bool>>(condition: impl Fn() -> F) -> bool {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.is_ok()
}

fn has_all(line: &str, parts: &[&str]) -> bool {
    parts.iter().all(|part| line.contains(part))
}

impl Proxy {
    /// A mesh with one ready proxy in front of `app`.
    pub(crate) async fn start(app: SocketAddr, settings: &[(&str, &str)]) -> Self {
        Mesh::new().await.proxy(Setup { app, settings, ..Setup::default() }).await
    }

    /// A connection of the application that was redirected on its way out.
    pub(crate) async fn out(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.outbound)).await.unwrap()
    }

    /// The same from its IPv6 address.
    pub(crate) async fn out_v6(&self) -> TcpStream {
        TcpStream::connect(("::1", self.outbound)).await.unwrap()
    }

    /// Where other proxies reach this one directly.
    pub(crate) fn direct_addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 2], self.inbound))
    }

    pub(crate) async fn until_ready(&self) {
        self.until("ready", || async { self.admin("/ready").await.0 == 200 }).await;
    }

    /// Waits for a condition, at most [`LIMIT`].
    pub(crate) async fn until<F: Future<Output = bool>>(&self, what: &str, condition: impl Fn() -> F) {
        assert!(holds(condition).await, "never {what}");
    }

    /// Asks the admin server, on a connection that ends with the answer: it takes few at a time.
    pub(crate) async fn admin(&self, path: &str) -> (u16, String) {
        let Ok(stream) = TcpStream::connect(self.admin).await else { return (0, String::new()) };
        let request = Request::get(path).header("host", "web.shop").header("connection", "close");
        let request = request.body(Full::default()).unwrap();
        let Ok(response) = send(stream, Version::HTTP_11, request).await else { return (0, String::new()) };
        let status = response.status().as_u16();
        (status, text(response).await)
    }

    /// Waits until a metrics line begins with `prefix` and contains all `parts`.
    pub(crate) async fn until_metric(&self, prefix: &str, parts: &[&str]) {
        let named = RefCell::new(Vec::new());
        let found = || async {
            let lines = self.metrics(prefix).await;
            let found = lines.iter().any(|line| has_all(line, parts));
            *named.borrow_mut() = lines;
            found
        };
        assert!(holds(found).await, "never a metric {prefix} with {parts:?}, but {:#?}", named.borrow());
    }

    /// The value of the first metric whose line begins with `prefix` and contains all `parts`.
    pub(crate) async fn metric(&self, prefix: &str, parts: &[&str]) -> String {
        let lines = self.metrics(prefix).await;
        let line = lines.iter().find(|line| has_all(line, parts));
        line.and_then(|line| line.rsplit(' ').next()).expect("a metric").to_owned()
    }

    async fn metrics(&self, prefix: &str) -> Vec<String> {
        let (_, text) = self.admin("/metrics").await;
        text.lines().filter(|line| line.starts_with(prefix)).map(ToOwned::to_owned).collect()
    }

    /// A redirected plain connection.
    pub(crate) async fn plain(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.inbound)).await.unwrap();
        // As proxies do: the end of a handshake is not acknowledged at once, and nothing small may wait for that.
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// The same over IPv6.
    pub(crate) async fn plain_v6(&self) -> TcpStream {
        TcpStream::connect(("::1", self.inbound)).await.unwrap()
    }

    /// A redirected connection with mesh TLS.
    pub(crate) async fn meshed(&self, client: &str) -> TlsStream<TcpStream> {
        let connector = self.mesh.trust.credentials(client).connector(Alpn::None).unwrap();
        let name = mesh_tls::server_name(&self.identity).unwrap();
        connector.connect(name, self.plain().await).await.unwrap()
    }

    /// A direct connection with mesh TLS, and a transport header if there is one.
    pub(crate) async fn direct(&self, header: Option<TransportHeader>) -> TlsStream<TcpStream> {
        self.direct_as(CLIENT, header).await
    }

    /// As [`Proxy::direct`], from a client of this name.
    pub(crate) async fn direct_as(
        &self,
        client: &str,
        header: Option<TransportHeader>,
    ) -> TlsStream<TcpStream> {
        let connector = self.mesh.trust.credentials(client).connector(Alpn::Transport).unwrap();
        let stream = TcpStream::connect(self.direct_addr()).await.unwrap();
        let mut tls =
            connector.connect(mesh_tls::server_name(&self.identity).unwrap(), stream).await.unwrap();
        if let Some(header) = header {
            tls.write_all(&header.encode()).await.unwrap();
        }
        tls
    }

    /// A direct connection without a client certificate.
    pub(crate) async fn direct_plain(&self) -> TcpStream {
        TcpStream::connect(self.direct_addr()).await.unwrap()
    }

    /// Tells the proxy to stop, as a signal would.
    pub(crate) fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Waits for its end.
    pub(crate) async fn stopped(self) -> Result<(), mesh_proxy::Error> {
        let joined = tokio::task::spawn_blocking(move || self.thread.join());
        tokio::time::timeout(LIMIT, joined).await.expect("the proxy does not end").unwrap().unwrap()
    }
}

/// One request on a new HTTP connection over `io`.
pub(crate) async fn get<I>(io: I, version: Version, path: &str) -> Response<Incoming>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    try_get(io, version, path).await.unwrap()
}

/// One request on a new HTTP connection over `io`, which may fail.
pub(crate) async fn try_get<I>(io: I, version: Version, path: &str) -> hyper::Result<Response<Incoming>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::builder().uri(path).header("host", "web.shop");
    send(io, version, request.body(Full::default()).unwrap()).await
}

/// One request on a new HTTP connection over `io`.
pub(crate) async fn send<I>(
    io: I,
    version: Version,
    mut request: Request<Full<Bytes>>,
) -> hyper::Result<Response<Incoming>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(io);
    if version == Version::HTTP_2 {
        let uri = format!("http://web.shop{}", request.uri().path());
        *request.uri_mut() = uri.parse().unwrap();
        // In HTTP/2 the authority says it.
        request.headers_mut().remove("host");
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
        tokio::spawn(connection);
        // Keeps the connection open for the response's body.
        let response = sender.send_request(request).await;
        std::mem::forget(sender);
        return response;
    }
    *request.version_mut() = version;
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(connection.with_upgrades());
    let response = sender.send_request(request).await;
    std::mem::forget(sender);
    response
}

/// The whole body as text.
pub(crate) async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Reads until the other side closes; an error counts as closed.
pub(crate) async fn read_all(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut out = Vec::new();
    let mut buf = [0; 1024];
    let reading = async {
        while let Ok(n @ 1..) = io.read(&mut buf).await {
            out.extend_from_slice(&buf[..n]);
        }
    };
    tokio::time::timeout(LIMIT, reading).await.expect("the connection stays open");
    String::from_utf8(out).unwrap()
}
