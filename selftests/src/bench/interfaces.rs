// SPDX-License-Identifier: GPL-2.0
//! The ways to learn which pipes have something to read.

use std::os::raw::c_int;

use crate::calls::result;
use selftests::abi::*;
use selftests::sys::Fd;
use selftests::uring::Ring;

/// One interface, watching the read ends of all pipes.
pub trait Interface: Sized {
    const NAME: &'static str;

    fn new(fds: &[c_int]) -> Result<Self, Errno>;
    /// One wait, until so many events are there; how many there were.
    fn wait(&mut self, want: usize) -> Result<usize, Errno>;
    /// The descriptor of the event at this place of the last wait.
    fn fd(&self, i: usize) -> c_int;
    /// Takes every event that is there, without waiting; how many.
    fn discard(&mut self) -> Result<usize, Errno>;
}

pub struct Evpoll {
    queue: Fd,
    events: *const PollFd,
}

impl Evpoll {
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
        let queue = Fd::new(evpoll_create(fds.len() as i32, EVPOLL_CLOEXEC)?);
        for &fd in fds {
            evpoll_ctl(queue.raw(), EP_CTL_ADD, fd, IN, 0)?;
        }
        Ok(Evpoll {
            queue,
            events: std::ptr::null(),
        })
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

/// epoll; `MODE` is EPOLLET or nothing.
pub struct Epoll<const MODE: u32> {
    epoll: Fd,
    events: Vec<libc::epoll_event>,
}

impl<const MODE: u32> Epoll<MODE> {
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

pub const EDGE: u32 = libc::EPOLLET as u32;
pub const LEVEL: u32 = 0;

impl<const MODE: u32> Interface for Epoll<MODE> {
    const NAME: &'static str = if MODE == EDGE {
        "epoll-edge"
    } else {
        "epoll-level"
    };

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        // SAFETY: takes no pointer.
        let epoll = unsafe { libc::syscall(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC) };
        let epoll = Fd::new(result(epoll)? as c_int);
        for &fd in fds {
            let mut e = libc::epoll_event {
                events: IN | MODE,
                u64: fd as u64,
            };
            // SAFETY: one event.
            let r = unsafe {
                libc::syscall(
                    libc::SYS_epoll_ctl,
                    epoll.raw(),
                    libc::EPOLL_CTL_ADD,
                    fd,
                    &raw mut e,
                )
            };
            result(r)?;
        }
        Ok(Epoll {
            epoll,
            events: vec![libc::epoll_event { events: 0, u64: 0 }; fds.len()],
        })
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
        self.call(0)
    }
}

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
        for p in &self.set {
            if p.revents != 0 {
                self.ready.push(p.fd);
                if self.ready.len() == n {
                    break;
                }
            }
        }
        Ok(self.ready.len())
    }
}

impl Interface for Poll {
    const NAME: &'static str = "poll";

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
        self.call(0)
    }
}

pub struct Uring {
    ring: Ring,
    ready: Vec<c_int>,
}

impl Interface for Uring {
    const NAME: &'static str = "io_uring-multishot";

    fn new(fds: &[c_int]) -> Result<Self, Errno> {
        let mut ring = Ring::new(fds.len() as u32 * 2)?;
        ring.poll_multishot(fds.iter().copied())?;
        Ok(Uring {
            ring,
            ready: Vec::with_capacity(fds.len() * 2),
        })
    }
    #[inline]
    fn wait(&mut self, want: usize) -> Result<usize, Errno> {
        self.ready.clear();
        self.ring.wait(want as u32, &mut self.ready)?;
        Ok(self.ready.len())
    }
    #[inline]
    fn fd(&self, i: usize) -> c_int {
        self.ready[i]
    }
    fn discard(&mut self) -> Result<usize, Errno> {
        self.ready.clear();
        self.ring.discard(&mut self.ready)?;
        Ok(self.ready.len())
    }
}
