// SPDX-License-Identifier: GPL-2.0

//! Data that is protected by the lock of the wait queue where one waits for it to change.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use super::{
    poll::PollTable,
    LockClassKey, //
};
use crate::{
    bindings,
    fs::File,
    prelude::*,
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    cell::UnsafeCell,
    ops::{
        Deref,
        DerefMut, //
    }, //
};

/// Creates a [`WaitLock`] initialiser with the given name and a newly-created lock class.
#[macro_export]
macro_rules! new_wait_lock {
    ($inner:expr $(, $name:literal)? $(,)?) => {
        $crate::sync::wait_lock::WaitLock::new(
            $inner, $crate::optional_name!($($name)?), $crate::static_lock_class!())
    };
}
pub use new_wait_lock;

/// Data protected by the spinlock of a `wait_queue_head`.
///
/// One lock serves both for the data and for whoever waits for them to change, as in `eventfd` or
/// `timerfd`: a change and the look whether somebody is to be woken are one critical section, and
/// need neither a second lock nor a barrier.
///
/// Interrupts are off while the lock is held, so it may be taken in any context.
///
/// # Invariants
///
/// `head` is an initialised `wait_queue_head`, and `data` is only accessed with its lock held.
#[pin_data]
#[repr(C)]
pub struct WaitLock<T> {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    data: UnsafeCell<T>,
}

// SAFETY: `WaitLock` can be transferred across thread boundaries iff the data it protects can.
unsafe impl<T: Send> Send for WaitLock<T> {}

// SAFETY: The lock serialises all accesses to the data.
unsafe impl<T: Send> Sync for WaitLock<T> {}

/// Why a wait ended without what was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unready {
    /// The time is up.
    TimedOut,
    /// A signal is pending.
    Signal,
}

impl<T> WaitLock<T> {
    /// Constructs a new initialiser.
    pub fn new(
        data: T,
        name: &'static CStr,
        key: Pin<&'static LockClassKey>,
    ) -> impl PinInit<Self> {
        // INVARIANT: `head` is initialised here.
        pin_init!(Self {
            // SAFETY: `place` is valid for writes, and `name` and `key` live forever.
            head <- Opaque::ffi_init(|place| unsafe {
                bindings::__init_waitqueue_head(place, name.as_char_ptr(), key.as_ptr())
            }),
            data: UnsafeCell::new(data),
        })
    }

    #[inline]
    fn raw_lock(&self) -> *mut bindings::spinlock_t {
        // SAFETY: Only computes an address within `head`, which is valid.
        unsafe { &raw mut (*self.head.get()).lock }
    }

    /// Takes the lock, with interrupts off until it is released. Any context.
    #[inline]
    pub fn lock(&self) -> WaitGuard<'_, T> {
        // SAFETY: By the type invariants the lock is initialised.
        let flags = unsafe { bindings::spin_lock_irqsave(self.raw_lock()) };
        WaitGuard {
            lock: self,
            interrupts: Interrupts::Restore(flags),
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock where interrupts are on, with interrupts off until it is released.
    ///
    /// # Safety
    ///
    /// Interrupts are on.
    #[inline]
    pub unsafe fn lock_irq(&self) -> WaitGuard<'_, T> {
        // SAFETY: By the type invariants the lock is initialised; interrupts are on.
        unsafe { bindings::spin_lock_irq(self.raw_lock()) };
        WaitGuard {
            lock: self,
            interrupts: Interrupts::SwitchOn,
            _not_send: NotThreadSafe,
        }
    }

