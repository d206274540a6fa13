//! gRPC messages to and fro on long streams of one connection.

use super::h2load::message;
use super::{Latencies, Outcome};
use anyhow::{Context as _, Result, anyhow, ensure};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt as _;
use http_body_util::channel::Channel;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mesh_bed::{Bed, HTTP_PORT, SERVER_IP};
use std::time::{Duration, Instant};

pub(super) fn run(bed: &Bed, streams: u32, span: Duration) -> Result<Outcome> {
    let began = Instant::now();
    let latencies = bed.client.run(move || -> Result<Latencies> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(all(streams, span))
    })??;
    Ok(Outcome {
        operations: latencies.count() as f64,
        seconds: began.elapsed().as_secs_f64(),
        latency: latencies.summary(),
        failed: 0,
    })
}

async fn all(streams: u32, span: Duration) -> Result<Latencies> {
    let stream = tokio::net::TcpStream::connect((SERVER_IP, HTTP_PORT)).await.context("connecting")?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let end = Instant::now() + span;
    let tasks: Vec<_> = (0..streams).map(|_| tokio::spawn(one(sender.clone(), end))).collect();
    let mut merged = Latencies::new()?;
    for task in tasks {
        merged.merge(&task.await??)?;
    }
    connection.abort();
    Ok(merged)
}

/// One stream: the next message is sent when the one before has come back.
async fn one(mut connection: SendRequest<Channel<Bytes>>, end: Instant) -> Result<Latencies> {
    let (mut sender, body) = Channel::new(1);
    let request = Request::post(format!("http://{SERVER_IP}:{HTTP_PORT}/bed.Echo/Stream"))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(body)?;
    let response = connection.send_request(request).await?;
    ensure!(response.status() == 200, "answered {}", response.status());
    let (mut answers, mut latencies) = (response.into_body(), Latencies::new()?);
    let message = Bytes::from(message());
    while Instant::now() < end {
        let began = Instant::now();
        sender.send_data(message.clone()).await.map_err(|_| anyhow!("the stream was closed"))?;
        let mut missing = message.len();
        while missing > 0 {
            let frame = answers.frame().await.context("the stream ended")??;
            missing = missing.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
        }
        latencies.record(began.elapsed());
    }
    drop(sender);
    while let Some(frame) = answers.frame().await {
        if let Some(trailers) = frame?.trailers_ref() {
            ensure!(trailers.get("grpc-status").is_some_and(|s| s == "0"), "the stream failed: {trailers:?}");
        }
    }
    Ok(latencies)
}
