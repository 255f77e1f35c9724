// SPDX-License-Identifier: GPL-2.0
//! The faults of the original of 2002, by what went wrong. Wherever a fault has a number, it is
//! that of this list:
//!
//! |  # | what went wrong in 2002                          | tests here, and of other groups       |
//! |----|--------------------------------------------------|---------------------------------------|
//! |  1 | removing one queue's callback removed another's  | same_file_two_queues                  |
//! |  2 | closing left items behind that named a freed file| close_then_delete, close_then_add     |
//! |  3 | an item was found, and then used without a lock  | mod_races_del, close_races_del,       |
//! |    |                                                  | two_adds_one_wins                     |
//! |  4 | an item was found before its callback was there, | add_races_event,                      |
//! |    | and stayed when that failed                      | failed_add_leaves_nothing             |
//! |  5 | MOD did not refresh what was queued; no test of  | mod_refreshes_what_is_queued,         |
//! |    | the condition at ADD and MOD                     | data_before_registration              |
//! |  6 | a full queue dropped events; a racy limit        | full_queue_drops_nothing,             |
//! |    |                                                  | limit_holds_under_a_race, ctl.full    |
//! |  7 | pages were mapped with what they held before     | pages_are_zeroed,                     |
//! |    |                                                  | pages_of_the_device_are_zeroed        |
//! |  8 | mprotect made the pages writable, and the kernel | mprotect_makes_nothing_writable,      |
//! |    | believed what it read there                      | `mapping`                             |
//! |  9 | mappings were not counted                        | second_mapping_one_munmap             |
//! | 10 | one address for all processes                    | each_process_its_own_address,         |
//! |    |                                                  | address_after_mremap                  |
//! | 11 | a mapping kept the queue from being freed        | close_frees_what_a_mapping_does_not,  |
//! |    |                                                  | create.address_space_is_freed_by_close|
//! | 12 | the descriptor was there before its queue, and   | descriptor_is_complete_when_seen,     |
//! |    | a failure closed somebody's number               | failed_create_closes_nothing          |
//! | 13 | the state of a pipe was sampled in the middle    | pipe_wraps                            |
//! | 14 | a pipe knew one reader and one writer            | fifo_many_openers, proc_reopen        |
//! | 15 | the array was given back while it was read       | array_stays_until_the_next_wait,      |
//! |    |                                                  | array_stays_until_the_next_ep_poll    |
//! | 16 | EFAULT lost events; 8 bytes were stored into a   | efault_loses_nothing,                 |
//! |    | 32-bit pointer                                   | efault_of_ep_poll_loses_nothing,      |
//! |    |                                                  | pointer_is_stored_in_its_size         |
//! | 17 | timeouts overflowed, or became none              | timeout_overflow,                     |
//! |    |                                                  | timeout_overflow_of_ep_poll           |
//! | 18 | a negative number indexed the table of files     | negative_descriptor,                  |
//! |    |                                                  | negative_descriptor_in_an_array       |
//! | 19 | wake-ups under the queue's lock; a poll without  | wake_up_under_the_lock,               |
//! |    |                                                  | poll_races_events                     |
//! | 20 | a mount was leaked; negative sizes; the largest  | failures_and_successes_leak_nothing,  |
//! |    | one failed                                       | largest_size_works                    |
//! | 21 | what cannot be watched was accepted silently     | unsupported_files_are_refused,        |
//! |    |                                                  | ctl.unsupported_                      |
//!
//! All of them can be reached. Three have a part that the design leaves no way to:
//!
//! - 8: the kernel reads entries back, to add to them and to move them, but nobody else can write
//!   there: all that is left to test is that nobody can.
//! - 19: that no lock is taken twice or held too long is seen by the kernel's own checks in the
//!   debug profile; here, only a wake-up that gets stuck would be.
//! - 20: there is no mount to leak: the descriptors are those of the kernel's one anonymous inode,
//!   or of the device's node.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use super::mapping::check_rest_of_page;
use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::*;
use crate::figures::kept_when_freed;
use crate::net::{recv_fd, send_fd, socketpair, tcp_pair, Ip};
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
    failed_add_leaves_nothing,
    mod_refreshes_what_is_queued,
    data_before_registration,
    full_queue_drops_nothing,
    limit_holds_under_a_race,
    pages_are_zeroed,
    pages_of_the_device_are_zeroed,
    mprotect_makes_nothing_writable,
    second_mapping_one_munmap,
    each_process_its_own_address,
    address_after_mremap,
    close_frees_what_a_mapping_does_not,
    failed_create_closes_nothing,
    descriptor_is_complete_when_seen,
    pipe_wraps,
    fifo_many_openers,
    proc_reopen,
    array_stays_until_the_next_wait,
    array_stays_until_the_next_ep_poll,
    efault_loses_nothing,
    efault_of_ep_poll_loses_nothing,
    pointer_is_stored_in_its_size,
    timeout_overflow,
    timeout_overflow_of_ep_poll,
    negative_descriptor,
    negative_descriptor_in_an_array,
    wake_up_under_the_lock,
    poll_races_events,
    failures_and_successes_leak_nothing,
    largest_size_works,
    unsupported_files_are_refused,
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

