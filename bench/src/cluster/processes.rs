//! The processes of containers. Nodes are containers of this machine, so their processes are too.

use crate::footprint::status;
use anyhow::{Context as _, Result};
use mesh_scenarios::Fleet;
use serde_json::Value;
use std::collections::BTreeMap;

/// What the first process of a container has needed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    /// Resident memory.
    pub(crate) megabytes: f64,
    /// Processor time since it began, in user and kernel mode.
    pub(crate) seconds: f64,
}

/// Ticks of the clock in which `/proc` tells processor time; Linux tells it in hundredths of a second everywhere.
const TICKS: f64 = 100.0;

/// Every running container of the namespaces in `east`, by the name of its workload and its own.
pub(crate) fn read(fleet: &Fleet, namespaces: &[&str]) -> Result<BTreeMap<String, Usage>> {
    let mut all = BTreeMap::new();
    for namespace in namespaces {
        let pods = fleet.east.get(&["-n", namespace, "pods"])?;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = pod["metadata"]["name"].as_str().context("a pod has a name")?;
            for container in running(pod) {
                let process = fleet.kind().process_of("east", namespace, name, Some(container))?;
                all.insert(format!("{}/{container}", workload(name)), usage(process)?);
            }
        }
    }
    Ok(all)
}

fn running(pod: &Value) -> Vec<&str> {
    ["initContainerStatuses", "containerStatuses"]
        .iter()
        .flat_map(|kind| pod["status"][*kind].as_array().into_iter().flatten())
        .filter(|status| status["state"]["running"].is_object())
        .filter_map(|status| status["name"].as_str())
        .collect()
}

/// The name of a Deployment, from that of a pod of it.
fn workload(pod: &str) -> &str {
    pod.rsplitn(3, '-').last().unwrap_or(pod)
}

fn usage(process: u32) -> Result<Usage> {
    let kilobytes = status(process, "VmRSS:").context("a container's process has ended")?;
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).context(path)?;
    // Behind the name, which may hold spaces: state, …, with user and system time the 12th and 13th from there.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).context("processor time");
    Ok(Usage { megabytes: kilobytes as f64 / 1000.0, seconds: (ticks(11)? + ticks(12)?) / TICKS })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_named_by_its_deployment() {
        assert_eq!(workload("linkerd-destination-7d5f6c9b4-x2x9k"), "linkerd-destination");
    }

    #[test]
    fn a_process_has_memory_and_time() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.megabytes > 0.1, "{usage:?}");
    }
}
