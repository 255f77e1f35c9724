// SPDX-License-Identifier: GPL-2.0
//! A watch from its beginning to its end: ADD and MOD with and without a test, DEL, closing,
//! duplicates, and several queues.

use crate::abi::*;
use crate::check::fails;
use crate::net::{reset_on_close, socketpair, tcp_pair, Ip};
use crate::queue::*;
use crate::sys::*;

tests!("watch":
    add_on_ready,
    add_on_not_ready,
    add_and_test_on_ready,
    add_and_test_on_not_ready,
    add_and_test_reports_all_bits,
    add_and_test_wakes_nobody_twice,
    add_on_hung_up,
    add_and_test_on_hung_up,
    mod_on_ready,
    mod_and_test_on_ready,
    mod_and_test_again,
    mod_and_test_on_not_ready,
    mod_widens,
    mod_and_test_widens,
    mod_narrows_what_is_queued,
    mod_empties_what_is_queued,
    mod_empties_one_of_three,
    mod_keeps_error_and_hang_up,
    mod_back_and_forth,
    mod_and_test_on_queued_keeps_its_place,
    mod_narrows_later_events,
    del_drops_what_is_queued,
    del_drops_one_of_three,
    del_then_no_event,
    del_then_add,
    del_then_add_and_test,
    del_of_what_was_handed_out,
    del_of_most_of_many,
    del_and_add_of_many_when_full,
    close_removes,
    close_drops_what_is_queued,
    close_drops_one_of_three,
    close_of_a_socket,
    close_of_a_reset_socket,
    number_is_free_at_once,
    number_is_free_with_an_event_queued,
    number_used_by_another_kind,
    duplicate_keeps_the_watch,
    duplicate_keeps_what_is_queued,
    duplicate_number_is_no_watch,
    number_reused_while_a_duplicate_lives,
    child_keeps_the_watch,
    two_queues,
    two_queues_with_other_masks,
    two_numbers_in_one_queue,
    two_ends_of_one_pipe,
    closing_one_queue_leaves_the_other,
    closing_the_queue_first,
    exit_with_everything_open,
);

fn add_on_ready() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add(&r, IN);
    q.expect_nothing("a condition that was already true");
    put(&w, b"y");
    q.expect("the next edge", &[entry(&r, IN, IN)]);
}

fn add_on_not_ready() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    q.expect_nothing("added");
    put(&w, b"x");
    q.expect("the first edge", &[entry(&r, IN, IN)]);
}

fn add_and_test_on_ready() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add_and_test(&r, IN);
    q.expect("a condition that was already true", &[entry(&r, IN, IN)]);
    q.expect_nothing("and only once");
}

fn add_and_test_on_not_ready() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add_and_test(&r, IN);
    q.expect_nothing("not ready");
}

fn add_and_test_reports_all_bits() {
    let q = Queue::new(8);
    let (a, b) = tcp_pair(Ip::V4);
    put(&b, b"x");
    poll_until(&a, IN);
    q.add_and_test(&a, IN | OUT | RDNORM | WRNORM);
    let all = IN | OUT | RDNORM | WRNORM;
    q.expect("everything that is true", &[entry(&a, all, all)]);
}

fn add_and_test_wakes_nobody_twice() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add_and_test(&r, IN);
    put(&w, b"y");
    q.expect("the test and an edge are one entry", &[entry(&r, IN, IN)]);
    q.expect_nothing("no more");
}

fn add_on_hung_up() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    w.close();
    q.add(&r, IN);
    q.expect_nothing("a condition that was already true");
}

fn add_and_test_on_hung_up() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    w.close();
    q.add_and_test(&r, 0);
    q.expect("HUP without being asked for", &[entry(&r, 0, HUP)]);
}

fn mod_on_ready() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add(&r, IN);
    q.modify(&r, IN);
    q.expect_nothing("a condition that was already true");
    put(&w, b"y");
    q.expect("the next edge", &[entry(&r, IN, IN)]);
}

fn mod_and_test_on_ready() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add(&r, IN);
    q.mod_and_test(&r, IN);
    q.expect("a condition that was already true", &[entry(&r, IN, IN)]);
}

