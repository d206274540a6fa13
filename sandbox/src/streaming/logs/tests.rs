use super::*;
use futures::FutureExt as _;

const STORED: &str = "2026-01-01T00:00:00.5Z stdout F one\n2026-01-01T00:00:02Z stderr P tw\n\
                      2026-01-01T00:00:02Z stderr F o\n2026-01-01T00:00:03Z stdout F three\n";

async fn read(query: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    std::fs::write(&path, STORED).unwrap();
    let wanted = Wanted::parse(&parameters(query), "2026-01-01T00:00:04Z".parse().unwrap()).unwrap();
    let (sender, mut receiver) = mpsc::channel(64);
    let log = Log { path, ended: futures::future::ready(()).boxed() };
    send(log, wanted, &sender).await.unwrap();
    drop(sender);
    let mut out = String::new();
    while let Some(chunk) = receiver.recv().await {
        out.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    out
}

#[tokio::test]
async fn lines_are_sent_whole_with_parts_joined() {
    assert_eq!(read("").await, "one\ntwo\nthree\n");
    assert_eq!(read("follow=true").await, "one\ntwo\nthree\n");
}

#[tokio::test]
async fn tail_since_and_limit_choose_lines() {
    assert_eq!(read("tailLines=1").await, "three\n");
    assert_eq!(read("sinceSeconds=1").await, "three\n");
    assert_eq!(read("sinceTime=2026-01-01T00:00:03Z").await, "three\n");
    assert_eq!(read("limitBytes=5").await, "one\nt");
    assert_eq!(read("tailLines=1&timestamps=true").await, "2026-01-01T00:00:03Z three\n");
}

#[test]
fn bad_parameters_name_the_field() {
    let now = Timestamp::UNIX_EPOCH;
    assert!(Wanted::parse(&parameters("tailLines=-1"), now).unwrap_err().contains("tailLines"));
    assert!(Wanted::parse(&parameters("sinceTime=never"), now).unwrap_err().contains("sinceTime"));
}
