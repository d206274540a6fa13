//! service-mirror
