use super::*;
use std::collections::BTreeMap;

fn read(notes: &[(&str, &str)]) -> (Balance, Vec<Problem>) {
    let notes: BTreeMap<_, _> = notes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Balance::from_meta(&ObjectMeta { annotations: Some(notes), ..ObjectMeta::default() })
}

fn good(notes: &[(&str, &str)]) -> Balance {
    let (balance, problems) = read(notes);
    assert_eq!(problems, []);
    balance
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn without_annotations_nothing_is_ejected_timed_or_retried() {
    assert_eq!(good(&[]), Balance::default());
}

#[test]
fn consecutive_accrual_takes_its_numbers_from_annotations() {
    let balance = good(&[
        (keys::FAILURE_ACCRUAL, "consecutive"),
        (keys::FAILURE_ACCRUAL_MAX_FAILURES, "3"),
        (keys::FAILURE_ACCRUAL_MIN_PENALTY, "500ms"),
        (keys::FAILURE_ACCRUAL_JITTER, "0.2"),
    ]);
    let Some(Accrual::Consecutive { max_failures, backoff }) = balance.accrual else { panic!("{balance:?}") };
    assert_eq!(
        (max_failures, backoff.min, backoff.max, backoff.jitter),
        (3, Duration::from_millis(500), 60 * SECOND, 0.2)
    );
}

#[test]
fn unified_accrual_has_a_share_a_window_and_a_least_number() {
    let unified = |notes: &[(&str, &str)]| {
        let all: Vec<_> = [(keys::FAILURE_ACCRUAL, "unified")].into_iter().chain(notes.to_vec()).collect();
        match good(&all).accrual {
            Some(Accrual::Unified { success_rate, window, min_requests, max_failures, backoff }) => {
                (success_rate, window, min_requests, max_failures, backoff.honor_retry_after)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(unified(&[]), (0.8, 10 * SECOND, 5, 7, false));
    let notes = [
        (keys::FAILURE_ACCRUAL_SUCCESS_RATE, "0.95"),
        (keys::FAILURE_ACCRUAL_WINDOW, "30s"),
        (keys::FAILURE_ACCRUAL_MIN_REQUESTS, "20"),
        (keys::FAILURE_ACCRUAL_HONOR_RETRY_AFTER, "true"),
    ];
    assert_eq!(unified(&notes), (0.95, 30 * SECOND, 20, 7, true));
}

#[test]
fn failures_are_penalized_where_asked() {
    assert_eq!(good(&[(keys::LOAD_BIASER_PENALTY, "1s")]).penalty, None);
    assert_eq!(good(&[(keys::PENALIZE_FAILURES, "false")]).penalty, None);
    let penalty = |notes: &[(&str, &str)]| good(notes).penalty.map(|p| (p.amount, p.max_retry_after));
    assert_eq!(penalty(&[(keys::PENALIZE_FAILURES, "true")]), Some((5 * SECOND, 300 * SECOND)));
    let notes = [
        (keys::PENALIZE_FAILURES, "true"),
        (keys::LOAD_BIASER_PENALTY, "2s"),
        (keys::LOAD_BIASER_MAX_RETRY_AFTER, "1m"),
    ];
    assert_eq!(penalty(&notes), Some((2 * SECOND, 60 * SECOND)));
}

#[test]
fn retries_are_by_status_or_by_code() {
    let balance = good(&[(keys::RETRY_GRPC, "unavailable,internal"), (keys::RETRY_TIMEOUT, "400ms")]);
    let retry = balance.retry.expect("retries");
    assert_eq!((retry.statuses, retry.grpc, retry.limit), (vec![], vec![14, 13], 1));
    assert_eq!(retry.timeout, Some(Duration::from_millis(400)));
    let retry = good(&[(keys::RETRY_HTTP, "5xx"), (keys::RETRY_LIMIT, "0")]).retry.expect("retries");
    assert_eq!((retry.statuses, retry.limit), (vec![(500, 599)], 0));
    assert_eq!(good(&[(keys::RETRY_LIMIT, "3")]).retry, None, "nothing to retry on");
}

#[test]
fn a_value_that_cannot_be_read_is_told_of_and_leaves_the_default_and_the_rest() {
    let (balance, problems) = read(&[
        (keys::FAILURE_ACCRUAL, "consecutive"),
        (keys::FAILURE_ACCRUAL_MAX_FAILURES, "many"),
        (keys::TIMEOUT_REQUEST, "1.5s"),
        (keys::TIMEOUT_IDLE, "0s"),
        (keys::TIMEOUT_RESPONSE, "3s"),
        (keys::RETRY_HTTP, "6xx"),
        (keys::RETRY_GRPC, "unavailable"),
        (keys::FAILURE_ACCRUAL_WINDOW, "1ms"),
        (keys::FAILURE_ACCRUAL_MIN_REQUESTS, "1000001"),
    ]);
    assert_eq!(balance.accrual, Some(Accrual::consecutive()));
    assert_eq!((balance.timeouts.request, balance.timeouts.idle), (None, None));
    assert_eq!(balance.timeouts.response, Some(3 * SECOND));
    assert_eq!(balance.retry.expect("the rest").grpc, [14]);
    let told: Vec<_> = problems.iter().map(|p| p.annotation.as_str()).collect();
    let mut bad = vec![
        keys::FAILURE_ACCRUAL_MAX_FAILURES,
        keys::TIMEOUT_REQUEST,
        keys::TIMEOUT_IDLE,
        keys::RETRY_HTTP,
        keys::FAILURE_ACCRUAL_WINDOW,
        keys::FAILURE_ACCRUAL_MIN_REQUESTS,
    ];
    bad.sort_unstable();
    assert_eq!(told, bad);
    let words = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(words.contains("500ms or 10s") && words.contains("gateway-error"), "the remedy is told: {words}");
}

#[test]
fn a_shortest_penalty_above_the_longest_is_told_of() {
    let (balance, problems) = read(&[
        (keys::FAILURE_ACCRUAL, "consecutive"),
        (keys::FAILURE_ACCRUAL_MIN_PENALTY, "2m"),
        (keys::FAILURE_ACCRUAL_MAX_PENALTY, "30s"),
    ]);
    let Some(Accrual::Consecutive { backoff, .. }) = balance.accrual else { panic!("{balance:?}") };
    assert_eq!((backoff.min, backoff.max), (30 * SECOND, 30 * SECOND));
    assert_eq!(problems.len(), 1);
}

#[test]
fn a_misspelt_annotation_is_told_of() {
    let (balance, problems) = read(&[("retry.linkerd.io/limits", "3"), ("example.org/limits", "3")]);
    assert_eq!(balance, Balance::default());
    let told: Vec<_> = problems.iter().map(|p| p.annotation.as_str()).collect();
    assert_eq!(told, ["retry.linkerd.io/limits"]);
}
