// SPDX-License-Identifier: GPL-2.0
//! A queue inside something else that waits: poll, select, epoll, io_uring, and other queues.

use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Barrier;
use std::thread;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::*;
use crate::net::{recv_fd, send_fd, socketpair};
use crate::queue::*;
use crate::runner::skip;
use crate::sys::*;
use crate::uring::Ring;

tests!("nesting":
    in_poll,
    in_poll_that_waits,
    in_select,
    in_select_that_waits,
    in_epoll_level,
    in_epoll_edge,
    in_epoll_one_shot,
    in_epoll_that_waits,
    in_io_uring,
    in_a_queue,
    in_a_queue_bits,
    in_a_queue_that_waits,
    one_level,
    two_levels,
    three_levels,
    four_levels,
    fifth_level_is_refused,
    fifth_level_from_the_inside,
    fifth_level_in_the_middle,
    fifth_level_by_a_side_branch,
    depth_is_free_again_after_del,
    depth_is_free_again_after_close,
    depth_by_write,
    itself,
    cycle_of_two,
    cycle_of_three,
    cycle_of_four,
    cycle_through_a_duplicate,
    cycle_through_a_device,
    no_cycle_after_del,
    no_cycle_after_close,
    two_threads_build_a_cycle,
    three_threads_build_a_cycle,
    two_threads_build_too_deep,
    links_come_and_go_under_events,
    diamond,
    diamond_has_no_cycle,
    add_and_test_with_something_pending,
    add_and_test_with_nothing_pending,
    add_on_pending,
    mod_and_test,
    mod_narrows,
    del_stops_it,
    inner_closed,
    inner_closed_with_an_event_pending,
    inner_closed_while_its_events_come,
    outer_closed,
    outer_and_inner_closed_at_once,
    a_new_edge_each_time,
    only_the_first_entry_is_an_edge,
    coalesced_is_no_edge,
    removed_before_it_is_looked_at,
    sixty_four_watchers,
    watchers_come_and_go,
    watched_by_two_numbers,
    both_queues_waited_for,
    one_source_one_entry,
    no_storm_through_four_levels,
    no_storm_in_a_grid,
    sent_through_a_socket,
    in_a_child,
    a_device_without_room,
    epoll_stays_refused,
);

/// A pipe that a queue watches.
fn source(q: &Queue) -> (Fd, Fd) {
    let (r, w) = pipe();
    q.add(&r, IN);
    (r, w)
}

fn epoll() -> Fd {
    // SAFETY: takes no pointer.
    let raw = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
    Fd::new(ok("epoll_create1", sys(raw)))
}

#[track_caller]
fn epoll_ctl(epoll: &Fd, op: c_int, q: &Queue, flags: c_int) {
    let mut e = libc::epoll_event {
        events: IN | RDNORM | flags as u32,
        u64: 7,
    };
    // SAFETY: one event.
    let got = sys(unsafe { libc::epoll_ctl(epoll.raw(), op, q.raw(), &mut e) });
    ok("epoll_ctl", got);
}

/// What epoll says of the one descriptor in it.
#[track_caller]
fn epoll_wait(epoll: &Fd, timeout: c_int) -> Option<Bits> {
    let mut e = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: room for one event.
    let n = sys(unsafe { libc::epoll_wait(epoll.raw(), &mut e, 1, timeout) });
    (ok("epoll_wait", n) == 1).then_some(Bits(e.events))
}

const BOTH: Bits = Bits(IN | RDNORM);

fn in_poll() {
    let q = Queue::new(8);
    let (r, w) = source(&q);
    let every = IN | OUT | PRI | RDNORM | WRNORM;
    for _ in 0..5 {
        check_eq!("without an event", Bits(poll_now(q.raw(), every)), Bits(0));
        put(&w, b"x");
        check_eq!("with one", Bits(poll_now(q.raw(), every)), BOTH);
        check_eq!("and again", Bits(poll_now(q.raw(), every)), BOTH);
        check_eq!("asked for OUT", Bits(poll_now(q.raw(), OUT)), Bits(0));
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
}

fn in_poll_that_waits() {
    let q = Queue::new(8);
    let (r, w) = source(&q);
    for _ in 0..3 {
        thread::scope(|s| {
            s.spawn(|| {
                let_it_block();
                put(&w, b"x");
            });
            let got = poll_for(q.raw(), IN, limit(4000));
            check_eq!("poll(2) that waited", Bits(got), Bits(IN));
        });
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
}

/// select(2) on one descriptor for reading.
#[track_caller]
fn select(fd: c_int, milliseconds: c_int) -> bool {
    check!(fd < 1024, "{fd} is too large for select");
    // SAFETY: a zeroed set is a valid one, which the descriptor fits into.
    unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        libc::FD_SET(fd, &mut set);
        let mut time = libc::timeval {
            tv_sec: (milliseconds / 1000) as _,
            tv_usec: (milliseconds % 1000 * 1000) as _,
        };
        let none = std::ptr::null_mut();
        let n = sys(libc::select(fd + 1, &mut set, none, none, &mut time));
        ok("select", n) == 1 && libc::FD_ISSET(fd, &set)
    }
}

fn in_select() {
    let q = Queue::new(8);
    let (r, w) = source(&q);
    for _ in 0..5 {
        check!(
            !select(q.raw(), 0),
            "select sees an event that is not there"
        );
        put(&w, b"x");
        check!(select(q.raw(), 0), "select does not see the event");
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
}

fn in_select_that_waits() {
    let q = Queue::new(8);
    let (_r, w) = source(&q);
    thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            put(&w, b"x");
        });
        check!(select(q.raw(), limit(4000)), "select was not woken");
    });
}

