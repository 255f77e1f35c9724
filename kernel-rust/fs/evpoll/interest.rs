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

/// What [`Table::probe`] has seen.
pub(crate) struct Probe<P> {
    /// The element, if it is there.
    pub(crate) found: Option<P>,
    /// If it is not: the elements of the same descriptor number, whatever their files.
    pub(crate) files: usize,
    /// Where it is or would be.
    place: usize,
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
    /// There are no more elements than this.
    limit: usize,
    /// 64 less the number of bits of a place.
    shift: u32,
    seed: u64,
    _element: PhantomData<P>,
}

impl<P: Keyed, S: AsRef<[Option<P>]> + AsMut<[Option<P>]>> Table<P, S> {
    /// Creates a table whose places are all free. `seed` is a secret: whoever knows it can choose
    /// descriptors that all want the same place.
    pub(crate) fn new(places: S, seed: u64) -> Self {
        Self {
            shift: Self::shift_of(&places),
            limit: Self::limit_of(places.as_ref().len()),
            places,
            len: 0,
            seed,
            _element: PhantomData,
        }
    }

    /// The number of elements.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there have to be more places before the next insertion.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// The number of places that the table wants for `elements` elements, or for one more than it
    /// has.
    pub(crate) fn wants(&self, elements: usize) -> usize {
        let mut places = self.places.as_ref().len().max(8);
        while Self::limit_of(places) < elements || Self::limit_of(places) <= self.len {
            places = places.saturating_mul(2);
        }
        places
    }

    /// How many of so many places may be taken.
    fn limit_of(places: usize) -> usize {
        places - places / 4
    }

    /// Moves all elements to `places`, of which there must be as many as the table
    /// [wants](Self::wants), all free. Returns the old ones.
    pub(crate) fn replace(&mut self, places: S) -> S {
        self.shift = Self::shift_of(&places);
        self.limit = Self::limit_of(places.as_ref().len());
        let old = core::mem::replace(&mut self.places, places);
        for element in old.as_ref().iter().flatten() {
            self.place(*element);
        }
        old
    }

    /// Finds an element.
    pub(crate) fn find(&self, key: Key) -> Option<P> {
        self.probe(key).found
    }

    /// Looks for an element, and for where it would be.
    #[inline]
    pub(crate) fn probe(&self, key: Key) -> Probe<P> {
        let mut probe = Probe {
            found: None,
            files: 0,
            place: self.home(key.fd),
        };
        while let Some(element) = self.at(probe.place) {
            let there = element.key();
            if there == key {
                probe.found = Some(element);
                break;
            }
            if there.fd == key.fd {
                probe.files = probe.files.wrapping_add(1);
            }
            probe.place = self.next(probe.place);
        }
        probe
    }

    /// Finds an element of the descriptor number `fd`, whatever its file, for which `f` holds.
    pub(crate) fn find_fd(&self, fd: i32, mut f: impl FnMut(P) -> bool) -> Option<P> {
        let mut index = self.home(fd);
        while let Some(element) = self.at(index) {
            if element.key().fd == fd && f(element) {
                return Some(element);
            }
            index = self.next(index);
        }
        None
    }

    /// Inserts an element whose key was not [found](Probe::found), into a table that is not
    /// [full](Self::is_full) and is still as it was probed.
    #[inline]
    pub(crate) fn insert(&mut self, probe: &Probe<P>, element: P) {
        self.set(probe.place, Some(element));
        self.len = self.len.wrapping_add(1);
    }

    /// Removes an element.
    #[inline]
    pub(crate) fn remove(&mut self, key: Key) -> Option<P> {
        let Probe {
            found: Some(found),
            place: mut hole,
            ..
        } = self.probe(key)
        else {
            return None;
        };

        // Close the gap: move up what would not be found across it.
        let mut index = self.next(hole);
        while let Some(element) = self.at(index) {
            let home = self.home(element.key().fd);
            if self.distance(home, index) >= self.distance(hole, index) {
                self.set(hole, Some(element));
                hole = index;
            }
            index = self.next(index);
        }
        self.set(hole, None);
        self.len = self.len.wrapping_sub(1);
        Some(found)
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

    #[inline]
    fn mask(&self) -> usize {
        self.places.as_ref().len().wrapping_sub(1)
    }

    fn shift_of(places: &S) -> u32 {
        // Without places, nothing is looked for in any.
        64 - places.as_ref().len().checked_ilog2().unwrap_or(1)
    }

    /// Where an element of `fd` belongs: the upper bits of what is the finaliser of MurmurHash3
    /// (Appleby, public domain), but for its first and last step. Those only mix bits of the seed
    /// with each other, and into the lower ones.
    #[inline]
    fn home(&self, fd: i32) -> usize {
        let mut hash = (u64::from(fd as u32) ^ self.seed).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash.wrapping_shr(self.shift) as usize
    }

    #[inline]
    fn next(&self, index: usize) -> usize {
        index.wrapping_add(1) & self.mask()
    }

    #[inline]
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & self.mask()
    }

    #[inline]
    fn at(&self, index: usize) -> Option<P> {
        self.places.as_ref().get(index).copied().flatten()
    }

    #[inline]
    fn set(&mut self, index: usize, element: Option<P>) {
        if let Some(place) = self.places.as_mut().get_mut(index) {
            *place = element;
        }
    }

    fn place(&mut self, element: P) {
        let mut index = self.home(element.key().fd);
        while self.at(index).is_some() {
            index = self.next(index);
        }
        self.set(index, Some(element));
    }
}
