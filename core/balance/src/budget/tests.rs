use super::*;
use proptest::prelude::*;

fn budget(ratio: f64, min_per_second: u32) -> (RetryBudget, Instant) {
    let now = Instant::now();
    let config = BudgetConfig { ratio, min_per_second, ttl: Duration::from_secs(10) };
    (RetryBudget::new(config, now), now)
}

fn take_all(budget: &RetryBudget, now: Instant) -> usize {
    (0..100_000).take_while(|_| budget.withdraw(now)).count()
}

#[test]
fn retries_add_a_share_to_the_requests() {
    let (budget, now) = budget(0.2, 0);
    (0..1000).for_each(|_| budget.deposit(now));
    assert_eq!(take_all(&budget, now), 200);
}

#[test]
fn a_quiet_service_has_its_reserve_and_gets_it_back() {
    let (budget, now) = budget(0.2, 10);
    assert_eq!(take_all(&budget, now), 100);
    assert!(!budget.withdraw(now + Duration::from_secs(5)));
    assert_eq!(take_all(&budget, now + Duration::from_secs(11)), 100);
}

#[test]
fn requests_count_no_longer_than_their_life() {
    let (budget, now) = budget(1.0, 0);
    (0..50).for_each(|_| budget.deposit(now));
    assert!((budget.balance(now + Duration::from_secs(5)) - 50.0).abs() < 1e-9);
    assert!(budget.balance(now + Duration::from_secs(11)).abs() < 1e-9);
}

#[test]
fn a_budget_of_nothing_allows_nothing() {
    let (budget, now) = budget(0.0, 0);
    budget.deposit(now);
    assert!(!budget.withdraw(now));
}

proptest! {
    #[test]
    fn over_any_time_retries_stay_below_the_share_and_the_reserve(
        steps in prop::collection::vec((0u64..3000, 0usize..50, 0usize..50), 1..60),
    ) {
        let (budget, start) = budget(0.2, 10);
        let (mut now, mut requests, mut retries) = (start, 0usize, 0usize);
        for (wait, sent, failed) in steps {
            now += Duration::from_millis(wait);
            (0..sent).for_each(|_| budget.deposit(now));
            requests += sent;
            retries += (0..failed).filter(|_| budget.withdraw(now)).count();
            let seconds = now.duration_since(start).as_secs_f64();
            // The reserve is there once, and again for every life that has passed.
            let most = requests as f64 * 0.2 + 100.0 + 10.0 * seconds + 100.0;
            prop_assert!(retries as f64 <= most, "{retries} of {requests} after {seconds} s");
        }
    }
}