fn in_epoll_level() {
    let q = Queue::new(8);
    let (r, w) = source(&q);
    let e = epoll();
    epoll_ctl(&e, libc::EPOLL_CTL_ADD, &q, 0);
    for _ in 0..4 {
        check_eq!("without an event", epoll_wait(&e, 0), None);
        put(&w, b"x");
        check_eq!("with one", epoll_wait(&e, limit(2000)), Some(BOTH));
        check_eq!("and again", epoll_wait(&e, 0), Some(BOTH));
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
}

fn in_epoll_edge() {
    let q = Queue::new(8);
    let (r, w) = source(&q);
    let (r2, w2) = source(&q);
    let e = epoll();
    epoll_ctl(&e, libc::EPOLL_CTL_ADD, &q, libc::EPOLLET);
    for _ in 0..20 {
        put(&w, b"x");
        check_eq!("an edge", epoll_wait(&e, limit(2000)), Some(BOTH));
        check_eq!("and only one", epoll_wait(&e, 0), None);
        // Another entry may be an edge or not: a wait takes all that there are.
        put(&w2, b"x");
        epoll_wait(&e, 0);
        let want = [entry(&r, IN, IN), entry(&r2, IN, IN)];
        q.expect("both", &want);
    }
}

fn in_epoll_one_shot() {
    let q = Queue::new(8);
    let (r, w) = source(&q);
    let e = epoll();
    epoll_ctl(&e, libc::EPOLL_CTL_ADD, &q, libc::EPOLLONESHOT);
    for _ in 0..4 {
        put(&w, b"x");
        check_eq!("the one", epoll_wait(&e, limit(2000)), Some(BOTH));
        put(&w, b"y");
        check_eq!("disarmed", epoll_wait(&e, 0), None);
        epoll_ctl(&e, libc::EPOLL_CTL_MOD, &q, libc::EPOLLONESHOT);
        check_eq!("armed again", epoll_wait(&e, limit(2000)), Some(BOTH));
        q.expect("the event", &[entry(&r, IN, IN)]);
        epoll_ctl(&e, libc::EPOLL_CTL_MOD, &q, libc::EPOLLONESHOT);
        check_eq!("nothing is there", epoll_wait(&e, 0), None);
    }
}

fn in_epoll_that_waits() {
    let q = Queue::new(8);
    let (_r, w) = source(&q);
    let e = epoll();
    epoll_ctl(&e, libc::EPOLL_CTL_ADD, &q, libc::EPOLLET);
    thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            put(&w, b"x");
        });
        check_eq!("epoll_wait", epoll_wait(&e, limit(4000)), Some(BOTH));
    });
    // Closed while epoll watches it.
    let raw = q.raw();
    drop(q);
    check_eq!("after close", epoll_wait(&e, 0), None);
    check_eq!("the number", lowest_free(), raw);
}

fn in_io_uring() {
    let mut ring = match Ring::new(64) {
        Ok(ring) => ring,
        Err(e) => skip(&format!("no io_uring: {e}")),
    };
    let q = Queue::new(8);
    let (r, w) = source(&q);
    let fds = [q.raw()];
    ok(
        "poll through io_uring",
        ring.poll_multishot(fds.iter().copied()),
    );
    for round in 0..20 {
        let mut got = Vec::new();
        ok("io_uring", ring.discard(&mut got));
        check_eq!(format!("before round {round}"), got, vec![]);
        put(&w, b"x");
        ok("io_uring", ring.wait(1, &mut got));
        check_eq!(format!("completions of round {round}"), got, vec![q.raw()]);
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
    // And with the wait first.
    thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            put(&w, b"x");
        });
        let mut got = Vec::new();
        ok("io_uring", ring.wait(1, &mut got));
        check_eq!("completions", got, vec![q.raw()]);
    });
}

fn in_a_queue() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    outer.expect_nothing("nothing has happened");
    put(&w, b"x");
    outer.expect("the inner queue", &[entry(&inner.fd, IN, IN)]);
    outer.expect_nothing("and only once");
    inner.expect("the source", &[entry(&r, IN, IN)]);
}

fn in_a_queue_bits() {
    for asked in [IN, RDNORM, IN | RDNORM, VALID] {
        let (outer, inner) = (Queue::new(8), Queue::new(8));
        let (_r, w) = source(&inner);
        outer.add(&inner.fd, asked);
        put(&w, b"x");
        let want = [entry(&inner.fd, asked, asked & (IN | RDNORM))];
        outer.expect("the bits that were asked for", &want);
    }
    for asked in [0, OUT | WRNORM, PRI, ERR | HUP] {
        let (outer, inner) = (Queue::new(8), Queue::new(8));
        let (_r, w) = source(&inner);
        outer.add(&inner.fd, asked);
        put(&w, b"x");
        outer.expect_nothing("nothing of it was asked for");
    }
}

