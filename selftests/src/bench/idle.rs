// SPDX-License-Identifier: GPL-2.0
//! What the hooks cost those who use no queue: paths that everybody takes, timed while no queue has
//! ever been open since the boot, while one is open that watches something else, and after it was
//! closed again. The figures of a kernel without evpoll are compared with them.
//!
//! They must be exact, since they differ by little. So each is measured in blocks shorter than the
//! timer's period, and is the mean of the middle half of the blocks: a tick, or something else that
//! comes in between, makes a block one of the dearest, and those are left out.

use crate::calls::{now, read_byte, result, write_byte};
use crate::interfaces::{Evpoll, Interface};
use crate::measure::{hooks_off, settle, wrong, Context, Result};
use crate::output::{Figure, Unit, Value};
use crate::Options;
use selftests::abi::{evpoll_create, Errno};
use selftests::net::{socketpair, tcp_pair, Ip};
use selftests::sys::{pipe, Fd};
use std::os::raw::c_long;

/// Before a queue was ever open.
const NO_QUEUE: &str = "no-queue";
const QUEUE_OPEN: &str = "queue-open";
const QUEUE_CLOSED: &str = "queue-closed";
/// The kernel has no evpoll.
const UNPATCHED: &str = "unpatched";

struct Path {
    name: &'static str,
    /// So often in a block.
    block: usize,
    /// Blocks.
    blocks: usize,
    run: fn(&Path, usize) -> Result<Blocks>,
}

/// A block takes up to some 300 000 instructions: a timer of 250 Hz ticks in every thirteenth.
const PATHS: [Path; 5] = [
    Path {
        name: "pipe write and read",
        block: 100,
        blocks: 400,
        run: pipe_byte,
    },
    Path {
        name: "TCP send and receive",
        block: 20,
        blocks: 400,
        run: tcp_byte,
    },
    Path {
        name: "UNIX stream send and receive",
        block: 50,
        blocks: 400,
        run: unix_byte,
    },
    Path {
        name: "open and close",
        block: 50,
        blocks: 400,
        run: open_close,
    },
    Path {
        name: "fork, exit and wait",
        block: 4,
        blocks: 400,
        run: fork_exit,
    },
];

struct Blocks {
    /// Of each block, for one operation; in order.
    costs: Vec<f64>,
}

impl Blocks {
    fn middle_half(&self) -> f64 {
        let n = self.costs.len();
        let middle = &self.costs[n / 4..n - n / 4];
        middle.iter().sum::<f64>() / middle.len() as f64
    }

    fn quantile(&self, q: f64) -> f64 {
        self.costs[((self.costs.len() - 1) as f64 * q).round() as usize]
    }
}

fn in_blocks(path: &Path, blocks: usize, mut op: impl FnMut() -> Result<()>) -> Result<Blocks> {
    let mut costs = vec![0.0; blocks];
    // As many again, to begin with, that do not count.
    for cost in &mut costs {
        for _ in 0..path.block {
            op()?;
        }
        *cost = 1.0;
    }
    settle();
    for cost in &mut costs {
        let begin = now();
        for _ in 0..path.block {
            op()?;
        }
        *cost = (now() - begin) as f64 / path.block as f64;
    }
    costs.sort_by(f64::total_cmp);
    Ok(Blocks { costs })
}

fn pipe_byte(path: &Path, blocks: usize) -> Result<Blocks> {
    let (r, w) = pipe();
    in_blocks(path, blocks, || {
        match write_byte(w.raw(), 1) && read_byte(r.raw(), 1) {
            true => Ok(()),
            false => wrong("a byte is missing"),
        }
    })
}

/// A byte to the other side and one back, which also acknowledges the first: for one of them.
fn there_and_back(path: &Path, blocks: usize, a: &Fd, b: &Fd) -> Result<Blocks> {
    let mut forth = false;
    in_blocks(path, blocks, || {
        forth = !forth;
        let (from, to) = if forth { (a, b) } else { (b, a) };
        match write_byte(from.raw(), 1) && read_byte(to.raw(), 1) {
            true => Ok(()),
            false => wrong("a byte is missing"),
        }
    })
}

