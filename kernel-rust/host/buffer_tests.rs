// SPDX-License-Identifier: GPL-2.0
//! The double buffer against a list of (watch, events), in order.
//!
//! Everything around it goes by the rules of `Queue`: room is made before a watch is added or
//! changed, and only then; memory grows by the page; nothing is handed out while holes are being
//! squeezed out of what was handed out before.

use crate::buffer::{DoubleBuffer, Entry, Posted, Slot, SqueezeOut, Storage};
use crate::random::{ten_million, Random};
use proptest::prelude::*;
use std::cell::Cell;

/// Entries on a page.
const PAGE: u32 = 4;
/// The most entries that a removal may look at, with interrupts off: those that it drops, and one
/// that it does not.
const TRIMMED: usize = 16 + 1;
/// Events that a watch gets without asking.
const ALWAYS: u16 = 0x18;

/// Two halves of as many entries as there is memory for. Panics when another one is touched.
struct Memory {
    halves: [Vec<Entry>; 2],
    /// Entries that were loaded.
    looks: Cell<usize>,
}

impl Memory {
    fn new() -> Self {
        Self {
            halves: [Vec::new(), Vec::new()],
            looks: Cell::new(0),
        }
    }

    fn capacity(&self) -> u32 {
        self.halves[0].len() as u32
    }

    fn grow(&mut self) {
        let zeroed = Entry {
            fd: 0,
            events: 0,
            revents: 0,
        };
        for half in &mut self.halves {
            half.resize(half.len() + PAGE as usize, zeroed);
        }
    }
}

impl Storage for Memory {
    fn load(&self, half: usize, index: u32) -> Entry {
        self.looks.set(self.looks.get() + 1);
        self.halves[half][index as usize]
    }

    fn store(&mut self, half: usize, index: u32, entry: Entry) {
        self.halves[half][index as usize] = entry;
    }

    fn add(&mut self, half: usize, index: u32, revents: u16) {
        self.halves[half][index as usize].revents |= revents;
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// Nothing, if there is no such watch; so for the other operations.
    Post {
        watch: usize,
        revents: u16,
    },
    /// Nothing, if there is one.
    Add {
        watch: usize,
        events: u16,
    },
    Remove {
        watch: usize,
    },
    Modify {
        watch: usize,
        events: u16,
    },
    /// A step of it, as others get at the lock between two of them.
    Squeeze {
        limit: u32,
    },
    Flip,
    /// A step of squeezing holes out of what was handed out.
    GoOn {
        limit: u32,
    },
}

fn op(watches: usize) -> impl Strategy<Value = Op> {
    let watch = 0..watches;
    let one = watch.clone();
    prop_oneof![
        8 => (watch.clone(), 1u16..32).prop_map(|(watch, revents)| Op::Post { watch, revents }),
        4 => (watch.clone(), 0u16..8).prop_map(|(watch, events)| Op::Add { watch, events }),
        3 => one.prop_map(|watch| Op::Remove { watch }),
        2 => (watch, 0u16..8).prop_map(|(watch, events)| Op::Modify { watch, events }),
        1 => (1u32..5).prop_map(|limit| Op::Squeeze { limit }),
        1 => Just(Op::Flip),
        2 => (1u32..5).prop_map(|limit| Op::GoOn { limit }),
    ]
}

/// The same by another generator. `busy` is how often, out of 32, something is posted or added.
fn random_op(random: &mut Random, watches: usize, busy: usize) -> Op {
    let watch = random.below(watches);
    let events = random.below(8) as u16;
    let limit = 1 + random.below(4) as u32;
    if random.below(32) < busy {
        return if random.once_in(3) {
            Op::Add { watch, events }
        } else {
            let revents = 1 + random.below(31) as u16;
            Op::Post { watch, revents }
        };
    }
    match random.below(10) {
        0..5 => Op::Remove { watch },
        5..7 => Op::Modify { watch, events },
        7 => Op::Squeeze { limit },
        8 if random.once_in(8) => Op::Flip,
        _ => Op::GoOn { limit },
    }
}

/// A watch that there is.
#[derive(Clone, Copy)]
struct Watch {
    slot: Slot,
    events: u16,
}

/// Two watches have the same descriptor number, of different files.
fn fd_of(watch: usize) -> i32 {
    (watch / 2) as i32
}

/// The buffer beside its model.
struct Pair {
    buffer: DoubleBuffer,
    memory: Memory,
    watches: Vec<Option<Watch>>,
    model: Vec<(usize, u16)>,
    /// The half that was handed out last, and what is to be in it.
    handed_out: Option<(usize, Vec<Entry>)>,
    squeezing: Option<SqueezeOut>,
}

impl Pair {
    fn new(watches: usize) -> Self {
        Self {
            buffer: DoubleBuffer::new(),
            memory: Memory::new(),
            watches: vec![None; watches],
            model: Vec::new(),
            handed_out: None,
            squeezing: None,
        }
    }

