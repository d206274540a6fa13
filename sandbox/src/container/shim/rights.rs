//! Giving up rights in the one order that works: bounding set, groups and user, capabilities, ambient set.

use std::io;

use rustix::process::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::super::spec::Rights;

/// Takes on the user, groups and capabilities of a container.
pub(super) fn give_up(rights: &Rights) -> io::Result<()> {
    let wanted = CapabilitySet::from_bits_retain(rights.capabilities);
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // The kernel knows no capability beyond the first it refuses to look up.
        let Ok(held) = capability_is_in_bounding_set(capability) else { break };
        if held && !wanted.contains(capability) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    set_keep_capabilities(true)?;
    let groups: Vec<Gid> = rights.groups.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups)?;
    let (gid, uid) = (Gid::from_raw(rights.gid), Uid::from_raw(rights.uid));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    // What this process never had (a sandbox in a container) cannot be given.
    let permitted = wanted & capabilities(None)?.permitted;
    let ambient = permitted & CapabilitySet::from_bits_retain(rights.ambient);
    let kept = if rights.uid == 0 { permitted } else { ambient };
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: ambient })?;
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if ambient.contains(capability) {
            configure_capability_in_ambient_set(capability, true)?;
        }
    }
    if rights.no_new_privileges {
        set_no_new_privs(true)?;
    }
    Ok(())
}
