//! One question to one name server (RFC 1035, 4.2): by UDP, and by TCP where the answer is too long for that.

use super::Failure;
use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// How long an answer is waited for before it is asked for again.
pub(super) const PATIENCE: [Duration; 3] =
    [Duration::from_millis(500), Duration::from_millis(750), Duration::from_millis(750)];
/// How long TCP may take.
const TCP_PATIENCE: Duration = Duration::from_secs(1);
/// An answer by UDP at most.
const MAX_UDP: usize = 4096;

/// The addresses of that kind; at least one.
pub(super) async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> Result<Vec<IpAddr>, Failure> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    let failed = |reason: String| Failure::Failed(format!("{server}: {reason}"));
    let answer = exchange(server, &question).await.map_err(|error| failed(error.to_string()))?;
    match answer.metadata.response_code {
        ResponseCode::NoError => {}
        ResponseCode::NXDomain => return Err(Failure::Unknown),
        code => return Err(failed(code.to_str().to_owned())),
    }
    let ips: Vec<_> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(a) if kind == RecordType::A => Some(a.0.into()),
            RData::AAAA(aaaa) if kind == RecordType::AAAA => Some(aaaa.0.into()),
            _ => None,
        })
        .collect();
    if ips.is_empty() { Err(Failure::Unknown) } else { Ok(ips) }
}

async fn exchange(server: SocketAddr, question: &Message) -> io::Result<Message> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    for patience in PATIENCE {
        socket.send(&bytes).await?;
        let Ok(answer) = timeout(patience, receive(&socket, question)).await else { continue };
        let answer = answer?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        let whole = by_tcp(server, question, &bytes).await;
        // Some of the addresses are enough.
        return if whole.is_err() && !answer.answers.is_empty() { Ok(answer) } else { whole };
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"))
}

/// The next datagram that answers the question.
async fn receive(socket: &UdpSocket, question: &Message) -> io::Result<Message> {
    let mut buf = vec![0; MAX_UDP];
    loop {
        let n = socket.recv(&mut buf).await?;
        if let Some(answer) = answer_to(question, &buf[..n]) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &Message, bytes: &[u8]) -> io::Result<Message> {
    let exchange = async {
        let mut tcp = TcpStream::connect(server).await?;
        let len = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        tcp.write_all(&[&len.to_be_bytes(), bytes].concat()).await?;
        let mut answer = vec![0; tcp.read_u16().await?.into()];
        tcp.read_exact(&mut answer).await?;
        answer_to(question, &answer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an answer"))
    };
    timeout(TCP_PATIENCE, exchange)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no answer by TCP"))?
}

fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries;
    fits.then_some(answer)
}
