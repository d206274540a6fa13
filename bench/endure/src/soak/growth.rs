//! Whether what a proxy uses grows. The first third of a run is for warming up: pools fill, allocators and windows find
//! their size. The last third is held against the middle one.

use serde::Serialize;

/// Points that a third must have to be judged.
const FEWEST: usize = 5;
/// What the median of memory may rise by from one third to the next: this share of it, or this many KiB.
const SHARE: f64 = 0.03;
const KIB: f64 = 1024.0;
/// How much more memory an hour may make by the slope of the last two thirds, as a share: an alarm, as leaks are faster.
const HOURLY: f64 = 0.5;
/// What medians of files and connections may differ by: as many come and go at any moment.
const SWING: f64 = 12.0;

/// The head of the table of [`Growth::row`].
pub(super) const HEAD: &str = "| proxy | RSS MiB, medians of thirds | KiB per minute | open files | threads | \
                               connections |\n|---|---|---|---|---|---|\n";

/// What one proxy uses at a moment.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Point {
    pub(super) proxy: String,
    /// Since the beginning, seconds.
    pub(super) at_s: f64,
    pub(super) rss_kib: u64,
    pub(super) open_files: u64,
    pub(super) threads: u64,
    /// Accepted ones.
    pub(super) connections: f64,
}

/// What one proxy used over a run: medians of its thirds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Growth {
    proxy: String,
    rss_kib: [f64; 3],
    open_files: [f64; 3],
    threads: [f64; 3],
    connections: [f64; 3],
    /// By a straight line through the last two thirds.
    rss_kib_per_minute: f64,
}

impl Growth {
    /// Of one proxy; `None` where the run was too short to tell.
    pub(super) fn of(proxy: &str, points: &[Point]) -> Option<Self> {
        let own: Vec<&Point> = points.iter().filter(|point| point.proxy == proxy).collect();
        let third = own.len() / 3;
        if third < FEWEST {
            return None;
        }
        let thirds = |of: fn(&Point) -> f64| {
            [0, 1, 2].map(|n| median(own[n * third..(n + 1) * third].iter().map(|point| of(point)).collect()))
        };
        Some(Self {
            proxy: proxy.to_owned(),
            rss_kib: thirds(|p| p.rss_kib as f64),
            open_files: thirds(|p| p.open_files as f64),
            threads: thirds(|p| p.threads as f64),
            connections: thirds(|p| p.connections),
            rss_kib_per_minute: slope(&own[third..]) * 60.0,
        })
    }

    /// What grows.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut tell = |what: &str, [_, middle, last]: [f64; 3], allowed: f64| {
            if last > middle + allowed {
                problems.push(format!("{}: {what} grew from {middle:.0} to {last:.0}", self.proxy));
            }
        };
        tell("memory (KiB)", self.rss_kib, (self.rss_kib[1] * SHARE).max(KIB));
        tell("open files", self.open_files, SWING);
        tell("threads", self.threads, 0.0);
        tell("connections", self.connections, SWING);
        let hourly = self.rss_kib_per_minute * 60.0;
        // Over a short run the line follows noise: what it says counts where the medians rise with it.
        if hourly > self.rss_kib[1] * HOURLY && self.rss_kib[2] > self.rss_kib[1] + KIB {
            problems.push(format!("{}: memory grows by {hourly:.0} KiB an hour", self.proxy));
        }
        problems
    }

    /// For people.
    pub(super) fn row(&self) -> String {
        let medians = |[a, b, c]: [f64; 3], unit: f64, digits: usize| {
            format!("{:.digits$} · {:.digits$} · {:.digits$}", a / unit, b / unit, c / unit)
        };
        format!(
            "| {} | {} | {:+.1} | {} | {} | {} |\n",
            self.proxy,
            medians(self.rss_kib, 1024.0, 2),
            self.rss_kib_per_minute,
            medians(self.open_files, 1.0, 0),
            medians(self.threads, 1.0, 0),
            medians(self.connections, 1.0, 0),
        )
    }
}

/// The middle value: one that occurred.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// KiB per second, by least squares.
fn slope(points: &[&Point]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&Point) -> f64| points.iter().map(|point| of(point)).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.at_s), mean(|p| p.rss_kib as f64));
    let over: f64 = points.iter().map(|p| (p.at_s - x) * (p.rss_kib as f64 - y)).sum();
    let under: f64 = points.iter().map(|p| (p.at_s - x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests;
