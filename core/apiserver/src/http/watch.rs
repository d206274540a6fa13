//! A watch as a stream of JSON lines.

use super::accept::Shape;
use crate::api::{Target, WatchStart};
use crate::convert;
use crate::error::ApiError;
use crate::store::{ChangeKind, Feed, FeedEvent};
use crate::streams::Body;
use crate::table;
use bytes::Bytes;
use futures::stream;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a quiet watch goes without a bookmark.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(30);

/// Everything a running watch holds.
struct Watch {
    target: Target,
    shape: Shape,
    include: table::Include,
    feed: Feed,
    bookmarks: bool,
    deadline: Instant,
    stop: CancellationToken,
    /// Column definitions go with the first table only.
    headings: bool,
    next: Next,
}

enum Next {
    Initial { objects: Vec<Arc<Value>>, marks_end: bool },
    Changes,
    End,
}

pub(super) struct Settings {
    pub(super) shape: Shape,
    pub(super) include: table::Include,
    pub(super) bookmarks: bool,
    pub(super) timeout: Duration,
    pub(super) stop: CancellationToken,
}

pub(super) fn respond(target: &Target, start: WatchStart, settings: Settings) -> Response<Body> {
    let watch = Watch {
        target: target.clone(),
        shape: settings.shape,
        include: settings.include,
        feed: start.feed,
        bookmarks: settings.bookmarks,
        deadline: Instant::now() + settings.timeout,
        stop: settings.stop,
        headings: true,
        next: Next::Initial { objects: start.initial, marks_end: start.marks_end },
    };
    let frames = stream::unfold(watch, |mut watch| async move {
        let text = watch.next_batch().await?;
        Some((Ok::<_, std::io::Error>(Frame::data(Bytes::from(text))), watch))
    });
    body(StreamBody::new(frames).boxed_unsync())
}

/// A watch that fails at once does so within its stream, as the real server's do.
pub(super) fn refuse(error: &ApiError) -> Response<Body> {
    body(crate::streams::full(error_line(error)))
}

fn body(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn error_line(error: &ApiError) -> String {
    format!("{}\n", json!({"type": "ERROR", "object": error.to_status()}))
}

impl Watch {
    /// The next lines; `None` ends the stream.
    async fn next_batch(&mut self) -> Option<String> {
        let mut out = String::new();
        match std::mem::replace(&mut self.next, Next::Changes) {
            Next::End => return None,
            Next::Initial { objects, marks_end } => {
                for object in &objects {
                    self.line(&mut out, "ADDED", object);
                }
                if marks_end {
                    self.bookmark(&mut out, true);
                }
                if !out.is_empty() {
                    return Some(out);
                }
            }
            Next::Changes => {}
        }
        let quiet_until = Instant::now() + BOOKMARK_INTERVAL;
        loop {
            match self.feed.poll() {
                Ok(events) if !events.is_empty() => {
                    for event in &events {
                        self.event(&mut out, event);
                    }
                    return Some(out);
                }
                Ok(_) if self.bookmarks && Instant::now() >= quiet_until => {
                    self.bookmark(&mut out, false);
                    return Some(out);
                }
                Ok(_) => {}
                Err(compacted) => {
                    self.next = Next::End;
                    return Some(error_line(&crate::api::too_old(self.feed.revision(), &compacted)));
                }
            }
            tokio::select! {
                served = self.feed.changed() => {
                    if !served {
                        return None;
                    }
                }
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep_until(self.deadline) => {
                    self.next = Next::End;
                    if !self.bookmarks {
                        return None;
                    }
                    self.bookmark(&mut out, false);
                    return Some(out);
                }
                () = tokio::time::sleep_until(quiet_until), if self.bookmarks => {}
            }
        }
    }

    fn event(&mut self, out: &mut String, event: &FeedEvent) {
        let kind = match event.kind {
            ChangeKind::Added => "ADDED",
            ChangeKind::Modified => "MODIFIED",
            ChangeKind::Deleted => "DELETED",
        };
        self.line(out, kind, &event.object);
    }

    fn line(&mut self, out: &mut String, kind: &str, stored: &Arc<Value>) {
        let object = convert::present(&self.target.def, &self.target.version, stored);
        // Writing to a string does not fail.
        let _ = match self.shape {
            Shape::Object | Shape::Discovery => {
                writeln!(out, "{{\"type\":\"{kind}\",\"object\":{object}}}")
            }
            Shape::Metadata => {
                let object = table::partial_metadata(&object);
                writeln!(out, "{{\"type\":\"{kind}\",\"object\":{object}}}")
            }
            Shape::Table => {
                let meta = json!({"resourceVersion": crate::object::resource_version(&object)});
                let table = self.table(std::slice::from_ref(&object), meta);
                writeln!(out, "{{\"type\":\"{kind}\",\"object\":{table}}}")
            }
        };
    }

    fn table(&mut self, items: &[Arc<Value>], meta: Value) -> Value {
        let headings = std::mem::replace(&mut self.headings, false);
        let (def, version) = (&self.target.def, &self.target.version);
        table::table(def, version, items, meta, self.include, headings, jiff::Timestamp::now())
    }

    fn bookmark(&mut self, out: &mut String, ends_initial: bool) {
        let mut meta = json!({"resourceVersion": self.feed.revision().to_string()});
        if ends_initial {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = match self.shape {
            Shape::Object | Shape::Discovery => json!({
                "kind": self.target.def.kind, "apiVersion": self.target.api_version(), "metadata": meta,
            }),
            Shape::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta})
            }
            Shape::Table => {
                let mut table = self.table(&[], json!({"resourceVersion": meta["resourceVersion"]}));
                if ends_initial {
                    table["metadata"]["annotations"] = meta["annotations"].clone();
                }
                table
            }
        };
        let _ = writeln!(out, "{{\"type\":\"BOOKMARK\",\"object\":{object}}}");
    }
}
