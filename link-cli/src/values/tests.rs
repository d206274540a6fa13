use super::*;
use serde_json::json;

fn with(args: ValueArgs, mut values: Value) -> anyhow::Result<Value> {
    args.apply(&mut values)?;
    Ok(values)
}

fn set_flag(text: &str, values: Value) -> Value {
    with(ValueArgs { set: vec![text.to_owned()], ..ValueArgs::default() }, values).unwrap()
}

#[test]
fn set_understands_helms_syntax() {
    let out = set_flag("a.b=1,c=true,d=text,e={x,2},f[1].g=y,h\\.i=z,j=a\\,b,k=007", json!({"a": {"z": 0}}));
    let expected = json!({
        "a": {"b": 1, "z": 0}, "c": true, "d": "text", "e": ["x", 2], "f": [null, {"g": "y"}],
        "h.i": "z", "j": "a,b", "k": "007",
    });
    assert_eq!(out, expected);
    assert_eq!(set_flag("a=null", json!({"a": 1, "b": 2})), json!({"b": 2}));
}

#[test]
fn files_are_laid_over_defaults_and_flags_over_files() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("v.yaml");
    std::fs::write(&file, "a:\n  b: 2\n  c: 3\nlist: [9]\ngone: null\n").unwrap();
    let args = ValueArgs {
        files: vec![file.clone()],
        set_string: vec!["a.c=4".into()],
        set_file: vec![format!("text={}", file.display())],
        set: vec![],
    };
    let out = with(args, json!({"a": {"b": 1, "d": 1}, "list": [1, 2], "gone": 1})).unwrap();
    assert_eq!(out["a"], json!({"b": 2, "c": "4", "d": 1}));
    assert_eq!((&out["list"], out.get("gone")), (&json!([9]), None));
    assert!(out["text"].as_str().unwrap().starts_with("a:\n"));
}

#[test]
fn mistakes_name_the_flag() {
    for text in ["novalue", "a[x]=1", "=1"] {
        let args = ValueArgs { set: vec![text.to_owned()], ..ValueArgs::default() };
        let error = with(args, json!({})).unwrap_err().to_string();
        assert!(error.contains("--set"), "{error}");
    }
}