/// With the mask that it has: still an event each time, which event loops rely on.
fn mod_and_test_again() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    put(&w, b"x");
    q.expect("the edge", &[entry(&r, IN, IN)]);
    for _ in 0..3 {
        q.mod_and_test(&r, IN);
        q.expect("tested again", &[entry(&r, IN, IN)]);
    }
    get(&r, 1);
    q.mod_and_test(&r, IN);
    q.expect_nothing("not ready any more");
}

fn mod_and_test_on_not_ready() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, 0);
    q.mod_and_test(&r, IN);
    q.expect_nothing("not ready");
}

fn mod_widens() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, 0);
    put(&w, b"x");
    q.modify(&r, IN);
    q.expect_nothing("what came before was of no interest");
    put(&w, b"y");
    q.expect("what comes after is", &[entry(&r, IN, IN)]);
}

fn mod_and_test_widens() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, 0);
    put(&w, b"x");
    q.mod_and_test(&r, IN);
    q.expect("what is there is reported", &[entry(&r, IN, IN)]);
}

fn mod_narrows_what_is_queued() {
    let q = Queue::new(8);
    let (a, b) = tcp_pair(Ip::V4);
    put(&b, b"x");
    poll_until(&a, IN);
    q.add_and_test(&a, IN | OUT);
    q.modify(&a, OUT);
    q.expect("what is left of it", &[entry(&a, OUT, OUT)]);
}

/// An entry without any bit is none.
fn mod_empties_what_is_queued() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.modify(&r, PRI);
    q.expect_nothing("nothing is left of it");
    q.modify(&r, IN);
    q.expect_nothing("and it does not come back");
    put(&w, b"y");
    q.expect("the next edge", &[entry(&r, IN, IN)]);
}

/// Three pipes with an event each, in this order.
fn three(q: &Queue) -> Vec<(Fd, Fd)> {
    let p: Vec<(Fd, Fd)> = (0..3).map(|_| pipe()).collect();
    for (r, w) in &p {
        q.add(r, IN);
        put(w, b"x");
    }
    p
}

fn mod_empties_one_of_three() {
    for victim in 0..3 {
        let q = Queue::new(8);
        let p = three(&q);
        q.modify(&p[victim].0, PRI);
        let others = (0..3).filter(|&i| i != victim);
        let want: Vec<PollFd> = others.map(|i| entry(&p[i].0, IN, IN)).collect();
        q.expect(&format!("without the one at place {victim}"), &want);
    }
}

fn mod_keeps_error_and_hang_up() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    w.close();
    q.modify(&r, 0);
    q.expect("HUP is always of interest", &[entry(&r, 0, HUP)]);
    let (r, w) = pipe();
    q.add(&w, OUT);
    r.close();
    q.modify(&w, 0);
    q.expect("ERR is always of interest", &[entry(&w, 0, ERR)]);
}

fn mod_back_and_forth() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for i in 0..1000 {
        let events = if i % 2 == 0 { 0 } else { IN };
        q.modify(&r, events);
        put(&w, b"x");
        if i < 999 {
            get(&r, 1);
        }
    }
    // The last mask was IN, and the last write came under it.
    q.expect("one entry", &[entry(&r, IN, IN)]);
    q.expect_nothing("no more");
}

fn mod_and_test_on_queued_keeps_its_place() {
    let q = Queue::new(8);
    let p = three(&q);
    q.mod_and_test(&p[0].0, IN | PRI);
    let want = [
        entry(&p[0].0, IN | PRI, IN),
        entry(&p[1].0, IN, IN),
        entry(&p[2].0, IN, IN),
    ];
    q.expect("in order of first event", &want);
}

fn mod_narrows_later_events() {
    let q = Queue::new(8);
    let (a, b) = socketpair(libc::SOCK_STREAM);
    q.add(&a, IN | RDHUP);
    q.modify(&a, RDHUP);
    put(&b, b"x");
    q.expect_nothing("data are of no interest any more");
    b.close();
    q.expect("the end is", &[entry(&a, RDHUP, RDHUP | HUP)]);
}

