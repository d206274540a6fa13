//! The conformance suite of HTTP/2 (RFC 9113 and 7541), against each of the two sides of the proxy.

use crate::bed::{bin, command, pair, sidecar, tool};
use mesh_bed::{Bed, HTTP_PORT, Layout, SERVER_IP};
use std::path::Path;

/// Cases that fail for a reason, by section and description. Nothing else may fail, and these must.
const EXPECTED: &[(&str, &str)] = &[];

#[test]
fn the_outbound_side_speaks_http2_as_specified() {
    check(pair(), "outbound");
}

#[test]
fn the_inbound_side_speaks_http2_as_specified() {
    // The client has no proxy here, so that its frames reach the server's as they are.
    let bed = Bed::new(&bin(), Layout::default()).unwrap();
    let proxy = bed.start_server_sidecar(&sidecar()).unwrap();
    check(&bed, "inbound");
    drop(proxy);
}

fn check(bed: &Bed, side: &str) {
    let report = bed.files().join(format!("h2spec-{side}.xml"));
    let (host, port) = (SERVER_IP.to_string(), HTTP_PORT.to_string());
    let file = report.display().to_string();
    let args =
        ["--host", &host, "--port", &port, "--path", "/small", "--timeout", "3", "--junit-report", &file];
    // It fails when a case does; the report tells which.
    let said = bed.client.output(command(tool("ISTHMUS_H2SPEC"), &args));
    let cases = read(&report).unwrap_or_else(|error| panic!("{error}: {said:?}"));
    assert!(cases.len() > 100, "h2spec ran {} cases only: {said:?}", cases.len());
    let expected = |case: &&Case| EXPECTED.iter().any(|(section, text)| case.is(section, text));
    let (excused, failed): (Vec<_>, Vec<_>) =
        cases.iter().filter(|c| c.failure.is_some()).partition(expected);
    let told: Vec<String> = failed.iter().map(|case| case.to_string()).collect();
    assert!(told.is_empty(), "{side}: {} of {} cases fail:\n{}", told.len(), cases.len(), told.join("\n"));
    assert_eq!(excused.len(), EXPECTED.len(), "{side}: cases that are expected to fail do not any more");
}

/// A case of the report.
struct Case {
    section: String,
    text: String,
    failure: Option<String>,
}

impl Case {
    fn is(&self, section: &str, text: &str) -> bool {
        self.section == section && self.text == text
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let failure = self.failure.as_deref().unwrap_or_default();
        write!(
            f,
            "{} {:?}: {}",
            self.section,
            self.text,
            failure.split_whitespace().collect::<Vec<_>>().join(" ")
        )
    }
}

/// Reads a JUnit report: elements `testcase` with attributes, and in them `error` or `failure`.
fn read(report: &Path) -> Result<Vec<Case>, String> {
    let text = std::fs::read_to_string(report).map_err(|error| format!("no report: {error}"))?;
    let mut cases = Vec::new();
    for part in text.split("<testcase").skip(1) {
        let (head, rest) = part.split_once('>').ok_or("an unfinished case")?;
        let attribute = |name: &str| -> String {
            let value = head.split_once(&format!(" {name}=\"")).and_then(|(_, v)| v.split_once('"'));
            unescape(value.map_or("", |(value, _)| value))
        };
        let body = rest.split_once("</testcase>").map_or("", |(body, _)| body);
        let failed = ["<failure", "<error"].iter().find_map(|tag| body.split_once(tag));
        let failure = failed.map(|(_, text)| {
            let text = text.split_once('>').map_or("", |(_, text)| text);
            unescape(text.split("</").next().unwrap_or_default())
        });
        cases.push(Case { section: attribute("package"), text: attribute("classname"), failure });
    }
    Ok(cases)
}

fn unescape(text: &str) -> String {
    let mut text = text.to_owned();
    for (from, to) in
        [("&#xA;", " "), ("&#34;", "\""), ("&#39;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")]
    {
        text = text.replace(from, to);
    }
    text
}
