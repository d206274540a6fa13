use super::*;
use anyhow::Context;

#[test]
fn a_problem_is_what_why_and_remedy_on_three_lines() {
    let error =
        anyhow::Error::from(Problem::new("install refused", "it is there already", "run: meshctl upgrade"));
    assert_eq!(render(&error), "× install refused\n    it is there already\n    run: meshctl upgrade\n");
    assert_eq!(exit_code(&error), ExitCode::from(1));
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let error = anyhow::Error::from(Problem::usage("a", "b", "c"));
    assert_eq!(exit_code(&error), ExitCode::from(2));
}

#[test]
fn causes_are_listed_once() {
    let error = Err::<(), _>(std::io::Error::other("disk is full")).context("cannot write out/").unwrap_err();
    assert_eq!(render(&error), format!("× cannot write out/\n    disk is full\n    {LAST_RESORT}\n"));
}

#[test]
fn a_parser_s_drawing_of_the_input_is_left_out() {
    assert_eq!(
        one_line("error: line 1 column 4: unclosed bracket\n --> <input>\n  |\n1 | a: [b"),
        "line 1 column 4: unclosed bracket"
    );
}
