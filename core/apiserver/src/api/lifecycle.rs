//! What follows a write: namespaces get their service account and root certificate, definitions come into force,
//! owners and namespaces that go take along what is theirs.

use super::{Api, Target};
use crate::collect::Work;
use crate::crd::Crd;
use crate::object;
use crate::store::{Key, ObjectRef, WriteError};
use crate::strategy;
use serde_json::{Value, json};
use std::sync::Arc;

/// ConfigMap with the API server's certificate, one per namespace.
const ROOT_CA: &str = "kube-root-ca.crt";
/// What its annotation tells people.
const ROOT_CA_ABOUT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
    endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
    distributions of Kubernetes clusters.";

impl Api {
    /// Runs after every create and every update that changed something.
    pub(super) fn after_write(&self, target: &Target, old: Option<&Arc<Value>>, new: &Arc<Value>) {
        let table = target.table();
        let entry = ObjectRef { table: table.clone(), key: target.key() };
        if !object::owners(new).is_empty() {
            self.enqueue(Work::CheckOwners(entry.clone()));
        }
        if object::deleting(new) {
            self.enqueue(Work::Deleting(entry));
        }
        match table.as_str() {
            "namespaces" if old.is_none() => self.furnish(&target.name),
            "customresourcedefinitions.apiextensions.k8s.io" => self.define(old, new),
            "configmaps" if target.name == ROOT_CA => self.furnish(&target.namespace),
            "clusterroles.rbac.authorization.k8s.io" => self.aggregate_roles(),
            "serviceaccounts" if old.is_none() => self.fill_token_secrets(&target.namespace, &target.name),
            _ => {}
        }
    }

    /// Runs after every removal.
    pub(super) fn after_delete(&self, target: &Target, last: &Arc<Value>) {
        self.enqueue(Work::OwnerGone(object::uid(last).to_owned()));
        if object::owners(last).iter().any(|o| o["blockOwnerDeletion"] == true) {
            for uid in object::owner_uids(last) {
                self.enqueue(Work::DependentGone(uid.to_owned()));
            }
        }
        if target.def.namespaced {
            self.enqueue(Work::Emptied(target.namespace.clone()));
        }
        match target.table().as_str() {
            "customresourcedefinitions.apiextensions.k8s.io" => {
                let (group, plural) =
                    (object::text(last, "/spec/group"), object::text(last, "/spec/names/plural"));
                self.registry.remove(group, plural);
                self.store.close(&target.name);
                self.served_changed();
            }
            "serviceaccounts" => {
                if target.name == "default" {
                    self.furnish(&target.namespace);
                }
                self.drop_token_secrets(&target.namespace, object::uid(last));
            }
            "configmaps" if target.name == ROOT_CA => self.furnish(&target.namespace),
            "clusterroles.rbac.authorization.k8s.io" => self.aggregate_roles(),
            _ if target.def.custom.is_some() => self.enqueue(Work::InstanceGone(target.table())),
            _ => {}
        }
    }

    fn enqueue(&self, work: Work) {
        // The collector ends with the server; what it no longer does does not matter then.
        let _ = self.work.send(work);
    }

    /// Gives a namespace its default service account and root certificate, unless it is going.
    pub(crate) fn furnish(&self, namespace: &str) {
        let Some(live) = self.peek("namespaces", "", namespace) else { return };
        if object::deleting(&live) {
            return;
        }
        self.put_own("serviceaccounts", "v1", "ServiceAccount", namespace, "default", json!({}));
        let data = json!({
            "data": {"ca.crt": self.ca_pem}, "metadata": {"annotations": {"kubernetes.io/description": ROOT_CA_ABOUT}},
        });
        if let Some(map) = self.peek("configmaps", namespace, ROOT_CA)
            && map["data"] != data["data"]
        {
            let mut fixed = (*map).clone();
            fixed["data"] = data["data"].clone();
            let key = Key::new(namespace, ROOT_CA);
            let _ = self.store.replace("configmaps", &key, &map, fixed);
            return;
        }
        self.put_own("configmaps", "v1", "ConfigMap", namespace, ROOT_CA, data);
    }

