//! The goods: answers with a list whose prices come from pricing over gRPC.

use crate::Place;
use crate::pricing::PricingClient;
use crate::serving::{self, answer};
use anyhow::Result;
use clap::Args;
use http::{Request, StatusCode};
use hyper::body::Incoming;
use mesh_runtime::Shutdown;

/// What the shop sells.
const ITEMS: &[&str] = &["lantern", "compass", "rope"];

#[derive(Args)]
pub(crate) struct CatalogArgs {
    /// Where pricing is; empty for fixed prices
    #[arg(long, env = "PRICING", default_value = "http://pricing:50051")]
    pricing: String,
}

pub(crate) async fn serve(place: Place, args: CatalogArgs, shutdown: &Shutdown) -> Result<()> {
    let pricing = if args.pricing.is_empty() { None } else { Some(PricingClient::new(&args.pricing)?) };
    let cluster = place.cluster;
    let handler = move |request: Request<Incoming>| {
        let (pricing, cluster) = (pricing.clone(), cluster.clone());
        async move {
            match request.uri().path() {
                "/ready" => answer(StatusCode::OK, &cluster, "ready\n"),
                "/items" => match price_list(pricing).await {
                    Ok(list) => answer(StatusCode::OK, &cluster, list),
                    Err(error) => answer(StatusCode::BAD_GATEWAY, &cluster, format!("pricing: {error}\n")),
                },
                _ => answer(StatusCode::NOT_FOUND, &cluster, "try /items\n"),
            }
        }
    };
    serving::serve(place.listen, shutdown, handler).await
}

async fn price_list(pricing: Option<PricingClient>) -> Result<String, tonic::Status> {
    let prices = match pricing {
        Some(client) => client.prices(ITEMS).await?,
        None => vec![100; ITEMS.len()],
    };
    let items =
        ITEMS.iter().zip(prices).map(|(item, cents)| serde_json::json!({"item": item, "cents": cents}));
    Ok(serde_json::Value::Array(items.collect()).to_string())
}
