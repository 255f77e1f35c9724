// SPDX-License-Identifier: GPL-2.0

//! evpoll: event queues that are mapped into the process that waits.
//!
//! A queue watches descriptors. When something happens to one of them, whoever makes it happen
//! writes an event into the queue's memory, which is mapped read-only into the process that waits;
//! waiting hands out what has been written, and costs the same for one event as for a thousand.
//! The design is that of the 2002 sys_epoll patch, on its file callback list (`fs/fcblist.c`).
//!
//! - [`queue`]: the queue, its locks, `evpoll_ctl` and `evpoll_wait`;
//! - [`requests`]: `write` and `ioctl`, the interface of `/dev/eventpoll`, whose files are queues
//!   like those of `evpoll_create`;
//! - [`watch`]: a watched descriptor, and what its producers call;
//! - [`map`]: the memory of the events and its mapping into processes;
//! - [`nested`]: which queues watch which;
//! - [`buffer`], [`interest`], [`nesting`], [`pool`]: the state machines of the double buffer, of
//!   the interest table, of queues in queues and of the memory of watches, which make no kernel
//!   calls and are also compiled and tested outside of the kernel;
//! - [`trace`]: the tracepoints.
//!
//! # Locking
//!
//! From the outside in:
//!
//! - `Queue::ctl`, a mutex: the interest table and the memory of the watches. Whoever adds, changes
//!   or removes a watch holds it throughout, and it makes sure of who frees a watch: the one who
//!   takes it out of the table. User memory is never touched with it held, as pipes hold
//!   `pipe->mutex`, which is taken below it, while they fault.
//! - `NESTING`, a mutex, one for all queues: who watches whom among queues. Taken when a queue is
//!   added to another or removed.
//! - `pipe->mutex`, for a pipe: taken to add, change and remove a callback, and by those who write
//!   to the pipe, who need no other lock for its list. They fault with it held, so it may take as
//!   long as the owner of that memory likes; what waits for `ctl` waits with it.
//! - `Queue::memory`, a mutex: the pages and the list of mappings. Also taken below `mmap_lock`, by
//!   faults (so below `pipe->mutex`, where a pipe is written from a mapping) and when a mapping is
//!   made or goes; nothing but allocations happens with it held.
//! - `fcb_head.lock`, a spinlock of the event source: taken by the other producers, and as well to
//!   add, change and remove a callback.
//! - `Queue::state`, the spinlock of the queue's wait queue: the double buffer and the slots of all
//!   watches. Taken with interrupts off, in any context. Those who poll the queue are woken with it
//!   held, as everywhere. But queues that watch this one are told after it was released, so no two
//!   queues' are held at a time; only the `fcb_head.lock` of the sources are, one inside the other,
//!   up to that of the topmost queue that is watched (`file_notify_nested()`). As there are no
//!   cycles among queues, they are always taken from below.
//!
//! # Lifetimes
//!
//! - The queue is reference counted: by its file, and by the file of its pages (which is what a
//!   mapping refers to). Watches have none: `release` of the queue's file frees all watches before
//!   it gives up its reference. So who has a watch, in the table with `ctl` held or on the list of
//!   its file with that locked, has the queue.
//! - A queue has a list of callbacks (`Queue::watchers`), like any source of events. Whoever
//!   follows it has a reference to the queue, or is called by a watch of it.
//! - `release` of the queue's file then unmaps what evpoll itself has mapped and drops the file of
//!   the pages. What may be left then is a buffer that a program mapped by itself.
//! - A watch does not keep the watched file alive. It is freed by whoever takes it out of the
//!   table: `EP_CTL_DEL`, the last close of the watched file, or the release of the queue.
//!
//! # Removal
//!
//! Three may want to remove a watch at the same moment. All hold `Queue::ctl` of its queue, and
//! look it up in the table first. For a queue that is being released the table is empty. For a
//! file that is being closed, `__fput` gets the queue's reference from the watch while the file's
//! list is locked, and the watch on it; then it asks the queue to remove the watch of that file and
//! that number, which it finds only if nobody else has removed it. So nobody follows a pointer to a
//! watch but from the table with `ctl` held or from the list with one of the list's locks held, and
//! a watch is taken off the list, with all of them held, before it is freed.
//!
//! Once `EP_CTL_DEL` has returned, no wait delivers the watch: its callback is off the list, and
//! the event that was pending is taken back under `Queue::state`.
//!
//! # No lost events
//!
//! A watch is on the list before `->poll()` is called, at `EP_CTL_ADD` and `EP_CTL_MOD`: what
//! happened before is in the answer, what happens after is an event (ORDERING in `fs/fcblist.c`).
//! It is called whatever is done with the answer, but for sources that tell of everything without
//! having been asked. A wait flips the halves under the same lock that an event is written under,
//! so each event is in one half or the other.

mod buffer;
mod interest;
mod map;
mod nested;
mod nesting;
mod pool;
mod queue;
mod requests;
mod trace;
mod watch;

use kernel::{
    error::from_result,
    ffi::{
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    },
    fs::{
        file::Fdget,
        File, //
    },
    prelude::*, //
};

/// For the `pr_*` macros.
const __LOG_PREFIX: &[u8] = b"evpoll\0";

/// The kernel starts.
///
/// # Safety
///
/// Called once, before there are queues.
#[export]
pub unsafe extern "C" fn evpoll_do_init() -> c_int {
    from_result(|| {
        // SAFETY: By the safety requirements.
        unsafe { queue::init() }?;
        Ok(0)
    })
}

/// `evpoll_create(2)`.
///
/// # Safety
///
/// There are no requirements.
#[export]
pub unsafe extern "C" fn evpoll_do_create(maxfds: c_int, flags: c_uint) -> c_int {
    from_result(|| {
        let maxfds = u32::try_from(maxfds).map_err(|_| EINVAL)?;
        queue::create(maxfds, flags)
    })
}

/// `evpoll_ctl(2)`.
///
/// # Safety
///
/// There are no requirements.
#[export]
pub unsafe extern "C" fn evpoll_do_ctl(
    epfd: c_int,
    op: c_int,
    fd: c_int,
    events: c_uint,
    reserved: c_ulong,
) -> c_int {
    from_result(|| {
        with_file(epfd, |queue| {
            with_file(fd, |file| {
                if reserved != 0 {
                    return Err(EINVAL);
                }
                let op = queue::Op::try_from(op)?;
                queue::ctl(queue, op, file, fd, events)
            })
        })?;
        Ok(0)
    })
}

/// `evpoll_wait(2)`.
///
/// # Safety
///
/// There are no requirements.
#[export]
pub unsafe extern "C" fn evpoll_do_wait(
    epfd: c_int,
    events: *mut c_void,
    compat: bool,
    timeout_ms: c_int,
    reserved: bool,
) -> c_int {
    from_result(|| {
        with_file(epfd, |queue| {
            if reserved {
                return Err(EINVAL);
            }
            let events = map::PointerVariable::new(events, compat);
            queue::wait(queue, events, timeout_ms)
        })
    })
}

/// Calls `f` with the file of a descriptor of the current process, in a system call. `f` must not
/// close descriptors.
#[inline]
fn with_file<R>(fd: c_int, f: impl FnOnce(&File) -> Result<R>) -> Result<R> {
    // SAFETY: This is a system call, and `f` closes no descriptors.
    let fd = unsafe { Fdget::new(fd as u32) }?;
    // SAFETY: The file is valid as long as there is `fd`. It may be the one that is being written
    // to, but has no position then; of others, this task uses no position now.
    f(unsafe { File::from_raw_file(fd.file().as_ptr()) })
}
