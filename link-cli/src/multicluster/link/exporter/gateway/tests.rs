use super::*;
use serde_json::{Value, json};

fn gateway(spec: Value, status: Value, nodes: Value, args: &[&str]) -> Gateway {
    let service = json!({
        "metadata": {"name": "linkerd-gateway", "namespace": "linkerd-multicluster",
            "annotations": {(annotations::GATEWAY_IDENTITY): "gw.id", (annotations::PROBE_PERIOD): "5"}},
        "spec": spec, "status": status,
    });
    let service: Service = serde_json::from_value(service).unwrap();
    let nodes: Vec<Node> = serde_json::from_value(nodes).unwrap();
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        link: LinkArgs,
    }
    let line = <Line as clap::Parser>::parse_from(["x"].iter().chain(args));
    Gateway::from_objects(&line.link, &service, &nodes).unwrap()
}

fn ports() -> Value {
    json!([{"name": "mc-gateway", "port": 4143, "nodePort": 30143}, {"name": "mc-probe", "port": 4191, "nodePort": 30191}])
}

#[test]
fn a_load_balancer_may_have_addresses_and_host_names() {
    let status = json!({"loadBalancer": {"ingress": [{"ip": "198.18.2.10"}, {"hostname": "gw.example"}]}});
    let found = gateway(json!({"type": "LoadBalancer", "ports": ports()}), status, json!([]), &[]);
    assert_eq!(found.endpoints(), ["198.18.2.10:4143", "gw.example:4143"]);
    assert_eq!((found.probe_port, found.probe_period.as_str(), found.pinned), (4191, "5s", false));
}

#[test]
fn a_node_port_gateway_is_reached_at_every_node() {
    let node = |addresses: Value| json!({"status": {"addresses": addresses}});
    let nodes = json!([
        node(json!([{"type": "InternalIP", "address": "172.18.0.2"}, {"type": "Hostname", "address": "a"}])),
        node(
            json!([{"type": "InternalIP", "address": "172.18.0.3"}, {"type": "ExternalIP", "address": "192.0.2.3"}])
        ),
    ]);
    let spec = json!({"type": "NodePort", "ports": ports()});
    let found = gateway(spec.clone(), json!({}), nodes.clone(), &[]);
    assert_eq!(found.endpoints(), ["172.18.0.2:30143", "192.0.2.3:30143"]);
    assert_eq!((found.probe_port, found.pinned), (30191, true));
    let given = gateway(spec, json!({}), nodes, &["--gateway-addresses", "fd00::7", "--gateway-port", "443"]);
    assert_eq!(given.endpoints(), ["[fd00::7]:443"]);
}
