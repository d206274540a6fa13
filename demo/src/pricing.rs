//! Prices over gRPC: `shop.Pricing/Quote` (unary) and `shop.Pricing/Follow` (server streaming).
//!
//! The messages are written out here rather than generated, so that the shop needs no protoc:
//! `message Basket { repeated string items = 1; }`, `message Prices { repeated uint32 cents = 1; }`.

use crate::Place;
use anyhow::{Context as _, Result};
use futures::Stream;
use mesh_runtime::Shutdown;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tracing::info;

/// How often a follower gets prices.
const FOLLOW_EVERY: Duration = Duration::from_millis(100);

/// Quotes are quick; a stuck one must not hold its caller.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Basket {
    #[prost(string, repeated, tag = "1")]
    pub(crate) items: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Prices {
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) cents: Vec<u32>,
}

fn quote(basket: &Basket) -> Prices {
    // A price is the length of the name in dollars: plain, and the same everywhere.
    let cents = basket.items.iter().map(|i| u32::try_from(i.len()).unwrap_or(u32::MAX).saturating_mul(100));
    Prices { cents: cents.collect() }
}

pub(crate) async fn serve(place: Place, shutdown: &Shutdown) -> Result<()> {
    info!(listen = %place.listen, "serving gRPC");
    let drained = shutdown.token().cancelled_owned();
    Server::builder()
        .add_service(PricingService)
        .serve_with_shutdown(place.listen, drained)
        .await
        .with_context(|| format!("cannot serve gRPC on {}", place.listen))
}

/// A client over one HTTP/2 connection, made at the first call and again when it breaks.
#[derive(Clone)]
pub(crate) struct PricingClient {
    channel: Channel,
}

impl PricingClient {
    pub(crate) fn new(uri: &str) -> Result<Self> {
        let endpoint =
            Endpoint::from_shared(uri.to_owned()).with_context(|| format!("pricing address {uri:?}"))?;
        Ok(Self { channel: endpoint.timeout(TIMEOUT).connect_timeout(TIMEOUT).connect_lazy() })
    }

    pub(crate) async fn prices(&self, items: &[&str]) -> Result<Vec<u32>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let basket = Basket { items: items.iter().map(|i| (*i).to_owned()).collect() };
        let path = http::uri::PathAndQuery::from_static("/shop.Pricing/Quote");
        let codec: ProstCodec<Basket, Prices> = ProstCodec::default();
        Ok(grpc.unary(Request::new(basket), path, codec).await?.into_inner().cents)
    }
}

impl PricingClient {
    /// Takes `count` messages from the stream of prices.
    pub(crate) async fn follow(&self, items: &[&str], count: usize) -> Result<Vec<Vec<u32>>, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let basket = Basket { items: items.iter().map(|i| (*i).to_owned()).collect() };
        let path = http::uri::PathAndQuery::from_static("/shop.Pricing/Follow");
        let codec: ProstCodec<Basket, Prices> = ProstCodec::default();
        let mut stream = grpc.server_streaming(Request::new(basket), path, codec).await?.into_inner();
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            match stream.message().await? {
                Some(prices) => all.push(prices.cents),
                None => break,
            }
        }
        Ok(all)
    }
}

#[derive(Clone)]
struct PricingService;

impl NamedService for PricingService {
    const NAME: &'static str = "shop.Pricing";
}

impl Service<http::Request<Body>> for PricingService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match request.uri().path() {
            "/shop.Pricing/Quote" => Box::pin(async move {
                Ok(Grpc::new(ProstCodec::<Prices, Basket>::default()).unary(Quote, request).await)
            }),
            "/shop.Pricing/Follow" => Box::pin(async move {
                Ok(Grpc::new(ProstCodec::<Prices, Basket>::default()).server_streaming(Follow, request).await)
            }),
            _ => Box::pin(async { Ok(Status::unimplemented("try Quote or Follow").into_http()) }),
        }
    }
}

struct Quote;

impl UnaryService<Basket> for Quote {
    type Response = Prices;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Prices>, Status>> + Send>>;

    fn call(&mut self, request: Request<Basket>) -> Self::Future {
        let prices = quote(request.get_ref());
        Box::pin(async move { Ok(Response::new(prices)) })
    }
}

struct Follow;

type PriceStream = Pin<Box<dyn Stream<Item = Result<Prices, Status>> + Send>>;

impl ServerStreamingService<Basket> for Follow {
    type Response = Prices;
    type ResponseStream = PriceStream;
    type Future = Pin<Box<dyn Future<Output = Result<Response<PriceStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Basket>) -> Self::Future {
        let basket = request.into_inner();
        let ticks = futures::stream::unfold((basket, true), |(basket, first)| async move {
            if !first {
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
            let prices = quote(&basket);
            Some((Ok(prices), (basket, false)))
        });
        Box::pin(async move { Ok(Response::new(Box::pin(ticks) as PriceStream)) })
    }
}
