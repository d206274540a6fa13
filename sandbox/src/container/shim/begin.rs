//! From a bare process in new namespaces to the container's program.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use mesh_sys::Namespace;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::super::spec::{Launch, Place};
use super::super::wire;
use super::{die_with_parent, rights, root, socket};

/// What went wrong and the exit code for it.
type Failure = (String, i32);

/// Becomes the program, or tells the shim why not.
pub(super) fn begin() -> io::Result<ExitCode> {
    let mut shim = socket()?;
    let (launch, fds) = wire::receive::<Launch>(&shim)?;
    let failure = become_program(&launch, fds, &shim);
    shim.write_all(serde_json::to_string(&failure)?.as_bytes())?;
    Ok(ExitCode::from(128))
}

fn become_program(launch: &Launch, fds: Vec<OwnedFd>, shim: &UnixStream) -> Failure {
    match prepare(launch, fds, shim) {
        Ok(mut program) => {
            let error = program.exec();
            let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            (format!("exec {}: {error}", Path::new(program.get_program()).display()), code)
        }
        Err(failure) => failure,
    }
}

fn prepare(launch: &Launch, fds: Vec<OwnedFd>, shim: &UnixStream) -> Result<Command, Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| (format!("{what}: {error}"), 128)
    };
    let mut fds = fds.into_iter();
    rustix::process::setsid().map_err(|error| failed("start a session")(error.into()))?;
    match &launch.place {
        Place::New(new_root) => {
            mesh_sys::unshare(&[Namespace::Mount]).map_err(failed("make a mount namespace"))?;
            rustix::system::sethostname(new_root.hostname.as_bytes())
                .map_err(|error| failed("set the host name")(error.into()))?;
            root::build(new_root, &launch.working_dir).map_err(|message| (message, 128))?;
        }
        Place::Inside(_) => {
            let target = fds.next().ok_or_else(|| ("the container is missing".to_owned(), 128))?;
            let kinds = ThreadNameSpaceType::MOUNT
                | ThreadNameSpaceType::NETWORK
                | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
                | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION;
            move_into_thread_name_spaces(target.as_fd(), kinds)
                .map_err(|error| failed("enter the container")(error.into()))?;
        }
    }
    std::env::set_current_dir(&launch.working_dir)
        .map_err(failed(&format!("change to {}", launch.working_dir.display())))?;
    standard_input(fds.next(), launch.terminal).map_err(failed("set up standard input"))?;
    rights::give_up(&launch.rights).map_err(failed("set user and capabilities"))?;
    // A change of user clears the parent-death signal; a parent that died meanwhile has closed the socket.
    die_with_parent().map_err(failed("tie the process to its shim"))?;
    if is_closed(shim) {
        std::process::exit(128);
    }
    let (name, arguments) =
        launch.argv.split_first().ok_or_else(|| ("there is no command to run".to_owned(), 127))?;
    let mut program = Command::new(find(name, &launch.env)?);
    program.arg0(name).args(arguments).env_clear().envs(launch.env.iter().map(|(k, v)| (k, v)));
    Ok(program)
}

fn is_closed(shim: &UnixStream) -> bool {
    let _ = shim.set_nonblocking(true);
    let end = matches!((&mut &*shim).read(&mut [0]), Ok(0));
    let _ = shim.set_nonblocking(false);
    end
}

/// Replaces the socket on descriptor 0. A terminal becomes the controlling one.
fn standard_input(given: Option<OwnedFd>, terminal: bool) -> io::Result<()> {
    let input = match given {
        Some(given) => given,
        None => OwnedFd::from(std::fs::File::open("/dev/null")?),
    };
    if terminal {
        rustix::process::ioctl_tiocsctty(&input)?;
    }
    Ok(rustix::stdio::dup2_stdin(&input)?)
}

/// The program's path: as given with a slash, else the first in `PATH` that can be executed.
fn find(name: &str, env: &[(String, String)]) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        return Ok(PathBuf::from(name));
    }
    let path =
        env.iter().rfind(|(key, _)| key == "PATH").map_or("/usr/bin:/bin", |(_, value)| value.as_str());
    std::env::split_paths(OsStr::new(path))
        .map(|directory| directory.join(name))
        .find(|candidate| {
            candidate.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
        })
        .ok_or_else(|| (format!("exec {name:?}: executable file not found in $PATH"), 127))
}
