use super::*;
use crate::charts::Chart;
use crate::values::merge;

#[test]
fn what_was_told_is_laid_over_other_defaults() {
    let defaults = json!({"a": 1, "b": {"c": 2, "d": [1]}, "gone": {"x": 1}, "linkerdVersion": ""});
    let mut values = json!({"a": 1, "b": {"c": 3, "d": [2]}, "new": true, "linkerdVersion": "9"});
    let told = of(&values, &defaults);
    assert_eq!(told, json!({"b": {"c": 3, "d": [2]}, "gone": null, "new": true}));
    let mut later = json!({"a": 5, "b": {"c": 2, "d": [1], "e": 6}, "gone": {"x": 1}, "linkerdVersion": ""});
    merge(&mut later, &told);
    assert_eq!(later, json!({"a": 5, "b": {"c": 3, "d": [2], "e": 6}, "new": true, "linkerdVersion": ""}));
    values["linkerdVersion"] = json!("");
    assert_eq!(of(&defaults, &defaults), json!({}));
}

#[test]
fn certificates_and_keys_are_not_told() {
    let defaults = Chart::ControlPlane.default_values().unwrap();
    let mut values = defaults.clone();
    let issuer = json!({"identityTrustAnchorsPEM": "anchors", "controllerReplicas": 2,
        "identity": {"issuer": {"tls": {"crtPEM": "c", "keyPEM": "k"}, "issuanceLifetime": "1h"}}});
    merge(&mut values, &issuer);
    let told = of(&values, &defaults);
    assert_eq!(told, json!({"controllerReplicas": 2, "identity": {"issuer": {"issuanceLifetime": "1h"}}}));
    let secret = secret("mesh", &told).object;
    let text = crate::installed::secret_text(&secret, SECRET).unwrap();
    assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), told);
}
