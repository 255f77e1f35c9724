// SPDX-License-Identifier: GPL-2.0
//! Closing what is watched, and closing the queue: from other threads and processes, through
//! duplicates and messages, and with events on their way. The plain cases are among `watch`.

use std::os::raw::{c_int, c_uint};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::*;
use crate::net::{send_fd, socketpair, tcp_pair, Ip};
use crate::queue::*;
use crate::sys::*;

tests!("closing":
    wakes_no_waiter,
    number_is_reused_while_a_thread_waits,
    number_is_free_in_every_queue,
    many_queues_hear_nothing,
    pending_in_many_queues,
    another_thread_closes,
    both_ends_at_once,
    many_at_once,
    replaced_by_dup2,
    children_that_end_close_nothing,
    last_reference_in_a_child,
    last_reference_in_a_message,
    last_reference_in_a_message_to_itself,
    duplicates_one_by_one,
    duplicate_is_watched_too,
    event_and_close_at_once,
    socket_with_data,
    listening_socket,
    queue_while_a_thread_waits,
    queue_while_a_thread_polls_it,
    queue_while_a_device_is_waited_for,
    queue_with_a_duplicate,
    queue_in_a_child,
    queue_under_events,
    queue_and_watched_at_once,
    queue_and_both_ends_at_once,
    queue_with_many_watches,
);

fn wakes_no_waiter() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    thread::scope(|s| {
        let waiter = s.spawn(|| timed(|| q.wait(limit(200))));
        let_it_block();
        drop(r);
        let (got, time) = waiter.join().expect("the waiter");
        check_eq!("events", got, Vec::new());
        check!(
            time >= Duration::from_millis(limit(200) as u64),
            "the wait ended after {time:?}"
        );
    });
    check_eq!("watches", watches(&q), 0);
}

fn number_is_reused_while_a_thread_waits() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let number = r.raw();
    q.add(&r, IN);
    thread::scope(|s| {
        let waiter = s.spawn(|| q.wait(limit(4000)));
        let_it_block();
        drop((r, w));
        let (again, w) = pipe();
        check_eq!("the number", again.raw(), number);
        q.add(&again, IN | PRI);
        put(&w, b"x");
        check_eq!(
            "the event of the number's next file",
            waiter.join().expect("the waiter"),
            vec![entry(&again, IN | PRI, IN)]
        );
    });
}

fn number_is_free_in_every_queue() {
    let queues: Vec<_> = (0..50).map(|_| Queue::new(1)).collect();
    for round in 0..10 {
        let (r, w) = pipe();
        for q in &queues {
            // One place each: the one of before must be gone.
            q.add(&r, IN);
        }
        if round % 2 == 0 {
            put(&w, b"x");
        }
    }
    for q in &queues {
        check_eq!("events of closed files", q.wait(0), Vec::new());
        check_eq!("watches", watches(q), 0);
    }
}

fn many_queues_hear_nothing() {
    let queues: Vec<_> = (0..50).map(|_| Queue::new(8)).collect();
    let (r, w) = pipe();
    for q in &queues {
        q.add(&r, IN);
    }
    drop(r);
    check_eq!("write to a pipe without a reader", pipe_is_broken(&w), true);
    for q in &queues {
        check_eq!("events", q.wait(0), Vec::new());
        check_eq!("watches", watches(q), 0);
    }
}

fn pipe_is_broken(w: &Fd) -> bool {
    matches!(write(w, b"x"), Err(Errno(libc::EPIPE)))
}

fn pending_in_many_queues() {
    let queues: Vec<_> = (0..50).map(|_| Queue::new(8)).collect();
    let (r, w) = pipe();
    let (stays, w2) = pipe();
    for q in &queues {
        q.add(&r, IN);
        q.add(&stays, IN);
    }
    put(&w, b"x");
    put(&w2, b"x");
    drop(r);
    for q in &queues {
        q.expect("what is left", &[entry(&stays, IN, IN)]);
    }
}

/// Each of two threads closes what the other one has opened and watched.
fn another_thread_closes() {
    let q = Queue::new(64);
    let (send, receive) = std::sync::mpsc::sync_channel::<(Fd, Fd)>(16);
    thread::scope(|s| {
        let q = &q;
        s.spawn(move || {
            for _ in 0..1000 {
                let (r, w) = pipe();
                q.add(&r, IN);
                put(&w, b"x");
                if send.send((r, w)).is_err() {
                    break;
                }
            }
        });
        s.spawn(move || {
            for pair in receive {
                drop(pair);
            }
        });
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            q.wait(1);
        }
    });
    check_eq!("events of closed files", q.wait(0), Vec::new());
    check_eq!("watches", watches(&q), 0);
}