fn del_drops_what_is_queued() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.del(&r);
    q.expect_nothing("its event is dropped");
}

fn del_drops_one_of_three() {
    for victim in 0..3 {
        let q = Queue::new(8);
        let p = three(&q);
        q.del(&p[victim].0);
        let others = (0..3).filter(|&i| i != victim);
        let want: Vec<PollFd> = others.map(|i| entry(&p[i].0, IN, IN)).collect();
        q.expect(&format!("without the one at place {victim}"), &want);
    }
}

fn del_then_no_event() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    q.del(&r);
    put(&w, b"x");
    w.close();
    q.expect_nothing("not watched any more");
}

fn del_then_add() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    for _ in 0..10 {
        q.add(&r, IN);
        put(&w, b"x");
        q.del(&r);
    }
    q.add(&r, IN);
    q.expect_nothing("the old event does not come back");
    put(&w, b"y");
    q.expect("the next edge", &[entry(&r, IN, IN)]);
}

fn del_then_add_and_test() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.del(&r);
    q.add_and_test(&r, IN);
    q.expect("tested", &[entry(&r, IN, IN)]);
    q.expect_nothing("and only once");
}

fn del_of_what_was_handed_out() {
    let q = Queue::new(8);
    let p = three(&q);
    check_eq!("events", q.wait(limit(2000)).len(), 3);
    put(&p[2].1, b"y");
    put(&p[0].1, b"y");
    q.del(&p[2].0);
    q.expect("what is left", &[entry(&p[0].0, IN, IN)]);
}

/// What is left of a long queue, in its order, whichever part of it is taken out.
fn del_of_most_of_many() {
    const N: usize = 1200;
    need_files(3000);
    let p: Vec<(Fd, Fd)> = (0..N).map(|_| pipe()).collect();
    type Stays = fn(usize) -> bool;
    let stays: [(&str, Stays); 7] = [
        ("every second one", |i| i % 2 == 1),
        ("the first half", |i| i < N / 2),
        ("the second half", |i| i >= N / 2),
        ("the middle", |i| (N / 3..N / 2).contains(&i)),
        ("the last one", |i| i == N - 1),
        ("the first and the last one", |i| i == 0 || i == N - 1),
        ("none", |_| false),
    ];
    for (what, stays) in stays {
        let q = Queue::new(N as i32);
        for (r, w) in &p {
            q.add(r, IN);
            put(w, b"x");
        }
        for (i, (r, _)) in p.iter().enumerate() {
            if !stays(i) {
                q.del(r);
            }
        }
        let want: Vec<PollFd> = (0..N)
            .filter(|&i| stays(i))
            .map(|i| entry(&p[i].0, IN, IN))
            .collect();
        let got = q.wait(if want.is_empty() { 0 } else { limit(2000) });
        check_eq!(format!("number of events, {what}"), got.len(), want.len());
        check!(got == want, "{what}: wrong events or order");
        q.expect_nothing("all were handed out");
        for (r, _) in &p {
            drain(r);
        }
    }
}

/// Every place of the queue is taken; each watch is removed and added again while its event and
/// all others' are queued. Nobody else's event may suffer, and the order is that of the last
/// first events.
fn del_and_add_of_many_when_full() {
    const N: usize = 700;
    need_files(2000);
    let q = Queue::new(N as i32);
    let p: Vec<(Fd, Fd)> = (0..N).map(|_| pipe()).collect();
    for (r, w) in &p {
        q.add(r, IN);
        put(w, b"x");
    }
    let mut order: Vec<usize> = (0..N).collect();
    for round in 0..3 {
        for i in (0..N).map(|i| i * 11 % N).filter(|i| i % 3 != round) {
            q.del(&p[i].0);
            q.add_and_test(&p[i].0, IN);
            order.retain(|&o| o != i);
            order.push(i);
        }
    }
    let want: Vec<PollFd> = order.iter().map(|&i| entry(&p[i].0, IN, IN)).collect();
    let got = q.wait(limit(2000));
    check_eq!("number of events", got.len(), N);
    check!(got == want, "wrong events or order");
    q.expect_nothing("all were handed out");
}

