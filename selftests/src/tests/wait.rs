// SPDX-License-Identifier: GPL-2.0
//! evpoll_wait: time, signals, wrong arguments, and the array that it hands out.

use std::os::raw::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::net::{recv_fd, send_fd, socketpair};
use crate::queue::*;
use crate::sys::*;

tests!("wait":
    zero_returns_at_once,
    zero_with_an_event,
    short_timeouts_are_kept,
    one_millisecond,
    timeout_with_watches,
    timeout_after_a_dropped_event,
    forever_woken_by_a_thread,
    forever_woken_by_a_process,
    forever_with_an_event_queued,
    woken_late,
    negative_timeouts,
    huge_timeout,
    options_not_null,
    options_size_not_zero,
    bad_pointer_null,
    bad_pointer_unmapped,
    bad_pointer_read_only,
    bad_pointer_to_the_kernel,
    signal_interrupts_forever,
    signal_interrupts_timeout,
    signal_interrupts_even_with_restart,
    signal_that_is_ignored,
    signal_loses_no_event,
    not_a_queue,
    closed,
    negative,
    path_descriptor,
    one_entry_for_one_descriptor,
    union_of_what_happened,
    requested_events_are_echoed,
    order_of_first_event,
    order_after_being_handed_out,
    handed_out_once,
    array_stays_while_events_arrive,
    array_stays_after_del_and_close,
    buffers_alternate,
    full_queue_in_one_wait,
    full_queue_at_page_edges,
    two_thousand_pipes,
    in_a_child,
    in_another_process,
    through_a_duplicate,
);

/// A queue with one readable pipe in it, whose event is queued.
fn ready() -> (Queue, Fd, Fd) {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    put(&w, b"x");
    (q, r, w)
}

fn zero_returns_at_once() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    let (got, time) = timed(|| q.wait(0));
    check_eq!("events", got, Vec::new());
    check!(time < ms(1000), "expected no wait, got {time:?}");
}

fn zero_with_an_event() {
    let (q, r, _w) = ready();
    check_eq!("events", q.wait(0), vec![entry(&r, IN, IN)]);
}

#[track_caller]
fn times_out(q: &Queue, timeout: c_int) {
    let (got, time) = timed(|| q.wait(timeout));
    let asked = Duration::from_millis(timeout as u64);
    check_eq!("events", got, Vec::new());
    check!(time >= asked, "expected at least {asked:?}, got {time:?}");
    check!(
        time < asked + ms(1000),
        "expected about {asked:?}, got {time:?}"
    );
}

fn short_timeouts_are_kept() {
    let q = Queue::new(8);
    for timeout in [5, 20, 50, 100] {
        times_out(&q, timeout);
    }
}

/// Not truncated to nothing.
fn one_millisecond() {
    let q = Queue::new(8);
    for _ in 0..10 {
        times_out(&q, 1);
    }
}

fn timeout_with_watches() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    q.add_and_test(&w, IN);
    times_out(&q, 30);
}

/// An event that is dropped again must not end a wait with nothing.
fn timeout_after_a_dropped_event() {
    let (q, r, _w) = ready();
    q.del(&r);
    times_out(&q, 30);
}

/// Waits in a thread, and does `wake` when that thread had time to block.
fn woken(q: &Queue, timeout: c_int, wake: impl FnOnce()) -> (Vec<PollFd>, Duration) {
    thread::scope(|s| {
        let waiter = s.spawn(|| timed(|| q.wait(timeout)));
        let_it_block();
        wake();
        waiter.join().expect("the waiter")
    })
}

fn forever_woken_by_a_thread() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    for _ in 0..3 {
        let (got, _) = woken(&q, -1, || put(&w, b"x"));
        check_eq!("events", got, vec![entry(&r, IN, IN)]);
    }
}

fn forever_woken_by_a_process() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    let writer = fork(|| {
        let_it_block();
        put(&w, b"x");
    });
    check_eq!("events", q.wait(-1), vec![entry(&r, IN, IN)]);
    writer.succeed();
}

fn forever_with_an_event_queued() {
    let (q, r, _w) = ready();
    check_eq!("events", q.wait(-1), vec![entry(&r, IN, IN)]);
}

fn woken_late() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    let (got, time) = woken(&q, limit(8000), || {
        sleep(ms(70));
        put(&w, b"x");
    });
    check_eq!("events", got, vec![entry(&r, IN, IN)]);
    check!(
        time < ms(4000),
        "expected to be woken, got a wait of {time:?}"
    );
}

