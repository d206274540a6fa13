//! Strategic merge: a merge patch that knows which lists are maps in disguise, with directives for what a merge cannot say.
//! Follows apimachinery's `strategicpatch`, element order included.

use crate::error::ApiError;
use crate::kinds::{self, Field, ListKind, Shape, Type};
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// Applies a strategic merge patch to an object of a built-in kind. Custom kinds refuse it (415), as in Kubernetes.
pub(crate) fn strategic_merge(
    api_version: &str,
    kind: &str,
    target: &Value,
    patch: &Value,
) -> Result<Value, ApiError> {
    let Some(ty) = kinds::type_of(api_version, kind) else {
        return Err(ApiError::UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
                .into(),
        ));
    };
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => {
            Ok(Value::Object(merge_object(target.clone(), patch.clone(), Some(ty))?))
        }
        _ => Err(ApiError::BadRequest("a strategic merge patch must be an object".into())),
    }
}

/// How one field of an object merges.
#[derive(Clone, Copy)]
struct Rule {
    /// The type of the field's objects: of the value itself, of a map's values or of a list's elements.
    ty: Option<&'static Type>,
    /// The field that tells elements of a merged list apart; empty for lists of scalars.
    merge_key: Option<&'static str>,
}

fn rule(ty: Option<&'static Type>, name: &str) -> Rule {
    let field = ty.and_then(|t| t.fields.get(name));
    let merges_scalars = matches!(name, "finalizers" | "podCIDRs");
    shape_rule(field.map(|f: &Field| &f.shape), merges_scalars)
}

fn shape_rule(shape: Option<&'static Shape>, merges_scalars: bool) -> Rule {
    let referred = |shape: &Shape| if let Shape::Ref(name) = shape { kinds::find_type(name) } else { None };
    match shape {
        Some(Shape::List { item, kind }) => {
            let merge_key = match kind {
                ListKind::Map(keys) => keys.first().copied(),
                ListKind::Set if merges_scalars => Some(""),
                _ => None,
            };
            Rule { ty: referred(item), merge_key }
        }
        Some(shape) => Rule { ty: referred(shape), merge_key: None },
        None => Rule { ty: None, merge_key: None },
    }
}

/// Merges a patch into an object of a type; without one, every list is replaced whole.
fn merge_object(
    mut original: Object,
    mut patch: Object,
    ty: Option<&'static Type>,
) -> Result<Object, ApiError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            Some("merge") => merge_object(original, patch, ty),
            _ => Err(bad_directive(&directive)),
        };
    }
    if let Some(retained) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut original, &patch, &retained)?;
    }
    merge_ordered_lists(&mut original, &mut patch, ty)?;
    for (key, value) in patch {
        if key.starts_with(SET_ORDER) {
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE_FROM) {
            delete_scalars(&mut original, list, &value)?;
            continue;
        }
        let rule = rule(ty, &key);
        let merged = match (original.remove(&key), value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(merge_value(ty, &key, old, new)?),
            (Some(Value::Array(old)), Value::Array(new)) => Value::Array(merge_list(old, new, rule)?),
            (_, value) => without_directives(value),
        };
        original.insert(key, merged);
    }
    Ok(original)
}

/// Merges the value of an object-shaped field; the entries of a free map carry the map's value type.
fn merge_value(ty: Option<&'static Type>, key: &str, old: Object, new: Object) -> Result<Object, ApiError> {
    match ty.and_then(|t| t.fields.get(key)).map(|f| &f.shape) {
        Some(Shape::Map { value, .. }) => {
            let entry = shape_rule(Some(value), false);
            merge_free_map(old, new, entry.ty)
        }
        _ => merge_object(old, new, rule(ty, key).ty),
    }
}

fn merge_free_map(
    mut old: Object,
    mut new: Object,
    entry: Option<&'static Type>,
) -> Result<Object, ApiError> {
    if let Some(directive) = new.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(new),
            Some("delete") => Ok(Object::new()),
            Some("merge") => merge_free_map(old, new, entry),
            _ => Err(bad_directive(&directive)),
        };
    }
    if let Some(retained) = new.remove(RETAIN_KEYS) {
        retain_keys(&mut old, &new, &retained)?;
    }
    for (key, value) in new {
        let merged = match (old.remove(&key), value) {
            (_, Value::Null) => continue,
            (Some(Value::Object(a)), Value::Object(b)) => Value::Object(merge_object(a, b, entry)?),
            (_, value) => without_directives(value),
        };
        old.insert(key, merged);
    }
    Ok(old)
}

fn bad_directive(directive: &Value) -> ApiError {
    ApiError::BadRequest(format!(
        "unknown patch type {directive}: $patch must be one of delete, merge, replace"
    ))
}

/// Drops the original's keys that the patch does not retain. The patch may only set keys it retains.
fn retain_keys(original: &mut Object, patch: &Object, retained: &Value) -> Result<(), ApiError> {
    let Some(retained) = retained.as_array() else {
        return Err(ApiError::BadRequest("$retainKeys must be a list of names".into()));
    };
    let retains = |key: &str| retained.iter().any(|r| r.as_str() == Some(key));
    if let Some((key, _)) = patch.iter().find(|(k, v)| !v.is_null() && !k.starts_with('$') && !retains(k)) {
        return Err(ApiError::BadRequest(format!(
            "$retainKeys does not list \"{key}\", which the patch sets"
        )));
    }
    original.retain(|key, _| retains(key));
    Ok(())
}

