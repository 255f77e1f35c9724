// SPDX-License-Identifier: GPL-2.0
//! Many pipes, and bytes through them.

use crate::calls::{read_byte, write_byte};
use crate::interfaces::Interface;
use crate::measure::{wrong, Context, Result};
use selftests::sys::{pipe_flags, try_need_files, Fd};
use std::os::raw::c_int;

/// Read end and write end of each.
pub struct Pipes(Vec<(Fd, Fd)>);

impl Pipes {
    /// New pipes, each of which has carried a byte already.
    pub fn new(n: usize) -> Result<Self> {
        let pipes = Self::untouched(n)?;
        pipes.signal_all(0)?;
        pipes.read_all(0)?;
        Ok(pipes)
    }

    /// New pipes that have carried nothing yet.
    pub fn untouched(n: usize) -> Result<Self> {
        try_need_files(2 * n as u64 + 100)
            .or_wrong("no room for so many descriptors (setrlimit; is it root's?)")?;
        (0..n)
            .map(|_| pipe_flags(libc::O_NONBLOCK).or_wrong("pipe2"))
            .collect::<Result<_>>()
            .map(Pipes)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn read_ends(&self) -> Vec<c_int> {
        self.0.iter().map(|p| p.0.raw()).collect()
    }

    #[inline]
    pub fn get(&self, i: usize) -> &(Fd, Fd) {
        &self.0[i]
    }

    /// A byte into each.
    pub fn signal_all(&self, byte: u8) -> Result<()> {
        match self.0.iter().all(|p| write_byte(p.1.raw(), byte)) {
            true => Ok(()),
            false => wrong("a pipe takes no byte"),
        }
    }

    /// The byte out of each.
    pub fn read_all(&self, byte: u8) -> Result<()> {
        match self.0.iter().all(|p| read_byte(p.0.raw(), byte)) {
            true => Ok(()),
            false => wrong("a byte is missing from a pipe"),
        }
    }

    /// Fails unless a byte into each pipe makes so many events.
    pub fn expect<I: Interface>(&self, interface: &mut I, events: usize, when: &str) -> Result<()> {
        self.signal_all(7)?;
        let n = interface.discard_all().or_wrong("the wait failed")?;
        self.read_all(7)?;
        if n != events {
            return wrong(format!("{when}: {n} events instead of {events}"));
        }
        // What a level has had to say.
        interface.discard_all().or_wrong("the wait failed")?;
        Ok(())
    }
}