fn negative_timeouts() {
    let (q, r, _w) = ready();
    for timeout in [-2, -3, -1000, i32::MIN] {
        fails(
            &format!("timeout {timeout}"),
            q.try_wait(timeout),
            libc::EINVAL,
        );
    }
    q.expect("the event is still there", &[entry(&r, IN, IN)]);
}

/// 24 days, which must not overflow into none.
fn huge_timeout() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    for timeout in [i32::MAX, i32::MAX - 1, i32::MAX / 1000 + 1] {
        // Without a wait, there would be no event.
        let (got, _) = woken(&q, timeout, || put(&w, b"x"));
        check_eq!("events", got, vec![entry(&r, IN, IN)]);
    }
}

fn wait_with(q: &Queue, opts: *const c_void, size: usize) -> Sys<i32> {
    let mut events = ptr::null();
    // SAFETY: room for a pointer.
    unsafe { evpoll_wait(q.raw(), &mut events, 0, opts, size) }
}

fn options_not_null() {
    let (q, r, _w) = ready();
    let space = [0u64; 8];
    for (opts, size) in [
        (space.as_ptr().cast(), 0),
        (space.as_ptr().cast(), 64),
        (8 as *const c_void, 0),
        (usize::MAX as *const c_void, 0),
    ] {
        fails(
            &format!("opts {opts:?}, {size} bytes"),
            wait_with(&q, opts, size),
            libc::EINVAL,
        );
    }
    q.expect("the event is still there", &[entry(&r, IN, IN)]);
}

fn options_size_not_zero() {
    let (q, r, _w) = ready();
    for size in [1, 8, 64, 4096, usize::MAX] {
        fails(
            &format!("{size} bytes"),
            wait_with(&q, ptr::null(), size),
            libc::EINVAL,
        );
    }
    q.expect("the event is still there", &[entry(&r, IN, IN)]);
}

/// A wrong pointer is EFAULT, and no event is lost by it, nor its order.
#[track_caller]
fn bad_pointer(p: *mut c_void) {
    let q = Queue::new(8);
    let pipes: Vec<(Fd, Fd)> = (0..3).map(|_| pipe()).collect();
    for (r, w) in pipes.iter().rev() {
        q.add_and_test(r, IN);
        put(w, b"x");
    }
    for _ in 0..3 {
        // SAFETY: the kernel checks the address.
        let got = unsafe { evpoll_wait(q.raw(), p.cast(), 0, ptr::null(), 0) };
        fails(&format!("events pointer {p:?}"), got, libc::EFAULT);
    }
    let want: Vec<PollFd> = pipes.iter().rev().map(|p| entry(&p.0, IN, IN)).collect();
    q.expect("the events are still there", &want);
    q.expect_nothing("and only once");
}

fn bad_pointer_null() {
    bad_pointer(ptr::null_mut());
}

fn bad_pointer_unmapped() {
    let p = map_anonymous(4096, libc::PROT_READ | libc::PROT_WRITE);
    // SAFETY: our own mapping.
    ok("munmap", sys(unsafe { libc::munmap(p, 4096) }));
    bad_pointer(p);
}

fn bad_pointer_read_only() {
    bad_pointer(map_anonymous(4096, libc::PROT_READ));
}

fn bad_pointer_to_the_kernel() {
    for address in [usize::MAX - 7, usize::MAX & !4095, 1 << (usize::BITS - 1)] {
        bad_pointer(address as *mut c_void);
    }
}

/// Waits while another thread sends it a signal again and again; what the wait gave.
fn interrupted(q: &Queue, timeout: c_int, signal: c_int) -> Sys<Vec<PollFd>> {
    let thread = AtomicI32::new(0);
    let done = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            while !done.load(Ordering::Relaxed) {
                signal_thread(thread.load(Ordering::Relaxed), signal);
                sleep(ms(20));
            }
        });
        thread.store(thread_id(), Ordering::Relaxed);
        let got = q.try_wait(timeout);
        done.store(true, Ordering::Relaxed);
        got
    })
}

fn signal_interrupts_forever() {
    handle_signal(libc::SIGUSR1, 0);
    fails(
        "the wait",
        interrupted(&Queue::new(8), -1, libc::SIGUSR1),
        libc::EINTR,
    );
}

fn signal_interrupts_timeout() {
    handle_signal(libc::SIGUSR1, 0);
    let got = interrupted(&Queue::new(8), limit(8000), libc::SIGUSR1);
    fails("the wait", got, libc::EINTR);
}

/// As with epoll_wait: SA_RESTART restarts neither.
fn signal_interrupts_even_with_restart() {
    handle_signal(libc::SIGUSR1, libc::SA_RESTART);
    let q = Queue::new(8);
    fails("the wait", interrupted(&q, -1, libc::SIGUSR1), libc::EINTR);
    let got = interrupted(&q, limit(8000), libc::SIGUSR1);
    fails("the wait with a timeout", got, libc::EINTR);
}

