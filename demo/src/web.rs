//! The front end: one request in becomes one to the catalog (HTTP/1.1) and one line in the ledger (TCP).

use crate::Place;
use crate::ledger::LedgerClient;
use crate::serving::{self, CLUSTER, Client, answer};
use anyhow::Result;
use clap::Args;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use mesh_runtime::Shutdown;

#[derive(Args)]
pub(crate) struct WebArgs {
    /// Where the catalog is
    #[arg(long, env = "CATALOG", default_value = "catalog:80")]
    catalog: String,
    /// Where the ledger is; empty for none
    #[arg(long, env = "LEDGER", default_value = "ledger:7000")]
    ledger: String,
}

pub(crate) async fn serve(place: Place, args: WebArgs, shutdown: &Shutdown) -> Result<()> {
    let catalog = Client::new(&args.catalog);
    let ledger = (!args.ledger.is_empty()).then(|| LedgerClient::new(&args.ledger));
    let cluster = place.cluster;
    let handler = move |request: Request<Incoming>| {
        let (catalog, ledger, cluster) = (catalog.clone(), ledger.clone(), cluster.clone());
        async move {
            if request.uri().path() == "/ready" {
                return answer(StatusCode::OK, &cluster, "ready\n");
            }
            let goods = match catalog.get("/items").await {
                Ok(goods) => goods,
                Err(error) => {
                    return answer(StatusCode::BAD_GATEWAY, &cluster, format!("catalog: {error:#}\n"));
                }
            };
            if let Some(ledger) = &ledger
                && goods.status.is_success()
                && let Err(error) = ledger.append("visit").await
            {
                return answer(StatusCode::BAD_GATEWAY, &cluster, format!("ledger: {error:#}\n"));
            }
            let mut response = answer(goods.status, &cluster, goods.body);
            for name in [CLUSTER, "l5d-proxy-error"] {
                if let Some(value) = goods.headers.get(name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            response
        }
    };
    serving::serve(place.listen, shutdown, handler).await
}
