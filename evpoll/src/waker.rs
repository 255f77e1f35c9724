// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ending a wait from elsewhere.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::error::Error;
use crate::events::Event;
use crate::interest::Interest;
use crate::queue::Registry;
use crate::sys;

/// Ends a wait from another thread: a pipe that the queue watches.
///
/// [`Waker::wake`] makes an event, which [`Waker::is`] tells from others. Several before the next
/// wait are one event. It is as any other event: a wait that starts later finds it. So what a thread
/// does before it wakes, the one that was woken finds done.
///
/// # Example
///
#[doc = "```no_run"]
#[doc = include_str!("../examples/waker.rs")]
#[doc = "```"]
#[derive(Debug)]
pub struct Waker {
    read: OwnedFd,
    write: OwnedFd,
}

impl Waker {
    /// Makes one, which takes two descriptors, and one place in the queue until it is dropped.
    pub fn new(registry: &Registry) -> Result<Waker, Error> {
        let (read, write) = sys::pipe()?;
        // A new pipe is empty.
        registry.add_without_test(&read, Interest::READABLE)?;
        Ok(Waker { read, write })
    }

    /// Makes an event.
    pub fn wake(&self) -> Result<(), Error> {
        loop {
            match sys::write_byte(self.write.as_fd()) {
                // Full: nobody reads what was written before, as each byte is an event.
                Err(error) if error.raw_os_error() == libc::EAGAIN => {
                    sys::drain(self.read.as_fd());
                }
                Err(error) if error.raw_os_error() == libc::EINTR => {}
                result => return result,
            }
        }
    }

    /// Whether the event is one of [`Waker::wake`].
    pub fn is(&self, event: &Event) -> bool {
        event.fd() == self.read.as_raw_fd()
    }
}

/// The descriptor that is watched.
impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}
