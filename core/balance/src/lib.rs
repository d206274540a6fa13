//! How traffic is spread over endpoints: load estimates, the choice between endpoints, ejection of failing ones, the
//! standing of priority tiers, and how much may be retried. Called by the proxy's outbound path.
//!
//! Everything here is pure or plain atomics, and takes `now` as a value, so that it is tested without a runtime.
//! [`PeakEwma`] belongs to one worker; [`Breaker`], [`Tier`] and [`RetryBudget`] are shared by all workers of a proxy.

mod accrual;
mod backoff;
mod budget;
mod ewma;
mod pick;
mod slow_start;
mod tier;

pub use accrual::{Admission, Breaker, BreakerConfig, BreakerStatus, Cause, Failure, SuccessRate};
pub use backoff::Backoff;
pub use budget::{BudgetConfig, RetryBudget};
pub use ewma::{EwmaConfig, PeakEwma, Penalty};
pub use pick::{Load, Weights};
pub use slow_start::handicap;
pub use tier::{Choice, RECOVERY, Standing, Tier, choose};
