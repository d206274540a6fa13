//! How traffic is spread over endpoints: load estimates, the choice between endpoints, ejection of failing ones, and
//! the standing of priority tiers. Called by the proxy's outbound path.
//!
//! Everything here is pure or plain atomics, and takes `now` as a value, so that it is tested without a runtime.
//! [`PeakEwma`] belongs to one worker; [`Breaker`] and [`Tier`] are shared by all workers of a proxy.

mod accrual;
mod backoff;
mod ewma;
mod pick;
mod tier;

pub use accrual::{Admission, Breaker, BreakerConfig, BreakerStatus};
pub use backoff::Backoff;
pub use ewma::{EwmaConfig, PeakEwma};
pub use pick::{Load, Weights};
pub use tier::{Choice, RECOVERY, Standing, Tier, choose};
