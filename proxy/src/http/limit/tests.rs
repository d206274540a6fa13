use super::*;
use crate::body::Frames;
use http_body_util::BodyExt;

const SECOND: Duration = Duration::from_secs(1);

fn clock(limits: Timeouts) -> Rc<Clock> {
    Clock::start(limits).unwrap()
}

async fn never() -> Result<(), Error> {
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn a_body_that_ends_in_time_is_not_touched() {
    let clock = clock(Timeouts { request: Some(SECOND), ..Timeouts::default() });
    let body = Body::Limited(Box::new(Limited::new(Body::full("hello"), clock)));
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
}

#[test]
fn without_limits_there_is_no_clock() {
    assert!(Clock::start(Timeouts::default()).is_none());
}

#[tokio::test(start_paused = true)]
async fn the_request_limit_counts_from_the_beginning_whatever_moves() {
    let clock = clock(Timeouts { request: Some(3 * SECOND), ..Timeouts::default() });
    let began = Instant::now();
    let moving = async {
        loop {
            tokio::time::sleep(SECOND / 2).await;
            clock.moved();
            clock.restart();
        }
    };
    let error = within::<()>(Some(&clock), pin!(moving)).await.unwrap_err();
    assert!(matches!(error, Error::RequestTimeout(_)));
    assert_eq!(began.elapsed(), 3 * SECOND);
    assert!(clock.expired());
}

#[tokio::test(start_paused = true)]
async fn the_response_limit_counts_from_the_end_of_the_request() {
    let clock = clock(Timeouts { response: Some(2 * SECOND), ..Timeouts::default() });
    let began = Instant::now();
    let sending = async {
        tokio::time::sleep(5 * SECOND).await;
        clock.sent();
        never().await
    };
    let error = within(Some(&clock), pin!(sending)).await.unwrap_err();
    assert!(matches!(error, Error::ResponseTimeout(_)));
    assert_eq!(began.elapsed(), 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_idle_limit_counts_from_the_last_frame() {
    let clock = clock(Timeouts { idle: Some(2 * SECOND), ..Timeouts::default() });
    let began = Instant::now();
    let moving = async {
        for _ in 0..4 {
            tokio::time::sleep(SECOND).await;
            clock.moved();
        }
        never().await
    };
    let error = within(Some(&clock), pin!(moving)).await.unwrap_err();
    assert!(matches!(error, Error::IdleTimeout(_)));
    assert_eq!(began.elapsed(), 6 * SECOND);
}

/// A body of which nothing comes.
struct Stalled;

impl Frames for Stalled {
    fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        false
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_fails_at_the_limit() {
    let (start, limit) = (Instant::now(), Duration::from_secs(3));
    let clock = clock(Timeouts { idle: Some(limit), ..Timeouts::default() });
    let limited = Limited::new(Body::frames(Stalled), clock);
    let error = Body::Limited(Box::new(limited)).collect().await.unwrap_err();
    assert!(matches!(error, Error::IdleTimeout(_)));
    assert_eq!(start.elapsed(), limit);
}
