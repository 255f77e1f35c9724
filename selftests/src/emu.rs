// SPDX-License-Identifier: GPL-2.0
//! evpoll's law, played by epoll in edge mode: the back end of the unit tests.
//!
//! It exists only in the unit tests of this package. It proves, on a kernel without evpoll, that
//! a test's scenario is right and that the test can pass; nothing that it does says anything
//! about evpoll. What only a kernel can do (the mapping, address space, other processes) is left
//! out, and so are the tests of it: see `tests::EMULATED_NOT`.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use crate::abi::*;

/// Faults of the stand-in, made on purpose, so that the tests that should find them are seen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    AddDoesNotTest,
    AddTests,
    AddOverwrites,
    AddForgetsLimit,
    AcceptsEveryFile,
    AcceptsEveryBit,
    ModMissesQueued,
    ModKeepsOldMask,
    DelKeepsQueued,
    CloseKeepsQueued,
    LosesEverySecondEvent,
    LosesHangUp,
    LosesOut,
    OnlyFirstEdge,
    RepeatsEvents,
    AddsBits,
    TwoEntries,
    Reversed,
    OneAtATime,
    OneBuffer,
    BadPointerLosesEvents,
    TimeoutTooShort,
    EveryTimeoutIsValid,
}

thread_local! {
    static FAULT: Cell<Fault> = const { Cell::new(Fault::None) };
}

/// From now on, in this thread and in the processes that it forks.
pub fn set_fault(fault: Fault) {
    FAULT.with(|f| f.set(fault));
}

static OF_ALL: OnceLock<Fault> = OnceLock::new();

/// From now on, this thread's fault is that of every thread of this process, for good: for a
/// process that was forked to run something.
pub fn in_all_threads() {
    let _ = OF_ALL.set(current());
}

fn current() -> Fault {
    let own = || FAULT.with(|f| f.get());
    OF_ALL.get().copied().unwrap_or_else(own)
}

fn has(fault: Fault) -> bool {
    current() == fault
}

const EDGE: u32 = libc::EPOLLET as u32;

struct State {
    maxfds: usize,
    watches: HashMap<i32, u32>,
    /// Not handed out yet, in order of first event.
    pending: Vec<(i32, u32)>,
    arrays: [Vec<PollFd>; 2],
    flip: usize,
    /// For the faults.
    seen: usize,
    edges: HashSet<i32>,
}

type Table = HashMap<i32, Arc<Mutex<State>>>;
static TABLE: Mutex<Option<Table>> = Mutex::new(None);

fn err<T>(e: i32) -> Sys<T> {
    Err(Errno(e))
}

fn result(r: i32) -> Sys<i32> {
    if r < 0 {
        Err(Errno::last())
    } else {
        Ok(r)
    }
}

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

fn state(epfd: i32) -> Sys<Arc<Mutex<State>>> {
    // SAFETY: takes no pointer.
    if result(unsafe { libc::fcntl(epfd, libc::F_GETFL) })? & libc::O_PATH != 0 {
        return err(libc::EBADF);
    }
    match std::fs::read_link(format!("/proc/self/fd/{epfd}")) {
        Ok(path) if path.as_os_str() == "anon_inode:[eventpoll]" => {}
        _ => return err(libc::EINVAL),
    }
    let mut table = lock(&TABLE);
    let table = table.get_or_insert_with(HashMap::new);
    if let Some(s) = table.get(&epfd) {
        return Ok(s.clone());
    }
    // A duplicate of the only queue there is.
    let mut queues = table.values();
    match (queues.next().cloned(), queues.next()) {
        (Some(s), None) => {
            table.insert(epfd, s.clone());
            Ok(s)
        }
        _ => err(libc::EINVAL),
    }
}

pub fn evpoll_create(maxfds: i32, flags: u32) -> Sys<i32> {
    if !(1..=EVPOLL_MAX_FDS).contains(&maxfds) || flags & !EVPOLL_CLOEXEC != 0 {
        return err(libc::EINVAL);
    }
    // SAFETY: takes no pointer.
    let fd = result(unsafe { libc::epoll_create1(flags as i32) })?;
    let state = State {
        maxfds: maxfds as usize,
        watches: HashMap::new(),
        pending: Vec::new(),
        arrays: [Vec::new(), Vec::new()],
        flip: 0,
        seen: 0,
        edges: HashSet::new(),
    };
    let mut table = lock(&TABLE);
    let table = table.get_or_insert_with(HashMap::new);
    table.insert(fd, Arc::new(Mutex::new(state)));
    Ok(fd)
}

