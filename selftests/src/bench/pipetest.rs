// SPDX-License-Identifier: GPL-2.0
//! Many pipes, of which a few have something to read at a time.
//!
//! A round writes one byte into each of A of the N pipes, spread evenly, then waits, which must
//! give A events, then reads each byte. The figure is the cost of all that for one event;
//! `delivery` in `raw` is that without the writes and reads, which are measured alone as `bare`.
//!
//! All interfaces have the same pipes, one after the other, evpoll the last.

use crate::calls::{now, read_byte, watchdog, write_byte};
use crate::interfaces::{each_interface, Interface, BARE};
use crate::measure::{hooks_off, settle, wrong, Context, Result};
use crate::output::{Figure, Notes, Output, Unit, Value};
use crate::pipes::Pipes;
use crate::Options;
use selftests::sys::Fd;
use std::cell::Cell;
use std::os::raw::c_int;

const PIPES: [usize; 6] = [1, 10, 100, 1000, 10_000, 100_000];
const ACTIVE: [usize; 4] = [1, 10, 100, 1000];
const QUICK_PIPES: [usize; 2] = [10, 100];
const QUICK_ACTIVE: [usize; 2] = [1, 100];

/// Rounds with one active pipe, and writes with more: a tick of the timer, one more or less, must
/// not be seen. The page of results says how many these are, and `LOOKS`.
const ROUNDS: usize = 20_000;
const WRITES: usize = 40_000;
const QUICK: usize = 2000;
/// Descriptors that a linear interface looks at in all rounds together, if that makes so many
/// rounds.
const LOOKS: usize = 1_000_000;
const LEAST_ROUNDS: usize = 10;

/// A of the pipes, another set each round.
pub struct Active<'a> {
    pipes: &'a Pipes,
    active: usize,
    /// The read ends of the round. `bare` has them as handy as others have their events; to note
    /// them down is part of every round, so that all cost the same but for the interface.
    reads: Vec<Cell<c_int>>,
}

impl<'a> Active<'a> {
    pub fn new(pipes: &'a Pipes, active: usize) -> Self {
        Active {
            pipes,
            active,
            reads: vec![Cell::new(-1); active],
        }
    }

    /// The i-th active pipe of a round: evenly spread, so that a few rounds are as good a sample
    /// as many.
    #[inline]
    fn nth(&self, round: usize, i: usize) -> &(Fd, Fd) {
        const PRIME: usize = 6151;
        let step = self.pipes.len() / self.active;
        self.pipes.get(i * step + round * PRIME % step)
    }

    #[inline]
    fn write(&self, round: usize) -> Result<()> {
        let write = |(i, read): (usize, &Cell<c_int>)| {
            let (r, w) = self.nth(round, i);
            read.set(r.raw());
            write_byte(w.raw(), round as u8)
        };
        match self.reads.iter().enumerate().all(write) {
            true => Ok(()),
            false => wrong(format!("round {round}: a pipe is full")),
        }
    }

    /// The writes and reads alone.
    #[inline]
    pub fn bare_round(&self, round: usize) -> Result<()> {
        self.write(round)?;
        let read = |fd: &Cell<c_int>| read_byte(fd.get(), round as u8);
        match self.reads.iter().all(read) {
            true => Ok(()),
            false => wrong(format!("round {round}: a byte is missing")),
        }
    }

    #[inline]
    pub fn round<I: Interface>(&self, interface: &mut I, round: usize) -> Result<()> {
        self.write(round)?;
        let n = interface
            .wait(self.active)
            .or_wrong("the wait failed (EINTR: an event did not come)")?;
        if n != self.active {
            let active = self.active;
            return wrong(format!("round {round}: {n} events instead of {active}"));
        }
        for i in 0..n {
            if !read_byte(interface.fd(i), round as u8) {
                return wrong(format!("round {round}: an event without data"));
            }
        }
        Ok(())
    }

    /// The cost of so many rounds for each event, after one that is not counted.
    fn measure(&self, rounds: usize, mut round: impl FnMut(usize) -> Result<()>) -> Result<f64> {
        watchdog(120);
        settle();
        round(0)?;
        let begin = now();
        for r in 1..=rounds {
            round(r)?;
        }
        Ok((now() - begin) as f64 / (rounds * self.active) as f64)
    }
}

/// An interface that watches all pipes, and has seen an event of each.
pub fn watch_all<I: Interface>(pipes: &Pipes) -> Result<I> {
    let mut interface = I::new(&pipes.read_ends()).or_missing("it cannot watch the pipes")?;
    pipes.warm_up(&mut interface)?;
    Ok(interface)
}

/// What is measured on one set of pipes.
struct Case<'a> {
    output: &'a Output,
    quick: bool,
    pipes: &'a Pipes,
    active: Vec<usize>,
    /// For each of `active`.
    bare: Vec<Option<f64>>,
}

