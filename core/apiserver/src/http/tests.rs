use super::query::Query;
use super::route::{Place, Route, access};
use http::Method;

fn place(path: &str) -> Place {
    match Route::parse(path) {
        Route::Resource(place) => place,
        Route::Other(other) => panic!("not a resource: {other:?}"),
    }
}

#[test]
fn paths_name_resources_objects_and_subresources() {
    let pod = place("/api/v1/namespaces/shop/pods/web-0/log");
    assert_eq!((pod.namespace.as_str(), pod.plural.as_str()), ("shop", "pods"));
    assert_eq!((pod.name.as_str(), pod.subresource.as_str()), ("web-0", "log"));
    let namespace = place("/api/v1/namespaces/shop/status");
    assert_eq!((namespace.plural.as_str(), namespace.name.as_str()), ("namespaces", "shop"));
    assert_eq!(namespace.subresource, "status");
    let role = place("/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Adiscovery");
    assert_eq!(role.name, "system:discovery");
    assert!(matches!(Route::parse("/apis/apps/v1"), Route::Other(_)));
}

#[test]
fn verbs_follow_method_and_query() {
    let verb = |method: Method, path: &str, query: &str| {
        let query = Query::parse(Some(query));
        access(&Route::parse(path), &method, path, &query).verb
    };
    assert_eq!(verb(Method::GET, "/api/v1/pods", ""), "list");
    assert_eq!(verb(Method::GET, "/api/v1/pods", "watch=true"), "watch");
    assert_eq!(verb(Method::GET, "/api/v1/namespaces/a/pods/b", ""), "get");
    assert_eq!(verb(Method::DELETE, "/api/v1/namespaces/a/pods", ""), "deletecollection");
    assert_eq!(verb(Method::GET, "/healthz", ""), "get");
}
