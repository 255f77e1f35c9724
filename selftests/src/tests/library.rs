// SPDX-License-Identifier: GPL-2.0
//! The library for Rust programs, in all that its examples do not show.

use std::collections::HashSet;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use evpoll::{Change, Error, ErrorKind, Event, Interest, Queue, Registry, Waker};

use crate::abi;
use crate::device::{alloc, mapped, open_device};
use crate::sys::*;

tests!("library":
    add_reports_what_was_there,
    add_without_test_does_not,
    modify_reports_what_was_there,
    modify_without_test_does_not,
    removed_is_not_reported,
    every_interest_is_taken,
    events_are_in_order_and_complete,
    events_can_be_read_by_threads,
    events_while_others_wait,
    events_outlive_no_mapping,
    registry_changes_while_another_waits,
    registry_keeps_the_queue,
    wait_times_out,
    wait_of_less_than_a_millisecond,
    wait_for_ever_and_a_signal,
    update_adds_modifies_and_removes,
    update_reports_what_was_there,
    update_without_test_does_not,
    update_the_last_change_counts,
    update_stops_at_the_first_failure,
    update_of_many,
    update_beyond_the_limit_of_files,
    update_of_nothing,
    watched_for,
    waker_before_and_during_a_wait,
    waker_more_often_than_a_pipe_holds,
    waker_is_one_event,
    waker_gone,
    errors,
    error_of_a_queue_without_room,
    queue_from_a_descriptor,
    queue_from_what_is_none,
    queue_is_pollable,
    queue_is_closed_on_exec,
);

const READABLE: Interest = Interest::READABLE;
const WRITABLE: Interest = Interest::WRITABLE;

#[track_caller]
fn good<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{what}: expected success, got {error}"))
}

#[track_caller]
fn queue() -> Queue {
    good("a queue", Queue::new(64))
}

fn patience() -> Option<Duration> {
    Some(Duration::from_millis(limit(2000) as u64))
}

/// Numbers, and what has happened.
#[track_caller]
fn harvest(queue: &mut Queue, timeout: Option<Duration>) -> Vec<(RawFd, u16)> {
    let events = good("a wait", queue.wait(timeout));
    let pair = |event: Event| (event.fd(), event.readiness().bits());
    events.iter().map(pair).collect()
}

#[track_caller]
fn expect(queue: &mut Queue, what: &str, want: &[(&Fd, u32)]) {
    let want: Vec<_> = want
        .iter()
        .map(|(fd, bits)| (fd.raw(), *bits as u16))
        .collect();
    let timeout = match want.is_empty() {
        true => Some(Duration::from_millis(10)),
        false => patience(),
    };
    check_eq!(what, harvest(queue, timeout), want);
}

fn add_reports_what_was_there() {
    let mut q = queue();
    let (r, w) = pipe();
    put(&w, b"x");
    good("add", q.add(&r, READABLE));
    expect(&mut q, "what was there", &[(&r, abi::IN)]);
    expect(&mut q, "once", &[]);
}

fn add_without_test_does_not() {
    let mut q = queue();
    let (r, w) = pipe();
    put(&w, b"x");
    good("add", q.registry().add_without_test(&r, READABLE));
    expect(&mut q, "what was there", &[]);
    put(&w, b"x");
    expect(&mut q, "more", &[(&r, abi::IN)]);
}

fn modify_reports_what_was_there() {
    let mut q = queue();
    let (r, w) = pipe();
    good("add", q.add(&r, Interest::NONE));
    put(&w, b"x");
    expect(&mut q, "not asked for", &[]);
    good("modify", q.modify(&r, READABLE));
    expect(&mut q, "asked for", &[(&r, abi::IN)]);
}

fn modify_without_test_does_not() {
    let mut q = queue();
    let (r, w) = pipe();
    good("add", q.add(&r, Interest::NONE));
    put(&w, b"x");
    good("modify", q.registry().modify_without_test(&r, READABLE));
    expect(&mut q, "what was there", &[]);
    put(&w, b"x");
    expect(&mut q, "more", &[(&r, abi::IN)]);
}

