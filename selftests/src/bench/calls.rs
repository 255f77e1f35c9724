// SPDX-License-Identifier: GPL-2.0
//! System calls without the C library's extras, so that every interface pays the same for its
//! way into the kernel; and the clock.

use selftests::abi::Errno;
use std::os::raw::{c_int, c_long};

/// The result of a raw call.
#[inline]
pub fn result(r: c_long) -> Result<usize, Errno> {
    if r < 0 {
        Err(Errno::last())
    } else {
        Ok(r as usize)
    }
}

/// This byte into a pipe.
#[inline]
pub fn write_byte(fd: c_int, byte: u8) -> bool {
    // SAFETY: a buffer of one byte.
    unsafe { libc::syscall(libc::SYS_write, fd, &raw const byte, 1) == 1 }
}

/// This byte, and nothing else, out of a pipe.
#[inline]
pub fn read_byte(fd: c_int, byte: u8) -> bool {
    let mut got = !byte;
    // SAFETY: a buffer of one byte.
    unsafe { libc::syscall(libc::SYS_read, fd, &raw mut got, 1) == 1 && got == byte }
}

/// Nanoseconds of CLOCK_MONOTONIC_RAW.
pub fn now() -> u64 {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_RAW, &mut t) };
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// From now on, a call that waits for so many seconds ends with EINTR: an event that does not
/// come is an error, and no hang.
pub fn watchdog(seconds: u32) {
    selftests::sys::handle_signal(libc::SIGALRM, 0);
    // SAFETY: takes no pointer.
    unsafe { libc::alarm(seconds) };
}