fn in_a_queue_that_waits() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (_r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    thread::scope(|s| {
        let waiter = s.spawn(|| outer.wait(limit(4000)));
        let_it_block();
        put(&w, b"x");
        check_eq!(
            "what woke the waiter",
            waiter.join().expect("the waiter"),
            vec![entry(&inner.fd, IN, IN)]
        );
    });
}

/// Queues, each of which watches the next one: so many links.
fn chain(links: usize) -> Vec<Queue> {
    let queues: Vec<_> = (0..=links).map(|_| Queue::new(8)).collect();
    for pair in queues.windows(2) {
        pair[0].add(&pair[1].fd, IN);
    }
    queues
}

/// An event at the innermost one is heard by all, in each of several rounds.
#[track_caller]
fn heard_by_all(queues: &[Queue]) {
    let innermost = queues.last().expect("a queue");
    let (r, w) = source(innermost);
    for round in 0..5 {
        put(&w, b"x");
        for (i, pair) in queues.windows(2).enumerate() {
            let what = format!("queue {i} of {} in round {round}", queues.len());
            pair[0].expect(&what, &[entry(&pair[1].fd, IN, IN)]);
            check_eq!(format!("{what}, again"), pair[0].wait(0), Vec::new());
        }
        innermost.expect("the source", &[entry(&r, IN, IN)]);
    }
    innermost.del(&r);
}

fn one_level() {
    heard_by_all(&chain(1));
}

fn two_levels() {
    heard_by_all(&chain(2));
}

fn three_levels() {
    heard_by_all(&chain(3));
}

fn four_levels() {
    let queues = chain(4);
    heard_by_all(&queues);
    // From the inside to the outside, too.
    let (r, w) = source(&queues[4]);
    put(&w, b"x");
    queues[4].expect("the source", &[entry(&r, IN, IN)]);
    for pair in queues.windows(2).rev() {
        pair[0].expect("inside out", &[entry(&pair[1].fd, IN, IN)]);
    }
}

#[track_caller]
fn too_deep(outer: &Queue, inner: &Queue) {
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        let got = outer.try_ctl(op, inner.raw(), IN);
        fails("a fifth link", got, libc::ELOOP);
    }
}

fn fifth_level_is_refused() {
    let queues = chain(4);
    let outer = Queue::new(8);
    too_deep(&outer, &queues[0]);
    // One level further in, it is not too deep.
    outer.add(&queues[1].fd, IN);
    heard_by_all(&queues);
}

fn fifth_level_from_the_inside() {
    let queues = chain(4);
    let inner = Queue::new(8);
    too_deep(&queues[4], &inner);
    queues[3].add(&inner.fd, IN);
    heard_by_all(&queues);
}

/// Two chains that are each short enough.
fn fifth_level_in_the_middle() {
    let (one, two) = (chain(2), chain(2));
    too_deep(&one[2], &two[0]);
    one[1].add(&two[0].fd, IN);
    let mut all: Vec<Queue> = one.into_iter().take(2).collect();
    all.extend(two);
    heard_by_all(&all);
}

/// The longest way counts, not the one that was looked at first.
fn fifth_level_by_a_side_branch() {
    let hub = Queue::new(16);
    let short: Vec<_> = (0..5).map(|_| Queue::new(8)).collect();
    for q in &short {
        hub.add(&q.fd, IN);
    }
    let long = chain(3);
    hub.add(&long[0].fd, IN);
    let above = Queue::new(8);
    too_deep(&above, &hub);
    // The same from below: the hub is watched by many, one of whom is high up.
    let (low, high) = (Queue::new(8), chain(3));
    for q in &short {
        q.add(&low.fd, IN);
    }
    high[3].add(&low.fd, IN);
    let lower = Queue::new(8);
    too_deep(&low, &lower);
}

fn depth_is_free_again_after_del() {
    let queues = chain(4);
    let outer = Queue::new(8);
    for i in 0..4 {
        too_deep(&outer, &queues[0]);
        queues[i].del(&queues[i + 1].fd);
        outer.add(&queues[0].fd, IN);
        let got = queues[i].try_ctl(EP_CTL_ADD, queues[i + 1].raw(), IN);
        fails("the link that was taken out", got, libc::ELOOP);
        outer.del(&queues[0].fd);
        queues[i].add(&queues[i + 1].fd, IN);
    }
    heard_by_all(&queues);
}

fn depth_is_free_again_after_close() {
    for victim in 0..5 {
        let mut queues = chain(4);
        let (above, below) = (Queue::new(8), Queue::new(8));
        too_deep(&above, &queues[0]);
        too_deep(&queues[4], &below);
        drop(queues.remove(victim));
        if victim != 0 {
            above.add(&queues[0].fd, IN);
        }
        if victim != 4 {
            queues[3].add(&below.fd, IN);
        }
    }
}

