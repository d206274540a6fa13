use super::*;
use crate::model::{GatewayAddress, Port, Selector};
use mesh_types::labels;
use proptest::prelude::*;
use std::time::Duration;

pub(crate) fn selector(key: &str, value: &str) -> Selector {
    Selector { match_labels: [(key.to_owned(), value.to_owned())].into(), match_expressions: vec![] }
}

fn link() -> LinkConfig {
    LinkConfig {
        key: Key::new("linkerd-multicluster", "west"),
        cluster: "west".parse().unwrap(),
        target_domain: "cluster.local".to_owned(),
        gateway_identity:
            "linkerd-gateway.linkerd-multicluster.serviceaccount.identity.linkerd.cluster.local".to_owned(),
        exported: selector(labels::EXPORTED, "true"),
        federated: selector(labels::FEDERATED, "member"),
        excluded_annotations: vec![],
        excluded_labels: vec![],
        probe_period: Duration::from_secs(3),
        probe_timeout: Duration::from_secs(1),
        probe_failures: 3,
        probe_path: "/ready".to_owned(),
        probe_port: 4191,
    }
}

fn service(name: &str, labels: &[(&str, &str)]) -> RemoteService {
    RemoteService {
        key: Key::new("shop", name),
        resource_version: "7".to_owned(),
        created: "2026-01-01T00:00:00Z".to_owned(),
        labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        annotations: BTreeMap::new(),
        ports: vec![Port {
            name: "http".into(),
            port: 80,
            protocol: "TCP".into(),
            app_protocol: Some("http".into()),
        }],
        headless: false,
        external_name: false,
        traffic_distribution: None,
        ready_endpoints: 2,
    }
}

fn world(services: Vec<RemoteService>) -> LinkWorld {
    LinkWorld {
        link: link(),
        remote_synced: true,
        local_synced: true,
        remote: services.into_iter().map(|s| (s.key.clone(), s)).collect(),
        gateway: Gateway {
            port: 4143,
            current: true,
            addresses: vec![GatewayAddress { ip: "198.18.2.10".parse().unwrap(), alive: Some(true) }],
        },
        namespaces: ["shop".to_owned()].into(),
        create_namespaces: false,
        services: BTreeMap::new(),
        slices: BTreeMap::new(),
    }
}

/// Does what a plan says to the world, as the API server would.
fn carry_out(world: &mut LinkWorld, applied: &mut (Applied, Applied), plan: &Plan) {
    for action in &plan.actions {
        match action {
            Action::ApplyNamespace(o) => drop(world.namespaces.insert(Key::of(o).name)),
            Action::ApplyService(o) => {
                world.services.insert(Key::of(o), Arc::new(o.clone()));
                applied.0.insert(Key::of(o), o.clone());
            }
            Action::ApplySlice(o) => {
                world.slices.insert(Key::of(o), Arc::new(o.clone()));
                applied.1.insert(Key::of(o), o.clone());
            }
            Action::DeleteService(k) => drop(world.services.remove(k)),
            Action::DeleteSlice(k) => drop(world.slices.remove(k)),
        }
    }
}

#[test]
fn exported_service_is_mirrored_with_ports_and_gateway_endpoints() {
    let plan = plan(
        &world(vec![service("catalog", &[(labels::EXPORTED, "true")])]),
        &Applied::new(),
        &Applied::new(),
    );
    let [Action::ApplyService(svc), Action::ApplySlice(slice)] = plan.actions.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(svc["metadata"]["name"], "catalog-west");
    assert_eq!(svc["spec"]["ports"][0]["appProtocol"], "http");
    assert_eq!(
        svc["metadata"]["annotations"]["mirror.linkerd.io/remote-svc-fq-name"],
        "catalog.shop.svc.cluster.local"
    );
    assert_eq!(slice["ports"][0]["port"], 4143);
    assert_eq!(slice["endpoints"][0]["addresses"][0], "198.18.2.10");
    assert_eq!(slice["endpoints"][0]["conditions"]["ready"], true);
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "catalog-west");
    assert_eq!(plan.mirrors[0].reason, "Mirrored");
}

#[test]
fn a_plan_carried_out_leaves_nothing_to_do() {
    let mut world = world(vec![
        service("catalog", &[(labels::EXPORTED, "true"), (labels::FEDERATED, "member")]),
        service("web", &[(labels::EXPORTED, "true")]),
    ]);
    let mut applied = (Applied::new(), Applied::new());
    let first = plan(&world, &applied.0, &applied.1);
    carry_out(&mut world, &mut applied, &first);
    assert_eq!(plan(&world, &applied.0, &applied.1).actions, []);
}

