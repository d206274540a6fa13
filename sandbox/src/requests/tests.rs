use super::*;

#[test]
fn requests_are_appended_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/east.jsonl");
    let request = Recorded {
        user: "ann".into(),
        agent: "kubectl".into(),
        method: "POST".into(),
        path: "/api/v1/namespaces?dryRun=All".into(),
        content_type: "application/json".into(),
        accept: String::new(),
        upgrade: String::new(),
        body: "{\n}".into(),
    };
    into_file(&path).unwrap()(request.clone());
    into_file(&path).unwrap()(request);
    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["method"], &lines[1]["body"]), (&json!("POST"), &json!("{\n}")));
}
