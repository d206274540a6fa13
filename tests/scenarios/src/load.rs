//! Steady load from a pod of its own, and the count of what came back.

use crate::{Cluster, eventually};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const MANIFESTS: &str = include_str!("../../../demo/manifests/load.yaml");

/// The load generator of a namespace, beside the shop there.
pub struct Load<'a> {
    cluster: &'a Cluster,
    namespace: String,
}

impl<'a> Load<'a> {
    /// Deploys the generator, which asks `target` for `path` once a rate is set.
    ///
    /// # Errors
    /// kubectl's words.
    pub fn deploy(cluster: &'a Cluster, namespace: &str, target: &str, path: &str) -> Result<Self> {
        let manifests = MANIFESTS
            .replace("namespace: shop", &format!("namespace: {namespace}"))
            .replace("web:80", target)
            .replace("\"0\"]", &format!("\"0\", --path, {path}]"));
        cluster.apply(&manifests)?;
        cluster.rolled_out(namespace, "load")?;
        Ok(Self { cluster, namespace: namespace.to_owned() })
    }

    fn get(&self, path: &str) -> Result<Value> {
        let called = self.cluster.call(&self.namespace, "load", &[&format!("localhost:8080{path}")])?;
        ensure!(called.ok(), "{}", called.0);
        Ok(serde_json::from_str(called.body())?)
    }

    /// From now on so many requests a second; none for 0.
    ///
    /// # Errors
    /// When the generator cannot be asked.
    pub fn rate(&self, per_second: u64) -> Result<()> {
        self.get(&format!("/rate?rps={per_second}")).map(drop)
    }

    /// The generator's clock, in milliseconds.
    ///
    /// # Errors
    /// When the generator cannot be asked.
    pub fn now(&self) -> Result<u64> {
        self.get("/now")?.as_u64().context("a number")
    }

    /// What came back of the requests since then.
    ///
    /// # Errors
    /// When the generator cannot be asked.
    pub fn stats(&self, since: u64) -> Result<Value> {
        self.get(&format!("/stats?since={since}"))
    }

    /// Waits for a second of load without a failure whose summary is as wished; answers with the clock after it.
    #[track_caller]
    pub fn settles(&self, what: &str, wished: impl Fn(&Value) -> bool) -> u64 {
        eventually(what, || {
            let since = self.now()?;
            std::thread::sleep(std::time::Duration::from_secs(1));
            let stats = self.stats(since)?;
            let some = stats["total"].as_u64().is_some_and(|total| total > 0);
            ensure!(some && stats["failed"] == 0 && wished(&stats), "{stats}");
            self.now()
        })
    }
}

/// Answers of a cluster in a summary.
pub fn answers(stats: &Value, cluster: &str) -> u64 {
    stats["clusters"][cluster]["count"].as_u64().unwrap_or(0)
}
