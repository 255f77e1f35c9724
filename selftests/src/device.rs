// SPDX-License-Identifier: GPL-2.0
//! The interface of 2002, as the tests use it: /dev/eventpoll, its ioctls, the mapping that a
//! program makes by itself, and write(2) with an array. All of it works on any queue.

use std::os::raw::{c_int, c_ulong, c_void};

use crate::abi::*;
use crate::check::ok;
use crate::queue::{copy, Queue};
use crate::sys::{limit, mappings, sys, try_open, Fd};

/// `struct evpoll`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvPoll {
    pub ep_timeout: c_int,
    pub ep_resoff: c_ulong,
}

/// The number of descriptors is passed by value.
pub const EP_ALLOC: u32 = 0x8004_5001;
pub const EP_POLL: u32 = 0xc000_5002 | (size_of::<EvPoll>() as u32) << 16;
pub const EP_FREE: u32 = 0x0000_5003;
pub const EP_ISPOLLED: u32 = 0xc008_5004;

pub const PAGE: usize = 4096;
/// Entries on a page.
pub const PER_PAGE: usize = PAGE / size_of::<PollFd>();

/// EP_MAP_SIZE.
pub fn map_size(maxfds: i32) -> usize {
    2 * (maxfds as usize).div_ceil(PER_PAGE) * PAGE
}

/// The raw call.
pub fn ioctl(fd: c_int, request: u32, arg: usize) -> Sys<c_int> {
    // SAFETY: what is an address and what is not is for the kernel to check.
    sys(unsafe { libc::ioctl(fd, request as _, arg as c_ulong) })
}

pub const DEVICE: &str = "/dev/eventpoll";

pub fn try_open_device(flags: c_int) -> Sys<Queue> {
    try_open(DEVICE, flags).map(|fd| Queue { fd })
}

/// A queue without room.
#[track_caller]
pub fn open_device() -> Queue {
    ok(DEVICE, try_open_device(libc::O_RDWR))
}

pub fn try_alloc(q: &Queue, n: c_int) -> Sys<c_int> {
    ioctl(q.raw(), EP_ALLOC, n as isize as usize)
}

#[track_caller]
pub fn alloc(q: &Queue, n: c_int) {
    check_eq!("EP_ALLOC", ok("EP_ALLOC", try_alloc(q, n)), 0);
}

pub fn try_free(q: &Queue) -> Sys<c_int> {
    ioctl(q.raw(), EP_FREE, 0)
}

#[track_caller]
pub fn free(q: &Queue) {
    check_eq!("EP_FREE", ok("EP_FREE", try_free(q)), 0);
}

/// What EP_POLL leaves alone, where it has nothing to store.
pub const UNTOUCHED: c_ulong = 0x5a5a_5a5a;

/// The number of entries, and their offset.
pub fn try_poll(q: &Queue, timeout: c_int) -> Sys<(usize, c_ulong)> {
    let mut e = EvPoll {
        ep_timeout: timeout,
        ep_resoff: UNTOUCHED,
    };
    let n = ioctl(q.raw(), EP_POLL, &raw mut e as usize)?;
    check_eq!("ep_timeout after EP_POLL", e.ep_timeout, timeout);
    Ok((n as usize, e.ep_resoff))
}

#[track_caller]
pub fn poll(q: &Queue, timeout: c_int) -> (usize, c_ulong) {
    ok("EP_POLL", try_poll(q, timeout))
}

/// What EP_ISPOLLED says of a descriptor: the events that it is watched for, if it is.
#[track_caller]
pub fn is_polled(q: &Queue, fd: c_int) -> Option<u32> {
    const BEFORE: i16 = 0x5a5a;
    let mut p = PollFd {
        fd,
        events: BEFORE,
        revents: BEFORE,
    };
    let r = ioctl(q.raw(), EP_ISPOLLED, &raw mut p as usize);
    let r = ok("EP_ISPOLLED", r);
    check_eq!("the descriptor after EP_ISPOLLED", p.fd, fd);
    if r == 0 {
        check_eq!("events, not watched", p.events, BEFORE);
        check_eq!("revents, not watched", p.revents, BEFORE);
        return None;
    }
    check_eq!("EP_ISPOLLED", r, 1);
    check_eq!("revents, watched", p.revents, 0);
    Some(p.events())
}

