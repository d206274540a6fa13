use super::*;
use serde_json::json;

fn play(differs: &str) -> Play {
    let text = format!("about: x\nsteps:\n- name: get\n  ask: GET /x\n  differs: {differs}\n");
    let mut play: Play = serde_saphyr::from_str(&text).unwrap();
    play.name = "p".to_owned();
    play
}

fn answer(body: Value) -> BTreeMap<String, Answer> {
    let answer = Answer { status: 200, media: String::new(), warnings: Vec::new(), body, events: Vec::new() };
    BTreeMap::from([("get".to_owned(), answer)])
}

fn found(differs: &str, real: Value, ours: Value) -> Vec<String> {
    let rules =
        Rules { everywhere: BTreeMap::from([("/body/b".to_owned(), "why".to_owned())]), are_needed: true };
    differences(&rules, &play(differs), &answer(real), &answer(ours)).unwrap()
}

#[test]
fn every_difference_is_named_with_its_path() {
    let real = json!({ "a": 1, "b": 1, "items": [{ "x": 1 }, 2], "gone": true });
    let ours = json!({ "a": "1", "b": 2, "items": [{ "x": 1, "y": 2 }], "new/er": null });
    assert_eq!(
        found("{}", real, ours),
        [
            "p: get: /body/a: the real server says 1, the sandbox \"1\"",
            "p: get: /body/gone: the real server has true, the sandbox nothing",
            "p: get: /body/items/0/y: the real server has nothing, the sandbox 2",
            "p: get: /body/items/length: the real server has 2 items, the sandbox 1",
            "p: get: /body/new~1er: the real server has nothing, the sandbox null",
        ]
    );
}

#[test]
fn what_may_differ_is_passed_over_and_must_still_differ() {
    let differs = "{ '/body/items/*/x': why, '/body/z': why }";
    let (real, ours) = (
        json!({ "items": [{ "x": 1 }, { "x": { "y": 1 } }] }),
        json!({ "items": [{ "x": 2 }, { "x": {} }] }),
    );
    assert_eq!(found(differs, real, ours), ["p: get: /body/z: no longer differs; take the rule away"]);
}

#[test]
fn patterns_name_paths_and_what_is_above_them() {
    for (pattern, path, does) in [
        ("/body/a", "/body/a/b", true),
        ("/body/a", "/body/ab", false),
        ("/body/*/a", "/body/0/a", true),
        ("/body/*/a", "/body/0/1/a", false),
        ("/**/managedFields/*/time", "/body/items/0/metadata/managedFields/1/time", true),
        ("/**/managedFields/*/time", "/body/items/0/metadata/managedFields/1/manager", false),
    ] {
        assert_eq!(matches(pattern, path), does, "{pattern} {path}");
    }
}

#[test]
fn what_is_not_recorded_or_no_longer_asked_is_a_difference_and_real_servers_need_no_rule() {
    let rules = || Rules { everywhere: BTreeMap::new(), are_needed: true };
    let (real, ours) = (answer(json!({ "b": 1 })), answer(json!({ "b": 1 })));
    let unknown = BTreeMap::from([("other".to_owned(), real["get"].clone())]);
    assert_eq!(differences(&rules(), &play("{}"), &unknown, &ours).unwrap().len(), 2);
    let unneeded = play("{ /body/b: why }");
    assert_eq!(differences(&rules(), &unneeded, &real, &ours).unwrap().len(), 1);
    assert!(differences(&rules().between_real_servers(), &unneeded, &real, &ours).unwrap().is_empty());
}
