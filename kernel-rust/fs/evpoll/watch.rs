// SPDX-License-Identifier: GPL-2.0

//! A watched descriptor.

use crate::{
    buffer::{
        Posted,
        Slot, //
    },
    interest::{
        Key,
        Keyed, //
    },
    queue::{
        Queue,
        State,
        PENDING, //
    },
    trace,
};
use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};
use kernel::{
    bindings,
    fs::{
        fcblist::{
            Callback,
            FileCallback, //
        },
        File, //
    },
    prelude::*,
    sync::{
        wait_lock::WaitGuard,
        Arc,
        ArcBorrow, //
    }, //
};

/// Events that are always of interest, as in poll(2).
const ALWAYS: u32 = bindings::POLLERR | bindings::POLLHUP;

/// The events that a descriptor is watched for, given those that were asked for.
pub(crate) fn interest(events: u16) -> u32 {
    u32::from(events) | ALWAYS
}

/// What `Queue::state` protects of a watch.
struct Shared {
    slot: Slot,
    /// The events as they were asked for.
    events: u16,
}

/// A watch of a queue: a descriptor, and what one wants to know of it.
pub(crate) struct Watch {
    queue: Arc<Queue>,
    shared: UnsafeCell<Shared>,
}

// SAFETY: `shared` is only accessed with `Queue::state` held.
unsafe impl Send for Watch {}
// SAFETY: As above.
unsafe impl Sync for Watch {}

