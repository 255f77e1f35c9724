// SPDX-License-Identifier: GPL-2.0
//! Programs from seeds: the same seed, the same program, everywhere.

use fastrand::Rng;

use super::channel::Kind;
use super::program::{Op, Program, Shape, Verb, MASK, SLOTS, THREADS};
use crate::abi::{IN, OUT, RDHUP};

/// The program of a seed.
pub fn program(seed: u64) -> Program {
    let shape = match Rng::with_seed(seed).u32(0..100) {
        0..70 => Shape::Sequence,
        70..85 => Shape::Apart,
        85..93 => Shape::Threads,
        _ => Shape::Transfer,
    };
    program_of(shape, seed)
}

/// The program of a seed, of this shape.
pub fn program_of(shape: Shape, seed: u64) -> Program {
    let mut g = Generator {
        // Not the sequence that has chosen the shape.
        rng: Rng::with_seed(seed ^ 0x9e37_79b9_7f4a_7c15),
        shape,
        slots: [None; SLOTS as usize],
        inner: [false; SLOTS as usize],
        ops: Vec::new(),
    };
    match shape {
        Shape::Sequence | Shape::Apart => g.sequence(),
        Shape::Threads => g.threads(),
        Shape::Transfer => g.transfer(),
    }
    Program { shape, ops: g.ops }
}

struct Generator {
    rng: Rng,
    shape: Shape,
    /// What is probably there.
    slots: [Option<Kind>; SLOTS as usize],
    inner: [bool; SLOTS as usize],
    ops: Vec<Op>,
}

impl Generator {
    fn push(&mut self, verb: Verb, operands: &[u32]) {
        self.ops.push(Op::new(verb, operands));
    }

    fn kind(&mut self) -> Kind {
        match self.shape {
            Shape::Sequence => Kind::ALL[self.rng.usize(0..Kind::ALL.len())],
            Shape::Apart => Kind::LOCAL[self.rng.usize(0..Kind::LOCAL.len())],
            _ => Kind::RELIABLE[self.rng.usize(0..Kind::RELIABLE.len())],
        }
    }

    fn any_slot(&mut self) -> u32 {
        self.rng.u32(0..SLOTS)
    }

    /// A slot with something in it, as far as there is one.
    fn slot(&mut self) -> u32 {
        self.slot_where(|_, _| true)
    }

    fn slot_where(&mut self, wanted: impl Fn(Kind, bool) -> bool) -> u32 {
        let fits = |i: &u32| {
            let i = *i as usize;
            self.slots[i].is_some_and(|kind| wanted(kind, self.inner[i]))
        };
        let found: Vec<u32> = (0..SLOTS).filter(fits).collect();
        match found.is_empty() {
            true => self.any_slot(),
            false => found[self.rng.usize(0..found.len())],
        }
    }

    fn mask(&mut self) -> u32 {
        match self.rng.u32(0..8) {
            0..4 => IN | OUT | RDHUP,
            4 => IN,
            5 => OUT,
            6 => 0,
            _ => MASK
                .into_iter()
                .filter(|_| self.rng.bool())
                .fold(0, |mask, bit| mask | bit),
        }
    }

    /// From a byte to more than any buffer takes, each magnitude as often.
    fn bytes(&mut self) -> u32 {
        let bits = self.rng.u32(0..17);
        1 + self.rng.u32(0..1 << bits)
    }

    fn flag(&mut self) -> u32 {
        self.rng.u32(0..2)
    }

    fn open(&mut self) {
        let kind = self.kind();
        let (a, b) = (self.any_slot(), self.any_slot());
        if a != b {
            self.open_in(kind, a, b);
        }
    }

    fn open_in(&mut self, kind: Kind, a: u32, b: u32) {
        self.push(Verb::Open, &[kind.place(), a, b]);
        for slot in [a, b] {
            self.slots[slot as usize] = Some(kind);
            self.inner[slot as usize] = false;
            if self.rng.u32(0..4) != 0 {
                let (mask, flag) = (self.mask(), self.flag());
                self.push(Verb::Watch, &[slot, mask, flag]);
            }
        }
        if matches!(kind, Kind::Listener | Kind::UnixListener) && self.rng.bool() {
            self.push(Verb::Connect, &[b, a]);
        }
    }