fn removed_is_not_reported() {
    let mut q = queue();
    let (r, w) = pipe();
    good("add", q.add(&r, READABLE));
    put(&w, b"x");
    good("remove", q.remove(&r));
    expect(&mut q, "of what was removed", &[]);
    check_eq!(
        "watched",
        good("asking", q.registry().watched_for(&r)),
        None
    );
}

/// Each bit that the library lets through, and no other, is one that the kernel takes.
fn every_interest_is_taken() {
    let q = queue();
    let (r, _w) = pipe();
    good("add", q.add(&r, Interest::NONE));
    for bit in 0..16 {
        let bits = 1u16 << bit;
        let raw = abi::evpoll_ctl(q.as_raw_fd(), abi::EP_CTL_MOD, r.raw(), bits.into(), 0);
        let interest = Interest::from_bits(bits);
        check_eq!(format!("bit {bits:#x}"), interest.is_some(), raw.is_ok());
        if let Some(interest) = interest {
            good("modify", q.modify(&r, interest));
            let watched = good("asking", q.registry().watched_for(&r));
            check_eq!("watched for", watched, Some(interest));
        }
    }
}

fn events_are_in_order_and_complete() {
    let mut q = queue();
    let pipes: Vec<_> = (0..10).map(|_| pipe()).collect();
    for (r, _) in &pipes {
        good("add", q.add(r, READABLE));
    }
    let order = [7, 1, 9, 0, 4];
    for index in order {
        put(&pipes[index].1, b"x");
    }
    let events = good("a wait", q.wait(patience()));
    check_eq!("length", events.len(), order.len());
    check_eq!("length of the iterator", events.iter().len(), order.len());
    for (event, index) in events.iter().zip(order) {
        check_eq!("descriptor", event.fd(), pipes[index].0.raw());
        check_eq!("interest", event.interest(), READABLE);
        check!(event.is_readable() && !event.is_writable(), "{event:?}");
    }
    check_eq!("beyond the end", events.get(order.len()), None);
    // What comes now is for the next wait, and leaves these as they are.
    let before: Vec<Event> = events.iter().collect();
    put(&pipes[2].1, b"x");
    good("remove", events.registry().remove(&pipes[7].0));
    check_eq!("later", events.iter().collect::<Vec<_>>(), before);
    expect(&mut q, "the next wait", &[(&pipes[2].0, abi::IN)]);
}

fn events_can_be_read_by_threads() {
    let mut q = queue();
    let pipes: Vec<_> = (0..20).map(|_| pipe()).collect();
    for (r, w) in &pipes {
        put(w, b"x");
        good("add", q.add(r, READABLE));
    }
    let events = good("a wait", q.wait(patience()));
    let half = |from: usize| -> HashSet<RawFd> {
        let iter = (from..events.len()).step_by(2);
        iter.filter_map(|i| events.get(i)).map(|e| e.fd()).collect()
    };
    let (even, odd) = thread::scope(|s| {
        let odd = s.spawn(|| half(1));
        (half(0), odd.join().expect("a thread"))
    });
    check_eq!("even ones", even.len(), 10);
    check_eq!("all of them", even.union(&odd).count(), 20);
}