impl Watch {
    /// Makes a watch that is not on its file's list yet.
    pub(crate) fn new(
        queue: ArcBorrow<'_, Queue>,
        fd: i32,
        events: u16,
    ) -> Result<Pin<KBox<Callback<Watch>>>> {
        KBox::pin_init(
            Callback::new(
                Watch {
                    queue: queue.into(),
                    shared: UnsafeCell::new(Shared {
                        slot: Slot::default(),
                        events,
                    }),
                },
                fd as u32,
            ),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Queues `events` and wakes whoever waits for some. Returns whether queues that watch this one
    /// are to be told, once `state` is released.
    ///
    /// # Safety
    ///
    /// `state` is that of the watch's own queue.
    #[inline(always)]
    pub(crate) unsafe fn post(
        this: &Callback<Watch>,
        state: &mut WaitGuard<'_, State>,
        events: u32,
    ) -> bool {
        // SAFETY: `Queue::state` of the watch's queue is held, by the safety requirements.
        let shared = unsafe { &mut *this.shared.get() };
        let State {
            buffer, directory, ..
        } = &mut **state;
        let posted = buffer.post(
            directory,
            &mut shared.slot,
            this.id() as i32,
            shared.events,
            events as u16,
        );
        let coalesced = posted == Posted::Coalesced;
        trace::notify(&this.queue, this.id() as i32, events, coalesced);
        if coalesced {
            state.count.coalesced = state.count.coalesced.wrapping_add(1);
        }
        if posted != Posted::First {
            return false;
        }
        if state.has_sleepers() {
            state.wake_up(PENDING);
        }
        // With the lock held: whoever starts to watch looks at the state, with the lock held, after
        // he has made himself known.
        this.queue.watchers.is_watched()
    }

    /// # Safety
    ///
    /// Only called with interrupts off.
    #[cold]
    #[inline(never)]
    unsafe fn count_spurious(&self) {
        // SAFETY: By the safety requirements.
        let mut state = unsafe { self.queue.state.lock_irqs_off() };
        state.count.spurious = state.count.spurious.wrapping_add(1);
    }

    /// Takes back the event that is pending, if any.
    pub(crate) fn revoke(&self) {
        let mut state = self.queue.state.lock();
        let State {
            buffer, directory, ..
        } = &mut *state;
        // SAFETY: `Queue::state` is held.
        let shared = unsafe { &mut *self.shared.get() };
        buffer.revoke(directory, &mut shared.slot);
    }

    /// From now on `events` are asked for, also of the event that is pending.
    pub(crate) fn narrow(&self, events: u16) {
        let mut state = self.queue.state.lock();
        let State {
            buffer, directory, ..
        } = &mut *state;
        // SAFETY: `Queue::state` is held.
        let shared = unsafe { &mut *self.shared.get() };
        shared.events = events;
        buffer.narrow(directory, &mut shared.slot, events, interest(events) as u16);
    }

    /// The events that are asked for.
    pub(crate) fn events(&self) -> u16 {
        let _state = self.queue.state.lock();
        // SAFETY: `Queue::state` is held.
        unsafe { (*self.shared.get()).events }
    }

    /// The watch's slot.
    ///
    /// # Safety
    ///
    /// `Queue::state` of the watch's queue is held as long as the reference exists, and it is the
    /// only one.
    #[expect(clippy::mut_from_ref)]
    pub(crate) unsafe fn slot(&self) -> &mut Slot {
        // SAFETY: By the safety requirements.
        unsafe { &mut (*self.shared.get()).slot }
    }
}

impl FileCallback for Watch {
    type Owner = Queue;

    #[inline]
    unsafe fn notify(this: &Callback<Watch>, events: u32, hint: u32) {
        if events & hint == 0 {
            // SAFETY: By the safety requirements interrupts are off.
            unsafe { this.count_spurious() };
        }
        // SAFETY: By the safety requirements interrupts are off, until after this function.
        let mut state = unsafe { this.queue.state.lock_irqs_off() };
        // SAFETY: `state` is that of the watch's queue.
        let watched = unsafe { Watch::post(this, &mut state, events) };
        drop(state);
        if watched {
            // SAFETY: This is `notify` of `this`. Queues do not watch each other in a cycle, and
            // the chains are shorter than what lockdep can tell apart: see `nesting`.
            unsafe { this.queue.watchers.notify_nested(this, PENDING) };
        }
    }

    fn pin(&self) -> Arc<Queue> {
        self.queue.clone()
    }

    fn release(queue: Arc<Queue>, file: usize, id: u32) {
        let key = Key {
            fd: id as i32,
            file,
        };
        // Does nothing if somebody else was faster.
        queue.remove(key);
    }
}

/// A watch in the interest table, which owns it.
///
/// # Invariants
///
/// Points to a watch that was made by [`Watch::new`] and is freed by [`into_box`](Self::into_box).
#[derive(Clone, Copy)]
pub(crate) struct WatchRef(NonNull<Callback<Watch>>);

// SAFETY: Watches are `Send` and `Sync`.
unsafe impl Send for WatchRef {}

impl WatchRef {
    pub(crate) fn from_box(watch: Pin<KBox<Callback<Watch>>>) -> Self {
        // SAFETY: The watch is not moved: `into_box` pins it again.
        let watch = KBox::leak(unsafe { Pin::into_inner_unchecked(watch) });
        // INVARIANT: Made by `Watch::new`, the only one that makes such a box.
        Self(NonNull::from(watch))
    }

    /// # Safety
    ///
    /// The watch was taken out of the table, or never was in it: no other `WatchRef` to it is used.
    pub(crate) unsafe fn into_box(self) -> Pin<KBox<Callback<Watch>>> {
        // SAFETY: By the invariants the pointer is that of a box, which by the safety requirements
        // nobody else turns back; it has not been moved since it was pinned.
        unsafe { Pin::new_unchecked(KBox::from_raw(self.0.as_ptr())) }
    }

    /// # Safety
    ///
    /// The watch is in the table of a queue, whose `ctl` is held as long as the reference exists.
    pub(crate) unsafe fn as_ref<'a>(self) -> &'a Callback<Watch> {
        // SAFETY: By the invariants, and because a watch is taken out of the table, with `ctl`
        // held, before it is freed.
        unsafe { self.0.as_ref() }
    }
}

impl Keyed for WatchRef {
    fn key(&self) -> Key {
        // SAFETY: The table calls this for its elements, with `ctl` held.
        let watch = unsafe { self.as_ref() };
        Key {
            fd: watch.id() as i32,
            file: watch.file(),
        }
    }
}

/// The key of a descriptor.
pub(crate) fn key_of(fd: i32, file: &File) -> Key {
    Key {
        fd,
        file: file.as_ptr() as usize,
    }
}