    /// One in which all watches are there.
    fn full(watches: usize) -> Self {
        let mut pair = Self::new(watches);
        for watch in 0..watches {
            pair.apply(Op::Add { watch, events: 7 });
        }
        pair
    }

    fn squeeze(&mut self, limit: u32) -> bool {
        let watches = &mut self.watches;
        self.memory.looks.set(0);
        let mut moves = 0;
        let done = self
            .buffer
            .squeeze(&mut self.memory, limit, |buffer, fd, from, to| {
                let mut found = 0;
                for watch in 2 * fd as usize..2 * fd as usize + 2 {
                    let slot = watches.get_mut(watch).and_then(Option::as_mut);
                    if let Some(watch) = slot.filter(|watch| watch.slot.is_at(buffer, from)) {
                        watch.slot.relocate(to);
                        found += 1;
                    }
                }
                assert_eq!(found, 1, "the entry of {fd} at {from} is that of one watch");
                assert!(to < from, "entries move to the front");
                moves += 1;
            });
        assert!(moves <= limit);
        assert!(self.memory.looks.get() <= limit as usize + TRIMMED);
        done
    }

    /// What `Queue::make_room` does.
    fn make_room(&mut self) {
        let pages = (self.watches.len() as u32 + 1).div_ceil(PAGE);
        let watches = self.watches.iter().flatten().count() as u32;
        let mut squeezed = 0;
        while self.buffer.room(watches, self.memory.capacity()) == 0 {
            if self.memory.capacity() >= pages * PAGE || self.buffer.holes() >= PAGE {
                while !self.squeeze(3) {}
                // The first may be the end of one that was begun before there were these holes.
                squeezed += 1;
                assert!(squeezed <= 2, "holes are left");
            } else {
                self.memory.grow();
            }
        }
    }

    fn pending(&self, watch: usize) -> bool {
        self.model.iter().any(|(w, _)| *w == watch)
    }

    fn entry(&self, watch: usize, revents: u16) -> Entry {
        Entry {
            fd: fd_of(watch),
            events: self.watches[watch].expect("it is pending").events,
            revents,
        }
    }

    fn post(&mut self, watch: usize, revents: u16) {
        let Some(own) = &mut self.watches[watch] else {
            return;
        };
        self.memory.looks.set(0);
        let posted = self
            .buffer
            .post(&mut self.memory, &mut own.slot, fd_of(watch), revents);
        assert!(self.memory.looks.get() <= 1, "all cost the same");
        let expected = match self.model.iter_mut().find(|(w, _)| *w == watch) {
            Some((_, bits)) => {
                *bits |= revents;
                Posted::Coalesced
            }
            None => {
                self.model.push((watch, revents));
                if self.model.len() == 1 {
                    Posted::First
                } else {
                    Posted::Queued
                }
            }
        };
        assert_eq!(posted, expected);
    }