fn signal_that_is_ignored() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGUSR1, libc::SIG_IGN) };
    let got = interrupted(&Queue::new(8), limit(150), libc::SIGUSR1);
    check_eq!("events", ok("the wait", got), Vec::new());
}

fn signal_loses_no_event() {
    handle_signal(libc::SIGUSR1, 0);
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    fails("the wait", interrupted(&q, -1, libc::SIGUSR1), libc::EINTR);
    put(&w, b"x");
    q.expect("an event after the signal", &[entry(&r, IN, IN)]);
}

fn raw_wait(fd: c_int) -> Sys<i32> {
    let mut events = ptr::null();
    // SAFETY: room for a pointer.
    unsafe { evpoll_wait(fd, &mut events, 0, ptr::null(), 0) }
}

fn not_a_queue() {
    let (r, w) = pipe();
    let null = open("/dev/null", libc::O_RDONLY);
    for fd in [&r, &w, &null] {
        fails("a wait on something else", raw_wait(fd.raw()), libc::EINVAL);
    }
}

fn closed() {
    let q = Queue::new(8);
    let raw = q.raw();
    drop(q);
    fails("a wait on a closed queue", raw_wait(raw), libc::EBADF);
}

fn negative() {
    for fd in [-1, -2, i32::MIN, i32::MAX] {
        fails(&format!("a wait on {fd}"), raw_wait(fd), libc::EBADF);
    }
}

fn path_descriptor() {
    let fd = open("/", libc::O_PATH);
    fails("a wait on a path", raw_wait(fd.raw()), libc::EBADF);
}

fn one_entry_for_one_descriptor() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for _ in 0..100 {
        put(&w, b"x");
    }
    q.expect("a hundred writes", &[entry(&r, IN, IN)]);
    q.expect_nothing("and no more");
}

fn union_of_what_happened() {
    let q = Queue::new(8);
    let (a, b) = socketpair(libc::SOCK_STREAM);
    q.add(&a, IN | RDHUP);
    put(&b, b"x");
    b.close();
    q.expect(
        "data, then the end",
        &[entry(&a, IN | RDHUP, IN | HUP | RDHUP)],
    );
}

fn requested_events_are_echoed() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    for events in [IN, IN | RDHUP, IN | PRI | OUT, IN | MSG, IN | ERR | HUP] {
        q.add_and_test(&r, events);
        put(&w, b"x");
        q.expect("the entry", &[entry(&r, events, IN)]);
        q.del(&r);
        get(&r, 1);
    }
}

fn order_of_first_event() {
    let q = Queue::new(8);
    let p: Vec<(Fd, Fd)> = (0..4).map(|_| pipe()).collect();
    for (r, _) in &p {
        q.add(r, IN);
    }
    for i in [2, 0, 3, 2, 1, 0, 2] {
        put(&p[i].1, b"x");
    }
    let want: Vec<PollFd> = [2, 0, 3, 1]
        .iter()
        .map(|&i| entry(&p[i].0, IN, IN))
        .collect();
    q.expect("in order of first event", &want);
}

/// What is handed out has no place in the queue any more: a later event goes to its end.
fn order_after_being_handed_out() {
    let q = Queue::new(8);
    let (r1, w1) = pipe();
    let (r2, w2) = pipe();
    q.add(&r1, IN);
    q.add(&r2, IN);
    put(&w1, b"x");
    q.expect("the first", &[entry(&r1, IN, IN)]);
    put(&w2, b"x");
    put(&w1, b"x");
    q.expect("both", &[entry(&r2, IN, IN), entry(&r1, IN, IN)]);
}

fn handed_out_once() {
    let (q, r, _w) = ready();
    q.expect("the event", &[entry(&r, IN, IN)]);
    for _ in 0..5 {
        q.expect_nothing("it was handed out");
    }
}

fn array_stays_while_events_arrive() {
    let q = Queue::new(64);
    let p: Vec<(Fd, Fd)> = (0..40).map(|_| pipe()).collect();
    for (r, _) in &p {
        q.add(r, IN);
    }
    for (_, w) in &p[..20] {
        put(w, b"x");
    }
    let (n, array) = q.wait_raw(limit(2000));
    let first = copy(array, n);
    check_eq!("events", n, 20);
    for (r, w) in &p {
        put(w, b"x");
        q.mod_and_test(r, IN | PRI);
    }
    check_eq!("the array after new events", copy(array, n), first);
    check_eq!("new events", q.wait(limit(2000)).len(), 40);
}

