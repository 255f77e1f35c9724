// SPDX-License-Identifier: GPL-2.0

//! The double buffer: which entry of which half belongs to whom.
//!
//! Producers fill one half while user space reads the other. A wait hands out the half that was
//! being filled and turns the other one over to the producers, so that its cost does not depend on
//! the number of events.
//!
//! This is a pure state machine: no kernel calls, no allocation, no panics. The caller serialises
//! all calls (with the queue's lock), owns the memory of the entries ([`Storage`]) and keeps a
//! [`Slot`] for each watch.
//!
//! An event that is taken back before it is handed out (its watch was removed, or is not
//! interested any more) leaves a hole, so that the others keep their place. Holes are squeezed out
//! when the half is handed out, or earlier if they take up too much room: see
//! [`DoubleBuffer::squeeze`].
//!
//! # Invariants
//!
//! - A watch has at most one entry in the half that is being filled: the one that its slot names,
//!   if the slot has the buffer's current `seq`.
//! - Of the `used` entries of that half `holes` are holes, and every other belongs to a watch. If
//!   there would be only holes, there are no entries at all.

/// The most holes that are dropped at a time when an event is taken back.
const TRIM_STEP: u32 = 16;

/// An element of the array that user space reads: `struct pollfd`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The descriptor; negative in a hole, which poll(2) ignores, too.
    pub(crate) fd: i32,
    /// The events that were asked for, as they were asked for.
    pub(crate) events: u16,
    /// The events that happened.
    pub(crate) revents: u16,
}

impl Entry {
    pub(crate) const HOLE: Entry = Entry {
        fd: -1,
        events: 0,
        revents: 0,
    };

    fn is_hole(&self) -> bool {
        self.fd < 0
    }
}

/// Memory for the entries.
///
/// Both halves have room for as many entries as there are watches and holes together: see
/// [`DoubleBuffer::room`].
pub(crate) trait Storage {
    /// Reads an entry.
    fn load(&self, half: usize, index: u32) -> Entry;

    /// Writes an entry.
    fn store(&mut self, half: usize, index: u32, entry: Entry);

    /// Adds to the events of an entry.
    fn add(&mut self, half: usize, index: u32, revents: u16);
}

/// What a watch asks for, and remembers of its entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// 0: it has not had an entry, or that was taken back.
    seq: u64,
    index: u32,
    events: u16,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posted {
    /// It is the only one: whoever waits is to be woken.
    First,
    /// There are others before it.
    Queued,
    /// The watch had an event pending, which it was added to.
    Coalesced,
}

/// A half that was handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HandOut {
    /// Which one.
    pub(crate) half: usize,
    /// The number of its entries, holes included.
    pub(crate) used: u32,
    /// The number of its holes.
    pub(crate) holes: u32,
}

/// The double buffer of a queue. See the [module](self).
#[derive(Debug)]
pub(crate) struct DoubleBuffer {
    /// Number of the current filling, so that a flip need not visit the slots. Never 0.
    seq: u64,
    used: u32,
    holes: u32,
    filling: usize,
    /// How far [`squeeze`](Self::squeeze) has come: it has looked at the entries before
    /// `squeezed_from`, and moved those that are not holes to before `squeezed_to`.
    squeezed_from: u32,
    squeezed_to: u32,
}

impl DoubleBuffer {
    /// Creates an empty buffer.
    pub(crate) const fn new() -> Self {
        Self {
            seq: 1,
            used: 0,
            holes: 0,
            filling: 0,
            squeezed_from: 0,
            squeezed_to: 0,
        }
    }

    /// The number of watches that have an event pending.
    #[inline]
    pub(crate) fn pending(&self) -> u32 {
        self.used.wrapping_sub(self.holes)
    }

    /// The number of holes among the events that are pending.
    pub(crate) fn holes(&self) -> u32 {
        self.holes
    }

    /// The half that the next flip hands out.
    #[inline]
    pub(crate) fn filling(&self) -> usize {
        self.filling
    }

    /// Notes that `revents` happened to the watch that owns `slot`.
    #[inline]
    pub(crate) fn post<S: Storage>(
        &mut self,
        storage: &mut S,
        slot: &mut Slot,
        fd: i32,
        revents: u16,
    ) -> Posted {
        if slot.seq == self.seq {
            storage.add(self.filling, slot.index, revents);
            return Posted::Coalesced;
        }

        let index = self.used;
        slot.seq = self.seq;
        slot.index = index;
        storage.store(
            self.filling,
            index,
            Entry {
                fd,
                events: slot.events,
                revents,
            },
        );
        self.used = index.wrapping_add(1);
        // With nothing pending there are no holes either.
        if index == 0 {
            Posted::First
        } else {
            Posted::Queued
        }
    }

    /// Takes back the event, if any, that is pending for the watch that owns `slot`.
    pub(crate) fn revoke<S: Storage>(&mut self, storage: &mut S, slot: &mut Slot) {
        if slot.seq != self.seq {
            return;
        }
        slot.seq = 0;
        storage.store(self.filling, slot.index, Entry::HOLE);
        self.holes = self.holes.wrapping_add(1);
        self.trim(storage);
    }

