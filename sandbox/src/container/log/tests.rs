use super::*;

#[test]
fn whole_lines_are_records_and_the_rest_waits() {
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    let (out, rest) = records(b"one\n\ntwo\npart", "stdout", now);
    let expected = "2026-01-02T03:04:05.000000000Z stdout F one\n\
                    2026-01-02T03:04:05.000000000Z stdout F \n\
                    2026-01-02T03:04:05.000000000Z stdout F two\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert_eq!(rest, 4);
}

#[test]
fn an_overlong_line_is_written_in_parts() {
    let line = [b"x".repeat(LINE_LIMIT + 3), b"\n".to_vec()].concat();
    let (out, rest) = records(&line, "stderr", Timestamp::UNIX_EPOCH);
    let text = String::from_utf8(out).unwrap();
    let tags: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!((tags, rest), (vec!["P", "F"], 0));
}
