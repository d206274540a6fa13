//! Where a request ends.

use super::Violation;
use super::chunked::Chunked;
use super::head::{Head, Length};

/// Where in a request the bytes are.
#[derive(Debug)]
pub(super) enum Framing {
    /// In a head, or before it.
    Head(Head),
    /// In a body of which this much is left.
    Exact(u64),
    /// In a chunked body.
    Chunked(Box<Chunked>),
}

/// What to do with bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Pass on this many, at least one.
    Pass(usize),
    /// Wait for the rest of the head, and judge it from its first byte.
    More,
    /// Refuse the request they belong to, of which nothing was passed on.
    Refuse(Violation),
    /// The same in the middle of a body.
    Break(Violation),
}

impl Default for Framing {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

impl Framing {
    /// Whether nothing of a request has come yet.
    pub(super) fn is_between(&self) -> bool {
        matches!(self, Self::Head(head) if head.is_empty())
    }

    /// Follows bytes (at least one) up to the end of the request.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Step {
        let Self::Head(head) = self else { return self.body(bytes, 0) };
        let (len, length) = match head.parse(bytes) {
            Err(violation) => return Step::Refuse(violation),
            Ok(None) => return Step::More,
            Ok(Some(complete)) => complete,
        };
        *self = match length {
            Length::Exact(0) => Self::default(),
            Length::Exact(n) => Self::Exact(n),
            Length::Chunked => Self::Chunked(Box::default()),
        };
        if matches!(self, Self::Head(_)) || bytes.len() == len {
            return Step::Pass(len);
        }
        match self.body(&bytes[len..], len) {
            // Nothing was passed on yet.
            Step::Break(violation) => Step::Refuse(violation),
            step => step,
        }
    }

    /// Follows bytes of a body; `before` bytes of the head are passed on with them.
    fn body(&mut self, bytes: &[u8], before: usize) -> Step {
        let (taken, ended) = match self {
            Self::Exact(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                (taken, *left == 0)
            }
            Self::Chunked(chunked) => match chunked.follow(bytes) {
                Ok(followed) => followed,
                Err(violation) => return Step::Break(violation),
            },
            Self::Head(_) => (0, false),
        };
        if ended {
            *self = Self::default();
        }
        Step::Pass(before + taken)
    }
}
