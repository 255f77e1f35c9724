// SPDX-License-Identifier: GPL-2.0
//! The binary interface of evpoll, written down from its specification and nowhere else:
//! numbers, bits, and the three calls as the kernel sees them.

use std::fmt;

/// A bit in the number of every system call of the x32 ABI.
const X32: i64 = if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
    0x4000_0000
} else {
    0
};
pub const NR_EVPOLL_CREATE: i64 = X32 + 473;
pub const NR_EVPOLL_CTL: i64 = X32 + 474;
pub const NR_EVPOLL_WAIT: i64 = X32 + 475;

pub const EVPOLL_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
pub const EVPOLL_MAX_FDS: i32 = 1 << 24;

pub const EP_CTL_ADD: i32 = 1;
pub const EP_CTL_DEL: i32 = 2;
pub const EP_CTL_MOD: i32 = 3;
pub const EP_CTL_ADD_AND_TEST: i32 = 4;
pub const EP_CTL_MOD_AND_TEST: i32 = 5;
pub const EVERY_OP: [i32; 5] = [
    EP_CTL_ADD,
    EP_CTL_DEL,
    EP_CTL_MOD,
    EP_CTL_ADD_AND_TEST,
    EP_CTL_MOD_AND_TEST,
];

pub const IN: u32 = 0x001;
pub const PRI: u32 = 0x002;
pub const OUT: u32 = 0x004;
pub const ERR: u32 = 0x008;
pub const HUP: u32 = 0x010;
pub const NVAL: u32 = 0x020;
pub const RDNORM: u32 = 0x040;
pub const RDBAND: u32 = 0x080;
pub const WRNORM: u32 = 0x100;
pub const WRBAND: u32 = 0x200;
pub const MSG: u32 = 0x400;
pub const REMOVE: u32 = 0x1000;
pub const RDHUP: u32 = 0x2000;

/// What evpoll_ctl accepts in `events`.
pub const VALID: u32 = IN | PRI | OUT | ERR | HUP | RDNORM | RDBAND | WRNORM | WRBAND | MSG | RDHUP;
/// What is of interest whether asked for or not.
pub const ALWAYS: u32 = ERR | HUP;

/// `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PollFd {
    pub fd: i32,
    pub events: i16,
    pub revents: i16,
}

impl PollFd {
    pub fn new(fd: i32, events: u32, revents: u32) -> Self {
        PollFd {
            fd,
            events: events as u16 as i16,
            revents: revents as u16 as i16,
        }
    }
    pub fn events(&self) -> u32 {
        u32::from(self.events as u16)
    }
    pub fn revents(&self) -> u32 {
        u32::from(self.revents as u16)
    }
}

impl fmt::Debug for PollFd {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(
            f,
            "{{fd {}, events {}, revents {}}}",
            self.fd,
            Bits(self.events()),
            Bits(self.revents())
        )
    }
}

/// POLL* bits by their names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bits(pub u32);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const NAMES: [(u32, &str); 13] = [
            (IN, "IN"),
            (PRI, "PRI"),
            (OUT, "OUT"),
            (ERR, "ERR"),
            (HUP, "HUP"),
            (NVAL, "NVAL"),
            (RDNORM, "RDNORM"),
            (RDBAND, "RDBAND"),
            (WRNORM, "WRNORM"),
            (WRBAND, "WRBAND"),
            (MSG, "MSG"),
            (REMOVE, "REMOVE"),
            (RDHUP, "RDHUP"),
        ];
        if self.0 == 0 {
            return f.write_str("0");
        }
        let mut rest = self.0;
        let mut sep = "";
        for (bit, name) in NAMES {
            if rest & bit != 0 {
                write!(f, "{sep}{name}")?;
                sep = "|";
                rest &= !bit;
            }
        }
        if rest != 0 {
            write!(f, "{sep}{rest:#x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl Errno {
    pub fn last() -> Self {
        Errno(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        const NAMES: [(i32, &str); 24] = [
            (libc::EPERM, "EPERM"),
            (libc::ENOENT, "ENOENT"),
            (libc::EINTR, "EINTR"),
            (libc::E2BIG, "E2BIG"),
            (libc::EBADF, "EBADF"),
            (libc::EAGAIN, "EAGAIN"),
            (libc::ENOMEM, "ENOMEM"),
            (libc::EACCES, "EACCES"),
            (libc::EFAULT, "EFAULT"),
            (libc::EEXIST, "EEXIST"),
            (libc::ENODEV, "ENODEV"),
            (libc::EINVAL, "EINVAL"),
            (libc::ENFILE, "ENFILE"),
            (libc::EMFILE, "EMFILE"),
            (libc::ENOTTY, "ENOTTY"),
            (libc::ENOSPC, "ENOSPC"),
            (libc::EPIPE, "EPIPE"),
            (libc::ENOSYS, "ENOSYS"),
            (libc::ELOOP, "ELOOP"),
            (libc::EOPNOTSUPP, "EOPNOTSUPP"),
            (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
            (libc::ECONNRESET, "ECONNRESET"),
            (libc::ECONNREFUSED, "ECONNREFUSED"),
            (libc::EINPROGRESS, "EINPROGRESS"),
        ];
        match NAMES.iter().find(|n| n.0 == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A system call's result, with its errno.
pub type Sys<T> = Result<T, Errno>;

#[cfg(not(test))]
mod calls {
    use super::*;

    #[inline]
    fn result(r: libc::c_long) -> Sys<i32> {
        if r < 0 {
            Err(Errno::last())
        } else {
            Ok(r as i32)
        }
    }

    pub fn evpoll_create(maxfds: i32, flags: u32) -> Sys<i32> {
        // SAFETY: takes no pointer.
        result(unsafe { libc::syscall(NR_EVPOLL_CREATE as libc::c_long, maxfds, flags) })
    }

    pub fn evpoll_ctl(epfd: i32, op: i32, fd: i32, events: u32, data: usize) -> Sys<i32> {
        // SAFETY: takes no pointer.
        result(unsafe {
            libc::syscall(
                NR_EVPOLL_CTL as libc::c_long,
                epfd,
                op,
                fd,
                events,
                data as libc::c_ulong,
            )
        })
    }

    /// # Safety
    ///
    /// When `events` is a valid address, the kernel stores a pointer there.
    #[inline]
    pub unsafe fn evpoll_wait(
        epfd: i32,
        events: *mut *const PollFd,
        timeout_ms: i32,
        opts: *const libc::c_void,
        opts_size: usize,
    ) -> Sys<i32> {
        // SAFETY: the caller's promise.
        result(unsafe {
            libc::syscall(
                NR_EVPOLL_WAIT as libc::c_long,
                epfd,
                events,
                timeout_ms,
                opts,
                opts_size,
            )
        })
    }
}

// In the unit tests on the host, epoll stands in, so that the scenarios themselves are proven.
#[cfg(test)]
use crate::emu as calls;

pub use calls::{evpoll_create, evpoll_ctl, evpoll_wait};
