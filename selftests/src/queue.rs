// SPDX-License-Identifier: GPL-2.0
//! A queue of events, as the tests use it: every call either fails loudly, or (`try_…`) gives
//! its errno.

use std::os::raw::c_int;
use std::ptr;

use crate::abi::*;
use crate::check::ok;
use crate::sys::{limit, Fd};

pub struct Queue {
    pub fd: Fd,
}

impl Queue {
    #[track_caller]
    pub fn new(maxfds: i32) -> Self {
        let raw = ok("evpoll_create", evpoll_create(maxfds, EVPOLL_CLOEXEC));
        Queue { fd: Fd::new(raw) }
    }

    pub fn try_new(maxfds: i32, flags: u32) -> Sys<Self> {
        evpoll_create(maxfds, flags).map(|raw| Queue { fd: Fd::new(raw) })
    }

    pub fn raw(&self) -> c_int {
        self.fd.raw()
    }

    pub fn try_ctl(&self, op: i32, fd: c_int, events: u32) -> Sys<i32> {
        evpoll_ctl(self.raw(), op, fd, events, 0)
    }

    #[track_caller]
    pub fn ctl(&self, op: i32, fd: c_int, events: u32) {
        let what = match op {
            EP_CTL_ADD => "EP_CTL_ADD",
            EP_CTL_DEL => "EP_CTL_DEL",
            EP_CTL_MOD => "EP_CTL_MOD",
            EP_CTL_ADD_AND_TEST => "EP_CTL_ADD_AND_TEST",
            EP_CTL_MOD_AND_TEST => "EP_CTL_MOD_AND_TEST",
            _ => "evpoll_ctl",
        };
        check_eq!(what, ok(what, self.try_ctl(op, fd, events)), 0);
    }

    #[track_caller]
    pub fn add(&self, fd: &Fd, events: u32) {
        self.ctl(EP_CTL_ADD, fd.raw(), events);
    }
    #[track_caller]
    pub fn add_and_test(&self, fd: &Fd, events: u32) {
        self.ctl(EP_CTL_ADD_AND_TEST, fd.raw(), events);
    }
    #[track_caller]
    pub fn modify(&self, fd: &Fd, events: u32) {
        self.ctl(EP_CTL_MOD, fd.raw(), events);
    }
    #[track_caller]
    pub fn mod_and_test(&self, fd: &Fd, events: u32) {
        self.ctl(EP_CTL_MOD_AND_TEST, fd.raw(), events);
    }
    #[track_caller]
    pub fn del(&self, fd: &Fd) {
        self.ctl(EP_CTL_DEL, fd.raw(), 0);
    }

    /// The raw call: the count, and the pointer that was stored.
    pub fn try_wait_raw(&self, timeout: c_int) -> Sys<(usize, *const PollFd)> {
        let mut events: *const PollFd = ptr::null();
        // SAFETY: a pointer's worth of room.
        let n = unsafe { evpoll_wait(self.raw(), &mut events, timeout, ptr::null(), 0) }?;
        Ok((n as usize, events))
    }

    #[track_caller]
    pub fn wait_raw(&self, timeout: c_int) -> (usize, *const PollFd) {
        ok("evpoll_wait", self.try_wait_raw(timeout))
    }

    pub fn try_wait(&self, timeout: c_int) -> Sys<Vec<PollFd>> {
        let (n, events) = self.try_wait_raw(timeout)?;
        Ok(copy(events, n))
    }

    #[track_caller]
    pub fn wait(&self, timeout: c_int) -> Vec<PollFd> {
        ok("evpoll_wait", self.try_wait(timeout))
    }

    /// Waits, for a bounded time, and expects exactly these entries in this order.
    #[track_caller]
    pub fn expect(&self, what: &str, want: &[PollFd]) {
        let got = self.wait(if want.is_empty() { 0 } else { limit(2000) });
        check_eq!(what, got, want);
    }

    /// Nothing is there, and nothing comes in a short while.
    #[track_caller]
    pub fn expect_nothing(&self, what: &str) {
        let got = self.wait(10);
        check_eq!(what, got, Vec::<PollFd>::new());
    }
}

/// The entries of an array that was handed out. Its address is the kernel's word; if that is
/// wrong, the test's process faults, and the test has failed.
#[allow(clippy::not_unsafe_ptr_arg_deref)]
pub fn copy(events: *const PollFd, n: usize) -> Vec<PollFd> {
    // SAFETY: see above. Volatile, since the kernel may write meanwhile.
    (0..n)
        .map(|i| unsafe { events.add(i).read_volatile() })
        .collect()
}

/// One expected entry.
pub fn entry(fd: &Fd, events: u32, revents: u32) -> PollFd {
    PollFd::new(fd.raw(), events, revents)
}
