//! One call, as a script or a test in a pod makes it: prints what came back as one line of JSON.

use crate::ledger::LedgerClient;
use crate::pricing::PricingClient;
use crate::serving::{CLUSTER, Client};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde::Serialize;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

#[derive(Args)]
pub(crate) struct CallArgs {
    /// What to speak
    #[arg(long, value_enum, default_value = "http1")]
    protocol: Protocol,
    /// Messages to take from a stream, or lines to write
    #[arg(long, default_value_t = 3)]
    count: usize,
    /// The longest the call may take, in seconds
    #[arg(long, default_value_t = 10)]
    timeout: u64,
    /// Host and port, with a path for HTTP: catalog:80/items
    target: String,
}

#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    /// HTTP/1.1 GET
    Http1,
    /// HTTP/2 GET with prior knowledge
    H2,
    /// gRPC unary: shop.Pricing/Quote
    GrpcQuote,
    /// gRPC server streaming: shop.Pricing/Follow
    GrpcFollow,
    /// The ledger's protocol over TCP, in which the server speaks first
    Ledger,
}

#[derive(Serialize, Default)]
struct Report {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    millis: u128,
}

/// Makes the call; the exit code tells whether it succeeded.
pub(crate) async fn run(args: CallArgs) -> Result<ExitCode> {
    let started = Instant::now();
    let timeout = Duration::from_secs(args.timeout);
    let outcome = tokio::time::timeout(timeout, call(&args)).await;
    let mut report = match outcome {
        Ok(Ok(report)) => report,
        Ok(Err(error)) => Report { error: Some(format!("{error:#}")), ..Report::default() },
        Err(_) => Report { error: Some(format!("no answer within {timeout:?}")), ..Report::default() },
    };
    report.millis = started.elapsed().as_millis();
    println!("{}", serde_json::to_string(&report)?);
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn call(args: &CallArgs) -> Result<Report> {
    let (authority, path) = match args.target.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (args.target.as_str(), "/".to_owned()),
    };
    match args.protocol {
        Protocol::Http1 => {
            let answer = Client::new(authority).get(&path).await?;
            Ok(report(answer.status, &answer.headers, &answer.body))
        }
        Protocol::H2 => http2(authority, &path).await,
        Protocol::GrpcQuote => {
            let client = PricingClient::new(&format!("http://{authority}"))?;
            let cents = client.prices(&["lantern", "rope"]).await.map_err(|s| grpc_error(&s))?;
            Ok(Report { ok: true, body: format!("{cents:?}"), ..Report::default() })
        }
        Protocol::GrpcFollow => {
            let client = PricingClient::new(&format!("http://{authority}"))?;
            let all = client.follow(&["lantern"], args.count).await.map_err(|s| grpc_error(&s))?;
            Ok(Report { ok: all.len() == args.count, body: format!("{all:?}"), ..Report::default() })
        }
        Protocol::Ledger => {
            let client = LedgerClient::new(authority);
            for _ in 0..args.count {
                client.append("entry").await?;
            }
            Ok(Report { ok: true, body: client.greeting().await, ..Report::default() })
        }
    }
}

fn grpc_error(status: &tonic::Status) -> anyhow::Error {
    let reason = status.metadata().get("l5d-proxy-error").and_then(|v| v.to_str().ok()).unwrap_or_default();
    anyhow::anyhow!("grpc {:?}: {} {reason}", status.code(), status.message())
}

async fn http2(authority: &str, path: &str) -> Result<Report> {
    let stream =
        TcpStream::connect(authority).await.with_context(|| format!("cannot connect to {authority}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    drop(tokio::spawn(connection));
    let uri = format!("http://{authority}{path}");
    let response = sender.send_request(Request::get(uri).body(Empty::<Bytes>::new())?).await?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(report(parts.status, &parts.headers, &body))
}

fn report(status: http::StatusCode, headers: &http::HeaderMap, body: &[u8]) -> Report {
    let text = |v: &header::HeaderValue| v.to_str().unwrap_or("(not text)").to_owned();
    Report {
        ok: status.is_success(),
        status: Some(status.as_u16()),
        cluster: headers.get(CLUSTER).map(text),
        headers: headers.iter().map(|(k, v)| (k.to_string(), text(v))).collect(),
        body: String::from_utf8_lossy(body).into_owned(),
        error: None,
        millis: 0,
    }
}
