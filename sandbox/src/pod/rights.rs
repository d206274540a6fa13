//! User, groups and capabilities from the security contexts of a pod and a container.

use serde_json::Value;

use super::image::Image;
use crate::container::spec::Rights;
use crate::controllers::object;

/// All capabilities in the order of their numbers.
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
/// What container runtimes give to a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
/// The user of our images that is not root, as in other images without a distribution.
const NOT_ROOT: u32 = 65532;
const EVERYTHING: u64 = (1 << CAPABILITIES.len()) - 1;

/// The rights of a container.
///
/// # Errors
/// A sentence naming the field.
pub(crate) fn rights(pod: &Value, container: &Value, image: &Image) -> Result<Rights, String> {
    let setting = |name: &str| {
        let own = container.pointer(&format!("/securityContext/{name}"));
        own.or_else(|| pod.pointer(&format!("/spec/securityContext/{name}"))).filter(|value| !value.is_null())
    };
    let id = |name: &str| setting(name).and_then(Value::as_i64).and_then(|id| u32::try_from(id).ok());
    let must_not_be_root = setting("runAsNonRoot").and_then(Value::as_bool).unwrap_or_default();
    let image_user = if must_not_be_root && image.is_ours { NOT_ROOT } else { 0 };
    let uid = id("runAsUser").unwrap_or(image_user);
    if must_not_be_root && uid == 0 {
        return Err("container has runAsNonRoot and image will run as root".to_owned());
    }
    let default_group = if uid == NOT_ROOT { NOT_ROOT } else { 0 };
    let gid = id("runAsGroup").unwrap_or(default_group);
    let supplementary = object::items(pod, "/spec/securityContext/supplementalGroups").iter();
    let mut groups: Vec<u32> =
        supplementary.filter_map(Value::as_u64).filter_map(|id| u32::try_from(id).ok()).collect();
    groups.extend(fs_group(pod));
    groups.push(gid);
    groups.sort_unstable();
    groups.dedup();
    let (capabilities, added) = capabilities(container)?;
    let escalation = container.pointer("/securityContext/allowPrivilegeEscalation").and_then(Value::as_bool);
    Ok(Rights {
        uid,
        gid,
        groups,
        capabilities,
        // A real image would carry file capabilities for these; the host's binaries cannot.
        ambient: if uid == 0 { 0 } else { added },
        no_new_privileges: escalation == Some(false) && !is_privileged(container),
    })
}

/// The group that owns a pod's volumes.
pub(crate) fn fs_group(pod: &Value) -> Option<u32> {
    object::int(pod, "/spec/securityContext/fsGroup").and_then(|id| u32::try_from(id).ok())
}

/// May the container do all that root may?
pub(crate) fn is_privileged(container: &Value) -> bool {
    object::flag(container, "/securityContext/privileged")
}

/// The bounding set, and what was added to the default.
fn capabilities(container: &Value) -> Result<(u64, u64), String> {
    if is_privileged(container) {
        return Ok((EVERYTHING, 0));
    }
    let listed = |which: &str| {
        let pointer = format!("/securityContext/capabilities/{which}");
        object::items(container, &pointer).iter().try_fold(0, |mask, name| {
            let name = name.as_str().unwrap_or_default();
            let known = bit(name).ok_or_else(|| {
                format!("securityContext.capabilities.{which}: unknown capability {name:?}")
            })?;
            Ok::<u64, String>(mask | known)
        })
    };
    let (added, dropped) = (listed("add")?, listed("drop")?);
    let default = DEFAULT.iter().filter_map(|name| bit(name)).fold(0, |mask, bit| mask | bit);
    Ok(((default & !dropped) | added, added))
}

fn bit(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_").unwrap_or(name);
    if name == "ALL" {
        return Some(EVERYTHING);
    }
    CAPABILITIES.iter().position(|known| *known == name).map(|number| 1 << number)
}

#[cfg(test)]
mod tests;
