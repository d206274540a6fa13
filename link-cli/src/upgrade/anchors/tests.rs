use super::*;

const HOUR: Duration = Duration::from_secs(3600);

/// Everything is well: the anchor is needed by nobody.
fn free() -> Facts {
    Facts {
        issuer_falls: None,
        issuer_for: Some(HOUR * 25),
        leaf_life: HOUR * 24,
        proxies: 7,
        holders: Ok((7, 0)),
    }
}

#[test]
fn an_anchor_that_nobody_needs_may_go() {
    assert_eq!(obstacle(&free()), None);
}

#[test]
fn an_anchor_stays_while_somebody_may_need_it() {
    let cases = [
        (Facts { issuer_falls: Some("unknown".into()), ..free() }, "stands below it: unknown"),
        (Facts { issuer_for: None, ..free() }, "how long it has been there"),
        (Facts { issuer_for: Some(HOUR * 3), ..free() }, "for another 21 h 0 min"),
        (Facts { holders: Ok((6, 1)), ..free() }, "1 proxies hold another"),
        (Facts { holders: Ok((6, 0)), ..free() }, "only 6 of 7 proxies"),
        (
            Facts { holders: Err("gone".into()), ..free() },
            "cannot be asked who holds which trust bundle: gone",
        ),
    ];
    for (facts, why) in cases {
        let told = obstacle(&facts).expect(why).0;
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn the_last_writing_of_the_issuer_counts() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let made = "2026-01-01T00:00:00Z";
    let secret = serde_json::json!({"metadata": {"creationTimestamp": made, "managedFields": [
        {"time": "2026-02-01T00:00:00Z"}, {"time": "2026-03-01T00:00:00Z"}, {}]}});
    assert_eq!(written(&secret), Some(time("2026-03-01T00:00:00Z")));
    assert_eq!(written(&serde_json::json!({"metadata": {"creationTimestamp": made}})), Some(time(made)));
    assert_eq!(written(&serde_json::json!({"metadata": {}})), None);
    assert_eq!(since(time("2026-03-01T01:00:00Z"), time("2026-03-01T00:00:00Z")), Duration::ZERO);
}

#[test]
fn metrics_are_found_by_their_whole_name() {
    let text = "# TYPE a_b gauge\na_b_c 1\na_b 12\n";
    assert_eq!((sample(text, "a_b"), sample(text, "a_b_c"), sample(text, "a")), (Some(12), Some(1), None));
}
