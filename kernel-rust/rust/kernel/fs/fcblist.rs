// SPDX-License-Identifier: GPL-2.0

//! File callback lists: being called back when something happens to a file.
//!
//! C header: [`include/linux/fcblist.h`](srctree/include/linux/fcblist.h)

use crate::{
    bindings,
    ffi::c_void,
    fs::File,
    prelude::*,
    sync::Arc,
    types::Opaque, //
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    mem::offset_of,
    ops::Deref, //
};

/// What is called back.
pub trait FileCallback: Send + Sync + Sized + 'static {
    /// Whoever the callback belongs to.
    type Owner: Send + Sync + 'static;

    /// `events` happened to the file, some of those that the callback was added with. `hint` is
    /// what the source has said: an event with nothing of it is only what was true before.
    ///
    /// Called in any context, with the list locked and interrupts off.
    ///
    /// # Safety
    ///
    /// Only called with interrupts off.
    unsafe fn notify(this: &Callback<Self>, events: u32, hint: u32);

    /// Exactly `events` happened to the file, some of those that the callback was added with.
    ///
    /// Called in process context, with the list kept from changing. Must not sleep.
    ///
    /// # Safety
    ///
    /// Only called with interrupts on.
    unsafe fn send(this: &Callback<Self>, events: u32);

    /// The file is being closed: returns the owner, for [`release`](Self::release). Called like
    /// [`notify`](Self::notify).
    fn pin(&self) -> Arc<Self::Owner>;

    /// The file is being closed: drops the callback that was made for the file at this address
    /// with this `id`, unless that has happened already. Process context, may sleep.
    fn release(owner: Arc<Self::Owner>, file: usize, id: u32);
}

/// A callback, with the data that it is called with.
///
/// Is removed when it is dropped, which is in process context and may sleep. The owner must drop it
/// when [`FileCallback::release`] asks for it; closing the file waits for that.
///
/// # Invariants
///
/// `fcb.file` is null if the callback is not on a list. Otherwise it was added for that file, which
/// is valid: it is not released before the callback is removed.
#[repr(C)]
#[pin_data(PinnedDrop)]
pub struct Callback<T: FileCallback> {
    #[pin]
    fcb: Opaque<bindings::fcb_struct>,
    data: T,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: The list has a lock of its own, and `T` is `Send`.
unsafe impl<T: FileCallback> Send for Callback<T> {}
// SAFETY: The list has a lock of its own, and `T` is `Sync`.
unsafe impl<T: FileCallback> Sync for Callback<T> {}

impl<T: FileCallback> Callback<T> {
    const OPS: bindings::fcb_ops = bindings::fcb_ops {
        notify: Some(Self::notify),
        send: Some(Self::send),
        pin: Some(Self::pin),
        release: Some(Self::release),
    };

    /// Constructs a new initialiser. `id` is passed to [`FileCallback::release`].
    pub fn new(data: T, id: u32) -> impl PinInit<Self> {
        // INVARIANT: `file` is null.
        pin_init!(Self {
            // SAFETY: `place` is valid for writes.
            fcb <- Opaque::ffi_init(|place: *mut bindings::fcb_struct| unsafe {
                (*place).ops = const { &Self::OPS };
                (*place).file = core::ptr::null_mut();
                (*place).id = id;
            }),
            data,
            _pin: PhantomPinned,
        })
    }

    /// Asks to be called back for `events` of `file`.
    ///
    /// Afterwards the caller should call [`poll_now`]: for the state at this moment, and because
    /// many a producer only tells of the end of a condition that somebody met. If this returns
    /// `false` it is for the state only.
    ///
    /// Process context, may sleep. Fails with `EPERM` for files that do not tell of their events,
    /// with `EBUSY` if it was added before.
    #[inline(always)]
    pub fn add(self: Pin<&mut Self>, file: &File, events: u32) -> Result<bool> {
        let fcb = self.unused()?;
        // INVARIANT: `file` is set if this succeeds, and only then.
        // SAFETY: `fcb` is valid and stays where it is until it is dropped, which removes it.
        // `ops` and `id` are set.
        match unsafe { bindings::file_notify_addcb(file.as_ptr(), fcb, events) } {
            0 => Ok(true),
            1 => Ok(false),
            err => Err(Error::from_errno(err)),
        }
    }

