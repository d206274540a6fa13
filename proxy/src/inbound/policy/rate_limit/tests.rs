use super::super::ClientTls;
use super::*;

fn client(name: Option<&str>) -> Client {
    let identity = name.map(|name| {
        format!("{name}.shop.serviceaccount.identity.linkerd.cluster.local").parse::<Identity>().unwrap()
    });
    let tls = if identity.is_some() { ClientTls::Mesh(identity) } else { ClientTls::None };
    Client { addr: ([10, 0, 0, 1], 1).into(), tls }
}

fn limit(total: Option<u32>, identity: Option<u32>, overrides: Vec<(u32, &str)>) -> Arc<RateLimit> {
    let special = |(rate, name): (u32, &str)| (rate, vec![client(Some(name)).identity().unwrap().clone()]);
    Arc::new(RateLimit::new(Meta::default(), total, identity, overrides.into_iter().map(special).collect()))
}

/// How many of `n` requests pass at a point of time.
fn passed(limit: &ClientLimit, n: usize, at: u64) -> usize {
    (0..n).filter(|_| limit.take_at(at).is_ok()).count()
}

#[test]
fn a_second_s_worth_passes_at_once_and_the_rest_at_the_rate() {
    let limit = limit(Some(10), None, vec![]).of(&client(None));
    assert_eq!(passed(&limit, 50, SECOND), 10);
    assert_eq!(passed(&limit, 50, SECOND + SECOND / 2), 5);
    assert_eq!(limit.take_at(SECOND + SECOND / 2), Err(Exceeded { scope: "total", rate: 10 }));
    assert_eq!(passed(&limit, 50, 100 * SECOND), 10);
}

#[test]
fn each_identity_has_its_own_and_strangers_share_one() {
    let limit = limit(None, Some(3), vec![]);
    assert_eq!(passed(&limit.of(&client(Some("a"))), 9, SECOND), 3);
    assert_eq!(passed(&limit.of(&client(Some("b"))), 9, SECOND), 3);
    assert_eq!(passed(&limit.of(&client(Some("a"))), 9, SECOND), 0, "another connection, the same bucket");
    assert_eq!(passed(&limit.of(&client(None)), 9, SECOND), 3);
    assert_eq!(limit.of(&client(None)).take_at(SECOND), Err(Exceeded { scope: "identity", rate: 3 }));
}

#[test]
fn overrides_stand_in_for_the_identity_s_limit_and_not_for_the_total() {
    let limit = limit(Some(8), Some(3), vec![(5, "a"), (0, "b")]);
    assert_eq!(passed(&limit.of(&client(Some("a"))), 5, SECOND), 5);
    assert_eq!(limit.of(&client(Some("a"))).take_at(SECOND), Err(Exceeded { scope: "override", rate: 5 }));
    assert_eq!(passed(&limit.of(&client(Some("b"))), 9, SECOND), 2, "the total is used up");
}

#[test]
fn no_limit_limits_nothing() {
    let limit = limit(None, Some(0), vec![]).of(&client(None));
    assert_eq!(passed(&limit, 10_000, SECOND), 10_000);
}

#[test]
fn identities_that_are_gone_are_forgotten() {
    let limit = limit(None, Some(1), vec![]);
    for n in 0..MAX_IDENTITIES + 10 {
        limit.of(&client(Some(&format!("c{n}"))));
    }
    assert!(limit.identity.as_ref().unwrap().buckets.lock().len() <= MAX_IDENTITIES);
}

#[test]
fn threads_share_a_bucket() {
    let limit = limit(Some(1000), None, vec![]).of(&client(None));
    let take = |_| {
        let limit = limit.clone();
        std::thread::spawn(move || passed(&limit, 1000, SECOND))
    };
    let threads: Vec<_> = (0..4).map(take).collect();
    assert_eq!(threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>(), 1000);
}
