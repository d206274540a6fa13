//! The process beside every container of a sandbox; `meshctl sandbox` starts it.

fn main() -> std::process::ExitCode {
    mesh_sandbox::shim()
}
