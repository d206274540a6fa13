use super::*;
use std::collections::BTreeMap;

fn meta(notes: &[(&str, &str)]) -> ObjectMeta {
    let notes: BTreeMap<_, _> = notes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    ObjectMeta { annotations: Some(notes), ..ObjectMeta::default() }
}

#[test]
fn without_annotations_nothing_is_ejected_timed_or_retried() {
    assert_eq!(Balance::from_meta(&ObjectMeta::default()), Balance::default());
}

#[test]
fn consecutive_accrual_takes_its_numbers_from_annotations() {
    let balance = Balance::from_meta(&meta(&[
        (keys::FAILURE_ACCRUAL, "consecutive"),
        (keys::FAILURE_ACCRUAL_MAX_FAILURES, "3"),
        (keys::FAILURE_ACCRUAL_MIN_PENALTY, "500ms"),
    ]));
    let Some(Accrual::Consecutive { max_failures, backoff }) = balance.accrual else { panic!("{balance:?}") };
    assert_eq!(
        (max_failures, backoff.min, backoff.max),
        (3, Duration::from_millis(500), Duration::from_secs(60))
    );
}

#[test]
fn a_value_that_cannot_be_read_leaves_the_default() {
    let balance = Balance::from_meta(&meta(&[
        (keys::FAILURE_ACCRUAL, "consecutive"),
        (keys::FAILURE_ACCRUAL_MAX_FAILURES, "many"),
        (keys::TIMEOUT_REQUEST, "1.5s"),
        (keys::RETRY_HTTP, "6xx"),
    ]));
    assert_eq!(balance.accrual, Some(Accrual::consecutive()));
    assert_eq!((balance.timeouts.request, balance.retry), (None, None));
}

#[test]
fn retry_conditions_are_words_codes_and_ranges() {
    assert_eq!(
        statuses("5xx, 429,400-404,gateway-error"),
        Ok(vec![(500, 599), (429, 429), (400, 404), (502, 504)])
    );
    assert!(statuses("504-500").is_err());
}
