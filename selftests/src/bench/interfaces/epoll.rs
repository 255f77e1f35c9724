// SPDX-License-Identifier: GPL-2.0
//! epoll.

use super::Interface;
use crate::calls::result;
use selftests::abi::{Errno, IN};
use selftests::sys::Fd;
use std::os::raw::c_int;

pub const EDGE: u32 = libc::EPOLLET as u32;
pub const LEVEL: u32 = 0;

/// epoll; `MODE` is EPOLLET or nothing.
pub struct Epoll<const MODE: u32> {
    pub epoll: Fd,
    events: Vec<libc::epoll_event>,
}

impl<const MODE: u32> Epoll<MODE> {
    /// One that takes up to so many events at a time, and watches nothing yet.
    pub fn empty(events: usize) -> Result<Self, Errno> {
        // SAFETY: takes no pointer.
        let epoll = unsafe { libc::syscall(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC) };
        Ok(Epoll {
            epoll: Fd::new(result(epoll)? as c_int),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; events],
        })
    }

    #[inline]
    pub fn ctl(&self, op: c_int, fd: c_int, events: u32) -> Result<(), Errno> {
        let mut event = libc::epoll_event {
            events: events | MODE,
            u64: fd as u64,
        };
        // SAFETY: one event.
        let r = unsafe {
            libc::syscall(
                libc::SYS_epoll_ctl,
                self.epoll.raw(),
                op,
                fd,
                &raw mut event,
            )
        };
        result(r).map(drop)
    }

    #[inline]
    fn call(&mut self, timeout: c_int) -> Result<usize, Errno> {
        // SAFETY: an array of that size.
        result(unsafe {
            libc::syscall(
                libc::SYS_epoll_wait,
                self.epoll.raw(),
                self.events.as_mut_ptr(),
                self.events.len() as c_int,
                timeout,
            )
        })
    }
}

impl<const MODE: u32> Interface for Epoll<MODE> {
    const NAME: &'static str = if MODE == EDGE {
        "epoll-edge"
    } else {
        "epoll-level"
    };

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        let epoll = Self::empty(fds.len())?;
        for &fd in fds {
            epoll.ctl(libc::EPOLL_CTL_ADD, fd, IN)?;
        }
        Ok(epoll)
    }
    #[inline]
    fn wait(&mut self, _want: usize) -> Result<usize, Errno> {
        self.call(-1)
    }
    #[inline]
    fn fd(&self, i: usize) -> c_int {
        self.events[i].u64 as c_int
    }
    fn discard(&mut self) -> Result<usize, Errno> {
        // What is reported because it is still true would be reported for ever.
        let n = self.call(0)?;
        Ok(if MODE == EDGE { n } else { 0 })
    }
}
