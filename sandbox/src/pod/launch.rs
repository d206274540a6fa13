//! From a container's spec to the orders for its shim.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde_json::Value;

use super::env;
use super::image::Image;
use super::rights;
use super::shared::Pod;
use crate::container::spec::{Bind, Launch, Place, Rights, Root};
use crate::controllers::object;

/// Where programs are looked for; the image's own first.
const PATH: &str = "/isthmus:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest host name.
const HOSTNAME_MAX: usize = 63;

/// The orders for a container.
///
/// # Errors
/// A sentence naming what is missing or wrong in its configuration.
pub(super) fn launch(pod: &Pod, object: &Value, container: &Value, image: &Image) -> Result<Launch, String> {
    let rights = rights::rights(object, container, image)?;
    let hostname = hostname(object);
    let base = base_environment(pod, &hostname, rights.uid);
    let env = env::environment(&pod.context.client, object, container, pod.addresses(), base)?;
    let root = Root {
        scratch: pod.context.runtime.scratch().to_owned(),
        files: files(pod, object, &hostname, &rights),
        hostname,
        binds: binds(pod, object, container, image, &env)?,
        read_only: object::flag(container, "/securityContext/readOnlyRootFilesystem"),
        privileged: rights::is_privileged(container),
    };
    let working_dir = match object::text(container, "/workingDir") {
        "" => "/",
        path => path,
    };
    Ok(Launch {
        place: Place::New(root),
        argv: argv(container, image, &env),
        working_dir: PathBuf::from(working_dir),
        env: env.into_iter().collect(),
        rights,
        terminal: false,
    })
}

/// The orders for a process beside a running container.
pub(crate) fn beside(container: &Launch, pid: i32, argv: Vec<String>, terminal: bool) -> Launch {
    Launch { place: Place::Inside(pid), argv, terminal, ..container.clone() }
}

/// `command`, or the image's binary, and `args`.
fn argv(container: &Value, image: &Image, env: &IndexMap<String, String>) -> Vec<String> {
    let expanded = |pointer| {
        let texts = object::items(container, pointer).iter();
        texts.map(|text| env::expand(text.as_str().unwrap_or_default(), env)).collect::<Vec<_>>()
    };
    let mut argv = expanded("/command");
    if argv.is_empty() {
        argv.push(image.entrypoint.display().to_string());
    }
    argv.extend(expanded("/args"));
    argv
}

