//! What hyper needs of our runtime: every worker is a single thread, so its tasks need not be `Send`.

use futures::Stream as _;
use futures::stream::FuturesUnordered;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

type Streams = Vec<Pin<Box<dyn Future<Output = ()>>>>;

/// Takes the futures that hyper makes for the streams of one HTTP/2 connection.
#[derive(Clone, Default)]
pub struct ConnExec(Rc<RefCell<Streams>>);

/// Runs the streams of one HTTP/2 connection on the task of the connection: a stream costs no task, and what several
/// streams have to send goes out in one write.
pub struct ConnStreams {
    new: ConnExec,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = ()>>>>,
}

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for ConnExec {
    fn execute(&self, future: F) {
        self.0.borrow_mut().push(Box::pin(future));
    }
}

impl ConnStreams {
    /// The streams that `new` takes.
    pub fn of(new: &ConnExec) -> Self {
        Self { new: new.clone(), running: FuturesUnordered::new() }
    }

    /// Runs the connection and its streams until the connection ends.
    pub async fn until<C: Future>(&mut self, mut connection: Pin<&mut C>) -> C::Output {
        poll_fn(|cx| {
            loop {
                self.poll_running(cx);
                if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                    return Poll::Ready(ended);
                }
                if !self.take_new() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Runs the streams that are left to their end.
    pub async fn finish(&mut self) {
        poll_fn(|cx| {
            loop {
                self.poll_running(cx);
                if !self.take_new() {
                    return if self.running.is_empty() { Poll::Ready(()) } else { Poll::Pending };
                }
            }
        })
        .await;
    }

    fn poll_running(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(())) = Pin::new(&mut self.running).poll_next(cx) {}
    }

    /// Says whether there were new ones.
    fn take_new(&mut self) -> bool {
        let mut new = self.new.0.borrow_mut();
        let any = !new.is_empty();
        self.running.extend(new.drain(..));
        any
    }
}

impl Drop for ConnStreams {
    fn drop(&mut self) {
        // What was not taken yet holds the executor, which would hold it in turn for ever.
        drop(std::mem::take(&mut *self.new.0.borrow_mut()));
    }
}