    /// Drops the holes at the end: all, if there is nothing else, or a few.
    fn trim<S: Storage>(&mut self, storage: &S) {
        if self.used == self.holes {
            self.used = 0;
            self.holes = 0;
        }
        for _ in 0..TRIM_STEP {
            let Some(last) = self.used.checked_sub(1) else {
                break;
            };
            if !storage.load(self.filling, last).is_hole() {
                break;
            }
            self.used = last;
            self.holes = self.holes.wrapping_sub(1);
        }
        // What is appended now, squeeze() has not seen.
        if self.used < self.squeezed_from {
            self.squeezed_from = 0;
            self.squeezed_to = 0;
        }
    }

    /// The watch that owns `slot` now asks for `events`, and gets what is in `mask`: takes back
    /// what is not. Returns whether there is an event of it left.
    pub(crate) fn narrow<S: Storage>(
        &mut self,
        storage: &mut S,
        slot: &mut Slot,
        events: u16,
        mask: u16,
    ) -> bool {
        slot.events = events;
        if slot.seq != self.seq {
            return false;
        }
        let mut entry = storage.load(self.filling, slot.index);
        entry.events = events;
        entry.revents &= mask;
        if entry.revents == 0 {
            self.revoke(storage, slot);
            return false;
        }
        storage.store(self.filling, slot.index, entry);
        true
    }

    /// Hands out what is pending and starts filling the other half.
    #[inline]
    pub(crate) fn flip(&mut self) -> HandOut {
        let out = HandOut {
            half: self.filling,
            used: self.used,
            holes: self.holes,
        };
        self.filling ^= 1;
        self.used = 0;
        self.holes = 0;
        self.squeezed_from = 0;
        self.squeezed_to = 0;
        self.seq = self.seq.wrapping_add(1);
        out
    }

    /// The number of further watches or holes that `capacity` entries are enough for, beside
    /// `watches` watches and the holes that there are.
    pub(crate) fn room(&self, watches: u32, capacity: u32) -> u32 {
        capacity.saturating_sub(watches.saturating_add(self.holes))
    }

    /// Squeezes holes out of the half that is being filled, `limit` entries at a time, so that the
    /// caller can let others at the lock in between. Returns whether it is done; if not, it is to
    /// be called again.
    ///
    /// `moved(fd, from, to)` is called for each entry that moves: it has the watch of `fd` whose
    /// slot [is at](Slot::is_at) `from` [relocate](Slot::relocate) it to `to`.
    pub(crate) fn squeeze<S: Storage>(
        &mut self,
        storage: &mut S,
        limit: u32,
        mut moved: impl FnMut(&DoubleBuffer, i32, u32, u32),
    ) -> bool {
        let end = self.used.min(self.squeezed_from.saturating_add(limit));
        while self.squeezed_from < end {
            let (from, to) = (self.squeezed_from, self.squeezed_to);
            let entry = storage.load(self.filling, from);
            if !entry.is_hole() {
                if to != from {
                    storage.store(self.filling, to, entry);
                    storage.store(self.filling, from, Entry::HOLE);
                    moved(self, entry.fd, from, to);
                }
                self.squeezed_to = to.wrapping_add(1);
            }
            self.squeezed_from = from.wrapping_add(1);
        }
        if self.squeezed_from < self.used {
            return false;
        }
        // There may be new holes among what was moved.
        let squeezed = self.used.wrapping_sub(self.squeezed_to);
        self.holes = self.holes.wrapping_sub(squeezed);
        self.used = self.squeezed_to;
        self.squeezed_from = 0;
        self.squeezed_to = 0;
        self.trim(storage);
        true
    }
}

impl Slot {
    /// Creates that of a watch that asks for `events`, and has had none.
    pub(crate) const fn new(events: u16) -> Self {
        Self {
            seq: 0,
            index: 0,
            events,
        }
    }

    /// The events that are asked for, as they were asked for.
    pub(crate) fn events(&self) -> u16 {
        self.events
    }

    /// Whether there is certainly no event pending, in any buffer.
    pub(crate) fn is_idle(&self) -> bool {
        self.seq == 0
    }

    /// Whether the slot names entry `index` of the half that `buffer` is filling.
    pub(crate) fn is_at(&self, buffer: &DoubleBuffer, index: u32) -> bool {
        self.seq == buffer.seq && self.index == index
    }

    /// Follows an entry that [`DoubleBuffer::squeeze`] moved.
    pub(crate) fn relocate(&mut self, index: u32) {
        self.index = index;
    }
}

/// Squeezes the holes out of a half that was handed out.
///
/// Nobody else may use this half meanwhile: no producer does, but the next flip would turn it over
/// to them.
#[derive(Debug)]
pub(crate) struct SqueezeOut {
    out: HandOut,
    from: u32,
    to: u32,
}

impl SqueezeOut {
    /// Begins.
    pub(crate) fn new(out: HandOut) -> Self {
        Self {
            out,
            from: 0,
            to: 0,
        }
    }

    /// Looks at `limit` more entries. Returns the number of those left when it is done.
    pub(crate) fn go_on<S: Storage>(&mut self, storage: &mut S, limit: u32) -> Option<u32> {
        let end = self.out.used.min(self.from.saturating_add(limit));
        while self.from < end {
            let entry = storage.load(self.out.half, self.from);
            if !entry.is_hole() {
                if self.to != self.from {
                    storage.store(self.out.half, self.to, entry);
                }
                self.to = self.to.wrapping_add(1);
            }
            self.from = self.from.wrapping_add(1);
        }
        (self.from == self.out.used).then_some(self.to)
    }
}
