//! The plan of a link: what will be written on which side, the writing, and the wait until it works.

use super::exporter::Exporter;
use super::importer::Importer;
use super::{LinkArgs, objects};
use crate::globals::Globals;
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::Service;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{Api, ResourceExt as _};
use mesh_kube::link::Link;
use mesh_types::{ClusterName, federated_name, labels, mirror_name};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The field manager of what `meshctl` writes.
const FIELD_MANAGER: &str = "meshctl";

/// The account one importing cluster gets in the exporting one.
pub(crate) fn account_name(importing: &str) -> String {
    format!("linkerd-service-mirror-remote-access-{importing}")
}

/// Everything one direction writes.
pub(crate) struct Plan<'a> {
    link: &'a LinkArgs,
    exporter: &'a Exporter,
    importer: &'a Importer,
    account: &'a str,
    control_plane: &'a str,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        link: &'a LinkArgs,
        exporter: &'a Exporter,
        importer: &'a Importer,
        account: &'a str,
        globals: &'a Globals,
    ) -> Self {
        Self { link, exporter, importer, account, control_plane: &globals.linkerd_namespace }
    }

    pub(crate) fn header(&self, exporting: &str, importing: &str) -> String {
        format!("Plan: cluster {importing:?} will import exported services of {exporting:?}\n\n")
    }

    pub(crate) async fn render(&self, exporting: &str, importing: &str) -> String {
        let (namespace, cluster) = (&self.link.namespace, &self.exporter.cluster);
        let secret = format!("cluster-credentials-{cluster}");
        let here = format!("will create in {importing}");
        let there = format!("will create in {exporting}");
        let exported = exported(&self.exporter.client, self.link, &self.exporter.cluster).await;
        let exported = match exported.len() {
            0 => "nothing yet; label a Service mirror.linkerd.io/exported=true to export it".to_owned(),
            _ => exported.join(&format!("\n  {:<24}", "")),
        };
        format!(
            "\n  {here:<24}Secret {namespace}/{secret} · Secret {}/{secret} · Link {namespace}/{cluster}\n  \
             {there:<24}ServiceAccount {namespace}/{}, a token of it, and a ClusterRole that may read services and \
             endpoint slices, nothing else\n  {:<24}{exported}\n",
            self.control_plane, self.account, "exported now",
        )
    }

    /// Writes the exporting side first, so that the importing one finds what it asks for.
    pub(crate) async fn apply(&self) -> anyhow::Result<()> {
        for object in objects::for_exporter(&self.link.namespace, self.account) {
            write(&self.exporter.client, &object).await?;
        }
        let token = self.exporter.token(&self.link.namespace, self.account).await?;
        let objects = objects::for_importer(self.link, self.exporter, &token, self.control_plane)?;
        for object in objects {
            write(&self.importer.client, &object).await?;
        }
        Ok(())
    }
}

async fn write(client: &Client, object: &Value) -> anyhow::Result<()> {
    mesh_kube::apply(client, FIELD_MANAGER, object).await.map_err(|error| {
        let meta = &object["metadata"];
        let name = format!(
            "{} {}",
            object["kind"].as_str().unwrap_or_default(),
            meta["name"].as_str().unwrap_or_default()
        );
        crate::report::Problem::new(
            format!("{name} not written"),
            error.to_string(),
            "run the same command again once that is mended",
        )
    })?;
    Ok(())
}

/// Exported services with the names they will have.
async fn exported(client: &Client, link: &LinkArgs, cluster: &ClusterName) -> Vec<String> {
    let services: Api<Service> = Api::all(client.clone());
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (selector, federated) in [(&link.selector, false), (&link.federated_service_selector, true)] {
        let listed =
            services.list(&ListParams::default().labels(selector)).await.map(|l| l.items).unwrap_or_default();
        for service in listed.iter().filter(|s| !s.labels().contains_key(labels::MIRRORED_SERVICE)) {
            let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
            let (there, _) = if federated { federated_name(&name) } else { mirror_name(&name, cluster) };
            shown.entry(format!("{namespace}/{name}")).or_default().push(there);
        }
    }
    shown.into_iter().map(|(service, names)| format!("{service} → {}", names.join(", "))).collect()
}

/// Waits until the Link says that credentials, trust, reach and sync are good; says what is missing otherwise.
pub(crate) async fn wait_until_working(
    importer: &Importer,
    link: &LinkArgs,
    cluster: &str,
    wait: Duration,
) -> anyhow::Result<bool> {
    if wait.is_zero() {
        return Ok(true);
    }
    let links: Api<Link> = Api::namespaced(importer.client.clone(), &link.namespace);
    let started = Instant::now();
    loop {
        let status = links.get(cluster).await?.status.unwrap_or_default();
        let missing = missing(&status.conditions);
        if missing.is_empty() {
            let gateway = status.gateway.unwrap_or_default();
            let rtt = gateway.nearest().and_then(|a| a.rtt_ms);
            let rtt = rtt.map_or(String::new(), |ms| format!(" (rtt {ms:.1} ms)"));
            eprintln!("√ linked: {cluster} is reachable, trusted and watched{rtt}");
            return Ok(true);
        }
        if started.elapsed() >= wait {
            eprintln!("× the link to {cluster} does not work after {wait:?}:");
            for line in missing {
                eprintln!("    {line}");
            }
            eprintln!("    watch it:  kubectl -n {} get link {cluster} -o yaml", link.namespace);
            return Ok(false);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn missing(conditions: &[mesh_kube::link::Condition]) -> Vec<String> {
    let wanted = ["Accepted", "CredentialsValid", "TrustEstablished", "Reachable", "Synced"];
    let lacks = wanted.iter().filter_map(|name| {
        let found = conditions.iter().find(|c| c.type_ == *name);
        match found {
            Some(condition) if condition.status == "True" => None,
            Some(condition) => Some(format!("{name}: {} ({})", condition.message, condition.reason)),
            None => Some(format!("{name}: nothing said yet; is the service mirror running?")),
        }
    });
    lacks.collect()
}
