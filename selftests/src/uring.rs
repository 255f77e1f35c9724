// SPDX-License-Identifier: GPL-2.0
//! As much of io_uring as multishot poll needs.

use std::os::raw::{c_int, c_long};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::abi::{Errno, IN};
use crate::sys::Fd;

fn result(r: c_long) -> Result<usize, Errno> {
    if r < 0 {
        Err(Errno::last())
    } else {
        Ok(r as usize)
    }
}

const SETUP_CQSIZE: u32 = 1 << 3;
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
/// What its authors recommend for a single thread: completions are made when it asks for them.
pub const SETUP: &str = "SINGLE_ISSUER|DEFER_TASKRUN";

const FEAT_SINGLE_MMAP: u32 = 1;
const OFF_SQ_RING: i64 = 0;
const OFF_SQES: i64 = 0x1000_0000;
const ENTER_GETEVENTS: u32 = 1;
const OP_POLL_ADD: u8 = 6;
const OP_POLL_REMOVE: u8 = 7;
/// In the name of a request to remove a watch.
const REMOVAL: u64 = 1 << 32;
const POLL_ADD_MULTI: u32 = 1;
const CQE_F_MORE: u32 = 2;
/// The requests that are submitted at a time.
pub const SUBMISSIONS: u32 = 256;
/// The most completions that there may be room for (IORING_MAX_CQ_ENTRIES).
const MAX_COMPLETIONS: u32 = 65_536;

#[repr(C)]
#[derive(Default)]
struct SqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct CqOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    cqes: u32,
    flags: u32,
    reserved: u32,
    user_addr: u64,
}

#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    sq_thread_cpu: u32,
    sq_thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    sq: SqOffsets,
    cq: CqOffsets,
}

#[repr(C)]
#[derive(Default)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    poll_events: u32,
    user_data: u64,
    rest: [u64; 3],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Cqe {
    user_data: u64,
    res: i32,
    flags: u32,
}

pub struct Ring {
    fd: Fd,
    ring: Map,
    sqes: Map,
    params: Params,
}

struct Map {
    start: *mut u8,
    len: usize,
}

impl Map {
    fn new(fd: &Fd, len: usize, offset: i64) -> Result<Self, Errno> {
        // SAFETY: a new mapping, wherever the kernel puts it.
        let p = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.raw(),
                offset as libc::off_t,
            )
        };
        if p == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Map {
            start: p.cast(),
            len,
        })
    }

    #[inline]
    fn at<T>(&self, offset: u32, index: u32) -> *mut T {
        let at = offset as usize + index as usize * size_of::<T>();
        debug_assert!(at + size_of::<T>() <= self.len);
        // SAFETY: within the mapping: the kernel's offsets, and indices below its masks.
        unsafe { self.start.add(at).cast() }
    }

    #[inline]
    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: an aligned word that both sides use atomically.
        unsafe { &*self.at::<AtomicU32>(offset, 0) }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}

impl Ring {
    /// A ring with room for so many completions at once, or as many as there can be.
    pub fn new(completions: u32) -> Result<Self, Errno> {
        let mut params = Params {
            cq_entries: completions
                .clamp(SUBMISSIONS * 2, MAX_COMPLETIONS)
                .next_power_of_two(),
            flags: SETUP_CQSIZE | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN,
            ..Params::default()
        };
        // SAFETY: the structure that the call reads and fills in.
        let fd = result(unsafe {
            libc::syscall(libc::SYS_io_uring_setup, SUBMISSIONS, &raw mut params)
        })?;
        let fd = Fd::new(fd as c_int);
        if params.features & FEAT_SINGLE_MMAP == 0 {
            return Err(Errno(libc::ENOSYS));
        }
        let sq_end = params.sq.array as usize + params.sq_entries as usize * 4;
        let cq_end = params.cq.cqes as usize + params.cq_entries as usize * size_of::<Cqe>();
        let ring = Map::new(&fd, sq_end.max(cq_end), OFF_SQ_RING)?;
        let len = params.sq_entries as usize * size_of::<Sqe>();
        let sqes = Map::new(&fd, len, OFF_SQES)?;
        Ok(Ring {
            fd,
            ring,
            sqes,
            params,
        })
    }

