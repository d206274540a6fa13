//! Trust anchors that change while the proxy runs: identity tells the bundle in force, we tell the one we hold. The last
//! one is kept in the identity volume, so that a container restart works after the old anchor is gone.

use crate::config::Identities;
use crate::control::ControlChannel;
use mesh_api::tonic::{Code, Status};
use mesh_api::trust::trust_client::TrustClient;
use mesh_api::trust::{Bundle, Held};
use mesh_balance::Backoff;
use mesh_tls::{MeshTls, TrustBundle};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

/// The file in the identity volume.
const FILE: &str = "ca.pem";
/// Between attempts to open the stream.
const BACKOFF: Backoff =
    Backoff { min: Duration::from_millis(200), max: Duration::from_secs(30), jitter: 0.5 };
/// An identity service of another make does not serve this; it may be replaced by one that does.
const NOT_SERVED: Duration = Duration::from_secs(600);
/// A stream that lasted this long begins its backoff anew.
const HEALTHY: Duration = Duration::from_secs(10);

/// The bundle to start with: the one kept from before a restart, else the environment's.
///
/// # Errors
/// When the environment's cannot be parsed.
pub fn initial(config: &Identities) -> Result<TrustBundle, mesh_tls::Error> {
    let seed = TrustBundle::from_pem(&config.trust_anchors)?;
    let Some(path) = kept(config) else { return Ok(seed) };
    match std::fs::read_to_string(&path) {
        Ok(pem) => Ok(TrustBundle::from_pem(&pem).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "kept trust bundle cannot be used");
            seed
        })),
        Err(_) => Ok(seed),
    }
}

/// Follows the bundle in force for ever. `instance` tells proxies of one identity apart.
pub async fn follow(config: Identities, tls: MeshTls, channel: ControlChannel, instance: String) {
    let mut client = TrustClient::new(channel);
    let mut failures = 0;
    loop {
        let started = Instant::now();
        let ended = watch(&mut client, &config, &tls, &instance).await;
        failures = if started.elapsed() > HEALTHY { 0 } else { failures + 1 };
        let delay = match ended {
            Err(status) if status.code() == Code::Unimplemented => NOT_SERVED,
            Err(status) => {
                tracing::debug!(code = ?status.code(), message = status.message(), "trust stream ended");
                BACKOFF.delay(failures.min(16), rand::random())
            }
            Ok(()) => BACKOFF.delay(failures.min(16), rand::random()),
        };
        sleep(delay).await;
    }
}

async fn watch(
    client: &mut TrustClient<ControlChannel>,
    config: &Identities,
    tls: &MeshTls,
    instance: &str,
) -> Result<(), Status> {
    let held = || Held {
        identity: tls.identity().to_string(),
        instance: instance.to_owned(),
        sha256: tls.bundle().sha256().to_owned(),
    };
    let (say, mut said) = mpsc::channel(4);
    let gone = |_| Status::unavailable("the stream has ended");
    say.send(held()).await.map_err(gone)?;
    let mut bundles =
        client.watch(futures::stream::poll_fn(move |cx| said.poll_recv(cx))).await?.into_inner();
    while let Some(bundle) = bundles.message().await? {
        match take(&bundle, tls) {
            Ok(()) => {
                tracing::info!(sha256 = tls.bundle().sha256(), "trust bundle replaced");
                keep(config, &bundle.pem).await;
                say.send(held()).await.map_err(gone)?;
            }
            // Saying nothing keeps the old anchors in force everywhere.
            Err(error) => tracing::error!(%error, "trust bundle refused, keeping the old one"),
        }
    }
    Ok(())
}

fn take(bundle: &Bundle, tls: &MeshTls) -> Result<(), mesh_tls::Error> {
    tls.set_bundle(TrustBundle::from_pem(&bundle.pem)?)
}

async fn keep(config: &Identities, pem: &str) {
    let Some(path) = kept(config) else { return };
    if let Err(error) = write(&path, pem).await {
        tracing::warn!(path = %path.display(), %error, "trust bundle not kept for a restart");
    }
}

/// Writes beside the file and renames, so that a restart in the middle finds a whole file.
async fn write(path: &Path, pem: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    tokio::fs::write(&new, pem).await?;
    tokio::fs::rename(&new, path).await
}

fn kept(config: &Identities) -> Option<PathBuf> {
    config.dir.as_ref().map(|dir| dir.join(FILE))
}

#[cfg(test)]
mod tests;
