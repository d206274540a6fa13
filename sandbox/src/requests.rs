//! Recording what clients ask a sandbox's API servers, for whoever compares these with real ones: set
//! `ISTHMUS_SANDBOX_REQUESTS` to a folder, and each cluster's server appends to `<folder>/<cluster>.jsonl`. Bodies are
//! written as they come, Secrets too.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use mesh_apiserver::{Recorded, Recorder};
use parking_lot::Mutex;
use serde_json::json;

use crate::error::Error;

/// Names the folder.
const VARIABLE: &str = "ISTHMUS_SANDBOX_REQUESTS";

/// The recorder of a cluster's server, if one is asked for.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn recorder(cluster: &str) -> Result<Option<Recorder>, Error> {
    let Some(folder) = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty()) else {
        return Ok(None);
    };
    into_file(&Path::new(&folder).join(format!("{cluster}.jsonl"))).map(Some)
}

fn into_file(path: &Path) -> Result<Recorder, Error> {
    let open = || {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        File::options().create(true).append(true).open(path)
    };
    let file = open().map_err(|source| Error::System {
        action: format!("write requests to {}", path.display()),
        source,
    })?;
    let file = Mutex::new(file);
    Ok(Arc::new(move |request| {
        let line = format!("{}\n", line(&request));
        // What cannot be recorded must not stand in the way of what is asked.
        if let Err(error) = file.lock().write_all(line.as_bytes()) {
            tracing::warn!(%error, "request not recorded");
        }
    }))
}

fn line(request: &Recorded) -> serde_json::Value {
    json!({
        "user": request.user, "agent": request.agent, "method": request.method, "path": request.path,
        "type": request.content_type, "accept": request.accept, "upgrade": request.upgrade, "body": request.body,
    })
}

#[cfg(test)]
mod tests;
