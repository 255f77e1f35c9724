// SPDX-License-Identifier: GPL-2.0
//! Kernel memory for each watch: free memory before 100 000 pipes are watched, less free memory
//! after it. Nothing is computed from sizes of structures.
//!
//! The pipes are new and were never watched: what the first watch allocates for a pipe belongs to
//! the figure. So do the pages for the events (of each watch with evpoll, of up to 65 536 with
//! io_uring), and a queue's fixed costs, which do not matter by then. No event has been queued.
//! poll and select keep nothing between two calls, and are left out; so are signals, for
//! which the kernel keeps who is to get them, and epoll's other mode, which keeps the same.

use crate::calls::watchdog;
use crate::interfaces::{Epoll, Evpoll, Interface, Uring, EDGE};
use crate::measure::{hooks_off, wrong, Context, Result, Trouble};
use crate::output::{Figure, Unit, Value};
use crate::pipes::Pipes;
use crate::Options;
use selftests::abi::*;
use selftests::uring::Ring;
use std::os::raw::c_int;
use std::time::Duration;

const WATCHES: usize = 100_000;
/// Other pipes, watched before: they use up what the kernel's caches have kept of watches that are
/// gone, which would count as free.
const FILLERS: usize = 50_000;
const QUICK: usize = 10_000;

/// In bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Memory {
    /// Free, or on a processor's list of free pages.
    free: i64,
    slab: i64,
    vmalloc: i64,
    page_tables: i64,
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(file)
        .map_err(|e| Trouble::Wrong(format!("cannot read {file} (is /proc mounted?): {e}")))
}

/// The sum of the numbers behind this word at the beginning of a line.
fn sum(text: &str, word: &str) -> i64 {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix(word))
        .filter_map(|rest| rest.split_whitespace().next()?.parse::<i64>().ok())
        .sum()
}

impl Memory {
    fn now() -> Result<Self> {
        const KB: i64 = 1024;
        const PAGE: i64 = 4096;
        // Makes each processor hand in what it has counted.
        read("/proc/sys/vm/stat_refresh")?;
        let info = read("/proc/meminfo")?;
        Ok(Memory {
            free: sum(&info, "MemFree:") * KB + sum(&read("/proc/zoneinfo")?, "count:") * PAGE,
            slab: sum(&info, "Slab:") * KB,
            vmalloc: sum(&info, "VmallocUsed:") * KB,
            page_tables: sum(&info, "PageTables:") * KB,
        })
    }

    /// Once it does not change any more: what is freed later (by RCU) has been freed.
    fn settled() -> Result<Self> {
        const TIMES: usize = 60;
        let mut before = Memory::now()?;
        let mut same = 0;
        for _ in 0..TIMES {
            std::thread::sleep(Duration::from_secs(1));
            let now = Memory::now()?;
            same = if now == before { same + 1 } else { 0 };
            // The kernel collects for up to five seconds before it frees.
            if same == 6 {
                return Ok(now);
            }
            before = now;
        }
        wrong("free memory never comes to rest: something else is running")
    }
}

/// The memory that `watch` takes, for each of `n` watches: in total, and what it is made of.
fn measure<I: Interface>(
    n: usize,
    watch: impl Fn(&[c_int]) -> Result<I>,
) -> Result<(f64, Vec<(&'static str, Value<'static>)>)> {
    let fillers = Pipes::new(FILLERS)?;
    let pipes = Pipes::new(n)?;
    let fds = pipes.read_ends();
    let filler = watch(&fillers.read_ends())?;
    let before = Memory::settled()?;
    let mut interface = watch(&fds)?;
    let after = Memory::settled()?;
    watchdog(120);
    pipes.expect(&mut interface, n, "after ADD")?;
    drop(filler);

    let each = |bytes: i64| bytes as f64 / n as f64;
    let total = before.free - after.free;
    let slab = after.slab - before.slab;
    let vmalloc = after.vmalloc - before.vmalloc;
    let page_tables = after.page_tables - before.page_tables;
    let parts = vec![
        ("slab", Value::Float(each(slab))),
        ("vmalloc", Value::Float(each(vmalloc))),
        ("page tables", Value::Float(each(page_tables))),
        (
            "pages",
            Value::Float(each(total - slab - vmalloc - page_tables)),
        ),
    ];
    Ok((each(total), parts))
}

pub fn run(options: &Options) -> Result<()> {
    let n = if options.quick { QUICK } else { WATCHES };
    hooks_off();
    // Files are read into memory that is there already from now on.
    Memory::settled()?;
    for interface in [Epoll::<EDGE>::NAME, Uring::NAME, Evpoll::NAME] {
        eprintln!("memory: {n} watches: {interface}");
        let measured = match interface {
            Uring::NAME => measure(n, |fds| {
                let mut ring = Ring::new(fds.len() as u32).or_missing("io_uring_setup")?;
                ring.poll_multishot(fds.iter().copied()).or_wrong("ADD")?;
                Ok(Uring::of(ring, fds.len()))
            }),
            Evpoll::NAME => measure(n, |fds| Evpoll::new(fds).or_missing("it cannot watch them")),
            _ => measure(n, |fds| {
                // Little memory of our own.
                let epoll = Epoll::<EDGE>::empty(1000).or_missing("epoll_create1")?;
                for &fd in fds {
                    epoll.ctl(libc::EPOLL_CTL_ADD, fd, IN).or_wrong("ADD")?;
                }
                Ok(epoll)
            }),
        };
        let (value, raw) = match measured {
            Ok((value, raw)) => (Ok(value), raw),
            Err(why) => (Err(why), Vec::new()),
        };
        options.output.figure(&Figure {
            name: "memory",
            interface,
            params: &[("watches", Value::Int(n as u64))],
            unit: Unit::Of("bytes/watch"),
            value,
            raw: &raw,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_added_up() {
        let text = "MemTotal: 9 kB\nMemFree:  12 kB\n";
        assert_eq!(sum(text, "MemFree:"), 12);
        let zones = "Node 0, zone DMA\n  pagesets\n    cpu: 0\n              count:    3\n\
                     \x20 high: 4\n    cpu: 1\n              count: 40\n";
        assert_eq!(sum(zones, "count:"), 43);
        assert_eq!(sum(zones, "none:"), 0);
    }
}