fn delete_scalars(original: &mut Object, list: &str, doomed: &Value) -> Result<(), ApiError> {
    let Some(doomed) = doomed.as_array() else {
        return Err(ApiError::BadRequest(format!("{DELETE_FROM}{list} must be a list")));
    };
    if let Some(Value::Array(items)) = original.get_mut(list) {
        items.retain(|item| !doomed.contains(item));
    }
    Ok(())
}

/// Lists whose order the patch states: merged first, then put in that order around what only the server has.
fn merge_ordered_lists(
    original: &mut Object,
    patch: &mut Object,
    ty: Option<&'static Type>,
) -> Result<(), ApiError> {
    let orders: Vec<String> =
        patch.keys().filter_map(|k| k.strip_prefix(SET_ORDER)).map(str::to_owned).collect();
    for name in orders {
        let Some(Value::Array(order)) = patch.remove(&format!("{SET_ORDER}{name}")) else {
            return Err(ApiError::BadRequest(format!("{SET_ORDER}{name} must be a list")));
        };
        if let Some(doomed) = patch.remove(&format!("{DELETE_FROM}{name}")) {
            delete_scalars(original, &name, &doomed)?;
        }
        let server = match original.get(&name) {
            Some(Value::Array(items)) => items.clone(),
            _ => Vec::new(),
        };
        let rule = rule(ty, &name);
        let merged = match patch.remove(&name) {
            Some(Value::Array(changes)) => merge_list(server.clone(), changes, rule)?,
            Some(Value::Null) => {
                original.remove(&name);
                continue;
            }
            Some(_) => return Err(ApiError::BadRequest(format!("{name} must be a list"))),
            None => server.clone(),
        };
        if !merged.is_empty() || original.contains_key(&name) {
            let ordered = in_order(merged, &order, &server, rule.merge_key.unwrap_or_default());
            original.insert(name, Value::Array(ordered));
        }
    }
    Ok(())
}

fn merge_list(original: Vec<Value>, patch: Vec<Value>, rule: Rule) -> Result<Vec<Value>, ApiError> {
    let Some(key) = rule.merge_key else {
        return Ok(without_directives_in(patch));
    };
    if key.is_empty() {
        let mut merged = original.clone();
        for item in &patch {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return Ok(in_order(merged, &patch, &original, key));
    }
    let (mut kept, mut changes) = (original, Vec::new());
    let mut replace = false;
    for item in patch {
        match item.get(DIRECTIVE).and_then(Value::as_str) {
            Some("delete") => {
                let doomed = keyed(&item, key)?.clone();
                kept.retain(|old| old.get(key) != Some(&doomed));
            }
            Some("replace") => replace = true,
            Some("merge") | None if item.get(DIRECTIVE).is_none_or(Value::is_string) => changes.push(item),
            _ => return Err(bad_directive(&item[DIRECTIVE])),
        }
    }
    if replace {
        return Ok(without_directives_in(changes));
    }
    let server = kept.clone();
    for change in &changes {
        let wanted = keyed(change, key)?;
        let place = kept.iter().position(|old| old.get(key) == Some(wanted));
        match (place, change) {
            (Some(at), Value::Object(change)) => {
                if let Some(Value::Object(old)) = kept.get(at).cloned() {
                    kept[at] = Value::Object(merge_object(old, change.clone(), rule.ty)?);
                }
            }
            _ => kept.push(without_directives(change.clone())),
        }
    }
    Ok(in_order(kept, &changes, &server, key))
}

fn keyed<'a>(item: &'a Value, key: &str) -> Result<&'a Value, ApiError> {
    item.get(key).ok_or_else(|| {
        ApiError::BadRequest(format!("map: {item} does not contain declared merge key: {key}"))
    })
}

/// Puts the items that `order` names in that order, keeping the rest where the server had them relative to these.
fn in_order(items: Vec<Value>, order: &[Value], server: &[Value], key: &str) -> Vec<Value> {
    let same = |a: &Value, b: &Value| if key.is_empty() { a == b } else { a.get(key) == b.get(key) };
    let index = |list: &[Value], item: &Value| list.iter().position(|i| same(i, item));
    let (mut named, mut rest): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| index(order, item).is_some());
    named.sort_by_key(|item| index(order, item));
    rest.sort_by_key(|item| index(server, item));
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    let mut merged = Vec::new();
    while let (Some(ours), Some(theirs)) = (named.peek(), rest.peek()) {
        let theirs_first = match (index(server, theirs), index(server, ours)) {
            (Some(theirs), Some(ours)) => theirs < ours,
            _ => false,
        };
        merged.extend(if theirs_first { rest.next() } else { named.next() });
    }
    merged.extend(named);
    merged.extend(rest);
    merged
}

/// A patch value that has nothing to merge with: what it says, less the directives.
fn without_directives(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            // Other `$`-names, as `$ref`, are data.
            let is_directive = |k: &str| {
                k == DIRECTIVE || k == RETAIN_KEYS || k.starts_with(SET_ORDER) || k.starts_with(DELETE_FROM)
            };
            let entries = map.into_iter().filter(|(k, v)| !is_directive(k) && !v.is_null());
            Value::Object(entries.map(|(k, v)| (k, without_directives(v))).collect())
        }
        Value::Array(items) => Value::Array(without_directives_in(items)),
        other => other,
    }
}

fn without_directives_in(items: Vec<Value>) -> Vec<Value> {
    let deleted = |item: &Value| item.get(DIRECTIVE).and_then(Value::as_str) == Some("delete");
    let bare_replace = |item: &Value| {
        item.as_object().is_some_and(|o| o.len() == 1)
            && item.get(DIRECTIVE).and_then(Value::as_str) == Some("replace")
    };
    items.into_iter().filter(|i| !deleted(i) && !bare_replace(i)).map(without_directives).collect()
}
