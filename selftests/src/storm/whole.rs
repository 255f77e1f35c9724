// SPDX-License-Identifier: GPL-2.0
//! Whether a queue still does all that a queue does.

use crate::abi::*;
use crate::net::socketpair;
use crate::queue::*;
use crate::sys::*;

/// Takes what is pending, in as many waits as there may be.
#[track_caller]
pub fn empty(q: &Queue) {
    for _ in 0..10 {
        if q.wait(0).is_empty() {
            return;
        }
    }
    panic!("a queue that nothing happens to does not become empty");
}

/// The bits that come for `fd`, in a bounded time; nothing may come for any other.
#[track_caller]
fn bits(q: &Queue, fd: &Fd, want: u32) {
    let end = std::time::Instant::now() + ms(4000);
    let mut got = 0;
    while got & want != want && std::time::Instant::now() < end {
        for e in q.wait(limit(100)) {
            check_eq!("the descriptor of an event", e.fd, fd.raw());
            got |= e.revents();
        }
    }
    check!(
        got & want == want,
        "after the storm: expected {}, got {}",
        Bits(want),
        Bits(got)
    );
}

/// An event of each kind. There are no other watches that anything happens to.
#[track_caller]
pub fn delivers_every_kind(q: &Queue) {
    empty(q);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    bits(q, &r, IN);
    q.del(&r);
    q.add_and_test(&r, IN);
    bits(q, &r, IN);
    fill(&w, 4096);
    q.add(&w, OUT);
    empty(q);
    drain(&r);
    bits(q, &w, OUT);
    q.del(&w);
    empty(q);
    w.close();
    bits(q, &r, HUP);
    drop(r);
    let (r, w) = pipe();
    q.add(&w, 0);
    r.close();
    bits(q, &w, ERR);
    drop(w);
    let (a, b) = socketpair(libc::SOCK_STREAM);
    q.add(&a, RDHUP);
    b.close();
    bits(q, &a, RDHUP | HUP);
    drop(a);
    // A queue in the queue.
    let inner = Queue::new(2);
    let (r, w) = pipe();
    inner.add(&r, IN);
    q.add(&inner.fd, IN);
    put(&w, b"x");
    bits(q, &inner.fd, IN);
    drop(inner);
    empty(q);
}

/// A user who has no watch any more can have as many as the limit says.
#[track_caller]
pub fn every_watch_is_free(limit: usize) {
    let (r, _w) = pipe();
    // As many numbers as it takes queues for.
    const EACH: usize = 500;
    let fds: Vec<Fd> = (0..EACH).map(|_| r.dup()).collect();
    let queues: Vec<Queue> = (0..limit / EACH).map(|_| Queue::new(EACH as i32)).collect();
    for q in &queues {
        for fd in &fds {
            q.add(fd, IN);
        }
    }
    let more = Queue::new(1);
    let got = more.try_ctl(EP_CTL_ADD, r.raw(), IN);
    check_eq!("one watch more", got, Err(Errno(libc::ENOSPC)));
}
