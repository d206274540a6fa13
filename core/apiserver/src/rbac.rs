//! Role-based access control: an index of roles and bindings that answers whether a user may do something, and why.

mod bootstrap;
#[cfg(test)]
mod tests;

pub(crate) use bootstrap::bootstrap;

use crate::selector::LabelSelector;
use crate::user::{Access, UserInfo};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};

/// The group that may do everything, whatever the roles say.
const MASTERS: &str = "system:masters";
/// How deep aggregated roles may aggregate aggregated roles.
const MAX_AGGREGATION: usize = 8;

/// An answer, with the reason Kubernetes gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// Which binding allows it, or what was missing.
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
struct Rule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    names: Vec<String>,
    urls: Vec<String>,
}

#[derive(Debug)]
struct Binding {
    name: String,
    /// `Role` or `ClusterRole`.
    role_kind: String,
    role: String,
    subjects: Vec<Subject>,
}

#[derive(Debug)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

/// An index of every role and binding. Rebuilt when one of them changes.
#[derive(Debug, Default)]
pub(crate) struct Rbac {
    cluster_roles: HashMap<String, Vec<Rule>>,
    roles: HashMap<(String, String), Vec<Rule>>,
    cluster_bindings: Vec<Binding>,
    bindings: HashMap<String, Vec<Binding>>,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Rule {
    fn from_value(rule: &Value) -> Self {
        Self {
            verbs: texts(&rule["verbs"]),
            groups: texts(&rule["apiGroups"]),
            resources: texts(&rule["resources"]),
            names: texts(&rule["resourceNames"]),
            urls: texts(&rule["nonResourceURLs"]),
        }
    }

    fn all(rules: &Value) -> Vec<Self> {
        rules.as_array().into_iter().flatten().map(Self::from_value).collect()
    }

    fn allows(&self, access: &Access) -> bool {
        let any = |list: &[String], wanted: &str| list.iter().any(|i| i == "*" || i == wanted);
        if !any(&self.verbs, &access.verb) {
            return false;
        }
        if access.resource.is_empty() {
            return self.urls.iter().any(|url| url_matches(url, &access.path));
        }
        any(&self.groups, &access.group)
            && self.resources.iter().any(|r| resource_matches(r, &access.resource, &access.subresource))
            && (self.names.is_empty() || self.names.contains(&access.name))
    }
}

fn url_matches(rule: &str, path: &str) -> bool {
    rule == "*" || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        None => subresource.is_empty() && rule == resource,
        Some((parent, sub)) => sub == subresource && !sub.is_empty() && (parent == "*" || parent == resource),
    }
}

impl Binding {
    fn from_value(binding: &Value) -> Self {
        let namespace = text(&binding["metadata"]["namespace"]);
        let subject = |s: &Value| Subject {
            kind: text(&s["kind"]),
            name: text(&s["name"]),
            namespace: s["namespace"].as_str().map_or_else(|| namespace.clone(), str::to_owned),
        };
        Self {
            name: text(&binding["metadata"]["name"]),
            role_kind: text(&binding["roleRef"]["kind"]),
            role: text(&binding["roleRef"]["name"]),
            subjects: binding["subjects"].as_array().into_iter().flatten().map(subject).collect(),
        }
    }

    fn subject_of(&self, user: &UserInfo) -> Option<&Subject> {
        self.subjects.iter().find(|subject| subject.is(user))
    }
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        match self.kind.as_str() {
            "User" => self.name == user.name,
            "Group" => user.groups.contains(&self.name),
            "ServiceAccount" => user
                .name
                .strip_prefix("system:serviceaccount:")
                .and_then(|rest| rest.split_once(':'))
                .is_some_and(|(namespace, name)| namespace == self.namespace && name == self.name),
            _ => false,
        }
    }

    fn describe(&self) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => format!("ServiceAccount \"{}/{}\"", self.name, self.namespace),
            kind => format!("{kind} \"{}\"", self.name),
        }
    }
}

