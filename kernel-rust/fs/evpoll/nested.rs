// SPDX-License-Identifier: GPL-2.0

//! Which queues watch which: what [`nesting`] decides on.

use crate::{
    nesting::{
        self,
        Graph,
        Links, //
    },
    queue::Queue, //
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::{
        global_lock,
        GlobalGuard,
        GlobalLockedBy, //
    }, //
};

/// The most watches that there may be of one queue: the walk of `may_link` goes over all that are
/// above it.
const MAX_WATCHERS: usize = 64;

global_lock! {
    // SAFETY: `init` is called when the kernel starts, before there are queues.
    pub(crate) unsafe(uninit) static NESTING: Mutex<u64> = 0;
}

/// A queue's part of the graph.
pub(crate) struct Nested {
    links: Links,
    /// The queues that watch this one, as often as they do. No more than [`MAX_WATCHERS`], which
    /// there is room for once there are any. All exist: a queue unlinks what it watches before it
    /// is gone.
    watchers: KVec<NonNull<Queue>>,
}

// SAFETY: Queues are `Send` and `Sync`.
unsafe impl Send for Nested {}

impl Nested {
    pub(crate) fn new() -> Locked {
        GlobalLockedBy::new(Self {
            links: Links::new(),
            watchers: KVec::new(),
        })
    }
}

/// Protected by `NESTING`.
pub(crate) type Locked = GlobalLockedBy<Nested, NESTING>;

/// Prepares the lock.
///
/// # Safety
///
/// Called once, before there are queues.
pub(crate) unsafe fn init() {
    // SAFETY: By the safety requirements.
    unsafe { NESTING.init() };
}

/// The graph, while `NESTING` is held.
struct Held(GlobalGuard<NESTING>);

impl Held {
    fn nested(&mut self, queue: NonNull<Queue>) -> &mut Nested {
        // SAFETY: `link` and `unlink` were passed references to their queues, and all others are in
        // a list of watchers.
        unsafe { queue.as_ref() }.nested.as_mut(&mut self.0)
    }
}

impl Graph for Held {
    type Queue = NonNull<Queue>;

    fn links(&mut self, queue: NonNull<Queue>) -> &mut Links {
        &mut self.nested(queue).links
    }

    fn watcher(&self, queue: NonNull<Queue>, index: usize) -> Option<NonNull<Queue>> {
        // SAFETY: As in `nested`.
        let nested = unsafe { queue.as_ref() }.nested.as_ref(&self.0);
        nested.watchers.get(index).copied()
    }
}

/// `outer` is going to watch `inner`: fails with `ELOOP` if that makes a cycle or too long a chain,
/// with `ENOSPC` if too many queues watch `inner`, or with `ENOMEM`. Is to be undone by [`unlink`].
pub(crate) fn link(outer: &Queue, inner: &Queue) -> Result {
    let (outer, inner) = (NonNull::from(outer), NonNull::from(inner));
    // Allocated without the lock, which others wait for who are not short of memory.
    let has_room = Held(NESTING.lock()).nested(inner).watchers.capacity() != 0;
    let mut room = KVec::new();
    if !has_room {
        room = KVec::with_capacity(MAX_WATCHERS, GFP_KERNEL_ACCOUNT)?;
    }

    let mut graph = Held(NESTING.lock());
    *graph.0 += 1;
    let walk = *graph.0;
    if !nesting::may_link(&mut graph, outer, inner, walk) {
        return Err(ELOOP);
    }
    let watchers = &mut graph.nested(inner).watchers;
    if watchers.capacity() == 0 {
        core::mem::swap(watchers, &mut room);
    }
    if watchers.len() >= MAX_WATCHERS {
        return Err(ENOSPC);
    }
    watchers.push_within_capacity(outer)?;
    nesting::link(&mut graph, outer, inner);
    Ok(())
}

/// `outer` does not watch `inner` any more.
pub(crate) fn unlink(outer: &Queue, inner: &Queue) {
    let (outer, inner) = (NonNull::from(outer), NonNull::from(inner));
    let mut graph = Held(NESTING.lock());
    nesting::unlink(&mut graph, outer, inner);
    let watchers = &mut graph.nested(inner).watchers;
    if let Some(index) = watchers.iter().position(|&watcher| watcher == outer) {
        let _ = watchers.remove(index);
    }
}
