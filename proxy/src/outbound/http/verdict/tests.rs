use super::*;

fn response(status: u16, header: Option<(&str, &str)>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    response.body(Body::Empty).unwrap()
}

fn retry() -> Retry {
    Retry { statuses: vec![500..=599], grpc: vec![14], ..Retry::blank() }
}

fn connect() -> Error {
    Error::ConnectTimeout { addr: "10.0.0.1:1".parse().unwrap(), after: Duration::from_secs(1) }
}

#[test]
fn what_reached_no_application_goes_elsewhere_whatever_the_method() {
    let marked = response(503, Some(("isthmus-retry-safe", "true")));
    assert_eq!(of_response(&marked, None, None, false), Verdict::Refused);
    assert_eq!(of_error(&connect(), None, false), Verdict::Unheard);
}

#[test]
fn what_was_lost_with_its_application_goes_elsewhere_only_where_it_may_be_repeated() {
    let lost = response(502, Some(("isthmus-retry-safe", "broken")));
    assert_eq!(of_response(&lost, None, None, true), Verdict::Broken);
    assert_eq!(of_response(&lost, None, None, false), Verdict::Final);
    assert_eq!(of_response(&lost, None, Some(&retry()), false), Verdict::Covered);
}

#[test]
fn responses_are_tried_again_only_by_policy() {
    assert_eq!(of_response(&response(503, None), None, None, true), Verdict::Final);
    assert_eq!(of_response(&response(503, None), None, Some(&retry()), true), Verdict::Covered);
    assert_eq!(of_response(&response(404, None), None, Some(&retry()), true), Verdict::Final);
    assert_eq!(of_response(&response(200, None), Some(14), Some(&retry()), true), Verdict::Covered);
    assert_eq!(of_response(&response(200, None), Some(0), Some(&retry()), true), Verdict::Final);
    assert_eq!(of_response(&response(200, None), Some(5), Some(&retry()), true), Verdict::Final);
}

#[test]
fn the_limit_of_an_attempt_leads_to_the_next_one_whatever_statuses_are_retried() {
    let late = Error::ResponseTimeout(Duration::from_secs(1));
    let none = Retry { statuses: Vec::new(), grpc: Vec::new(), ..retry() };
    assert_eq!(of_error(&late, Some(&none), false), Verdict::Covered);
    assert_eq!(of_error(&late, None, true), Verdict::Final);
}

fn broken() -> Error {
    Error::Request(crate::http::http1::Error::Incomplete.into())
}

#[test]
fn a_broken_connection_is_no_reason_to_repeat_what_is_not_idempotent() {
    let error = broken();
    assert_eq!(of_error(&error, None, true), Verdict::Broken);
    assert_eq!(of_error(&error, None, false), Verdict::Final);
    assert_eq!(of_error(&error, Some(&retry()), false), Verdict::Covered, "the policy says so");
    let other = Retry { statuses: vec![429..=429], grpc: Vec::new(), ..retry() };
    assert_eq!(of_error(&error, Some(&other), false), Verdict::Final);
}

struct Case {
    template: Template,
    budget: RetryBudget,
    metrics: RouteMetrics,
}

impl Case {
    fn new(budget: mesh_balance::BudgetConfig) -> Self {
        let memory = crate::http::replay::Memory::new(1024);
        let keeping = || crate::http::replay::Keeping { limit: 64, memory, clock: None, frames: None };
        let template = Template::new(::http::Request::get("/").body(Body::Empty).unwrap(), keeping);
        let registry = mesh_metrics::Registry::new();
        let metrics = crate::outbound::metrics::OutboundMetrics::new(&registry)
            .route(&mesh_metrics::Labels::new(), false);
        Self { template, budget: RetryBudget::new(budget, Instant::now()), metrics }
    }

    fn attempts<'a>(&'a self, retry: Option<&'a Retry>, tiered: bool) -> Attempts<'a> {
        Attempts::new(&self.template, retry, &self.budget, &self.metrics, tiered)
    }
}

fn nothing() -> mesh_balance::BudgetConfig {
    mesh_balance::BudgetConfig { ratio: 0.0, min_per_second: 0, ttl: Duration::from_secs(10) }
}

#[test]
fn retries_end_with_the_limit_or_with_the_budget() {
    let late = || Err(Error::ResponseTimeout(Duration::from_secs(1)));
    let retry = Retry { max: 2, timeout: Some(Duration::from_secs(1)), ..retry() };
    let case = Case::new(mesh_balance::BudgetConfig::default());
    let mut attempts = case.attempts(Some(&retry), false);
    for _ in 0..2 {
        assert_eq!(attempts.limit(), retry.timeout);
        assert!(matches!(attempts.after(&late()), Step::Again(_)));
    }
    assert_eq!(attempts.limit(), None, "the last attempt has as long as the request");
    assert_eq!(attempts.after(&late()), Step::Give);
    assert_eq!((case.metrics.retries.value(), case.metrics.retry_limited.value()), (2, 1));

    let case = Case::new(nothing());
    assert_eq!(case.attempts(Some(&retry), false).after(&late()), Step::Give);
    assert_eq!(case.metrics.retry_overflow.value(), 1);
}

#[test]
fn what_nobody_heard_of_needs_no_budget() {
    let case = Case::new(nothing());
    let mut attempts = case.attempts(None, false);
    for _ in 0..MAX_SAFE_ATTEMPTS - 1 {
        assert_eq!(attempts.after(&Err(connect())), Step::Elsewhere);
    }
    assert_eq!(attempts.after(&Err(connect())), Step::Give);
    attempts.in_round(1);
    assert_eq!(attempts.after(&Err(connect())), Step::Elsewhere, "it has waited");
}

#[tokio::test]
async fn a_broken_request_moves_once_where_there_are_tiers() {
    let case = Case::new(mesh_balance::BudgetConfig::default());
    let mut attempts = case.attempts(None, true);
    assert_eq!(attempts.after(&Err(broken())), Step::Elsewhere);
    assert_eq!(attempts.after(&Err(broken())), Step::Give, "once");
    assert_eq!(case.attempts(None, false).after(&Err(broken())), Step::Give, "nobody asked for failover");
}
