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
        let limit = 3 + random.below(6);
        group.set("memory.max", &format!("{limit}M"));
        let fork_storm = random.one_in(2);
        let child = fork(|| {
            group.join();
            if fork_storm {
                // Several at the same limit.
                for other in [fork(eat), fork(eat)] {
                    let end = other.wait();
                    let well = [Exit::Code(0), Exit::Signal(libc::SIGKILL)];
                    check!(well.contains(&end), "a process beside: {end:?}");
                }
            }
            eat();
            // SAFETY: ends the process.
            unsafe { libc::_exit(REFUSED) }
        });
        match child.wait() {
            Exit::Code(REFUSED) => refused += 1,
            Exit::Signal(libc::SIGKILL) => killed += 1,
            other => panic!("a process at its memory limit ended with {other:?}"),
        }
        sleep(ms(10));
    }
    format!("at the memory limit: {refused} processes were refused, {killed} killed")
}

/// Adds watches and buffers until there is no memory; then what is there must work.
#[track_caller]
fn eat() {
    need_files(1024);
    let (r, w) = pipe();
    let fds: Vec<Fd> = (0..500).map(|_| r.dup()).collect();
    let (a, b) = socketpair(libc::SOCK_STREAM);
    let own = Queue::new(8);
    own.add(&a, IN);
    let mut queues: Vec<Queue> = Vec::new();
    'all: for _ in 0..300 {
        match Queue::try_new(500, 0) {
            Ok(q) => queues.push(q),
            Err(Errno(libc::ENOMEM)) => break,
            Err(e) => panic!("evpoll_create at the memory limit: {e}"),
        }
        let Some(q) = queues.last() else { break };
        for fd in &fds {
            match q.try_ctl(EP_CTL_ADD, fd.raw(), IN) {
                Ok(_) => {}
                // ENOSPC: the limit of watches, while the storm counts those of its own user.
                Err(Errno(libc::ENOMEM | libc::ENOSPC)) => break 'all,
                Err(e) => panic!("ADD at the memory limit: {e}"),
            }
        }
    }
    // The first queues are full, the last is where it stopped.
    put(&w, b"x");
    for q in queues.iter().take(1).chain(queues.last()) {
        let n = crate::device::watches(q);
        match q.try_wait(0) {
            Ok(events) => check_eq!("events at the memory limit", events.len(), n),
            Err(Errno(libc::ENOMEM)) => {}
            Err(e) => panic!("evpoll_wait at the memory limit: {e}"),
        }
    }
    put(&b, b"x");
    own.expect("the queue from before", &[entry(&a, IN, IN)]);
}
