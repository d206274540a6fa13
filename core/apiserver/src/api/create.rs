//! Create.

use super::{Api, Target, Write, Written, check_type};
use crate::admit::Admit;
use crate::convert;
use crate::error::{ApiError, FieldError};
use crate::object;
use crate::store::WriteError;
use crate::strategy;
use serde_json::{Value, json};

impl Api {
    pub(crate) async fn create(
        &self,
        write: &Write<'_>,
        target: &Target,
        body: Value,
    ) -> Result<Written, ApiError> {
        self.create_tracked(write, target, body, true).await
    }

    /// `track` is false where server-side apply has already recorded who owns what.
    pub(super) async fn create_tracked(
        &self,
        write: &Write<'_>,
        target: &Target,
        mut body: Value,
        track: bool,
    ) -> Result<Written, ApiError> {
        check_type(target, &mut body)?;
        let mut target = target.named(object::name(&body));
        place_in_namespace(&target, &mut body)?;
        if !object::resource_version(&body).is_empty() {
            // So it is: the real server does not take it for the client's mistake.
            return Err(ApiError::Status {
                code: 500,
                reason: String::new(),
                message: "resourceVersion should not be set on objects to be created".into(),
            });
        }
        let admit =
            Admit { def: &target.def, version: &target.version, strictness: write.options.strictness };
        let mut warnings = admit.decode(&mut body)?;
        strategy::admit_create(self, write, &target, &mut body)?;
        let mutated = self.webhooks.mutate(self, write, &target, "CREATE", &mut body, None).await?;
        warnings.extend(mutated.warnings);
        if mutated.changed {
            admit.decode(&mut body)?;
        }
        stamp(&mut body);
        target.name = generated_name(&target, &mut body)?;
        strategy::prepare_create(self, &target, &mut body)?;
        if track {
            self.track(write, &target, None, &mut body);
        }
        let mut causes = name_causes(&target);
        causes.extend(admit.validate(&body, None));
        if !causes.is_empty() {
            return Err(target.invalid(causes));
        }
        strategy::check_privileges(self, write, &target, None, &body)?;
        warnings.extend(self.webhooks.validate(self, write, &target, "CREATE", Some(&body), None).await?);
        let object = self.insert_new(write, &target, body)?;
        Ok(Written { object, warnings, created: true })
    }

    fn insert_new(
        &self,
        write: &Write<'_>,
        target: &Target,
        mut body: Value,
    ) -> Result<std::sync::Arc<Value>, ApiError> {
        let table = target.table();
        let generate = object::text(&body, "/metadata/generateName").to_owned();
        let mut target = target.clone();
        // Held across allocation and insertion, so that two Services cannot get one address.
        let guard = self.allocator.lock();
        strategy::allocate(self, &guard, &target, &mut body, None)?;
        for _ in 0..super::ATTEMPTS {
            let stored = convert::store(&target.def, body.clone());
            if write.options.dry_run {
                if self.store.get(&table, &target.key()).is_none() {
                    return Ok(std::sync::Arc::new(body));
                }
            } else {
                match self.store.insert(&table, &target.key(), stored) {
                    Ok(object) => {
                        drop(guard);
                        self.after_write(&target, None, &object);
                        return Ok(self.presented(&target, &object));
                    }
                    Err(WriteError::Exists | WriteError::Missing | WriteError::Raced) => {}
                }
            }
            if generate.is_empty() {
                break;
            }
            target.name = generate_name(&generate);
            object::metadata_mut(&mut body).insert("name".into(), target.name.clone().into());
        }
        Err(ApiError::AlreadyExists { resource: target.def.qualified(), name: target.name })
    }
}

fn place_in_namespace(target: &Target, body: &mut Value) -> Result<(), ApiError> {
    let given = object::namespace(body);
    if !target.def.namespaced {
        object::metadata_mut(body).remove("namespace");
        return Ok(());
    }
    if target.namespace.is_empty() {
        return Err(ApiError::BadRequest("an empty namespace may not be set during creation".into()));
    }
    if !given.is_empty() && given != target.namespace {
        return Err(ApiError::BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request".into(),
        ));
    }
    object::metadata_mut(body).insert("namespace".into(), target.namespace.clone().into());
    Ok(())
}

fn stamp(body: &mut Value) {
    let metadata = object::metadata_mut(body);
    for name in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation"] {
        metadata.remove(name);
    }
    metadata.insert("uid".into(), object::new_uid().into());
    metadata.insert("creationTimestamp".into(), object::time(jiff::Timestamp::now()).into());
}

fn generate_name(prefix: &str) -> String {
    // Kubernetes' limit: 63 characters, five of them random.
    let keep = prefix.char_indices().nth(58).map_or(prefix.len(), |(i, _)| i);
    format!("{}{}", &prefix[..keep], object::random_suffix(5))
}

fn generated_name(target: &Target, body: &mut Value) -> Result<String, ApiError> {
    if !object::name(body).is_empty() {
        return Ok(object::name(body).to_owned());
    }
    let prefix = object::text(body, "/metadata/generateName").to_owned();
    if prefix.is_empty() {
        let why = "name or generateName is required";
        return Err(target.invalid(vec![FieldError::required("metadata.name", why)]));
    }
    let name = generate_name(&prefix);
    object::metadata_mut(body).insert("name".into(), name.clone().into());
    Ok(name)
}

fn name_causes(target: &Target) -> Vec<FieldError> {
    // Names are path segments everywhere; the kinds' own stricter rules are in `validate`.
    let bad = target.name.contains(['/', '%']) || target.name == "." || target.name == "..";
    let why = "may not be '.' or '..' and may not contain '/' or '%'";
    if bad { vec![FieldError::invalid("metadata.name", &json!(target.name), why)] } else { Vec::new() }
}