    fn add(&mut self, watch: usize, events: u16) {
        if self.watches[watch].is_none() {
            self.make_room();
            let slot = Slot::new(events);
            self.watches[watch] = Some(Watch { slot, events });
        }
    }

    fn remove(&mut self, watch: usize) {
        let Some(mut own) = self.watches[watch].take() else {
            return;
        };
        self.memory.looks.set(0);
        self.buffer.revoke(&mut self.memory, &mut own.slot);
        assert!(self.memory.looks.get() <= TRIMMED);
        self.model.retain(|(w, _)| *w != watch);
        // Once more, for nothing.
        self.buffer.revoke(&mut self.memory, &mut own.slot);
    }

    fn modify(&mut self, watch: usize, events: u16) {
        if self.watches[watch].is_none() {
            return;
        }
        self.make_room();
        let mask = events | ALWAYS;
        let left = self.watches[watch].as_mut().map(|own| {
            own.events = events;
            let slot = &mut own.slot;
            let left = self.buffer.narrow(&mut self.memory, slot, events, mask);
            assert_eq!(slot.events(), events);
            left
        });
        for (w, bits) in &mut self.model {
            if *w == watch {
                *bits &= mask;
            }
        }
        self.model.retain(|(_, bits)| *bits != 0);
        assert_eq!(left, Some(self.pending(watch)));
    }

    fn flip(&mut self) {
        if self.squeezing.is_some() {
            return;
        }
        let filling = self.buffer.filling();
        let holes = self.buffer.holes();
        let out = self.buffer.flip();
        assert_eq!((out.half, out.holes), (filling, holes));
        assert_eq!((out.used - out.holes) as usize, self.model.len());
        assert_ne!(self.buffer.filling(), filling, "the halves alternate");
        let entries: Vec<Entry> = self
            .model
            .iter()
            .map(|&(watch, revents)| self.entry(watch, revents))
            .collect();
        self.model.clear();
        self.handed_out = Some((out.half, entries));
        if out.holes != 0 {
            self.squeezing = Some(SqueezeOut::new(out));
        }
    }

    fn go_on(&mut self, limit: u32) {
        let Some(mut work) = self.squeezing.take() else {
            return;
        };
        self.memory.looks.set(0);
        let left = work.go_on(&mut self.memory, limit);
        assert!(self.memory.looks.get() <= limit as usize);
        match left {
            None => self.squeezing = Some(work),
            Some(left) => {
                let handed_out = self.handed_out.as_ref().map(|(_, entries)| entries.len());
                assert_eq!(Some(left as usize), handed_out);
            }
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Post { watch, revents } => self.post(watch, revents),
            Op::Add { watch, events } => self.add(watch, events),
            Op::Remove { watch } => self.remove(watch),
            Op::Modify { watch, events } => self.modify(watch, events),
            Op::Squeeze { limit } => {
                self.squeeze(limit);
            }
            Op::Flip => self.flip(),
            Op::GoOn { limit } => self.go_on(limit),
        }
        self.check();
    }