fn depth_by_write() {
    let queues = chain(4);
    let outer = Queue::new(8);
    let (r, _w) = pipe();
    let array = [change(&r, IN), change(&queues[0].fd, IN), change(&r, OUT)];
    let n = ok("write", try_apply(&outer, &array));
    check_eq!("elements applied", n / size_of::<PollFd>(), 1);
    fails("alone", try_apply(&outer, &array[1..]), libc::ELOOP);
    apply(&outer, &[change(&queues[1].fd, IN)]);
    heard_by_all(&queues);
}

fn itself() {
    for q in [Queue::new(8), device(8).0] {
        for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
            let got = q.try_ctl(op, q.raw(), IN);
            fails("a queue in itself", got, libc::ELOOP);
        }
        let got = q.try_ctl(EP_CTL_DEL, q.raw(), 0);
        match got {
            Err(Errno(libc::ENOENT | libc::ELOOP)) => {}
            other => panic!("DEL of itself: expected ENOENT or ELOOP, got {other:?}"),
        }
        check_eq!("watches", watches(&q), 0);
    }
}

#[track_caller]
fn cycle(n: usize) {
    let queues = chain(n - 1);
    let (first, last) = (&queues[0], &queues[n - 1]);
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        let got = last.try_ctl(op, first.raw(), IN);
        fails(&format!("a cycle of {n}"), got, libc::ELOOP);
    }
    fails(
        "by write",
        try_apply(last, &[change(&first.fd, IN)]),
        libc::ELOOP,
    );
    check_eq!("watches of the last one", watches(last), 0);
    heard_by_all(&queues);
}

fn cycle_of_two() {
    cycle(2);
}

fn cycle_of_three() {
    cycle(3);
}

fn cycle_of_four() {
    cycle(4);
}

fn cycle_through_a_duplicate() {
    let queues = chain(2);
    let dup = queues[0].fd.dup();
    let got = queues[2].try_ctl(EP_CTL_ADD, dup.raw(), IN);
    fails("a cycle through a duplicate", got, libc::ELOOP);
    let dup = Queue {
        fd: queues[2].fd.dup(),
    };
    let got = dup.try_ctl(EP_CTL_ADD, queues[0].raw(), IN);
    fails("a cycle by a duplicate", got, libc::ELOOP);
}

fn cycle_through_a_device() {
    let (d, map) = device(8);
    let q = Queue::new(8);
    d.add(&q.fd, IN);
    let got = q.try_ctl(EP_CTL_ADD, d.raw(), IN);
    fails("a cycle with a device", got, libc::ELOOP);
    let (_r, w) = source(&q);
    put(&w, b"x");
    map.expect(&d, "the queue in the device", &[entry(&q.fd, IN, IN)]);
    drop(map);
    free(&d);
    q.add(&d.fd, IN);
    alloc(&d, 8);
    let got = d.try_ctl(EP_CTL_ADD, q.raw(), IN);
    fails("the other way round", got, libc::ELOOP);
}

fn no_cycle_after_del() {
    let (a, b) = (Queue::new(8), Queue::new(8));
    for _ in 0..100 {
        a.add(&b.fd, IN);
        let got = b.try_ctl(EP_CTL_ADD, a.raw(), IN);
        fails("a cycle", got, libc::ELOOP);
        a.del(&b.fd);
        b.add(&a.fd, IN);
        let got = a.try_ctl(EP_CTL_ADD, b.raw(), IN);
        fails("a cycle", got, libc::ELOOP);
        b.del(&a.fd);
    }
}

fn no_cycle_after_close() {
    let (a, c) = (Queue::new(8), Queue::new(8));
    for _ in 0..50 {
        let b = Queue::new(8);
        a.add(&b.fd, IN);
        b.add(&c.fd, IN);
        let got = c.try_ctl(EP_CTL_ADD, a.raw(), IN);
        fails("a cycle of three", got, libc::ELOOP);
        drop(b);
        c.add(&a.fd, IN);
        c.del(&a.fd);
    }
}

/// Each of n threads adds one link of a cycle, all at the same moment, in many rounds. Not all of
/// them may succeed; and what succeeded is removed again.
#[track_caller]
fn threads_build_a_cycle(n: usize) {
    const ROUNDS: usize = 300;
    let queues: Vec<_> = (0..n).map(|_| Queue::new(8)).collect();
    let added = AtomicUsize::new(0);
    let ever = AtomicUsize::new(0);
    let barrier = Barrier::new(n);
    thread::scope(|s| {
        for i in 0..n {
            let (queues, added, ever, barrier) = (&queues, &added, &ever, &barrier);
            s.spawn(move || {
                let (from, to) = (&queues[i], &queues[(i + 1) % n]);
                for round in 0..ROUNDS {
                    barrier.wait();
                    let mine = match from.try_ctl(EP_CTL_ADD, to.raw(), IN) {
                        Ok(_) => true,
                        Err(Errno(libc::ELOOP)) => false,
                        Err(e) => panic!("ADD in round {round}: expected ELOOP, got {e}"),
                    };
                    added.fetch_add(usize::from(mine), SeqCst);
                    barrier.wait();
                    let all = added.load(SeqCst);
                    check!(all < n, "round {round}: a cycle of {n} was built");
                    ever.fetch_add(usize::from(mine), SeqCst);
                    barrier.wait();
                    if mine {
                        from.del(&to.fd);
                    }
                    added.store(0, SeqCst);
                    barrier.wait();
                }
            });
        }
    });
    check!(ever.into_inner() > 0, "every link was refused");
}

