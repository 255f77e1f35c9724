// SPDX-License-Identifier: GPL-2.0
//! Many pipes, of which a few have something to read at a time.
//!
//! A round writes one byte into each of A of the N pipes, spread evenly, then waits once, which
//! must give A events, then reads each byte. The figure is the cost of all that for one event;
//! `delivery` in `raw` is that without the writes and reads, which are measured alone as `bare`.

use std::os::raw::c_int;

use crate::calls::{now, read_byte, watchdog, write_byte};
use crate::interfaces::*;
use crate::output::{Figure, Output, Value};
use selftests::sys::{pipe, try_need_files, Fd};
use selftests::uring;

/// Pipes, active pipes.
const CASES: [(usize, usize); 7] = [
    (10, 1),
    (100, 1),
    (100, 100),
    (1000, 1),
    (1000, 100),
    (10_000, 1),
    (10_000, 100),
];
const QUICK: [(usize, usize); 3] = [(10, 1), (100, 1), (100, 100)];

struct Pipes {
    pipes: Vec<(Fd, Fd)>,
    active: usize,
}

impl Pipes {
    /// New pipes, each of which has carried a byte already.
    fn new(n: usize, active: usize) -> Self {
        let pipes = Pipes {
            pipes: (0..n).map(|_| pipe()).collect(),
            active,
        };
        for (r, w) in &pipes.pipes {
            assert!(
                write_byte(w.raw()) && read_byte(r.raw()),
                "a pipe does not work"
            );
        }
        pipes
    }

    fn read_ends(&self) -> Vec<c_int> {
        self.pipes.iter().map(|p| p.0.raw()).collect()
    }

    /// The i-th active pipe of a round: evenly spread, and another set each round, so that a
    /// few rounds are as good a sample as many.
    #[inline]
    fn nth(&self, round: usize, i: usize) -> &(Fd, Fd) {
        const PRIME: usize = 6151;
        let step = self.pipes.len() / self.active;
        &self.pipes[i * step + round * PRIME % step]
    }

    #[inline]
    fn write(&self, round: usize) -> bool {
        (0..self.active).all(|i| write_byte(self.nth(round, i).1.raw()))
    }
}

struct Measured {
    /// For each event.
    value: f64,
    rounds: usize,
}

/// The writes and reads alone.
fn bare(pipes: &Pipes, rounds: usize) -> Result<Measured, String> {
    let round =
        |r: usize| pipes.write(r) && (0..pipes.active).all(|i| read_byte(pipes.nth(r, i).0.raw()));
    if !round(0) {
        return Err("a byte is missing".to_owned());
    }
    let begin = now();
    for r in 1..=rounds {
        if !round(r) {
            return Err(format!("round {r}: a byte is missing"));
        }
    }
    Ok(measured(now() - begin, pipes, rounds))
}

fn measured(time: u64, pipes: &Pipes, rounds: usize) -> Measured {
    Measured {
        value: time as f64 / (rounds * pipes.active) as f64,
        rounds,
    }
}

fn one_round<I: Interface>(interface: &mut I, pipes: &Pipes, round: usize) -> Result<(), String> {
    if !pipes.write(round) {
        return Err(format!("round {round}: a pipe is full"));
    }
    let n = interface
        .wait(pipes.active)
        .map_err(|e| format!("round {round}: the wait failed: {e}"))?;
    if n != pipes.active {
        let active = pipes.active;
        return Err(format!("round {round}: {n} events instead of {active}"));
    }
    for i in 0..n {
        if !read_byte(interface.fd(i)) {
            return Err(format!("round {round}: an event without data"));
        }
    }
    Ok(())
}

fn with<I: Interface>(pipes: &Pipes, rounds: usize) -> Result<Measured, String> {
    watchdog(120);
    let fds = pipes.read_ends();
    let mut interface = I::new(&fds).map_err(|e| format!("not in this kernel: {e}"))?;
    // Every pipe once, so that the first use of anything is not measured.
    for (r, w) in &pipes.pipes {
        if !(write_byte(w.raw()) && read_byte(r.raw())) {
            return Err("a pipe does not work".to_owned());
        }
    }
    let discarded = loop {
        match interface.discard() {
            Ok(0) => break Ok(()),
            Ok(_) => {}
            Err(e) => break Err(format!("the first wait failed: {e}")),
        }
    };
    discarded?;
    one_round(&mut interface, pipes, 0)?;
    let begin = now();
    for r in 1..=rounds {
        one_round(&mut interface, pipes, r)?;
    }
    Ok(measured(now() - begin, pipes, rounds))
}

/// One interface's name, how it is measured, and what else to say of it.
type Entry = (
    &'static str,
    fn(&Pipes, usize) -> Result<Measured, String>,
    &'static [(&'static str, Value<'static>)],
);

const INTERFACES: [Entry; 6] = [
    ("bare", bare, &[]),
    (Evpoll::NAME, with::<Evpoll>, &[]),
    (Epoll::<EDGE>::NAME, with::<Epoll<EDGE>>, &[]),
    (Epoll::<LEVEL>::NAME, with::<Epoll<LEVEL>>, &[]),
    (
        Uring::NAME,
        with::<Uring>,
        &[("setup", Value::Text(uring::SETUP))],
    ),
    (Poll::NAME, with::<Poll>, &[]),
];

pub fn run(output: &Output, quick: bool) {
    let cases: &[(usize, usize)] = if quick { &QUICK } else { &CASES };
    for &(n, active) in cases {
        let room = try_need_files(2 * n as u64 + 100);
        let writes = match (quick, active) {
            (true, 1) => 500,
            (true, _) => 2000,
            (false, 1) => 2000,
            (false, _) => 10_000,
        };
        let mut bare = None;
        for (name, measure, notes) in INTERFACES {
            eprintln!("pipetest: {n} pipes, {active} active: {name}");
            let mut rounds = writes / active;
            if name == Poll::NAME {
                // It looks at every pipe in every round.
                rounds = rounds.min((1_000_000 / n).max(20));
            }
            let result = match room {
                Ok(()) => measure(&Pipes::new(n, active), rounds),
                Err(e) => Err(format!("no room for so many pipes: {e}")),
            };
            let mut raw = Vec::from(notes);
            if let Ok(m) = &result {
                raw.push(("rounds", Value::Int(m.rounds as u64)));
                match (name, bare) {
                    ("bare", _) => bare = Some(m.value),
                    (_, Some(bare)) => raw.push(("delivery", Value::Float(m.value - bare))),
                    (_, None) => {}
                }
            }
            output.figure(&Figure {
                name: "pipetest",
                interface: name,
                params: &[
                    ("pipes", Value::Int(n as u64)),
                    ("active", Value::Int(active as u64)),
                    ("writes", Value::Int((rounds * active) as u64)),
                ],
                per: "event",
                value: result.map(|m| m.value),
                raw: &raw,
            });
        }
    }
}