/// Changes in one call; the bytes that were applied.
pub fn try_apply(q: &Queue, changes: &[PollFd]) -> Sys<usize> {
    // SAFETY: the kernel only reads, and only so much.
    let n = unsafe {
        libc::write(
            q.raw(),
            changes.as_ptr().cast(),
            size_of_val::<[PollFd]>(changes),
        )
    };
    if n < 0 {
        Err(Errno::last())
    } else {
        Ok(n as usize)
    }
}

/// All of them must be applied.
#[track_caller]
pub fn apply(q: &Queue, changes: &[PollFd]) {
    let n = ok("write to the queue", try_apply(q, changes));
    check_eq!("bytes applied", n, size_of_val::<[PollFd]>(changes));
}

/// One change.
pub fn change(fd: &Fd, events: u32) -> PollFd {
    PollFd::new(fd.raw(), events, 0)
}

/// A mapping that the program made; unmapped when dropped.
pub struct Map {
    pub start: *mut c_void,
    pub len: usize,
}

impl Map {
    pub fn try_new(q: &Queue, len: usize, prot: c_int, flags: c_int, offset: usize) -> Sys<Map> {
        let (fd, offset) = (q.raw(), offset as libc::off_t);
        // SAFETY: a new mapping, wherever the kernel puts it.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            Err(Errno::last())
        } else {
            Ok(Map { start, len })
        }
    }

    /// As a program of 2002 does it.
    #[track_caller]
    pub fn new(q: &Queue, maxfds: c_int) -> Map {
        let (prot, flags) = (libc::PROT_READ, libc::MAP_SHARED);
        ok("mmap", Map::try_new(q, map_size(maxfds), prot, flags, 0))
    }

    /// The entries at an offset that EP_POLL gave.
    #[track_caller]
    pub fn entries(&self, n: usize, offset: c_ulong) -> Vec<PollFd> {
        let offset = offset as usize;
        check!(
            offset == 0 || offset == self.len / 2,
            "expected the offset 0 or {:#x}, got {offset:#x}",
            self.len / 2
        );
        check!(
            n <= self.len / 2 / size_of::<PollFd>(),
            "{n} entries do not fit into half of the mapping"
        );
        copy(self.start.cast::<u8>().wrapping_add(offset).cast(), n)
    }

    /// EP_POLL, and what it has handed out.
    #[track_caller]
    pub fn poll(&self, q: &Queue, timeout: c_int) -> Vec<PollFd> {
        match poll(q, timeout) {
            (0, offset) => {
                check_eq!("ep_resoff without entries", offset, UNTOUCHED);
                Vec::new()
            }
            (n, offset) => self.entries(n, offset),
        }
    }

    /// EP_POLL must give exactly these entries.
    #[track_caller]
    pub fn expect(&self, q: &Queue, what: &str, want: &[PollFd]) {
        let got = self.poll(q, if want.is_empty() { 0 } else { limit(2000) });
        check_eq!(what, got, want);
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: a mapping of our own.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// A queue of the device with room for so many, mapped.
#[track_caller]
pub fn device(maxfds: c_int) -> (Queue, Map) {
    let q = open_device();
    alloc(&q, maxfds);
    let map = Map::new(&q, maxfds);
    (q, map)
}

/// How many mappings of queues this process has.
#[track_caller]
pub fn mapped() -> usize {
    let ours = |name: &str| name.contains("[evpoll") || name.contains("eventpoll");
    mappings().iter().filter(|m| ours(&m.name)).count()
}

fn fdinfo_of(raw: c_int) -> String {
    let file = format!("/proc/self/fdinfo/{raw}");
    std::fs::read_to_string(&file).expect(&file)
}

/// How many watches a queue has.
#[track_caller]
pub fn watches(q: &Queue) -> usize {
    let text = fdinfo_of(q.raw());
    text.lines().filter(|l| l.starts_with("tfd:")).count()
}

/// What a queue has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub events: u64,
    pub coalesced: u64,
    pub spurious: u64,
}

#[track_caller]
pub fn counters(q: &Queue) -> Counters {
    let text = fdinfo_of(q.raw());
    let figure = |name: &str| {
        let line = text.lines().find_map(|l| l.strip_prefix(name));
        let Some(figure) = line.and_then(|l| l.strip_prefix(":\t")) else {
            panic!("expected a line \"{name}:\\tN\", got {text:?}");
        };
        figure.parse().expect(name)
    };
    Counters {
        events: figure("events"),
        coalesced: figure("coalesced"),
        spurious: figure("spurious"),
    }
}