fn two_threads_build_a_cycle() {
    threads_build_a_cycle(2);
}

fn three_threads_build_a_cycle() {
    threads_build_a_cycle(3);
}

/// Two links, each of which is short enough alone.
fn two_threads_build_too_deep() {
    for round in 0..150 {
        let (top, middle, bottom) = (chain(2), Queue::new(8), chain(1));
        let added = AtomicUsize::new(0);
        let barrier = Barrier::new(2);
        let link = |outer: &Queue, inner: &Queue| {
            barrier.wait();
            match outer.try_ctl(EP_CTL_ADD, inner.raw(), IN) {
                Ok(_) => drop(added.fetch_add(1, SeqCst)),
                Err(Errno(libc::ELOOP)) => {}
                Err(e) => panic!("ADD: expected ELOOP, got {e}"),
            }
        };
        thread::scope(|s| {
            s.spawn(|| link(&top[2], &middle));
            s.spawn(|| link(&middle, &bottom[0]));
        });
        // With both there are 2 + 1 + 1 + 1 links.
        let n = added.into_inner();
        check!(n < 2, "round {round}: a chain of five links was built");
    }
}

/// Whatever the links were in the meantime: in the end there are none, and all of them can be made
/// again.
fn links_come_and_go_under_events() {
    let queues: Vec<_> = (0..5).map(|_| Queue::new(16)).collect();
    let (r, w) = pipe();
    queues[4].add(&r, IN);
    let stop = AtomicBool::new(false);
    let linked = AtomicUsize::new(0);
    thread::scope(|s| {
        let (queues, stop, linked) = (&queues, &stop, &linked);
        for thread in 0..2usize {
            s.spawn(move || {
                let mut seed = 12345 + thread;
                while !stop.load(SeqCst) {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223) & 0xffff_ffff;
                    let (from, to) = ((seed >> 8) % 5, (seed >> 16) % 5);
                    let op = if seed >> 31 == 0 {
                        EP_CTL_ADD_AND_TEST
                    } else {
                        EP_CTL_DEL
                    };
                    match queues[from].try_ctl(op, queues[to].raw(), IN) {
                        Ok(_) => drop(linked.fetch_add(1, SeqCst)),
                        Err(Errno(libc::ELOOP | libc::EEXIST | libc::ENOENT)) => {}
                        Err(e) => panic!("operation {op}: {e}"),
                    }
                }
            });
        }
        s.spawn(move || {
            while !stop.load(SeqCst) {
                for q in queues {
                    let n = q.wait(0).len();
                    check!(n <= 5, "{n} entries");
                }
            }
        });
        let end = std::time::Instant::now() + std::time::Duration::from_millis(1500);
        while std::time::Instant::now() < end {
            put(&w, b"x");
            get(&r, 1);
        }
        stop.store(true, SeqCst);
    });
    check!(linked.into_inner() > 20, "hardly any link was made");
    for from in &queues {
        for to in &queues {
            let _ = from.try_ctl(EP_CTL_DEL, to.raw(), 0);
        }
        while !from.wait(0).is_empty() {}
    }
    for pair in queues.windows(2) {
        pair[0].add(&pair[1].fd, IN);
    }
    let above = Queue::new(8);
    too_deep(&above, &queues[0]);
    heard_by_all(&queues);
}

/// One source in two queues, both of which are in a third one.
fn diamond() {
    let outer = Queue::new(8);
    let (left, right) = (Queue::new(8), Queue::new(8));
    let (r, w) = pipe();
    for q in [&left, &right] {
        q.add(&r, IN);
        outer.add(&q.fd, IN);
    }
    for round in 0..5 {
        put(&w, b"x");
        let got = outer.wait(limit(2000));
        check_eq!(format!("entries in round {round}"), got.len(), 2);
        for q in [&left, &right] {
            check!(
                got.contains(&entry(&q.fd, IN, IN)),
                "round {round}: {got:?} lacks {}",
                q.raw()
            );
            q.expect("the source", &[entry(&r, IN, IN)]);
        }
        check_eq!("nothing more", outer.wait(0), Vec::new());
    }
}

/// Two ways from one queue to another are no cycle, and each is a link of its own.
fn diamond_has_no_cycle() {
    let outer = Queue::new(8);
    let (left, right) = (Queue::new(8), Queue::new(8));
    let inner = Queue::new(8);
    for q in [&left, &right] {
        outer.add(&q.fd, IN);
        q.add(&inner.fd, IN);
    }
    let got = inner.try_ctl(EP_CTL_ADD, outer.raw(), IN);
    fails("a cycle through both", got, libc::ELOOP);
    let (_r, w) = source(&inner);
    put(&w, b"x");
    check_eq!("entries of the outer one", outer.wait(limit(2000)).len(), 2);
    for q in [&left, &right] {
        q.expect("in between", &[entry(&inner.fd, IN, IN)]);
    }
    left.del(&inner.fd);
    let got = inner.try_ctl(EP_CTL_ADD, outer.raw(), IN);
    fails("a cycle through the other one", got, libc::ELOOP);
    right.del(&inner.fd);
    inner.add(&outer.fd, IN);
}

