use super::*;
use futures::FutureExt as _;

fn failure() -> Option<String> {
    Some("no route to host".to_owned())
}

#[test]
fn silence_lasts_from_the_last_answer() {
    let pulse = Pulse::new();
    let minute = Duration::from_secs(60);
    assert_eq!(pulse.silent(minute), None, "nothing was asked yet");
    assert!(pulse.note(failure(), Instant::now()));
    assert_eq!(pulse.silent(minute), Some((minute, "no route to host".to_owned())), "never answered");
    assert!(pulse.note(None, Instant::now()));
    assert_eq!(pulse.silent(minute), None);
    assert!(!pulse.note(None, Instant::now()), "nothing new");
    pulse.note(failure(), Instant::now());
    assert!(pulse.silent(minute).unwrap().0 < minute);
}

#[test]
fn watches_are_begun_anew_after_an_outage_and_not_after_a_hiccup() {
    let pulse = Pulse::new();
    let anew = || pulse.recovered().now_or_never().is_some();
    pulse.note(None, Instant::now());
    pulse.note(failure(), Instant::now());
    pulse.note(None, Instant::now());
    assert!(!anew());
    pulse.note(failure(), Instant::now());
    pulse.note(failure(), Instant::now());
    pulse.note(None, Instant::now());
    assert!(anew());
}
