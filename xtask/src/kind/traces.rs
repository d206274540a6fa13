//! What clusters change on the machine itself, written down before they do and put back after they are gone: settings of
//! the kernel (kubelets and the engine change some for everybody), the engine's packet rules, folders it makes.

use super::places;
use super::step::output;
use crate::machine;
use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

/// Kernel settings that an engine or a kubelet changes for the whole machine.
const SETTINGS: &[&str] = &[
    "fs/file-max",
    "fs/nr_open",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/forwarding",
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv6/conf/all/forwarding",
    "net/ipv6/conf/default/forwarding",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_be_liberal",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
];

/// Folders and files that an engine makes outside its own, the inner before the outer; they are removed again if they were
/// not there, folders only if they are empty.
const LEFT: &[&str] = &[
    "/lib/modules",
    "/etc/docker/key.json",
    "/etc/docker",
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/opt/containerd",
    "/run/docker/plugins",
    "/run/docker",
    "/run/containerd/s",
    "/run/containerd",
];

/// Writes down how the machine is now.
pub(crate) fn record(file: &Path) -> Result<()> {
    let mut settings = Map::new();
    for name in SETTINGS {
        if let Ok(value) = std::fs::read_to_string(Path::new("/proc/sys").join(name)) {
            settings.insert((*name).to_owned(), json!(value.trim()));
        }
    }
    let absent: Vec<_> = LEFT.iter().filter(|f| !Path::new(f).exists()).collect();
    let tables = packet_tables()?;
    let policies: Vec<String> =
        rules("iptables")?.lines().filter(|l| l.starts_with("-P")).map(str::to_owned).collect();
    let record = json!({"settings": settings, "absent": absent, "tables": tables, "policies": policies});
    std::fs::write(file, record.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

/// Puts the machine back as it was written down.
pub(crate) fn restore(file: &Path) -> Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let record: Value = serde_json::from_str(&text).with_context(|| format!("{}", file.display()))?;
    remove_engine_rules()?;
    for policy in strings(&record["policies"]) {
        output(Command::new("iptables").arg("-w").args(policy.split_whitespace()))?;
    }
    let before = strings(&record["tables"]);
    for table in packet_tables()?.into_iter().filter(|t| !before.contains(t)) {
        if table_is_empty(&table)? {
            output(Command::new("nft").args(["delete", "table"]).args(table.split_whitespace()))?;
        }
    }
    for (name, value) in record["settings"].as_object().into_iter().flatten() {
        let path = Path::new("/proc/sys").join(name);
        let now = std::fs::read_to_string(&path).unwrap_or_default();
        if let Some(value) = value.as_str()
            && now.trim() != value
        {
            std::fs::write(&path, value).with_context(|| format!("cannot set {name} back to {value}"))?;
        }
    }
    for left in strings(&record["absent"]) {
        // A folder only when it is empty: what else came to lie in it is somebody's.
        let path = Path::new(&left);
        let _ = if path.is_dir() { std::fs::remove_dir(path) } else { std::fs::remove_file(path) };
    }
    Ok(())
}

/// Lets go on what is frozen in the control groups of an engine whose parent group has this name. A node that is killed while
/// its runtime ends a container leaves that one frozen, which nothing can kill where control groups are of version 1.
pub(crate) fn thaw_control_groups(name: &str) -> Result<()> {
    thaw(&Path::new("/sys/fs/cgroup/freezer").join(name))
}

fn thaw(group: &Path) -> Result<()> {
    for entry in std::fs::read_dir(group).into_iter().flatten() {
        let path = entry?.path();
        if path.is_dir() {
            thaw(&path)?;
        }
    }
    let state = group.join("freezer.state");
    if std::fs::read_to_string(&state).is_ok_and(|now| now.trim() != "THAWED")
        && let Err(error) = std::fs::write(&state, "THAWED")
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error).with_context(|| format!("cannot thaw {}", group.display()));
    }
    Ok(())
}