/// The memory of events is written to while they are read, as another waits on the same queue. What
/// is read is then of no use, but is something of the queue.
fn events_while_others_wait() {
    let mut q = queue();
    let mut other = good("another", Queue::try_from(dup(&q)));
    let pipes: Vec<_> = (0..32).map(|_| pipe()).collect();
    let mut known: HashSet<RawFd> = pipes.iter().map(|(r, _)| r.raw()).collect();
    // An entry of the other half that was never written to.
    known.insert(0);
    for (r, w) in &pipes {
        put(w, b"x");
        good("add", q.add(r, READABLE));
    }
    let done = AtomicBool::new(false);
    let events = good("a wait", q.wait(patience()));
    check_eq!("events", events.len(), pipes.len());
    let (read, handed) = thread::scope(|s| {
        let waiting = s.spawn(|| {
            let mut handed = 0;
            while !done.load(Ordering::Relaxed) {
                handed += good("a wait", other.wait(Some(Duration::ZERO))).len();
            }
            handed
        });
        s.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (r, w) in &pipes {
                    put(w, b"y");
                    drain(r);
                }
            }
        });
        let mut read = 0;
        let end = std::time::Instant::now() + Duration::from_millis(limit(300) as u64);
        while std::time::Instant::now() < end {
            for event in &events {
                check!(known.contains(&event.fd()), "unknown: {event:?}");
                check!(event.readiness().bits() & !abi::IN as u16 == 0, "{event:?}");
                read += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
        (read, waiting.join().expect("a thread"))
    });
    check!(read > 0 && handed > 0, "read {read}, handed out {handed}");
}

/// A handle that is left keeps the queue, and so the memory of the events.
fn events_outlive_no_mapping() {
    check_eq!("mappings", mapped(), 0);
    let mut q = queue();
    let registry = q.registry().clone();
    let (r, w) = pipe();
    put(&w, b"x");
    good("add", q.add(&r, READABLE));
    let seen = good("a wait", q.wait(patience())).len();
    check_eq!("events", seen, 1);
    drop(q);
    check_eq!("mappings while there is a registry", mapped(), 1);
    drop(registry);
    check_eq!("mappings in the end", mapped(), 0);
}

fn registry_changes_while_another_waits() {
    let mut q = queue();
    let registry: Registry = q.registry().clone();
    let (r, w) = pipe();
    put(&w, b"x");
    thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            good("add", registry.add(&r, READABLE));
        });
        check_eq!(
            "what another thread added",
            harvest(&mut q, patience()),
            vec![(r.raw(), abi::IN as u16)]
        );
    });
}

fn registry_keeps_the_queue() {
    let q = queue();
    let registry = q.registry().clone();
    drop(q);
    let (r, _w) = pipe();
    good("add", registry.add(&r, READABLE));
    let watched = good("asking", registry.watched_for(&r));
    check_eq!("watched for", watched, Some(READABLE));
}

fn wait_times_out() {
    let mut q = queue();
    let (none, took) = timed(|| harvest(&mut q, Some(ms(50))));
    check_eq!("events", none, vec![]);
    check!(took >= ms(50), "expected 50 ms, got {took:?}");
    let (none, took) = timed(|| harvest(&mut q, Some(Duration::ZERO)));
    check_eq!("events", none, vec![]);
    check!(took < ms(40), "expected no wait, got {took:?}");
}

/// It is rounded up: it would be no wait at all.
fn wait_of_less_than_a_millisecond() {
    let mut q = queue();
    let (none, took) = timed(|| harvest(&mut q, Some(Duration::from_nanos(1))));
    check_eq!("events", none, vec![]);
    let least = Duration::from_millis(1);
    check!(took >= least, "expected 1 ms, got {took:?}");
}

fn wait_for_ever_and_a_signal() {
    handle_signal(libc::SIGUSR1, libc::SA_RESTART);
    let mut q = queue();
    let (target, done) = (AtomicI32::new(0), AtomicBool::new(false));
    let kind = thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            while !done.load(Ordering::Relaxed) {
                signal_thread(target.load(Ordering::Relaxed), libc::SIGUSR1);
                sleep(ms(20));
            }
        });
        target.store(thread_id(), Ordering::Relaxed);
        let kind = q.wait(None).map_err(|error| error.kind()).err();
        done.store(true, Ordering::Relaxed);
        kind
    });
    check_eq!("the wait", kind, Some(ErrorKind::Interrupted));
}

#[track_caller]
fn update(q: &Queue, changes: &[Change]) {
    good("update", q.registry().update(changes));
}

