//! How many files, so how many connections, this process may have open, and that there are no more.

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io;

/// Raises the soft limit on open files to the hard one, and says what it is now (`u64::MAX` for no limit).
///
/// The soft limit is often 1,024 for the sake of `select(2)`, which we do not use. Where it cannot be raised, it stays.
pub fn raise_open_files() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let wanted = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        if setrlimit(Resource::Nofile, wanted).is_ok() {
            limit.current = limit.maximum;
        }
    }
    limit.current.unwrap_or(u64::MAX)
}

/// What this process or machine has none left of, if that is why a call failed: the peer has no part in it.
pub fn shortage(error: &io::Error) -> Option<&'static str> {
    match Errno::from_io_error(error)? {
        Errno::MFILE => Some("too many open files"),
        Errno::NFILE => Some("too many open files in the system"),
        Errno::NOMEM | Errno::NOBUFS => Some("out of memory"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_not_the_peers() {
        let of = |errno| shortage(&io::Error::from_raw_os_error(errno));
        assert_eq!(of(24), Some("too many open files"));
        assert_eq!(of(23), Some("too many open files in the system"));
        assert_eq!((of(12), of(105)), (Some("out of memory"), Some("out of memory")));
        for errno in [22, 71, 103, 104, 111, 113] {
            assert_eq!(of(errno), None, "{errno}");
        }
        assert_eq!(shortage(&io::ErrorKind::TimedOut.into()), None);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(raised, limit.current.unwrap_or(u64::MAX));
        assert_eq!(limit.current, limit.maximum);
    }
}
