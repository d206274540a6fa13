//! What a path and a method ask for.

use super::query::{Query, decode};
use crate::user::Access;
use http::Method;

/// A parsed request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// Objects of a resource.
    Resource(Place),
    /// Anything else, by path segments.
    Other(Vec<String>),
}

/// Where in the resource tree a request points.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) namespace: String,
    pub(super) plural: String,
    pub(super) name: String,
    pub(super) subresource: String,
}

/// Subresources of a Namespace, whose paths look like those of namespaced resources.
const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

impl Route {
    pub(super) fn parse(path: &str) -> Self {
        let segments: Vec<String> =
            path.split('/').filter(|s| !s.is_empty()).map(|s| decode(s, false)).collect();
        let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
        let place = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => place("", version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => place(group, version, rest),
            _ => None,
        };
        place.map_or_else(|| Self::Other(segments.clone()), Self::Resource)
    }
}

fn place(group: &str, version: &str, rest: &[&str]) -> Option<Place> {
    let base = Place { group: group.into(), version: version.into(), ..Place::default() };
    let (namespace, rest) = match rest {
        ["namespaces", _, sub] if NAMESPACE_SUBRESOURCES.contains(sub) => ("", rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
        rest => ("", rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, sub] => (*plural, *name, *sub),
        _ => return None,
    };
    Some(Place {
        namespace: namespace.into(),
        plural: plural.into(),
        name: name.into(),
        subresource: subresource.into(),
        ..base
    })
}

/// The access a request needs.
pub(super) fn access(route: &Route, method: &Method, path: &str, query: &Query) -> Access {
    let place = match route {
        Route::Other(_) => {
            return Access {
                verb: method.as_str().to_lowercase(),
                path: path.to_owned(),
                ..Access::default()
            };
        }
        Route::Resource(place) => place,
    };
    let named = !place.name.is_empty();
    let verb = match method.as_str() {
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if named => "delete",
        "DELETE" => "deletecollection",
        _ if named => "get",
        _ if query.flag("watch") == Some(true) => "watch",
        _ => "list",
    };
    // A collection narrowed to one name by field selector counts as that name, so that such roles work.
    let selected =
        query.get("fieldSelector").strip_prefix("metadata.name=").filter(|n| !n.contains([',', '=']));
    let name =
        if named || matches!(verb, "create") { place.name.as_str() } else { selected.unwrap_or_default() };
    Access {
        verb: verb.into(),
        group: place.group.clone(),
        version: place.version.clone(),
        resource: place.plural.clone(),
        subresource: place.subresource.clone(),
        // `namespaces/x` is an access within namespace x.
        namespace: if place.plural == "namespaces" && place.group.is_empty() {
            place.name.clone()
        } else {
            place.namespace.clone()
        },
        name: name.to_owned(),
        path: String::new(),
    }
}