fn update_adds_modifies_and_removes() {
    let mut q = queue();
    let ((r1, w1), (r2, w2)) = (pipe(), pipe());
    update(
        &q,
        &[Change::set(&r1, READABLE), Change::set(&w2, WRITABLE)],
    );
    expect(&mut q, "room", &[(&w2, abi::OUT)]);
    let changes = [
        Change::set(&r1, Interest::NONE),
        Change::remove(&w2),
        Change::set(&r2, READABLE),
    ];
    update(&q, &changes);
    put(&w1, b"x");
    put(&w2, b"x");
    expect(&mut q, "what is left", &[(&r2, abi::IN)]);
    let watched = |fd: &Fd| good("asking", q.registry().watched_for(fd));
    check_eq!("modified", watched(&r1), Some(Interest::NONE));
    check_eq!("removed", watched(&w2), None);
}

fn update_reports_what_was_there() {
    let mut q = queue();
    let pipes: Vec<_> = (0..5).map(|_| pipe()).collect();
    put(&pipes[1].1, b"x");
    put(&pipes[3].1, b"x");
    let changes: Vec<Change> = pipes
        .iter()
        .map(|(r, _)| Change::set(r, READABLE))
        .collect();
    update(&q, &changes);
    let (a, b) = (&pipes[1].0, &pipes[3].0);
    expect(&mut q, "added", &[(a, abi::IN), (b, abi::IN)]);
    // They are watched by now.
    update(&q, &changes);
    expect(&mut q, "modified", &[(a, abi::IN), (b, abi::IN)]);
}

fn update_without_test_does_not() {
    let mut q = queue();
    let (r, w) = pipe();
    put(&w, b"x");
    let changes = [Change::set(&r, READABLE)];
    good("update", q.registry().update_without_test(&changes));
    expect(&mut q, "what was there", &[]);
    put(&w, b"x");
    expect(&mut q, "more", &[(&r, abi::IN)]);
}

fn update_the_last_change_counts() {
    let mut q = queue();
    let (a, b) = crate::net::socketpair(libc::SOCK_STREAM);
    put(&b, b"x");
    let changes = [
        Change::set(&a, READABLE),
        Change::set(&a, WRITABLE),
        Change::set(&b, WRITABLE),
        Change::remove(&b),
    ];
    update(&q, &changes);
    expect(&mut q, "of the last", &[(&a, abi::OUT)]);
    let watched = |fd: &Fd| good("asking", q.registry().watched_for(fd));
    check_eq!("the last", watched(&a), Some(WRITABLE));
    check_eq!("removed", watched(&b), None);
}

fn update_stops_at_the_first_failure() {
    let mut q = queue();
    let ((r1, w1), (r2, w2)) = (pipe(), pipe());
    put(&w1, b"x");
    put(&w2, b"x");
    let null = open("/dev/null", libc::O_RDONLY);
    let changes = [
        Change::set(&r1, READABLE),
        Change::set(&null, READABLE),
        Change::set(&r2, READABLE),
    ];
    let failed = q.registry().update(&changes).expect_err("of /dev/null");
    check_eq!("applied", failed.applied(), 1);
    check_eq!("why", failed.error().kind(), ErrorKind::Unwatchable);
    expect(&mut q, "of what was applied", &[(&r1, abi::IN)]);
    let failed = q.registry().update(&[Change::remove(&r2)]);
    let failed = failed.expect_err("not watched");
    check_eq!("applied", failed.applied(), 0);
    check_eq!("why", failed.error().kind(), ErrorKind::NotWatched);
}

