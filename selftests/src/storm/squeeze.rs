// SPDX-License-Identifier: GPL-2.0
//! Processes in a control group whose memory limit is reached: they get ENOMEM, and what they have
//! still works, or they are killed. Nobody else notices.

use std::fs;

use super::random::Random;
use crate::abi::*;
use crate::cgroup::Group;
use crate::net::socketpair;
use crate::queue::*;
use crate::sys::*;

/// The exit status of a process that got ENOMEM, and found its queues whole.
const REFUSED: i32 = 7;

/// Does it over and over until `over`. Returns what came of it, for people.
#[track_caller]
pub fn until(seed: u64, over: impl Fn() -> bool) -> String {
    let mut random = Random::new(seed, 1 << 33);
    let group = match Group::try_new() {
        Ok(group) => group,
        Err(why) => {
            while !over() {
                sleep(ms(1));
            }
            return format!("no processes at a memory limit: {why}");
        }
    };
    // There may be no swap at all.
    let _ = fs::write(format!("{}/memory.swap.max", group.path), "0");
    let (mut refused, mut killed) = (0, 0);
    while !over() {
        let limit = 1500 + random.below(2500);
        group.set("memory.max", &format!("{limit}K"));
        // One alone, or several at the same limit.
        let children: Vec<Child> = (0..1 + random.below(3))
            .map(|_| fork(|| eater(&group)))
            .collect();
        for child in children {
            match child.wait() {
                Exit::Code(REFUSED) => refused += 1,
                Exit::Signal(libc::SIGKILL) => killed += 1,
                other => panic!("a process at its memory limit ended with {other:?}"),
            }
        }
        sleep(ms(10));
    }
    format!("at the memory limit: {refused} processes were refused, {killed} killed")
}

/// A process that adds watches until there is no memory for more; then what there is must work.
/// What it takes for that is made before it is in the group.
#[track_caller]
fn eater(group: &Group) {
    const EACH: usize = 500;
    need_files(1024);
    let (r, w) = pipe();
    let fds: Vec<Fd> = (0..EACH).map(|_| r.dup()).collect();
    let (a, b) = socketpair(libc::SOCK_STREAM);
    let own = Queue::new(8);
    match own.try_ctl(EP_CTL_ADD, a.raw(), IN) {
        Ok(_) => {}
        // As below.
        // SAFETY: ends the process.
        Err(Errno(libc::ENOSPC)) => unsafe { libc::_exit(REFUSED) },
        Err(e) => panic!("ADD before the memory limit: {e}"),
    }
    // With the number of their watches.
    let mut queues: Vec<(Queue, usize)> = Vec::with_capacity(300);
    group.join();
    'all: while queues.len() < queues.capacity() {
        match Queue::try_new(EACH as i32, 0) {
            Ok(q) => queues.push((q, 0)),
            Err(Errno(libc::ENOMEM)) => break,
            Err(e) => panic!("evpoll_create at the memory limit: {e}"),
        }
        let Some((q, watches)) = queues.last_mut() else {
            break;
        };
        for fd in &fds {
            match q.try_ctl(EP_CTL_ADD, fd.raw(), IN) {
                Ok(_) => *watches += 1,
                // ENOSPC: the limit of watches, while the storm counts those of its own user.
                Err(Errno(libc::ENOMEM | libc::ENOSPC)) => break 'all,
                Err(e) => panic!("ADD at the memory limit: {e}"),
            }
        }
    }
    // An event needs no memory, but what is written does.
    if wrote(&w) {
        // The first queues are full, the last is where it stopped.
        for (q, watches) in queues
            .iter()
            .take(1)
            .chain(queues.last().filter(|_| queues.len() > 1))
        {
            let events = q.try_wait_raw(0).map(|(n, _)| n);
            check_eq!("events at the memory limit", events, Ok(*watches));
        }
    }
    if wrote(&b) {
        own.expect("the queue from before", &[entry(&a, IN, IN)]);
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(REFUSED) }
}

/// Whether there was memory for a byte.
#[track_caller]
fn wrote(fd: &Fd) -> bool {
    match write(fd, b"x") {
        Ok(n) => n == 1,
        Err(Errno(libc::ENOMEM | libc::ENOBUFS)) => false,
        Err(e) => panic!("write at the memory limit: {e}"),
    }
}
