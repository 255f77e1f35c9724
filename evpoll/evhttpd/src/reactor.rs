// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who waits for what: descriptors and times.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::backend::{Backend, Happened};
use crate::executor::Handle;
use crate::timers::{TimerId, Timers};

/// What a task waits for at a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Something to read, or to accept.
    Read,
    /// Room to write.
    Write,
}

/// The tasks that wait at one descriptor: at most one for each direction.
#[derive(Default)]
struct Waiters {
    read: Option<Waker>,
    write: Option<Waker>,
}

impl Waiters {
    fn at(&mut self, direction: Direction) -> &mut Option<Waker> {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

/// The back end, and the tasks that wait for it.
pub struct Reactor {
    backend: RefCell<Box<dyn Backend>>,
    /// By the number of the descriptor.
    waiters: RefCell<Vec<Waiters>>,
    timers: RefCell<Timers>,
    now: Cell<Instant>,
}

impl Reactor {
    /// Makes one on this back end.
    pub fn new(backend: Box<dyn Backend>) -> Reactor {
        Reactor {
            backend: RefCell::new(backend),
            waiters: RefCell::default(),
            timers: RefCell::default(),
            now: Cell::new(Instant::now()),
        }
    }

    /// The time of the last turn: the clock is looked at once for all that has happened.
    pub fn now(&self) -> Instant {
        self.now.get()
    }

    /// Waits until something has happened, at most for `timeout` and until the next timer ends.
    /// Wakes whom it concerns.
    pub fn turn(&self, timeout: Option<Duration>) -> io::Result<()> {
        let next = self.timers.borrow().next();
        let until_timer = next.map(|next| match timeout {
            // It will not be waited for.
            Some(Duration::ZERO) => Duration::ZERO,
            _ => next.saturating_duration_since(Instant::now()),
        });
        let timeout = match (timeout, until_timer) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let mut waiters = self.waiters.borrow_mut();
        self.backend
            .borrow_mut()
            .wait(timeout, &mut |happened| wake(&mut waiters, happened))?;
        drop(waiters);
        self.now.set(Instant::now());
        loop {
            let ended = self.timers.borrow_mut().ended(self.now.get());
            match ended {
                Some(waker) => waker.wake(),
                None => return Ok(()),
            }
        }
    }

    fn add(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.backend.borrow_mut().add(fd)?;
        let place = fd.as_raw_fd() as usize;
        let mut waiters = self.waiters.borrow_mut();
        if waiters.len() <= place {
            waiters.resize_with(place + 1, Waiters::default);
        }
        Ok(())
    }

    fn wait_for(&self, fd: RawFd, direction: Direction, waker: &Waker) {
        let mut waiters = self.waiters.borrow_mut();
        let Some(place) = waiters.get_mut(fd as usize) else {
            return;
        };
        match place.at(direction) {
            Some(old) => old.clone_from(waker),
            empty => *empty = Some(waker.clone()),
        }
    }

    fn forget(&self, fd: RawFd) {
        if let Some(place) = self.waiters.borrow_mut().get_mut(fd as usize) {
            *place = Waiters::default();
        }
    }
}

fn wake(waiters: &mut [Waiters], happened: Happened) {
    // The number may by now be of another descriptor, whose task then wakes for nothing; or of one
    // that nobody waits at, whose task will try before it waits.
    let Some(place) = waiters.get_mut(happened.fd as usize) else {
        return;
    };
    if happened.readable {
        if let Some(waker) = place.read.take() {
            waker.wake();
        }
    }
    if happened.writable {
        if let Some(waker) = place.write.take() {
            waker.wake();
        }
    }
}

/// A descriptor that is watched until it is closed, when this is dropped.
pub struct Source {
    fd: OwnedFd,
    handle: Handle,
}

impl Source {
    /// Watches a descriptor, which has to be non-blocking and to have no duplicate.
    pub fn new(fd: OwnedFd, handle: &Handle) -> io::Result<Source> {
        handle.reactor().add(fd.as_fd())?;
        Ok(Source {
            fd,
            handle: handle.clone(),
        })
    }

    /// Tries; if that would block, the task of `cx` is woken when another try is worth it.
    pub fn poll_io<T>(
        &self,
        cx: &mut Context<'_>,
        direction: Direction,
        mut attempt: impl FnMut(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Poll<io::Result<T>> {
        loop {
            match attempt(self.fd.as_fd()) {
                // What arrives from here on is an edge that the next turn hands out.
                Err(Errno::AGAIN) => {
                    self.poll_edge(cx, direction);
                    return Poll::Pending;
                }
                Err(Errno::INTR) => {}
                result => return Poll::Ready(result.map_err(io::Error::from)),
            }
        }
    }

    /// The task of `cx` is woken by the next edge.
    pub fn poll_edge(&self, cx: &mut Context<'_>, direction: Direction) {
        let fd = self.fd.as_raw_fd();
        self.handle.reactor().wait_for(fd, direction, cx.waker());
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // Closing it, which is next, ends the watch. The number must then have no waiters left.
        self.handle.reactor().forget(self.fd.as_raw_fd());
    }
}

/// A time to wait for.
pub struct Timer {
    id: TimerId,
    at: Instant,
    handle: Handle,
}

impl Timer {
    /// One that ends at this time.
    pub fn new(at: Instant, handle: &Handle) -> Timer {
        Timer {
            id: handle.reactor().timers.borrow_mut().name(at),
            at,
            handle: handle.clone(),
        }
    }

    /// Whether the time has come; if not, the task of `cx` is woken then.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let reactor = self.handle.reactor();
        if self.at <= reactor.now() {
            return Poll::Ready(());
        }
        reactor.timers.borrow_mut().start(self.id, cx.waker());
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.handle.reactor().timers.borrow_mut().stop(self.id);
    }
}