fn add_and_test_with_something_pending() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    put(&w, b"x");
    outer.add_and_test(&inner.fd, IN);
    outer.expect("what is pending", &[entry(&inner.fd, IN, IN)]);
    outer.expect_nothing("and only once");
    inner.expect("the source", &[entry(&r, IN, IN)]);
}

fn add_and_test_with_nothing_pending() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    outer.add_and_test(&inner.fd, IN);
    outer.expect_nothing("nothing is pending");
    outer.del(&inner.fd);
    // An event that was taken back is not pending either.
    put(&w, b"x");
    inner.del(&r);
    outer.add_and_test(&inner.fd, IN);
    outer.expect_nothing("nothing is pending any more");
}

fn add_on_pending() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    let (r2, w2) = source(&inner);
    put(&w, b"x");
    outer.add(&inner.fd, IN);
    outer.expect_nothing("what was pending already");
    put(&w2, b"x");
    outer.expect_nothing("more of it");
    let want = [entry(&r, IN, IN), entry(&r2, IN, IN)];
    inner.expect("both", &want);
    put(&w2, b"y");
    outer.expect("the first one after that", &[entry(&inner.fd, IN, IN)]);
}

fn mod_and_test() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    outer.add(&inner.fd, 0);
    put(&w, b"x");
    outer.modify(&inner.fd, IN);
    outer.expect_nothing("MOD does not test");
    for _ in 0..3 {
        outer.mod_and_test(&inner.fd, IN);
        outer.expect("MOD_AND_TEST does", &[entry(&inner.fd, IN, IN)]);
    }
    inner.expect("the source", &[entry(&r, IN, IN)]);
    outer.mod_and_test(&inner.fd, IN);
    outer.expect_nothing("nothing is pending any more");
}

fn mod_narrows() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (_r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    put(&w, b"x");
    outer.modify(&inner.fd, OUT);
    outer.expect_nothing("of no interest any more");
}

fn del_stops_it() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (_r, w) = source(&inner);
    let (_r2, w2) = source(&inner);
    outer.add(&inner.fd, IN);
    put(&w, b"x");
    outer.del(&inner.fd);
    put(&w2, b"x");
    outer.expect_nothing("not watched any more");
    let got = outer.try_ctl(EP_CTL_DEL, inner.raw(), 0);
    fails("DEL again", got, libc::ENOENT);
    check_eq!("events of the inner one", inner.wait(0).len(), 2);
}

fn inner_closed() {
    let outer = Queue::new(1);
    for _ in 0..50 {
        let inner = Queue::new(8);
        outer.add(&inner.fd, IN);
        check_eq!("watches", watches(&outer), 1);
        let number = inner.raw();
        drop(inner);
        check_eq!("watches after close", watches(&outer), 0);
        let (r, w) = pipe();
        check_eq!("the number", r.raw(), number);
        outer.add(&r, IN);
        put(&w, b"x");
        outer.expect("the next one of that number", &[entry(&r, IN, IN)]);
    }
}

fn inner_closed_with_an_event_pending() {
    let outer = Queue::new(8);
    let inner = Queue::new(8);
    let (r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    outer.add(&r, IN);
    put(&w, b"x");
    drop(inner);
    outer.expect("what is still there", &[entry(&r, IN, IN)]);
    put(&w, b"y");
    outer.expect("and later", &[entry(&r, IN, IN)]);
}

fn inner_closed_while_its_events_come() {
    let outer = Queue::new(64);
    let (r, w) = pipe();
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                put(&w, b"x");
                get(&r, 1);
            }
        });
        for _ in 0..300 {
            let inner = Queue::new(8);
            inner.add(&r, IN);
            outer.add(&inner.fd, IN);
            outer.wait(0);
            drop(inner);
            check_eq!("events of a closed queue", outer.wait(0), Vec::new());
        }
        stop.store(true, SeqCst);
    });
    check_eq!("watches", watches(&outer), 0);
}

fn outer_closed() {
    let inner = Queue::new(8);
    let (r, w) = source(&inner);
    for round in 0..100 {
        let outer = Queue::new(8);
        outer.add(&inner.fd, IN);
        put(&w, b"x");
        if round % 2 == 0 {
            outer.expect("the inner queue", &[entry(&inner.fd, IN, IN)]);
        }
        drop(outer);
        inner.expect("the source", &[entry(&r, IN, IN)]);
    }
}

fn outer_and_inner_closed_at_once() {
    for _ in 0..150 {
        let (outer, middle, inner) = (Queue::new(8), Queue::new(8), Queue::new(8));
        let (r, w) = source(&inner);
        outer.add(&middle.fd, IN);
        middle.add(&inner.fd, IN);
        thread::scope(|s| {
            s.spawn(|| drop(outer));
            s.spawn(|| drop(inner));
            put(&w, b"x");
            drop(middle);
        });
        get(&r, 1);
    }
}

fn a_new_edge_each_time() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    for round in 0..200 {
        put(&w, b"x");
        outer.expect(&format!("round {round}"), &[entry(&inner.fd, IN, IN)]);
        inner.expect("the source", &[entry(&r, IN, IN)]);
        get(&r, 1);
    }
}

