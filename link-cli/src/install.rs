//! `meshctl install`: the control plane's manifests.

use crate::charts::Chart;
use crate::globals::Globals;
use crate::installed::Source;
use crate::manifest::{self, Format};
use crate::overrides;
use crate::proxy_flags::ProxyFlags;
use crate::report::Problem;
use crate::trust::authority_name;
use crate::values::{ValueArgs, durations, merge, nested, read};
use mesh_tls::{Authority, TrustBundle};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

/// Lifetime of the certificates made where none are given.
const DEVELOPMENT_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// Arguments of `meshctl install`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Install in two steps:\n  meshctl install --crds | kubectl apply -f -\n  \
    meshctl install | kubectl apply -f -\n\nClusters that will be linked need a common trust anchor: see meshctl \
    trust init --help")]
pub(crate) struct Args {
    /// Print the custom resource definitions, which come first.
    #[arg(long)]
    crds: bool,
    /// Do not look at a cluster.
    #[arg(long)]
    ignore_cluster: bool,
    /// Output format.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    pub(crate) settings: Settings,
}

/// What decides the values of the control plane.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Settings {
    /// DNS domain of the cluster [default: cluster.local].
    #[arg(long, value_name = "DOMAIN")]
    cluster_domain: Option<String>,
    /// Trust domain of identities [default: the cluster domain].
    #[arg(long, value_name = "DOMAIN")]
    identity_trust_domain: Option<String>,
    /// The trust anchors in PEM.
    #[arg(long, value_name = "FILE")]
    identity_trust_anchors_file: Option<PathBuf>,
    /// The issuer's certificate in PEM.
    #[arg(long, value_name = "FILE", requires = "identity_issuer_key_file")]
    identity_issuer_certificate_file: Option<PathBuf>,
    /// The issuer's key in PEM.
    #[arg(long, value_name = "FILE", requires = "identity_issuer_certificate_file")]
    identity_issuer_key_file: Option<PathBuf>,
    /// Something else keeps the Secret linkerd-identity-issuer (type kubernetes.io/tls).
    #[arg(long, conflicts_with = "identity_issuer_certificate_file")]
    identity_external_issuer: bool,
    /// Something else keeps the ConfigMap linkerd-identity-trust-roots.
    #[arg(long)]
    identity_external_ca: bool,
    /// Lifetime of workload certificates [default: 24h].
    #[arg(long, value_name = "DURATION")]
    identity_issuance_lifetime: Option<String>,
    /// How far clocks may differ [default: 20s].
    #[arg(long, value_name = "DURATION")]
    identity_clock_skew_allowance: Option<String>,
    /// Replicas, resources and disruption budgets for high availability.
    #[arg(long)]
    ha: bool,
    /// Replicas of each controller.
    #[arg(long, value_name = "NUMBER")]
    controller_replicas: Option<u32>,
    /// Log level of the controllers.
    #[arg(long, value_name = "LEVEL")]
    controller_log_level: Option<String>,
    /// User id of the controllers.
    #[arg(long, value_name = "UID")]
    controller_uid: Option<u32>,
    /// Group id of the controllers.
    #[arg(long, value_name = "GID")]
    controller_gid: Option<u32>,
    /// Redirect rules are written by a CNI plugin.
    #[arg(long)]
    linkerd_cni_enabled: bool,
    /// Where every image is, such as registry.example.org/mesh for registry.example.org/mesh/proxy [default: isthmus].
    #[arg(long, value_name = "PREFIX")]
    registry: Option<String>,
    /// Do not carry HTTP/1 over HTTP/2 between proxies.
    #[arg(long)]
    disable_h2_upgrade: bool,
    #[command(flatten)]
    proxy: ProxyFlags,
    #[command(flatten)]
    values: ValueArgs,
}

/// Prints the manifests.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let namespace = &globals.linkerd_namespace;
    if args.crds {
        let chart = Chart::Crds;
        let mut values = chart.default_values()?;
        args.settings.values.apply(&mut values)?;
        manifest::print(&manifest::parse(chart.render(namespace, &values)?)?, args.output)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.ignore_cluster {
        crate::install_checks::before_install(globals).await?;
    }
    let mut values = Chart::ControlPlane.default_values()?;
    if !args.ignore_cluster {
        crate::install_checks::of_the_cluster(globals, &mut values).await?;
    }
    overlay(&args.settings, &mut values)?;
    if !args.ignore_cluster {
        certificates_there(&Source::cluster(globals).await?, &mut values).await?;
    }
    identity(namespace, &mut values)?;
    told_without_effect(&values)?;
    let mut manifests = manifest::parse(Chart::ControlPlane.render(namespace, &values)?)?;
    manifests
        .push(overrides::secret(namespace, &overrides::of(&values, &Chart::ControlPlane.default_values()?)));
    manifest::print(&manifests, args.output)?;
    Ok(ExitCode::SUCCESS)
}

/// Says which values do nothing; they are taken because values files of Linkerd have them.
pub(crate) fn told_without_effect(values: &Value) -> anyhow::Result<()> {
    for (path, why) in Chart::ControlPlane.without_effect(values)? {
        eprintln!("‼ {path} has no effect: {why}");
    }
    Ok(())
}

