//! The workspace keeps its shape.

use mesh_layout::{MAX_SYS_LINES, Workspace};

#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn arrows_between_rooms_point_down() {
    assert_none(&Workspace::read().unwrap().wrong_arrows());
}

#[test]
fn shared_trains_are_named_in_one_place() {
    assert_none(&Workspace::read().unwrap().misplaced_dependencies());
}

#[test]
fn source_files_are_short() {
    assert_none(&Workspace::read().unwrap().long_files().unwrap());
}

#[test]
fn every_source_file_is_declared_by_a_module() {
    assert_none(&Workspace::read().unwrap().orphans().unwrap());
}

#[test]
fn the_unsafe_shelf_stays_small() {
    let lines = Workspace::read().unwrap().sys_lines().unwrap();
    assert!(lines <= MAX_SYS_LINES, "core/sys has {lines} lines of code, at most {MAX_SYS_LINES}");
}
