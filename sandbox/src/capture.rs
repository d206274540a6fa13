//! Packet captures in a network namespace, as pcap files that tcpdump and Wireshark read.
//!
//! Only what enters or leaves the namespace is kept: packets between its own processes (an application and its
//! sidecar) are meant to be plain.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio_util::sync::CancellationToken;

/// All protocols (`ETH_P_ALL`), in network byte order as packet sockets want it.
const ALL_PROTOCOLS: u16 = 0x0003_u16.to_be();
/// Packets that begin with their IP header.
const LINKTYPE_RAW: u32 = 101;
const SNAPSHOT: usize = 65_536;
/// How often the token is looked at while nothing arrives.
const TICK: Duration = Duration::from_millis(50);

/// Keeps whole packets, but none of the loopback device: addresses do not tell, for what is redirected to a sidecar is
/// answered there in the name of a stranger.
const NOT_LOOPBACK: [SockFilter; 4] = [
    SockFilter::new(LOAD_HALF, 0, 0, DEVICE_TYPE),
    SockFilter::new(JUMP_IF_EQUAL, 0, 1, LOOPBACK),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, SNAPSHOT as u32),
];
/// `BPF_LD | BPF_H | BPF_ABS`
const LOAD_HALF: u16 = 0x28;
/// `BPF_JMP | BPF_JEQ | BPF_K`
const JUMP_IF_EQUAL: u16 = 0x15;
/// `BPF_RET | BPF_K`
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF + SKF_AD_HATYPE`
const DEVICE_TYPE: u32 = 0xffff_f000 + 28;
/// `ARPHRD_LOOPBACK`
const LOOPBACK: u32 = 772;

/// A socket that sees every packet that enters or leaves the calling thread's network namespace.
///
/// # Errors
/// When the caller may not open packet sockets.
pub(crate) fn open() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(ALL_PROTOCOLS))))?;
    socket.set_recv_buffer_size(8 << 20)?;
    socket.set_read_timeout(Some(TICK))?;
    socket.attach_filter(&NOT_LOOPBACK)?;
    Ok(socket)
}

/// Writes what the socket sees to a pcap file until the token is cancelled; answers how many packets that was.
///
/// # Errors
/// When the socket or the file fails.
pub(crate) fn record(mut socket: Socket, path: &Path, token: &CancellationToken) -> std::io::Result<u64> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&header())?;
    let mut buffer = vec![0; SNAPSHOT];
    let mut count = 0;
    // A little longer than the token: what has already arrived belongs to the capture, what keeps coming does not.
    let mut until = None;
    loop {
        if token.is_cancelled() {
            let until = *until.get_or_insert_with(|| Instant::now() + TICK);
            if Instant::now() >= until {
                file.flush()?;
                return Ok(count);
            }
        }
        match socket.read(&mut buffer) {
            Ok(length) if is_ip(&buffer[..length]) => {
                file.write_all(&packet_header(length, SystemTime::now()))?;
                file.write_all(&buffer[..length])?;
                count += 1;
            }
            Ok(_) => {}
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                file.flush()?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_ip(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| matches!(first >> 4, 4 | 6))
}

fn header() -> Vec<u8> {
    let mut out = Vec::with_capacity(24);
    out.extend(0xa1b2_c3d4_u32.to_ne_bytes());
    out.extend(2_u16.to_ne_bytes());
    out.extend(4_u16.to_ne_bytes());
    out.extend([0; 8]);
    out.extend((SNAPSHOT as u32).to_ne_bytes());
    out.extend(LINKTYPE_RAW.to_ne_bytes());
    out
}

fn packet_header(length: usize, at: SystemTime) -> Vec<u8> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let length = (length as u32).to_ne_bytes();
    let mut out = Vec::with_capacity(16);
    out.extend((since.as_secs() as u32).to_ne_bytes());
    out.extend(since.subsec_micros().to_ne_bytes());
    out.extend(length);
    out.extend(length);
    out
}

#[cfg(test)]
mod tests;
