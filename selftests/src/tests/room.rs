// SPDX-License-Identifier: GPL-2.0
//! Room in the buffer: an event that is taken back leaves a hole, and holes must neither take the
//! place of an event, nor change the order or the owner of one when they are squeezed out.

use crate::abi::*;
use crate::queue::*;
use crate::sys::*;

tests!("room":
    hole_on_a_full_page,
    every_event_taken_back_and_made_again,
    add_and_del_beside_one_that_is_queued,
    mod_beside_one_that_is_queued,
    squeezed_events_keep_place_and_owner,
    squeezed_events_can_be_taken_back,
);

/// Entries on a page.
const PAGE: usize = 4096 / size_of::<PollFd>();

/// Pipes, each watched for IN, with an event queued.
fn queued(q: &Queue, n: usize) -> Vec<(Fd, Fd)> {
    need_files(8 * PAGE as u64);
    let pipes: Vec<_> = (0..n).map(|_| pipe()).collect();
    for (r, w) in &pipes {
        q.add(r, IN);
        put(w, b"x");
    }
    pipes
}

/// As [`Queue::expect`], but names the first difference only: these arrays are long.
#[track_caller]
fn expect_array(q: &Queue, what: &str, want: &[PollFd]) {
    let got = q.wait(limit(2000));
    if let Some(i) = (0..want.len().max(got.len())).find(|&i| got.get(i) != want.get(i)) {
        panic!(
            "{what}: expected {} entries, got {}; entry {i}: expected {:?}, got {:?}",
            want.len(),
            got.len(),
            want.get(i),
            got.get(i)
        );
    }
}

fn entries<'a>(pipes: impl IntoIterator<Item = &'a (Fd, Fd)>) -> Vec<PollFd> {
    pipes.into_iter().map(|(r, _)| entry(r, IN, IN)).collect()
}

/// As many watches as there is room for, all with an event: one is taken back, and another comes.
fn hole_on_a_full_page() {
    let q = Queue::new(PAGE as i32);
    let mut pipes = queued(&q, PAGE);
    let (r, w) = pipes.remove(0);
    q.modify(&r, OUT);
    drop(w);
    let mut want = entries(&pipes);
    want.push(entry(&r, OUT, HUP));
    expect_array(&q, "all, with the first one last", &want);
}

fn every_event_taken_back_and_made_again() {
    let q = Queue::new(PAGE as i32);
    let pipes = queued(&q, PAGE);
    for (r, w) in &pipes {
        q.modify(r, OUT);
        q.modify(r, IN);
        put(w, b"y");
    }
    expect_array(&q, "all, in the new order", &entries(&pipes));
}

fn add_and_del_beside_one_that_is_queued() {
    let q = Queue::new(8);
    let first = queued(&q, 1);
    let (r, w) = pipe();
    put(&w, b"x");
    // One event after the hole, so that it is not at the end.
    let (r2, w2) = pipe();
    put(&w2, b"x");
    for _ in 0..2 * PAGE {
        q.add_and_test(&r, IN);
        q.add_and_test(&r2, IN);
        q.del(&r);
        q.del(&r2);
        q.add_and_test(&r2, IN);
        q.del(&r2);
    }
    q.add_and_test(&r, IN);
    let mut want = entries(&first);
    want.push(entry(&r, IN, IN));
    expect_array(&q, "the one that stayed and the last one", &want);
}

fn mod_beside_one_that_is_queued() {
    let q = Queue::new(8);
    let pipes = queued(&q, 3);
    for _ in 0..2 * PAGE {
        for (r, _) in &pipes[1..] {
            q.modify(r, OUT);
            q.mod_and_test(r, IN);
        }
    }
    expect_array(&q, "all three", &entries(&pipes));
}

/// Some 600 events, of which every other is taken back, and then as many watches as force the
/// holes to be squeezed out; what was moved still coalesces.
fn squeezed_events_keep_place_and_owner() {
    let q = Queue::new(2 * PAGE as i32);
    let pipes = queued(&q, 2 * PAGE);
    for (r, _) in pipes.iter().step_by(2) {
        q.del(r);
    }
    let more = queued(&q, PAGE);
    for (_, w) in pipes.iter().skip(1).step_by(2) {
        put(w, b"y");
    }
    let want = entries(pipes.iter().skip(1).step_by(2).chain(&more));
    expect_array(&q, "what was not removed, in order, once each", &want);
    q.expect_nothing("afterwards");
}

fn squeezed_events_can_be_taken_back() {
    let q = Queue::new(2 * PAGE as i32);
    let pipes = queued(&q, 2 * PAGE);
    for (r, _) in pipes.iter().step_by(2) {
        q.del(r);
    }
    let more = queued(&q, PAGE);
    for (r, _) in pipes.iter().skip(1).step_by(4) {
        q.del(r);
    }
    let want = entries(pipes.iter().skip(3).step_by(4).chain(&more));
    expect_array(&q, "what was not removed, in order", &want);
    check_eq!("nothing else", q.wait(0), Vec::<PollFd>::new());
}
