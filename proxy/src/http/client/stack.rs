//! Idle connections of one kind to one place. The one that was used last is used first, so that what is not needed grows old.

use super::Terms;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// Idle connections, and since when each has been.
pub(super) struct Stack<T> {
    idle: RefCell<Vec<(T, Instant)>>,
    most: usize,
    timeout: Duration,
    retired: Cell<bool>,
}

impl<T> Stack<T> {
    pub(super) fn new(terms: &Terms) -> Self {
        let (most, timeout) = (terms.max_idle, terms.idle_timeout);
        Self { idle: RefCell::default(), most, timeout, retired: Cell::new(false) }
    }

    /// The one that was used last and is usable. Those below it are left for [`Self::close`].
    pub(super) fn take(&self, usable: impl Fn(&mut T) -> bool) -> Option<T> {
        let mut idle = self.idle.borrow_mut();
        let mut oldest = None;
        loop {
            let (mut found, since) = idle.pop()?;
            if is_young(since, *oldest.get_or_insert_with(|| self.oldest())) && usable(&mut found) {
                return Some(found);
            }
        }
    }

    /// Keeps one more, unless there are as many as are kept.
    pub(super) fn put(&self, item: T) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.most && !self.retired.get() {
            idle.push((item, Instant::now()));
        }
    }

    /// Closes those that were idle for too long or are not usable; says whether any are left.
    pub(super) fn close(&self, usable: impl Fn(&mut T) -> bool) -> bool {
        let oldest = self.oldest();
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|(item, since)| is_young(*since, oldest) && usable(item));
        !idle.is_empty()
    }

    /// Closes all.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes all, and keeps none from now on.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.clear();
    }

    /// When an idle connection must have been used to be kept.
    fn oldest(&self) -> Option<Instant> {
        Instant::now().checked_sub(self.timeout)
    }
}

fn is_young(since: Instant, oldest: Option<Instant>) -> bool {
    oldest.is_none_or(|oldest| since > oldest)
}