#[test]
fn unexported_service_is_deleted_with_its_slice() {
    let mut world = world(vec![service("catalog", &[(labels::EXPORTED, "true")])]);
    let mut applied = (Applied::new(), Applied::new());
    let first = plan(&world, &applied.0, &applied.1);
    carry_out(&mut world, &mut applied, &first);
    world.remote.clear();
    let key = Key::new("shop", "catalog-west");
    assert_eq!(
        plan(&world, &applied.0, &applied.1).actions,
        [Action::DeleteSlice(key.clone()), Action::DeleteService(key)]
    );
}

#[test]
fn nothing_is_done_while_either_side_is_not_listed() {
    for (remote, local) in [(false, true), (true, false)] {
        let mut world = world(vec![]);
        world.services.insert(Key::new("shop", "catalog-west"), Arc::new(Value::Null));
        (world.remote_synced, world.local_synced) = (remote, local);
        assert_eq!(plan(&world, &Applied::new(), &Applied::new()), Plan::default());
    }
}

#[test]
fn dead_gateway_or_empty_service_is_not_ready_and_an_unprobed_one_is_not_written() {
    let ready = |world: &LinkWorld| {
        let plan = plan(world, &Applied::new(), &Applied::new());
        plan.actions.iter().find_map(|a| match a {
            Action::ApplySlice(s) => s["endpoints"][0]["conditions"]["ready"].as_bool(),
            _ => None,
        })
    };
    let mut world = world(vec![service("catalog", &[(labels::EXPORTED, "true")])]);
    assert_eq!(ready(&world), Some(true));
    world.gateway.addresses[0].alive = Some(false);
    assert_eq!(ready(&world), Some(false));
    world.gateway.addresses[0].alive = None;
    assert_eq!(ready(&world), None);
    world.gateway.addresses[0].alive = Some(true);
    world.remote.values_mut().for_each(|s| s.ready_endpoints = 0);
    assert_eq!(ready(&world), Some(false));
}

#[test]
fn refused_services_say_why_and_keep_what_exists() {
    let mut headless = service("db", &[(labels::EXPORTED, "true")]);
    headless.headless = true;
    let mut elsewhere = service("web", &[(labels::EXPORTED, "true")]);
    elsewhere.key.namespace = "nowhere".to_owned();
    let plan = plan(&world(vec![headless, elsewhere]), &Applied::new(), &Applied::new());
    assert_eq!(plan.actions, []);
    let mut reasons: Vec<_> = plan.mirrors.iter().map(|o| o.reason).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["InvalidService", "MissingNamespace"]);
}

#[test]
fn member_slice_belongs_to_the_federated_service_and_counts_endpoints() {
    let plan = plan(
        &world(vec![service("catalog", &[(labels::FEDERATED, "member")])]),
        &Applied::new(),
        &Applied::new(),
    );
    let [Action::ApplySlice(slice)] = plan.actions.as_slice() else { panic!("{plan:?}") };
    assert_eq!(slice["metadata"]["name"], "catalog-federated-west");
    assert_eq!(slice["metadata"]["labels"]["kubernetes.io/service-name"], "catalog-federated");
    assert_eq!(slice["metadata"]["annotations"]["isthmus.dev/ready-endpoints"], "2");
}

#[test]
fn what_others_add_to_a_mirror_is_left_and_what_they_change_is_put_right() {
    let mut world = world(vec![service("catalog", &[(labels::EXPORTED, "true")])]);
    let mut applied = (Applied::new(), Applied::new());
    let first = plan(&world, &applied.0, &applied.1);
    carry_out(&mut world, &mut applied, &first);
    let key = Key::new("shop", "catalog-west");
    let mut live = Value::clone(&world.services[&key]);
    live["metadata"]["annotations"]["someone.else/note"] = "hello".into();
    live["spec"]["clusterIP"] = "10.43.7.7".into();
    world.services.insert(key.clone(), Arc::new(live.clone()));
    assert_eq!(plan(&world, &applied.0, &applied.1).actions, []);
    live["spec"]["ports"][0]["port"] = 81.into();
    world.services.insert(key, Arc::new(live));
    assert!(matches!(plan(&world, &applied.0, &applied.1).actions.as_slice(), [Action::ApplyService(_)]));
}