/// Removes the control groups of an engine whose parent group has this name, from the innermost out.
pub(crate) fn remove_control_groups(name: &str) -> Result<()> {
    let root = Path::new("/sys/fs/cgroup");
    let mut parents = vec![root.join(name)];
    for entry in std::fs::read_dir(root).into_iter().flatten() {
        parents.push(entry?.path().join(name));
    }
    for parent in parents.iter().filter(|p| p.is_dir()) {
        remove_group(parent)
            .with_context(|| format!("cannot remove the control group {}", parent.display()))?;
    }
    Ok(())
}

fn remove_group(group: &Path) -> Result<()> {
    for entry in std::fs::read_dir(group)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_group(&path)?;
        }
    }
    Ok(std::fs::remove_dir(group)?)
}

/// Removes the rules and chains that Docker leaves when it stops. Its rules name its chains or bridges of its networks.
fn remove_engine_rules() -> Result<()> {
    for tool in ["iptables", "ip6tables"] {
        for table in ["filter", "nat"] {
            let listed = table_rules(tool, table)?;
            for rule in listed.lines().filter(|l| is_engine_rule(l)) {
                let words = rule.split_whitespace().skip(1);
                output(Command::new(tool).args(["-w", "-t", table, "-D"]).args(words))?;
            }
            for chain in listed.lines().filter_map(|l| l.strip_prefix("-N DOCKER")) {
                let chain = format!("DOCKER{chain}");
                output(Command::new(tool).args(["-w", "-t", table, "-F", &chain]))?;
                output(Command::new(tool).args(["-w", "-t", table, "-X", &chain]))?;
            }
        }
    }
    Ok(())
}

fn is_engine_rule(rule: &str) -> bool {
    let of_docker = rule.contains("DOCKER");
    let of_bridge = rule.split_whitespace().any(|word| word.starts_with("br-") || word == "docker0");
    rule.starts_with("-A ") && (of_docker || of_bridge)
}

fn rules(tool: &str) -> Result<String> {
    table_rules(tool, "filter")
}

fn table_rules(tool: &str, table: &str) -> Result<String> {
    if machine::find(tool).is_none() {
        return Ok(String::new());
    }
    output(Command::new(tool).args(["-w", "-t", table, "-S"]))
}

/// The packet filter's tables, as `family name`.
fn packet_tables() -> Result<Vec<String>> {
    let listed = output(Command::new("nft").args(["list", "tables"]))?;
    Ok(listed.lines().filter_map(|l| l.trim().strip_prefix("table ")).map(str::to_owned).collect())
}

/// Whether a table has no rule, only chains without any.
fn table_is_empty(table: &str) -> Result<bool> {
    let listed = output(Command::new("nft").args(["list", "table"]).args(table.split_whitespace()))?;
    let is_rule = |l: &&str| {
        !(l.is_empty() || l.ends_with('{') || *l == "}" || l.starts_with("type ") || l.starts_with('#'))
    };
    Ok(!listed.lines().map(str::trim).any(|l| is_rule(&l)))
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Removes the folder of the clusters' state.
pub(crate) fn remove_state() -> Result<()> {
    places::remove(Path::new(places::STATE))
}

#[cfg(test)]
mod tests {
    use super::{is_engine_rule, thaw};

    #[test]
    fn what_is_frozen_is_thawed_however_deep_it_lies() {
        let root = tempfile::tempdir().unwrap();
        let inner = root.path().join("node/pod");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(root.path().join("freezer.state"), "THAWED\n").unwrap();
        std::fs::write(inner.join("freezer.state"), "FROZEN\n").unwrap();
        thaw(root.path()).unwrap();
        assert_eq!(std::fs::read_to_string(inner.join("freezer.state")).unwrap(), "THAWED");
        thaw(&root.path().join("none")).unwrap();
    }

    #[test]
    fn rules_of_others_are_left_alone() {
        assert!(is_engine_rule("-A FORWARD -j DOCKER-USER"));
        assert!(is_engine_rule("-A POSTROUTING -s 172.18.0.0/16 ! -o br-0a1b -j MASQUERADE"));
        assert!(!is_engine_rule("-A FORWARD -i wg0 -j ACCEPT"));
        assert!(!is_engine_rule("-A INPUT -s 10.0.0.0/8 -j DROP"));
        assert!(!is_engine_rule("-N DOCKER"));
    }
}
