//! Many streams of discovery held open by one process, as many proxies would.

use super::many;
use anyhow::{Context as _, Result};
use hyper_util::rt::TokioIo;
use mesh_api::destination::destination_client::DestinationClient;
use mesh_api::destination::{GetDestination, update::Update};
use mesh_api::tonic::transport::{Channel, Endpoint};
use mesh_kube::Client;
use mesh_kube::k8s_openapi::api::core::v1::Pod;
use mesh_kube::kube::api::ListParams;
use mesh_kube::kube::{Api, ResourceExt};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

/// The port on which the destination controller answers.
const PORT: u16 = 8086;
/// Nothing takes longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// Streams that are open; they end with this.
pub(crate) struct Streams {
    pods: usize,
    count: usize,
    /// How many endpoints a stream knows now, and since when.
    told: UnboundedReceiver<(usize, Instant)>,
    tasks: JoinSet<Result<()>>,
}

/// Opens them, and answers when each was told of every pod.
pub(crate) async fn open(client: &Client, count: usize, pods: usize) -> Result<Streams> {
    let channel = channel(client).await?;
    let (tell, told) = unbounded_channel();
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        tasks.spawn(follow(DestinationClient::new(channel.clone()), tell.clone()));
    }
    let mut streams = Streams { pods, count, told, tasks };
    streams.all_know(pods).await?;
    Ok(streams)
}

impl Streams {
    /// Takes a pod away; answers with the milliseconds until each stream was told, sorted.
    pub(crate) async fn told_of_a_change(mut self, client: &Client) -> Result<Vec<f64>> {
        let began = Instant::now();
        many::remove_last(client, self.pods).await?;
        let times = self.all_know(self.pods - 1).await?;
        let mut times: Vec<f64> =
            times.into_iter().map(|at| at.duration_since(began).as_secs_f64() * 1000.0).collect();
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// Waits until every stream knows that many endpoints, and answers when each did.
    async fn all_know(&mut self, endpoints: usize) -> Result<Vec<Instant>> {
        let mut times = Vec::with_capacity(self.count);
        while times.len() < self.count {
            let told = tokio::select! {
                told = self.told.recv() => told.context("the streams are there")?,
                ended = self.tasks.join_next() => match ended {
                    Some(ended) => { ended??; anyhow::bail!("a stream ended") }
                    None => anyhow::bail!("no stream is open"),
                },
                () = tokio::time::sleep(PATIENCE) => {
                    let done = times.len();
                    anyhow::bail!("{done} of {} streams know {endpoints} endpoints after {PATIENCE:?}", self.count)
                }
            };
            if told.0 == endpoints {
                times.push(told.1);
            }
        }
        Ok(times)
    }
}

/// Reads a stream to its end, and tells how many endpoints it knows after each message.
async fn follow(
    mut client: DestinationClient<Channel>,
    tell: UnboundedSender<(usize, Instant)>,
) -> Result<()> {
    let path = format!("{0}.{0}.svc.cluster.local:80", many::INJECTED);
    let request = GetDestination { scheme: "http:".into(), path, context_token: String::new() };
    let mut stream = client.get(request).await?.into_inner();
    let mut known = HashSet::new();
    while let Some(message) = stream.message().await? {
        match message.update {
            Some(Update::Add(set)) => {
                known.extend(set.addrs.into_iter().filter_map(|a| a.addr).map(|a| format!("{a:?}")));
            }
            Some(Update::Remove(set)) => {
                for gone in set.addrs {
                    known.remove(&format!("{gone:?}"));
                }
            }
            Some(Update::NoEndpoints(_)) => known.clear(),
            None => {}
        }
        if tell.send((known.len(), Instant::now())).is_err() {
            break;
        }
    }
    Ok(())
}

/// One connection to the destination controller, forwarded by the API server.
async fn channel(client: &Client) -> Result<Channel> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), "linkerd");
    let selector = ListParams::default().labels("linkerd.io/control-plane-component=destination");
    let pod = pods.list(&selector).await?.items.first().map(ResourceExt::name_any);
    let pod = pod.context("no destination controller runs")?;
    let connect = tower::service_fn(move |_| {
        let (pods, pod) = (pods.clone(), pod.clone());
        async move {
            let mut forward = pods.portforward(&pod, &[PORT]).await.map_err(std::io::Error::other)?;
            let stream = forward.take_stream(PORT).ok_or_else(|| std::io::Error::other("no stream"))?;
            // The forwarder's task goes on by itself until the stream ends.
            drop(tokio::spawn(forward.join()));
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    let endpoint = Endpoint::from_static("http://destination").initial_connection_window_size(1 << 20);
    endpoint.connect_with_connector(connect).await.context("cannot reach the destination controller")
}
