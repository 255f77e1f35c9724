// SPDX-License-Identifier: GPL-2.0

//! Memory for many objects of one size that are allocated and freed often: pages of slots.
//!
//! An object of its own from the slab costs hundreds of instructions and eight more bytes if it is
//! charged to a memory cgroup, and closing a queue would give back each by itself. Here, only pages
//! are charged. A page goes back when nothing on it is in use, but for one, so that a program which
//! adds and removes the same watch again and again needs none.
//!
//! Pure: the pages come from elsewhere ([`Pages`]). The caller serialises all calls.

use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// Where pages come from.
///
/// # Safety
///
/// What `alloc` returns is memory of `SIZE` bytes that nobody else uses until it is freed, at a
/// multiple of `SIZE`, which is a power of two.
pub(crate) unsafe trait Pages {
    /// The size of a page.
    const SIZE: usize;

    /// Allocates a page.
    fn alloc() -> Option<NonNull<u8>>;

    /// Frees a page.
    ///
    /// # Safety
    ///
    /// It was allocated by `alloc`, and is not used any more.
    unsafe fn free(page: NonNull<u8>);
}

/// A slot that is not in use.
struct Free {
    next: Option<NonNull<Free>>,
}

/// The beginning of a page.
struct Header {
    /// Slots that were in use before.
    free: Option<NonNull<Free>>,
    /// Slots that are in use.
    used: u32,
    /// Slots from this one on have never been in use.
    fresh: u32,
    prev: Option<NonNull<Header>>,
    next: Option<NonNull<Header>>,
}

/// Slots for objects of type `T`.
///
/// # Invariants
///
/// - The list that begins with `partial`, doubly linked, has all pages with a slot that is not in
///   use, each initialised and owned by the pool; pages without one are owned by their slots.
/// - Of the slots of a page before `fresh`, `used` are in use, and the others are in `free`, once.
pub(crate) struct Pool<T, P: Pages> {
    partial: Option<NonNull<Header>>,
    _objects: PhantomData<fn() -> (T, P)>,
}

// SAFETY: The pool owns its pages. Of what is in the slots it knows nothing.
unsafe impl<T, P: Pages> Send for Pool<T, P> {}

impl<T, P: Pages> Pool<T, P> {
    const SLOT: usize = {
        assert!(size_of::<T>() >= size_of::<Free>() && align_of::<T>() >= align_of::<Free>());
        size_of::<T>()
    };

    /// Where the slots begin: at a multiple of their size, so that those of the size of a cache
    /// line are cache lines.
    const FIRST: usize = size_of::<Header>().next_multiple_of(Self::SLOT);

    /// The number of slots on a page.
    pub(crate) const SLOTS: u32 = {
        assert!(P::SIZE.is_power_of_two() && Self::FIRST + Self::SLOT <= P::SIZE);
        ((P::SIZE - Self::FIRST) / Self::SLOT) as u32
    };

    /// Creates one that has no pages.
    pub(crate) const fn new() -> Self {
        // INVARIANT: The list is empty.
        Self {
            partial: None,
            _objects: PhantomData,
        }
    }

    /// A page with a slot that is not in use, as the first of the list.
    #[cold]
    #[inline(never)]
    fn new_page(&mut self) -> Option<NonNull<Header>> {
        let page = P::alloc()?.cast::<Header>();
        // SAFETY: The page is memory that nobody else uses.
        unsafe {
            page.write(Header {
                free: None,
                used: 0,
                fresh: 0,
                prev: None,
                next: None,
            });
        }
        // SAFETY: It is initialised, and on no list.
        unsafe { self.link(page) };
        Some(page)
    }

    /// Takes a slot. What it holds is not initialised; `None` if there is no memory.
    #[inline(always)]
    pub(crate) fn take(&mut self) -> Option<NonNull<T>> {
        let mut page = match self.partial {
            Some(page) => page,
            None => self.new_page()?,
        };
        // SAFETY: By the type invariants the page is initialised, and is used by nobody else.
        let header = unsafe { page.as_mut() };
        let slot = match header.free {
            Some(free) => {
                // SAFETY: By the type invariants this slot is not in use.
                header.free = unsafe { free.as_ref() }.next;
                free.cast()
            }
            None => {
                let before = (header.fresh as usize).wrapping_mul(Self::SLOT);
                let offset = Self::FIRST.wrapping_add(before);
                header.fresh = header.fresh.wrapping_add(1);
                // SAFETY: There is a slot that is not in use, and none of them was in use before,
                // so it is on the page.
                unsafe { page.cast::<u8>().add(offset) }.cast()
            }
        };
        header.used = header.used.wrapping_add(1);
        if header.used == Self::SLOTS {
            // SAFETY: It is the first one of the list.
            unsafe { self.unlink(page) };
        }
        Some(slot)
    }

    /// Gives a slot back.
    ///
    /// # Safety
    ///
    /// It was taken from this pool, and is not used any more.
    #[inline]
    pub(crate) unsafe fn give(&mut self, slot: NonNull<T>) {
        let offset = slot.as_ptr() as usize & (P::SIZE - 1);
        // SAFETY: The slot is on a page, which begins at a multiple of its size.
        let mut page = unsafe { slot.cast::<u8>().sub(offset) }.cast::<Header>();
        let free = slot.cast::<Free>();
        // SAFETY: As in `take`: the page is one of this pool, by the safety requirements.
        let header = unsafe { page.as_mut() };
        // SAFETY: Nobody uses the slot.
        unsafe { free.write(Free { next: header.free }) };
        header.free = Some(free);
        header.used = header.used.wrapping_sub(1);
        if header.used == Self::SLOTS - 1 {
            // SAFETY: All its slots were in use, so it is on no list.
            unsafe { self.link(page) };
        } else if header.used == 0 && (header.prev.is_some() || header.next.is_some()) {
            // SAFETY: It is on the list, as it had slots that were not in use.
            unsafe { self.unlink(page) };
            // SAFETY: Nothing on it is in use, and it is not on the list any more.
            unsafe { P::free(page.cast()) };
        }
    }

    /// # Safety
    ///
    /// The page belongs to the pool, is initialised and on no list.
    #[inline(never)]
    unsafe fn link(&mut self, mut page: NonNull<Header>) {
        // SAFETY: By the safety requirements, and the type invariants for the one on the list.
        unsafe {
            page.as_mut().prev = None;
            page.as_mut().next = self.partial;
            if let Some(mut next) = self.partial {
                next.as_mut().prev = Some(page);
            }
        }
        self.partial = Some(page);
    }

    /// # Safety
    ///
    /// The page is on the list.
    #[inline(never)]
    unsafe fn unlink(&mut self, mut page: NonNull<Header>) {
        // SAFETY: By the safety requirements, and the type invariants for its neighbours.
        unsafe {
            let Header { prev, next, .. } = *page.as_ref();
            match prev {
                Some(mut prev) => prev.as_mut().next = next,
                None => self.partial = next,
            }
            if let Some(mut next) = next {
                next.as_mut().prev = prev;
            }
            page.as_mut().prev = None;
            page.as_mut().next = None;
        }
    }
}

impl<T, P: Pages> Drop for Pool<T, P> {
    /// Slots that are in use are not looked for: their pages stay allocated.
    fn drop(&mut self) {
        while let Some(page) = self.partial {
            // SAFETY: It is the first one of the list.
            let used = unsafe {
                self.unlink(page);
                page.as_ref().used
            };
            if used == 0 {
                // SAFETY: Nothing on it is in use, and it is not on the list any more.
                unsafe { P::free(page.cast()) };
            }
        }
    }
}
