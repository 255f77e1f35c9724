// SPDX-License-Identifier: GPL-2.0
//! select(2), with sets as large as it takes: FD_SETSIZE is the C library's limit, and not the
//! kernel's.

use super::Interface;
use crate::calls::result;
use selftests::abi::Errno;
use std::os::raw::c_int;

const BITS: usize = u64::BITS as usize;

pub struct Select {
    /// What is watched.
    watched: Vec<u64>,
    /// A copy, which the kernel changes to what is ready.
    set: Vec<u64>,
    ready: Vec<c_int>,
}

impl Select {
    #[inline]
    fn call(&mut self, timeout: *mut libc::timeval) -> Result<usize, Errno> {
        self.set.copy_from_slice(&self.watched);
        let none: *mut u64 = std::ptr::null_mut();
        // SAFETY: a set of that size, and no others; a time or none.
        let n = result(unsafe {
            libc::syscall(
                libc::SYS_select,
                self.set.len() * BITS,
                self.set.as_mut_ptr(),
                none,
                none,
                timeout,
            )
        })?;
        self.ready.clear();
        if n > 0 {
            for (word, &bits) in self.set.iter().enumerate() {
                let mut bits = bits;
                while bits != 0 {
                    self.ready
                        .push((word * BITS) as c_int + bits.trailing_zeros() as c_int);
                    bits &= bits - 1;
                }
                if self.ready.len() >= n {
                    break;
                }
            }
        }
        Ok(self.ready.len())
    }
}

impl Interface for Select {
    const NAME: &'static str = "select";
    const LINEAR: bool = true;

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        let highest = fds.iter().copied().max().unwrap_or(0) as usize;
        let mut watched = vec![0; highest / BITS + 1];
        for &fd in fds {
            watched[fd as usize / BITS] |= 1 << (fd as usize % BITS);
        }
        Ok(Select {
            set: vec![0; watched.len()],
            watched,
            ready: Vec::with_capacity(fds.len()),
        })
    }
    #[inline]
    fn wait(&mut self, _want: usize) -> Result<usize, Errno> {
        self.call(std::ptr::null_mut())
    }
    #[inline]
    fn fd(&self, i: usize) -> c_int {
        self.ready[i]
    }
    fn discard(&mut self) -> Result<usize, Errno> {
        let mut now = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        self.call(&mut now).map(|_| 0)
    }
}
