use super::*;

#[test]
fn series_of_one_name_are_added_up() {
    let text = "# HELP open connections\nopen{side=\"in\"} 2\nopen{side=\"out\"} 3\nopen_files 7\nopen 1\n";
    assert!((sum(text, "open", "") - 6.0).abs() < 1e-9);
    assert!((sum(text, "open", "side=\"out\"") - 3.0).abs() < 1e-9);
    assert!((sum(text, "open_files", "") - 7.0).abs() < 1e-9);
}
