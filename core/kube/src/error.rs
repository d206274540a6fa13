//! What can go wrong with a cluster's API, in words that name the remedy.

use std::path::PathBuf;

/// What can go wrong while making a client or using one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No kubeconfig could be read.
    #[error("cannot read kubeconfig {}: {reason}; pass --kubeconfig or set KUBECONFIG", path.as_ref().map_or_else(|| "from KUBECONFIG or ~/.kube/config".to_owned(), |p| p.display().to_string()))]
    Kubeconfig {
        /// The path, where one was given.
        path: Option<PathBuf>,
        /// What the loader said.
        reason: String,
    },
    /// A text that should be a kubeconfig is none.
    #[error("it is no kubeconfig: {0}")]
    KubeconfigText(String),
    /// The kubeconfig has no such context.
    #[error("kubeconfig has no context {name:?}; it has: {}", known.join(", "))]
    Context {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// Not running in a pod.
    #[error("not running inside a cluster: {0}; a service account token must be mounted")]
    NotInCluster(String),
    /// The settings make no client.
    #[error("cannot make a client for {server}: {reason}")]
    Client {
        /// URL of the API server.
        server: String,
        /// What the library said.
        reason: String,
    },
    /// The API answered with an error or could not be reached.
    #[error("{}", explain(.0))]
    Api(#[from] kube::Error),
    /// An object lacks a part that its reader needs.
    #[error("{object}: {problem}")]
    Object {
        /// Kind, namespace and name.
        object: String,
        /// What is missing or wrong.
        problem: String,
    },
}

impl Error {
    /// The HTTP status the API server answered with, if it answered.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }

    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// Whether the API server refuses these credentials (401) or what they ask for (403).
    pub fn is_refused(&self) -> bool {
        matches!(self.code(), Some(401 | 403))
    }
}

/// Whether the API said that the object does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether the API refused a write because somebody else wrote first.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Says what happened and, where it is known, what to do about it.
pub fn explain(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => match status.code {
            401 => {
                format!("the API server does not accept these credentials (401): {}", status.message)
            }
            403 => format!("not allowed (403): {}; check the account's RBAC rules", status.message),
            code => format!("the API server answered {code} {}: {}", status.reason, status.message),
        },
        kube::Error::HyperError(e) => format!("the API server cannot be reached: {}", chain(e)),
        kube::Error::Service(e) => format!("the API server cannot be reached: {}", chain(e.as_ref())),
        other => chain(other),
    }
}

/// An error and its causes, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        source = cause.source();
    }
    text
}