fn epoll(epfd: i32, op: i32, fd: i32, events: u32) -> Sys<i32> {
    let mut e = libc::epoll_event {
        events: events | EDGE,
        u64: fd as u64,
    };
    // SAFETY: one event.
    result(unsafe { libc::epoll_ctl(epfd, op, fd, &mut e) })
}

/// Takes what epoll has into the list of pending events.
fn collect(epfd: i32, s: &mut State) {
    // SAFETY: plain bytes.
    let mut events: [libc::epoll_event; 256] = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: an array of that size.
        let n = unsafe { libc::epoll_wait(epfd, events.as_mut_ptr(), 256, 0) };
        for e in &events[..n.max(0) as usize] {
            let (fd, mut bits) = (e.u64 as i32, e.events);
            s.seen += 1;
            if has(Fault::LosesEverySecondEvent) && s.seen.is_multiple_of(2)
                || has(Fault::OnlyFirstEdge) && !s.edges.insert(fd)
            {
                continue;
            }
            match current() {
                Fault::LosesHangUp => bits &= !HUP,
                Fault::LosesOut => bits &= !OUT,
                Fault::AddsBits => bits |= ERR,
                _ => {}
            }
            if bits == 0 {
                continue;
            }
            match s.pending.iter_mut().find(|p| p.0 == fd) {
                Some(p) => p.1 |= bits,
                None => s.pending.push((fd, bits)),
            }
        }
        if n < 256 {
            break;
        }
    }
}

/// Drops what is pending of closed files, which are gone from epoll without a word.
fn drop_closed(epfd: i32, s: &mut State) {
    if !s.pending.is_empty() && !has(Fault::CloseKeepsQueued) && !has(Fault::DelKeepsQueued) {
        let there = registered(epfd);
        s.pending.retain(|p| there.contains(&p.0));
    }
}