fn tcp_byte(path: &Path, blocks: usize) -> Result<Blocks> {
    let (a, b) = tcp_pair(Ip::V4);
    there_and_back(path, blocks, &a, &b)
}

fn unix_byte(path: &Path, blocks: usize) -> Result<Blocks> {
    let (a, b) = socketpair(libc::SOCK_STREAM);
    there_and_back(path, blocks, &a, &b)
}

fn open_close(path: &Path, blocks: usize) -> Result<Blocks> {
    in_blocks(path, blocks, || {
        // SAFETY: a C string; closes what it has just opened.
        unsafe {
            let fd = libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                c"/dev/null".as_ptr(),
                libc::O_RDONLY,
            );
            let fd = result(fd).or_wrong("open /dev/null")?;
            result(libc::syscall(libc::SYS_close, fd)).or_wrong("close")?;
        }
        Ok(())
    })
}

fn fork_exit(path: &Path, blocks: usize) -> Result<Blocks> {
    in_blocks(path, blocks, || {
        // SAFETY: the child does nothing but end. There are no other threads.
        let child = unsafe {
            let child = libc::syscall(libc::SYS_fork);
            if child == 0 {
                libc::syscall(libc::SYS_exit_group, 0);
            }
            result(child).or_wrong("fork")? as c_long
        };
        let mut status = -1;
        let none: *mut libc::rusage = std::ptr::null_mut();
        // SAFETY: room for the status.
        let ended =
            result(unsafe { libc::syscall(libc::SYS_wait4, child, &raw mut status, 0, none) });
        match (ended.or_wrong("wait4")?, status) {
            (pid, 0) if pid as c_long == child => Ok(()),
            (_, status) => wrong(format!("the child ended with status {status:#x}")),
        }
    })
}

fn paths(options: &Options, setting: &str) {
    for path in &PATHS {
        eprintln!("idle: {setting}: {}", path.name);
        let blocks = path.blocks / if options.quick { 10 } else { 1 };
        let mut raw = vec![
            ("block", Value::Int(path.block as u64)),
            ("blocks", Value::Int(blocks as u64)),
        ];
        let measured = (path.run)(path, blocks);
        if let Ok(blocks) = &measured {
            raw.push(("least", Value::Float(blocks.quantile(0.0))));
            raw.push(("median", Value::Float(blocks.quantile(0.5))));
            raw.push(("most", Value::Float(blocks.quantile(1.0))));
        }
        options.output.figure(&Figure {
            name: "idle",
            interface: setting,
            params: &[("path", Value::Text(path.name))],
            unit: Unit::Per("operation"),
            value: measured.map(|blocks| blocks.middle_half()),
            raw: &raw,
        });
    }
}

/// Whether the kernel has the calls, found out without opening a queue.
fn has_evpoll() -> bool {
    evpoll_create(0, 0) != Err(Errno(libc::ENOSYS))
}

/// On one processor, where nothing else runs on it.
fn pin() {
    // SAFETY: a zeroed set is an empty one, and processor 0 fits into it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

pub fn run(options: &Options) -> Result<()> {
    pin();
    let there = has_evpoll();
    let usual = if there { NO_QUEUE } else { UNPATCHED };
    paths(options, options.setting.as_deref().unwrap_or(usual));
    if there {
        let (r, _w) = pipe();
        let queue = Evpoll::new(&[r.raw()]).or_wrong("it cannot watch a pipe")?;
        paths(options, QUEUE_OPEN);
        drop(queue);
        hooks_off();
        paths(options, QUEUE_CLOSED);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_left_out() {
        let blocks = Blocks {
            costs: vec![99.0, 100.0, 101.0, 102.0, 103.0, 104.0, 105.0, 9000.0],
        };
        assert_eq!(blocks.middle_half(), 102.5);
        assert_eq!(blocks.quantile(0.0), 99.0);
        assert_eq!(blocks.quantile(1.0), 9000.0);
    }
}
