// SPDX-License-Identifier: GPL-2.0
//! The cost of one more descriptor, and of its watch, when so many are open already: `open` is
//! open(2) of /dev/null, `ADD` that of pipes, whose descriptors come behind all the others.

use crate::calls::{now, result, watchdog};
use crate::interfaces::{Epoll, Evpoll, Interface, BARE, EDGE};
use crate::measure::{hooks_off, settle, trimmed_mean, Context, Result, Trouble};
use crate::output::{Figure, Unit, Value};
use crate::pipes::Pipes;
use crate::Options;
use selftests::abi::{Errno, EP_CTL_ADD, IN};
use selftests::sys::{pipe, sys, try_need_files, Fd};
use std::os::raw::c_int;

const OPEN: [usize; 5] = [1, 1000, 10_000, 100_000, 1_000_000];
const QUICK: [usize; 2] = [1, 1000];
/// Opened, or added, in a row; of so many passes, those in the middle half count.
const MORE: usize = 1000;
const PASSES: usize = 40;
/// Sets of pipes, of which each has its share of the passes: how deep epoll's tree is depends on
/// where their files are in memory.
const SETS: usize = 20;

/// Duplicates of one descriptor, numbered one after the other.
struct Duplicates {
    original: Fd,
    first: c_int,
    last: c_int,
}

impl Duplicates {
    fn new(original: Fd) -> Self {
        Duplicates {
            first: original.raw() + 1,
            last: original.raw(),
            original,
        }
    }

    fn grow_to(&mut self, n: usize) -> Result<()> {
        while ((self.last - self.first + 1) as usize) < n {
            // SAFETY: takes no pointer.
            let fd = sys(unsafe { libc::dup(self.original.raw()) }).or_wrong("dup")?;
            // Numbers that are free, below, are taken first.
            self.last = self.last.max(fd);
        }
        Ok(())
    }
}

impl Drop for Duplicates {
    fn drop(&mut self) {
        // SAFETY: closes what `grow_to` has opened, and nothing else: see `run`.
        unsafe { libc::syscall(libc::SYS_close_range, self.first, self.last, 0) };
    }
}

/// Room for so many descriptors, where it takes a higher limit of the system as well.
fn make_room(n: usize) -> Result<()> {
    const LIMIT: &str = "/proc/sys/fs/nr_open";
    let read = |file| {
        std::fs::read_to_string(file)
            .ok()?
            .trim()
            .parse::<usize>()
            .ok()
    };
    if read(LIMIT).is_some_and(|limit| limit < n) {
        let text = n.next_power_of_two().to_string();
        std::fs::write(LIMIT, text)
            .map_err(|e| Trouble::Wrong(format!("cannot raise {LIMIT} (is it root's?): {e}")))?;
    }
    try_need_files(n as u64).or_wrong("no room for so many descriptors (setrlimit)")
}

/// For each of so many, in a row.
fn open_more() -> Result<f64> {
    let mut opened = Vec::with_capacity(MORE);
    let mut costs = Vec::with_capacity(PASSES);
    for pass in 0..=PASSES {
        settle();
        let begin = now();
        for _ in 0..MORE {
            // SAFETY: a C string.
            let fd = unsafe {
                libc::syscall(
                    libc::SYS_openat,
                    libc::AT_FDCWD,
                    c"/dev/null".as_ptr(),
                    libc::O_RDONLY | libc::O_CLOEXEC,
                )
            };
            opened.push(Fd::new(result(fd).or_wrong("open /dev/null")? as c_int));
        }
        let time = now() - begin;
        if pass > 0 {
            costs.push(time as f64 / MORE as f64);
        }
        opened.clear();
    }
    Ok(trimmed_mean(costs, 4))
}

/// The same, each time into what `empty` makes; the first time of each set does not count.
fn add_more<I: Interface>(
    empty: impl Fn() -> std::result::Result<I, Errno>,
    add: impl Fn(&I, c_int) -> std::result::Result<(), Errno>,
) -> Result<f64> {
    let mut costs = Vec::with_capacity(PASSES);
    for _ in 0..SETS {
        let pipes = Pipes::new(MORE)?;
        let fds = pipes.read_ends();
        for pass in 0..=PASSES / SETS {
            let mut interface = empty().or_missing("it cannot be made")?;
            settle();
            let begin = now();
            fds.iter()
                .try_for_each(|&fd| add(&interface, fd))
                .or_wrong("ADD")?;
            let time = now() - begin;
            if pass > 0 {
                costs.push(time as f64 / MORE as f64);
            }
            pipes.expect(&mut interface, MORE, "after ADD")?;
        }
    }
    Ok(trimmed_mean(costs, 4))
}

fn measure(interface: &str) -> Result<f64> {
    watchdog(120);
    match interface {
        BARE => open_more(),
        Evpoll::NAME => add_more(|| Evpoll::empty(MORE), |q, fd| q.ctl(EP_CTL_ADD, fd, IN)),
        _ => add_more(
            || Epoll::<EDGE>::empty(MORE),
            |epoll, fd| epoll.ctl(libc::EPOLL_CTL_ADD, fd, IN),
        ),
    }
}

pub fn run(options: &Options) -> Result<()> {
    let open: &[usize] = if options.quick { &QUICK } else { &OPEN };
    // All numbers from here on are those of the duplicates, and of what is measured behind them.
    let (r, _w) = pipe();
    let mut duplicates = Duplicates::new(r);
    for &n in open {
        make_room(n + 2 * MORE + 100)?;
        duplicates.grow_to(n)?;
        hooks_off();
        for (op, interface) in [
            ("open", BARE),
            ("ADD", Epoll::<EDGE>::NAME),
            ("ADD", Evpoll::NAME),
        ] {
            eprintln!("fd-scale: {n} descriptors: {op}: {interface}");
            options.output.figure(&Figure {
                name: "fd-scale",
                interface,
                params: &[("op", Value::Text(op)), ("open", Value::Int(n as u64))],
                unit: Unit::Per("descriptor"),
                value: measure(interface),
                raw: &[("times", Value::Int((MORE * PASSES) as u64))],
            });
        }
    }
    Ok(())
}