fn both_ends_at_once() {
    let q = Queue::new(8);
    for _ in 0..300 {
        let (a, b) = socketpair(libc::SOCK_STREAM);
        q.add(&a, IN | OUT | RDHUP);
        q.add(&b, IN | OUT | RDHUP);
        thread::scope(|s| {
            s.spawn(|| drop(a));
            s.spawn(|| drop(b));
        });
        check_eq!("events of closed files", q.wait(0), Vec::new());
        check_eq!("watches", watches(&q), 0);
    }
}

/// close_range(2).
fn many_at_once() {
    let q = Queue::new(400);
    let (stays, w) = pipe();
    q.add(&stays, IN);
    // Far from what this process has open besides.
    let above = |fd: Fd| {
        // SAFETY: takes no pointer.
        let got = sys(unsafe { libc::fcntl(fd.raw(), libc::F_DUPFD_CLOEXEC, 1000) });
        Fd::new(ok("F_DUPFD", got))
    };
    need_files(2048);
    let many: Vec<c_int> = (0..200)
        .flat_map(|_| {
            let (r, w) = pipe();
            let (r, w) = (above(r), above(w));
            q.add(&r, IN);
            put(&w, b"x");
            [r.leak(), w.leak()]
        })
        .collect();
    let (first, last) = (many[0], many[many.len() - 1]);
    check_eq!(
        "the numbers between",
        (last - first) as usize + 1,
        many.len()
    );
    // SAFETY: takes no pointer.
    let r = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as c_uint,
            last as c_uint,
            0 as c_uint,
        )
    };
    ok("close_range", sys(r as c_int));
    check_eq!("watches", watches(&q), 1);
    put(&w, b"x");
    q.expect("the one that is left", &[entry(&stays, IN, IN)]);
}

/// The number is never free: it is another file from one moment to the next.
fn replaced_by_dup2() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let (other, w2) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    // SAFETY: takes no pointer.
    let got = sys(unsafe { libc::dup2(other.raw(), r.raw()) });
    ok("dup2", got);
    check_eq!("watches", watches(&q), 0);
    q.expect_nothing("the file is closed");
    let got = q.try_ctl(EP_CTL_DEL, r.raw(), 0);
    fails("DEL of the number's next file", got, libc::ENOENT);
    q.add(&r, IN);
    put(&w2, b"x");
    q.expect("the number's next file", &[entry(&r, IN, IN)]);
    // The same file once more: nothing changes.
    // SAFETY: takes no pointer.
    let got = sys(unsafe { libc::dup2(r.raw(), r.raw()) });
    ok("dup2", got);
    put(&w2, b"y");
    q.expect("still watched", &[entry(&r, IN, IN)]);
}

/// A child that ends has closed its copies, and nothing of the parent's.
fn children_that_end_close_nothing() {
    let q = Queue::new(64);
    let pipes: Vec<(Fd, Fd)> = (0..32).map(|_| pipe()).collect();
    for (r, _) in &pipes {
        q.add(r, IN);
    }
    for _ in 0..20 {
        fork(|| ()).succeed();
    }
    check_eq!("watches", watches(&q), 32);
    for (_, w) in &pipes {
        put(w, b"x");
    }
    check_eq!("events", q.wait(limit(2000)).len(), 32);
}

/// What is closed elsewhere is closed soon.
#[track_caller]
fn soon_unwatched(q: &Queue) {
    let end = Instant::now() + Duration::from_millis(limit(3000) as u64);
    while watches(q) != 0 {
        check!(
            Instant::now() < end,
            "expected no watch any more, got {}",
            watches(q)
        );
        sleep(ms(5));
    }
}

fn last_reference_in_a_child() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let number = r.raw();
    let (go, gate) = pipe();
    let child = fork(|| {
        poll_for(go.raw(), IN, limit(5000));
    });
    drop(r);
    check_eq!("watches while the child has it", watches(&q), 1);
    put(&w, b"x");
    q.expect(
        "an event of what only the child has",
        &[PollFd::new(number, IN, IN)],
    );
    put(&w, b"y");
    put(&gate, b".");
    child.succeed();
    soon_unwatched(&q);
    q.expect_nothing("the child has closed it");
    let got = q.try_ctl(EP_CTL_DEL, number, 0);
    fails("DEL of the number", got, libc::EBADF);
}