    /// Takes the lock where interrupts are off already.
    ///
    /// # Safety
    ///
    /// Interrupts are off and stay so as long as the guard exists. (With `PREEMPT_RT` it is
    /// enough to be in a section that another `spinlock_t` protects with `irqsave`.)
    #[inline]
    pub unsafe fn lock_irqs_off(&self) -> WaitGuard<'_, T> {
        // SAFETY: By the type invariants the lock is initialised.
        unsafe { bindings::spin_lock(self.raw_lock()) };
        WaitGuard {
            lock: self,
            interrupts: Interrupts::LeaveOff,
            _not_send: NotThreadSafe,
        }
    }

    /// Waits until `ready` holds, and returns with the lock held, so that it still does.
    ///
    /// `deadline` is an absolute `CLOCK_MONOTONIC` time in nanoseconds, `None` means for ever.
    /// `slack`, in nanoseconds, is how much later the timer may fire. Waiters are exclusive:
    /// [`WaitGuard::wake_up`] wakes one of them.
    ///
    /// With [`Unready`], the lock is held, too, and `ready` does not hold: one who was woken never
    /// leaves without what it was woken for. Process context, sleeps.
    pub fn wait_until(
        &self,
        mut deadline: Option<i64>,
        slack: u64,
        mut ready: impl FnMut(&T) -> bool,
    ) -> (WaitGuard<'_, T>, Result<(), Unready>) {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();
        // SAFETY: `entry` is valid for writes.
        unsafe { bindings::init_wait(entry.get()) };

        let mut timed_out = false;
        loop {
            let guard = self.lock();
            // SAFETY: The lock is held and `entry` is initialised. It stays where it is, and is
            // taken off the queue, below, before it goes out of scope.
            unsafe { bindings::prepare_to_wait_exclusive_locked(self.head.get(), entry.get()) };

            let result = if ready(&guard) {
                Some(Ok(()))
            } else if timed_out {
                Some(Err(Unready::TimedOut))
            } else if crate::current!().signal_pending() {
                Some(Err(Unready::Signal))
            } else {
                None
            };
            if let Some(result) = result {
                // SAFETY: The lock is held and `entry` is initialised.
                unsafe { bindings::finish_wait_locked(entry.get()) };
                return (guard, result);
            }
            drop(guard);

            let expires = deadline
                .as_mut()
                .map_or(core::ptr::null_mut(), core::ptr::from_mut);
            // SAFETY: `expires` is null or points to a `ktime_t`.
            let left = unsafe {
                bindings::schedule_hrtimeout_range(
                    expires,
                    slack,
                    bindings::hrtimer_mode_HRTIMER_MODE_ABS,
                )
            };
            timed_out = left == 0;
        }
    }

    /// Has whoever calls `->poll()` of `file` wait for [`WaitGuard::wake_up`].
    ///
    /// # Safety
    ///
    /// The `WaitLock` lives until `file` is released: only then have all who poll it gone.
    pub unsafe fn register(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: The file and the table are valid. By the type invariants, `head` is initialised,
        // and by the safety requirements it lives as long as anybody may be on the queue.
        unsafe { bindings::poll_wait(file.as_ptr(), self.head.get(), table.as_ptr()) };
    }
}

/// What becomes of interrupts when the lock is released.
#[derive(Clone, Copy)]
enum Interrupts {
    /// They are as before the guard turned them off.
    Restore(ffi::c_ulong),
    /// They are on, as before the guard turned them off.
    SwitchOn,
    /// They are off, as before.
    LeaveOff,
}

/// A [`WaitLock`] that is held.
#[must_use = "the lock unlocks immediately when the guard is unused"]
pub struct WaitGuard<'a, T> {
    lock: &'a WaitLock<T>,
    interrupts: Interrupts,
    _not_send: NotThreadSafe,
}

impl<T> WaitGuard<'_, T> {
    /// Whether anybody waits or polls.
    #[inline]
    pub fn has_sleepers(&self) -> bool {
        // SAFETY: By the type invariants `head` is initialised, and the lock is held.
        unsafe { bindings::waitqueue_active(self.lock.head.get()) != 0 }
    }

    /// Wakes everybody who polls for one of `events` and one of those who
    /// [wait](WaitLock::wait_until).
    ///
    /// Wake functions of those who poll run before this returns, with the lock held.
    pub fn wake_up(&mut self, events: u32) {
        // SAFETY: By the type invariants `head` is initialised, and the lock is held.
        unsafe { bindings::wake_up_locked_poll(self.lock.head.get(), events) };
    }
}

impl<T> Deref for WaitGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: The lock is held.
        unsafe { &*self.lock.data.get() }
    }
}

impl<T> DerefMut for WaitGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: The lock is held.
        unsafe { &mut *self.lock.data.get() }
    }
}

impl<T> Drop for WaitGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let lock = self.lock.raw_lock();
        match self.interrupts {
            // SAFETY: The lock is held, and was taken with `spin_lock_irqsave`.
            Interrupts::Restore(flags) => unsafe { bindings::spin_unlock_irqrestore(lock, flags) },
            // SAFETY: The lock is held, and was taken with `spin_lock_irq`.
            Interrupts::SwitchOn => unsafe { bindings::spin_unlock_irq(lock) },
            // SAFETY: The lock is held, and was taken with `spin_lock`.
            Interrupts::LeaveOff => unsafe { bindings::spin_unlock(lock) },
        }
    }
}
