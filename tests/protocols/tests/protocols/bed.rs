//! One bed for all tests: a client and a server with a proxy each, and what the tests start in it.

use mesh_bed::{Bed, Layout, Process, Sidecar, install};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// The user that programs of tests run as: nobody's, and not the proxy's.
const USER: u32 = 65_534;

static BED: LazyLock<Bed> = LazyLock::new(|| {
    let mut bed = Bed::new(&bin(), Layout::default()).unwrap();
    // Tells whether a case that fails is the program's own.
    if std::env::var_os("ISTHMUS_WITHOUT_PROXIES").is_none() {
        bed.start_sidecars(&sidecar()).unwrap();
    }
    bed
});

/// A client and a server with a proxy beside each. It ends with the process.
pub(crate) fn pair() -> &'static Bed {
    &BED
}

/// Our proxy.
pub(crate) fn sidecar() -> Sidecar {
    Sidecar { name: "isthmus".to_owned(), binary: bin().join("isthmus-proxy"), env: Vec::new() }
}

/// Where the binaries of this project are.
pub(crate) fn bin() -> PathBuf {
    tool("ISTHMUS_BIN_DIR")
}

/// The path of a program that `cargo xtask test` makes sure of.
pub(crate) fn tool(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => panic!("{variable} is not set: run these tests with  cargo xtask test -p mesh-protocols"),
    }
}

/// A command with arguments.
pub(crate) fn command(program: impl AsRef<Path>, args: &[&str]) -> Command {
    let mut command = Command::new(program.as_ref());
    command.args(args);
    command
}

/// Runs a command beside the client, a minute at most; answers with its standard output, or with all it said.
pub(crate) fn run(program: impl AsRef<Path>, args: &[&str]) -> Result<String, String> {
    let mut limited = command("timeout", &["60"]);
    limited.arg(program.as_ref()).args(args);
    pair().client.output(limited).map_err(|error| format!("{error:#}"))
}

/// Starts a program beside the server.
pub(crate) fn serve(bed: &Bed, name: &str, command: &Command) -> Process {
    // The program may lie where only root may look.
    let copy = bed.files().join(name);
    install(Path::new(command.get_program()), &copy).unwrap();
    let mut copied = Command::new(&copy);
    copied.args(command.get_args());
    Process::start(&bed.server, name, USER, &copied, &bed.files().join(format!("{name}.log"))).unwrap()
}