    /// Adds an object of the server's own, unless there is one.
    pub(crate) fn put_own(
        &self,
        table: &str,
        api_version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
        rest: Value,
    ) {
        let mut object = json!({"apiVersion": api_version, "kind": kind});
        if let (Some(map), Value::Object(rest)) = (object.as_object_mut(), rest) {
            map.extend(rest);
        }
        let metadata = object::metadata_mut(&mut object);
        metadata.insert("name".into(), name.into());
        if !namespace.is_empty() {
            metadata.insert("namespace".into(), namespace.into());
        }
        metadata.insert("uid".into(), object::new_uid().into());
        metadata.insert("creationTimestamp".into(), object::time(jiff::Timestamp::now()).into());
        // An error says that it is there already, which is what is wanted.
        let _ = self.store.insert(table, &Key::new(namespace, name), object);
    }

    /// Brings a definition into force. It was compiled when it was admitted, so that failing here is not expected.
    fn define(&self, old: Option<&Arc<Value>>, new: &Value) {
        if old.is_some_and(|o| o["spec"] == new["spec"]) {
            return;
        }
        match Crd::compile(new) {
            Ok(crd) => self.registry.insert(Arc::new(crd).definition()),
            Err(error) => tracing::error!(name = object::name(new), %error, "definition does not compile"),
        }
        self.served_changed();
    }

    /// Changes an object of the server's own accord, past admission; removes it where that lets go of it.
    pub(crate) fn amend(&self, target: &Target, change: impl Fn(&mut Value)) {
        let (table, key) = (target.table(), target.key());
        while let Some(old) = self.store.get(&table, &key) {
            let mut new = (*old).clone();
            change(&mut new);
            let outcome = if strategy::deletion_complete(&target.def, &new) {
                self.store.remove(&table, &key, &old).map(|last| self.after_delete(target, &last))
            } else {
                self.store.replace(&table, &key, &old, new).map(|now| {
                    if !Arc::ptr_eq(&now, &old) {
                        self.after_write(target, Some(&old), &now);
                    }
                })
            };
            if outcome != Err(WriteError::Raced) {
                return;
            }
        }
    }

    /// ClusterRoles that aggregate others show the rules of those.
    pub(crate) fn aggregate_roles(&self) {
        const TABLE: &str = "clusterroles.rbac.authorization.k8s.io";
        let roles = self.store.list(TABLE, None).objects;
        for role in &roles {
            let Some(rules) = crate::rbac::aggregated(role, roles.iter().map(AsRef::as_ref)) else {
                continue;
            };
            if let Ok(target) = self.target(TABLE, "", object::name(role)) {
                self.amend(&target, |role| role["rules"] = json!(rules));
            }
        }
    }

    /// A token Secret may have come before its account.
    fn fill_token_secrets(&self, namespace: &str, account: &str) {
        for secret in self.store.list("secrets", Some(namespace)).objects {
            if object::annotation(&secret, "kubernetes.io/service-account.name") == account
                && let Ok(target) = self.target("secrets", namespace, object::name(&secret))
            {
                self.amend(&target, |secret| strategy::fill_token_secret(self, secret));
            }
        }
    }

    fn drop_token_secrets(&self, namespace: &str, uid: &str) {
        for secret in self.store.list("secrets", Some(namespace)).objects {
            let theirs = object::annotation(&secret, "kubernetes.io/service-account.uid") == uid;
            if theirs && object::field(&secret, "type") == "kubernetes.io/service-account-token" {
                let key = Key::new(namespace, object::name(&secret));
                if let (Ok(target), Ok(last)) = (
                    self.target("secrets", namespace, object::name(&secret)),
                    self.store.remove("secrets", &key, &secret),
                ) {
                    self.after_delete(&target, &last);
                }
            }
        }
    }
}
