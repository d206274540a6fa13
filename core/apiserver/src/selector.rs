//! Label and field selectors, as lists, watches and delete-collections take them.

#[cfg(test)]
mod tests;

use crate::error::ApiError;
use crate::resource::ResourceDef;
use serde_json::{Map, Value};

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    GreaterThan(i64),
    LessThan(i64),
}

/// Which labels an object must carry. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
    /// A `LabelSelector` object that is absent selects nothing.
    nothing: bool,
}

impl LabelSelector {
    /// Parses the query form: `app=web,tier!=db,env in (a,b),!canary,weight>5`.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut requirements = Vec::new();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(unparsable(text, "found ',', expected: identifier"));
            }
            requirements.push(parse_requirement(text, part)?);
        }
        Ok(Self { requirements, nothing: false })
    }

    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`). Null selects nothing, `{}` everything.
    pub fn from_object(selector: &Value) -> Result<Self, ApiError> {
        if selector.is_null() {
            return Ok(Self { requirements: Vec::new(), nothing: true });
        }
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement { key: key.clone(), test: Test::In(vec![value]) });
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let key = expression["key"].as_str().unwrap_or_default().to_owned();
            let values = || {
                let values = expression["values"].as_array().into_iter().flatten();
                values.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
            };
            let test = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Test::In(values()),
                "NotIn" => Test::NotIn(values()),
                "Exists" => Test::Exists,
                "DoesNotExist" => Test::Absent,
                other => {
                    return Err(ApiError::BadRequest(format!(
                        "\"{other}\" is not a valid label selector operator"
                    )));
                }
            };
            requirements.push(Requirement { key, test });
        }
        Ok(Self { requirements, nothing: false })
    }

    /// A selector from a plain map, as a Service's.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            test: Test::In(vec![value.as_str().unwrap_or_default().to_owned()]),
        };
        Self { requirements: labels.iter().map(requirement).collect(), nothing: false }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// Whether an object's `metadata.labels` satisfy it.
    pub fn matches(&self, object: &Value) -> bool {
        self.matches_labels(object["metadata"]["labels"].as_object())
    }

    /// Whether a set of labels satisfies it.
    pub fn matches_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Value::as_str);
        !self.nothing && self.requirements.iter().all(|r| r.test.holds(label(&r.key)))
    }
}

impl Test {
    fn holds(&self, label: Option<&str>) -> bool {
        let number = || label.and_then(|l| l.parse::<i64>().ok());
        match self {
            Self::In(values) => label.is_some_and(|l| values.iter().any(|v| v == l)),
            Self::NotIn(values) => label.is_none_or(|l| values.iter().all(|v| v != l)),
            Self::Exists => label.is_some(),
            Self::Absent => label.is_none(),
            Self::GreaterThan(bound) => number().is_some_and(|n| n > *bound),
            Self::LessThan(bound) => number().is_some_and(|n| n < *bound),
        }
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

fn unparsable(text: &str, why: &str) -> ApiError {
    ApiError::BadRequest(format!("unable to parse requirement: {why} in \"{text}\""))
}

fn parse_requirement(text: &str, part: &str) -> Result<Requirement, ApiError> {
    let requirement = |key: &str, test: Test| {
        let key = key.trim();
        if !is_label_key(key) {
            return Err(unparsable(text, &format!("\"{key}\" is not a label key")));
        }
        Ok(Requirement { key: key.to_owned(), test })
    };
    let value = |v: &str| {
        let v = v.trim();
        if is_label_value(v) {
            Ok(v.to_owned())
        } else {
            Err(unparsable(text, &format!("\"{v}\" is not a label value")))
        }
    };
    let number = |v: &str| {
        v.trim()
            .parse::<i64>()
            .map_err(|_| unparsable(text, "for 'Gt', 'Lt' operators, the value must be an integer"))
    };
    if let Some(list) = part.strip_suffix(')') {
        let (head, values) = list.split_once('(').ok_or_else(|| unparsable(text, "unexpected ')'"))?;
        let values = values.split(',').map(value).collect::<Result<Vec<_>, _>>()?;
        let mut words = head.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => requirement(key, Test::In(values)),
            (Some(key), Some("notin"), None) => requirement(key, Test::NotIn(values)),
            _ => Err(unparsable(text, "expected: in, notin")),
        };
    }
    if let Some((key, v)) = part.split_once("!=") {
        return requirement(key, Test::NotIn(vec![value(v)?]));
    }
    if let Some((key, v)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return requirement(key, Test::In(vec![value(v)?]));
    }
    if let Some((key, v)) = part.split_once('>') {
        return requirement(key, Test::GreaterThan(number(v)?));
    }
    if let Some((key, v)) = part.split_once('<') {
        return requirement(key, Test::LessThan(number(v)?));
    }
    match part.strip_prefix('!') {
        Some(key) => requirement(key, Test::Absent),
        None => requirement(part, Test::Exists),
    }
}

/// Whether a text is a label or annotation key: `[prefix/]name`, prefix a DNS subdomain, name at most 63 characters.
pub(crate) fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    prefix.is_none_or(is_dns_subdomain) && !name.is_empty() && is_label_value(name)
}

/// Whether a text may be a label's value: empty, or at most 63 of `[A-Za-z0-9._-]` that begin and end alphanumeric.
pub(crate) fn is_label_value(value: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= 63 && bytes.iter().all(|b| inner(*b)) && edge(bytes.first()) && edge(bytes.last())
}

/// Whether a text is a DNS label (RFC 1123): at most 63 of `[a-z0-9-]` that begin and end alphanumeric.
pub(crate) fn is_dns_label(text: &str) -> bool {
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
        && bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
}

/// Whether a text is a DNS subdomain (RFC 1123): labels joined by dots, at most 253 characters.
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    // Kubernetes bounds the whole name, not its labels.
    let alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let label = |l: &str| {
        let bytes = l.as_bytes();
        bytes.iter().all(|b| alphanumeric(b) || *b == b'-')
            && bytes.first().is_some_and(alphanumeric)
            && bytes.last().is_some_and(alphanumeric)
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Which field values an object must have. The default selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct FieldTerm {
    path: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Parses `metadata.name=web,status.phase!=Running`. A backslash escapes `,`, `=` and itself.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for part in split_unescaped(text) {
            if part.is_empty() {
                continue;
            }
            let split = |op: &str| part.split_once(op).map(|(k, v)| (k.to_owned(), v.to_owned()));
            let ((path, value), equal) = if let Some(term) = split("!=") {
                (term, false)
            } else if let Some(term) = split("==").or_else(|| split("=")) {
                (term, true)
            } else {
                return Err(ApiError::BadRequest(format!(
                    "invalid field selector: \"{part}\"; can't understand \"{part}\""
                )));
            };
            let value = value.replace("\\,", ",").replace("\\=", "=").replace("\\\\", "\\");
            terms.push(FieldTerm { path, value, equal });
        }
        Ok(Self { terms })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The one name it can select, when it demands `metadata.name=…`.
    pub fn name(&self) -> Option<&str> {
        self.terms.iter().find(|t| t.equal && t.path == "metadata.name").map(|t| t.value.as_str())
    }

    /// Whether an object satisfies it. A missing field counts as empty.
    pub fn matches(&self, object: &Value) -> bool {
        self.terms.iter().all(|term| (lookup(object, &term.path) == term.value) == term.equal)
    }

    /// Refuses paths that this resource cannot be selected by.
    pub(crate) fn check(&self, def: &ResourceDef, version: &str) -> Result<(), ApiError> {
        let custom = def.custom.as_ref().map(|crd| crd.selectable_fields(version)).unwrap_or_default();
        let known = |path: &str| {
            matches!(path, "metadata.name")
                || (path == "metadata.namespace" && def.namespaced)
                || builtin_fields(&def.group, &def.kind).contains(&path)
                || custom.iter().any(|c| c == path)
        };
        match self.terms.iter().find(|t| !known(&t.path)) {
            Some(term) => Err(ApiError::BadRequest(format!(
                "Unable to find \"{}\" that match label selector \"\", field selector \"{}={}\": field label not \
                 supported: {}",
                def.qualified(),
                term.path,
                term.value,
                term.path
            ))),
            None => Ok(()),
        }
    }
}

fn split_unescaped(text: &str) -> Vec<&str> {
    let (mut parts, mut escaped, mut start) = (Vec::new(), false, 0);
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            ',' if !escaped => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        escaped = false;
    }
    parts.push(&text[start..]);
    parts
}

/// Fields each built-in kind can be selected by, beyond its name and namespace.
fn builtin_fields(group: &str, kind: &str) -> &'static [&'static str] {
    match (group, kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("", "Secret") => &["type"],
        ("", "Node") => &["spec.unschedulable"],
        ("", "Namespace") => &["status.phase"],
        ("" | "events.k8s.io", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "ReplicationController") | ("apps", "ReplicaSet") => &["status.replicas"],
        ("batch", "Job") => &["status.successful"],
        _ => &[],
    }
}

fn lookup(object: &Value, path: &str) -> String {
    // Two selector names that are not paths of the object itself.
    let path = match path {
        "source" => "source.component",
        "status.successful" => "status.succeeded",
        path => path,
    };
    let mut value = object;
    for key in path.trim_start_matches('.').split('.') {
        value = &value[key];
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
