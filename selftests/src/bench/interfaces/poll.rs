// SPDX-License-Identifier: GPL-2.0
//! poll(2).

use super::Interface;
use crate::calls::result;
use selftests::abi::Errno;
use std::os::raw::c_int;

pub struct Poll {
    set: Vec<libc::pollfd>,
    ready: Vec<c_int>,
}

impl Poll {
    #[inline]
    fn call(&mut self, timeout: c_int) -> Result<usize, Errno> {
        // SAFETY: an array of that size.
        let n = result(unsafe {
            libc::syscall(
                libc::SYS_poll,
                self.set.as_mut_ptr(),
                self.set.len(),
                timeout,
            )
        })?;
        // Which ones they are is for the program to find out.
        self.ready.clear();
        if n > 0 {
            for p in &self.set {
                if p.revents != 0 {
                    self.ready.push(p.fd);
                    if self.ready.len() == n {
                        break;
                    }
                }
            }
        }
        Ok(self.ready.len())
    }
}

impl Interface for Poll {
    const NAME: &'static str = "poll";
    const LINEAR: bool = true;

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        let watch = |&fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        Ok(Poll {
            set: fds.iter().map(watch).collect(),
            ready: Vec::with_capacity(fds.len()),
        })
    }
    #[inline]
    fn wait(&mut self, _want: usize) -> Result<usize, Errno> {
        self.call(-1)
    }
    #[inline]
    fn fd(&self, i: usize) -> c_int {
        self.ready[i]
    }
    fn discard(&mut self) -> Result<usize, Errno> {
        self.call(0).map(|_| 0)
    }
}