/// The numbers that epoll watches.
fn registered(epfd: i32) -> HashSet<i32> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{epfd}")).unwrap_or_default();
    text.lines()
        .filter_map(|l| {
            l.strip_prefix("tfd:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .collect()
}

pub fn evpoll_ctl(epfd: i32, op: i32, fd: i32, events: u32, data: usize) -> Sys<i32> {
    let state = state(epfd)?;
    let mut s = lock(&state);
    let events = match has(Fault::AcceptsEveryBit) {
        true => events & VALID,
        false => events,
    };
    if !EVERY_OP.contains(&op) || data != 0 || events & !VALID != 0 {
        return err(libc::EINVAL);
    }
    if fd == epfd {
        return err(libc::ELOOP);
    }
    if let Ok(path) = std::fs::read_link(format!("/proc/self/fd/{fd}")) {
        let path = path.to_string_lossy().into_owned();
        let unsupported = path.starts_with('/') && path.contains("/null")
            || path.starts_with("anon_inode")
            || path.contains("/pts/")
            || path.contains("ptmx");
        if unsupported && !has(Fault::AcceptsEveryFile) {
            return err(libc::EPERM);
        }
    }
    collect(epfd, &mut s);
    let op = match (current(), op) {
        (Fault::AddDoesNotTest, EP_CTL_ADD_AND_TEST) => EP_CTL_ADD,
        (Fault::AddTests, EP_CTL_ADD) => EP_CTL_ADD_AND_TEST,
        (Fault::AddOverwrites, EP_CTL_ADD) if s.watches.contains_key(&fd) => EP_CTL_MOD,
        _ => op,
    };
    match op {
        EP_CTL_ADD | EP_CTL_ADD_AND_TEST => {
            if s.watches.len() >= s.maxfds && !has(Fault::AddForgetsLimit) {
                let there = registered(epfd);
                s.watches.retain(|fd, _| there.contains(fd));
                if s.watches.len() >= s.maxfds && !s.watches.contains_key(&fd) {
                    return err(libc::E2BIG);
                }
            }
            epoll(epfd, libc::EPOLL_CTL_ADD, fd, events)?;
            s.watches.insert(fd, events);
            s.pending.retain(|p| p.0 != fd);
        }
        EP_CTL_MOD | EP_CTL_MOD_AND_TEST => {
            epoll(epfd, libc::EPOLL_CTL_MOD, fd, events)?;
            if !has(Fault::ModKeepsOldMask) {
                s.watches.insert(fd, events);
            }
            for p in &mut s.pending {
                if p.0 == fd && !has(Fault::ModMissesQueued) {
                    p.1 &= events | ALWAYS;
                }
            }
            s.pending.retain(|p| p.1 != 0);
        }
        _ => {
            epoll(epfd, libc::EPOLL_CTL_DEL, fd, 0)?;
            if !has(Fault::DelKeepsQueued) {
                s.watches.remove(&fd);
                s.pending.retain(|p| p.0 != fd);
            }
        }
    }
    if matches!(op, EP_CTL_ADD | EP_CTL_MOD) {
        // What epoll queues for a condition that is already true is not wanted.
        let before = s.pending.clone();
        collect(epfd, &mut s);
        let old = before.iter().find(|p| p.0 == fd).copied();
        if let Some(i) = s.pending.iter().position(|p| p.0 == fd) {
            match old {
                Some(old) => s.pending[i] = old,
                None => drop(s.pending.remove(i)),
            }
        }
    }
    Ok(0)
}

/// Stores a pointer at an address that may be no good, as the kernel would: by read(2).
fn store(at: *mut *const PollFd, p: *const PollFd) -> Sys<()> {
    let size = size_of::<*const PollFd>();
    let (r, w) = crate::sys::pipe_flags(0)?;
    // SAFETY: a buffer of that size, and an address that the kernel checks.
    unsafe {
        result(libc::write(w.raw(), (&raw const p).cast(), size) as i32)?;
        result(libc::read(r.raw(), at.cast(), size) as i32)?;
    }
    Ok(())
}

/// # Safety
///
/// None is needed: the pointer is written by a call that checks it.
pub unsafe fn evpoll_wait(
    epfd: i32,
    events: *mut *const PollFd,
    timeout_ms: i32,
    opts: *const libc::c_void,
    opts_size: usize,
) -> Sys<i32> {
    let state = state(epfd)?;
    let wrong = timeout_ms < -1 && !has(Fault::EveryTimeoutIsValid);
    if wrong || !opts.is_null() || opts_size != 0 {
        return err(libc::EINVAL);
    }
    let timeout_ms = match has(Fault::TimeoutTooShort) {
        true => timeout_ms / 2,
        false => timeout_ms,
    };
    let end = (timeout_ms >= 0)
        .then(|| Instant::now() + Duration::from_millis(timeout_ms.unsigned_abs().into()));
    loop {
        {
            let mut s = lock(&state);
            collect(epfd, &mut s);
            drop_closed(epfd, &mut s);
            if !s.pending.is_empty() {
                let mask = |fd| s.watches.get(&fd).copied().unwrap_or(0);
                let mut entries: Vec<PollFd> = s
                    .pending
                    .iter()
                    .map(|&(fd, bits)| PollFd::new(fd, mask(fd), bits))
                    .collect();
                let mut left = Vec::new();
                let mut next = s.flip ^ 1;
                match current() {
                    Fault::TwoEntries => entries.push(entries[0]),
                    Fault::Reversed => entries.reverse(),
                    Fault::OneBuffer => next = 0,
                    Fault::OneAtATime => {
                        entries.truncate(1);
                        left = s.pending[1..].to_vec();
                    }
                    Fault::RepeatsEvents if s.seen % 2 == 1 => {
                        left = s.pending.clone();
                        s.seen += 1;
                    }
                    Fault::BadPointerLosesEvents => s.pending.clear(),
                    _ => {}
                }
                let room = s.maxfds.min(4096).max(entries.len());
                if s.arrays[next].len() < room {
                    s.arrays[next] = vec![PollFd::new(0, 0, 0); room];
                }
                let p = s.arrays[next].as_ptr();
                store(events, p)?;
                s.arrays[next].fill(PollFd::new(0, 0, 0));
                s.arrays[next][..entries.len()].copy_from_slice(&entries);
                s.flip = next;
                s.pending = left;
                return Ok(entries.len() as i32);
            }
        }
        let left = match end {
            Some(end) => end.saturating_duration_since(Instant::now()),
            None => Duration::from_secs(1),
        };
        if end.is_some() && left.is_zero() {
            return Ok(0);
        }
        // Short slices, since another thread may have taken epoll's event into the list.
        let slice = (left.as_micros().div_ceil(1000) as i32).clamp(1, 3);
        let mut p = libc::pollfd {
            fd: epfd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: an array of one.
        result(unsafe { libc::poll(&mut p, 1, slice) })?;
    }
}
