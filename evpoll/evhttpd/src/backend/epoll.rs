// SPDX-License-Identifier: MIT OR Apache-2.0

//! epoll in edge mode.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::Timespec;
use rustix::io::Errno;

use super::{Backend, Happened};

/// How many events one call hands out. More wait for the next one.
const AT_ONCE: usize = 1024;

const READABLE: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);
const WRITABLE: EventFlags = EventFlags::OUT
    .union(EventFlags::HUP)
    .union(EventFlags::ERR);

/// An epoll descriptor.
pub struct Epoll {
    fd: OwnedFd,
    events: Vec<Event>,
}

impl Epoll {
    /// Makes one.
    pub fn new() -> io::Result<Epoll> {
        Ok(Epoll {
            fd: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(AT_ONCE),
        })
    }
}

impl Backend for Epoll {
    fn add(&mut self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(fd.as_raw_fd() as u64);
        Ok(epoll::add(&self.fd, fd, data, both)?)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        found: &mut dyn FnMut(Happened),
    ) -> io::Result<()> {
        let timeout = timeout.map(milliseconds);
        self.events.clear();
        match epoll::wait(&self.fd, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let (flags, data) = (event.flags, event.data);
            found(Happened {
                fd: data.u64() as RawFd,
                readable: flags.intersects(READABLE),
                writable: flags.intersects(WRITABLE),
            });
        }
        Ok(())
    }
}

/// Whole milliseconds, rounded up, and no more than the call takes.
fn milliseconds(timeout: Duration) -> Timespec {
    let most = i32::MAX as u128;
    let milliseconds = timeout.as_nanos().div_ceil(1_000_000).min(most) as i64;
    Timespec {
        tv_sec: milliseconds / 1000,
        tv_nsec: milliseconds % 1000 * 1_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up() {
        let of = |timeout| {
            let time = milliseconds(timeout);
            (time.tv_sec, time.tv_nsec)
        };
        assert_eq!(of(Duration::ZERO), (0, 0));
        assert_eq!(of(Duration::from_nanos(1)), (0, 1_000_000));
        assert_eq!(of(Duration::from_micros(1_999_001)), (2, 0));
        assert_eq!(of(Duration::MAX), (2_147_483, 647_000_000));
    }
}
