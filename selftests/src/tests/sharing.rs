// SPDX-License-Identifier: GPL-2.0
//! A queue that several processes have mapped: whoever closes it last, all mappings that evpoll
//! made go away, and nobody's accounts are touched but those of the process that had them.

use std::time::{Duration, Instant};

use crate::abi::*;
use crate::check::ok;
use crate::queue::*;
use crate::sys::*;

tests!("sharing":
    closed_last_by_exit_of_a_child,
    closed_last_by_a_child,
    closed_last_by_the_parent_of_one_that_waited,
    closed_last_in_a_message,
    many_children_close_last,
);

fn mapped() -> usize {
    let evpoll = |m: &Mapping| m.name.contains("[evpoll");
    mappings().iter().filter(|m| evpoll(m)).count()
}

/// The mapping of another process goes away soon, not at once.
#[track_caller]
fn expect_unmapped() {
    let end = Instant::now() + Duration::from_millis(limit(5000) as u64);
    while mapped() != 0 {
        check!(
            Instant::now() < end,
            "expected no mapping any more, got {}",
            mapped()
        );
        sleep(ms(5));
    }
}

#[track_caller]
fn works() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.expect("the event of a new queue", &[entry(&r, IN, IN)]);
}

/// As `exit` closes: the process has no address space of its own any more.
fn closed_last_by_exit_of_a_child() {
    let q = Queue::new(8);
    let (go, gate) = pipe();
    let child = fork(|| {
        poll_for(go.raw(), IN, limit(5000));
    });
    drop(q);
    check_eq!("mappings while the child has the queue", mapped(), 1);
    put(&gate, b".");
    child.succeed();
    expect_unmapped();
    works();
}

fn closed_last_by_a_child() {
    let q = Queue::new(8);
    let (go, gate) = pipe();
    let size = kilobytes("/proc/self/status", "VmSize:");
    let child = fork(|| {
        poll_for(go.raw(), IN, limit(5000));
        let before = kilobytes("/proc/self/status", "VmSize:");
        // SAFETY: a descriptor that is not used afterwards.
        ok("close", sys(unsafe { libc::close(q.raw()) }));
        sleep(ms(50));
        let after = kilobytes("/proc/self/status", "VmSize:");
        check_eq!("the size of the child, which had no mapping", after, before);
    });
    drop(q);
    put(&gate, b".");
    child.succeed();
    expect_unmapped();
    let now = kilobytes("/proc/self/status", "VmSize:");
    check!(
        now < size,
        "expected less than {size} kB of address space, got {now} kB"
    );
    works();
}

fn closed_last_by_the_parent_of_one_that_waited() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let (go, gate) = pipe();
    let (done, report) = pipe();
    let child = fork(|| {
        check_eq!("mappings of the child", mapped(), 0);
        q.expect("the event", &[entry(&r, IN, IN)]);
        check_eq!("mappings of the child that waited", mapped(), 1);
        // SAFETY: a descriptor that is not used afterwards.
        ok("close", sys(unsafe { libc::close(q.raw()) }));
        check_eq!("mappings while the parent has the queue", mapped(), 1);
        put(&report, b".");
        poll_for(go.raw(), IN, limit(5000));
        expect_unmapped();
        works();
    });
    poll_for(done.raw(), IN, limit(5000));
    drop(q);
    check_eq!("the parent's own mapping", mapped(), 0);
    put(&gate, b".");
    child.succeed();
}

/// The last reference is in a message that nobody reads.
fn closed_last_in_a_message() {
    let q = Queue::new(8);
    let (a, b) = crate::net::socketpair(libc::SOCK_STREAM);
    crate::net::send_fd(&a, q.raw());
    drop(q);
    check_eq!("mappings while the message has the queue", mapped(), 1);
    drop(a);
    drop(b);
    expect_unmapped();
    works();
}

fn many_children_close_last() {
    for round in 0..20 {
        let queues: Vec<_> = (0..8).map(|_| Queue::new(64)).collect();
        let (go, gate) = pipe();
        let child = fork(|| {
            poll_for(go.raw(), IN, limit(5000));
            if round % 2 == 0 {
                drop(queues.iter().map(|q| q.fd.dup()).collect::<Vec<_>>());
            }
        });
        drop(queues);
        put(&gate, b".");
        child.succeed();
    }
    expect_unmapped();
    works();
}