fn close_removes() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    let number = r.raw();
    r.close();
    fails(
        "DEL of a closed descriptor",
        q.try_ctl(EP_CTL_DEL, number, 0),
        libc::EBADF,
    );
    q.expect_nothing("not watched any more");
}

fn close_drops_what_is_queued() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    r.close();
    q.expect_nothing("its event is dropped");
}

fn close_drops_one_of_three() {
    for victim in 0..3 {
        let q = Queue::new(8);
        let mut p = three(&q);
        drop(p.remove(victim));
        let want: Vec<PollFd> = p.iter().map(|p| entry(&p.0, IN, IN)).collect();
        q.expect(&format!("without the one at place {victim}"), &want);
    }
}

fn close_of_a_socket() {
    let q = Queue::new(8);
    let (a, b) = tcp_pair(Ip::V4);
    q.add_and_test(&a, IN | OUT | RDHUP);
    put(&b, b"x");
    poll_until(&a, IN);
    a.close();
    b.close();
    sleep(ms(5));
    q.expect_nothing("its event is dropped");
}

fn close_of_a_reset_socket() {
    let q = Queue::new(8);
    for _ in 0..50 {
        let (a, b) = tcp_pair(Ip::V4);
        q.add(&a, IN | RDHUP);
        reset_on_close(&b);
        drop((a, b));
    }
    sleep(ms(5));
    q.expect_nothing("none of them is there");
}

fn number_is_free_at_once() {
    let q = Queue::new(1);
    for round in 0..100 {
        let (r, w) = pipe();
        q.add(&r, IN);
        put(&w, b"x");
        if round % 2 == 0 {
            q.expect("the event", &[entry(&r, IN, IN)]);
        }
    }
}

fn number_is_free_with_an_event_queued() {
    let q = Queue::new(8);
    let (old, w) = pipe();
    let number = old.raw();
    q.add(&old, IN);
    put(&w, b"x");
    old.close();
    let (new, w) = pipe();
    check_eq!("the number", new.raw(), number);
    q.add(&new, IN);
    q.expect_nothing("the old event is not the new file's");
    put(&w, b"y");
    q.expect("the new file's event", &[entry(&new, IN, IN)]);
}

fn number_used_by_another_kind() {
    let q = Queue::new(8);
    let (old, w) = pipe();
    let number = old.raw();
    q.add(&old, IN);
    put(&w, b"x");
    old.close();
    let (a, b) = socketpair(libc::SOCK_STREAM);
    check_eq!("the number", a.raw(), number);
    q.add_and_test(&a, OUT);
    q.expect("the socket's event", &[entry(&a, OUT, OUT)]);
    drop(b);
}

/// As with epoll: the watch belongs to the file, and goes on under the number it was added by.
fn duplicate_keeps_the_watch() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let want = entry(&r, IN, IN);
    let dup = r.dup();
    r.close();
    put(&w, b"x");
    q.expect("under the first number", &[want]);
    dup.close();
    q.expect_nothing("the last one is closed");
    let (again, w) = pipe();
    check_eq!("the number", again.raw(), want.fd);
    q.add(&again, IN);
    put(&w, b"x");
    q.expect("the number is free", &[want]);
}

fn duplicate_keeps_what_is_queued() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let want = entry(&r, IN, IN);
    let _dup = r.dup();
    put(&w, b"x");
    r.close();
    q.expect("the queued event", &[want]);
}

/// A watch is known by its file and its number, both.
fn duplicate_number_is_no_watch() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    let dup = r.dup();
    fails(
        "MOD by another number",
        q.try_ctl(EP_CTL_MOD, dup.raw(), IN),
        libc::ENOENT,
    );
    fails(
        "DEL by another number",
        q.try_ctl(EP_CTL_DEL, dup.raw(), 0),
        libc::ENOENT,
    );
}

