use super::*;

fn sample(kind: Kind, millis: u64, failure: Option<&str>) -> Sample {
    let took = Duration::from_millis(millis);
    Sample { kind, due: Instant::now(), took, failure: failure.map(Into::into) }
}

#[test]
fn the_percentile_is_of_small_requests_that_succeeded() {
    let mut samples: Vec<Sample> = (1..=100).map(|ms| sample(Kind::Get, ms, None)).collect();
    samples.push(sample(Kind::Download, 5000, None));
    samples.push(sample(Kind::Get, 7000, Some("503")));
    assert_eq!(p99(samples.iter()), Some(99.0));
    assert_eq!(p99([].iter()), None);
}

#[test]
fn successes_are_counted_by_kind() {
    let record = Record::default();
    record.ended(Kind::Get, Instant::now(), Ok(()));
    record.ended(Kind::Get, Instant::now(), Err("closed".to_owned()));
    record.ended(Kind::Tcp, Instant::now(), Ok(()));
    assert_eq!((record.answered(Kind::Get), record.answered(Kind::Post)), (1, 0));
    assert_eq!(record.failed(), (1, 3));
}
