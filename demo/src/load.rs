//! The load generator: open loop, so that a slow answer does not hold back the next request, and timed from the
//! moment a request was due, so that waiting counts (no coordinated omission).

use crate::Place;
use crate::records::{Outcome, Records};
use crate::serving::{self, Answer, CLUSTER, Client, answer};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use mesh_runtime::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// More than this many requests under way means that the other side is lost; further ones count as failed.
const MAX_IN_FLIGHT: u64 = 2_000;

#[derive(Args)]
pub(crate) struct LoadArgs {
    /// Where requests go
    #[arg(long, env = "TARGET", default_value = "web:80")]
    target: String,
    /// The path asked for
    #[arg(long, env = "URL_PATH", default_value = "/")]
    path: String,
    /// Requests a second; 0 waits for `/rate?rps=N`
    #[arg(long, env = "RATE", default_value_t = 100)]
    rate: u32,
}

struct Generator {
    client: Client,
    path: String,
    rate: AtomicU64,
    in_flight: AtomicU64,
    records: Records,
}

pub(crate) async fn serve(place: Place, args: LoadArgs, shutdown: &Shutdown) -> Result<()> {
    if args.rate > 100_000 {
        bail!("rate {} is over 100000 requests a second", args.rate);
    }
    let generator = Arc::new(Generator {
        client: Client::new(&args.target),
        path: args.path,
        rate: AtomicU64::new(args.rate.into()),
        in_flight: AtomicU64::new(0),
        records: Records::new(),
    });
    drop(shutdown.spawn_until_drain("generator", generate(Arc::clone(&generator))));
    let cluster = place.cluster;
    let handler = move |request: Request<Incoming>| {
        let response = control(&generator, &request, &cluster);
        async move { response }
    };
    serving::serve(place.listen, shutdown, handler).await
}

/// Sends each request when it is due, whatever became of the ones before.
async fn generate(generator: Arc<Generator>) {
    let mut due = Instant::now();
    loop {
        let rate = generator.rate.load(Ordering::Relaxed);
        if rate == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            due = Instant::now();
            continue;
        }
        due += Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX);
        tokio::time::sleep_until(due.into()).await;
        let in_flight = generator.in_flight.fetch_add(1, Ordering::Relaxed);
        let generator = Arc::clone(&generator);
        if in_flight >= MAX_IN_FLIGHT {
            generator.in_flight.fetch_sub(1, Ordering::Relaxed);
            generator.records.push(due, Outcome::Failed("too many requests under way".to_owned()));
            continue;
        }
        drop(tokio::spawn(async move {
            let outcome = match generator.client.get(&generator.path).await {
                Ok(answer) => judge(&answer),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            };
            generator.in_flight.fetch_sub(1, Ordering::Relaxed);
            generator.records.push(due, outcome);
        }));
    }
}

fn judge(answer: &Answer) -> Outcome {
    let text = |name: &str| answer.headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    if answer.status.is_success() {
        return Outcome::Answered(text(CLUSTER).unwrap_or_default());
    }
    let body = String::from_utf8_lossy(&answer.body[..answer.body.len().min(200)]).trim().to_owned();
    let reason = text("l5d-proxy-error").unwrap_or(body);
    Outcome::Failed(format!("{}: {reason}", answer.status.as_u16()))
}

/// `/stats?since=MS&until=MS` (milliseconds of Unix time, both optional), `/rate?rps=N`, `/now`, `/ready`.
fn control(
    generator: &Generator,
    request: &Request<Incoming>,
    cluster: &str,
) -> Response<Full<bytes::Bytes>> {
    let query = request.uri().query().unwrap_or_default();
    let number = |name: &str| -> Result<Option<u64>> {
        let value = query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
        value.map(|v| v.parse().with_context(|| format!("{name}={v:?} is not a number"))).transpose()
    };
    let result = match request.uri().path() {
        "/ready" => Ok("ready\n".to_owned()),
        "/now" => Ok(crate::records::unix_millis(std::time::SystemTime::now()).to_string()),
        "/rate" => number("rps").and_then(|rps| {
            let rps = rps.context("rps is missing: /rate?rps=500")?.min(100_000);
            generator.rate.store(rps, Ordering::Relaxed);
            Ok(format!("{rps}\n"))
        }),
        "/stats" => number("since").and_then(|since| {
            let summary = generator.records.summary(since.unwrap_or(0), number("until")?.unwrap_or(u64::MAX));
            Ok(serde_json::to_string(&summary)?)
        }),
        _ => return answer(StatusCode::NOT_FOUND, cluster, "try /stats /rate /now\n"),
    };
    match result {
        Ok(body) => answer(StatusCode::OK, cluster, body),
        Err(error) => answer(StatusCode::BAD_REQUEST, cluster, format!("{error:#}\n")),
    }
}
