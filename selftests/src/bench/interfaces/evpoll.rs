// SPDX-License-Identifier: GPL-2.0
//! evpoll.

use super::Interface;
use selftests::abi::*;
use selftests::sys::Fd;
use std::os::raw::c_int;

pub struct Evpoll {
    pub queue: Fd,
    events: *const PollFd,
}

impl Evpoll {
    /// A queue for so many, that watches nothing yet.
    pub fn empty(maxfds: usize) -> Result<Self, Errno> {
        Ok(Evpoll {
            queue: Fd::new(evpoll_create(maxfds as i32, EVPOLL_CLOEXEC)?),
            events: std::ptr::null(),
        })
    }

    #[inline]
    pub fn ctl(&self, op: c_int, fd: c_int, events: u32) -> Result<(), Errno> {
        evpoll_ctl(self.queue.raw(), op, fd, events, 0).map(drop)
    }

    #[inline]
    fn call(&mut self, timeout: c_int) -> Result<usize, Errno> {
        // SAFETY: room for the pointer.
        unsafe {
            evpoll_wait(
                self.queue.raw(),
                &mut self.events,
                timeout,
                std::ptr::null(),
                0,
            )
        }
        .map(|n| n as usize)
    }
}

impl Interface for Evpoll {
    const NAME: &'static str = "evpoll";

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        let queue = Self::empty(fds.len())?;
        for &fd in fds {
            queue.ctl(EP_CTL_ADD, fd, IN)?;
        }
        Ok(queue)
    }
    #[inline]
    fn wait(&mut self, _want: usize) -> Result<usize, Errno> {
        self.call(-1)
    }
    #[inline]
    fn fd(&self, i: usize) -> c_int {
        // SAFETY: below the count that the last wait returned.
        unsafe { (*self.events.add(i)).fd }
    }
    fn discard(&mut self) -> Result<usize, Errno> {
        self.call(0)
    }
}
