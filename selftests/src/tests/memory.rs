// SPDX-License-Identifier: GPL-2.0
//! Memory and address space stay where they were, however often queues come and go. The figures
//! before and after are printed.

use std::time::{Duration, Instant};

use crate::abi::*;
use crate::device::*;
use crate::figures::{kept_when_freed, Figures};
use crate::net::{recv_fd, send_fd, socketpair};
use crate::queue::*;
use crate::runner::{test, Test};
use crate::sys::*;

const fn long(name: &'static str, run: fn()) -> Test {
    Test {
        limit: 180,
        ..test("memory", name, run)
    }
}

pub const TESTS: &[Test] = &[
    long("rounds_of_create_add_close", rounds_of_create_add_close),
    long("rounds_of_wait_and_close", rounds_of_wait_and_close),
    long("rounds_of_the_device", rounds_of_the_device),
    long("rounds_of_nesting", rounds_of_nesting),
    long("rounds_of_watches", rounds_of_watches),
    long("rounds_of_forks_and_messages", rounds_of_forks_and_messages),
];

/// Does it `wanted` times, or as often as fits into so many seconds where that is less, but
/// `least` times, and compares the figures.
#[track_caller]
fn rounds(wanted: usize, seconds: u64, least: usize, mut round: impl FnMut(usize)) {
    const TRIAL: usize = 300;
    // Whatever is allocated only once, and how long a round takes.
    for i in 0..TRIAL {
        round(i);
    }
    let ((), time) = timed(|| (0..TRIAL).for_each(&mut round));
    let fits = Duration::from_secs(seconds).as_nanos() / (time.as_nanos() / TRIAL as u128).max(1);
    let n = wanted.min((fits as usize).max(least));
    let kept = kept_when_freed();

    let before = Figures::now();
    let ((), time) = timed(|| (0..n).for_each(&mut round));
    // What is freed after a grace period, or by a worker.
    let end = Instant::now() + ms(5000);
    let mut after = Figures::now();
    while after.grown(&before, n, kept).is_some() && Instant::now() < end {
        sleep(ms(100));
        after = Figures::now();
    }
    println!("{n} rounds in {} ms", time.as_millis());
    for (name, before, after) in [
        ("MemAvailable (kB)", before.available, after.available),
        ("Slab (kB)", before.slab, after.slab),
        ("SUnreclaim (kB)", before.unreclaimable, after.unreclaimable),
        ("VmSize (kB)", before.address_space, after.address_space),
        ("descriptors", before.descriptors, after.descriptors),
        ("mappings", before.maps, after.maps),
    ] {
        println!("{name}: {before} before, {after} after");
    }
    if let Some(what) = after.grown(&before, n, kept) {
        panic!("after {n} rounds, {what}");
    }
}

/// With and without an explicit DEL, and closing either side first.
fn rounds_of_create_add_close() {
    rounds(100_000, 60, 5000, |i| {
        let (r, w) = pipe();
        let q = Queue::new(8);
        q.add(&r, IN);
        if i & 4 != 0 {
            put(&w, b"x");
        }
        if i & 1 != 0 {
            q.del(&r);
        }
        if i & 2 != 0 {
            drop(q);
            drop(r);
        } else {
            drop(r);
            drop(q);
        }
    });
}

/// With events, and the pages that they take.
fn rounds_of_wait_and_close() {
    let (r, w) = pipe();
    rounds(10_000, 15, 1000, |i| {
        let q = Queue::new(600);
        q.add(&r, IN);
        for _ in 0..2 {
            put(&w, b"x");
            check_eq!("events", q.wait(0).len(), 1);
            get(&r, 1);
        }
        if i % 2 == 0 {
            put(&w, b"x");
            get(&r, 1);
        }
    });
}

/// Closed before or after its mapping, with EP_FREE or without.
fn rounds_of_the_device() {
    let (r, w) = pipe();
    rounds(10_000, 15, 1000, |i| {
        let (q, map) = device(8);
        apply(&q, &[change(&r, IN)]);
        put(&w, b"x");
        check_eq!("events", map.poll(&q, 0).len(), 1);
        get(&r, 1);
        match i % 4 {
            0 => {
                drop(map);
                free(&q);
            }
            1 => {
                drop(map);
                alloc(&q, 600);
                drop(Map::new(&q, 600));
            }
            2 => {
                drop(q);
                drop(map);
            }
            _ => {
                // The wait uses the mapping that is there, or makes one.
                drop(map);
                put(&w, b"x");
                check_eq!("events", q.wait(0).len(), 1);
                get(&r, 1);
            }
        }
    });
}

fn rounds_of_nesting() {
    let (r, w) = pipe();
    rounds(5_000, 15, 1000, |i| {
        let mut queues: Vec<Queue> = (0..4).map(|_| Queue::new(8)).collect();
        for pair in queues.windows(2) {
            pair[0].add(&pair[1].fd, IN);
        }
        queues[3].add(&r, IN);
        put(&w, b"x");
        if i % 2 == 0 {
            check_eq!("events", queues[0].wait(0).len(), 1);
        }
        get(&r, 1);
        queues.swap_remove(i % 4);
    });
}

/// One queue that stays, and watches that come and go.
fn rounds_of_watches() {
    let q = Queue::new(64);
    let (stays, w) = pipe();
    rounds(30_000, 15, 1000, |i| {
        q.add(&stays, IN);
        let (r2, w2) = pipe();
        q.add(&r2, IN);
        q.add(&w2, OUT);
        if i % 2 == 0 {
            put(&w2, b"x");
            put(&w, b"x");
            check_eq!("events", q.wait(0).len(), 2);
            get(&stays, 1);
        }
        q.del(&stays);
    });
    check_eq!("watches", watches(&q), 0);
}

fn rounds_of_forks_and_messages() {
    let (a, b) = socketpair(libc::SOCK_STREAM);
    let (r, w) = pipe();
    rounds(5_000, 15, 1000, |i| {
        let q = Queue::new(8);
        q.add(&r, IN);
        send_fd(&a, q.raw());
        let same = Queue { fd: recv_fd(&b) };
        drop(q);
        put(&w, b"x");
        check_eq!("events", same.wait(0).len(), 1);
        get(&r, 1);
        if i % 10 == 0 {
            fork(|| {
                put(&w, b"x");
                check_eq!("events in a child", same.wait(0).len(), 1);
                get(&r, 1);
            })
            .succeed();
        }
    });
}