#[test]
fn an_absent_selector_exports_nothing() {
    let mut world = world(vec![service("catalog", &[(labels::EXPORTED, "true")])]);
    world.link.exported = Selector::default();
    assert_eq!(plan(&world, &Applied::new(), &Applied::new()).actions, []);
}

proptest! {
    /// Whatever happened before, carrying out one plan is enough, and only exported services are left.
    #[test]
    fn any_history_converges_in_one_step(before in proptest::collection::vec(0usize..6, 0..6), after in proptest::collection::vec(0usize..6, 0..6)) {
        let make = |names: &[usize]| names.iter().map(|i| service(&format!("svc{i}"), &[(labels::EXPORTED, "true")])).collect::<Vec<_>>();
        let mut world = world(make(&before));
        let mut applied = (Applied::new(), Applied::new());
        let first = plan(&world, &applied.0, &applied.1);
        carry_out(&mut world, &mut applied, &first);
        world.remote = make(&after).into_iter().map(|s| (s.key.clone(), s)).collect();
        let second = plan(&world, &applied.0, &applied.1);
        carry_out(&mut world, &mut applied, &second);
        prop_assert_eq!(plan(&world, &applied.0, &applied.1).actions, vec![]);
        let expected: BTreeSet<_> = after.iter().map(|i| format!("svc{i}-west")).collect();
        let left: BTreeSet<_> = world.services.keys().map(|k| k.name.clone()).collect();
        prop_assert_eq!(left, expected);
    }
}

#[test]
fn a_missing_namespace_is_made_once_where_that_is_asked_for() {
    let mut elsewhere = service("web", &[(labels::EXPORTED, "true")]);
    elsewhere.key.namespace = "late".to_owned();
    let mut world = world(vec![elsewhere]);
    world.create_namespaces = true;
    let mut applied = (Applied::new(), Applied::new());
    let first = plan(&world, &applied.0, &applied.1);
    assert!(
        matches!(first.actions.as_slice(), [Action::ApplyNamespace(n)] if n["metadata"]["name"] == "late")
    );
    carry_out(&mut world, &mut applied, &first);
    let second = plan(&world, &applied.0, &applied.1);
    assert!(
        matches!(second.actions.as_slice(), [Action::ApplyService(_), Action::ApplySlice(_)]),
        "{second:?}"
    );
}

#[test]
fn a_slice_holds_the_family_that_answers() {
    let slice_of = |addresses: &[(&str, bool)]| {
        let mut world = world(vec![service("catalog", &[(labels::EXPORTED, "true")])]);
        let address =
            |(ip, alive): &(&str, bool)| GatewayAddress { ip: ip.parse().unwrap(), alive: Some(*alive) };
        world.gateway.addresses = addresses.iter().map(address).collect();
        let plan = plan(&world, &Applied::new(), &Applied::new());
        let slice = plan.actions.iter().find_map(|a| match a {
            Action::ApplySlice(slice) => Some(slice.clone()),
            _ => None,
        });
        let slice = slice.unwrap();
        let ips = slice["endpoints"]
            .as_array()
            .unwrap()
            .iter()
            .map(|e| e["addresses"][0].as_str().unwrap().to_owned());
        let name = slice["metadata"]["name"].as_str().unwrap().to_owned();
        (name, slice["addressType"].as_str().unwrap().to_owned(), ips.collect::<Vec<_>>())
    };
    let v4 = ("198.18.2.10", true);
    let expect =
        |name: &str, family: &str, ip: &str| (name.to_owned(), family.to_owned(), vec![ip.to_owned()]);
    let first = expect("catalog-west", "IPv4", "198.18.2.10");
    let second = expect("catalog-west-ipv6", "IPv6", "fd00::1");
    assert_eq!(slice_of(&[v4, ("fd00::1", true)]), first);
    assert_eq!(slice_of(&[("198.18.2.10", false), ("fd00::1", true)]), second);
    assert_eq!(slice_of(&[("198.18.2.10", false), ("fd00::1", false)]), first);
    assert_eq!(slice_of(&[("fd00::1", false)]), second);
}

#[test]
fn endpoints_wait_for_the_probes_of_the_addresses_published_now() {
    let mut world = world(vec![service("catalog", &[(labels::EXPORTED, "true")])]);
    world.gateway.current = false;
    world.gateway.addresses.clear();
    let plan = plan(&world, &Applied::new(), &Applied::new());
    assert!(plan.actions.iter().all(|a| !matches!(a, Action::ApplySlice(_))), "{plan:?}");
}
