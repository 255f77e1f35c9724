// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a wait hands out.

use std::fmt;
use std::iter::FusedIterator;
use std::os::fd::RawFd;

use crate::interest::{Interest, Readiness};
use crate::queue::Registry;

/// What has happened to one descriptor since it was last handed out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    fd: RawFd,
    interest: Interest,
    readiness: Readiness,
}

impl Event {
    /// The number of the descriptor, as it was when it was added. The [crate]'s documentation says
    /// how to find what it is for.
    pub fn fd(&self) -> RawFd {
        self.fd
    }

    /// What the descriptor is watched for.
    pub fn interest(&self) -> Interest {
        self.interest
    }

    /// What has happened.
    pub fn readiness(&self) -> Readiness {
        self.readiness
    }

    /// [`Readiness::is_readable`].
    pub fn is_readable(&self) -> bool {
        self.readiness.is_readable()
    }

    /// [`Readiness::is_writable`].
    pub fn is_writable(&self) -> bool {
        self.readiness.is_writable()
    }

    /// A `struct pollfd`: the descriptor, what was asked for, and what has happened.
    fn from_entry(entry: u64) -> Event {
        let [fd0, fd1, fd2, fd3, events0, events1, revents0, revents1] = entry.to_ne_bytes();
        Event {
            fd: RawFd::from_ne_bytes([fd0, fd1, fd2, fd3]),
            interest: Interest::from_kernel(u16::from_ne_bytes([events0, events1])),
            readiness: Readiness::from_kernel(u16::from_ne_bytes([revents0, revents1])),
        }
    }
}

/// The events of one hand-out, in the order in which they came: at most one for each descriptor.
///
/// They are in memory that the next wait gives back to the kernel. So they borrow the queue, and an
/// [`Event`] is a copy. The [crate]'s documentation says why this is sound.
pub struct Events<'queue> {
    /// # Invariants
    ///
    /// There are `count` entries of 8 bytes, in memory of the queue that can be read as long as
    /// `registry` is there. The kernel may write to it at any time. No matter where for 0.
    entries: *const u64,
    count: usize,
    registry: &'queue Registry,
}

// SAFETY: The memory is mapped for all threads, and each access is a volatile read, which may be
// done while others read, or the kernel writes.
unsafe impl Send for Events<'_> {}
// SAFETY: As above.
unsafe impl Sync for Events<'_> {}

impl<'queue> Events<'queue> {
    /// # Safety
    ///
    /// `entries` is what a wait on the queue of `registry` has stored, and `count` what it has
    /// returned, in this process.
    pub(crate) unsafe fn new(
        entries: *const u64,
        count: usize,
        registry: &'queue Registry,
    ) -> Events<'queue> {
        Events {
            entries,
            count,
            registry,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether the time was over before anything happened.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The event at this place.
    pub fn get(&self, index: usize) -> Option<Event> {
        if index >= self.count {
            return None;
        }
        // SAFETY: By the invariants the entry is in memory that can be read. It is not part of an
        // allocation that Rust knows of, so a volatile read is allowed to meet a write of the
        // kernel. Any bits are a `u64`.
        let entry = unsafe { self.entries.add(index).read_volatile() };
        Some(Event::from_entry(entry))
    }

    /// The events, one after the other.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            events: self,
            next: 0,
        }
    }

    /// Adds, changes and removes watches of the queue while there are events, for which the queue
    /// itself is borrowed.
    pub fn registry(&self) -> &'queue Registry {
        self.registry
    }
}

impl fmt::Debug for Events<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'events> IntoIterator for &'events Events<'_> {
    type Item = Event;
    type IntoIter = Iter<'events>;

    fn into_iter(self) -> Iter<'events> {
        self.iter()
    }
}

/// The events of one hand-out, one after the other.
#[derive(Clone)]
pub struct Iter<'events> {
    events: &'events Events<'events>,
    next: usize,
}

impl Iterator for Iter<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let event = self.events.get(self.next)?;
        self.next += 1;
        Some(event)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.events.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}
impl FusedIterator for Iter<'_> {}

impl fmt::Debug for Iter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.clone()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_a_pollfd() {
        let entry = libc::pollfd {
            fd: -2,
            events: libc::POLLIN | libc::POLLRDHUP,
            revents: libc::POLLHUP,
        };
        // SAFETY: Both are 8 bytes without padding.
        let event = Event::from_entry(unsafe { std::mem::transmute::<libc::pollfd, u64>(entry) });
        assert_eq!(event.fd(), -2);
        assert_eq!(event.interest(), Interest::READABLE | Interest::READ_CLOSED);
        assert_eq!(event.readiness().bits(), libc::POLLHUP as u16);
    }

    #[test]
    fn threads_may_share_them() {
        fn shared<T: Send + Sync>() {}
        shared::<Events<'_>>();
        shared::<Registry>();
        shared::<crate::Queue>();
    }
}