/// Faults 4 and 5: an event at the very moment of the ADD is not lost. Who of the two is first, and
/// by how much, goes through everything that there is.
fn add_races_event() {
    const NOBODY: i32 = -1;
    const OVER: i32 = -2;
    let spin = |times: usize| (0..times).for_each(|_| std::hint::spin_loop());
    let q = Queue::new(8);
    // The pipe that is to be written to, which is taken as soon as it is seen.
    let turn = AtomicI32::new(NOBODY);
    let rounds = AtomicUsize::new(0);
    thread::scope(|s| {
        s.spawn(|| loop {
            let fd = turn.load(SeqCst);
            if fd == OVER {
                return;
            }
            if fd >= 0 {
                spin((rounds.load(SeqCst) / 64) % 64);
                // SAFETY: reads one byte. The descriptor is open until it is nobody's turn.
                let n = unsafe { libc::write(fd, b"x".as_ptr().cast(), 1) };
                assert!(n == 1, "write: {}", Errno::last());
                turn.store(NOBODY, SeqCst);
            }
            std::hint::spin_loop();
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(1500) {
            let round = rounds.fetch_add(1, SeqCst);
            let (r, w) = pipe();
            turn.store(w.raw(), SeqCst);
            spin(round % 64);
            q.add_and_test(&r, IN);
            let got = q.wait(limit(2000));
            while turn.load(SeqCst) != NOBODY {
                std::hint::spin_loop();
            }
            if got != [entry(&r, IN, IN)] {
                turn.store(OVER, SeqCst);
                panic!("round {round}: {got:?}");
            }
        }
        turn.store(OVER, SeqCst);
    });
    println!("{} rounds", rounds.into_inner());
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

/// Fault 4: an ADD that failed half way left an item behind, which a later ADD then found.
fn failed_add_leaves_nothing() {
    let q = Queue::new(1);
    let (r, w) = pipe();
    let null = open("/dev/null", libc::O_RDONLY);
    let (first, _w2) = pipe();
    q.add(&first, IN);
    for _ in 0..20 {
        fails("no room", q.try_ctl(EP_CTL_ADD, r.raw(), IN), libc::E2BIG);
        q.del(&first);
        let got = q.try_ctl(EP_CTL_ADD, null.raw(), IN);
        fails("a file that cannot be watched", got, libc::EPERM);
        for fd in [r.raw(), null.raw()] {
            check_eq!("EP_ISPOLLED", is_polled(&q, fd), None);
        }
        fails("DEL", q.try_ctl(EP_CTL_DEL, r.raw(), 0), libc::ENOENT);
        put(&w, b"x");
        check_eq!("events", q.wait(0), Vec::new());
        get(&r, 1);
        q.add(&r, IN);
        put(&w, b"x");
        q.expect("the event", &[entry(&r, IN, IN)]);
        get(&r, 1);
        q.del(&r);
        q.add(&first, IN);
    }
}

/// Fault 7, for the mapping that a program makes: all of it, and what grows later.
fn pages_of_the_device_are_zeroed() {
    for _ in 0..10 {
        const SIZE: usize = 4 << 20;
        let p = map_anonymous(SIZE, libc::PROT_READ | libc::PROT_WRITE);
        // SAFETY: our own mapping.
        unsafe {
            std::ptr::write_bytes(p.cast::<u8>(), 0xa5, SIZE);
            libc::munmap(p, SIZE);
        }
        let q = open_device();
        for room in [512, 5000] {
            alloc(&q, room);
            let map = Map::new(&q, room);
            let all = copy(map.start.cast(), map.len / size_of::<PollFd>());
            let dirty = all.iter().position(|e| *e != PollFd::new(0, 0, 0));
            if let Some(i) = dirty {
                panic!("entry {i} of a new mapping holds {:?}", all[i]);
            }
        }
    }
}

/// Fault 8: VM_MAYWRITE was left, and mprotect did the rest. For each kind of mapping there is.
fn mprotect_makes_nothing_writable() {
    let (q, map) = device(8);
    let created = Queue::new(8);
    let (r, w) = pipe();
    created.add(&r, IN);
    put(&w, b"x");
    let (_, array) = created.wait_raw(limit(2000));
    let own = mapping_of(array.cast()).expect("the array's mapping");
    for (start, len) in [
        (map.start as usize, map.len),
        (own.start, own.end - own.start),
    ] {
        for prot in [libc::PROT_WRITE, libc::PROT_READ | libc::PROT_WRITE] {
            // SAFETY: refused, or else the test fails.
            let got = sys(unsafe { libc::mprotect(start as *mut _, len, prot) });
            fails("mprotect", got, libc::EACCES);
        }
    }
    drop(q);
    // Not after close either.
    // SAFETY: as above.
    let got = sys(unsafe { libc::mprotect(map.start, map.len, libc::PROT_WRITE) });
    fails("mprotect after close", got, libc::EACCES);
}

/// Fault 9: with two mappings and one munmap, EP_FREE freed pages that were mapped.
fn second_mapping_one_munmap() {
    let (q, one) = device(8);
    let two = Map::new(&q, 8);
    let three = Map::new(&q, 8);
    let (r, w) = pipe();
    q.add(&r, IN);
    drop(one);
    fails("EP_FREE with two left", try_free(&q), libc::EBUSY);
    drop(three);
    fails("EP_FREE with one left", try_free(&q), libc::EBUSY);
    fails("EP_ALLOC with one left", try_alloc(&q, 600), libc::EBUSY);
    put(&w, b"x");
    two.expect(&q, "in the one that is left", &[entry(&r, IN, IN)]);
    drop(two);
    free(&q);
}

/// Fault 10: the address in one process was that of all.
fn each_process_its_own_address() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let (n, here) = q.wait_raw(limit(2000));
    check_eq!("events", copy(here, n), vec![entry(&r, IN, IN)]);
    let m = mapping_of(here.cast()).expect("the array's mapping");
    let want = entry(&r, IN, IN);
    let elsewhere = |q: &Queue| {
        // Something of this process's own where the other one has its buffers.
        let (flags, len) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, m.end - m.start);
        let (prot, fixed) = (libc::PROT_READ, libc::MAP_FIXED);
        // SAFETY: nothing of this process lies there: the mapping is not inherited.
        let p = unsafe { libc::mmap(m.start as *mut _, len, prot, flags | fixed, -1, 0) };
        check_eq!("the memory", p as usize, m.start);
        for _ in 0..4 {
            put(&w, b"y");
            let (n, array) = q.wait_raw(limit(2000));
            check_eq!("events", copy(array, n), vec![want]);
            let inside = (m.start..m.end).contains(&(array as usize));
            check!(!inside, "the array is in this process's own memory");
        }
    };
    fork(|| elsewhere(&q)).succeed();
    let (mine, theirs) = socketpair(libc::SOCK_STREAM);
    let child = fork(|| {
        let sent = Queue {
            fd: recv_fd(&theirs),
        };
        elsewhere(&sent);
    });
    send_fd(&mine, q.raw());
    child.succeed();
    put(&w, b"z");
    let (n, array) = q.wait_raw(limit(2000));
    check_eq!("events", copy(array, n), vec![want]);
    let inside = (m.start..m.end).contains(&(array as usize));
    check!(inside, "the first process's array has moved");
}

/// Fault 10, within one process.
fn address_after_mremap() {
    let (q, mut map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let to = map_anonymous(map.len, libc::PROT_NONE);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: our own mapping, onto our own memory.
    let p = unsafe { libc::mremap(map.start, map.len, map.len, flags, to) };
    if p != libc::MAP_FAILED {
        map.start = p;
    }
    for _ in 0..4 {
        put(&w, b"x");
        map.expect(&q, "EP_POLL", &[entry(&r, IN, IN)]);
        put(&w, b"y");
        q.expect("evpoll_wait", &[entry(&r, IN, IN)]);
    }
}

/// Fault 11: with a mapping, close freed nothing. The watches are freed, whatever is mapped: they
/// are not counted any more.
fn close_frees_what_a_mapping_does_not() {
    const WATCHES: &str = "/proc/sys/fs/evpoll/max_user_watches";
    let text = std::fs::read_to_string(WATCHES).expect(WATCHES);
    let limit: u64 = text.trim().parse().expect(WATCHES);
    let (r, _w) = pipe();
    let mut maps = Vec::new();
    for _ in 0..20 {
        let (q, map) = device(8);
        q.add(&r, IN);
        maps.push(map);
    }
    let q = Queue::new(8);
    // All of them together would be too many now.
    if std::fs::write(WATCHES, "1").is_err() {
        crate::runner::skip("fs.evpoll.max_user_watches cannot be set");
    }
    let got = q.try_ctl(EP_CTL_ADD, r.raw(), IN);
    std::fs::write(WATCHES, limit.to_string()).expect(WATCHES);
    ok("ADD, with every other watch gone", got);
    drop(maps);
}

/// Fault 12: the descriptor was installed before there was anything behind it. What another
/// thread sees under the number is nothing, or a whole queue.
fn descriptor_is_complete_when_seen() {
    let (r, _w) = pipe();
    let number = lowest_free();
    let stop = AtomicBool::new(false);
    let seen = AtomicUsize::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            let q = std::mem::ManuallyDrop::new(Queue {
                fd: Fd::new(number),
            });
            while !stop.load(SeqCst) {
                match q.try_wait_raw(0) {
                    Ok((0, _)) => drop(seen.fetch_add(1, SeqCst)),
                    Err(Errno(libc::EBADF)) => {}
                    other => panic!("a wait on what is being made: {other:?}"),
                }
                match q.try_ctl(EP_CTL_ADD, r.raw(), IN) {
                    Ok(_) => drop(seen.fetch_add(1, SeqCst)),
                    Err(Errno(libc::EBADF | libc::EEXIST)) => {}
                    other => panic!("an ADD to what is being made: {other:?}"),
                }
                poll_now(number, IN);
            }
        });
        let end = Instant::now() + Duration::from_millis(700);
        while Instant::now() < end || seen.load(SeqCst) == 0 {
            check!(Instant::now() < end + ms(5000), "it was never seen");
            let q = Queue::new(8);
            check_eq!("the number", q.raw(), number);
        }
        stop.store(true, SeqCst);
    });
}

