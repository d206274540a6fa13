//! `meshctl trust init`: the certificates that clusters share.

use crate::globals::Globals;
use crate::report::Problem;
use anyhow::Context;
use mesh_tls::Authority;
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Subcommands of `meshctl trust`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a trust anchor for several clusters, and an issuer for each.
    ///
    /// Writes ca.crt and ca.key, and NAME-issuer.crt and NAME-issuer.key for each issuer. Where ca.crt and ca.key
    /// exist, new issuers are made below them: this is how a cluster joins later. Keep ca.key offline.
    #[command(after_help = "Example:\n  meshctl trust init --out pki --issuer east --issuer west\n  \
        meshctl install --identity-trust-anchors-file pki/ca.crt \\\n    \
        --identity-issuer-certificate-file pki/east-issuer.crt --identity-issuer-key-file pki/east-issuer.key \\\n    \
        | kubectl --context east apply -f -")]
    Init(InitArgs),
}

/// Arguments of `meshctl trust init`.
#[derive(Debug, clap::Args)]
pub(crate) struct InitArgs {
    /// Folder for the files; it is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Name of an issuer, usually a cluster's; may be repeated.
    #[arg(long = "issuer", required = true, value_name = "NAME")]
    issuers: Vec<String>,
    /// Trust domain the certificates are named after.
    #[arg(long, default_value = mesh_types::CLUSTER_DOMAIN, value_name = "DOMAIN")]
    trust_domain: String,
    /// Validity of the trust anchor.
    #[arg(long, default_value = "3650d", value_parser = mesh_types::parse_duration, value_name = "DURATION")]
    anchor_lifetime: Duration,
    /// Validity of the issuers.
    #[arg(long, default_value = "365d", value_parser = mesh_types::parse_duration, value_name = "DURATION")]
    issuer_lifetime: Duration,
}

/// Runs a subcommand.
pub(crate) fn run(command: Command, globals: &Globals) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(args) => init(&args, globals),
    }
}

fn init(args: &InitArgs, globals: &Globals) -> anyhow::Result<ExitCode> {
    let ns = &globals.linkerd_namespace;
    for name in &args.issuers {
        mesh_types::validate_dns_label(name).map_err(|e| {
            Problem::usage(format!("--issuer {name} is refused"), e.to_string(), "choose a name such as east")
        })?;
        for path in [issuer_file(args, name, "crt"), issuer_file(args, name, "key")] {
            if path.exists() {
                let fix = "delete it to make a new one; proxies of that cluster keep working meanwhile";
                return Err(Problem::new(format!("issuer {name} is not made"), exists(&path), fix).into());
            }
        }
    }
    fs::create_dir_all(&args.out).map_err(|error| {
        let what = format!("cannot make the folder {}", args.out.display());
        Problem::usage(what, error.to_string(), "name another with --out, such as:  --out trust")
    })?;
    let root = anchor(args, ns)?;
    for name in &args.issuers {
        let issuer = root.issue_authority(&authority_name(ns, &args.trust_domain), args.issuer_lifetime)?;
        write(&issuer_file(args, name, "crt"), &issuer.cert_pem(), 0o644)?;
        write(&issuer_file(args, name, "key"), &issuer.key_pem(), 0o600)?;
        eprintln!("√ issuer {name}, valid for {} days", args.issuer_lifetime.as_secs() / 86_400);
    }
    let dir = args.out.display();
    for name in &args.issuers {
        eprintln!(
            "\n  install {name}:\n    meshctl install --identity-trust-anchors-file {dir}/ca.crt \\\n      \
             --identity-issuer-certificate-file {dir}/{name}-issuer.crt \\\n      \
             --identity-issuer-key-file {dir}/{name}-issuer.key | kubectl --context {name} apply -f -"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn exists(path: &Path) -> String {
    format!("{} exists", path.display())
}

fn issuer_file(args: &InitArgs, name: &str, kind: &str) -> PathBuf {
    args.out.join(format!("{name}-issuer.{kind}"))
}

/// The name Linkerd gives issuers.
pub(crate) fn authority_name(namespace: &str, trust_domain: &str) -> String {
    format!("identity.{namespace}.{trust_domain}")
}

/// The trust anchor in the folder, made if there is none.
fn anchor(args: &InitArgs, namespace: &str) -> anyhow::Result<Authority> {
    let (cert, key) = (args.out.join("ca.crt"), args.out.join("ca.key"));
    match (cert.exists(), key.exists()) {
        (true, true) => {
            let root = Authority::from_pem(&crate::values::read(&cert)?, &crate::values::read(&key)?)
                .map_err(|error| {
                    let what = format!("{} and {} cannot be used", cert.display(), key.display());
                    let fix = "put the trust anchor's certificate and key there, or choose another --out";
                    Problem::new(what, error.to_string(), fix)
                })?;
            eprintln!("√ trust anchor {} is kept", cert.display());
            Ok(root)
        }
        (false, false) => {
            let name = format!("root.{namespace}.{}", args.trust_domain);
            let root = Authority::new_root(&name, args.anchor_lifetime)?;
            write(&cert, &root.cert_pem(), 0o644)?;
            write(&key, &root.key_pem(), 0o600)?;
            eprintln!("√ trust anchor {} (keep {} offline)", cert.display(), key.display());
            Ok(root)
        }
        (true, false) => Err(half(&cert, &key)),
        (false, true) => Err(half(&key, &cert)),
    }
}

fn half(there: &Path, missing: &Path) -> anyhow::Error {
    let why = format!("{}, {} does not", exists(there), missing.display());
    Problem::new(
        "no issuer can be made",
        why,
        "put both files of the trust anchor there, or choose another --out",
    )
    .into()
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests;
