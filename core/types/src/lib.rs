//! The words every room shares: names of annotations, labels, headers and ports, and the newtypes that keep
//! one kind of name from being taken for another. Knows nothing of I/O; everything may depend on it.

pub mod annotations;
pub mod headers;
pub mod labels;
pub mod ports;
pub mod retry;

mod authority;
mod duration;
mod identity;
mod names;
mod opaque;
mod port_set;

pub use authority::{Authority, AuthorityError};
pub use duration::{DurationError, parse_duration};
pub use identity::{Identity, IdentityError, WorkloadIdentity};
pub use names::{ClusterName, NameError, federated_name, mirror_name, validate_dns_label};
pub use opaque::{AppProtocol, OpaquePorts};
pub use port_set::{PortSet, PortSetError};

/// The version of these sources, shared by every image and by `meshctl`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The version that an executable is built as: `ISTHMUS_VERSION` in the environment of its build, or else the version of
/// its sources. For the executables themselves, so that another version costs no more than to compile these.
#[macro_export]
macro_rules! built_as {
    () => {
        match option_env!("ISTHMUS_VERSION") {
            Some(version) => version,
            None => $crate::VERSION,
        }
    };
}

/// The audience of the service-account tokens that proxies show to the identity service.
pub const IDENTITY_AUDIENCE: &str = "identity.l5d.io";

/// The user id a sidecar runs as; redirect rules leave its traffic alone.
pub const PROXY_UID: u32 = 2102;

/// The user id of control-plane controllers and the gateway's main container.
pub const CONTROLLER_UID: u32 = 2103;

/// The default namespace of the control plane.
pub const CONTROL_PLANE_NAMESPACE: &str = "linkerd";

/// The default namespace of the multicluster extension.
pub const MULTICLUSTER_NAMESPACE: &str = "linkerd-multicluster";

/// The service account of gateways, as the multicluster extension installs them.
pub const GATEWAY_SERVICE_ACCOUNT: &str = "linkerd-gateway";

/// The default DNS domain of a cluster, and the default trust domain.
pub const CLUSTER_DOMAIN: &str = "cluster.local";

/// The word that stands for the local member where a federated service names its members by cluster.
pub const LOCAL_MEMBER: &str = "local";