    /// Asks to be called back for `events` of `file`, which keeps its callbacks in `source`.
    ///
    /// Otherwise like [`add`](Self::add), but only fails with `EBUSY`. Whether there is more to
    /// [`poll_now`] than the state, the caller knows.
    ///
    /// # Safety
    ///
    /// Callbacks for `file` are only ever added with this `source`, which is not dropped before the
    /// file is released.
    pub unsafe fn add_at(
        self: Pin<&mut Self>,
        file: &File,
        source: &Source,
        events: u32,
    ) -> Result {
        let fcb = self.unused()?;
        // INVARIANT: It is on a list, and `file` is set.
        // SAFETY: As in `add`; the list is valid by the safety requirements.
        unsafe { bindings::file_notify_addcb_at(file.as_ptr(), source.head.get(), fcb, events) };
        Ok(())
    }

    /// The C part, if it is not on a list.
    #[inline]
    fn unused(self: Pin<&mut Self>) -> Result<*mut bindings::fcb_struct> {
        if self.file() == 0 {
            Ok(self.fcb.get())
        } else {
            Err(EBUSY)
        }
    }

    /// Changes the events. Returns when no call with another one is running. Process context, may
    /// sleep.
    pub fn modify(&self, events: u32) {
        if self.file() != 0 {
            // SAFETY: By the type invariants the callback is on a list, where it stays: `file` only
            // changes through `&mut`.
            unsafe { bindings::file_notify_modcb(self.fcb.get(), events) };
        }
    }

    /// Removes the callback from the list, if it is on one. Returns when it is not running, and it
    /// will not be called again. Process context, may sleep.
    #[inline]
    pub fn remove(self: Pin<&mut Self>) {
        if self.file() != 0 {
            let fcb = self.fcb.get();
            // INVARIANT: It is not on a list any more.
            // SAFETY: By the type invariants, the callback is on a list; `&mut` means that nobody
            // else adds or removes it.
            unsafe {
                bindings::file_notify_delcb(fcb);
                (*fcb).file = core::ptr::null_mut();
            }
        }
    }

    /// The address of the file that the callback was added for, 0 if it is on no list.
    #[inline]
    pub fn file(&self) -> usize {
        // SAFETY: `file` only changes through `&mut`.
        unsafe { (*self.fcb.get()).file as usize }
    }

    /// The `id` that it was made with.
    #[inline]
    pub fn id(&self) -> u32 {
        // SAFETY: `id` does not change.
        unsafe { (*self.fcb.get()).id }
    }

    /// # Safety
    ///
    /// `fcb` is part of a `Callback<T>` that is on a list, and a lock is held that whoever removes
    /// it has to take.
    unsafe fn from_fcb<'a>(fcb: *mut bindings::fcb_struct) -> &'a Self {
        const { assert!(offset_of!(Self, fcb) == 0) };
        // SAFETY: `fcb` is the first field; dropping the callback removes it, which takes the lock.
        unsafe { &*fcb.cast::<Self>() }
    }

    /// # Safety
    ///
    /// Only called by the list, with it locked and interrupts off, with the `fcb` of a
    /// `Callback<T>` that is on it.
    unsafe extern "C" fn notify(
        fcb: *mut bindings::fcb_struct,
        events: bindings::__poll_t,
        hint: bindings::__poll_t,
    ) {
        // SAFETY: The list's lock is held, with interrupts off.
        unsafe { T::notify(Self::from_fcb(fcb), events, hint) }
    }

    /// # Safety
    ///
    /// Only called by the list, with the mutex of its pipe held and interrupts on, with the `fcb`
    /// of a `Callback<T>` that is on it.
    unsafe extern "C" fn send(fcb: *mut bindings::fcb_struct, events: bindings::__poll_t) {
        // SAFETY: Who removes a callback from the list of a pipe takes its mutex. Interrupts are
        // on.
        unsafe { T::send(Self::from_fcb(fcb), events) }
    }

