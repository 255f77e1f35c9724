// SPDX-License-Identifier: GPL-2.0
//! The faults of the original of 2002, by what went wrong, each with its number in the list that
//! the project keeps of them. What other groups test is not repeated: see there for
//! 6 (`ctl.full`), 8 (`mapping`), 11 (`create.address_space_is_freed_by_close`, `mapping.gone_
//! after_close`), 20 (`create.maxfds_largest`, `create.maxfds_negative`), 21 (`ctl.unsupported_`).
//! 9 was about counting the mappings made by hand: the kernel maps by itself here.
//! 19 was about locks: the kernel's own checks of them, in the debug profile, see every test.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::mapping::check_rest_of_page;
use crate::abi::*;
use crate::check::fails;
use crate::net::{socketpair, tcp_pair, Ip};
use crate::queue::*;
use crate::sys::*;

tests!("faults":
    same_file_two_queues,
    close_then_delete,
    close_then_add,
    mod_races_del,
    close_races_del,
    two_adds_one_wins,
    add_races_event,
    mod_refreshes_what_is_queued,
    data_before_registration,
    full_queue_drops_nothing,
    limit_holds_under_a_race,
    pages_are_zeroed,
    failed_create_closes_nothing,
    pipe_wraps,
    fifo_many_openers,
    proc_reopen,
    array_stays_until_the_next_wait,
    efault_loses_nothing,
    timeout_overflow,
    negative_descriptor,
    wake_up_from_softirq,
);

/// Fault 1: removing the callback of one queue from a file removed another queue's.
fn same_file_two_queues() {
    for first_goes in [true, false] {
        let (one, two) = (Queue::new(8), Queue::new(8));
        let (a, b) = tcp_pair(Ip::V4);
        one.add(&a, IN);
        two.add(&a, IN);
        let (gone, stays) = if first_goes { (one, two) } else { (two, one) };
        gone.del(&a);
        put(&b, b"x");
        stays.expect("the queue that still watches", &[entry(&a, IN, IN)]);
        gone.expect_nothing("the queue that does not");
        drop(gone);
        put(&b, b"y");
        stays.expect("the queue that still watches", &[entry(&a, IN, IN)]);
    }
}

/// Fault 2: closing freed the callbacks and not the items; a later delete locked a freed file.
fn close_then_delete() {
    let q = Queue::new(8);
    for _ in 0..100 {
        let (r, w) = pipe();
        let (a, b) = socketpair(libc::SOCK_STREAM);
        q.add(&r, IN);
        q.add(&a, IN);
        put(&w, b"x");
        let numbers = [r.raw(), a.raw()];
        drop((r, a));
        for number in numbers {
            fails(
                "DEL after close",
                q.try_ctl(EP_CTL_DEL, number, 0),
                libc::EBADF,
            );
        }
        drop((w, b));
    }
    q.expect_nothing("everything is closed");
}

/// Fault 2: a number that was closed and used again was EEXIST.
fn close_then_add() {
    let q = Queue::new(8);
    let number = lowest_free();
    for _ in 0..100 {
        let (r, w) = pipe();
        check_eq!("the number", r.raw(), number);
        q.add(&r, IN);
        put(&w, b"x");
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
}

/// For a short while, `each` in two threads that know their number; how often.
fn race(each: impl Fn(usize) + Sync) -> usize {
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    thread::scope(|s| {
        for n in 0..2 {
            let (each, stop, rounds) = (&each, &stop, &rounds);
            s.spawn(move || {
                while !stop.load(SeqCst) {
                    each(n);
                    rounds.fetch_add(1, SeqCst);
                }
            });
        }
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end {
            sleep(Duration::from_millis(10));
        }
        stop.store(true, SeqCst);
    });
    rounds.into_inner()
}

/// Fault 3: the item was found and then used, without a lock.
fn mod_races_del() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let rounds = race(|n| {
        if n == 0 {
            for op in [EP_CTL_MOD, EP_CTL_MOD_AND_TEST] {
                match q.try_ctl(op, r.raw(), IN) {
                    Ok(_) | Err(Errno(libc::ENOENT)) => {}
                    Err(e) => panic!("MOD: {e}"),
                }
            }
        } else {
            q.add(&r, IN);
            put(&w, b"x");
            q.wait(0);
            q.del(&r);
            get(&r, 1);
        }
    });
    check!(rounds > 10, "too little happened: {rounds} rounds");
    q.expect_nothing("it is removed");
}

