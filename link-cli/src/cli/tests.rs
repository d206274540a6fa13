use super::*;
use clap::error::ErrorKind;
use std::path::{Path, PathBuf};

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = std::fs::read_dir(root.join("docs")).unwrap().map(|e| e.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|e| e == "md"));
    docs.chain(["README.md", "charts/README.md"].map(|name| root.join(name))).collect()
}

/// Every command line of `meshctl` in a text: in blocks and between backticks, up to what follows it in a pipe.
fn command_lines(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let spans = line.split('`').skip(1).step_by(2);
        for part in spans.chain([line.trim().trim_start_matches("$ ")]) {
            if part.starts_with("meshctl ") {
                let end = [" |", " >", " &&", " #"].iter().filter_map(|stop| part.find(stop)).min();
                found.push(part[..end.unwrap_or(part.len())].to_owned());
            }
        }
    }
    found
}

fn words(line: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' | '"' => quoted = !quoted,
            ' ' if !quoted => out.push(String::new()),
            c => out.last_mut().unwrap().push(c),
        }
    }
    out.retain(|word| !word.is_empty());
    out
}

#[test]
fn every_command_line_in_the_docs_is_one() {
    Cli::command().debug_assert();
    let mut seen = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        // A line that leaves something out is not meant to be typed.
        for line in command_lines(&text).into_iter().filter(|l| !l.contains('…')) {
            seen += 1;
            match Cli::try_parse_from(words(&line)) {
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {}
                // A command that is named without what it needs.
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::MissingRequiredArgument
                            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                            | ErrorKind::MissingSubcommand
                    ) => {}
                Err(e) => panic!("{}: {line}\n{e}", page.display()),
            }
        }
    }
    assert!(seen >= 40, "{seen}");
}

#[test]
fn a_namespace_may_come_before_the_command() {
    let moved = |line: &str| {
        let moved = namespace_last(line.split(' ').map(OsString::from).collect());
        moved.iter().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(moved("meshctl -n shop check --proxy"), "meshctl check --proxy -n shop");
    assert_eq!(
        moved("meshctl --namespace=shop --context=east check"),
        "meshctl --context=east check --namespace=shop"
    );
    let inside = "meshctl --context east diagnostics policy service/web 80 -n shop";
    assert_eq!(moved(inside), inside);
    assert_eq!(moved("meshctl -n"), "meshctl -n");
    assert!(
        Cli::try_parse_from(namespace_last(
            ["meshctl", "-n", "shop", "check", "--proxy"].map(Into::into).into()
        ))
        .is_ok()
    );
}