fn last_reference_in_a_message() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let number = r.raw();
    q.add(&r, IN);
    let (a, b) = socketpair(libc::SOCK_STREAM);
    send_fd(&a, r.raw());
    drop(r);
    check_eq!("watches while the message has it", watches(&q), 1);
    put(&w, b"x");
    q.expect(
        "an event of what only the message has",
        &[PollFd::new(number, IN, IN)],
    );
    drop((a, b));
    soon_unwatched(&q);
    check!(pipe_is_broken(&w), "the message's file is still open");
}

/// A socket that is sent through itself, and watched: only the kernel's collector closes it.
fn last_reference_in_a_message_to_itself() {
    let q = Queue::new(8);
    for _ in 0..3 {
        let (a, b) = socketpair(libc::SOCK_STREAM);
        q.add(&a, IN);
        q.add(&b, IN);
        send_fd(&a, b.raw());
        send_fd(&b, a.raw());
        drop((a, b));
        // The collector runs when some socket is closed.
        let end = Instant::now() + Duration::from_millis(limit(3000) as u64);
        while watches(&q) != 0 {
            check!(
                Instant::now() < end,
                "{} watches of files that nobody can reach",
                watches(&q)
            );
            drop(socketpair(libc::SOCK_STREAM));
            sleep(ms(5));
        }
        check_eq!("events of closed files", q.wait(0), Vec::new());
    }
}

fn duplicates_one_by_one() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let number = r.raw();
    q.add(&r, IN);
    let mut dups: Vec<Fd> = (0..20).map(|_| r.dup()).collect();
    drop(r);
    while let Some(dup) = dups.pop() {
        put(&w, b"x");
        q.expect("under the first number", &[PollFd::new(number, IN, IN)]);
        drop(dup);
    }
    check_eq!("watches", watches(&q), 0);
}

/// Two watches of one file: both go with the last of its descriptors, and not before.
fn duplicate_is_watched_too() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let dup = r.dup();
    q.add(&r, IN);
    q.add(&dup, IN);
    let numbers = [r.raw(), dup.raw()];
    drop(r);
    put(&w, b"x");
    let mut got: Vec<c_int> = q.wait(limit(2000)).iter().map(|e| e.fd).collect();
    got.sort_unstable();
    check_eq!("events of both numbers", got, numbers);
    drop(dup);
    check_eq!("watches", watches(&q), 0);
    let (r, _w) = pipe();
    let (r2, _w2) = pipe();
    q.add(&r, IN);
    q.add(&r2, IN);
}

fn event_and_close_at_once() {
    let q = Queue::new(8);
    for _ in 0..400 {
        let (r, w) = pipe();
        q.add(&r, IN);
        thread::scope(|s| {
            s.spawn(|| {
                let _ = write(&w, b"x");
            });
            drop(r);
        });
        check_eq!("events of a closed file", q.wait(0), Vec::new());
    }
}

fn socket_with_data() {
    let q = Queue::new(8);
    for _ in 0..20 {
        let (a, b) = tcp_pair(Ip::V4);
        q.add_and_test(&a, IN | OUT);
        put(&b, b"never read");
        poll_until(&a, IN);
        drop(a);
        check_eq!("events of a closed socket", q.wait(0), Vec::new());
        drop(b);
    }
    check_eq!("watches", watches(&q), 0);
}

/// With connections that nobody accepts.
fn listening_socket() {
    let q = Queue::new(8);
    for _ in 0..10 {
        let (l, addr) = crate::net::listener(Ip::V4, 8);
        q.add(&l, IN);
        let c = Ip::V4.tcp();
        crate::net::connect(&c, &addr);
        poll_until(&l, IN);
        drop(l);
        check_eq!("events of a closed socket", q.wait(0), Vec::new());
        check_eq!("watches", watches(&q), 0);
    }
}

/// The wait in another thread has the queue as long as it lasts, and its events.
fn queue_while_a_thread_waits() {
    let (r, w) = pipe();
    for round in 0..5 {
        let q = Queue::new(8);
        q.add(&r, IN);
        let raw = q.raw();
        thread::scope(|s| {
            let waiter = s.spawn(move || {
                let q = std::mem::ManuallyDrop::new(Queue { fd: Fd::new(raw) });
                // The array goes with the queue, so only the count can be looked at.
                q.try_wait_raw(limit(3000)).map(|got| got.0)
            });
            let_it_block();
            drop(q);
            if round % 2 == 0 {
                // The number is somebody else's meanwhile.
                check_eq!("the number", lowest_free(), raw);
            }
            put(&w, b"x");
            let got = waiter.join().expect("the waiter");
            check_eq!("the wait that was under way", got, Ok(1));
        });
        get(&r, 1);
    }
    check_eq!("mappings of queues", mapped(), 0);
}

