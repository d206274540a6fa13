//! Container logs: which lines of a log file to send, and following it while the container runs.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};
use mesh_apiserver::Body;
use serde_json::Value;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncSeekExt as _, BufReader};
use tokio::sync::mpsc;

use super::{Log, Pods, bad_request, container, first, is_set, parameters, refusal};

/// How often a followed log is looked at for more.
const TICK: Duration = Duration::from_millis(50);
/// Chunks waiting for a slow reader.
const BACKLOG: usize = 32;

/// Which lines, and how they look.
#[derive(Debug, Clone, Default, PartialEq)]
struct Wanted {
    follow: bool,
    timestamps: bool,
    tail: Option<usize>,
    limit: Option<usize>,
    since: Option<Timestamp>,
}

impl Wanted {
    fn parse(query: &[(String, String)], now: Timestamp) -> Result<Self, String> {
        let number = |key: &str| {
            let invalid = |_| format!("{key}: must be a number that is not negative");
            first(query, key).map(|text| text.parse::<u64>().map_err(invalid)).transpose()
        };
        let seconds = number("sinceSeconds")?.map(|seconds| i64::try_from(seconds).unwrap_or(i64::MAX / 2));
        let time = first(query, "sinceTime")
            .map(|text| text.parse().map_err(|_| "sinceTime: must be an RFC 3339 time".to_owned()))
            .transpose()?;
        let since =
            seconds.map(|seconds| now.saturating_sub(SignedDuration::from_secs(seconds)).unwrap_or(now));
        Ok(Self {
            follow: is_set(query, "follow"),
            timestamps: is_set(query, "timestamps"),
            tail: number("tailLines")?.and_then(|lines| usize::try_from(lines).ok()),
            limit: number("limitBytes")?.and_then(|bytes| usize::try_from(bytes).ok()),
            since: since.or(time),
        })
    }

    /// A stored line as the client sees it; `None` when it is too old.
    fn line(&self, stored: &str) -> Option<String> {
        let mut parts = stored.splitn(4, ' ');
        let (time, _, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let text = parts.next().unwrap_or_default();
        if let Some(since) = self.since
            && time.parse::<Timestamp>().is_ok_and(|at| at < since)
        {
            return None;
        }
        let end = if kind == "P" { "" } else { "\n" };
        Some(if self.timestamps { format!("{time} {text}{end}") } else { format!("{text}{end}") })
    }
}

/// Answers a request for a log.
pub(super) fn serve(pods: &dyn Pods, pod: &Value, query: &str) -> Response<Body> {
    let query = parameters(query);
    let at = match container(pod, first(&query, "container")) {
        Ok(at) => at,
        Err(message) => return bad_request(&message),
    };
    let wanted = match Wanted::parse(&query, Timestamp::now()) {
        Ok(wanted) => wanted,
        Err(message) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", &message),
    };
    let log = match pods.log(&at.namespace, &at.pod, &at.container, is_set(&query, "previous")) {
        Ok(log) => log,
        Err(error) => return bad_request(&error.to_string()),
    };
    let (sender, receiver) = mpsc::channel(BACKLOG);
    tokio::spawn(async move {
        if let Err(error) = send(log, wanted, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        let next: std::io::Result<Bytes> = receiver.recv().await?;
        Some((next.map(Frame::data), receiver))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

type Sender = mpsc::Sender<std::io::Result<Bytes>>;

async fn send(log: Log, wanted: Wanted, sender: &Sender) -> std::io::Result<()> {
    let mut file = BufReader::new(File::open(&log.path).await?);
    let mut left = wanted.limit.unwrap_or(usize::MAX);
    let mut tail = VecDeque::new();
    let mut position = 0;
    let mut line = String::new();
    // What is there already.
    while next_line(&mut file, &mut line, &mut position).await? {
        let Some(text) = wanted.line(&line) else { continue };
        match wanted.tail {
            None => {
                if !push(sender, text, &mut left).await {
                    return Ok(());
                }
            }
            Some(count) => {
                tail.push_back(text);
                if tail.len() > count {
                    tail.pop_front();
                }
            }
        }
    }
    for text in tail {
        if !push(sender, text, &mut left).await {
            return Ok(());
        }
    }
    if !wanted.follow {
        return Ok(());
    }
    let mut ended = log.ended;
    let mut is_over = false;
    loop {
        file.seek(SeekFrom::Start(position)).await?;
        while next_line(&mut file, &mut line, &mut position).await? {
            if let Some(text) = wanted.line(&line)
                && !push(sender, text, &mut left).await
            {
                return Ok(());
            }
        }
        if is_over {
            return Ok(());
        }
        tokio::select! {
            () = &mut ended => is_over = true,
            () = sender.closed() => return Ok(()),
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

/// Reads the next whole line; half a line is left for later.
async fn next_line(
    file: &mut BufReader<File>,
    line: &mut String,
    position: &mut u64,
) -> std::io::Result<bool> {
    let mut raw = Vec::new();
    let length = file.read_until(b'\n', &mut raw).await?;
    if raw.last() != Some(&b'\n') {
        return Ok(false);
    }
    raw.pop();
    *position += length as u64;
    *line = String::from_utf8_lossy(&raw).into_owned();
    Ok(true)
}

/// Sends a line, or what the byte limit leaves of it. Answers whether more may follow.
async fn push(sender: &Sender, text: String, left: &mut usize) -> bool {
    let mut bytes = Bytes::from(text);
    bytes.truncate(*left);
    *left -= bytes.len();
    (bytes.is_empty() || sender.send(Ok(bytes)).await.is_ok()) && *left > 0
}

#[cfg(test)]
mod tests;