/// A queue is readable or not: what comes while it is, is no edge. One wait takes all of it.
fn only_the_first_entry_is_an_edge() {
    let (outer, inner) = (Queue::new(8), Queue::new(32));
    outer.add(&inner.fd, IN);
    let sources: Vec<(Fd, Fd)> = (0..20).map(|_| source(&inner)).collect();
    for round in 0..5 {
        for (i, (_, w)) in sources.iter().enumerate() {
            put(w, b"x");
            let got = outer.wait(0);
            let want = if i == 0 {
                vec![entry(&inner.fd, IN, IN)]
            } else {
                Vec::new()
            };
            check_eq!(format!("entry {i} of round {round}"), got, want);
        }
        check_eq!("entries of the inner one", inner.wait(0).len(), 20);
        counted("the outer one", &outer, round + 1);
    }
    // Nor is what is left when the first one is taken back.
    put(&sources[0].1, b"y");
    outer.expect("the first one", &[entry(&inner.fd, IN, IN)]);
    put(&sources[1].1, b"y");
    inner.del(&sources[0].0);
    put(&sources[2].1, b"y");
    outer.expect_nothing("still readable");
    inner.del(&sources[1].0);
    inner.del(&sources[2].0);
    put(&sources[3].1, b"y");
    outer.expect("readable again", &[entry(&inner.fd, IN, IN)]);
}

fn coalesced_is_no_edge() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    put(&w, b"x");
    outer.expect("the first one", &[entry(&inner.fd, IN, IN)]);
    for _ in 0..20 {
        put(&w, b"y");
        check_eq!("more of the same", outer.wait(0), Vec::new());
    }
    inner.expect("one entry", &[entry(&r, IN, IN)]);
    put(&w, b"z");
    outer.expect("after the harvest", &[entry(&inner.fd, IN, IN)]);
}

/// The inner entry is gone before the outer one is looked at: that event was spurious, and no
/// later one is lost.
fn removed_before_it_is_looked_at() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    outer.add(&inner.fd, IN);
    for round in 0..10 {
        let (r, w) = source(&inner);
        put(&w, b"x");
        inner.del(&r);
        check_eq!("the inner one", inner.wait(0), Vec::new());
        let got = outer.wait(0);
        check!(
            got.is_empty() || got == [entry(&inner.fd, IN, IN)],
            "round {round}: {got:?}"
        );
        inner.add(&r, IN);
        put(&w, b"y");
        outer.expect("the next one", &[entry(&inner.fd, IN, IN)]);
        inner.expect("the source", &[entry(&r, IN, IN)]);
    }
}

const WATCHERS: usize = 64;

fn sixty_four_watchers() {
    let inner = Queue::new(8);
    let (r, w) = source(&inner);
    let outers: Vec<_> = (0..WATCHERS)
        .map(|_| {
            let q = Queue::new(8);
            q.add(&inner.fd, IN);
            q
        })
        .collect();
    let more = Queue::new(8);
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        let got = more.try_ctl(op, inner.raw(), IN);
        fails("the 65th", got, libc::ENOSPC);
    }
    let got = try_apply(&more, &[change(&inner.fd, IN)]);
    fails("the 65th by write", got, libc::ENOSPC);
    for round in 0..3 {
        put(&w, b"x");
        for (i, q) in outers.iter().enumerate() {
            let what = format!("watcher {i}, round {round}");
            q.expect(&what, &[entry(&inner.fd, IN, IN)]);
        }
        inner.expect("the source", &[entry(&r, IN, IN)]);
    }
    more.expect_nothing("what was refused");
}

fn watchers_come_and_go() {
    let inner = Queue::new(8);
    let mut outers = Vec::new();
    for _ in 0..WATCHERS {
        let q = Queue::new(8);
        q.add(&inner.fd, IN);
        outers.push(q);
    }
    for i in 0..WATCHERS {
        let more = Queue::new(8);
        let got = more.try_ctl(EP_CTL_ADD, inner.raw(), IN);
        fails("the 65th", got, libc::ENOSPC);
        if i % 2 == 0 {
            outers[i].del(&inner.fd);
        } else {
            outers[i] = Queue::new(8);
        }
        more.add(&inner.fd, IN);
        outers.push(more);
    }
    // Changing what is there needs no room.
    outers.last().unwrap().mod_and_test(&inner.fd, IN | RDNORM);
}

fn watched_by_two_numbers() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    let dup = inner.fd.dup();
    outer.add(&inner.fd, IN);
    outer.add(&dup, IN);
    for _ in 0..3 {
        put(&w, b"x");
        let mut got: Vec<i32> = outer.wait(limit(2000)).iter().map(|e| e.fd).collect();
        got.sort_unstable();
        let mut want = vec![inner.raw(), dup.raw()];
        want.sort_unstable();
        check_eq!("an entry of each number", got, want);
        inner.expect("the source", &[entry(&r, IN, IN)]);
    }
    outer.del(&dup);
    put(&w, b"x");
    outer.expect("the number that is left", &[entry(&inner.fd, IN, IN)]);
}

