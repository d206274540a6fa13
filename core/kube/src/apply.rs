//! Writing: server-side apply under a field manager of the caller's, and deleting what may be gone already.

use crate::error::{Error, is_not_found};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Client, ResourceExt as _};
use serde_json::Value;

/// Creates or changes an object by server-side apply, taking over fields that others wrote.
///
/// # Errors
/// [`Error::Object`] when `apiVersion`, `kind` or `metadata.name` is missing; [`Error::Api`].
pub async fn apply(client: &Client, manager: &str, object: &Value) -> Result<DynamicObject, Error> {
    let (api, name) = api_of(client, object)?;
    let params = PatchParams::apply(manager).force();
    Ok(api.patch(&name, &params, &Patch::Apply(object)).await?)
}

/// The same for the `status` of an object.
///
/// # Errors
/// As [`apply`].
pub async fn apply_status(client: &Client, manager: &str, object: &Value) -> Result<DynamicObject, Error> {
    let (api, name) = api_of(client, object)?;
    let params = PatchParams::apply(manager).force();
    Ok(api.patch_status(&name, &params, &Patch::Apply(object)).await?)
}

/// Deletes an object; one that is not there is no error. Answers whether it was there.
///
/// # Errors
/// As [`apply`].
pub async fn delete(client: &Client, object: &Value) -> Result<bool, Error> {
    let (api, name) = api_of(client, object)?;
    match api.delete(&name, &DeleteParams::background()).await {
        Ok(_) => Ok(true),
        Err(error) if is_not_found(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// An API for the kind of `object`, in its namespace, and its name. The plural is the one discovery would give for
/// every kind of ours and of Kubernetes.
fn api_of(client: &Client, object: &Value) -> Result<(Api<DynamicObject>, String), Error> {
    let text = |value: &Value, field: &str| {
        let object = || format!("{} {}", object["kind"], object["metadata"]["name"]);
        let missing = || Error::Object { object: object(), problem: format!("has no {field}") };
        value.as_str().map(str::to_owned).ok_or_else(missing)
    };
    let api_version = text(&object["apiVersion"], "apiVersion")?;
    let kind = text(&object["kind"], "kind")?;
    let name = text(&object["metadata"]["name"], "metadata.name")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    let api = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    Ok((api, name))
}

/// The namespace and name of an object as people write them.
pub(crate) fn full_name<K: kube::Resource>(object: &K) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}