/// Fault 15, for EP_POLL: the half that was handed out is nobody's until the next one.
fn array_stays_until_the_next_ep_poll() {
    let (q, map) = device(64);
    let p: Vec<(Fd, Fd)> = (0..32).map(|_| pipe()).collect();
    for (r, w) in &p {
        q.add(r, IN);
        put(w, b"x");
    }
    let (n, offset) = poll(&q, limit(2000));
    let first = map.entries(n, offset);
    check_eq!("events", n, 32);
    for (r, w) in &p {
        put(w, b"y");
        get(r, 1);
        q.modify(r, IN | PRI);
        q.del(r);
        q.add_and_test(r, IN);
        check_eq!("the array", map.entries(n, offset), first);
    }
    // A wait that fails is none.
    fails("EP_POLL", ioctl(q.raw(), EP_POLL, 8), libc::EFAULT);
    fails("a timeout of -2", try_poll(&q, -2), libc::EINVAL);
    check_eq!("the array", map.entries(n, offset), first);
}

/// Fault 16, for EP_POLL.
fn efault_of_ep_poll_loses_nothing() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let page = map_anonymous(4096, libc::PROT_READ) as usize;
    for round in 0..20 {
        put(&w, b"x");
        let got = ioctl(q.raw(), EP_POLL, page);
        fails("EP_POLL into read-only memory", got, libc::EFAULT);
        map.expect(&q, &format!("round {round}"), &[entry(&r, IN, IN)]);
    }
}

