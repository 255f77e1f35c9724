// SPDX-License-Identifier: GPL-2.0
//! io_uring's multishot poll.

use super::Interface;
use crate::output::{Notes, Value};
use selftests::abi::Errno;
use selftests::uring::{Ring, SETUP};
use std::os::raw::c_int;
use std::time::{Duration, Instant};

pub struct Uring {
    // Dropped before the pause.
    pub ring: Ring,
    ready: Vec<c_int>,
    _pause: Pause,
}

/// A worker of the kernel takes a ring apart after it was closed, and interrupts the thread that it
/// belonged to when that is done, wherever that waits then: so wait here, so long.
struct Pause(Duration);

impl Drop for Pause {
    fn drop(&mut self) {
        let until = Instant::now() + self.0;
        while Instant::now() < until {
            std::thread::sleep(until.saturating_duration_since(Instant::now()));
        }
    }
}

impl Uring {
    /// With a ring that watches up to so many already.
    pub fn of(ring: Ring, watches: usize) -> Self {
        Uring {
            ring,
            ready: Vec::with_capacity(watches * 2),
            _pause: Pause(Duration::from_millis(200) + watches as u32 * Duration::from_micros(10)),
        }
    }
}

impl Interface for Uring {
    const NAME: &'static str = "io_uring-multishot";
    const NOTES: Notes<'static> = &[("setup", Value::Text(SETUP))];

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        let mut ring = Ring::new(fds.len() as u32 * 2)?;
        ring.poll_multishot(fds.iter().copied())?;
        Ok(Uring::of(ring, fds.len()))
    }
    #[inline]
    fn wait(&mut self, want: usize) -> Result<usize, Errno> {
        self.ready.clear();
        self.ring.wait(want as u32, &mut self.ready)?;
        Ok(self.ready.len())
    }
    #[inline]
    fn fd(&self, i: usize) -> c_int {
        self.ready[i]
    }
    fn discard(&mut self) -> Result<usize, Errno> {
        self.ready.clear();
        self.ring.discard(&mut self.ready)?;
        Ok(self.ready.len())
    }
}
