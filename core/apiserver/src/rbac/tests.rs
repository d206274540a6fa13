use super::{Rbac, aggregated, bootstrap, forbidden};
use crate::user::{Access, UserInfo};
use proptest::prelude::*;
use serde_json::{Value, json};

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.into(),
        groups: groups.iter().map(|g| (*g).into()).collect(),
        ..UserInfo::default()
    }
}

fn access(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Access {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Access {
        verb: verb.into(),
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        namespace: namespace.into(),
        name: name.into(),
        ..Access::default()
    }
}

fn role(namespace: &str, name: &str, rules: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace}, "rules": rules})
}

fn binding(namespace: &str, name: &str, role_kind: &str, role: &str, subject: Value) -> Value {
    let kind = if namespace.is_empty() { "ClusterRoleBinding" } else { "RoleBinding" };
    json!({"kind": kind, "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"kind": role_kind, "name": role}, "subjects": [subject]})
}

fn rbac(objects: &[Value]) -> Rbac {
    Rbac::new(objects.iter())
}

#[test]
fn a_role_binding_reaches_its_own_namespace_only_and_says_why() {
    let rules = json!([{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get"]}]);
    let subject = json!({"kind": "ServiceAccount", "name": "web"});
    let rbac = rbac(&[role("shop", "reader", rules), binding("shop", "b", "Role", "reader", subject)]);
    let web = user("system:serviceaccount:shop:web", &[]);
    let decision = rbac.authorize(&web, &access("get", "", "pods/log", "shop", "p"));
    assert!(decision.allowed);
    assert_eq!(
        decision.reason,
        "RBAC: allowed by RoleBinding \"b/shop\" of Role \"reader\" to ServiceAccount \"web/shop\""
    );
    assert!(!rbac.authorize(&web, &access("get", "", "pods", "other", "p")).allowed);
    assert!(!rbac.authorize(&web, &access("get", "", "pods/exec", "shop", "p")).allowed);
    assert!(!rbac.authorize(&web, &access("get", "apps", "pods", "shop", "p")).allowed);
    assert!(
        !rbac
            .authorize(&user("system:serviceaccount:other:web", &[]), &access("get", "", "pods", "shop", ""))
            .allowed
    );
}

#[test]
fn wildcards_names_subresources_and_urls_match_as_kubernetes_does() {
    let rules = json!([
        {"apiGroups": ["*"], "resources": ["*/status"], "verbs": ["update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["trust"], "verbs": ["get"]},
        {"nonResourceURLs": ["/api/*", "/healthz"], "verbs": ["get"]},
    ]);
    let subject = json!({"kind": "Group", "name": "ops"});
    let rbac = rbac(&[role("", "r", rules), binding("", "b", "ClusterRole", "r", subject)]);
    let ops = user("ann", &["ops"]);
    let allowed = |a: Access| rbac.authorize(&ops, &a).allowed;
    assert!(allowed(access("update", "apps", "deployments/status", "x", "y")));
    assert!(!allowed(access("update", "apps", "deployments", "x", "y")));
    assert!(allowed(access("get", "", "configmaps", "x", "trust")));
    assert!(!allowed(access("get", "", "configmaps", "x", "other")));
    assert!(!allowed(access("get", "", "configmaps", "x", "")));
    let url = |path: &str| Access { verb: "get".into(), path: path.into(), ..Access::default() };
    assert!(allowed(url("/api/v1")) && allowed(url("/healthz")) && !allowed(url("/metrics")));
}

#[test]
fn a_missing_role_is_named_and_the_refusal_reads_as_kubernetes_words_it() {
    let rbac = rbac(&[binding("", "b", "ClusterRole", "gone", json!({"kind": "User", "name": "ann"}))]);
    let wanted = access("list", "apps", "deployments", "shop", "");
    let decision = rbac.authorize(&user("ann", &[]), &wanted);
    assert_eq!(decision.reason, "RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found");
    assert_eq!(
        forbidden(&user("ann", &[]), &wanted, &decision.reason),
        "deployments.apps is forbidden: User \"ann\" cannot list resource \"deployments\" in API group \"apps\" in the \
         namespace \"shop\": RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found"
    );
}

#[test]
fn bootstrap_roles_aggregate() {
    let mut objects = bootstrap();
    objects.push(binding("shop", "v", "ClusterRole", "view", json!({"kind": "User", "name": "ann"})));
    objects.push(binding("shop", "e", "ClusterRole", "admin", json!({"kind": "User", "name": "bob"})));
    let rbac = Rbac::new(objects.iter());
    let may = |who: &str, a: Access| rbac.authorize(&user(who, &["system:authenticated"]), &a).allowed;
    assert!(may("ann", access("list", "", "pods", "shop", "")));
    assert!(!may("ann", access("list", "", "secrets", "shop", "")));
    assert!(may("bob", access("list", "", "secrets", "shop", "")));
    assert!(may("bob", access("create", "rbac.authorization.k8s.io", "roles", "shop", "")));
    assert!(may("ann", access("create", "authorization.k8s.io", "selfsubjectaccessreviews", "", "")));
    assert!(rbac.authorize(&user("root", &["system:masters"]), &access("delete", "x", "y", "", "")).allowed);
    let view = objects.iter().find(|o| o["metadata"]["name"] == "view").unwrap();
    assert!(!aggregated(view, objects.iter().filter(|o| o["kind"] == "ClusterRole")).unwrap().is_empty());
}

#[test]
fn nobody_grants_more_than_they_hold() {
    let rules = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]);
    let rbac = rbac(&[
        role("", "r", rules),
        binding("", "b", "ClusterRole", "r", json!({"kind": "User", "name": "ann"})),
    ]);
    let ann = user("ann", &["dev"]);
    let rule = |verbs: Value, names: Value| json!({"apiGroups": [""], "resources": ["pods"], "verbs": verbs, "resourceNames": names});
    assert_eq!(rbac.escalation(&ann, "x", &[rule(json!(["get"]), json!([]))]), None);
    assert_eq!(rbac.escalation(&ann, "x", &[rule(json!(["get"]), json!(["one"]))]), None);
    let refusal = rbac.escalation(&ann, "x", &[rule(json!(["delete"]), json!([]))]).unwrap();
    assert!(refusal.contains("{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}"), "{refusal}");
    assert_eq!(
        rbac.escalation(&user("root", &["system:masters"]), "", &[rule(json!(["*"]), json!([]))]),
        None
    );
}

proptest! {
    #[test]
    fn holding_a_rule_means_being_able_to_grant_it(verb in "(get|list|[*])", group in "(|apps|[*])", resource in "(pods|pods/log|[*]/status|[*])") {
        let rules = json!([{"apiGroups": [group], "resources": [resource], "verbs": [verb]}]);
        let rbac = rbac(&[
            role("", "r", rules.clone()),
            binding("", "b", "ClusterRole", "r", json!({"kind": "User", "name": "ann"})),
        ]);
        prop_assert_eq!(rbac.escalation(&user("ann", &[]), "", rules.as_array().unwrap()), None);
    }
}
