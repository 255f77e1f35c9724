// SPDX-License-Identifier: GPL-2.0
//! Many watches added, modified and removed, one after the other, and closing what watches them:
//! for each watch.
//!
//! A pass begins with new pipes and a new queue. "first ADD" is that of pipes which nobody has
//! watched before, and "ADD" that into a second queue, of the same pipes. Both include what the
//! queue has to grow. After each step it is made sure, with a byte into each pipe, that it has had
//! its effect.
//!
//! evpoll does the same a second time with all changes in one write(2). io_uring gets its requests
//! in batches, and has no figure for closing: most of that is done later, by a worker. Its request
//! that changes a poll is not measured.

use crate::calls::{now, result, watchdog};
use crate::interfaces::{Epoll, Evpoll, Interface, Uring, EDGE};
use crate::measure::{hooks_off, settle, wrong, Context, Result, Trouble};
use crate::output::{Figure, Notes, Unit, Value};
use crate::pipes::Pipes;
use crate::Options;
use selftests::abi::*;
use selftests::uring::{Ring, SUBMISSIONS};
use std::os::raw::c_int;

/// Watches, passes.
const CASES: [(usize, usize); 2] = [(1000, 60), (100_000, 2)];
const QUICK: [(usize, usize); 1] = [(1000, 2)];

