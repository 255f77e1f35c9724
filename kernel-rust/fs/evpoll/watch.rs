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
    map::KernelPages,
    pool::Pool,
    queue::{
        Queue,
        State,
        PENDING, //
    },
    trace,
};
#[cfg(CONFIG_KASAN)]
use core::mem::MaybeUninit;
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
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

/// A watch of a queue: a descriptor, and what one wants to know of it.
pub(crate) struct Watch {
    /// The queue that the watch belongs to, and which it does not outlive: see [`Watch::queue`].
    queue: NonNull<Queue>,
    /// Protected by `Queue::state`; or by `Queue::ctl`, once the callback is off its list.
    slot: UnsafeCell<Slot>,
}

// A cache line, where that has 64 bytes and pointers have 8.
const _: () = assert!(size_of::<Callback<Watch>>() <= 64);

// SAFETY: Queues are `Send` and `Sync`, and `slot` is protected by locks.
unsafe impl Send for Watch {}
// SAFETY: As above.
unsafe impl Sync for Watch {}

impl Watch {
    /// The queue that the watch belongs to.
    ///
    /// It has a reference as long as there are watches: that of its file, which is given up when
    /// all watches have been freed.
    #[inline]
    fn queue(&self) -> &Queue {
        // SAFETY: Whoever has `self` keeps it from being freed: he holds the queue's `ctl`, or one
        // of the locks of the list that the watch is on, all of which `Queue::free` takes before
        // it frees a watch. And `QueueFile::release` has all watches freed before it gives up the
        // reference of the queue's file. So that has not happened, and the queue is valid.
        unsafe { self.queue.as_ref() }
    }

    /// Queues `events` and wakes whoever waits for some. Returns whether queues that watch this one
    /// are to be told, once `state` is released.
    ///
    /// # Safety
    ///
    /// `queue` is the watch's own, and `state` that of it.
    #[inline(always)]
    pub(crate) unsafe fn post(
        this: &Callback<Watch>,
        queue: &Queue,
        state: &mut WaitGuard<'_, State>,
        events: u32,
    ) -> bool {
        // SAFETY: `Queue::state` of the watch's queue is held, by the safety requirements.
        let slot = unsafe { &mut *this.slot.get() };
        let State {
            buffer, directory, ..
        } = &mut **state;
        let fd = this.id() as i32;
        match buffer.post(directory, slot, fd, events as u16) {
            Posted::Coalesced => {
                trace::notify(queue, fd, events, true);
                state.count.coalesced = state.count.coalesced.wrapping_add(1);
                false
            }
            Posted::Queued => {
                trace::notify(queue, fd, events, false);
                false
            }
            Posted::First => {
                trace::notify(queue, fd, events, false);
                if state.has_sleepers() {
                    state.wake_up(PENDING);
                }
                // With the lock held: whoever starts to watch looks at the state, with the lock
                // held, after he has made himself known.
                queue.watchers.is_watched()
            }
        }
    }

    /// # Safety
    ///
    /// Only called with interrupts off.
    #[cold]
    #[inline(never)]
    unsafe fn count_spurious(&self) {
        // SAFETY: By the safety requirements.
        let mut state = unsafe { self.queue().state.lock_irqs_off() };
        state.count.spurious = state.count.spurious.wrapping_add(1);
    }

    /// Takes back the event that is pending, if any, once the callback is off its list.
    ///
    /// # Safety
    ///
    /// It is, and `ctl` is held.
    #[inline]
    pub(crate) unsafe fn revoke(&self) {
        // SAFETY: By the safety requirements nobody else uses the slot: no producer any more, and
        // `Queue::squeeze` holds `ctl`.
        let slot = unsafe { &mut *self.slot.get() };
        if slot.is_idle() {
            return;
        }
        let queue = self.queue();
        let mut state = queue.state.lock();
        let State {
            buffer, directory, ..
        } = &mut *state;
        buffer.revoke(directory, slot);
    }

    /// From now on `events` are asked for, also of the event that is pending.
    pub(crate) fn narrow(&self, events: u16) {
        let queue = self.queue();
        let mut state = queue.state.lock();
        let State {
            buffer, directory, ..
        } = &mut *state;
        // SAFETY: `Queue::state` is held.
        let slot = unsafe { &mut *self.slot.get() };
        buffer.narrow(directory, slot, events, interest(events) as u16);
    }

    /// The events that are asked for.
    pub(crate) fn events(&self) -> u16 {
        let queue = self.queue();
        let _state = queue.state.lock();
        // SAFETY: `Queue::state` is held.
        unsafe { (*self.slot.get()).events() }
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
        unsafe { &mut *self.slot.get() }
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
        let queue = this.queue();
        // SAFETY: By the safety requirements interrupts are off, until after this function.
        let mut state = unsafe { queue.state.lock_irqs_off() };
        // SAFETY: `state` is that of the watch's queue.
        let watched = unsafe { Watch::post(this, queue, &mut state, events) };
        drop(state);
        if watched {
            // SAFETY: This is `notify` of `this`. Queues do not watch each other in a cycle, and
            // the chains are shorter than what lockdep can tell apart: see `nesting`.
            unsafe { queue.watchers.notify_nested(this, PENDING) };
        }
    }

    #[inline]
    unsafe fn send(this: &Callback<Watch>, events: u32) {
        let queue = this.queue();
        // SAFETY: By the safety requirements interrupts are on.
        let mut state = unsafe { queue.state.lock_irq() };
        // SAFETY: `state` is that of the watch's queue.
        let watched = unsafe { Watch::post(this, queue, &mut state, events) };
        drop(state);
        if watched {
            // The watch is on its list until after this function, so the queue is there.
            queue.watchers.notify(PENDING);
        }
    }

