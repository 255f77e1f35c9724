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
        pipes.through(0, || Ok(()))?;
        Ok(pipes)
    }

    /// New pipes that have carried nothing yet.
    pub fn untouched(n: usize) -> Result<Self> {
        // As many again, for who has some already.
        try_need_files(4 * n as u64 + 1000)
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

    /// A byte through each, some pipes at a time.
    fn through(&self, byte: u8, mut between: impl FnMut() -> Result<()>) -> Result<()> {
        /// An io_uring's completion queue has room for 65 536, and a watch ends when it is full.
        const AT_A_TIME: usize = 10_000;
        for some in self.0.chunks(AT_A_TIME) {
            if !some.iter().all(|p| write_byte(p.1.raw(), byte)) {
                return wrong("a pipe takes no byte");
            }
            between()?;
            if !some.iter().all(|p| read_byte(p.0.raw(), byte)) {
                return wrong("a byte is missing from a pipe");
            }
        }
        Ok(())
    }

    /// Fails unless a byte into each pipe makes so many events.
    pub fn expect<I: Interface>(&self, interface: &mut I, events: usize, when: &str) -> Result<()> {
        let mut n = 0;
        self.through(7, || {
            n += interface.discard_all().or_wrong("the wait failed")?;
            Ok(())
        })?;
        match n == events {
            true => Ok(()),
            false => wrong(format!("{when}: {n} events instead of {events}")),
        }
    }

    /// Every pipe once, so that the first use of anything is not measured. Every event is taken.
    pub fn warm_up<I: Interface>(&self, interface: &mut I) -> Result<()> {
        self.through(0, || {
            interface.discard_all().or_wrong("the first wait failed")?;
            Ok(())
        })?;
        // What is level has to see that there is nothing any more.
        interface.discard_all().or_wrong("the first wait failed")?;
        Ok(())
    }
}
