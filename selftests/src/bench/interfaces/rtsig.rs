// SPDX-License-Identifier: GPL-2.0
//! POSIX real-time signals, one for each event (F_SETSIG), taken one by one by sigtimedwait.
//!
//! A signal that finds the queue full is lost, and the kernel sends SIGIO instead, upon which a
//! program has to look at all of its descriptors. Here there is room for every signal, and a SIGIO
//! is an error.

use super::Interface;
use crate::calls::result;
use selftests::abi::Errno;
use selftests::sys::{raise_limit, sys};
use std::os::raw::{c_int, c_long};

const F_SETSIG: c_int = 10;
/// The kernel's set of signals.
type Set = u64;

/// What the kernel tells of a signal that F_SETSIG asked for.
#[repr(C)]
struct Info {
    signal: c_int,
    errno: c_int,
    code: c_int,
    band: c_long,
    fd: c_int,
    rest: [u8; 100],
}
const _: () = assert!(size_of::<Info>() == size_of::<libc::siginfo_t>());

pub struct RtSig {
    signals: Set,
    fds: Vec<c_int>,
    ready: Vec<c_int>,
}

fn signal() -> c_int {
    libc::SIGRTMIN() + 1
}

fn bit(signal: c_int) -> Set {
    1 << (signal - 1)
}

impl RtSig {
    /// Takes a signal. EAGAIN: there is none, and that is how long it should wait.
    #[inline]
    fn take(&mut self, timeout: *const libc::timespec) -> Result<(), Errno> {
        let mut info = std::mem::MaybeUninit::<Info>::uninit();
        // SAFETY: a set, room for what is told, a time or none.
        let got = result(unsafe {
            libc::syscall(
                libc::SYS_rt_sigtimedwait,
                &raw const self.signals,
                info.as_mut_ptr(),
                timeout,
                size_of::<Set>(),
            )
        })?;
        if got as c_int == libc::SIGIO {
            return Err(Errno(libc::EOVERFLOW));
        }
        // SAFETY: the call has filled it in.
        self.ready.push(unsafe { info.assume_init_ref() }.fd);
        Ok(())
    }

    /// Sets O_ASYNC or clears it.
    fn asynchronous(fd: c_int, on: bool) -> Result<(), Errno> {
        // SAFETY: take no pointers.
        unsafe {
            let flags = sys(libc::fcntl(fd, libc::F_GETFL))?;
            let flags = match on {
                true => flags | libc::O_ASYNC,
                false => flags & !libc::O_ASYNC,
            };
            sys(libc::fcntl(fd, libc::F_SETFL, flags)).map(drop)
        }
    }
}

impl Interface for RtSig {
    const NAME: &'static str = "rtsig";

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        // Each may have two: what comes when it begins to be watched, and one event.
        raise_limit(libc::RLIMIT_SIGPENDING, 2 * fds.len() as u64 + 1000)?;
        let signals = bit(signal()) | bit(libc::SIGIO);
        let none: *mut Set = std::ptr::null_mut();
        // SAFETY: a set.
        result(unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_BLOCK,
                &raw const signals,
                none,
                size_of::<Set>(),
            )
        })?;
        let this = RtSig {
            signals,
            fds: fds.to_vec(),
            ready: Vec::with_capacity(fds.len()),
        };
        // SAFETY: takes no pointer.
        let me = unsafe { libc::getpid() };
        for &fd in fds {
            // SAFETY: take no pointers.
            unsafe {
                sys(libc::fcntl(fd, libc::F_SETOWN, me))?;
                sys(libc::fcntl(fd, F_SETSIG, signal()))?;
            }
            Self::asynchronous(fd, true)?;
        }
        Ok(this)
    }
    #[inline]
    fn wait(&mut self, want: usize) -> Result<usize, Errno> {
        self.ready.clear();
        for _ in 0..want {
            self.take(std::ptr::null())?;
        }
        Ok(self.ready.len())
    }
    #[inline]
    fn fd(&self, i: usize) -> c_int {
        self.ready[i]
    }
    fn discard(&mut self) -> Result<usize, Errno> {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        self.ready.clear();
        loop {
            match self.take(&now) {
                Ok(()) => {}
                Err(Errno(libc::EAGAIN)) => return Ok(self.ready.len()),
                Err(e) => return Err(e),
            }
        }
    }
}

impl Drop for RtSig {
    fn drop(&mut self) {
        for &fd in &self.fds {
            let _ = Self::asynchronous(fd, false);
        }
        // A SIGIO is taken as well, and an error.
        while !matches!(self.discard(), Ok(0)) {}
    }
}
