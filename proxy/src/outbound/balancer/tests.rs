use super::*;
use crate::outbound::endpoint::{Ailing, Health, Setup, Transport};
use mesh_metrics::Labels;

fn set(known: Known, ports: &[u16]) -> Arc<EndpointSet> {
    let now = Instant::now();
    let endpoint = |port: &u16| {
        let addr = SocketAddr::from(([10, 0, 0, 1], *port));
        let transport = Transport::plain(addr);
        let health = Health::new(Setup::default().accrual, None, Arc::new(Ailing::default()), now);
        Arc::new(Endpoint { addr, transport, weight: 1, labels: Labels::new(), health: Arc::new(health) })
    };
    EndpointSet::new(known, ports.iter().map(endpoint).collect())
}

fn between(old: &EndpointSet, new: &EndpointSet) -> Vec<P2cUpdate> {
    changes(old, new).collect()
}

#[test]
fn changes_of_endpoints_are_told_by_what_came_and_went() {
    let nothing = set(Known::Pending, &[]);
    let (one, two) = (set(Known::Present, &[1]), set(Known::Present, &[1, 2]));
    assert_eq!(between(&nothing, &two), [P2cUpdate::Reset]);
    assert_eq!(between(&one, &two), [P2cUpdate::Add]);
    assert_eq!(between(&two, &one), [P2cUpdate::Remove]);
    assert_eq!(between(&one, &set(Known::Present, &[2])), [P2cUpdate::Add, P2cUpdate::Remove]);
    assert_eq!(between(&one, &set(Known::Absent, &[])), [P2cUpdate::Remove, P2cUpdate::Gone]);
    assert_eq!(between(&one, &one), []);
}
