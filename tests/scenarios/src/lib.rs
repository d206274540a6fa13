//! What a user does with linked clusters, written once: against a [`Fleet`] of kubeconfig contexts, driven by a stock
//! kubectl and by `meshctl`, and against [`Faults`] that break what lies beneath. A substrate implements [`Faults`] and
//! brings the clusters; scenarios do not know which it is.

mod cluster;
mod fleet;
mod kind;
mod load;
mod objects;
mod sandbox;
mod shell;
mod shop;
mod wait;

pub use cluster::{Called, Cluster};
pub use fleet::{Capture, Faults, Fleet};
pub use kind::{Kind, Node};
pub use load::{Load, answers};
pub use objects::Objects;
pub use shop::{SHOP, shop_in};
pub use wait::{PATIENCE, eventually, within};
