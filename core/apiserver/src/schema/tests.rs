use super::Schema;
use proptest::prelude::*;
use serde_json::{Value, json};

fn schema() -> Schema {
    Schema::compile(&json!({
        "type": "object",
        "required": ["spec"],
        "properties": {"spec": {
            "type": "object",
            "required": ["size"],
            "properties": {
                "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 10},
                "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4, "minLength": 2},
                "port": {"x-kubernetes-int-or-string": true},
                "when": {"type": "string", "format": "date-time"},
                "maybe": {"type": "string", "nullable": true},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "parts": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["id"],
                    "items": {"type": "object", "properties": {"id": {"type": "string"}, "n": {"type": "integer", "default": 3}}}},
                "either": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            },
            "x-kubernetes-validations": [
                {"rule": "!has(self.labels) || self.size > 1", "message": "labelled things must be larger"},
                {"rule": "self.size >= oldSelf.size", "message": "may not shrink"},
            ],
        }},
    }))
}

fn errors(spec: Value) -> Vec<String> {
    let object = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "spec": spec});
    schema().validate(&object, None).iter().map(ToString::to_string).collect()
}

#[test]
fn a_right_object_has_no_errors() {
    let spec = json!({"size": 3, "mode": "slow", "name": "abc", "port": "http", "when": "2024-01-01T00:00:00Z",
        "maybe": null, "free": {"x": [1]}, "labels": {"a": "b"}, "parts": [{"id": "1"}, {"id": "2"}], "either": {"a": "x"}});
    assert_eq!(errors(spec), Vec::<String>::new());
}

#[test]
fn each_rule_names_field_value_and_reason() {
    assert_eq!(errors(json!({})), ["spec.size: Required value"]);
    assert_eq!(
        errors(json!({"size": "1"})),
        ["spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\""]
    );
    assert_eq!(
        errors(json!({"size": 0})),
        ["spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"]
    );
    assert_eq!(
        errors(json!({"size": 1, "mode": "warp"})),
        ["spec.mode: Unsupported value: \"warp\": supported values: \"fast\", \"slow\""]
    );
    assert_eq!(
        errors(json!({"size": 1, "name": "ABC"})),
        ["spec.name: Invalid value: \"ABC\": spec.name in body should match '^[a-z]+$'"]
    );
    assert_eq!(errors(json!({"size": 1, "maybe": null, "mode": null})).len(), 1);
    assert_eq!(errors(json!({"size": 1, "port": true})).len(), 1);
    assert_eq!(errors(json!({"size": 1, "when": "yesterday"})).len(), 1);
    assert_eq!(errors(json!({"size": 1, "either": {"a": "1", "b": "2"}})).len(), 1);
    assert_eq!(errors(json!({"size": 1, "either": {}})).len(), 1);
    assert_eq!(
        errors(json!({"size": 2, "parts": [{"id": "1"}, {"id": "1"}]})),
        ["spec.parts[1]: Duplicate value: {\"id\":\"1\"}"]
    );
}

#[test]
fn cel_rules_run_with_their_messages_and_see_the_old_object() {
    assert_eq!(
        errors(json!({"size": 1, "labels": {}})),
        ["spec: Invalid value: \"object\": labelled things must be larger"]
    );
    let of = |size| json!({"spec": {"size": size}});
    assert_eq!(schema().validate(&of(2), Some(&of(3))).len(), 1);
    assert_eq!(schema().validate(&of(3), Some(&of(2))).len(), 0);
}

#[test]
fn pruning_reports_what_it_removes_and_keeps_what_is_preserved() {
    let mut object = json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "x"}, "extra": 1,
        "spec": {"size": 1, "oops": 1, "free": {"any": {"thing": 1}}, "parts": [{"id": "1", "bad": 2}]}});
    assert_eq!(schema().prune(&mut object), ["extra", "spec.oops", "spec.parts[0].bad"]);
    assert_eq!(object["spec"], json!({"size": 1, "free": {"any": {"thing": 1}}, "parts": [{"id": "1"}]}));
    assert_eq!(object["metadata"]["name"], "x");
}

#[test]
fn defaults_reach_into_lists_and_replace_forbidden_nulls() {
    let mut object = json!({"spec": {"size": 1, "mode": null, "parts": [{"id": "1"}]}});
    schema().default(&mut object);
    assert_eq!(object["spec"]["mode"], "fast");
    assert_eq!(object["spec"]["parts"][0]["n"], 3);
}

#[test]
fn formats_are_checked() {
    use super::format::matches;
    for (format, yes, no) in [
        ("ipv4", "10.0.0.1", "10.0.0"),
        ("cidr", "10.0.0.0/8", "10.0.0.0/64"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123"),
        ("duration", "1h30m", "1x"),
        ("byte", "aGk=", "*"),
        ("date", "2024-02-29", "2023-02-29"),
        ("uri", "https://a/b", "nothing"),
        ("hostname", "a.b-c.d", "-a"),
        ("mac", "00:11:22:33:44:55", "00:11"),
    ] {
        assert!(matches(format, yes), "{format} {yes}");
        assert!(!matches(format, no), "{format} {no}");
    }
    assert!(matches("no-such-format", "anything"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(spec|size|parts|id|free|labels|x)", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nothing_panics_and_pruning_settles(value in any_json()) {
        let schema = schema();
        let _ = schema.validate(&value, None);
        let mut once = value;
        schema.default(&mut once);
        schema.prune(&mut once);
        let again = once.clone();
        prop_assert!(schema.prune(&mut once).is_empty());
        prop_assert_eq!(once, again);
    }
}
