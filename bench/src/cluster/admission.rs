//! How long the API server waits for the injector, by its own count.

use anyhow::{Context as _, Result};
use mesh_kube::Client;

/// The histogram of the API server, and the webhook in it.
const METRIC: &str = "apiserver_admission_webhook_admission_duration_seconds_bucket{";
const WEBHOOK: &str = "name=\"linkerd-proxy-injector.linkerd.io\"";

/// Calls until now, as the upper end of each bucket in seconds and the calls that took no longer.
pub(crate) struct Seen(Vec<(f64, u64)>);

impl Seen {
    /// What the API server counted.
    pub(crate) async fn by(client: &Client) -> Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await.context("the metrics of the API server")?;
        Ok(Self::read(&text))
    }

    fn read(text: &str) -> Self {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for line in text.lines().filter(|l| l.starts_with(METRIC) && l.contains(WEBHOOK)) {
            let end = line.split("le=\"").nth(1).and_then(|rest| rest.split('"').next());
            let end = end.map(|end| if end == "+Inf" { Ok(f64::INFINITY) } else { end.parse() });
            let count = line.rsplit(' ').next().and_then(|count| count.parse().ok());
            let (Some(Ok(end)), Some(count)) = (end, count) else { continue };
            // One series for each operation and outcome.
            match buckets.iter_mut().find(|(known, _)| *known == end) {
                Some((_, calls)) => *calls += count,
                None => buckets.push((end, count)),
            }
        }
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self(buckets)
    }

    /// How many calls there were since.
    pub(crate) fn calls_since(&self, earlier: &Self) -> u64 {
        self.since(earlier).last().map_or(0, |(_, calls)| *calls)
    }

    /// The upper end, in milliseconds, of the bucket with that share of the calls since.
    pub(crate) fn quantile_since(&self, earlier: &Self, share: f64) -> f64 {
        let wanted = self.calls_since(earlier) as f64 * share;
        let found = self.since(earlier).into_iter().find(|(_, calls)| *calls as f64 >= wanted);
        found.map_or(f64::NAN, |(end, _)| end * 1000.0)
    }

    fn since(&self, earlier: &Self) -> Vec<(f64, u64)> {
        let before = |end: f64| earlier.0.iter().find(|(e, _)| *e == end).map_or(0, |(_, calls)| *calls);
        self.0.iter().map(|(end, calls)| (*end, calls.saturating_sub(before(*end)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(counts: [u64; 3]) -> String {
        let line = |end: &str, count: u64| {
            format!("{METRIC}{WEBHOOK},operation=\"CREATE\",le=\"{end}\"}} {count}\n")
        };
        line("0.005", counts[0]) + &line("0.025", counts[1]) + &line("+Inf", counts[2])
    }

    #[test]
    fn a_quantile_is_of_the_calls_in_between() {
        let (before, after) = (Seen::read(&text([10, 10, 10])), Seen::read(&text([10, 109, 110])));
        assert_eq!(after.calls_since(&before), 100);
        assert_eq!(after.quantile_since(&before, 0.99), 25.0);
        assert_eq!(after.quantile_since(&before, 1.0), f64::INFINITY);
    }
}