    fn pin(&self) -> Arc<Queue> {
        // SAFETY: The pointer is from `Arc::as_ptr`, and there is a reference: see `queue`.
        unsafe { ArcBorrow::from_raw(self.queue.as_ptr()) }.into()
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

/// The memory of the watches of a queue.
///
/// With KASAN each is an allocation of its own, so that KASAN sees who uses one that was freed.
pub(crate) struct Watches {
    /// The queue that they belong to: what `Arc::as_ptr` returned.
    owner: Option<NonNull<Queue>>,
    #[cfg(not(CONFIG_KASAN))]
    pool: Pool<Callback<Watch>, KernelPages>,
}

// SAFETY: Queues are `Send` and `Sync`, and the pool is `Send`.
unsafe impl Send for Watches {}

impl Watches {
    pub(crate) const fn new() -> Self {
        Self {
            owner: None,
            #[cfg(not(CONFIG_KASAN))]
            pool: Pool::new(),
        }
    }

    /// Says which queue this is part of.
    pub(crate) fn belong_to(&mut self, queue: &Arc<Queue>) {
        self.owner = NonNull::new(Arc::as_ptr(queue).cast_mut());
    }

    #[cfg(not(CONFIG_KASAN))]
    #[inline]
    fn take(&mut self) -> Result<NonNull<Callback<Watch>>> {
        self.pool.take().ok_or(ENOMEM)
    }

    #[cfg(CONFIG_KASAN)]
    fn take(&mut self) -> Result<NonNull<Callback<Watch>>> {
        let watch = KBox::<Callback<Watch>>::new_uninit(GFP_KERNEL_ACCOUNT)?;
        Ok(NonNull::from(KBox::leak(watch)).cast())
    }

    /// # Safety
    ///
    /// `watch` was taken from here, and is not used any more.
    #[inline]
    unsafe fn give(&mut self, watch: NonNull<Callback<Watch>>) {
        #[cfg(not(CONFIG_KASAN))]
        // SAFETY: By the safety requirements.
        unsafe {
            self.pool.give(watch)
        };
        #[cfg(CONFIG_KASAN)]
        // SAFETY: By the safety requirements, it is that of a box.
        drop(unsafe { KBox::from_raw(watch.as_ptr().cast::<MaybeUninit<Callback<Watch>>>()) });
    }

    /// Makes a watch that is not on its file's list yet.
    #[inline(always)]
    pub(crate) fn make(&mut self, fd: i32, events: u16) -> Result<NewWatch<'_>> {
        let queue = self.owner.ok_or(EINVAL)?;
        let watch = self.take()?;
        let init = Callback::new(
            Watch {
                queue,
                slot: UnsafeCell::new(Slot::new(events)),
            },
            fd as u32,
        );
        // SAFETY: This is memory for a watch, and stays where it is until it is given back.
        unsafe { pin_init::raw_init(watch.as_ptr(), init) };
        Ok(NewWatch {
            watches: self,
            watch,
        })
    }

    /// Frees a watch.
    ///
    /// # Safety
    ///
    /// It was made here, is on no file's list, and was taken out of the table: no other `WatchRef`
    /// to it is used.
    #[inline]
    pub(crate) unsafe fn free(&mut self, watch: WatchRef) {
        // There is nothing to drop but the place on the list.
        const { assert!(!core::mem::needs_drop::<Watch>()) };
        // SAFETY: By the safety requirements nobody uses it any more.
        unsafe { self.give(watch.0) };
    }
}

/// A watch that is in no table yet. Freed when it is dropped.
pub(crate) struct NewWatch<'a> {
    watches: &'a mut Watches,
    watch: NonNull<Callback<Watch>>,
}

impl NewWatch<'_> {
    #[inline(always)]
    pub(crate) fn as_mut(&mut self) -> Pin<&mut Callback<Watch>> {
        // SAFETY: The watch is initialised, nobody else uses it, and it stays where it is.
        unsafe { Pin::new_unchecked(self.watch.as_mut()) }
    }

    /// Leaves the watch to a table.
    #[inline(always)]
    pub(crate) fn into_ref(self) -> WatchRef {
        // INVARIANT: Made by `Watches::make`, the only one that makes a `NewWatch`.
        WatchRef(ManuallyDrop::new(self).watch)
    }
}

impl Drop for NewWatch<'_> {
    fn drop(&mut self) {
        self.as_mut().remove();
        // SAFETY: It was made here, is on no list, and nobody has a `WatchRef` to it.
        unsafe { self.watches.free(WatchRef(self.watch)) };
    }
}

/// A watch in the interest table, which owns it.
///
/// # Invariants
///
/// Points to a watch that was made by [`Watches::make`] and is freed by [`Watches::free`].
#[derive(Clone, Copy)]
pub(crate) struct WatchRef(NonNull<Callback<Watch>>);

// SAFETY: Watches are `Send` and `Sync`.
unsafe impl Send for WatchRef {}

impl WatchRef {
    /// # Safety
    ///
    /// The watch is in the table of a queue, whose `ctl` is held as long as the reference exists.
    #[inline]
    pub(crate) unsafe fn as_ref<'a>(self) -> &'a Callback<Watch> {
        // SAFETY: By the invariants, and because a watch is taken out of the table, with `ctl`
        // held, before it is freed.
        unsafe { self.0.as_ref() }
    }

    /// # Safety
    ///
    /// The watch was taken out of the table: nobody but the list of its file knows of it.
    #[inline]
    pub(crate) unsafe fn as_mut<'a>(mut self) -> Pin<&'a mut Callback<Watch>> {
        // SAFETY: By the safety requirements; it stays where it is until it is freed.
        unsafe { Pin::new_unchecked(self.0.as_mut()) }
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