fn array_stays_after_del_and_close() {
    let q = Queue::new(8);
    let p: Vec<(Fd, Fd)> = (0..4).map(|_| pipe()).collect();
    for (r, w) in &p {
        q.add(r, IN);
        put(w, b"x");
    }
    let (n, array) = q.wait_raw(limit(2000));
    let first = copy(array, n);
    q.del(&p[0].0);
    q.modify(&p[1].0, 0);
    drop(p);
    check_eq!("the array", copy(array, n), first);
}

/// Two buffers: what is handed out is never what is being filled.
fn buffers_alternate() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let arrays: Vec<*const PollFd> = (0..6)
        .map(|_| {
            put(&w, b"x");
            let (n, array) = q.wait_raw(limit(2000));
            check_eq!("events", copy(array, n), vec![entry(&r, IN, IN)]);
            array
        })
        .collect();
    for i in 2..6 {
        check!(
            arrays[i] != arrays[i - 1],
            "the same buffer twice in a row: {arrays:?}"
        );
        check_eq!("the buffer of two waits ago", arrays[i], arrays[i - 2]);
    }
}

/// As many ready descriptors as the queue was made for.
#[track_caller]
fn full_queue(n: usize) {
    let q = Queue::new(n as i32);
    let p: Vec<(Fd, Fd)> = (0..n).map(|_| pipe()).collect();
    for (r, _) in &p {
        q.add(r, IN);
    }
    for round in 0..3 {
        for (_, w) in p.iter().rev() {
            put(w, b"x");
        }
        let want: Vec<PollFd> = p.iter().rev().map(|p| entry(&p.0, IN, IN)).collect();
        let got = q.wait(limit(2000));
        check_eq!(
            format!("round {round} with {n}: number of events"),
            got.len(),
            n
        );
        check!(got == want, "round {round} with {n}: wrong events or order");
    }
    q.expect_nothing("all were handed out");
}

fn full_queue_in_one_wait() {
    need_files(2000);
    full_queue(300);
}

/// 512 entries fill a page.
fn full_queue_at_page_edges() {
    need_files(3000);
    for n in [1, 2, 511, 512, 513, 1024] {
        full_queue(n);
    }
}

fn two_thousand_pipes() {
    need_files(5000);
    let q = Queue::new(2000);
    let p: Vec<(Fd, Fd)> = (0..2000).map(|_| pipe()).collect();
    for (r, _) in &p {
        q.add(r, IN);
    }
    for step in [1, 7, 13] {
        // Each one twice, in an order of its own.
        for i in (0..4000).map(|i| i * step % 2000) {
            put(&p[i].1, b"x");
        }
        let got = q.wait(limit(2000));
        check_eq!("events", got.len(), 2000);
        for (i, e) in got.iter().enumerate() {
            check_eq!("an entry", *e, entry(&p[i * step % 2000].0, IN, IN));
        }
    }
}

/// The child has the queue and no mapping of it: its first wait makes one.
fn in_a_child() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    fork(|| {
        for _ in 0..3 {
            put(&w, b"x");
            q.expect("in the child", &[entry(&r, IN, IN)]);
        }
        q.expect_nothing("all were handed out");
    })
    .succeed();
    put(&w, b"x");
    q.expect("in the parent", &[entry(&r, IN, IN)]);
    fork(|| {
        put(&w, b"x");
        q.expect("in another child", &[entry(&r, IN, IN)]);
    })
    .succeed();
}

/// The queue comes through a UNIX socket to a process that was there before it.
fn in_another_process() {
    let (mine, theirs) = socketpair(libc::SOCK_STREAM);
    let (r, w) = pipe();
    let want = entry(&r, IN, IN);
    let child = fork(|| {
        let q = Queue {
            fd: recv_fd(&theirs),
        };
        q.expect("in another process", &[want]);
        put(&theirs, b"once more");
        q.expect("once more", &[want]);
    });
    let q = Queue::new(8);
    q.add(&r, IN);
    put(&w, b"x");
    send_fd(&mine, q.raw());
    poll_until(&mine, IN);
    put(&w, b"x");
    child.succeed();
    put(&w, b"x");
    q.expect("in the first process", &[want]);
}

fn through_a_duplicate() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let dup = Queue { fd: q.fd.dup() };
    put(&w, b"x");
    dup.expect("through the second", &[entry(&r, IN, IN)]);
    q.expect_nothing("it was handed out");
    drop(q);
    put(&w, b"x");
    dup.expect("after the first was closed", &[entry(&r, IN, IN)]);
}