fn base_environment(pod: &Pod, hostname: &str, uid: u32) -> Vec<(String, String)> {
    let api = pod.context.network.net().api_ip();
    let home = if uid == 0 { "/root" } else { "/" };
    [
        ("PATH", PATH.to_owned()),
        ("HOSTNAME", hostname.to_owned()),
        ("HOME", home.to_owned()),
        ("KUBERNETES_SERVICE_HOST", api.to_string()),
        ("KUBERNETES_SERVICE_PORT", "443".to_owned()),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "443".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

fn hostname(pod: &Value) -> String {
    let name = match object::text(pod, "/spec/hostname") {
        "" => object::name(pod),
        name => name,
    };
    let cut = &name[..name.len().min(HOSTNAME_MAX)];
    cut.trim_end_matches(['-', '.']).to_owned()
}

fn files(pod: &Pod, object: &Value, hostname: &str, rights: &Rights) -> BTreeMap<PathBuf, String> {
    let mut passwd =
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n".to_owned();
    if !matches!(rights.uid, 0 | 65534) {
        let _ = writeln!(passwd, "container:x:{}:{}:container:/:/usr/sbin/nologin", rights.uid, rights.gid);
    }
    let mut group = "root:x:0:\nnogroup:x:65534:\n".to_owned();
    if !matches!(rights.gid, 0 | 65534) {
        let _ = writeln!(group, "container:x:{}:", rights.gid);
    }
    [
        ("/etc/hosts", hosts(object, hostname, pod.addresses().pod, &pod.context.cluster_domain)),
        ("/etc/hostname", format!("{hostname}\n")),
        (
            "/etc/resolv.conf",
            resolv_conf(object, pod.context.network.net().dns_ip(), &pod.context.cluster_domain),
        ),
        ("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n".to_owned()),
        ("/etc/passwd", passwd),
        ("/etc/group", group),
    ]
    .map(|(path, text)| (PathBuf::from(path), text))
    .into()
}

fn hosts(pod: &Value, hostname: &str, ip: Ipv4Addr, domain: &str) -> String {
    let mut out = "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n\
                   ::1\tlocalhost ip6-localhost ip6-loopback\n"
        .to_owned();
    match object::text(pod, "/spec/subdomain") {
        "" => drop(writeln!(out, "{ip}\t{hostname}")),
        subdomain => {
            let namespace = object::namespace(pod);
            let _ = writeln!(out, "{ip}\t{hostname}.{subdomain}.{namespace}.svc.{domain}\t{hostname}");
        }
    }
    for alias in object::items(pod, "/spec/hostAliases") {
        let names: Vec<&str> = object::items(alias, "/hostnames").iter().filter_map(Value::as_str).collect();
        let _ = writeln!(out, "{}\t{}", object::text(alias, "/ip"), names.join("\t"));
    }
    out
}

fn resolv_conf(pod: &Value, dns: Ipv4Addr, domain: &str) -> String {
    let namespace = object::namespace(pod);
    let texts = |pointer| object::items(pod, pointer).iter().filter_map(Value::as_str).map(str::to_owned);
    let mut servers: Vec<String> = Vec::new();
    let mut searches: Vec<String> = Vec::new();
    let mut options: Vec<String> = Vec::new();
    match object::text(pod, "/spec/dnsPolicy") {
        "None" => {}
        "Default" => servers.push(dns.to_string()),
        _ => {
            servers.push(dns.to_string());
            searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.to_owned()];
            options.push("ndots:5".to_owned());
        }
    }
    servers.extend(texts("/spec/dnsConfig/nameservers"));
    searches.extend(texts("/spec/dnsConfig/searches"));
    for option in object::items(pod, "/spec/dnsConfig/options") {
        let name = object::text(option, "/name");
        options.retain(|known| known.split(':').next() != Some(name));
        options.push(match object::text(option, "/value") {
            "" => name.to_owned(),
            value => format!("{name}:{value}"),
        });
    }
    let mut out: String =
        servers.iter().fold(String::new(), |out, server| out + "nameserver " + server + "\n");
    for (key, values) in [("search", searches), ("options", options)] {
        if !values.is_empty() {
            let _ = writeln!(out, "{key} {}", values.join(" "));
        }
    }
    out
}

fn binds(
    pod: &Pod,
    object: &Value,
    container: &Value,
    image: &Image,
    env: &IndexMap<String, String>,
) -> Result<Vec<Bind>, String> {
    let mut out = Vec::new();
    if image.needs_mount() {
        out.push(Bind { source: image.binary.clone(), target: image.entrypoint.clone(), read_only: true });
    }
    let message = termination_log(pod, object::text(container, "/name"));
    make_termination_log(&pod.context.runtime.here(&message))
        .map_err(|error| format!("termination log: {error}"))?;
    let target = match object::text(container, "/terminationMessagePath") {
        "" => "/dev/termination-log",
        path => path,
    };
    out.push(Bind {
        source: pod.context.runtime.there(&message),
        target: PathBuf::from(target),
        read_only: false,
    });
    for mount in object::items(container, "/volumeMounts") {
        out.push(bind(pod, object, mount, env)?);
    }
    Ok(out)
}

fn bind(pod: &Pod, object: &Value, mount: &Value, env: &IndexMap<String, String>) -> Result<Bind, String> {
    let name = object::text(mount, "/name");
    let volume = object::items(object, "/spec/volumes")
        .iter()
        .find(|volume| object::text(volume, "/name") == name)
        .ok_or_else(|| format!("volumeMounts: there is no volume {name:?}"))?;
    let sub_path = match object::text(mount, "/subPathExpr") {
        "" => object::text(mount, "/subPath").to_owned(),
        expression => env::expand(expression, env),
    };
    if sub_path.starts_with('/') || sub_path.split('/').any(|part| part == "..") {
        return Err(format!("volumeMounts[{name}].subPath: {sub_path:?} leads out of the volume"));
    }
    let host = object::text(volume, "/hostPath/path");
    let source = if host.is_empty() {
        let relative = pod.volumes.lock().path(name).join(&sub_path);
        let here = pod.context.runtime.here(&relative);
        // A part of a volume that is not there yet is made as a directory.
        if !here.exists() && volume.get("emptyDir").is_some() {
            std::fs::create_dir_all(&here)
                .map_err(|error| format!("volumeMounts[{name}].subPath: {error}"))?;
        }
        pod.context.runtime.there(&relative)
    } else {
        Path::new(host).join(&sub_path)
    };
    let is_written_by_us =
        ["configMap", "secret", "projected", "downwardAPI"].iter().any(|source| volume.get(source).is_some());
    Ok(Bind {
        source,
        target: PathBuf::from(object::text(mount, "/mountPath")),
        read_only: is_written_by_us || object::flag(mount, "/readOnly"),
    })
}

/// Where a container leaves its last words, relative to the node's tmpfs.
pub(super) fn termination_log(pod: &Pod, container: &str) -> PathBuf {
    pod.volumes.lock().directory().join("termination").join(container)
}

fn make_termination_log(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    std::fs::write(path, "")?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
}

#[cfg(test)]
mod tests;
