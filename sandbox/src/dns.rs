//! Cluster DNS: answers from an index of Services and EndpointSlices, over UDP and TCP, with no upstream.
//!
//! The rules are those of the Kubernetes DNS specification 1.1.0, served with kubeadm's `pods insecure`.

mod index;

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Metadata, ResponseCode};
use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{DNSClass, Name, RData, Record};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use parking_lot::RwLock;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use index::{Answer, Index};

use crate::controllers::Exposed;
use crate::error::Error;

/// Seconds an answer may be kept. CoreDNS's default; short, so that tests of failover see changes.
const TTL: u32 = 5;

/// Idle TCP connections are closed after this.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Queued responses per TCP connection.
const TCP_QUEUE: usize = 32;

/// Largest UDP answer given to a client that says it takes more than 512 bytes (DNS flag day 2020).
const UDP_PAYLOAD: u16 = 1232;

/// The index being served; replaced as a whole when Services or endpoints change.
pub(crate) type SharedIndex = Arc<RwLock<Arc<Index>>>;

/// Serves an index.
pub(crate) struct Handler {
    index: SharedIndex,
}

impl Handler {
    /// A handler that always answers from the latest index.
    pub(crate) fn new(index: SharedIndex) -> Self {
        Self { index }
    }

    async fn respond<R: ResponseHandler>(&self, request: &Request, mut response_handle: R) -> ResponseInfo {
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        metadata.recursion_available = true;
        let answer = match request.request_info() {
            Ok(info) if info.query.query_class() == DNSClass::IN => {
                let index = self.index.read().clone();
                let original = info.query.original().name();
                index.answer(original, info.query.query_type())
            }
            Ok(_) => Answer::failure(ResponseCode::NotImp),
            Err(_) => Answer::failure(ResponseCode::FormErr),
        };
        metadata.response_code = answer.code;
        let soa: Vec<Record> = answer.zone.as_ref().map(start_of_authority).into_iter().collect();
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, UDP_PAYLOAD));
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &answer.records, None, &soa, &answer.additionals);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "dns response not sent");
                failed(request)
            }
        }
    }
}

fn failed(request: &Request) -> ResponseInfo {
    let mut metadata = Metadata::response_from_request(&request.metadata);
    metadata.response_code = ResponseCode::ServFail;
    ResponseInfo::from(hickory_proto::op::Header {
        metadata,
        counts: hickory_proto::op::HeaderCounts::default(),
    })
}

fn start_of_authority(zone: &Name) -> Record {
    let label = |name: &str| {
        Name::from_ascii(name).and_then(|name| name.append_domain(zone)).unwrap_or_else(|_| zone.clone())
    };
    let soa = SOA::new(label("ns.dns"), label("hostmaster"), 1, 7200, 1800, 86_400, TTL);
    Record::from_rdata(zone.clone(), TTL, RData::SOA(soa))
}

// The trait is declared with `async_trait`; this is the signature it stands for.
impl RequestHandler for Handler {
    fn handle_request<'life0, 'life1, 'async_trait, R, T>(
        &'life0 self,
        request: &'life1 Request,
        response_handle: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'async_trait>>
    where
        R: 'async_trait + ResponseHandler,
        T: 'async_trait + Time,
        'life0: 'async_trait,
        'life1: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.respond(request, response_handle))
    }
}

/// Listens on `address:53`, UDP and TCP, in the network namespace of the calling thread.
///
/// # Errors
/// When the address cannot be bound.
pub(crate) async fn serve(address: Ipv4Addr, index: SharedIndex) -> Result<Server<Handler>, Error> {
    let bound = |source| Error::Listen { what: "cluster DNS", address: format!("{address}:53"), source };
    let udp = UdpSocket::bind((address, 53)).await.map_err(bound)?;
    let tcp = TcpListener::bind((address, 53)).await.map_err(bound)?;
    let mut server = Server::new(Handler::new(index));
    server.register_socket(udp);
    server.register_listener(tcp, TCP_IDLE, TCP_QUEUE);
    Ok(server)
}

/// The index of what is exposed.
pub(crate) fn index_of(domain: &str, exposed: &Exposed) -> Index {
    Index::new(
        domain,
        exposed.services.iter().map(|service| &**service),
        exposed.slices.iter().map(|slice| &**slice),
        exposed.namespaces.iter().map(String::as_str),
    )
}

/// Keeps the index equal to what is exposed until the token is cancelled or the controllers end.
pub(crate) async fn follow(
    domain: &str,
    index: SharedIndex,
    mut exposed: watch::Receiver<Arc<Exposed>>,
    mut server: Server<Handler>,
    token: CancellationToken,
) {
    loop {
        let latest = exposed.borrow_and_update().clone();
        let fresh = Arc::new(index_of(domain, &latest));
        *index.write() = fresh;
        if !matches!(token.run_until_cancelled(exposed.changed()).await, Some(Ok(()))) {
            break;
        }
    }
    if let Err(error) = server.shutdown_gracefully().await {
        tracing::debug!(%error, "cluster DNS ended");
    }
}

#[cfg(test)]
mod tests;