impl Case<'_> {
    fn rounds(&self, active: usize, linear: bool) -> usize {
        let rounds = match (self.quick, active) {
            (true, _) => QUICK / active,
            (false, 1) => ROUNDS,
            (false, _) => WRITES / active,
        };
        let rounds = rounds.max(LEAST_ROUNDS);
        match linear {
            true => rounds.min((LOOKS / self.pipes.len()).max(LEAST_ROUNDS)),
            false => rounds,
        }
    }

    fn print(&self, at: usize, interface: &str, rounds: usize, value: Result<f64>, notes: Notes) {
        let active = self.active[at];
        let mut raw = Vec::from(notes);
        raw.push(("rounds", Value::Int(rounds as u64)));
        if let (Ok(value), Some(Some(bare))) = (&value, self.bare.get(at)) {
            raw.push(("delivery", Value::Float(value - bare)));
        }
        self.output.figure(&Figure {
            name: "pipetest",
            interface,
            params: &[
                ("pipes", Value::Int(self.pipes.len() as u64)),
                ("active", Value::Int(active as u64)),
                ("writes", Value::Int((rounds * active) as u64)),
            ],
            unit: Unit::Per("event"),
            value,
            raw: &raw,
        });
    }

    fn bare(&mut self) {
        eprintln!("pipetest: {} pipes: {BARE}", self.pipes.len());
        let mut figures = Vec::new();
        for (at, &active) in self.active.iter().enumerate() {
            let rounds = self.rounds(active, false);
            let some = Active::new(self.pipes, active);
            let value = some.measure(rounds, |r| some.bare_round(r));
            figures.push(value.as_ref().ok().copied());
            self.print(at, BARE, rounds, value, &[]);
        }
        self.bare = figures;
    }

    fn interface<I: Interface>(&self) {
        eprintln!("pipetest: {} pipes: {}", self.pipes.len(), I::NAME);
        watchdog(120);
        let mut interface = watch_all::<I>(self.pipes);
        for (at, &active) in self.active.iter().enumerate() {
            let rounds = self.rounds(active, I::LINEAR);
            let some = Active::new(self.pipes, active);
            let value = match &mut interface {
                Ok(interface) => some.measure(rounds, |r| some.round(interface, r)),
                Err(why) => Err(why.clone()),
            };
            self.print(at, I::NAME, rounds, value, I::NOTES);
        }
    }
}

fn interface<I: Interface>(case: &Case) {
    case.interface::<I>();
}

fn pipes(options: &Options, n: usize, active: &[usize]) -> Result<()> {
    hooks_off();
    let mut case = Case {
        output: &options.output,
        quick: options.quick,
        pipes: &Pipes::new(n)?,
        active: active.iter().copied().filter(|&a| a <= n).collect(),
        bare: Vec::new(),
    };
    case.bare();
    each_interface!(interface(&case));
    Ok(())
}

pub fn run(options: &Options) -> Result<()> {
    let (all, active): (&[usize], &[usize]) = match options.quick {
        true => (&QUICK_PIPES, &QUICK_ACTIVE),
        false => (&PIPES, &ACTIVE),
    };
    all.iter().try_for_each(|&n| pipes(options, n, active))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::{Epoll, Poll, Select, EDGE, LEVEL};
    use crate::measure::Trouble;

    /// Its last descriptors are beyond FD_SETSIZE.
    const MANY: usize = 700;

    fn rounds<I: Interface>(pipes: &Pipes) {
        let mut interface = watch_all::<I>(pipes).unwrap();
        for active in [1, 10, MANY] {
            let active = Active::new(pipes, active);
            for r in 0..20 {
                active.round(&mut interface, r).unwrap();
            }
        }
    }

    #[test]
    fn every_event_is_found() {
        let pipes = Pipes::new(MANY).unwrap();
        rounds::<Epoll<EDGE>>(&pipes);
        rounds::<Epoll<LEVEL>>(&pipes);
        rounds::<Poll>(&pipes);
        rounds::<Select>(&pipes);
    }

    fn misses_one<I: Interface>(pipes: &Pipes) {
        let all = pipes.read_ends();
        let mut interface = I::new(&all[1..]).unwrap();
        let active = Active::new(pipes, pipes.len());
        let result = active.round(&mut interface, 0);
        assert!(matches!(result, Err(Trouble::Wrong(_))), "{result:?}");
        for i in 0..pipes.len() {
            let _ = read_byte(pipes.get(i).0.raw(), 0);
        }
    }

    #[test]
    fn a_lost_event_is_no_figure() {
        let pipes = Pipes::new(20).unwrap();
        misses_one::<Epoll<EDGE>>(&pipes);
        misses_one::<Poll>(&pipes);
        misses_one::<Select>(&pipes);

        let mut interface = Epoll::<EDGE>::new(&pipes.read_ends()[1..]).unwrap();
        pipes.expect(&mut interface, 19, "with all").unwrap();
        let result = pipes.expect(&mut interface, 20, "with one missing");
        assert!(matches!(result, Err(Trouble::Wrong(_))), "{result:?}");
    }
}