fn queue_while_a_thread_polls_it() {
    let (r, w) = pipe();
    let q = Queue::new(8);
    q.add(&r, IN);
    let raw = q.raw();
    thread::scope(|s| {
        let poller = s.spawn(move || poll_for(raw, IN, limit(3000)));
        let_it_block();
        drop(q);
        put(&w, b"x");
        // It looks the number up again, and finds the queue or nothing.
        let got = poller.join().expect("the poller");
        check!(
            got == IN || got == NVAL,
            "poll(2) that was under way ended with {}",
            Bits(got)
        );
    });
}

fn queue_while_a_device_is_waited_for() {
    let (r, w) = pipe();
    let (q, map) = device(8);
    q.add(&r, IN);
    let raw = q.raw();
    thread::scope(|s| {
        let waiter = s.spawn(move || {
            let q = std::mem::ManuallyDrop::new(Queue { fd: Fd::new(raw) });
            crate::device::poll(&q, limit(3000))
        });
        let_it_block();
        drop(q);
        put(&w, b"x");
        let (n, offset) = waiter.join().expect("the waiter");
        // This array stays: the mapping is the program's own.
        let got = map.entries(n, offset);
        check_eq!("EP_POLL that was under way", got, vec![entry(&r, IN, IN)]);
    });
}

fn queue_with_a_duplicate() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let dup = Queue { fd: q.fd.dup() };
    drop(q);
    put(&w, b"x");
    dup.expect("through the duplicate", &[entry(&r, IN, IN)]);
    check_eq!("mappings", mapped(), 1);
    drop(dup);
    check_eq!("mappings after the last close", mapped(), 0);
}

fn queue_in_a_child() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for _ in 0..10 {
        fork(|| {
            // SAFETY: a descriptor that is not used afterwards.
            ok("close", sys(unsafe { libc::close(q.raw()) }));
        })
        .succeed();
    }
    check_eq!("watches", watches(&q), 1);
    put(&w, b"x");
    q.expect("the event", &[entry(&r, IN, IN)]);
}

fn queue_under_events() {
    let (r, w) = pipe();
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                put(&w, b"x");
                get(&r, 1);
            }
        });
        for round in 0..300 {
            let q = Queue::new(8);
            q.add(&r, IN);
            q.add(&w, OUT);
            if round % 3 == 0 {
                q.wait(0);
            }
        }
        stop.store(true, SeqCst);
    });
}

fn queue_and_watched_at_once() {
    for _ in 0..300 {
        let q = Queue::new(8);
        let (r, w) = pipe();
        let (a, b) = socketpair(libc::SOCK_STREAM);
        q.add(&r, IN);
        q.add(&a, IN);
        thread::scope(|s| {
            s.spawn(|| drop((r, a)));
            s.spawn(|| drop(q));
            let _ = write(&w, b"x");
            drop(b);
        });
    }
}

/// A pipe is freed by who closes its last end, while the queue, which has no reference to it, has
/// only just taken its watch off.
fn queue_and_both_ends_at_once() {
    const PIPES: usize = 24;
    for _ in 0..100 {
        let q = Queue::new(PIPES as c_int);
        let mut readers = Vec::new();
        let mut writers = Vec::new();
        for _ in 0..PIPES {
            let (r, w) = pipe();
            q.add(&r, IN);
            readers.push(r);
            writers.push(w);
        }
        let here = AtomicUsize::new(0);
        let together = || {
            here.fetch_add(1, SeqCst);
            while here.load(SeqCst) < 3 {
                thread::yield_now();
            }
        };
        thread::scope(|s| {
            s.spawn(|| {
                together();
                drop(readers);
            });
            s.spawn(|| {
                together();
                drop(q);
            });
            together();
            drop(writers);
        });
    }
}

fn queue_with_many_watches() {
    need_files(5000);
    let pipes: Vec<(Fd, Fd)> = (0..2000).map(|_| pipe()).collect();
    for _ in 0..3 {
        let q = Queue::new(2000);
        for (r, _) in &pipes {
            q.add(r, IN);
        }
        for (_, w) in &pipes {
            put(w, b"x");
        }
        drop(q);
        for (r, _) in &pipes {
            get(r, 1);
        }
    }
}