    /// What holds after each operation.
    fn check(&self) {
        let pending = self.buffer.pending();
        assert_eq!(pending as usize, self.model.len());
        assert!(pending != 0 || self.buffer.holes() == 0, "only holes");

        let used = (pending + self.buffer.holes()) as usize;
        let filling = &self.memory.halves[self.buffer.filling()][..used];
        let mut events = filling.iter().filter(|entry| entry.fd >= 0);
        for &(watch, revents) in &self.model {
            let expected = self.entry(watch, revents);
            assert_eq!(events.next(), Some(&expected), "in order of first event");
        }
        assert_eq!(events.next(), None, "one entry for each watch");

        if let (Some((half, entries)), None) = (&self.handed_out, &self.squeezing) {
            let handed_out = &self.memory.halves[*half][..entries.len()];
            assert_eq!(handed_out, &entries[..], "stays until the next wait");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn does_what_the_model_does(ops in proptest::collection::vec(op(11), 1..200)) {
        let mut pair = Pair::new(11);
        for op in ops {
            pair.apply(op);
        }
        pair.apply(Op::Flip);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// As many that more holes may be at the end than are dropped at once.
    #[test]
    fn does_it_with_many_watches(ops in proptest::collection::vec(op(59), 1..300)) {
        let mut pair = Pair::full(59);
        for op in ops {
            pair.apply(op);
        }
        pair.apply(Op::Flip);
    }
}

/// By turns few watches and many, a crowd and an ebb.
#[test]
fn ten_million_operations() {
    let mut few = Pair::new(7);
    let mut many = Pair::new(59);
    let mut done = 0u32;
    let (mut first, mut coalesced, mut holes, mut trimmed) = (0u64, 0u64, 0u64, 0u64);
    ten_million(|random| {
        let pair = if done.is_multiple_of(2) {
            &mut few
        } else {
            &mut many
        };
        done += 1;
        let busy = if (done >> 10).is_multiple_of(2) {
            26
        } else {
            12
        };
        let op = random_op(random, pair.watches.len(), busy);
        let before = (pair.model.len(), pair.buffer.holes());
        pair.apply(op);
        let after = (pair.model.len(), pair.buffer.holes());
        match op {
            Op::Post { .. } if before.0 == 0 && after.0 == 1 => first += 1,
            Op::Post { .. } if before.0 == after.0 => coalesced += 1,
            Op::Flip if before.1 > 0 => holes += 1,
            Op::Remove { .. } if before.1 >= after.1 + 15 && after.0 > 0 => trimmed += 1,
            _ => {}
        }
    });
    // It did happen.
    let seen = [first, coalesced, holes, trimmed];
    assert!(seen.iter().all(|&times| times > 0), "{seen:?}");
}

/// What is removed while a squeeze is half done, down to what it has moved, and what is posted then.
#[test]
fn remove_below_a_squeeze() {
    let mut pair = Pair::full(6);
    for watch in 0..6 {
        pair.apply(Op::Post { watch, revents: 1 });
    }
    pair.apply(Op::Remove { watch: 0 });
    assert!(!pair.squeeze(3));
    for watch in (1..6).rev() {
        pair.apply(Op::Remove { watch });
    }
    pair.apply(Op::Add {
        watch: 3,
        events: 2,
    });
    pair.apply(Op::Post {
        watch: 3,
        revents: 2,
    });
    while !pair.squeeze(1) {}
    pair.apply(Op::Flip);
}

/// A wait between two steps of a squeeze.
#[test]
fn flip_below_a_squeeze() {
    let mut pair = Pair::full(6);
    for watch in 0..6 {
        pair.apply(Op::Post { watch, revents: 1 });
    }
    pair.apply(Op::Remove { watch: 1 });
    assert!(!pair.squeeze(3));
    pair.apply(Op::Flip);
    pair.apply(Op::Post {
        watch: 5,
        revents: 2,
    });
    while !pair.squeeze(1) {}
    assert_eq!(pair.buffer.holes(), 0);
    while pair.squeezing.is_some() {
        pair.apply(Op::GoOn { limit: 1 });
    }
    pair.apply(Op::Flip);
}

#[test]
fn a_slot_of_an_earlier_filling_is_not_taken_for_this_one() {
    let mut pair = Pair::full(4);
    pair.apply(Op::Post {
        watch: 1,
        revents: 1,
    });
    for _ in 0..4 {
        pair.apply(Op::Flip);
    }
    pair.apply(Op::Post {
        watch: 2,
        revents: 1,
    });
    pair.apply(Op::Modify {
        watch: 1,
        events: 0,
    });
    pair.apply(Op::Remove { watch: 1 });
    pair.apply(Op::Flip);
}