/// One thread waits for the outer one, and another for the inner one: both are woken.
fn both_queues_waited_for() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    for _ in 0..5 {
        thread::scope(|s| {
            let of_outer = s.spawn(|| outer.wait(limit(4000)));
            let of_inner = s.spawn(|| inner.wait(limit(4000)));
            let_it_block();
            put(&w, b"x");
            check_eq!(
                "the outer one's waiter",
                of_outer.join().expect("a waiter"),
                vec![entry(&inner.fd, IN, IN)]
            );
            check_eq!(
                "the inner one's waiter",
                of_inner.join().expect("a waiter"),
                vec![entry(&r, IN, IN)]
            );
        });
    }
}

/// So many events handed out, and nothing else.
#[track_caller]
fn counted(what: &str, q: &Queue, events: u64) {
    let want = Counters {
        events,
        ..Counters::default()
    };
    check_eq!(format!("the counters of {what}"), counters(q), want);
}

fn one_source_one_entry() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (_r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    for round in 1..=10 {
        put(&w, b"x");
        check_eq!("entries", outer.wait(limit(2000)).len(), 1);
        check_eq!("entries", inner.wait(limit(2000)).len(), 1);
        counted("the outer one", &outer, round);
        counted("the inner one", &inner, round);
    }
}

fn no_storm_through_four_levels() {
    const EVENTS: u64 = 50;
    let queues = chain(4);
    let (_r, w) = source(&queues[4]);
    for _ in 0..EVENTS {
        put(&w, b"x");
        // From the inside, so that every level has a new entry each time.
        for q in queues.iter().rev() {
            check_eq!("entries", q.wait(limit(2000)).len(), 1);
        }
    }
    for (i, q) in queues.iter().enumerate() {
        counted(&format!("queue {i}"), q, EVENTS);
    }
}

/// Eight queues in eight others, and one source in the first eight.
fn no_storm_in_a_grid() {
    const N: usize = 8;
    const EVENTS: usize = 20;
    let inner: Vec<_> = (0..N).map(|_| Queue::new(8)).collect();
    let outer: Vec<_> = (0..N).map(|_| Queue::new(8)).collect();
    let (r, w) = pipe();
    for i in &inner {
        i.add(&r, IN);
        for o in &outer {
            o.add(&i.fd, IN);
        }
    }
    for round in 0..EVENTS {
        put(&w, b"x");
        for o in &outer {
            let n = o.wait(limit(2000)).len();
            check_eq!(format!("entries in round {round}"), n, N);
        }
        for i in &inner {
            i.expect("the source", &[entry(&r, IN, IN)]);
        }
    }
    for o in &outer {
        counted("an outer one", o, (N * EVENTS) as u64);
    }
    for i in &inner {
        counted("an inner one", i, EVENTS as u64);
    }
}

fn sent_through_a_socket() {
    let (mine, theirs) = socketpair(libc::SOCK_STREAM);
    let inner = Queue::new(8);
    let (r, w) = source(&inner);
    let child = fork(|| {
        let got = Queue {
            fd: recv_fd(&theirs),
        };
        let outer = Queue::new(8);
        outer.add(&got.fd, IN);
        put(&theirs, b"ready");
        outer.expect("in the other process", &[entry(&got.fd, IN, IN)]);
        got.expect("the sender's source", &[entry(&r, IN, IN)]);
        // The link counts there as well.
        let copy = got.try_ctl(EP_CTL_ADD, outer.raw(), IN);
        fails("a cycle of both processes' queues", copy, libc::ELOOP);
    });
    send_fd(&mine, inner.raw());
    poll_until(&mine, IN);
    put(&w, b"x");
    child.succeed();
    // Its queue is gone, and so is the link.
    put(&w, b"y");
    inner.expect("afterwards", &[entry(&r, IN, IN)]);
}

fn in_a_child() {
    let (outer, inner) = (Queue::new(8), Queue::new(8));
    let (r, w) = source(&inner);
    outer.add(&inner.fd, IN);
    fork(|| {
        put(&w, b"x");
        outer.expect("the inner queue", &[entry(&inner.fd, IN, IN)]);
        inner.expect("the source", &[entry(&r, IN, IN)]);
        put(&w, b"y");
    })
    .succeed();
    outer.expect("in the parent", &[entry(&inner.fd, IN, IN)]);
    inner.expect("in the parent", &[entry(&r, IN, IN)]);
}

/// A queue of the device can be watched before it has room.
fn a_device_without_room() {
    let outer = Queue::new(8);
    let inner = open_device();
    outer.add_and_test(&inner.fd, IN);
    outer.expect_nothing("without room");
    for _ in 0..3 {
        alloc(&inner, 8);
        let (_r, w) = source(&inner);
        put(&w, b"x");
        outer.expect("with room", &[entry(&inner.fd, IN, IN)]);
        free(&inner);
        outer.mod_and_test(&inner.fd, IN);
        outer.expect_nothing("after EP_FREE");
    }
}

fn epoll_stays_refused() {
    let q = Queue::new(8);
    let e = epoll();
    epoll_ctl(&e, libc::EPOLL_CTL_ADD, &q, 0);
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        fails("epoll in a queue", q.try_ctl(op, e.raw(), IN), libc::EPERM);
    }
}
