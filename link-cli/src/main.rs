//! `meshctl`, as a thin shell: another version of it is built by compiling this file alone.

use std::process::ExitCode;

fn main() -> ExitCode {
    mesh_link_cli::run(mesh_types::built_as!())
}
