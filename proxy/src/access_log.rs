//! The access log: one line for each request that a client of the inbound side makes, in the formats of Linkerd's proxy.
//!
//! Lines are written by a thread of their own. A worker never waits for it: when lines come faster than they can be
//! written, some are left out, and counted.

mod time;

use crate::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, Version, header};
use mesh_metrics::{Counter, Labels, Registry};
use mesh_types::Identity;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Instant, SystemTime};

/// Lines that wait to be written: a burst of a busy proxy, a few MiB.
const QUEUE: usize = 16 * 1024;
/// Bytes that are written at once.
const BUFFER: usize = 64 * 1024;
/// Where a request's trace is found, the first that is there (as Linkerd has it).
const TRACE_HEADERS: [&str; 3] = ["x-b3-traceid", "x-request-id", "x-amzn-trace-id"];

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessFormat {
    /// Apache's common log format, with the client's identity in the place of the ident.
    Apache,
    /// A JSON object.
    Json,
}

impl FromStr for AccessFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "apache" => Ok(Self::Apache),
            "json" => Ok(Self::Json),
            _ => Err("must be apache or json".to_owned()),
        }
    }
}

/// Where lines go. Clones share it.
#[derive(Clone)]
pub struct AccessLog {
    format: AccessFormat,
    lines: SyncSender<String>,
    dropped: Counter,
}

/// What is kept of a request until its response is there.
pub struct Entry {
    log: AccessLog,
    client: SocketAddr,
    identity: Option<Identity>,
    time: SystemTime,
    started: Instant,
    method: Method,
    uri: Uri,
    version: Version,
    user_agent: Option<HeaderValue>,
    host: Option<HeaderValue>,
    trace: Option<HeaderValue>,
    length: Option<HeaderValue>,
}

impl AccessLog {
    /// Starts the thread that writes to `out`; it ends when the log and all its clones are gone.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(format: AccessFormat, out: Box<dyn Write + Send>, registry: &Registry) -> io::Result<Self> {
        let (lines, queue) = sync_channel(QUEUE);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || write_all(&queue, out))?;
        let help = "Lines of the access log that were left out because it could not be written fast enough";
        let dropped = registry.counter("isthmus_access_log_dropped", help).get(&Labels::new());
        Ok(Self { format, lines, dropped })
    }

    /// Notes a request that has just arrived.
    pub fn begin(&self, request: &Request<Body>, client: SocketAddr, identity: Option<&Identity>) -> Entry {
        let header = |name: HeaderName| request.headers().get(name).cloned();
        Entry {
            log: self.clone(),
            client,
            identity: identity.cloned(),
            time: SystemTime::now(),
            started: Instant::now(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            user_agent: header(header::USER_AGENT),
            host: header(header::HOST),
            trace: TRACE_HEADERS.iter().find_map(|name| request.headers().get(*name)).cloned(),
            length: header(header::CONTENT_LENGTH),
        }
    }

    /// Notes a request that cannot be read, so that nothing is known of it but who sent it and why it was refused.
    pub fn refused(&self, client: SocketAddr, identity: Option<&Identity>, response: &Response<Body>) {
        let mut entry = self.begin(&Request::new(Body::Empty), client, identity);
        entry.method = Method::from_bytes(b"-").unwrap_or_default();
        entry.uri = Uri::from_static("*");
        entry.end(response);
    }

    fn send(&self, line: String) {
        if self.lines.try_send(line).is_err() {
            self.dropped.inc();
        }
    }
}

impl Entry {
    /// Writes the line. Where the proxy itself answers, the reason stands in [`PROXY_ERROR`](mesh_types::headers).
    pub fn end(self, response: &Response<Body>) {
        let line = match self.log.format {
            AccessFormat::Apache => self.apache(response),
            AccessFormat::Json => self.json(response),
        };
        self.log.send(line);
    }

    fn apache(&self, response: &Response<Body>) -> String {
        let identity = self.identity.as_ref().map_or("-", Identity::as_str);
        let time = time::rfc3339(self.time);
        let Self { client, method, uri, version, .. } = self;
        let status = response.status().as_u16();
        let bytes = text(response.headers().get(header::CONTENT_LENGTH));
        let bytes = if bytes.is_empty() { "-" } else { bytes };
        let mut line =
            format!("{client} {identity} - [{time}] \"{method} {uri} {version:?}\" {status} {bytes}");
        if let Some(reason) = reason(response.headers()) {
            // Writing to a string cannot fail.
            let _ = write!(line, " {reason:?}");
        }
        line.push('\n');
        line
    }

    fn json(&self, response: &Response<Body>) -> String {
        let total = self.started.elapsed().as_nanos().to_string();
        let response_bytes = text(response.headers().get(header::CONTENT_LENGTH));
        // In the order of Linkerd's proxy, which gives numbers as strings except for the status.
        let mut line = String::with_capacity(512);
        let mut field = |name: &str, value: &str| {
            line.push(if line.is_empty() { '{' } else { ',' });
            quote(&mut line, name);
            line.push(':');
            quote(&mut line, value);
        };
        field("client.addr", &self.client.to_string());
        field("client.id", self.identity.as_ref().map_or("-", Identity::as_str));
        field("host", text(self.host.as_ref()));
        field("method", self.method.as_str());
        // The proxy spends no time of its own between the two that could be told apart.
        field("processing_ns", &total);
        field("request_bytes", text(self.length.as_ref()));
        field("response_bytes", response_bytes);
        field("timestamp", &time::rfc3339(self.time));
        field("total_ns", &total);
        field("trace_id", text(self.trace.as_ref()));
        field("uri", &self.uri.to_string());
        field("user_agent", text(self.user_agent.as_ref()));
        field("version", &format!("{:?}", self.version));
        if let Some(reason) = reason(response.headers()) {
            field("error", reason);
        }
        let _ = writeln!(line, ",\"status\":{}}}", response.status().as_u16());
        line
    }
}

fn text(value: Option<&HeaderValue>) -> &str {
    value.and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Why the proxy answered itself.
fn reason(headers: &HeaderMap) -> Option<&str> {
    headers.get(mesh_types::headers::PROXY_ERROR).map(|value| text(Some(value)))
}

/// A JSON string (RFC 8259, 7).
fn quote(line: &mut String, value: &str) {
    line.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => line.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(line, "\\u{:04x}", u32::from(c));
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Writes lines as they come, many at once where many wait.
fn write_all(queue: &Receiver<String>, mut out: Box<dyn Write + Send>) {
    let mut buffer = String::new();
    while let Ok(line) = queue.recv() {
        buffer.push_str(&line);
        while buffer.len() < BUFFER
            && let Ok(line) = queue.try_recv()
        {
            buffer.push_str(&line);
        }
        if let Err(error) = out.write_all(buffer.as_bytes()).and_then(|()| out.flush()) {
            // Whoever reads the log has gone; requests go on.
            tracing::warn!(%error, "the access log cannot be written");
        }
        buffer.clear();
    }
}

#[cfg(test)]
mod tests;
