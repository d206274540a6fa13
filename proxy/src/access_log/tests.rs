use super::*;
use http::StatusCode;
use mesh_types::headers::PROXY_ERROR;
use std::sync::mpsc;

fn log(format: AccessFormat) -> (AccessLog, Receiver<String>) {
    let (lines, queue) = sync_channel(1);
    (AccessLog { format, lines, dropped: Counter::default() }, queue)
}

fn entry(log: &AccessLog) -> Entry {
    let request = Request::get("http://web:7000/a?b=c")
        .header("host", "web:7000")
        .header("user-agent", "curl \"8\"")
        .header("x-request-id", "7")
        .body(Body::Empty)
        .unwrap();
    let client = "client.shop.serviceaccount.identity.linkerd.cluster.local".parse().unwrap();
    log.begin(&request, "10.0.0.1:5".parse().unwrap(), Some(&client))
}

fn response(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(12));
    response
}

#[test]
fn apache_lines_are_linkerds() {
    let (log, lines) = log(AccessFormat::Apache);
    let mut request = entry(&log);
    request.time = std::time::UNIX_EPOCH;
    request.uri = Uri::from_static("http://web:7000/");
    request.end(&response(StatusCode::OK));
    let identity = "client.shop.serviceaccount.identity.linkerd.cluster.local";
    let expected = format!(
        "10.0.0.1:5 {identity} - [1970-01-01T00:00:00.000000000Z] \"GET http://web:7000/ HTTP/1.1\" 200 12\n"
    );
    assert_eq!(lines.recv().unwrap(), expected);
}

#[test]
fn json_lines_are_objects_with_linkerds_fields() {
    let (log, lines) = log(AccessFormat::Json);
    entry(&log).end(&response(StatusCode::OK));
    let line: serde_json::Value = serde_json::from_str(&lines.recv().unwrap()).unwrap();
    assert_eq!((&line["status"], &line["response_bytes"]), (&200.into(), &"12".into()));
    assert_eq!((&line["uri"], &line["user_agent"]), (&"http://web:7000/a?b=c".into(), &"curl \"8\"".into()));
    assert_eq!((&line["trace_id"], &line["host"]), (&"7".into(), &"web:7000".into()));
    assert!(line["total_ns"].as_str().unwrap().parse::<u64>().is_ok());
    assert_eq!(line.get("error"), None);
}

#[test]
fn refusals_say_why() {
    for format in [AccessFormat::Apache, AccessFormat::Json] {
        let (log, lines) = log(format);
        let mut refusal = response(StatusCode::FORBIDDEN);
        refusal.headers_mut().insert(PROXY_ERROR, HeaderValue::from_static("unauthorized: \"x\""));
        entry(&log).end(&refusal);
        assert!(lines.recv().unwrap().contains("\"unauthorized: \\\"x\\\"\""));
        log.refused("10.0.0.1:5".parse().unwrap(), None, &refusal);
        let line = lines.recv().unwrap();
        assert!(line.contains("403") && line.contains("\\\"x\\\""), "{line}");
    }
}

#[test]
fn nobody_waits_for_a_slow_reader() {
    /// Stays in the middle of the first write until it is told to go on.
    struct Slow(mpsc::Receiver<()>);
    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (go_on, told) = mpsc::channel();
    let registry = Registry::new();
    let log = AccessLog::start(AccessFormat::Json, Box::new(Slow(told)), &registry).unwrap();
    let started = Instant::now();
    // One is being written, a buffer's worth may be gathered; the rest waits or is left out.
    for _ in 0..3 * QUEUE {
        entry(&log).end(&response(StatusCode::OK));
    }
    assert!(started.elapsed().as_secs() < 30);
    assert!(log.dropped.value() > 0);
    assert!(registry.encode().contains("isthmus_access_log_dropped_total"));
    drop(go_on);
}
