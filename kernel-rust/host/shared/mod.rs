// SPDX-License-Identifier: GPL-2.0
//! Models of what is shared, run in every order that there is, and with every old value that a load
//! may still see (loom).
//!
//! | shared | where | what keeps it right | model |
//! |---|---|---|---|
//! | a change of a socket, against a callback that is added or modified | `__file_notify_addcb()`, `file_notify_modcb()`, `sk_notify()` | a full barrier on either side (ORDERING) | [`lists`]: `ordering` |
//! | the same for a pipe, and its list | `file_notify_lock()`, `__file_notify_addcb()`, `pipe_notify()`, `pipe_notify_locked()` | a change takes `pipe->mutex` and `head->lock`, a callback one of them; the mutex takes the place of the barriers | [`lists`]: `pipe` |
//! | `file->f_cb` | `__file_notify_addcb()`, `file_notify_cleanup()` | the count of the file's references | [`lists`]: `f_cb` |
//! | a callback and its file: producer, last close, release of the queue, `EP_CTL_DEL` | `__file_notify_event()`, `__file_notify_cleanup()`, `Queue::free`, `FileCallback::release` | `head->lock`, `Queue::ctl`, the reference that `pin` takes | [`lists`]: `removal` |
//! | the list of a socket that goes away | `sk_notify()`, `struct socket` | a grace period of RCU | [`lists`]: `grace_period` |
//! | `file_notify_key`, `file_notify_users` | `file_notify_get()`, `file_notify_put()`, `file_notify_off()` | the count goes up after the key, under the mutex | [`lists`]: `static_key` |
//! | `evpoll_watches` of a user | `evpoll_charge_watch()` in `fs/evpoll/syscalls.c` | one atomic operation decides | [`lists`]: `charge` |
//! | the sleep of a wait, against `notify` | `WaitLock::wait_until`, `Watch::post` | `Queue::state`, and the look at it after one is on the wait queue | [`waits`]: `sleep` |
//! | a wake-up for one who leaves: time is up, a signal | `WaitLock::wait_until` | he looks first whether there is something | [`waits`]: `timeout` |
//! | a wake-up for one who cannot take it (`EFAULT`) | `Queue::wait`, `Queue::pass_on` | he wakes another | [`waits`]: `passed_on` |
//! | events that come while a hand-out is squeezed | `Queue::squeeze_out`, `State::is_ready` | who is done with it wakes another | [`waits`]: `squeezing` |
//! | `EP_CTL_DEL` against `notify` | `Queue::free` | off the list, then taken back | [`waits`]: `removed` |
//! | `EP_CTL_MOD` against `notify` | `Queue::modify` | first the callback, then what is pending | [`waits`]: `modified` |
//! | `EP_CTL_ADD_AND_TEST`, and a reader "until EAGAIN, then wait" | `Queue::add`, `Queue::look`, `Queue::wait` | on the list, then `->poll()` | [`waits`]: `whole` |
//! | `Queue::watchers`: an event of a queue that is being added to another | `Watch::post`, `Source::is_watched`, `QueueFile::poll` | looked at with `Queue::state` held | [`waits`]: `nested` |
//! | `Queue::maxfds`, read without `ctl` and `memory` | `Queue::half_size` in `Queue::wait`, `Queue::allocate`, `Queue::deallocate`, `Queue::unmapped` | does not change while `State::mapping` is known | [`waits`]: `room` |
//!
//! Not modelled, because a lock covers each access:
//!
//! - the double buffer, the slots of the watches, the directory of pages, the counters, the last
//!   mapping: `Queue::state` (that slots are only touched with it held is the safety requirement of
//!   `Watch::post` and `Watch::slot`);
//! - the interest table: `Queue::ctl`; the links among queues: `NESTING`; pages and mappings:
//!   `Queue::memory`;
//! - the members of a list and their events, `fcb_head.nesting`: `head->lock`;
//! - the wait queue of those who poll a queue: `poll_wait()` takes its lock, which is
//!   `Queue::state`, before `QueueFile::poll` does for its look.
//!
//! Nor, because any value will do:
//!
//! - `fcb_head.duplex`, read by `pipe_notify()` without `head->lock`: who reads what it was
//!   before the callback came tells of one end only, and `->poll()`, called after the callback
//!   came, has told of both;
//! - `Queue::maxfds` in fdinfo, and in `Queue::wait` where nothing is pending; `timer_slack_ns`;
//!   `max_user_watches`, which is a limit of its moment.
//!
//! An interrupt on the same processor is another thread here: locks are taken with interrupts off,
//! so it never comes while the processor holds one.
//!
//! A model takes a fault, which leaves out or swaps what the protocol is about. A test runs it
//! without, and one for each fault makes sure that the model finds it.
//!
//! What the threads of a model share is in an `Arc` of the standard library: one of loom's cannot be
//! dropped after a deadlock, and nothing depends on the order that it makes.

mod lists;
mod waits;

use loom::cell::UnsafeCell;

/// Memory that can be used and freed. It is an error to do either after it was freed, or at the same
/// time as somebody frees it.
pub(super) struct Object {
    freed: UnsafeCell<bool>,
}

// SAFETY: loom looks after the cell: it panics when it is accessed by two at a time.
unsafe impl Sync for Object {}

impl Object {
    /// Allocates it.
    pub(super) fn new() -> Self {
        Self {
            freed: UnsafeCell::new(false),
        }
    }

    /// Uses it.
    pub(super) fn touch(&self) {
        // SAFETY: loom panics when somebody writes at the same time.
        self.freed
            .with(|freed| assert!(!unsafe { *freed }, "use after free"));
    }

    /// Frees it.
    pub(super) fn free(&self) {
        self.freed.with_mut(|freed| {
            // SAFETY: loom panics when somebody else reads or writes at the same time.
            let freed = unsafe { &mut *freed };
            assert!(!*freed, "freed twice");
            *freed = true;
        });
    }
}