/// Fault 16: eight bytes were stored where a 32-bit program had four.
fn pointer_is_stored_in_its_size() {
    const SIZE: usize = size_of::<*const PollFd>();
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let mut room = [0xa5u8; 3 * SIZE];
    let at = room[SIZE..].as_mut_ptr().cast::<*const PollFd>();
    // SAFETY: room for a pointer.
    let n = unsafe { evpoll_wait(q.raw(), at, 0, std::ptr::null(), 0) };
    check_eq!("events", ok("wait", n), 1);
    // SAFETY: our own memory.
    let array = unsafe { at.read_unaligned() };
    check_eq!("the entry", copy(array, 1), vec![entry(&r, IN, IN)]);
    check_eq!("the bytes before it", room[..SIZE], [0xa5; SIZE]);
    check_eq!("the bytes behind it", room[2 * SIZE..], [0xa5; SIZE]);

    let (q, map) = device(8);
    q.add(&r, IN);
    put(&w, b"x");
    let asked = EvPoll {
        ep_timeout: 0,
        ep_resoff: UNTOUCHED,
    };
    let mut three = [asked; 3];
    let at = &raw mut three[1] as usize;
    check_eq!("EP_POLL", ok("EP_POLL", ioctl(q.raw(), EP_POLL, at)), 1);
    let got = map.entries(1, three[1].ep_resoff);
    check_eq!("the entry", got, vec![entry(&r, IN, IN)]);
    check_eq!("the structures around", [three[0], three[2]], [asked; 2]);
}

