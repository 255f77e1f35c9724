// SPDX-License-Identifier: GPL-2.0

//! Tracepoints.
//!
//! C header: [`include/trace/events/evpoll.h`](srctree/include/trace/events/evpoll.h)

use crate::queue::Queue;
use kernel::{
    ffi::{
        c_int,
        c_uint,
        c_void, //
    },
    tracepoint::declare_trace, //
};

declare_trace! {
    /// # Safety
    ///
    /// There are no requirements.
    unsafe fn evpoll_notify(queue: *const c_void, fd: c_int, revents: c_uint, coalesced: bool);

    /// # Safety
    ///
    /// There are no requirements.
    unsafe fn evpoll_wait(queue: *const c_void, timeout_ms: c_int, ret: c_int);
}

fn id(queue: &Queue) -> *const c_void {
    core::ptr::from_ref(queue).cast()
}

/// A watch got an event. Any context.
#[inline(always)]
pub(crate) fn notify(queue: &Queue, fd: i32, revents: u32, coalesced: bool) {
    // SAFETY: There are no requirements; the queue's address only tells it from others.
    unsafe { evpoll_notify(id(queue), fd, revents, coalesced) };
}

/// A wait is over.
#[inline(always)]
pub(crate) fn wait(queue: &Queue, timeout_ms: c_int, ret: c_int) {
    // SAFETY: As above.
    unsafe { evpoll_wait(id(queue), timeout_ms, ret) };
}