/// Takes certificates that the cluster has already: an installation that ended half-way is finished with its own, and
/// an issuer that something else keeps must stand below the anchors.
async fn certificates_there(source: &Source, values: &mut Value) -> anyhow::Result<()> {
    let none = |pointer: &str, values: &Value| {
        values.pointer(pointer).and_then(Value::as_str).is_none_or(str::is_empty)
    };
    if values["identity"]["issuer"]["scheme"] == "kubernetes.io/tls" {
        return external_issuer(source, values).await;
    }
    let given = ["/identityTrustAnchorsPEM", "/identity/issuer/tls/crtPEM"].iter().any(|p| !none(p, values));
    if given || values["identity"]["externalCA"] == true {
        return Ok(());
    }
    if let (Some(anchors), Some((cert, key))) = (source.anchors().await?, source.issuer().await?) {
        eprintln!("‼ the trust anchors and the issuer that the cluster has already are used");
        merge(
            values,
            &json!({
                "identityTrustAnchorsPEM": anchors,
                "identity": {"issuer": {"tls": {"crtPEM": cert, "keyPEM": key}}},
            }),
        );
    }
    Ok(())
}

/// Looks at an issuer that something else keeps, if it is there yet.
async fn external_issuer(source: &Source, values: &Value) -> anyhow::Result<()> {
    use crate::installed::{ISSUER, secret_text};
    let Some(secret) = source.secret(ISSUER).await? else {
        eprintln!("‼ Secret {ISSUER} is not there yet; identity waits for it");
        return Ok(());
    };
    let problem = |what: &str, why: String| {
        let fix = "let whatever keeps it (such as cert-manager) issue it below the trust anchors given here, type kubernetes.io/tls";
        Problem::new(what, why, fix)
    };
    let pair = secret_text(&secret, "tls.crt").zip(secret_text(&secret, "tls.key"));
    let (cert, key) = pair.ok_or_else(|| {
        problem("the external issuer cannot be used", format!("Secret {ISSUER} has no tls.crt and tls.key"))
    })?;
    let mut seen = values.clone();
    merge(&mut seen, &json!({"identity": {"issuer": {"tls": {"crtPEM": cert, "keyPEM": key}}}}));
    verify(&seen).map_err(|error| problem("the external issuer cannot be used", error.to_string()).into())
}

/// Values of the control plane before certificates: defaults, then what the settings say.
#[cfg(test)]
fn values(settings: &Settings) -> anyhow::Result<Value> {
    let mut values = Chart::ControlPlane.default_values()?;
    overlay(settings, &mut values)?;
    Ok(values)
}

/// Lays `--ha`, flags, files and `--set` over values.
pub(crate) fn overlay(settings: &Settings, values: &mut Value) -> anyhow::Result<()> {
    if settings.ha {
        merge(values, &Chart::ControlPlane.ha_values()?);
    }
    settings.flags(values)?;
    settings.proxy.apply(values);
    settings.values.apply(values)
}

impl Settings {
    /// Whether an issuer's certificate is given.
    pub(crate) fn gives_issuer(&self) -> bool {
        self.identity_issuer_certificate_file.is_some()
    }

    fn flags(&self, values: &mut Value) -> anyhow::Result<()> {
        let mut put = |path: &str, value: Option<Value>| {
            let Some(value) = value else { return };
            merge(values, &nested(path, value));
        };
        put("clusterDomain", self.cluster_domain.clone().map(Value::from));
        put("identityTrustDomain", self.identity_trust_domain.clone().map(Value::from));
        put("identity/externalCA", self.identity_external_ca.then_some(true.into()));
        put("identity/issuer/scheme", self.identity_external_issuer.then(|| "kubernetes.io/tls".into()));
        put("controllerReplicas", self.controller_replicas.map(Value::from));
        put("controllerLogLevel", self.controller_log_level.clone().map(Value::from));
        put("controllerUID", self.controller_uid.map(Value::from));
        put("controllerGID", self.controller_gid.map(Value::from));
        for (image, path) in [
            ("controller", "controllerImage"),
            ("proxy", "proxy/image/name"),
            ("init", "proxyInit/image/name"),
        ] {
            put(path, self.registry.as_ref().map(|r| format!("{}/{image}", r.trim_end_matches('/')).into()));
        }
        put("cniEnabled", self.linkerd_cni_enabled.then_some(true.into()));
        put("enableH2Upgrade", self.disable_h2_upgrade.then_some(false.into()));
        for (flag, path, text) in [
            (
                "--identity-issuance-lifetime",
                "identity/issuer/issuanceLifetime",
                &self.identity_issuance_lifetime,
            ),
            (
                "--identity-clock-skew-allowance",
                "identity/issuer/clockSkewAllowance",
                &self.identity_clock_skew_allowance,
            ),
        ] {
            if let Some(text) = text {
                durations(text).ok_or_else(|| {
                    Problem::usage(
                        format!("{flag} is refused"),
                        format!("{text:?} is not a duration"),
                        "write for example 24h or 20s",
                    )
                })?;
            }
            put(path, text.clone().map(Value::from));
        }
        let file = |path: &Option<PathBuf>| path.as_ref().map(|p| pem(p)).transpose();
        put("identityTrustAnchorsPEM", file(&self.identity_trust_anchors_file)?.map(Value::from));
        put("identity/issuer/tls/crtPEM", file(&self.identity_issuer_certificate_file)?.map(Value::from));
        put("identity/issuer/tls/keyPEM", file(&self.identity_issuer_key_file)?.map(Value::from));
        Ok(())
    }
}

