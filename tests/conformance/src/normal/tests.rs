use super::*;

#[test]
fn what_differs_between_runs_becomes_a_placeholder() {
    let object = json!({
        "metadata": {
            "name": "web-x2k4p", "generateName": "web-", "resourceVersion": "1042",
            "uid": "0d6c1e5e-8a51-4b1f-9a3e-111213141516", "creationTimestamp": "2026-11-28T15:00:00Z",
            "annotations": { "version": "1042" },
        },
        "spec": { "clusterIP": "10.43.7.7", "clusterIPs": ["10.43.7.7"], "ports": [{ "port": 80, "nodePort": 31234 }] },
        "status": { "renewTime": "2026-11-28T15:00:00.123456Z", "token": "eyJhbGci.eyJpc3Mi.c2ln" },
    });
    assert_eq!(
        normalized(object),
        json!({
            "metadata": {
                "name": "web-<generated>", "generateName": "web-", "resourceVersion": "<version>", "uid": "<uid>",
                "creationTimestamp": "<time>", "annotations": { "version": "1042" },
            },
            "spec": {
                "clusterIP": "<address>", "clusterIPs": ["<address>"], "ports": [{ "port": 80, "nodePort": "<port>" }],
            },
            "status": { "renewTime": "<micro-time>", "token": "<token>" },
        })
    );
    let headless =
        json!({ "clusterIP": "None", "resourceVersion": "", "name": "web-1", "generateName": "web-" });
    assert_eq!(normalized(headless.clone()), headless);
}

#[test]
fn ages_in_tables_are_placeholders_and_managers_have_an_order() {
    let row = json!({ "cells": ["web", "3m5s", "5s", "80/TCP", "1/1", null, 5] });
    assert_eq!(normalized(row), json!({ "cells": ["web", "<age>", "<age>", "80/TCP", "1/1", null, 5] }));
    let managers = json!({ "managedFields": [{ "manager": "b" }, { "manager": "a" }] });
    assert_eq!(normalized(managers), json!({ "managedFields": [{ "manager": "a" }, { "manager": "b" }] }));
}