    fn enter(&self, submit: u32, complete: u32) -> Result<usize, Errno> {
        let flags = if complete > 0 { ENTER_GETEVENTS } else { 0 };
        let none: *const u8 = std::ptr::null();
        // SAFETY: no signal mask is given.
        result(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.raw(),
                submit,
                complete,
                flags,
                none,
                0,
            )
        })
    }

    /// Puts a request into a free place of the submission queue, to be submitted later.
    fn push(&self, sqe: Sqe) {
        let sq = &self.params.sq;
        let tail = self.ring.word(sq.tail).load(Ordering::Relaxed);
        let index = tail & (self.params.sq_entries - 1);
        // SAFETY: a free entry of the submission queue, which only we write.
        unsafe {
            self.sqes.at::<Sqe>(0, index).write(sqe);
            self.ring.at::<u32>(sq.array, index).write(index);
        }
        self.ring
            .word(sq.tail)
            .store(tail.wrapping_add(1), Ordering::Release);
    }

    /// Watches each descriptor for ever, as far as the kernel keeps that up.
    pub fn poll_multishot(&mut self, fds: impl Iterator<Item = c_int>) -> Result<(), Errno> {
        let mut queued = 0;
        for fd in fds {
            self.push(Sqe {
                opcode: OP_POLL_ADD,
                fd,
                len: POLL_ADD_MULTI,
                poll_events: IN,
                user_data: fd as u64,
                ..Sqe::default()
            });
            queued += 1;
            if queued == self.params.sq_entries {
                self.submit(&mut queued)?;
            }
        }
        self.submit(&mut queued)
    }

    /// Ends the watches of these descriptors, each of which has one. There must be no completions
    /// left to take.
    pub fn remove(&mut self, fds: &[c_int]) -> Result<(), Errno> {
        for some in fds.chunks(self.params.sq_entries as usize) {
            for &fd in some {
                self.push(Sqe {
                    opcode: OP_POLL_REMOVE,
                    fd: -1,
                    addr: fd as u64,
                    user_data: fd as u64 | REMOVAL,
                    ..Sqe::default()
                });
            }
            let n = some.len() as u32;
            // Of each there are two: the request's own, and the watch's last.
            if self.enter(n, 2 * n)? != some.len() {
                return Err(Errno(libc::EBUSY));
            }
            let (mut removed, mut ended) = (0, 0);
            self.each_completion(|cqe| {
                match (cqe.user_data & REMOVAL != 0, cqe.res) {
                    (true, 0) => removed += 1,
                    (false, res) if res == -libc::ECANCELED => ended += 1,
                    (_, res) => return Err(Errno(res.abs())),
                }
                Ok(())
            })?;
            if (removed, ended) != (some.len(), some.len()) {
                return Err(Errno(libc::ENOENT));
            }
        }
        Ok(())
    }

    fn submit(&self, queued: &mut u32) -> Result<(), Errno> {
        if *queued > 0 && self.enter(*queued, 0)? != *queued as usize {
            return Err(Errno(libc::EBUSY));
        }
        *queued = 0;
        Ok(())
    }

    /// Waits for at least so many completions, and takes every one that is there. A watch that
    /// has ended is an error here.
    pub fn wait(&mut self, want: u32, fds: &mut Vec<c_int>) -> Result<(), Errno> {
        self.enter(0, want)?;
        self.take(fds)
    }

    fn take(&mut self, fds: &mut Vec<c_int>) -> Result<(), Errno> {
        self.each_completion(|cqe| {
            if cqe.res < 0 {
                return Err(Errno(-cqe.res));
            }
            if cqe.flags & CQE_F_MORE == 0 {
                return Err(Errno(libc::ECANCELED));
            }
            fds.push(cqe.user_data as c_int);
            Ok(())
        })
    }

    /// Takes the completions that are there.
    #[inline]
    fn each_completion(
        &mut self,
        mut f: impl FnMut(&Cqe) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let cq = &self.params.cq;
        let mut head = self.ring.word(cq.head).load(Ordering::Relaxed);
        let tail = self.ring.word(cq.tail).load(Ordering::Acquire);
        while head != tail {
            let index = head & (self.params.cq_entries - 1);
            // SAFETY: a completion that the kernel has published and will not touch until the
            // head moves past it.
            f(unsafe { &*self.ring.at::<Cqe>(cq.cqes, index) })?;
            head = head.wrapping_add(1);
        }
        self.ring.word(cq.head).store(head, Ordering::Release);
        Ok(())
    }

    /// Takes what is there, without waiting.
    pub fn discard(&mut self, fds: &mut Vec<c_int>) -> Result<(), Errno> {
        let none: *const u8 = std::ptr::null();
        // SAFETY: no signal mask is given.
        result(unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.fd.raw(),
                0,
                0,
                ENTER_GETEVENTS,
                none,
                0,
            )
        })?;
        self.take(fds)
    }
}