    /// # Safety
    ///
    /// Only called by the list, with it locked, with the `fcb` of a `Callback<T>` that is on it.
    unsafe extern "C" fn pin(fcb: *mut bindings::fcb_struct) -> *mut c_void {
        // SAFETY: The list's lock is held.
        Arc::into_raw(unsafe { Self::from_fcb(fcb) }.data.pin())
            .cast_mut()
            .cast()
    }

    /// # Safety
    ///
    /// Only called by the list, with what [`pin`](Self::pin) returned, once.
    unsafe extern "C" fn release(owner: *mut c_void, file: *mut bindings::file, id: u32) {
        // SAFETY: `owner` is what `pin` returned, and is released once.
        let owner = unsafe { Arc::from_raw(owner.cast::<T::Owner>()) };
        T::release(owner, file as usize, id);
    }
}

impl<T: FileCallback> Deref for Callback<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.data
    }
}

#[pinned_drop]
impl<T: FileCallback> PinnedDrop for Callback<T> {
    fn drop(self: Pin<&mut Self>) {
        self.remove();
    }
}

/// The callbacks of a file of one's own kind, for [`Callback::add_at`].
///
/// # Invariants
///
/// An initialised list. When it is dropped, there is no callback on it.
#[pin_data]
pub struct Source {
    #[pin]
    head: Opaque<bindings::fcb_head>,
}

// SAFETY: The list has a lock of its own, and is empty when it is moved.
unsafe impl Send for Source {}
// SAFETY: As above.
unsafe impl Sync for Source {}

impl Source {
    /// Constructs a new initialiser, without callbacks.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: The list is initialised here. Callbacks are removed before their file is
        // released, which is before this is dropped, by the safety requirements of `add_at`.
        pin_init!(Self {
            // SAFETY: `place` is valid for writes.
            head <- Opaque::ffi_init(|place| unsafe { bindings::file_notify_head_init(place) }),
        })
    }

    /// Whether anybody has ever asked to be called back.
    ///
    /// The caller orders this after the change that it will tell of, and against the look at the
    /// file that follows [`Callback::add_at`].
    #[inline]
    pub fn is_watched(&self) -> bool {
        // SAFETY: The list is valid. The flag may be set at this moment.
        unsafe { (&raw const (*self.head.get()).watched).read_volatile() }
    }

    /// Tells that exactly `events` happened, if it is [watched](Self::is_watched). Process context,
    /// with interrupts on.
    pub fn notify(&self, events: u32) {
        if self.is_watched() {
            // SAFETY: By the invariants the list is valid.
            unsafe { bindings::file_send_notify(self.head.get(), events) };
        }
    }

    /// The same from within [`FileCallback::notify`] of `below`, whose list is therefore locked.
    ///
    /// # Safety
    ///
    /// Called from there, and following callbacks from this source never leads back to a list that
    /// is locked.
    pub unsafe fn notify_nested<T: FileCallback>(&self, below: &Callback<T>, events: u32) {
        if self.is_watched() {
            // SAFETY: By the invariants the list is valid; the rest is the safety requirements.
            unsafe { bindings::file_notify_nested(self.head.get(), below.fcb.get(), events) };
        }
    }
}

/// Calls `->poll()` of `file`, without waiting, as somebody who is interested in `events`.
///
/// Process context, may sleep.
#[inline]
pub fn poll_now(file: &File, events: u32) -> u32 {
    let mut table = bindings::poll_table_struct {
        _qproc: None,
        _key: events,
    };
    // SAFETY: The file and the table are valid for the duration of the call.
    unsafe { bindings::vfs_poll(file.as_ptr(), &mut table) }
}

/// Keeps the hooks switched on that callbacks are called from.
///
/// Has to exist while there are callbacks. Switching on may sleep.
pub struct HooksEnabled(PhantomData<()>);

impl HooksEnabled {
    /// Switches the hooks on, on all CPUs. Process context, may sleep.
    #[expect(clippy::new_without_default)]
    pub fn new() -> Self {
        // SAFETY: May be called in process context.
        unsafe { bindings::file_notify_get() };
        Self(PhantomData)
    }
}

impl Drop for HooksEnabled {
    fn drop(&mut self) {
        // SAFETY: Pairs with `file_notify_get` in `new`.
        unsafe { bindings::file_notify_put() };
    }
}