/// Fault 17, for EP_POLL.
fn timeout_overflow_of_ep_poll() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for timeout in [i32::MAX, i32::MAX - 999, 1 << 24] {
        let woken = AtomicBool::new(false);
        thread::scope(|s| {
            s.spawn(|| {
                let_it_block();
                woken.store(true, SeqCst);
                put(&w, b"x");
            });
            let got = map.poll(&q, timeout);
            check_eq!("the event", got, vec![entry(&r, IN, IN)]);
            check!(woken.load(SeqCst), "timeout {timeout} ended early");
        });
    }
    let (_, time) = timed(|| poll(&q, 1));
    check!(
        time >= Duration::from_millis(1),
        "a millisecond took {time:?}"
    );
    for timeout in [-2, -1000, i32::MIN] {
        let what = format!("a timeout of {timeout}");
        fails(&what, try_poll(&q, timeout), libc::EINVAL);
    }
}

/// Fault 18, in an array and in EP_ISPOLLED.
fn negative_descriptor_in_an_array() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    for fd in [-1, -2, -64, -4096, i32::MIN + 1, i32::MIN] {
        for events in [IN, REMOVE] {
            let got = try_apply(&q, &[PollFd::new(fd, events, 0)]);
            fails(&format!("write of {fd}"), got, libc::EBADF);
        }
        check_eq!(format!("EP_ISPOLLED of {fd}"), is_polled(&q, fd), None);
    }
    check_eq!("watches", watches(&q), 1);
}

