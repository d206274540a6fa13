//! What the node asks of a shim: plain data, sent as JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One process to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Launch {
    /// In which namespaces.
    pub(crate) place: Place,
    /// Program and arguments; the program is looked up in `PATH` of `env` unless it has a slash.
    pub(crate) argv: Vec<String>,
    /// The whole environment.
    pub(crate) env: Vec<(String, String)>,
    /// Made if missing (new containers only).
    pub(crate) working_dir: PathBuf,
    /// As whom, and with which rights.
    pub(crate) rights: Rights,
    /// The standard streams are a terminal that becomes the controlling one.
    pub(crate) terminal: bool,
}

/// Where a process runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Place {
    /// As the first process of a new container. The pod's network namespace comes with the message.
    New(Root),
    /// Beside the first process of a container, by that one's process id as its own shim reported it.
    Inside(i32),
}

/// What a new container sees as its file system.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Root {
    /// An empty directory to build on; containers may share it, for each has mounts of its own.
    pub(crate) scratch: PathBuf,
    /// Host name.
    pub(crate) hostname: String,
    /// Text files of the container's own, by absolute path.
    pub(crate) files: BTreeMap<PathBuf, String>,
    /// Host files and directories, in order.
    pub(crate) binds: Vec<Bind>,
    /// Nothing but the binds may be written to.
    pub(crate) read_only: bool,
    /// /proc/sys and /sys may be written to.
    pub(crate) privileged: bool,
}

/// A host file or directory inside a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bind {
    /// Path on the host, as the runtime's thread sees it.
    pub(crate) source: PathBuf,
    /// Absolute path in the container.
    pub(crate) target: PathBuf,
    /// May not be written to.
    pub(crate) read_only: bool,
}

/// User, groups and capabilities of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rights {
    /// User id.
    pub(crate) uid: u32,
    /// Primary group id.
    pub(crate) gid: u32,
    /// Supplementary group ids.
    pub(crate) groups: Vec<u32>,
    /// Capabilities that can be had at all (bounding set), as a bit mask.
    pub(crate) capabilities: u64,
    /// Capabilities kept by a user other than root (ambient set), as a bit mask.
    pub(crate) ambient: u64,
    /// Programs with file capabilities or a set-uid bit gain nothing.
    pub(crate) no_new_privileges: bool,
}

/// What a shim tells the node, one JSON text a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The program runs; this is its process id for [`Place::Inside`].
    Started(i32),
    /// The program could not be started.
    Failed {
        /// What was being done and why it failed.
        message: String,
        /// The exit code a shell would give: 126 or 127 for programs, 128 for the rest.
        code: i32,
    },
    /// The program ended with this code; 128 and the signal's number when a signal ended it.
    Exited(i32),
}
