use super::*;
use crate::controllers::testing::world;

fn service(name: &str, spec: Value, held: Option<&str>) -> Value {
    let ingress: Vec<_> = held.map(|ip| json!({ "ip": ip })).into_iter().collect();
    json!({
        "metadata": { "namespace": "shop", "name": name, "uid": name }, "spec": spec,
        "status": { "loadBalancer": { "ingress": ingress } },
    })
}

fn given(plan: &Plan) -> Vec<(&str, Value)> {
    let of = |action: &'_ Action| match action {
        Action::PatchStatus(_, _, patch) => patch["status"]["loadBalancer"]["ingress"][0]["ip"].clone(),
        other => panic!("unexpected {other:?}"),
    };
    let key = |action: &'_ Action| matches!(action, Action::PatchStatus(..));
    plan.actions
        .iter()
        .filter(|action| key(action))
        .map(|action| match action {
            Action::PatchStatus(_, key, _) => (key.name.as_str(), of(action)),
            _ => unreachable!(),
        })
        .collect()
}

fn balancer() -> Value {
    json!({ "type": "LoadBalancer" })
}

#[test]
fn free_addresses_are_given_lowest_first_and_kept() {
    let (held, new) = (service("a", balancer(), Some("198.18.1.10")), service("b", balancer(), None));
    let plan = plan(&world(&[(Kind::Service, &held), (Kind::Service, &new)]), AddressPool::of_cluster(1));
    assert_eq!(given(&plan), [("b", json!("198.18.1.11"))]);
}

#[test]
fn an_asked_for_address_wins_unless_taken_or_foreign() {
    let asked = |ip: &str| json!({ "type": "LoadBalancer", "loadBalancerIP": ip });
    let moved = service("a", asked("198.18.1.20"), Some("198.18.1.10"));
    let foreign = service("b", asked("10.0.0.1"), None);
    let taken = service("c", asked("198.18.1.30"), None);
    let holder = service("d", balancer(), Some("198.18.1.30"));
    let objects = [moved, foreign, taken, holder];
    let objects: Vec<_> = objects.iter().map(|object| (Kind::Service, object)).collect();
    assert_eq!(given(&plan(&world(&objects), AddressPool::of_cluster(1))), [("a", json!("198.18.1.20"))]);
}

#[test]
fn a_service_that_is_no_longer_a_load_balancer_loses_its_address() {
    let former = service("a", json!({ "type": "ClusterIP" }), Some("198.18.1.10"));
    let plan = plan(&world(&[(Kind::Service, &former)]), AddressPool::of_cluster(1));
    assert_eq!(given(&plan), [("a", Value::Null)]);
}
