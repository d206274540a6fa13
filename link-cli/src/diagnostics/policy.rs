//! `diagnostics policy`: what a proxy would be told of its own port, or of reaching a Service.

use super::reach;
use crate::globals::Globals;
use crate::report::Problem;
use mesh_api::inbound::inbound_server_policies_client::InboundServerPoliciesClient;
use mesh_api::inbound::{self, PortSpec, authn, proxy_protocol};
use mesh_api::net::ip_address::Ip;
use mesh_api::outbound::outbound_policies_client::OutboundPoliciesClient;
use mesh_api::outbound::{self, TrafficSpec, http_route, opaque_route, traffic_spec};
use mesh_kube::k8s_openapi::api::core::v1::ConfigMap;
use mesh_kube::kube::Api;
use mesh_types::ports;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `diagnostics policy`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Args {
    /// pod/NAME or service/NAME
    #[arg(value_name = "RESOURCE")]
    resource: String,
    /// Port of the pod or the Service
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Namespace of the resource
    #[arg(long, short = 'n', default_value = "default", value_name = "NAMESPACE")]
    namespace: String,
    /// yaml or json
    #[arg(long, short = 'o', default_value = "yaml", value_parser = ["yaml", "json"])]
    output: String,
    /// Ask this destination pod instead of the first that is ready
    #[arg(long, value_name = "POD")]
    destination_pod: Option<String>,
    /// The workload that asks, for a Service: namespace:pod
    #[arg(long, default_value = "default:diagnostics", value_name = "WORKLOAD")]
    token: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, globals: &Globals) -> anyhow::Result<ExitCode> {
    let (kind, name) = args.resource.split_once('/').unwrap_or(("", ""));
    let channel = reach::destination(globals, args.destination_pod.as_deref(), ports::POLICY).await?;
    let refused = |status: mesh_api::tonic::Status| {
        let why = format!("{:?}: {}", status.code(), status.message());
        let fix = format!("kubectl -n {} get {kind} {name} tells whether it is there", args.namespace);
        Problem::new(format!("no policy for {}", args.resource), why, fix)
    };
    let shown = match kind {
        "pod" | "po" | "pods" => {
            let workload = format!("{}:{name}", args.namespace);
            let request = PortSpec { workload, port: args.port.into() };
            let answer =
                InboundServerPoliciesClient::new(channel).get_port(request).await.map_err(refused)?;
            inbound_json(&answer.into_inner())
        }
        "service" | "svc" | "services" => {
            let domain = cluster_domain(globals).await;
            let authority = format!("{name}.{}.svc.{domain}:{}", args.namespace, args.port);
            let target = Some(traffic_spec::Target::Authority(authority));
            let request = TrafficSpec { source_workload: args.token.clone(), target };
            let answer = OutboundPoliciesClient::new(channel).get(request).await.map_err(refused)?;
            outbound_json(&answer.into_inner())
        }
        _ => {
            let why = format!("{:?} is neither pod/NAME nor service/NAME", args.resource);
            return Err(
                Problem::usage("no such resource", why, "for example: service/catalog 80 -n shop").into()
            );
        }
    };
    if args.output == "json" {
        println!("{}", serde_json::to_string_pretty(&shown)?);
    } else {
        print!("{}", serde_saphyr::to_string(&shown)?);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn cluster_domain(globals: &Globals) -> String {
    let found = async {
        let maps: Api<ConfigMap> = Api::namespaced(globals.client().await.ok()?, &globals.linkerd_namespace);
        let data = maps.get("linkerd-config").await.ok()?.data?;
        let values: Value = serde_saphyr::from_str(data.get("values")?).ok()?;
        values["clusterDomain"].as_str().map(str::to_owned)
    };
    found.await.unwrap_or_else(|| mesh_types::CLUSTER_DOMAIN.to_owned())
}

fn inbound_json(server: &inbound::Server) -> Value {
    use proxy_protocol::Kind;
    let (protocol, routes) = match server.protocol.as_ref().and_then(|p| p.kind.as_ref()) {
        Some(Kind::Detect(d)) => ("detect", d.http_routes.as_slice()),
        Some(Kind::Http1(h)) => ("http/1", h.routes.as_slice()),
        Some(Kind::Http2(h)) => ("http/2", h.routes.as_slice()),
        Some(Kind::Grpc(_)) => ("grpc", &[][..]),
        Some(Kind::Opaque(_)) => ("opaque", &[][..]),
        Some(Kind::Tls(_)) => ("tls", &[][..]),
        None => ("unknown", &[][..]),
    };
    let authorizations = |all: &[inbound::Authz]| all.iter().map(authz_json).collect::<Vec<_>>();
    let routes = routes.iter().map(|route| {
        json!({"metadata": metadata(route.metadata.as_ref()), "authorizations": authorizations(&route.authorizations)})
    });
    json!({
        "protocol": protocol, "labels": server.labels, "authorizations": authorizations(&server.authorizations),
        "routes": routes.collect::<Vec<_>>(),
    })
}

fn authz_json(authz: &inbound::Authz) -> Value {
    use authn::permit_mesh_tls::Clients;
    let clients = match authz.authentication.as_ref().and_then(|a| a.permit.as_ref()) {
        Some(authn::Permit::Unauthenticated(_)) => json!("unauthenticated"),
        Some(authn::Permit::MeshTls(tls)) => match &tls.clients {
            Some(Clients::Unauthenticated(_)) => json!({"meshTLS": "unauthenticated"}),
            Some(Clients::Identities(ids)) => {
                let exact = ids.identities.iter().map(|i| i.name.clone());
                let suffixes = ids.suffixes.iter().map(|s| {
                    if s.parts.is_empty() { "*".to_owned() } else { format!("*.{}", s.parts.join(".")) }
                });
                json!({"meshTLS": exact.chain(suffixes).collect::<Vec<_>>()})
            }
            None => json!({"meshTLS": []}),
        },
        None => Value::Null,
    };
    let networks = authz.networks.iter().filter_map(|n| {
        let net = n.net.as_ref()?;
        let ip = match net.ip.as_ref()?.ip.as_ref()? {
            Ip::Ipv4(v4) => std::net::Ipv4Addr::from(*v4).to_string(),
            Ip::Ipv6(v6) => {
                std::net::Ipv6Addr::from((u128::from(v6.first) << 64) | u128::from(v6.last)).to_string()
            }
        };
        Some(format!("{ip}/{}", net.prefix_len))
    });
    json!({"labels": authz.labels, "clients": clients, "networks": networks.collect::<Vec<_>>()})
}

fn outbound_json(policy: &outbound::OutboundPolicy) -> Value {
    use outbound::proxy_protocol::Kind;
    let protocol = match policy.protocol.as_ref().and_then(|p| p.kind.as_ref()) {
        Some(Kind::Detect(d)) => json!({"detect": {
            "http1": d.http1.as_ref().map(|h| http_routes(&h.routes, h.failure_accrual.as_ref())),
            "http2": d.http2.as_ref().map(|h| http_routes(&h.routes, h.failure_accrual.as_ref())),
            "opaque": d.opaque.as_ref().map(|o| opaque_routes(&o.routes)),
        }}),
        Some(Kind::Http1(h)) => json!({"http1": http_routes(&h.routes, h.failure_accrual.as_ref())}),
        Some(Kind::Http2(h)) => json!({"http2": http_routes(&h.routes, h.failure_accrual.as_ref())}),
        Some(Kind::Opaque(o)) => json!({"opaque": opaque_routes(&o.routes)}),
        Some(Kind::Grpc(g)) => json!({"grpc": {"routes": g.routes.len()}}),
        Some(Kind::Tls(t)) => json!({"tls": {"routes": t.routes.len()}}),
        None => Value::Null,
    };
    json!({"metadata": metadata(policy.metadata.as_ref()), "protocol": protocol})
}

fn http_routes(routes: &[outbound::HttpRoute], accrual: Option<&outbound::FailureAccrual>) -> Value {
    use http_route::distribution::Kind;
    use http_route::filter::Kind as Filter;
    let rule = |rule: &http_route::Rule| {
        let backend = |b: &http_route::RouteBackend| backend(b.backend.as_ref());
        let backends = match rule.backends.as_ref().and_then(|d| d.kind.as_ref()) {
            Some(Kind::FirstAvailable(f)) => {
                json!({"firstAvailable": f.backends.iter().map(backend).collect::<Vec<_>>()})
            }
            Some(Kind::RandomAvailable(r)) => {
                let weighted = r
                    .backends
                    .iter()
                    .map(|w| json!({"weight": w.weight, "backend": w.backend.as_ref().map(backend)}));
                json!({"randomAvailable": weighted.collect::<Vec<_>>()})
            }
            Some(Kind::Empty(_)) | None => json!("empty"),
        };
        let filters = rule.filters.iter().filter_map(|f| match f.kind.as_ref()? {
            Filter::FailureInjector(f) => {
                Some(json!({"failure": {"status": f.status, "message": f.message}}))
            }
            Filter::RequestHeaderModifier(_) => Some(json!("requestHeaderModifier")),
            Filter::ResponseHeaderModifier(_) => Some(json!("responseHeaderModifier")),
            Filter::Redirect(_) => Some(json!("redirect")),
        });
        let retry = rule
            .retry
            .as_ref()
            .map(|r| json!({"maxRetries": r.max_retries, "maxRequestBytes": r.max_request_bytes}));
        json!({"backends": backends, "filters": filters.collect::<Vec<_>>(), "retry": retry})
    };
    let routes = routes.iter().map(|route| {
        json!({"metadata": metadata(route.metadata.as_ref()), "rules": route.rules.iter().map(rule).collect::<Vec<_>>()})
    });
    json!({"routes": routes.collect::<Vec<_>>(), "failureAccrual": accrual.map(accrual_json)})
}

fn opaque_routes(routes: &[outbound::OpaqueRoute]) -> Value {
    use opaque_route::distribution::Kind;
    use opaque_route::filter::Kind as Filter;
    let rule = |rule: &opaque_route::Rule| {
        let backends = match rule.backends.as_ref().and_then(|d| d.kind.as_ref()) {
            Some(Kind::FirstAvailable(f)) => {
                json!({"firstAvailable": f.backends.iter().map(|b| backend(b.backend.as_ref())).collect::<Vec<_>>()})
            }
            Some(Kind::RandomAvailable(r)) => {
                let backends = r.backends.iter().filter_map(|w| w.backend.as_ref());
                json!({"randomAvailable": backends.map(|b| backend(b.backend.as_ref())).collect::<Vec<_>>()})
            }
            Some(Kind::Empty(_)) | None => json!("empty"),
        };
        let filters = rule.filters.iter().filter_map(|f| match f.kind.as_ref()? {
            Filter::Forbidden(_) => Some("forbidden"),
            Filter::Invalid(_) => Some("invalid"),
        });
        json!({"backends": backends, "filters": filters.collect::<Vec<_>>()})
    };
    let rules = routes.iter().flat_map(|r| &r.rules).map(rule);
    json!({"rules": rules.collect::<Vec<_>>()})
}

fn backend(backend: Option<&outbound::Backend>) -> Value {
    use outbound::backend::Kind;
    use outbound::backend::endpoint_discovery::Kind as Discovery;
    let Some(backend) = backend else { return Value::Null };
    match backend.kind.as_ref() {
        Some(Kind::Balancer(balancer)) => {
            let path = balancer
                .discovery
                .as_ref()
                .and_then(|d| d.kind.as_ref())
                .map(|Discovery::Dst(dst)| dst.path.clone());
            json!({"balancer": path})
        }
        Some(Kind::Forward(_)) => json!("forward"),
        None => Value::Null,
    }
}

fn accrual_json(accrual: &outbound::FailureAccrual) -> Value {
    use outbound::failure_accrual::Kind;
    match accrual.kind.as_ref() {
        Some(Kind::ConsecutiveFailures(c)) => json!({"consecutiveFailures": {"maxFailures": c.max_failures}}),
        Some(_) => json!("unified"),
        None => Value::Null,
    }
}

fn metadata(metadata: Option<&mesh_api::meta::Metadata>) -> Value {
    use mesh_api::meta::metadata::Kind;
    match metadata.and_then(|m| m.kind.as_ref()) {
        Some(Kind::Default(name)) => json!({"default": name}),
        Some(Kind::Resource(r)) => json!({
            "group": r.group, "kind": r.kind, "namespace": r.namespace, "name": r.name, "port": r.port, "section": r.section,
        }),
        None => Value::Null,
    }
}