/// Makes what certificates are missing, or checks that the given ones belong together.
fn identity(namespace: &str, values: &mut Value) -> anyhow::Result<()> {
    let text = |values: &Value, pointer: &str| {
        values.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let issuer_kept_elsewhere = text(values, "/identity/issuer/scheme") == "kubernetes.io/tls";
    let anchors = text(values, "/identityTrustAnchorsPEM");
    let (cert, key) =
        (text(values, "/identity/issuer/tls/crtPEM"), text(values, "/identity/issuer/tls/keyPEM"));
    let external_ca = values.pointer("/identity/externalCA") == Some(&Value::Bool(true));
    let missing = |what: &str, flag: &str| {
        Err(Problem::usage(
            "the certificates are incomplete",
            format!("{what} is missing"),
            format!("add {flag}, or give none of them to have some made for development"),
        )
        .into())
    };
    if issuer_kept_elsewhere {
        return match anchors.is_empty() && !external_ca {
            true => missing("the trust anchor of the external issuer", "--identity-trust-anchors-file"),
            false => Ok(()),
        };
    }
    match (anchors.is_empty(), cert.is_empty() || key.is_empty()) {
        (true, true) if external_ca => missing("the issuer", "--identity-issuer-certificate-file"),
        (true, true) => generate(namespace, values),
        (true, false) if external_ca => Ok(()),
        (true, false) => missing("the issuer's trust anchor", "--identity-trust-anchors-file"),
        (false, true) => {
            missing("the issuer", "--identity-issuer-certificate-file and --identity-issuer-key-file")
        }
        (false, false) => verify(values),
    }
}

/// Checks that issuer and trust anchors belong together, where both are among the values.
pub(crate) fn verify(values: &Value) -> anyhow::Result<()> {
    let text = |pointer: &str| values.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let anchors = text("/identityTrustAnchorsPEM");
    let (cert, key) = (text("/identity/issuer/tls/crtPEM"), text("/identity/issuer/tls/keyPEM"));
    if anchors.is_empty() || cert.is_empty() {
        return Ok(());
    }
    let fix = "give files that belong together, as made by:  meshctl trust init --out trust --issuer east";
    let problem = |what: &str, error: &mesh_tls::Error| Problem::new(what, error.to_string(), fix);
    let bundle =
        TrustBundle::from_pem(anchors).map_err(|e| problem("the trust anchors cannot be used", &e))?;
    let issuer = Authority::from_pem(cert, key).map_err(|e| problem("the issuer cannot be used", &e))?;
    if issuer.not_after() <= SystemTime::now() {
        let why = format!("the validity of {} is over", issuer.info().subject);
        return Err(Problem::new("the issuer cannot be used", why, fix).into());
    }
    issuer.verify(&bundle).map_err(|e| problem("the issuer does not belong to the trust anchors", &e))?;
    Ok(())
}

/// A certificate's or key's file. An empty one must not pass for one that was not given.
fn pem(path: &Path) -> anyhow::Result<String> {
    let text = read(path)?;
    if text.trim().is_empty() {
        let name = path.display();
        let fix = format!("look at it:  ls -l {name}   (meshctl trust init --help makes such files)");
        return Err(Problem::usage(format!("{name} holds no PEM"), "the file is empty", fix).into());
    }
    Ok(text)
}

fn generate(namespace: &str, values: &mut Value) -> anyhow::Result<()> {
    let given = ["identityTrustDomain", "clusterDomain"].iter().filter_map(|key| values[*key].as_str());
    let domain = given.into_iter().find(|d| !d.is_empty()).unwrap_or(mesh_types::CLUSTER_DOMAIN).to_owned();
    let root = Authority::new_root(&format!("root.{namespace}.{domain}"), DEVELOPMENT_LIFETIME)?;
    let issuer = root.issue_authority(&authority_name(namespace, &domain), DEVELOPMENT_LIFETIME)?;
    merge(
        values,
        &json!({
            "identityTrustAnchorsPEM": root.cert_pem(),
            "identity": {"issuer": {"tls": {"crtPEM": issuer.cert_pem(), "keyPEM": issuer.key_pem()}}},
        }),
    );
    eprintln!(
        "‼ a trust anchor and an issuer were made for development, valid for 365 days; the anchor's key is gone\n    \
         clusters that will be linked need a common anchor:  meshctl trust init --help"
    );
    Ok(())
}

#[cfg(test)]
mod tests;