fn number_reused_while_a_duplicate_lives() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let number = r.raw();
    let dup = r.dup();
    r.close();
    let (new, w2) = pipe();
    check_eq!("the number", new.raw(), number);
    q.add(&new, IN);
    put(&w2, b"x");
    q.expect("the new file's event", &[entry(&new, IN, IN)]);
    put(&w, b"x");
    q.expect("the old file's event", &[entry(&new, IN, IN)]);
    dup.close();
    put(&w2, b"y");
    q.expect("the new file's event still", &[entry(&new, IN, IN)]);
}

fn child_keeps_the_watch() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let want = entry(&r, IN, IN);
    let (go, gate) = pipe();
    let child = fork(|| {
        poll_for(go.raw(), IN, limit(5000));
    });
    r.close();
    put(&w, b"x");
    q.expect("the child has it open", &[want]);
    put(&gate, b".");
    child.succeed();
    let (again, w) = pipe();
    check_eq!("the number", again.raw(), want.fd);
    q.add(&again, IN);
    put(&w, b"x");
    q.expect("the watch ended with the child", &[want]);
}

fn two_queues() {
    let (one, two) = (Queue::new(8), Queue::new(8));
    let (r, w) = pipe();
    one.add(&r, IN);
    two.add(&r, IN);
    for _ in 0..3 {
        put(&w, b"x");
        one.expect("the first queue", &[entry(&r, IN, IN)]);
        two.expect("the second queue", &[entry(&r, IN, IN)]);
    }
}

fn two_queues_with_other_masks() {
    let (one, two) = (Queue::new(8), Queue::new(8));
    let (a, b) = socketpair(libc::SOCK_STREAM);
    one.add(&a, IN);
    two.add(&a, RDHUP);
    put(&b, b"x");
    one.expect("data", &[entry(&a, IN, IN)]);
    two.expect_nothing("no interest in data");
    b.close();
    one.expect("the end", &[entry(&a, IN, IN | HUP)]);
    two.expect("the end", &[entry(&a, RDHUP, HUP | RDHUP)]);
}

fn two_numbers_in_one_queue() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let dup = r.dup();
    q.add(&r, IN);
    q.add(&dup, IN | PRI);
    put(&w, b"x");
    let mut got = q.wait(limit(2000));
    got.sort_by_key(|e| e.fd);
    let want = vec![entry(&r, IN, IN), entry(&dup, IN | PRI, IN)];
    check_eq!("both numbers", got, want);
    q.del(&r);
    put(&w, b"y");
    q.expect("the other one", &[entry(&dup, IN | PRI, IN)]);
}

fn two_ends_of_one_pipe() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    q.add_and_test(&w, OUT);
    q.expect("the writer's end", &[entry(&w, OUT, OUT)]);
    put(&w, b"x");
    q.expect("the reader's end", &[entry(&r, IN, IN)]);
}

fn closing_one_queue_leaves_the_other() {
    let (one, two) = (Queue::new(8), Queue::new(8));
    let (r, w) = pipe();
    one.add(&r, IN);
    two.add(&r, IN);
    put(&w, b"x");
    drop(one);
    two.expect("the event", &[entry(&r, IN, IN)]);
    put(&w, b"y");
    two.expect("another event", &[entry(&r, IN, IN)]);
}

fn closing_the_queue_first() {
    for _ in 0..200 {
        let q = Queue::new(8);
        let (r, w) = pipe();
        let (a, b) = socketpair(libc::SOCK_STREAM);
        q.add(&r, IN);
        q.add(&a, IN);
        put(&w, b"x");
        put(&b, b"x");
        drop(q);
        put(&w, b"y");
        put(&b, b"y");
        check_eq!("bytes", (drain(&r), drain(&a)), (2, 2));
    }
}

/// A process that ends with queues and watches, in any order that the kernel likes.
fn exit_with_everything_open() {
    for _ in 0..20 {
        let (kept, w) = pipe();
        fork(|| {
            let (one, two) = (Queue::new(8), Queue::new(8));
            let (r, w2) = pipe();
            for q in [&one, &two] {
                q.add(&r, IN);
                q.add(&kept, IN);
            }
            put(&w2, b"x");
            std::mem::forget((one, two, r, w2));
        })
        .succeed();
        put(&w, b"x");
        check_eq!("bytes", drain(&kept), 1);
    }
}