/// The time of each step, in the order of the first pass.
#[derive(Default)]
struct Steps(Vec<(&'static str, u64)>);

impl Steps {
    fn time<T>(&mut self, step: &'static str, f: impl FnOnce() -> Result<T>) -> Result<T> {
        settle();
        let begin = now();
        let done = f()?;
        let time = now() - begin;
        match self.0.iter_mut().find(|s| s.0 == step) {
            Some(s) => s.1 += time,
            None => self.0.push((step, time)),
        }
        Ok(done)
    }
}

/// An interface whose watches can be changed one by one.
trait Control: Interface {
    fn empty(n: usize) -> Result<Self>;
    fn add(&self, fd: c_int) -> Sys<()>;
    /// To something that a byte in the pipe is no event of.
    fn modify(&self, fd: c_int) -> Sys<()>;
    fn del(&self, fd: c_int) -> Sys<()>;
}

impl Control for Evpoll {
    fn empty(n: usize) -> Result<Self> {
        Evpoll::empty(n).or_missing("evpoll_create")
    }
    fn add(&self, fd: c_int) -> Sys<()> {
        self.ctl(EP_CTL_ADD, fd, IN)
    }
    fn modify(&self, fd: c_int) -> Sys<()> {
        self.ctl(EP_CTL_MOD, fd, PRI)
    }
    fn del(&self, fd: c_int) -> Sys<()> {
        self.ctl(EP_CTL_DEL, fd, 0)
    }
}

impl Control for Epoll<EDGE> {
    fn empty(n: usize) -> Result<Self> {
        Epoll::empty(n).or_missing("epoll_create1")
    }
    fn add(&self, fd: c_int) -> Sys<()> {
        self.ctl(libc::EPOLL_CTL_ADD, fd, IN)
    }
    fn modify(&self, fd: c_int) -> Sys<()> {
        self.ctl(libc::EPOLL_CTL_MOD, fd, PRI)
    }
    fn del(&self, fd: c_int) -> Sys<()> {
        self.ctl(libc::EPOLL_CTL_DEL, fd, 0)
    }
}

fn all(fds: &[c_int], what: &str, change: impl FnMut(c_int) -> Sys<()>) -> Result<()> {
    fds.iter().copied().try_for_each(change).or_wrong(what)
}

/// One call for each watch.
fn one_by_one<C: Control>(n: usize, steps: &mut Steps) -> Result<()> {
    let pipes = Pipes::new(n)?;
    let fds = pipes.read_ends();
    let mut first = C::empty(n)?;
    steps.time("first ADD", || all(&fds, "ADD", |fd| first.add(fd)))?;
    pipes.expect(&mut first, n, "after ADD")?;
    steps.time("MOD", || all(&fds, "MOD", |fd| first.modify(fd)))?;
    pipes.expect(&mut first, 0, "after MOD")?;
    steps.time("DEL", || all(&fds, "DEL", |fd| first.del(fd)))?;
    pipes.expect(&mut first, 0, "after DEL")?;
    drop(first);

    let mut second = C::empty(n)?;
    steps.time("ADD", || all(&fds, "ADD", |fd| second.add(fd)))?;
    pipes.expect(&mut second, n, "after ADD")?;
    steps.time("close", || {
        drop(second);
        Ok(())
    })
}

/// Writes the same change of each descriptor, in one call.
fn batch(queue: &Evpoll, changes: &[PollFd]) -> Result<()> {
    let size = size_of_val(changes);
    // SAFETY: an array of that size.
    let r = unsafe { libc::syscall(libc::SYS_write, queue.queue.raw(), changes.as_ptr(), size) };
    match result(r).or_wrong("write(2) to the queue")? {
        n if n == size => Ok(()),
        n => wrong(format!(
            "write(2) to the queue: {n} bytes of {size} applied"
        )),
    }
}

fn by_write(n: usize, steps: &mut Steps) -> Result<()> {
    let pipes = Pipes::new(n)?;
    let change = |events: u32| -> Vec<PollFd> {
        let entry = |fd| PollFd::new(fd, events, 0);
        pipes.read_ends().into_iter().map(entry).collect()
    };
    let (add, remove) = (change(IN), change(REMOVE));
    let mut first: Evpoll = Control::empty(n)?;
    steps.time("first ADD by write(2)", || batch(&first, &add))?;
    pipes.expect(&mut first, n, "after ADD by write(2)")?;
    steps.time("DEL by write(2)", || batch(&first, &remove))?;
    pipes.expect(&mut first, 0, "after DEL by write(2)")?;
    drop(first);

    let mut second: Evpoll = Control::empty(n)?;
    steps.time("ADD by write(2)", || batch(&second, &add))?;
    pipes.expect(&mut second, n, "after ADD by write(2)")
}

fn uring(n: usize, steps: &mut Steps) -> Result<()> {
    let pipes = Pipes::new(n)?;
    let fds = pipes.read_ends();
    for step in ["first ADD", "ADD"] {
        let mut ring = Ring::new(n as u32 * 2).or_missing("io_uring_setup")?;
        let add = |ring: &mut Ring| ring.poll_multishot(fds.iter().copied()).or_wrong("ADD");
        steps.time(step, || add(&mut ring))?;
        let mut interface = Uring::of(ring, n);
        pipes.expect(&mut interface, n, "after ADD")?;
        if step == "ADD" {
            steps.time("DEL", || interface.ring.remove(&fds).or_wrong("DEL"))?;
            pipes.expect(&mut interface, 0, "after DEL")?;
        }
    }
    Ok(())
}

type Pass = fn(usize, &mut Steps) -> Result<()>;

/// evpoll last: see `each_interface`.
const INTERFACES: [(&str, Pass, Notes); 4] = [
    (Epoll::<EDGE>::NAME, one_by_one::<Epoll<EDGE>>, &[]),
    (
        Uring::NAME,
        uring,
        &[("batch", Value::Int(SUBMISSIONS as u64))],
    ),
    (Evpoll::NAME, one_by_one::<Evpoll>, &[]),
    (Evpoll::NAME, by_write, &[]),
];

pub fn run(options: &Options) -> Result<()> {
    let cases: &[(usize, usize)] = if options.quick { &QUICK } else { &CASES };
    for &(n, passes) in cases {
        hooks_off();
        for (interface, pass, notes) in INTERFACES {
            eprintln!("ctl: {n} watches: {interface}");
            let mut steps = Steps::default();
            let print = |step: &str, value| {
                let mut raw = Vec::from(notes);
                raw.push(("passes", Value::Int(passes as u64)));
                options.output.figure(&Figure {
                    name: "ctl",
                    interface,
                    params: &[("op", Value::Text(step)), ("watches", Value::Int(n as u64))],
                    unit: Unit::Per("watch"),
                    value,
                    raw: &raw,
                });
            };
            let done = (0..passes).try_for_each(|_| {
                watchdog(120);
                pass(n, &mut steps)
            });
            match done {
                Ok(()) => {
                    for (step, time) in steps.0 {
                        print(step, Ok(time as f64 / (n * passes) as f64));
                    }
                }
                Err(why @ Trouble::Missing(_)) => print("ADD", Err(why)),
                Err(why) => print("every step", Err(why)),
            }
        }
    }
    Ok(())
}