/// Fault 3 again, with the last close as the other side.
fn close_races_del() {
    let q = Queue::new(8);
    let number = lowest_free();
    let rounds = race(|n| {
        if n == 0 {
            match q.try_ctl(EP_CTL_DEL, number, 0) {
                // EPERM: the number is something else at this moment.
                Ok(_) | Err(Errno(libc::ENOENT | libc::EBADF | libc::EPERM)) => {}
                Err(e) => panic!("DEL: {e}"),
            }
        } else {
            let (r, w) = pipe();
            match q.try_ctl(EP_CTL_ADD, r.raw(), IN) {
                Ok(_) => {}
                Err(e) => panic!("ADD: {e}"),
            }
            put(&w, b"x");
        }
    });
    check!(rounds > 10, "too little happened: {rounds} rounds");
    q.expect_nothing("everything is closed");
}

/// Fault 3: two threads that added the same descriptor both succeeded.
fn two_adds_one_wins() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    for round in 0..300 {
        let added = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| match q.try_ctl(EP_CTL_ADD, r.raw(), IN) {
                    Ok(_) => drop(added.fetch_add(1, SeqCst)),
                    Err(Errno(libc::EEXIST)) => {}
                    Err(e) => panic!("ADD: {e}"),
                });
            }
        });
        check_eq!(
            format!("successful ADDs in round {round}"),
            added.load(SeqCst),
            1
        );
        put(&w, b"x");
        q.expect("one entry", &[entry(&r, IN, IN)]);
        get(&r, 1);
        q.del(&r);
    }
}

/// Faults 4 and 5: an event at the very moment of the ADD is not lost.
fn add_races_event() {
    let q = Queue::new(8);
    for round in 0..300 {
        let (r, w) = pipe();
        thread::scope(|s| {
            s.spawn(|| put(&w, b"x"));
            for _ in 0..round % 50 {
                std::hint::spin_loop();
            }
            q.add_and_test(&r, IN);
        });
        let got = q.wait(limit(2000));
        check_eq!(format!("round {round}"), got, vec![entry(&r, IN, IN)]);
    }
}

/// Fault 5: MOD did not refresh the entry that was queued already.
fn mod_refreshes_what_is_queued() {
    let q = Queue::new(8);
    let (a, b) = socketpair(libc::SOCK_STREAM);
    q.add(&a, IN);
    put(&b, b"x");
    q.mod_and_test(&a, IN | OUT);
    q.expect(
        "the new mask and its events",
        &[entry(&a, IN | OUT, IN | OUT)],
    );
    put(&b, b"y");
    q.modify(&a, IN | RDHUP);
    b.close();
    q.expect(
        "events under the new mask",
        &[entry(&a, IN | RDHUP, IN | HUP | RDHUP)],
    );
}

/// Fault 5: data that had come before the registration were never reported.
fn data_before_registration() {
    let q = Queue::new(8);
    let (a, b) = tcp_pair(Ip::V4);
    put(&b, b"early");
    poll_until(&a, IN);
    q.add_and_test(&a, IN);
    q.expect("data that were there", &[entry(&a, IN, IN)]);
}

/// Fault 6: a full queue dropped events silently.
fn full_queue_drops_nothing() {
    let q = Queue::new(64);
    let p: Vec<(Fd, Fd)> = (0..64).map(|_| pipe()).collect();
    for (r, _) in &p {
        q.add(r, IN);
    }
    for (r, w) in &p {
        put(w, b"x");
        // Gives up its place in the queue and takes another one.
        q.del(r);
        q.add_and_test(r, IN);
    }
    check_eq!("events", q.wait(limit(2000)).len(), 64);
    for (_, w) in &p {
        put(w, b"y");
        put(w, b"z");
    }
    check_eq!("events", q.wait(limit(2000)).len(), 64);
}

