// SPDX-License-Identifier: GPL-2.0
//! The double buffer against a list of (watch, events), in order.

use crate::buffer::{DoubleBuffer, Entry, Posted, Slot, SqueezeOut, Storage};
use proptest::prelude::*;

const WATCHES: usize = 12;
/// Small, so that holes soon take up all the room.
const CAPACITY: u32 = 16;

/// Panics when an entry outside of the halves is touched.
struct Memory([[Entry; CAPACITY as usize]; 2]);

impl Memory {
    fn new() -> Self {
        let entry = Entry {
            fd: 0,
            events: 0,
            revents: 0,
        };
        Self([[entry; CAPACITY as usize]; 2])
    }
}

impl Storage for Memory {
    fn load(&self, half: usize, index: u32) -> Entry {
        self.0[half][index as usize]
    }

    fn store(&mut self, half: usize, index: u32, entry: Entry) {
        self.0[half][index as usize] = entry;
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Post { watch: usize, revents: u16 },
    Revoke { watch: usize },
    Narrow { watch: usize, mask: u16 },
    Squeeze { limit: u32 },
    Flip { limit: u32 },
}

fn op() -> impl Strategy<Value = Op> {
    let watch = 0..WATCHES;
    let bits = 1u16..16;
    prop_oneof![
        6 => (watch.clone(), bits.clone()).prop_map(|(watch, revents)| Op::Post { watch, revents }),
        3 => watch.clone().prop_map(|watch| Op::Revoke { watch }),
        2 => (watch, 0u16..16).prop_map(|(watch, mask)| Op::Narrow { watch, mask }),
        2 => (1u32..5).prop_map(|limit| Op::Squeeze { limit }),
        1 => (1u32..5).prop_map(|limit| Op::Flip { limit }),
    ]
}

/// The buffer beside its model.
struct Pair {
    buffer: DoubleBuffer,
    memory: Memory,
    slots: [Slot; WATCHES],
    model: Vec<(usize, u16)>,
    handed_out: Option<(usize, Vec<Entry>)>,
}

impl Pair {
    fn new() -> Self {
        Self {
            buffer: DoubleBuffer::new(),
            memory: Memory::new(),
            slots: [Slot::default(); WATCHES],
            model: Vec::new(),
            handed_out: None,
        }
    }

    fn squeeze(&mut self, limit: u32) -> bool {
        let slots = &mut self.slots;
        self.buffer
            .squeeze(&mut self.memory, limit, |buffer, fd, from, to| {
                let slot = &mut slots[fd as usize];
                assert!(slot.is_at(buffer, from), "the entry of {fd} is at {from}");
                slot.relocate(to);
            })
    }

    /// What Queue::make_room does before a hole may come into being.
    fn make_room(&mut self) {
        while self.buffer.overfull(WATCHES as u32 + 1, CAPACITY) {
            self.squeeze(3);
        }
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Post { watch, revents } => {
                let posted = self.buffer.post(
                    &mut self.memory,
                    &mut self.slots[watch],
                    watch as i32,
                    0xf,
                    revents,
                );
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
            Op::Revoke { watch } => {
                self.make_room();
                self.buffer.revoke(&mut self.memory, &mut self.slots[watch]);
                self.model.retain(|(w, _)| *w != watch);
            }
            Op::Narrow { watch, mask } => {
                self.make_room();
                let left = self
                    .buffer
                    .narrow(&mut self.memory, &mut self.slots[watch], mask, mask);
                for (w, bits) in &mut self.model {
                    if *w == watch {
                        *bits &= mask;
                    }
                }
                self.model.retain(|(_, bits)| *bits != 0);
                assert_eq!(left, self.model.iter().any(|(w, _)| *w == watch));
            }
            Op::Squeeze { limit } => {
                self.squeeze(limit);
            }
            Op::Flip { limit } => {
                let filling = self.buffer.filling();
                let holes = self.buffer.holes();
                let out = self.buffer.flip();
                assert_eq!((out.half, out.holes), (filling, holes));
                assert_eq!((out.used - out.holes) as usize, self.model.len());
                let mut work = SqueezeOut::new(out);
                let left = loop {
                    if let Some(left) = work.go_on(&mut self.memory, limit) {
                        break left;
                    }
                };
                let entries = &self.memory.0[out.half][..left as usize];
                let got: Vec<(usize, u16)> =
                    entries.iter().map(|e| (e.fd as usize, e.revents)).collect();
                assert_eq!(got, self.model, "what was handed out, in order");
                if let Some((half, _)) = &self.handed_out {
                    assert_ne!(*half, out.half, "the halves alternate");
                }
                self.handed_out = Some((out.half, entries.to_vec()));
                self.model.clear();
            }
        }
        assert_eq!(self.buffer.pending() as usize, self.model.len());
        if let Some((half, entries)) = &self.handed_out {
            assert_eq!(
                &self.memory.0[*half][..entries.len()],
                &entries[..],
                "the array stays until the next wait"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn does_what_the_model_does(ops in proptest::collection::vec(op(), 1..200)) {
        let mut pair = Pair::new();
        for op in ops {
            pair.apply(op);
        }
        pair.apply(Op::Flip { limit: 4 });
    }
}

/// What is revoked while a squeeze is half done, down to what it has moved, and what is posted then.
#[test]
fn revoke_below_a_squeeze() {
    let mut pair = Pair::new();
    for watch in 0..6 {
        pair.apply(Op::Post { watch, revents: 1 });
    }
    pair.apply(Op::Revoke { watch: 0 });
    assert!(!pair.squeeze(3));
    for watch in (1..6).rev() {
        pair.apply(Op::Revoke { watch });
    }
    pair.apply(Op::Post {
        watch: 3,
        revents: 2,
    });
    while !pair.squeeze(1) {}
    pair.apply(Op::Flip { limit: 1 });
}

#[test]
fn a_slot_of_an_earlier_filling_is_not_taken_for_this_one() {
    let mut pair = Pair::new();
    pair.apply(Op::Post {
        watch: 1,
        revents: 1,
    });
    for _ in 0..4 {
        pair.apply(Op::Flip { limit: 4 });
    }
    pair.apply(Op::Post {
        watch: 2,
        revents: 1,
    });
    pair.apply(Op::Revoke { watch: 1 });
    pair.apply(Op::Flip { limit: 4 });
}
