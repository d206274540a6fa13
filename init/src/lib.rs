//! What has to be true of a pod's network before its application starts: traffic redirected to the sidecar.
//!
//! [`Redirect`] is pure: options in, an nftables ruleset out. [`apply`] hands it to the kernel in one transaction,
//! and [`Validator`] proves from an ordinary process that a connection really ends at the proxy's port. The
//! `isthmus-init` image calls all three; a CNI plugin can call the same.

mod apply;
mod error;
mod redirect;
mod validate;

pub use apply::{apply, set_close_wait_timeout};
pub use error::Error;
pub use redirect::{Redirect, TABLE};
pub use validate::{EXIT_CODE, Proof, Validator, prove};