impl Rbac {
    /// An index of all Roles, ClusterRoles, RoleBindings and ClusterRoleBindings; other kinds are ignored.
    pub(crate) fn new<'a>(objects: impl Iterator<Item = &'a Value>) -> Self {
        let mut index = Self::default();
        let mut cluster_roles = Vec::new();
        for object in objects {
            let metadata = &object["metadata"];
            let (name, namespace) = (text(&metadata["name"]), text(&metadata["namespace"]));
            match object["kind"].as_str().unwrap_or_default() {
                "ClusterRole" => cluster_roles.push(object),
                "Role" => {
                    index.roles.insert((namespace, name), Rule::all(&object["rules"]));
                }
                "ClusterRoleBinding" => index.cluster_bindings.push(Binding::from_value(object)),
                "RoleBinding" => {
                    index.bindings.entry(namespace).or_default().push(Binding::from_value(object))
                }
                _ => {}
            }
        }
        for role in &cluster_roles {
            let rules = effective_rules(role, &cluster_roles, 0);
            let rules = rules.iter().map(Rule::from_value).collect();
            index.cluster_roles.insert(text(&role["metadata"]["name"]), rules);
        }
        index
    }

    /// Whether a user may do something.
    pub(crate) fn authorize(&self, user: &UserInfo, access: &Access) -> Decision {
        if user.groups.iter().any(|g| g == MASTERS) {
            return Decision { allowed: true, reason: String::new() };
        }
        let mut missing = BTreeSet::new();
        for (binding, subject, namespace) in self.bindings_of(user, &access.namespace) {
            let Some(rules) = self.rules_of(binding, namespace) else {
                let kind = binding.role_kind.to_lowercase();
                missing.insert(format!("{kind}.rbac.authorization.k8s.io \"{}\" not found", binding.role));
                continue;
            };
            if rules.iter().any(|r| r.allows(access)) {
                let by = match namespace {
                    Some(namespace) => format!("RoleBinding \"{}/{namespace}\"", binding.name),
                    None => format!("ClusterRoleBinding \"{}\"", binding.name),
                };
                let (kind, role) = (&binding.role_kind, &binding.role);
                let reason = format!("RBAC: allowed by {by} of {kind} \"{role}\" to {}", subject.describe());
                return Decision { allowed: true, reason };
            }
        }
        let reason = match missing.len() {
            0 => String::new(),
            1 => format!("RBAC: {}", missing.into_iter().collect::<String>()),
            _ => format!("RBAC: [{}]", missing.into_iter().collect::<Vec<_>>().join(", ")),
        };
        Decision { allowed: false, reason }
    }

    fn bindings_of<'a>(
        &'a self,
        user: &'a UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Binding, &'a Subject, Option<&'a str>)> {
        let cluster = self.cluster_bindings.iter().map(|b| (b, None));
        let local = self.bindings.get(namespace).into_iter().flatten().map(move |b| (b, Some(namespace)));
        cluster.chain(local).filter_map(|(b, namespace)| Some((b, b.subject_of(user)?, namespace)))
    }

    fn rules_of(&self, binding: &Binding, namespace: Option<&str>) -> Option<&Vec<Rule>> {
        match (binding.role_kind.as_str(), namespace) {
            ("ClusterRole", _) => self.cluster_roles.get(&binding.role),
            ("Role", Some(namespace)) => self.roles.get(&(namespace.to_owned(), binding.role.clone())),
            _ => None,
        }
    }

    fn held(&self, user: &UserInfo, namespace: &str) -> Vec<Rule> {
        if user.groups.iter().any(|g| g == MASTERS) {
            let every = || vec!["*".to_owned()];
            let resources = Rule { verbs: every(), groups: every(), resources: every(), ..Rule::default() };
            return vec![resources, Rule { verbs: every(), urls: every(), ..Rule::default() }];
        }
        let bindings = self.bindings_of(user, namespace);
        bindings.filter_map(|(b, _, at)| self.rules_of(b, at)).flatten().cloned().collect()
    }

    /// Every rule a user holds in a namespace (empty: at cluster scope), as `PolicyRule` objects.
    pub(crate) fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<Value> {
        let shown = |rule: Rule| {
            let mut shown = json!({"verbs": rule.verbs});
            let lists = [
                ("apiGroups", rule.groups),
                ("resources", rule.resources),
                ("resourceNames", rule.names),
                ("nonResourceURLs", rule.urls),
            ];
            for (key, list) in lists {
                if !list.is_empty() {
                    shown[key] = json!(list);
                }
            }
            shown
        };
        self.held(user, namespace).into_iter().map(shown).collect()
    }

    /// The rules a ClusterRole or Role named by a `roleRef` grants; `None` when there is no such role.
    pub(crate) fn granted(&self, role_ref: &Value, namespace: &str) -> Option<Vec<Value>> {
        let rules = match role_ref["kind"].as_str()? {
            "ClusterRole" => self.cluster_roles.get(role_ref["name"].as_str()?)?,
            _ => self.roles.get(&(namespace.to_owned(), text(&role_ref["name"])))?,
        };
        let shown = |r: &Rule| {
            json!({"verbs": r.verbs, "apiGroups": r.groups, "resources": r.resources, "resourceNames": r.names,
                "nonResourceURLs": r.urls})
        };
        Some(rules.iter().map(shown).collect())
    }

    /// Whether granting these rules would give away more than the user holds: the message of the refusal, or `None`.
    /// The caller has already found that the user lacks the `escalate` or `bind` verb.
    pub(crate) fn escalation(&self, user: &UserInfo, namespace: &str, rules: &[Value]) -> Option<String> {
        let held = self.held(user, namespace);
        let mut lacking = Vec::new();
        for rule in rules.iter().map(Rule::from_value) {
            if !single_accesses(&rule).iter().all(|access| held.iter().any(|h| covers(h, access))) {
                lacking.push(describe_rule(&rule));
            }
        }
        (!lacking.is_empty()).then(|| {
            let groups = user.groups.iter().map(|g| format!("\"{g}\"")).collect::<Vec<_>>().join(" ");
            format!(
                "user \"{}\" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held:\n{}",
                user.name,
                lacking.join("\n")
            )
        })
    }
}

