// SPDX-License-Identifier: GPL-2.0
//! Who is in which queue, as far as that is known for certain: what a wait hands out is held
//! against it.
//!
//! A descriptor here has one owner at a time, who adds and removes it under a lock. Once DEL has
//! returned, no wait that begins later may deliver it. A clock that both sides advance tells what
//! was later.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::abi::*;

/// A descriptor's state in one queue.
struct Place {
    /// 0 while it is in the queue, or may be; otherwise the moment at which it was not any more.
    gone: AtomicU64,
}

/// The numbers from `first` on, in so many queues.
pub struct Ledger {
    first: i32,
    numbers: usize,
    places: Vec<Place>,
    clock: AtomicU64,
}

impl Ledger {
    pub fn new(first: i32, numbers: usize, queues: usize) -> Self {
        let gone = || Place {
            gone: AtomicU64::new(1),
        };
        Ledger {
            first,
            numbers,
            places: (0..numbers * queues).map(|_| gone()).collect(),
            clock: AtomicU64::new(2),
        }
    }

    fn place(&self, queue: usize, fd: i32) -> Option<&Place> {
        let n = usize::try_from(fd - self.first).ok();
        let n = n.filter(|&n| n < self.numbers)?;
        self.places.get(queue * self.numbers + n)
    }

    /// A moment: later than everything that was noted before.
    pub fn now(&self) -> u64 {
        self.clock.fetch_add(1, SeqCst)
    }

    /// `fd` is about to be added.
    pub fn adding(&self, queue: usize, fd: i32) {
        if let Some(place) = self.place(queue, fd) {
            place.gone.store(0, SeqCst);
        }
    }

    /// `fd` was removed, or not added after all.
    pub fn removed(&self, queue: usize, fd: i32) {
        let now = self.now();
        if let Some(place) = self.place(queue, fd) {
            place.gone.store(now, SeqCst);
        }
    }

    /// What is wrong with what a wait that began at `begun` has handed out, if anything is.
    pub fn wrong(&self, queue: usize, begun: u64, entries: &[PollFd]) -> Option<String> {
        for (i, e) in entries.iter().enumerate() {
            let Some(place) = self.place(queue, e.fd) else {
                return Some(format!("{e:?}: nobody has added it"));
            };
            let gone = place.gone.load(SeqCst);
            if gone != 0 && gone < begun {
                return Some(format!(
                    "{e:?}: was removed at {gone}, and handed out by a wait that began at {begun}"
                ));
            }
            if entries[..i].iter().any(|other| other.fd == e.fd) {
                return Some(format!("{e:?}: there are two entries for it"));
            }
            if e.revents() == 0 || e.revents() & !(e.events() | ALWAYS) != 0 {
                return Some(format!("{e:?}: bits that nobody asked for, or none"));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(fd: i32) -> PollFd {
        PollFd::new(fd, IN, IN)
    }

    #[test]
    fn what_is_in_the_queue_may_be_handed_out() {
        let ledger = Ledger::new(10, 4, 2);
        ledger.adding(1, 12);
        let begun = ledger.now();
        assert_eq!(ledger.wrong(1, begun, &[entry(12)]), None);
        // Removed while the wait went on.
        ledger.removed(1, 12);
        assert_eq!(ledger.wrong(1, begun, &[entry(12)]), None);
    }

    #[test]
    fn what_was_removed_before_must_not_come() {
        let ledger = Ledger::new(10, 4, 2);
        ledger.adding(1, 12);
        ledger.removed(1, 12);
        let begun = ledger.now();
        let wrong = ledger.wrong(1, begun, &[entry(12)]).unwrap();
        assert!(wrong.contains("was removed"), "{wrong}");
        ledger.adding(1, 12);
        assert_eq!(ledger.wrong(1, begun, &[entry(12)]), None);
    }

    #[test]
    fn strangers_doubles_and_bits() {
        let ledger = Ledger::new(10, 4, 2);
        ledger.adding(0, 12);
        let begun = ledger.now();
        let wrong = |entries: &[PollFd]| ledger.wrong(0, begun, entries).unwrap();
        assert!(wrong(&[entry(14)]).contains("nobody"));
        assert!(wrong(&[entry(9)]).contains("nobody"));
        assert!(wrong(&[entry(-1)]).contains("nobody"));
        // In another queue only.
        ledger.adding(1, 13);
        assert!(wrong(&[entry(13)]).contains("was removed"));
        assert!(wrong(&[entry(12), entry(12)]).contains("two entries"));
        assert!(wrong(&[PollFd::new(12, IN, OUT)]).contains("bits"));
        assert!(wrong(&[PollFd::new(12, IN, 0)]).contains("bits"));
        assert_eq!(ledger.wrong(0, begun, &[PollFd::new(12, IN, HUP)]), None);
    }
}
