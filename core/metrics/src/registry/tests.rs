use super::*;

fn labels() -> Labels {
    Labels::new().with("direction", "inbound").with("tls", "true")
}

#[test]
fn names_and_labels_are_linkerds() {
    let registry = Registry::new();
    let requests = registry.counter("request", "Total count of HTTP requests.").get(&labels());
    requests.add(3);
    let text = registry.encode();
    assert!(text.contains("request_total{direction=\"inbound\",tls=\"true\"} 3\n"), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[test]
fn asking_twice_gives_the_same_series() {
    let registry = Registry::new();
    registry.counter("request", "").get(&labels()).inc();
    registry.counter("request", "").get(&labels()).inc();
    assert_eq!(registry.counter("request", "").get(&labels()).value(), 2);
    assert_eq!(registry.encode().matches("# TYPE request counter").count(), 1);
}

#[test]
fn histograms_are_cumulative_and_have_an_infinite_bucket() {
    let registry = Registry::new();
    let latency = registry.histogram("response_latency_ms", "", &[1.0, 2.0, 5.0]).get(&Labels::new());
    for value in [0.5, 1.0, 3.0, 9.0] {
        latency.observe(value);
    }
    let text = registry.encode();
    for line in [
        "_bucket{le=\"1.0\"} 2",
        "_bucket{le=\"5.0\"} 3",
        "_bucket{le=\"+Inf\"} 4",
        "_sum{} 13.5",
        "_count{} 4",
    ] {
        assert!(text.contains(&format!("response_latency_ms{line}")), "{line} in {text}");
    }
}

#[test]
fn a_series_is_dropped_only_when_nobody_holds_it_for_long_enough() {
    let registry = Registry::new();
    let family = registry.gauge("tcp_open_connections", "");
    let held = family.get(&Labels::new().with("peer", "src"));
    drop(family.get(&Labels::new().with("peer", "dst")));
    let (start, retain) = (Instant::now(), Duration::from_secs(600));
    registry.evict(start, retain);
    registry.evict(start + retain / 2, retain);
    assert_eq!(family.len(), 2);
    registry.evict(start + retain, retain);
    assert_eq!(family.len(), 1);
    held.inc();
    assert!(registry.encode().contains("peer=\"src\""));
}

#[test]
fn what_the_kernel_says_is_shown_by_its_usual_names() {
    let registry = Registry::new();
    crate::register_process(&registry);
    let text = registry.encode();
    for name in [
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_threads ",
        "process_open_fds ",
    ] {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap() >= 0.0, "{line}");
    }
}

#[test]
fn values_that_need_escaping_are_escaped() {
    let registry = Registry::new();
    registry.info("build", "", &Labels::new().with("version", "a\"b\\c\nd"));
    let text = registry.encode();
    assert!(text.contains(r#"version="a\"b\\c\nd""#), "{text}");
}

#[test]
fn probes_with_labels_share_a_family() {
    let registry = Registry::new();
    for worker in ["0", "1"] {
        let labels = Labels::from_iter([("worker", worker)]);
        registry.labelled_probe("worker_tasks", "Tasks", &labels, || 2.0);
        registry.labelled_counter_probe("worker_parks", "Parks", &labels, || 3.0);
    }
    let text = registry.encode();
    assert!(text.contains("worker_tasks{worker=\"1\"} 2.0\n"), "{text}");
    assert!(text.contains("worker_parks_total{worker=\"0\"} 3.0\n"), "{text}");
    assert_eq!(text.matches("# TYPE worker_tasks gauge").count(), 1);
}

#[test]
fn families_describe_themselves() {
    let registry = Registry::new();
    registry.gauge("open", "Open now");
    registry.counter("request", "Requests");
    registry.counter("request", "Requests");
    let described: Vec<_> = registry.describe().into_iter().map(|d| (d.name, d.kind, d.help)).collect();
    let text = |s: &str| s.to_owned();
    assert_eq!(
        described,
        [(text("open"), "gauge", text("Open now")), (text("request_total"), "counter", text("Requests"))]
    );
}

#[test]
fn the_process_tells_of_itself() {
    let registry = Registry::new();
    crate::register_process(&registry);
    let text = registry.encode();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 0.0);
    assert!(value("process_open_fds") < value("process_max_fds"));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - value("process_start_time_seconds")).abs() < 600.0);
}