    fn copy(&mut self, from: u32, to: u32) {
        self.slots[to as usize] = self.slots[from as usize];
        self.inner[to as usize] = self.inner[from as usize];
    }

    fn sequence(&mut self) {
        if self.rng.bool() {
            self.push(Verb::Device, &[]);
        }
        self.open();
        self.open();
        for _ in 0..self.rng.u32(8..60) {
            self.step();
        }
    }

    /// One more operation.
    fn step(&mut self) {
        let socket = |kind: Kind, inner: bool| kind.is_socket() && !inner;
        let pipe = |kind: Kind, inner: bool| !kind.is_socket() && !inner;
        let listens = |kind: Kind, _| matches!(kind, Kind::Listener | Kind::UnixListener);
        match self.rng.u32(0..100) {
            0..9 => self.open(),
            9..24 => {
                let (slot, bytes) = (self.slot(), self.bytes());
                self.push(Verb::Write, &[slot, bytes]);
            }
            24..30 => {
                let (slot, bytes) = (self.slot(), self.rng.u32(1..1 << 16));
                self.push(Verb::Fill, &[slot, bytes]);
            }
            30..38 => {
                let (slot, bytes) = (self.slot(), self.bytes());
                self.push(Verb::Read, &[slot, bytes]);
            }
            38..46 => {
                let slot = self.slot();
                self.push(Verb::Drain, &[slot]);
            }
            46..48 => {
                let verb = [Verb::Urgent, Verb::ReadUrgent][self.rng.usize(0..2)];
                let slot = self.slot_where(socket);
                self.push(verb, &[slot]);
            }
            48..52 => {
                let (slot, how) = (self.slot_where(socket), self.rng.u32(0..3));
                self.push(Verb::Shutdown, &[slot, how]);
            }
            52..56 => {
                let slot = self.slot();
                self.push(Verb::Close, &[slot]);
                self.slots[slot as usize] = None;
            }
            56..58 => {
                let (a, b) = (self.slot(), self.any_slot());
                self.push(Verb::Dup, &[a, b]);
                self.copy(a, b);
            }
            58..60 => {
                let (a, b) = (self.slot(), self.slot());
                self.push(Verb::DupOver, &[a, b]);
                self.copy(a, b);
            }
            60..62 => self.push(Verb::Fork, &[]),
            62..64 => self.push(Verb::Reap, &[]),
            64..67 => {
                let (a, b) = (self.slot_where(listens), self.any_slot());
                self.push(Verb::Accept, &[a, b]);
                if a != b {
                    self.copy(a, b);
                }
                let (mask, flag) = (self.mask(), self.flag());
                self.push(Verb::Watch, &[b, mask, flag]);
            }
            67..70 => {
                let (a, b) = (self.slot_where(socket), self.slot_where(listens));
                self.push(Verb::Connect, &[a, b]);
            }
            70..73 => {
                let verbs = [Verb::SendBuffer, Verb::ReceiveBuffer, Verb::LowWater];
                let verb = verbs[self.rng.usize(0..3)];
                let (slot, bytes) = (self.slot_where(socket), self.bytes());
                self.push(verb, &[slot, bytes]);
            }
            73 => {
                let verb = [Verb::TakeError, Verb::Linger][self.rng.usize(0..2)];
                let slot = self.slot_where(socket);
                self.push(verb, &[slot]);
            }
            74..76 => {
                let slot = self.slot_where(pipe);
                let pages = self.rng.u32(1..32);
                self.push(Verb::Resize, &[slot, pages * 4096]);
            }
            76..78 => {
                let (a, b) = (self.slot(), self.slot_where(pipe));
                let (a, b) = if self.rng.bool() { (a, b) } else { (b, a) };
                let bytes = self.bytes();
                self.push(Verb::Splice, &[a, b, bytes]);
            }
            78..84 => {
                let (slot, mask, flag) = (self.slot(), self.mask(), self.flag());
                self.push(Verb::Watch, &[slot, mask, flag]);
            }
            84..89 => {
                let (slot, mask) = (self.slot(), self.mask());
                let (test, flag) = (self.flag(), self.flag());
                self.push(Verb::Modify, &[slot, mask, test, flag]);
            }
            89..91 => {
                let (slot, flag) = (self.slot(), self.flag());
                self.push(Verb::Unwatch, &[slot, flag]);
            }
            91..93 if self.shape == Shape::Sequence => {
                let (a, b) = (self.any_slot(), self.slot());
                self.push(Verb::Nest, &[a, b]);
                self.slots[a as usize] = Some(Kind::Pipe);
                self.inner[a as usize] = true;
                let flag = self.flag();
                self.push(Verb::Watch, &[a, IN, flag]);
            }
            93 => {
                let slot = self.slot_where(|_, inner| inner);
                self.push(Verb::Inner, &[slot]);
            }
            94 if self.shape == Shape::Sequence && self.rng.u32(0..4) == 0 => {
                let time = self.rng.u32(1..60);
                self.push(Verb::Nap, &[time]);
            }
            _ => self.push(Verb::Late, &[]),
        }
    }

