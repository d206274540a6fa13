//! Which clusters are meant, and what kind is told about each.

use super::places;
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;

/// A cluster to bring up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name, also that of its context.
    pub(crate) name: String,
    /// The name of its file in `kind-configs`.
    pub(crate) config: String,
}

/// The clusters meant by `--clusters NAME[=CONFIG],…` and `--config CONFIG`.
///
/// # Errors
/// When a name is no label, is said twice, or a configuration is not there.
pub(crate) fn wanted(clusters: &[String], config: Option<&str>) -> Result<Vec<Wanted>> {
    let named: Vec<String> = match (clusters, config) {
        ([], None) => vec!["east".into(), "west".into()],
        // A cluster of several nodes beside one of a single node: two such would be much for a small machine.
        ([], Some("ha")) => vec!["east=ha".into(), "west".into()],
        ([], Some(config)) => vec![format!("east={config}"), format!("west={config}")],
        (clusters, None) => clusters.to_vec(),
        (clusters, Some(config)) => clusters
            .iter()
            .map(|c| if c.contains('=') { c.clone() } else { format!("{c}={config}") })
            .collect(),
    };
    let mut wanted: Vec<Wanted> = Vec::new();
    for cluster in &named {
        let (name, config) = cluster.split_once('=').unwrap_or((cluster, cluster));
        let is_label = !name.is_empty()
            && name.len() <= 30
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !is_label {
            bail!("--clusters: {name:?} is no name for a cluster: use lower-case letters, digits and -");
        }
        if wanted.iter().any(|w| w.name == name) {
            bail!("--clusters: {name} is named twice");
        }
        if !path(config).is_file() {
            bail!("there is no kind-configs/{config}.yaml; there are: {}", available()?.join(", "));
        }
        wanted.push(Wanted { name: name.to_owned(), config: config.to_owned() });
    }
    Ok(wanted)
}

fn path(config: &str) -> PathBuf {
    places::configs().join(format!("{config}.yaml"))
}

fn available() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(places::configs()).context("cannot read kind-configs")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".yaml").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

impl Wanted {
    /// What kind is told: the file as it is for images of kind's own; for ours what they lack and what suits them is said
    /// beside it.
    pub(crate) fn rendered(&self, own_image: bool) -> Result<String> {
        let file = path(&self.config);
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        if own_image { for_own_image(&text) } else { Ok(text) }
    }
}

/// Our image has a network plugin already. And these clusters are not meant to outlive the machine, so that etcd need not wait
/// for its disk.
const OF_CONTROL_PLANES: &str = r#"
kubeadmConfigPatches:
  - |
    kind: ClusterConfiguration
    etcd:
      local:
        extraArgs:
          unsafe-no-fsync: "true"
"#;

fn for_own_image(text: &str) -> Result<String> {
    let section = "\nnetworking:\n";
    if !text.contains(section) {
        bail!("a kind configuration names its subnets under `networking:`");
    }
    let text = text.replacen(section, &format!("{section}  disableDefaultCNI: true\n"), 1);
    Ok(text + OF_CONTROL_PLANES)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, for_own_image, wanted};

    fn names(clusters: &[&str], config: Option<&str>) -> Vec<(String, String)> {
        let clusters: Vec<String> = clusters.iter().map(|&c| c.to_owned()).collect();
        wanted(&clusters, config).unwrap().into_iter().map(|Wanted { name, config }| (name, config)).collect()
    }

    fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn clusters_are_named_with_or_without_a_configuration() {
        assert_eq!(names(&[], None), pairs(&[("east", "east"), ("west", "west")]));
        assert_eq!(names(&[], Some("same-cidr")), pairs(&[("east", "same-cidr"), ("west", "same-cidr")]));
        assert_eq!(names(&[], Some("ha")), pairs(&[("east", "ha"), ("west", "west")]));
        assert_eq!(names(&["north=ha", "west"], None), pairs(&[("north", "ha"), ("west", "west")]));
    }

    #[test]
    fn wrong_names_are_refused_with_what_would_be_right() {
        let refused = |c: &str| format!("{:#}", wanted(&[c.to_owned()], None).unwrap_err());
        assert!(refused("East").contains("lower-case"), "{}", refused("East"));
        assert!(refused("north").contains("there are: east, ha, same-cidr, west"), "{}", refused("north"));
    }

    #[test]
    fn every_configuration_can_do_without_a_network_plugin() {
        for name in super::available().unwrap() {
            let wanted = Wanted { name: name.clone(), config: name };
            let rendered = wanted.rendered(true).unwrap();
            for ours in ["disableDefaultCNI: true", "kubeadmConfigPatches:"] {
                assert_eq!(rendered.matches(ours).count(), 1);
                assert!(!wanted.rendered(false).unwrap().contains(ours));
            }
        }
        assert!(for_own_image("kind: Cluster\n").is_err());
    }
}