/// A rule split into single accesses; a wildcard stays one.
fn single_accesses(rule: &Rule) -> Vec<Rule> {
    let mut singles = Vec::new();
    for verb in &rule.verbs {
        for url in &rule.urls {
            singles.push(Rule { verbs: vec![verb.clone()], urls: vec![url.clone()], ..Rule::default() });
        }
        for group in &rule.groups {
            for resource in &rule.resources {
                let single = Rule {
                    verbs: vec![verb.clone()],
                    groups: vec![group.clone()],
                    resources: vec![resource.clone()],
                    ..Rule::default()
                };
                if rule.names.is_empty() {
                    singles.push(single);
                } else {
                    singles
                        .extend(rule.names.iter().map(|n| Rule { names: vec![n.clone()], ..single.clone() }));
                }
            }
        }
    }
    singles
}

fn covers(held: &Rule, single: &Rule) -> bool {
    let any =
        |list: &[String], wanted: &[String]| wanted.iter().all(|w| list.iter().any(|l| l == "*" || l == w));
    if !any(&held.verbs, &single.verbs) {
        return false;
    }
    if let Some(url) = single.urls.first() {
        return held.urls.iter().any(|h| url_matches(h, url));
    }
    let resource = |wanted: &String| {
        let (parent, sub) = wanted.split_once('/').unwrap_or((wanted, ""));
        held.resources.iter().any(|h| h == wanted || resource_matches(h, parent, sub))
    };
    let names = held.names.is_empty()
        || (!single.names.is_empty() && single.names.iter().all(|n| held.names.contains(n)));
    any(&held.groups, &single.groups) && single.resources.iter().all(resource) && names
}

fn describe_rule(rule: &Rule) -> String {
    let lists = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("ResourceNames", &rule.names),
        ("NonResourceURLs", &rule.urls),
        ("Verbs", &rule.verbs),
    ];
    let shown = lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| {
        let items = list.iter().map(|i| format!("\"{i}\"")).collect::<Vec<_>>().join(" ");
        format!("{name}:[{items}]")
    });
    format!("{{{}}}", shown.collect::<Vec<_>>().join(", "))
}

fn effective_rules(role: &Value, all: &[&Value], depth: usize) -> Vec<Value> {
    let own = || role["rules"].as_array().cloned().unwrap_or_default();
    let Some(selectors) = role["aggregationRule"]["clusterRoleSelectors"].as_array() else { return own() };
    if depth >= MAX_AGGREGATION {
        return own();
    }
    let selectors: Vec<_> = selectors.iter().filter_map(|s| LabelSelector::from_object(s).ok()).collect();
    let mut rules: Vec<Value> = Vec::new();
    let mut parts: Vec<&&Value> = all
        .iter()
        .filter(|r| {
            r["metadata"]["name"] != role["metadata"]["name"] && selectors.iter().any(|s| s.matches(r))
        })
        .collect();
    parts.sort_by_key(|r| text(&r["metadata"]["name"]));
    for part in parts {
        for rule in effective_rules(part, all, depth + 1) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

/// The rules an aggregated ClusterRole should show, from all ClusterRoles; `None` when it does not aggregate.
pub(crate) fn aggregated<'a>(role: &Value, all: impl Iterator<Item = &'a Value>) -> Option<Vec<Value>> {
    role["aggregationRule"].is_object().then(|| effective_rules(role, &all.collect::<Vec<_>>(), 0))
}

/// The message of a 403.
pub(crate) fn forbidden(user: &UserInfo, access: &Access, reason: &str) -> String {
    let mut message = if access.resource.is_empty() {
        format!("forbidden: User \"{}\" cannot {} path \"{}\"", user.name, access.verb, access.path)
    } else {
        let mut what = access.resource.clone();
        if !access.group.is_empty() {
            what = format!("{what}.{}", access.group);
        }
        if !access.name.is_empty() {
            what = format!("{what} \"{}\"", access.name);
        }
        let mut resource = access.resource.clone();
        if !access.subresource.is_empty() {
            resource = format!("{resource}/{}", access.subresource);
        }
        let place = match access.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        format!(
            "{what} is forbidden: User \"{}\" cannot {} resource \"{resource}\" in API group \"{}\" {place}",
            user.name, access.verb, access.group
        )
    };
    if !reason.is_empty() {
        message = format!("{message}: {reason}");
    }
    message
}