/// Fault 19: whoever was woken under the lock, and went on to use the queue, found it locked. Every
/// kind of waiter, each of whom calls the queue again, and a queue in a queue.
fn wake_up_under_the_lock() {
    const EVENTS: usize = 300;
    let (outer, q) = (Queue::new(8), Queue::new(8));
    let (r, w) = pipe();
    q.add(&r, IN);
    outer.add(&q.fd, IN);
    // SAFETY: takes no pointer.
    let epoll = Fd::new(ok("epoll_create1", sys(unsafe { libc::epoll_create1(0) })));
    let mut e = libc::epoll_event {
        events: IN | libc::EPOLLET as u32,
        u64: 0,
    };
    // SAFETY: one event.
    let added = unsafe { libc::epoll_ctl(epoll.raw(), libc::EPOLL_CTL_ADD, q.raw(), &mut e) };
    ok("epoll_ctl", sys(added));
    let stop = AtomicBool::new(false);
    let harvested = AtomicUsize::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                harvested.fetch_add(q.wait(5).len(), SeqCst);
                poll_now(q.raw(), IN);
            }
        });
        s.spawn(|| {
            while !stop.load(SeqCst) {
                outer.wait(5);
                q.mod_and_test(&r, IN);
            }
        });
        s.spawn(|| {
            while !stop.load(SeqCst) {
                poll_for(epoll.raw(), IN, 5);
                let mut e = libc::epoll_event { events: 0, u64: 0 };
                // SAFETY: room for one event.
                unsafe { libc::epoll_wait(epoll.raw(), &mut e, 1, 0) };
            }
        });
        for i in 0..EVENTS {
            put(&w, b"x");
            let end = Instant::now() + ms(4000);
            while harvested.load(SeqCst) <= i {
                check!(Instant::now() < end, "event {i} was never handed out");
                thread::yield_now();
            }
            get(&r, 1);
        }
        stop.store(true, SeqCst);
    });
}

/// Fault 19: poll looked without the lock. What it says is true: with one thread that harvests, an
/// event that poll has shown is there.
fn poll_races_events() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for round in 0..400 {
        thread::scope(|s| {
            s.spawn(|| put(&w, b"x"));
            let end = Instant::now() + ms(4000);
            while poll_now(q.raw(), IN) == 0 {
                check!(Instant::now() < end, "round {round}: poll shows nothing");
            }
            check_eq!("what poll has shown", q.wait(0), vec![entry(&r, IN, IN)]);
            check_eq!("poll afterwards", poll_now(q.raw(), IN), 0);
        });
        get(&r, 1);
    }
}

/// Fault 20: each queue left two references to a mount behind, and a failure some more.
fn failures_and_successes_leak_nothing() {
    let files = open_files();
    let slab = kilobytes("/proc/meminfo", "SUnreclaim:");
    for _ in 0..3000 {
        drop(Queue::new(8));
        let _ = evpoll_create(-1, 0);
        drop(open_device());
    }
    check_eq!("descriptors", open_files(), files);
    let end = Instant::now() + ms(3000);
    loop {
        let now = kilobytes("/proc/meminfo", "SUnreclaim:");
        if now <= slab + 4096 + kept_when_freed() {
            break;
        }
        check!(
            Instant::now() < end,
            "the kernel's memory grew from {slab} to {now} kB"
        );
        sleep(ms(50));
    }
}

/// Fault 20: negative sizes were not refused, and the largest one was.
fn largest_size_works() {
    for n in [-1, i32::MIN, EVPOLL_MAX_FDS + 1] {
        fails("create", evpoll_create(n, 0), libc::EINVAL);
        fails("EP_ALLOC", try_alloc(&open_device(), n), libc::EINVAL);
    }
    let device = open_device();
    alloc(&device, EVPOLL_MAX_FDS);
    for q in [Queue::new(EVPOLL_MAX_FDS), device] {
        let (r, w) = pipe();
        q.add(&r, IN);
        put(&w, b"x");
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
}

/// Fault 21: by either way of adding.
fn unsupported_files_are_refused() {
    let dir = TempDir::new();
    let file = open(&dir.path("file"), libc::O_RDWR | libc::O_CREAT);
    let null = open("/dev/null", libc::O_RDONLY);
    // SAFETY: takes no pointer.
    let event = Fd::new(ok("eventfd", sys(unsafe { libc::eventfd(0, 0) })));
    for q in [Queue::new(8), with_room(8)] {
        for fd in [&file, &null, &event] {
            for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
                fails("ADD", q.try_ctl(op, fd.raw(), IN), libc::EPERM);
            }
            fails("write", try_apply(&q, &[change(fd, IN)]), libc::EPERM);
            check_eq!("EP_ISPOLLED", is_polled(&q, fd.raw()), None);
        }
    }
}

fn with_room(n: i32) -> Queue {
    let q = open_device();
    alloc(&q, n);
    q
}