/// Fault 6: the check of the limit was racy.
fn limit_holds_under_a_race() {
    for _ in 0..50 {
        let q = Queue::new(8);
        let p: Vec<(Fd, Fd)> = (0..16).map(|_| pipe()).collect();
        let added = AtomicUsize::new(0);
        thread::scope(|s| {
            for half in p.chunks(8) {
                let (q, added) = (&q, &added);
                s.spawn(move || {
                    for (r, _) in half {
                        match q.try_ctl(EP_CTL_ADD, r.raw(), IN) {
                            Ok(_) => drop(added.fetch_add(1, SeqCst)),
                            Err(Errno(libc::E2BIG)) => {}
                            Err(e) => panic!("ADD: {e}"),
                        }
                    }
                });
            }
        });
        check_eq!("watches in a queue for 8", added.load(SeqCst), 8);
        for (_, w) in &p {
            put(w, b"x");
        }
        check_eq!("events", q.wait(limit(2000)).len(), 8);
    }
}

/// Fault 7: pages were mapped with whatever they held before.
fn pages_are_zeroed() {
    for _ in 0..20 {
        const SIZE: usize = 4 << 20;
        // Fill memory with something, and give it back for the queue to take.
        let p = map_anonymous(SIZE, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: our own mapping.
        unsafe {
            std::ptr::write_bytes(p.cast::<u8>(), 0xa5, SIZE);
            libc::munmap(p, SIZE);
        }
        let q = Queue::new(512);
        let (r, w) = pipe();
        q.add(&r, IN);
        for _ in 0..2 {
            put(&w, b"x");
            let (n, array) = q.wait_raw(limit(2000));
            check_eq!("events", n, 1);
            check_rest_of_page(array, &[r.raw()]);
        }
    }
}

/// Fault 12: a create that failed half way closed a number that might be someone else's.
fn failed_create_closes_nothing() {
    let kept: Vec<Fd> = (0..8).map(|_| pipe().0).collect();
    let files = open_files();
    let limit = kept.iter().map(|f| f.raw()).max().unwrap() as u64 + 1;
    set_limit(libc::RLIMIT_NOFILE, limit);
    // Fill the gaps below the limit.
    let mut gaps = Vec::new();
    while let Ok(fd) = try_open("/dev/null", libc::O_RDONLY) {
        gaps.push(fd);
    }
    for _ in 0..100 {
        fails("create", evpoll_create(64, 0), libc::EMFILE);
    }
    set_limit(libc::RLIMIT_NOFILE, u64::from(u32::MAX));
    check_eq!("descriptors", open_files(), files + gaps.len());
    for fd in kept.iter().chain(&gaps) {
        // SAFETY: takes no pointer.
        check!(
            unsafe { libc::fcntl(fd.raw(), libc::F_GETFD) } >= 0,
            "{} is closed",
            fd.raw()
        );
    }
}

/// Fault 13: the pipe's state was sampled in the middle of a loop, and an edge was lost when the
/// ring wrapped.
fn pipe_wraps() {
    let readers = Queue::new(1);
    let writers = Queue::new(1);
    let (r, w) = pipe();
    readers.add(&r, IN);
    writers.add(&w, OUT);
    let mut seed = 12345u32;
    for round in 0..400 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let piece = 1 + (seed >> 16) as usize % 6000;
        let sent = fill(&w, piece);
        check_eq!(
            format!("data of round {round}"),
            readers.wait(limit(2000)).len(),
            1
        );
        writers.wait(0);
        check_eq!("bytes", drain(&r), sent);
        check_eq!(
            format!("room of round {round}"),
            writers.wait(limit(2000)).len(),
            1
        );
        readers.wait(0);
    }
}

/// Fault 14: a pipe knew one reader and one writer; a FIFO did not even set those.
fn fifo_many_openers() {
    let q = Queue::new(32);
    let dir = TempDir::new();
    let path = dir.fifo("f");
    let readers: Vec<Fd> = (0..6)
        .map(|_| open(&path, libc::O_RDONLY | libc::O_NONBLOCK))
        .collect();
    let writers: Vec<Fd> = (0..6)
        .map(|_| open(&path, libc::O_WRONLY | libc::O_NONBLOCK))
        .collect();
    for r in &readers {
        q.add(r, IN);
    }
    for w in &writers {
        q.add(w, OUT);
    }
    fill(&writers[5], 4096);
    let fds = |fds: &[Fd]| fds.iter().map(|f| f.raw()).collect::<Vec<_>>();
    let got = || {
        let mut got: Vec<i32> = q.wait(limit(2000)).iter().map(|e| e.fd).collect();
        got.sort_unstable();
        got
    };
    check_eq!("readers with an event", got(), fds(&readers));
    drain(&readers[3]);
    check_eq!("writers with an event", got(), fds(&writers));
}

