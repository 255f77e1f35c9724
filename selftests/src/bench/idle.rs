// SPDX-License-Identifier: GPL-2.0
//! What the hooks cost those who use no queue: paths that everybody takes, timed while no queue has
//! ever been open since the boot, while one is open that watches something else, and after it was
//! closed again. The figures of a kernel without evpoll are compared with them.
//!
//! They must be exact, since they differ by little. So each is measured in blocks shorter than the
//! timer's period, by a process that does nothing else, and is the mean of the middle half of the blocks: a tick, or something else that
//! comes in between, makes a block one of the dearest, and those are left out.

use crate::calls::{now, read_byte, result, write_byte};
use crate::interfaces::{Evpoll, Interface};
use crate::measure::{hooks_off, settle, trimmed_mean, wrong, Context, Result};
use crate::output::{Figure, Unit, Value};
use crate::Options;
use selftests::abi::{evpoll_create, Errno};
use selftests::net::{socketpair, tcp_pair, Ip};
use selftests::sys::{fork, pipe, pipe_flags, Child, Exit, Fd};
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
    run: fn(&Ends) -> Result<()>,
}

/// A block takes up to some 700 000 instructions, and a timer of 250 Hz ticks every 4 000 000: in
/// fewer than a quarter of the blocks.
const PATHS: [Path; 5] = [
    Path {
        name: "pipe write and read",
        block: 200,
        run: |ends| byte(&ends.pipe.1, &ends.pipe.0),
    },
    Path {
        name: "TCP round trip",
        block: 20,
        run: |ends| there_and_back(&ends.tcp),
    },
    Path {
        name: "UNIX stream round trip",
        block: 50,
        run: |ends| there_and_back(&ends.unix),
    },
    Path {
        name: "open and close",
        block: 100,
        run: |_| open_close(),
    },
    Path {
        name: "fork, exit and wait",
        block: 4,
        run: |_| fork_exit(),
    },
];
const BLOCKS: usize = 40;
const SESSIONS: usize = 10;
const QUICK_SESSIONS: usize = 2;

/// What is written to and read from.
struct Ends {
    pipe: (Fd, Fd),
    tcp: (Fd, Fd),
    unix: (Fd, Fd),
}

impl Ends {
    fn new() -> Self {
        Ends {
            pipe: pipe(),
            tcp: tcp_pair(Ip::V4),
            unix: socketpair(libc::SOCK_STREAM),
        }
    }
}

fn session(path: &Path) -> Result<f64> {
    let ends = Ends::new();
    let mut costs = vec![1.0; BLOCKS];
    // As many again, to begin with, that do not count.
    for _ in 0..path.block * BLOCKS {
        (path.run)(&ends)?;
    }
    settle();
    for cost in &mut costs {
        let begin = now();
        for _ in 0..path.block {
            (path.run)(&ends)?;
        }
        *cost = (now() - begin) as f64 / path.block as f64;
    }
    Ok(trimmed_mean(costs, 4))
}

fn byte(from: &Fd, to: &Fd) -> Result<()> {
    match write_byte(from.raw(), 1) && read_byte(to.raw(), 1) {
        true => Ok(()),
        false => wrong("a byte is missing"),
    }
}

/// A byte to the other side and one back, which acknowledges the first as well.
fn there_and_back((a, b): &(Fd, Fd)) -> Result<()> {
    byte(a, b)?;
    byte(b, a)
}

fn open_close() -> Result<()> {
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
}

fn fork_exit() -> Result<()> {
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
    let ended = result(unsafe { libc::syscall(libc::SYS_wait4, child, &raw mut status, 0, none) });
    match (ended.or_wrong("wait4")?, status) {
        (pid, 0) if pid as c_long == child => Ok(()),
        (_, status) => wrong(format!("the child ended with status {status:#x}")),
    }
}

/// Measures and prints every path.
fn paths(options: &Options, setting: &str) {
    let sessions = if options.quick {
        QUICK_SESSIONS
    } else {
        SESSIONS
    };
    for path in &PATHS {
        eprintln!("idle: {setting}: {}", path.name);
        let mut raw = vec![
            ("sessions", Value::Int(sessions as u64)),
            ("blocks", Value::Int(BLOCKS as u64)),
            ("block", Value::Int(path.block as u64)),
        ];
        let means: Result<Vec<f64>> = (0..sessions).map(|_| session(path)).collect();
        let value = means.map(|mut means| {
            means.sort_by(f64::total_cmp);
            raw.push(("min", Value::Float(means[0])));
            raw.push(("max", Value::Float(means[sessions - 1])));
            means.iter().sum::<f64>() / sessions as f64
        });
        options.output.figure(&Figure {
            name: "idle",
            interface: setting,
            params: &[("path", Value::Text(path.name))],
            unit: Unit::Per("operation"),
            value,
            raw: &raw,
        });
    }
}

/// Until the numbers of processes have grown as far as they will: the tree that they are kept in
/// grows with them, at 64 and 4096, and so does the cost of fork.
fn use_up_numbers() -> Result<()> {
    const MOST: usize = 4096;
    for _ in 0..MOST {
        fork_exit()?;
    }
    Ok(())
}

/// A process of its own that measures, so that what it costs to fork it does not depend on whether
/// the queue's memory has been in its address space.
struct Worker {
    child: Child,
    orders: Fd,
    replies: Fd,
}

impl Worker {
    fn start(options: &Options, settings: &[&str]) -> Result<Self> {
        let blocking = || pipe_flags(0).or_wrong("pipe2");
        let ((orders, give), (get, replies)) = (blocking()?, blocking()?);
        let child = fork(|| {
            pin();
            if let Err(why) = use_up_numbers() {
                eprintln!("idle: {why}");
                std::process::exit(1);
            }
            for setting in settings {
                if !read_byte(orders.raw(), 1) {
                    break;
                }
                paths(options, setting);
                write_byte(replies.raw(), 1);
            }
            std::process::exit(i32::from(!options.output.all_right()));
        });
        Ok(Worker {
            child,
            orders: give,
            replies: get,
        })
    }

    /// Has it measure the next setting.
    fn measure(&self) -> Result<()> {
        match write_byte(self.orders.raw(), 1) && read_byte(self.replies.raw(), 1) {
            true => Ok(()),
            false => wrong("the process that measures has come to its end"),
        }
    }

    fn finish(self) -> Result<()> {
        match self.child.wait() {
            Exit::Code(0) => Ok(()),
            end => wrong(format!("the process that measures: {end:?}")),
        }
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
    let there = has_evpoll();
    let usual = if there { NO_QUEUE } else { UNPATCHED };
    let first = options.setting.as_deref().unwrap_or(usual);
    if !there {
        let worker = Worker::start(options, &[first])?;
        worker.measure()?;
        return worker.finish();
    }
    let worker = Worker::start(options, &[first, QUEUE_OPEN, QUEUE_CLOSED])?;
    worker.measure()?;
    let (r, _w) = pipe();
    let queue = Evpoll::new(&[r.raw()]).or_wrong("it cannot watch a pipe")?;
    worker.measure()?;
    drop(queue);
    hooks_off();
    worker.measure()?;
    worker.finish()
}
