// SPDX-License-Identifier: GPL-2.0
//! The pool against a list of what is in use. Every slot is written all over, and read again when
//! it is given back, so that two that overlap are found; pages are counted.

use crate::pool::{Pages, Pool};
use crate::random::ten_million;
use std::alloc::{alloc, dealloc, Layout};
use std::cell::Cell;
use std::ptr::NonNull;

/// As large as a watch.
type Object = [u64; 8];

thread_local! {
    static PAGES: Cell<usize> = const { Cell::new(0) };
    /// So many allocations succeed, then none.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Pages of `SIZE` bytes, of the host's allocator.
struct HostPages<const SIZE: usize>;

impl<const SIZE: usize> HostPages<SIZE> {
    const LAYOUT: Layout = match Layout::from_size_align(SIZE, SIZE) {
        Ok(layout) => layout,
        Err(_) => panic!(),
    };
}

// SAFETY: The memory is of that size and alignment.
unsafe impl<const N: usize> Pages for HostPages<N> {
    const SIZE: usize = N;

    fn alloc() -> Option<NonNull<u8>> {
        LEFT.set(LEFT.get().checked_sub(1)?);
        // SAFETY: The size is not 0.
        let page = NonNull::new(unsafe { alloc(Self::LAYOUT) })?;
        PAGES.set(PAGES.get() + 1);
        Some(page)
    }

    unsafe fn free(page: NonNull<u8>) {
        PAGES.set(PAGES.get() - 1);
        // SAFETY: By the safety requirements.
        unsafe { dealloc(page.as_ptr(), Self::LAYOUT) };
    }
}

/// The pool, and what is in use of it: the slot, and what is written all over it.
struct Pair<const SIZE: usize> {
    pool: Pool<Object, HostPages<SIZE>>,
    used: Vec<(NonNull<Object>, u64)>,
    stamp: u64,
}

impl<const SIZE: usize> Pair<SIZE> {
    const SLOTS: usize = Pool::<Object, HostPages<SIZE>>::SLOTS as usize;

    fn new() -> Self {
        Self {
            pool: Pool::new(),
            used: Vec::new(),
            stamp: 0,
        }
    }

    fn take(&mut self) -> bool {
        let Some(slot) = self.pool.take() else {
            return false;
        };
        assert_eq!(slot.as_ptr() as usize % size_of::<Object>(), 0);
        self.stamp += 1;
        // SAFETY: It is a slot that was taken.
        unsafe { slot.write([self.stamp; 8]) };
        self.used.push((slot, self.stamp));
        true
    }

    fn give(&mut self, index: usize) {
        let (slot, stamp) = self.used.swap_remove(index);
        // SAFETY: It was taken, and is given back once.
        unsafe {
            assert_eq!(slot.read(), [stamp; 8], "somebody else has written to it");
            self.pool.give(slot);
        }
    }
}

impl<const SIZE: usize> Drop for Pair<SIZE> {
    fn drop(&mut self) {
        while !self.used.is_empty() {
            self.give(0);
        }
    }
}

/// A slot of each page is its head's.
#[test]
fn a_page_has_room_for_all_but_one() {
    assert_eq!(Pair::<4096>::SLOTS, 63);
    assert_eq!(Pair::<512>::SLOTS, 7);
}

#[test]
fn ten_million_operations() {
    {
        let mut pair = Pair::<512>::new();
        let mut most = 0;
        let mut done = 0u32;
        ten_million(|random| {
            done += 1;
            // It grows and shrinks by turns.
            let takes = if (done >> 14).is_multiple_of(2) { 6 } else { 3 };
            if random.below(9) < takes {
                assert!(pair.take());
            } else if !pair.used.is_empty() {
                pair.give(random.below(pair.used.len()));
            }
            most = most.max(pair.used.len());
            // Pages with nothing on them are given back, but for one.
            assert!(PAGES.get() >= pair.used.len().div_ceil(Pair::<512>::SLOTS));
            assert!(PAGES.get() <= pair.used.len() + 1);
        });
        // It did happen.
        assert!(most > 1000, "{most}");
    }
    assert_eq!(PAGES.get(), 0, "pages are left");
}

/// One page is kept, so that nothing is allocated again and again.
#[test]
fn one_by_turns_needs_one_page() {
    let mut pair = Pair::<4096>::new();
    assert!(pair.take());
    LEFT.set(0);
    for _ in 0..1000 {
        pair.give(0);
        assert!(pair.take());
    }
    // The page is full; there is no other one.
    while pair.used.len() < Pair::<4096>::SLOTS {
        assert!(pair.take());
    }
    assert!(!pair.take());
    assert_eq!(PAGES.get(), 1);
    pair.give(7);
    assert!(pair.take());
    LEFT.set(usize::MAX);
}

/// All pages are given back when all slots are.
#[test]
fn as_many_pages_as_it_takes() {
    let mut pair = Pair::<4096>::new();
    for _ in 0..100 * Pair::<4096>::SLOTS {
        assert!(pair.take());
    }
    assert_eq!(PAGES.get(), 100);
    while pair.used.len() > 1 {
        pair.give(0);
    }
    assert!(PAGES.get() <= 2, "{}", PAGES.get());
    drop(pair);
    assert_eq!(PAGES.get(), 0);
}
