// SPDX-License-Identifier: MIT OR Apache-2.0

//! evpoll.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use evpoll::{ErrorKind, Interest, Queue};

use super::{Backend, Happened};

/// A queue of evpoll.
pub struct Evpoll {
    queue: Queue,
}

impl Evpoll {
    /// Makes one that watches up to `capacity` descriptors. Fails on a kernel without evpoll.
    pub fn new(capacity: u32) -> io::Result<Evpoll> {
        let queue = Queue::new(capacity).map_err(|error| match error.kind() {
            ErrorKind::NoEvpoll | ErrorKind::Forbidden => {
                let text = format!("{error}; or use --backend epoll");
                io::Error::new(io::ErrorKind::Unsupported, text)
            }
            _ => error.into(),
        })?;
        Ok(Evpoll { queue })
    }
}

impl Backend for Evpoll {
    fn add(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        // Everyone tries before he waits, so what is there already need not be an event.
        let both = Interest::READABLE | Interest::WRITABLE | Interest::READ_CLOSED;
        Ok(self.queue.registry().add_without_test(&fd, both)?)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        found: &mut dyn FnMut(Happened),
    ) -> io::Result<()> {
        let events = match self.queue.wait(timeout) {
            Ok(events) => events,
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for event in &events {
            found(Happened {
                fd: event.fd(),
                readable: event.is_readable(),
                writable: event.is_writable(),
            });
        }
        Ok(())
    }
}
