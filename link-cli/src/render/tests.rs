use super::*;
use serde_json::json;

fn try_one(template: &str, values: Value) -> Result<String, RenderError> {
    let release = Release { name: "r", namespace: "ns", version: "1.0.0" };
    let out = render(&[("templates/t.yaml", template)], &release, &values)?;
    Ok(out.into_iter().next().map(|(_, text)| text).unwrap_or_default())
}

fn one(template: &str, values: Value) -> String {
    try_one(template, values).unwrap()
}

#[test]
fn values_release_and_missing_values() {
    let text =
        "{{ .Values.a.b }}|{{ .Release.Namespace }}|{{ .Values.none }}|{{ $.Values.n }}|{{ .Values.t }}";
    assert_eq!(one(text, json!({"a": {"b": "x"}, "n": 7, "t": true})), "x|ns||7|true");
}

#[test]
fn dashes_trim_white_space_with_newlines() {
    assert_eq!(one("a:\n  {{- if true }}\n  b: 1\n  {{- end }}\nc: 2\n", json!({})), "a:\n  b: 1\nc: 2\n");
    assert_eq!(one("x {{- /* note }} */ -}} y", json!({})), "xy");
}

#[test]
fn conditions_chain_and_follow_gos_idea_of_truth() {
    let text = "{{ if .Values.a }}a{{ else if eq .Values.b \"x\" \"y\" }}b{{ else }}c{{ end }}";
    assert_eq!(one(text, json!({"a": [0]})), "a");
    assert_eq!(one(text, json!({"a": {}, "b": "y"})), "b");
    assert_eq!(one(text, json!({"a": 0, "b": ""})), "c");
    assert_eq!(one("{{ if and .Values.a (not .Values.b) }}1{{ end }}", json!({"a": 1})), "1");
    assert_eq!(one("{{ if or .Values.a .Values.b.c }}1{{ end }}", json!({"a": 1})), "1");
}

#[test]
fn ranges_over_lists_and_sorted_maps() {
    assert_eq!(
        one("{{ range .Values.l }}[{{ . }}]{{ else }}none{{ end }}", json!({"l": [1, "b"]})),
        "[1][b]"
    );
    assert_eq!(one("{{ range .Values.l }}x{{ else }}none{{ end }}", json!({})), "none");
    let text = "{{ range $k, $v := .Values.m }}{{ $k }}={{ $v }};{{ end }}";
    assert_eq!(one(text, json!({"m": {"b": 2, "a": 1}})), "a=1;b=2;");
    assert_eq!(one("{{ range $i, $v := .Values.l }}{{ $i }}{{ $v }}{{ end }}", json!({"l": ["x"]})), "0x");
}

#[test]
fn with_moves_the_dot_and_variables_end_with_their_block() {
    let text = "{{ $x := 1 }}{{ with .Values.a }}{{ $x = 2 }}{{ $y := 3 }}{{ .b }}{{ $y }}{{ end }}{{ $x }}";
    assert_eq!(one(text, json!({"a": {"b": "z"}})), "z32");
    assert!(try_one("{{ if true }}{{ $y := 1 }}{{ end }}{{ $y }}", json!({})).is_err());
}

#[test]
fn pipelines_pass_the_last_argument() {
    assert_eq!(one("{{ .Values.a | default \"d\" | quote }}", json!({})), "\"d\"");
    assert_eq!(one("{{ (dict \"k\" (list 1 2)).k | toJson }}", json!({})), "[1,2]");
    assert_eq!(one("{{ printf \"%s-%d%%\" \"a\" 3 | upper }}", json!({})), "A-3%");
    assert_eq!(one("{{ \"a,b\" | splitList \",\" | join \"+\" }}", json!({})), "a+b");
    assert_eq!(one("{{ \"hi\" | b64enc }} {{ \"aGk=\" | b64dec }}", json!({})), "aGk= hi");
    assert_eq!(one("{{ omit .Values \"a\" | toJson }}", json!({"a": 1, "b": 2})), "{\"b\":2}");
    assert_eq!(
        one("{{ merge (dict \"a\" 1) .Values | toJson }}", json!({"a": 9, "b": 2})),
        "{\"a\":1,\"b\":2}"
    );
}

#[test]
fn includes_are_evaluated_with_their_own_dot() {
    let release = Release { name: "r", namespace: "ns", version: "1" };
    let files = [
        ("templates/_p.tpl", "{{ define \"p\" -}}\nn: {{ .n }}\nm: 1\n{{- end }}"),
        ("templates/t.yaml", "x:\n  {{- include \"p\" (dict \"n\" .Values.n) | nindent 2 }}\n"),
    ];
    let out = render(&files, &release, &json!({"n": 5})).unwrap();
    assert_eq!(out, [("templates/t.yaml".to_owned(), "x:\n  n: 5\n  m: 1\n".to_owned())]);
}

#[test]
fn to_yaml_keeps_every_value_and_indents_as_asked() {
    let values = json!({"v": {
        "list": [{"b": 1, "a": "yes"}, [1, []], "1"], "empty": {}, "text": "a: b", "n": null,
        "pem": "-----BEGIN X-----\nab\n-----END X-----\n", "odd": " x\ny", "cmd": "a | b # c", "no": "no",
    }});
    let text = one("k:\n  {{- toYaml .Values.v | nindent 2 }}\n", values.clone());
    let parsed: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(parsed["k"], values["v"], "{text}");
    assert!(text.contains("  - a: \"yes\"\n    b: 1\n"), "{text}");
    assert!(text.contains("  pem: |\n    -----BEGIN X-----\n"), "{text}");
}

#[test]
fn mistakes_are_named_with_file_and_line() {
    let cases = [
        ("a\n{{ .Values.a.b }}", "templates/t.yaml:2: there is no .b: its parent is not a map"),
        ("{{ if true }}", "templates/t.yaml:1: if has no end"),
        ("\n\n{{ end }}", "templates/t.yaml:3: else or end without a beginning"),
        ("{{ nope 1 }}", "templates/t.yaml:1: nope: unknown function"),
        ("{{ .Values }}", "templates/t.yaml:1: a list or a map is printed; use toYaml"),
        ("{{ include \"x\" . }}", "templates/t.yaml:1: no template is named \"x\""),
        ("{{ \"open }}", "templates/t.yaml:1: {{ has no matching }}"),
        ("{{ required \"set a\" .Values.a }}", "templates/t.yaml:1: set a"),
        ("{{ (list 1 }}", "templates/t.yaml:1: ( has no matching )"),
        (
            "{{ define \"x\" }}{{ include \"x\" . }}{{ end }}{{ include \"x\" . }}",
            "x:1: template \"x\" includes",
        ),
    ];
    for (template, message) in cases {
        let error = try_one(template, json!({})).unwrap_err().to_string();
        assert!(error.starts_with(message), "{template}: {error}");
    }
}

#[test]
fn blank_manifests_are_left_out() {
    let release = Release { name: "r", namespace: "ns", version: "1" };
    let out = render(&[("templates/t.yaml", "{{ if false }}x{{ end }}\n")], &release, &json!({})).unwrap();
    assert!(out.is_empty());
}
