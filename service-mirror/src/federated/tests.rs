use super::*;

fn key(name: &str) -> Key {
    Key::new("shop", name)
}

fn local(name: &str) -> (Key, Arc<Value>) {
    let object = json!({
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": "2026-01-02T00:00:00Z"},
        "spec": {"trafficDistribution": "PreferClose", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    });
    (key(name), Arc::new(object))
}

fn member(cluster: &str, ports: &str) -> (Key, Arc<Value>) {
    let name = format!("catalog-federated-{cluster}");
    let object = json!({
        "metadata": {
            "name": name, "namespace": "shop",
            "labels": {"kubernetes.io/service-name": "catalog-federated", "mirror.linkerd.io/cluster-name": cluster},
            "annotations": {
                "mirror.linkerd.io/remote-svc-fq-name": "catalog.shop.svc.cluster.local",
                (MEMBER_PORTS): ports, (MEMBER_CREATED): "2026-01-01T00:00:00Z",
            },
        },
    });
    (key(&name), Arc::new(object))
}

const HTTP: &str = r#"[{"name":"http","port":80,"protocol":"TCP"}]"#;

fn world(
    local_members: Vec<(Key, Arc<Value>)>,
    members: Vec<(Key, Arc<Value>)>,
    rtt: &[(&str, u64)],
) -> FederatedWorld {
    FederatedWorld {
        synced: true,
        local_members: local_members.into_iter().collect(),
        member_slices: members.into_iter().collect(),
        clusters: rtt.iter().map(|(c, ms)| ((*c).to_owned(), Some(Duration::from_millis(*ms)))).collect(),
        ..FederatedWorld::default()
    }
}

fn applied_service(world: &FederatedWorld) -> Value {
    let actions = plan(world, &Applied::new());
    match actions.as_slice() {
        [Action::ApplyService(service)] => service.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn federated_service_lists_its_members_and_takes_the_local_ones_settings() {
    let service = applied_service(&world(vec![local("catalog")], vec![member("west", HTTP)], &[("west", 3)]));
    assert_eq!(service["metadata"]["name"], "catalog-federated");
    let notes = &service["metadata"]["annotations"];
    assert_eq!(notes[annotations::LOCAL_DISCOVERY], "catalog");
    assert_eq!(notes[annotations::REMOTE_DISCOVERY], "catalog@west");
    assert_eq!(notes[annotations::CLUSTER_ORDER], "west");
    assert_eq!(service["spec"]["trafficDistribution"], "PreferClose");
    assert_eq!(service["spec"]["ports"].as_array().unwrap().len(), 1);
}

#[test]
fn ports_are_the_union_and_the_local_member_wins_a_clash() {
    let other =
        r#"[{"name":"http","port":8080,"protocol":"TCP"},{"name":"admin","port":9000,"protocol":"TCP"}]"#;
    let service =
        applied_service(&world(vec![local("catalog")], vec![member("west", other)], &[("west", 3)]));
    let ports: Vec<_> =
        service["spec"]["ports"].as_array().unwrap().iter().map(|p| p["port"].as_u64().unwrap()).collect();
    assert_eq!(ports, [80, 9000]);
}

#[test]
fn clusters_keep_their_order_unless_one_is_clearly_nearer() {
    let members = || vec![member("north", HTTP), member("west", HTTP)];
    let mut first = world(vec![], members(), &[("north", 10), ("west", 20)]);
    let written = applied_service(&first);
    assert_eq!(written["metadata"]["annotations"][annotations::CLUSTER_ORDER], "north,west");
    first.services.insert(key("catalog-federated"), Arc::new(written));
    let order = |world: &FederatedWorld| {
        let service =
            federated_service(&key("catalog-federated"), &groups(world)[&key("catalog-federated")], world);
        service["metadata"]["annotations"][annotations::CLUSTER_ORDER].as_str().unwrap().to_owned()
    };
    first.clusters.insert("west".to_owned(), Some(Duration::from_millis(9)));
    assert_eq!(order(&first), "north,west", "a tenth is noise");
    first.clusters.insert("west".to_owned(), Some(Duration::from_millis(7)));
    assert_eq!(order(&first), "west,north");
}

#[test]
fn the_last_member_takes_the_federated_service_with_it() {
    let mut gone = world(vec![], vec![], &[("west", 3)]);
    gone.services.insert(key("catalog-federated"), Arc::new(json!({})));
    assert_eq!(plan(&gone, &Applied::new()), [Action::DeleteService(key("catalog-federated"))]);
    gone.synced = false;
    assert_eq!(plan(&gone, &Applied::new()), []);
}

#[test]
fn what_an_unlinked_cluster_left_is_cleared_away() {
    let (slice_key, slice) = member("south", HTTP);
    let mut world = world(vec![], vec![], &[("west", 3)]);
    world.member_slices.insert(slice_key.clone(), Arc::clone(&slice));
    world.mirrored_slices.insert(slice_key.clone(), slice);
    let mirror = json!({"metadata": {"labels": {"mirror.linkerd.io/cluster-name": "south"}}});
    world.mirrored_services.insert(key("catalog-south"), Arc::new(mirror));
    let actions = plan(&world, &Applied::new());
    assert_eq!(actions, [Action::DeleteSlice(slice_key), Action::DeleteService(key("catalog-south"))]);
}
