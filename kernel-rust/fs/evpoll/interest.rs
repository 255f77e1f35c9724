// SPDX-License-Identifier: GPL-2.0

//! The interest table: which watch belongs to a descriptor.
//!
//! A hash table with linear probing, keyed like epoll's by descriptor number and file: a number
//! that was closed and reused, while a duplicate of the old descriptor keeps its watch alive, is
//! another key.
//!
//! Pure: no kernel calls, no panics with as many watches as a queue may have, and the caller
//! allocates ([`Table::wants`], [`Table::replace`]). The caller serialises all calls.

use core::marker::PhantomData;

/// What a watch is found by: the descriptor's number and its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The descriptor's number when it was added.
    pub(crate) fd: i32,
    /// The address of the file. Only compared.
    pub(crate) file: usize,
}

/// What is stored: a handle of a watch.
pub(crate) trait Keyed: Copy {
    /// The watch's key.
    fn key(&self) -> Key;
}

/// The table. `S` is a slice of places, as many as a power of two, or none.
///
/// # Invariants
///
/// - At most three quarters of the places are taken.
/// - From the place that an element's hash names on, up to the place where it is, none is free.
#[derive(Debug)]
pub(crate) struct Table<P, S> {
    places: S,
    len: usize,
    seed: u64,
    _element: PhantomData<P>,
}

impl<P: Keyed, S: AsRef<[Option<P>]> + AsMut<[Option<P>]>> Table<P, S> {
    /// Creates a table whose places are all free. `seed` is a secret: whoever knows it can choose
    /// descriptors that all want the same place.
    pub(crate) fn new(places: S, seed: u64) -> Self {
        Self {
            places,
            len: 0,
            seed,
            _element: PhantomData,
        }
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The number of places that the table wants before the next insertion, if it has too few.
    pub(crate) fn wants(&self) -> Option<usize> {
        let places = self.places.as_ref().len();
        if self.len < places - places / 4 {
            None
        } else {
            Some(if places == 0 {
                8
            } else {
                places.saturating_mul(2)
            })
        }
    }

    /// Moves all elements to `places`, of which there must be as many as the table
    /// [wants](Self::wants), all free. Returns the old ones.
    pub(crate) fn replace(&mut self, places: S) -> S {
        let old = core::mem::replace(&mut self.places, places);
        for element in old.as_ref().iter().flatten() {
            self.place(*element);
        }
        old
    }

    /// Finds an element.
    pub(crate) fn find(&self, key: Key) -> Option<P> {
        let index = self.index_of(key)?;
        self.at(index)
    }

    /// Finds an element of the descriptor number `fd`, whatever its file, for which `f` holds.
    pub(crate) fn find_fd(&self, fd: i32, mut f: impl FnMut(P) -> bool) -> Option<P> {
        let mut index = self.home(fd)?;
        while let Some(element) = self.at(index) {
            if element.key().fd == fd && f(element) {
                return Some(element);
            }
            index = self.next(index);
        }
        None
    }

    /// Counts the elements of the descriptor number `fd`, whatever their files.
    pub(crate) fn count_fd(&self, fd: i32) -> usize {
        let mut count = 0;
        self.find_fd(fd, |_| {
            count += 1;
            false
        });
        count
    }

    /// Inserts an element whose key is not there yet, into a table that
    /// [wants](Self::wants) no more places.
    pub(crate) fn insert(&mut self, element: P) {
        self.place(element);
        self.len += 1;
    }

    /// Removes an element.
    pub(crate) fn remove(&mut self, key: Key) -> Option<P> {
        let mut hole = self.index_of(key)?;
        let found = self.at(hole);

        // Close the gap: move up what would not be found across it.
        let mut index = self.next(hole);
        while let Some(element) = self.at(index) {
            let home = self.home(element.key().fd)?;
            if self.distance(home, index) >= self.distance(hole, index) {
                self.set(hole, Some(element));
                hole = index;
            }
            index = self.next(index);
        }
        self.set(hole, None);
        self.len -= 1;
        found
    }

    /// The first element at or after place `from`, with the place after it. To visit all, start
    /// with 0; elements that are inserted or removed meanwhile may be missed.
    pub(crate) fn next_from(&self, from: usize) -> Option<(P, usize)> {
        let rest = self.places.as_ref().get(from..)?;
        let (offset, element) = rest
            .iter()
            .enumerate()
            .find_map(|(offset, place)| place.map(|element| (offset, element)))?;
        Some((element, from + offset + 1))
    }

    fn mask(&self) -> usize {
        self.places.as_ref().len().wrapping_sub(1)
    }

    /// Where an element of `fd` belongs: the finaliser of MurmurHash3 (Appleby, public domain).
    fn home(&self, fd: i32) -> Option<usize> {
        let bits = self.places.as_ref().len().checked_ilog2()?;
        let mut hash = u64::from(fd as u32) ^ self.seed;
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Some(hash.checked_shr(64 - bits).unwrap_or(0) as usize)
    }

    fn next(&self, index: usize) -> usize {
        index.wrapping_add(1) & self.mask()
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask()
    }

    fn at(&self, index: usize) -> Option<P> {
        self.places.as_ref().get(index).copied().flatten()
    }

    fn set(&mut self, index: usize, element: Option<P>) {
        if let Some(place) = self.places.as_mut().get_mut(index) {
            *place = element;
        }
    }

    fn index_of(&self, key: Key) -> Option<usize> {
        let mut index = self.home(key.fd)?;
        while let Some(element) = self.at(index) {
            if element.key() == key {
                return Some(index);
            }
            index = self.next(index);
        }
        None
    }

    fn place(&mut self, element: P) {
        if let Some(mut index) = self.home(element.key().fd) {
            while self.at(index).is_some() {
                index = self.next(index);
            }
            self.set(index, Some(element));
        }
    }
}