/// Fault 14: what was opened again through /proc was a dangling pointer after its close.
fn proc_reopen() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    for _ in 0..50 {
        let again = reopen(&r, libc::O_RDONLY | libc::O_NONBLOCK);
        q.add(&again, IN);
        put(&w, b"x");
        q.expect("the one that was opened again", &[entry(&again, IN, IN)]);
        drain(&r);
        again.close();
        put(&w, b"y");
        drain(&r);
        q.expect_nothing("it is closed");
    }
}

/// Fault 15: the second waiter's flip handed the first one's array back to the producer. An
/// array is good until the next wait of anybody on this queue, and no event goes into it.
fn array_stays_until_the_next_wait() {
    let q = Queue::new(64);
    let p: Vec<(Fd, Fd)> = (0..32).map(|_| pipe()).collect();
    for (r, w) in &p {
        q.add(r, IN);
        put(w, b"x");
    }
    let (n, array) = q.wait_raw(limit(2000));
    let first = copy(array, n);
    check_eq!("events", n, 32);
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                for (r, w) in &p {
                    put(w, b"y");
                    get(r, 1);
                    let _ = q.try_ctl(EP_CTL_MOD, r.raw(), IN | PRI);
                    let _ = q.try_ctl(EP_CTL_DEL, r.raw(), 0);
                    let _ = q.try_ctl(EP_CTL_ADD_AND_TEST, r.raw(), IN);
                }
            }
        });
        for _ in 0..2000 {
            check_eq!("the array", copy(array, n), first);
            thread::yield_now();
        }
        stop.store(true, SeqCst);
    });
    check_eq!("the array", copy(array, n), first);
}

/// Fault 16: the events were taken before the pointer was stored.
fn efault_loses_nothing() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let page = map_anonymous(4096, libc::PROT_READ);
    for round in 0..20 {
        put(&w, b"x");
        // SAFETY: the kernel checks the address.
        let got = unsafe { evpoll_wait(q.raw(), page.cast(), 0, std::ptr::null(), 0) };
        fails("a wait with a wrong pointer", got, libc::EFAULT);
        q.expect(&format!("round {round}"), &[entry(&r, IN, IN)]);
    }
}

/// Fault 17: large timeouts overflowed, small ones became none, negative ones meant anything.
fn timeout_overflow() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for timeout in [i32::MAX, i32::MAX - 999, 1 << 30, 1 << 24] {
        let woken = AtomicBool::new(false);
        thread::scope(|s| {
            s.spawn(|| {
                let_it_block();
                woken.store(true, SeqCst);
                put(&w, b"x");
            });
            check_eq!("the event", q.wait(timeout), vec![entry(&r, IN, IN)]);
            check!(woken.load(SeqCst), "timeout {timeout} ended early");
        });
    }
    let (_, time) = timed(|| q.wait(1));
    check!(
        time >= Duration::from_millis(1),
        "a millisecond took {time:?}"
    );
    fails("timeout -2", q.try_wait(-2), libc::EINVAL);
}

/// Fault 18: a negative number indexed the table of files.
fn negative_descriptor() {
    let q = Queue::new(8);
    for fd in [-1, -2, -64, -4096, i32::MIN + 1, i32::MIN] {
        for op in EVERY_OP {
            fails(
                &format!("operation {op} of {fd}"),
                q.try_ctl(op, fd, IN),
                libc::EBADF,
            );
        }
    }
}

/// The reason why 2002's way to the file does not work today: a socket's last close and events
/// that still come for it, from the other side of the network.
fn wake_up_from_softirq() {
    let q = Queue::new(64);
    for round in 0..60 {
        let (a, b) = tcp_pair(Ip::V4);
        q.add(&a, IN | OUT | RDHUP);
        thread::scope(|s| {
            s.spawn(|| {
                for _ in 0..20 {
                    if write(&b, b"more").is_err() {
                        break;
                    }
                }
            });
            for _ in 0..round {
                std::hint::spin_loop();
            }
            a.close();
        });
        check_eq!("events of a closed socket", q.wait(0), Vec::new());
    }
}