/// More than the kernel reads at a time.
fn update_of_many() {
    const PIPES: usize = 1000;
    need_files(2 * PIPES as u64 + 100);
    let mut q = good("a queue", Queue::new(PIPES as u32));
    let pipes: Vec<_> = (0..PIPES).map(|_| pipe()).collect();
    for (_, w) in pipes.iter().step_by(3) {
        put(w, b"x");
    }
    let set: Vec<Change> = pipes
        .iter()
        .map(|(r, _)| Change::set(r, READABLE))
        .collect();
    update(&q, &set);
    let ready = pipes.iter().step_by(3);
    let want: Vec<_> = ready.map(|(r, _)| (r.raw(), abi::IN as u16)).collect();
    check_eq!("ready ones", harvest(&mut q, patience()), want);
    let remove: Vec<Change> = pipes.iter().map(|(r, _)| Change::remove(r)).collect();
    update(&q, &remove);
    let watched = |fd: &Fd| good("asking", q.registry().watched_for(fd));
    check!(pipes.iter().all(|(r, _)| watched(r).is_none()), "some left");
}

/// poll(2) refuses so many: each is tested.
fn update_beyond_the_limit_of_files() {
    let mut q = queue();
    let pipes: Vec<_> = (0..40).map(|_| pipe()).collect();
    put(&pipes[5].1, b"x");
    let changes: Vec<Change> = pipes
        .iter()
        .map(|(r, _)| Change::set(r, READABLE))
        .collect();
    set_limit(libc::RLIMIT_NOFILE, 10);
    update(&q, &changes);
    expect(&mut q, "what was there", &[(&pipes[5].0, abi::IN)]);
}

fn update_of_nothing() {
    let mut q = queue();
    update(&q, &[]);
    expect(&mut q, "of nothing", &[]);
}

fn watched_for() {
    let q = queue();
    let (r, w) = pipe();
    let ask = |fd: &Fd| good("asking", q.registry().watched_for(fd));
    check_eq!("before", ask(&r), None);
    good("add", q.add(&r, READABLE | Interest::PRIORITY));
    check_eq!("watched", ask(&r), Some(READABLE | Interest::PRIORITY));
    check_eq!("the other end", ask(&w), None);
    check_eq!("a duplicate", ask(&r.dup()), None);
}

#[track_caller]
fn woken(q: &mut Queue, waker: &Waker) {
    let events = good("a wait", q.wait(patience()));
    check_eq!("events", events.len(), 1);
    for event in &events {
        check!(waker.is(&event), "expected the waker, got {event:?}");
    }
}

fn waker_before_and_during_a_wait() {
    let mut q = queue();
    let waker = good("a waker", Waker::new(q.registry()));
    expect(&mut q, "of a new one", &[]);
    for _ in 0..3 {
        good("wake", waker.wake());
        woken(&mut q, &waker);
        expect(&mut q, "after that", &[]);
    }
    thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            good("wake", waker.wake());
        });
        woken(&mut q, &waker);
    });
}

fn waker_more_often_than_a_pipe_holds() {
    let mut q = queue();
    let waker = good("a waker", Waker::new(q.registry()));
    // Nobody waits, then one waits after each.
    for _ in 0..70_000 {
        good("wake", waker.wake());
    }
    for _ in 0..70_000 {
        good("wake", waker.wake());
        let events = good("a wait", q.wait(Some(Duration::ZERO)));
        check_eq!("events", events.len(), 1);
    }
}

fn waker_is_one_event() {
    let mut q = queue();
    let waker = good("a waker", Waker::new(q.registry()));
    let (r, w) = pipe();
    good("add", q.add(&r, READABLE));
    good("wake", waker.wake());
    put(&w, b"x");
    good("wake", waker.wake());
    let both = [waker.as_fd().as_raw_fd(), r.raw()];
    let got: Vec<RawFd> = harvest(&mut q, patience()).iter().map(|e| e.0).collect();
    check_eq!("events", got, both.to_vec());
}

fn waker_gone() {
    let mut q = good("a queue", Queue::new(1));
    let waker = good("a waker", Waker::new(q.registry()));
    let kind = |result: Result<_, Error>| result.err().map(|error| error.kind());
    let second = kind(Waker::new(q.registry()).map(drop));
    check_eq!("a second one", second, Some(ErrorKind::Full));
    good("wake", waker.wake());
    drop(waker);
    expect(&mut q, "of one that is gone", &[]);
    good("another", Waker::new(q.registry()));
}

