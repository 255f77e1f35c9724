// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who is to be woken when.

use std::collections::BTreeMap;
use std::task::Waker;
use std::time::Instant;

/// Names a timer: no two are the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimerId {
    at: Instant,
    number: u64,
}

/// Timers by the time at which they end.
#[derive(Default)]
pub struct Timers {
    waiting: BTreeMap<TimerId, Waker>,
    made: u64,
}

impl Timers {
    /// Names a timer that ends at this time, and does not start it.
    pub fn name(&mut self, at: Instant) -> TimerId {
        self.made += 1;
        TimerId {
            at,
            number: self.made,
        }
    }

    /// Starts it, or changes whom it wakes.
    pub fn start(&mut self, id: TimerId, waker: &Waker) {
        match self.waiting.get_mut(&id) {
            Some(old) => old.clone_from(waker),
            None => drop(self.waiting.insert(id, waker.clone())),
        }
    }

    /// Stops it, if it is running.
    pub fn stop(&mut self, id: TimerId) {
        self.waiting.remove(&id);
    }

    /// When the next one ends.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.keys().next().map(|id| id.at)
    }

    /// Takes out one that has ended by now.
    pub fn ended(&mut self, now: Instant) -> Option<Waker> {
        let first = self.waiting.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_first_to_end_is_next() {
        let mut timers = Timers::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let ids = [3, 1, 2, 1].map(|seconds| timers.name(at(seconds)));
        assert!(timers.next().is_none());
        for id in ids {
            timers.start(id, Waker::noop());
        }
        assert_eq!(timers.next(), Some(at(1)));
        assert!(timers.ended(start).is_none());
        assert!(timers.ended(at(1)).is_some() && timers.ended(at(1)).is_some());
        assert!(timers.ended(at(1)).is_none());
        timers.stop(ids[2]);
        assert_eq!(timers.next(), Some(at(3)));
        timers.stop(ids[0]);
        timers.stop(ids[0]);
        assert!(timers.next().is_none());
    }
}