    fn threads(&mut self) {
        for pair in 0..self.rng.u32(1..=SLOTS / 2) {
            let kind = self.kind();
            self.push(Verb::Open, &[kind.place(), 2 * pair, 2 * pair + 1]);
        }
        for _ in 0..self.rng.u32(20..150) {
            let slot = self.any_slot();
            let (verb, operands) = match self.rng.u32(0..100) {
                0..40 => (Verb::Write, vec![slot, self.bytes()]),
                40..50 => (Verb::Read, vec![slot, self.bytes()]),
                50..62 => (Verb::Rewatch, vec![slot]),
                62..72 => (Verb::Flip, vec![slot]),
                72..77 => (Verb::Unwatch, vec![slot, 0]),
                77..84 => (Verb::Watch, vec![slot, IN | OUT | RDHUP, 0]),
                84..87 => (Verb::Close, vec![slot]),
                87..93 => {
                    let pair = slot & !1;
                    (Verb::Replace, vec![self.kind().place(), pair, pair + 1])
                }
                93..97 => (Verb::Wait, vec![]),
                _ => (Verb::Nap, vec![self.rng.u32(0..3)]),
            };
            let thread = self.rng.u32(0..THREADS);
            self.ops.push(Op {
                thread,
                ..Op::new(verb, &operands)
            });
        }
    }

    fn transfer(&mut self) {
        if self.rng.bool() {
            self.push(Verb::Shared, &[]);
        }
        for _ in 0..self.rng.u32(1..5) {
            let kind = self.kind();
            let total = match kind.has_messages() {
                true => self.rng.u32(1..40_000),
                false => self.rng.u32(1..400_000),
            };
            // So that it takes no more than a few thousand calls.
            let least = (total / 500).max(1);
            let mut chunk = || {
                let bits = self.rng.u32(4..15);
                least.max(1 + self.rng.u32(0..1 << bits))
            };
            let (write, read) = (chunk(), chunk());
            let flag = self.flag();
            self.push(Verb::Flow, &[kind.place(), total, write, read, flag]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_program() {
        for seed in 0..200 {
            assert_eq!(program(seed), program(seed));
        }
    }

    #[test]
    fn every_shape_every_kind_and_every_verb_comes_up() {
        let programs: Vec<Program> = (0..3000).map(program).collect();
        for shape in Shape::ALL {
            assert!(programs.iter().any(|p| p.shape == shape), "{shape:?}");
        }
        for verb in Verb::ALL {
            assert!(programs.iter().any(|p| p.has(*verb)), "{verb:?}");
        }
        for kind in Kind::ALL {
            let opens = |op: &Op| op.verb == Verb::Open && op.args[0] == kind.place();
            assert!(programs.iter().any(|p| p.ops.iter().any(opens)), "{kind:?}");
        }
    }
}