fn errors() {
    let kind = |what: &str, result: Result<(), Error>, want: ErrorKind| {
        check_eq!(what, result.err().map(|error| error.kind()), Some(want));
    };
    let q = good("a queue", Queue::new(2));
    let ((r1, w1), (r2, _w2)) = (pipe(), pipe());
    let null = open("/dev/null", libc::O_RDONLY);
    good("add", q.add(&r1, READABLE));
    kind("again", q.add(&r1, READABLE), ErrorKind::AlreadyWatched);
    kind("modify", q.modify(&w1, WRITABLE), ErrorKind::NotWatched);
    kind("remove", q.remove(&w1), ErrorKind::NotWatched);
    kind("/dev/null", q.add(&null, READABLE), ErrorKind::Unwatchable);
    kind("itself", q.add(&q, READABLE), ErrorKind::Cycle);
    good("add", q.add(&w1, WRITABLE));
    kind("a third", q.add(&r2, READABLE), ErrorKind::Full);

    for capacity in [0, evpoll::MAX_CAPACITY + 1, u32::MAX] {
        let made = Queue::new(capacity).map(drop);
        kind("its capacity", made, ErrorKind::InvalidCapacity);
    }
    good("the largest", Queue::new(evpoll::MAX_CAPACITY));
    set_limit(libc::RLIMIT_NOFILE, 3);
    let made = Queue::new(1).map(drop);
    kind("no descriptors", made, ErrorKind::NoDescriptors);
}

fn dup(fd: &impl AsFd) -> OwnedFd {
    good("a duplicate", fd.as_fd().try_clone_to_owned())
}

fn error_of_a_queue_without_room() {
    let device = open_device();
    let mut q = good("the device", Queue::try_from(OwnedFd::from(device.fd)));
    let (r, _w) = pipe();
    let kind = q.add(&r, READABLE).err().map(|error| error.kind());
    check_eq!("add", kind, Some(ErrorKind::Full));
    let kind = q.wait(patience()).err().map(|error| error.kind());
    check_eq!("wait", kind, Some(ErrorKind::NotAQueue));
}

fn queue_from_a_descriptor() {
    let first = queue();
    let (r, w) = pipe();
    good("add", first.add(&r, READABLE));
    let mut second = good("a duplicate", Queue::try_from(dup(&first)));
    drop(first);
    put(&w, b"x");
    expect(&mut second, "of a duplicate", &[(&r, abi::IN)]);

    let device = open_device();
    alloc(&device, 10);
    let mut third = good("the device", Queue::try_from(OwnedFd::from(device.fd)));
    good("add", third.add(&r, READABLE));
    expect(&mut third, "of the device", &[(&r, abi::IN)]);
}

fn queue_from_what_is_none() {
    let (r, _w) = pipe();
    let null = open("/dev/null", libc::O_RDWR);
    for fd in [r, null] {
        let made = Queue::try_from(OwnedFd::from(fd));
        let kind = made.err().map(|error| error.kind());
        check_eq!("a queue", kind, Some(ErrorKind::NotAQueue));
    }
}

fn queue_is_pollable() {
    let mut q = queue();
    let (r, w) = pipe();
    good("add", q.add(&r, READABLE));
    check_eq!("before", poll_for(q.as_raw_fd(), abi::IN, 0), 0);
    put(&w, b"x");
    check_eq!("pending", poll_for(q.as_raw_fd(), abi::IN, 0), abi::IN);
    expect(&mut q, "the event", &[(&r, abi::IN)]);
    check_eq!("after", poll_for(q.as_raw_fd(), abi::IN, 0), 0);
}

fn queue_is_closed_on_exec() {
    let q = queue();
    let waker = good("a waker", Waker::new(q.registry()));
    for fd in [q.as_raw_fd(), waker.as_fd().as_raw_fd()] {
        // SAFETY: takes no pointer.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        check_eq!("flags", flags, libc::FD_CLOEXEC);
    }
}
