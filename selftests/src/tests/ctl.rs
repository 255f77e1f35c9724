// SPDX-License-Identifier: GPL-2.0
//! evpoll_ctl: every error, and that an error changes nothing.

use std::ffi::CString;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::net;
use crate::queue::*;
use crate::runner::{skip, test, Test};
use crate::sys::*;

tests!("ctl":
    queue_descriptor_closed,
    queue_descriptor_negative,
    descriptor_closed,
    descriptor_negative,
    descriptor_beyond_the_table,
    not_a_queue,
    unknown_operation,
    unknown_bits,
    each_known_bit,
    every_known_bit_at_once,
    data_not_zero,
    no_bits,
    add_twice,
    add_twice_with_other_bits,
    del_missing,
    del_twice,
    del_removes_only_that,
    mod_missing,
    full,
    room_after_del,
    room_after_close,
    full_mod_and_del_still_work,
    add_present_when_full,
    path_descriptor,
    itself,
    itself_through_a_duplicate,
    errors_change_nothing,
    through_a_duplicate,
    both_descriptors_wrong,
    returns_zero,
);

/// What cannot be watched at this stage. One table, so that it can shrink in one place.
pub const UNSUPPORTED: &[Test] = &[
    test("ctl", "unsupported_regular_file", || refused(memfd())),
    test("ctl", "unsupported_file_on_tmpfs", || {
        refused(temporary_file())
    }),
    test("ctl", "unsupported_proc_file", || {
        refused(opened("/proc/self/status"))
    }),
    test("ctl", "unsupported_directory", || refused(opened("/"))),
    test("ctl", "unsupported_null", || refused(opened("/dev/null"))),
    test("ctl", "unsupported_zero", || refused(opened("/dev/zero"))),
    // SAFETY, here and below: no pointers, or ones to what lives through the call.
    test("ctl", "unsupported_eventfd", || {
        refused(made(unsafe { libc::eventfd(1, 0) }))
    }),
    test("ctl", "unsupported_timerfd", || {
        refused(made(unsafe {
            libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)
        }))
    }),
    test("ctl", "unsupported_signalfd", || refused(signalfd())),
    test("ctl", "unsupported_inotify", || {
        refused(made(unsafe { libc::inotify_init1(0) }))
    }),
    test("ctl", "unsupported_epoll", || {
        refused(made(unsafe { libc::epoll_create1(0) }))
    }),
    test("ctl", "unsupported_pidfd", || {
        refused(made(unsafe {
            libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) as i32
        }))
    }),
    test("ctl", "unsupported_terminal", || {
        refused(opened("/dev/ptmx"))
    }),
];

/// A descriptor of a kind that this kernel may not have.
fn made(raw: i32) -> Fd {
    match sys(raw) {
        Ok(raw) => Fd::new(raw),
        Err(e) => skip(&format!("this kernel has no such file: {e}")),
    }
}

fn opened(path: &str) -> Fd {
    match try_open(path, libc::O_RDONLY) {
        Ok(fd) => fd,
        Err(e) => skip(&format!("{path}: {e}")),
    }
}

fn memfd() -> Fd {
    // SAFETY: a C string.
    made(unsafe { libc::memfd_create(c"file".as_ptr(), 0) })
}

fn temporary_file() -> Fd {
    let dir = TempDir::new();
    let path = CString::new(dir.path("file")).unwrap();
    // SAFETY: a C string.
    made(unsafe { libc::open(path.as_ptr(), libc::O_RDWR | libc::O_CREAT, 0o600) })
}

fn signalfd() -> Fd {
    // SAFETY: a zeroed set is a valid one.
    made(unsafe {
        let set: libc::sigset_t = std::mem::zeroed();
        libc::signalfd(-1, &set, 0)
    })
}

/// Never accepted silently, by either operation, and nothing of it stays.
fn refused(fd: Fd) {
    let q = Queue::new(1);
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        fails("adding it", q.try_ctl(op, fd.raw(), IN | OUT), libc::EPERM);
    }
    match q.try_ctl(EP_CTL_DEL, fd.raw(), 0) {
        Err(Errno(libc::ENOENT | libc::EPERM)) => {}
        other => panic!("removing it: expected ENOENT or EPERM, got {other:?}"),
    }
    q.expect_nothing("events");
    // The only place is still free.
    let (r, _w) = pipe();
    q.add(&r, IN);
}

/// A number that was a descriptor.
fn closed() -> i32 {
    lowest_free()
}

fn queue_descriptor_closed() {
    let (r, _w) = pipe();
    for op in EVERY_OP {
        let got = evpoll_ctl(closed(), op, r.raw(), IN, 0);
        fails(&format!("operation {op}"), got, libc::EBADF);
    }
}

fn queue_descriptor_negative() {
    let (r, _w) = pipe();
    for epfd in [-1, -100, i32::MIN] {
        for op in EVERY_OP {
            let got = evpoll_ctl(epfd, op, r.raw(), IN, 0);
            fails(&format!("operation {op} on {epfd}"), got, libc::EBADF);
        }
    }
}

fn descriptor_closed() {
    let q = Queue::new(8);
    for op in EVERY_OP {
        fails(
            &format!("operation {op}"),
            q.try_ctl(op, closed(), IN),
            libc::EBADF,
        );
    }
}

fn descriptor_negative() {
    let q = Queue::new(8);
    for fd in [-1, -100, i32::MIN] {
        for op in EVERY_OP {
            fails(
                &format!("operation {op} of {fd}"),
                q.try_ctl(op, fd, IN),
                libc::EBADF,
            );
        }
    }
}

fn descriptor_beyond_the_table() {
    let q = Queue::new(8);
    for fd in [1 << 16, 1 << 24, i32::MAX] {
        for op in EVERY_OP {
            fails(
                &format!("operation {op} of {fd}"),
                q.try_ctl(op, fd, IN),
                libc::EBADF,
            );
        }
    }
}

fn not_a_queue() {
    let (r, w) = pipe();
    let socket = net::socketpair(libc::SOCK_STREAM).0;
    let null = open("/dev/null", libc::O_RDONLY);
    for fd in [&w, &socket, &null] {
        for op in EVERY_OP {
            let got = evpoll_ctl(fd.raw(), op, r.raw(), IN, 0);
            fails(&format!("operation {op}"), got, libc::EINVAL);
        }
    }
}

fn unknown_operation() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    for op in [0, -1, 6, 7, 1 << 16, i32::MAX, i32::MIN] {
        fails(
            &format!("operation {op}"),
            q.try_ctl(op, r.raw(), IN),
            libc::EINVAL,
        );
    }
}

fn unknown_bits() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let (r2, _w2) = pipe();
    q.add(&r, IN);
    for bit in (0..32).map(|n| 1u32 << n).filter(|b| b & VALID == 0) {
        for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
            let what = format!("operation {op} with {bit:#x}");
            fails(&what, q.try_ctl(op, r2.raw(), IN | bit), libc::EINVAL);
        }
        for op in [EP_CTL_MOD, EP_CTL_MOD_AND_TEST] {
            let what = format!("operation {op} with {bit:#x}");
            fails(&what, q.try_ctl(op, r.raw(), IN | bit), libc::EINVAL);
        }
    }
    fails(
        "DEL of what was never added",
        q.try_ctl(EP_CTL_DEL, r2.raw(), 0),
        libc::ENOENT,
    );
    put(&w, b"x");
    q.expect("the watch as it was", &[entry(&r, IN, IN)]);
}

fn each_known_bit() {
    let q = Queue::new(8);
    for bit in (0..32).map(|n| 1u32 << n).filter(|b| b & VALID != 0) {
        let (r, w) = pipe();
        q.add(&r, bit);
        q.mod_and_test(&r, bit);
        w.close();
        q.expect(&format!("bit {bit:#x}"), &[entry(&r, bit, HUP)]);
    }
}

fn every_known_bit_at_once() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, VALID);
    put(&w, b"x");
    q.expect("data", &[entry(&r, VALID, IN | RDNORM)]);
}

fn data_not_zero() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    let (r2, _w2) = pipe();
    q.add(&r, IN);
    for data in [1, 1 << 31, usize::MAX, 1 << (usize::BITS - 1)] {
        for op in EVERY_OP {
            let fd = match op {
                EP_CTL_ADD | EP_CTL_ADD_AND_TEST => &r2,
                _ => &r,
            };
            let got = evpoll_ctl(q.raw(), op, fd.raw(), IN, data);
            fails(
                &format!("operation {op} with data {data:#x}"),
                got,
                libc::EINVAL,
            );
        }
    }
    q.del(&r);
    fails("DEL", q.try_ctl(EP_CTL_DEL, r2.raw(), 0), libc::ENOENT);
}

/// Nothing asked for: ERR and HUP are reported all the same.
fn no_bits() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, 0);
    put(&w, b"x");
    q.expect_nothing("data, which nobody asked for");
    w.close();
    q.expect("the writer is gone", &[entry(&r, 0, HUP)]);
}

fn add_twice() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    for first in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        q.ctl(first, r.raw(), IN);
        for second in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
            let what = format!("operation {second} after {first}");
            fails(&what, q.try_ctl(second, r.raw(), IN), libc::EEXIST);
        }
        q.del(&r);
    }
}

fn add_twice_with_other_bits() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    fails(
        "the second ADD",
        q.try_ctl(EP_CTL_ADD_AND_TEST, r.raw(), PRI),
        libc::EEXIST,
    );
    put(&w, b"x");
    q.expect("the first mask still counts", &[entry(&r, IN, IN)]);
}

fn del_missing() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    fails("DEL", q.try_ctl(EP_CTL_DEL, r.raw(), 0), libc::ENOENT);
}

fn del_twice() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    q.del(&r);
    fails(
        "the second DEL",
        q.try_ctl(EP_CTL_DEL, r.raw(), 0),
        libc::ENOENT,
    );
}

/// One watch of several is removed, and only that one.
fn del_removes_only_that() {
    let q = Queue::new(8);
    let pipes: Vec<(Fd, Fd)> = (0..3).map(|_| pipe()).collect();
    for (r, _) in &pipes {
        q.add(r, IN);
    }
    q.del(&pipes[1].0);
    for (_, w) in &pipes {
        put(w, b"x");
    }
    let want = [entry(&pipes[0].0, IN, IN), entry(&pipes[2].0, IN, IN)];
    q.expect("the other two", &want);
}

fn mod_missing() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    for op in [EP_CTL_MOD, EP_CTL_MOD_AND_TEST] {
        fails(
            &format!("operation {op}"),
            q.try_ctl(op, r.raw(), IN),
            libc::ENOENT,
        );
    }
    q.expect_nothing("events");
}

fn full() {
    let q = Queue::new(3);
    let pipes: Vec<(Fd, Fd)> = (0..4).map(|_| pipe()).collect();
    for (r, _) in &pipes[..3] {
        q.add(r, IN);
    }
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        let got = q.try_ctl(op, pipes[3].0.raw(), IN);
        fails(&format!("operation {op} when full"), got, libc::E2BIG);
    }
    for (_, w) in &pipes {
        put(w, b"x");
    }
    let want: Vec<PollFd> = pipes[..3].iter().map(|p| entry(&p.0, IN, IN)).collect();
    q.expect("all that fit", &want);
}

fn room_after_del() {
    let q = Queue::new(1);
    let (one, _w1) = pipe();
    let (two, w2) = pipe();
    for _ in 0..10 {
        q.add(&one, IN);
        fails(
            "ADD when full",
            q.try_ctl(EP_CTL_ADD, two.raw(), IN),
            libc::E2BIG,
        );
        q.del(&one);
        q.add(&two, IN);
        q.del(&two);
    }
    q.add(&two, IN);
    put(&w2, b"x");
    q.expect("the event", &[entry(&two, IN, IN)]);
}

fn room_after_close() {
    let q = Queue::new(1);
    for _ in 0..10 {
        let (r, w) = pipe();
        q.add(&r, IN);
        put(&w, b"x");
    }
    q.expect_nothing("all of them are closed");
}

fn full_mod_and_del_still_work() {
    let q = Queue::new(1);
    let (r, w) = pipe();
    q.add(&r, 0);
    q.mod_and_test(&r, IN);
    put(&w, b"x");
    q.expect("the event", &[entry(&r, IN, IN)]);
    q.del(&r);
}

fn add_present_when_full() {
    let q = Queue::new(1);
    let (r, _w) = pipe();
    q.add(&r, IN);
    match q.try_ctl(EP_CTL_ADD, r.raw(), IN) {
        Err(Errno(libc::EEXIST | libc::E2BIG)) => {}
        other => panic!("expected EEXIST or E2BIG, got {other:?}"),
    }
}

/// A descriptor that only names a file is none for this purpose.
fn path_descriptor() {
    let dir = TempDir::new();
    let fd = open(&dir.fifo("f"), libc::O_PATH);
    let q = Queue::new(8);
    for op in EVERY_OP {
        fails(
            &format!("operation {op}"),
            q.try_ctl(op, fd.raw(), IN),
            libc::EBADF,
        );
    }
    let (r, _w) = pipe();
    let got = evpoll_ctl(fd.raw(), EP_CTL_ADD, r.raw(), IN, 0);
    fails("as the queue", got, libc::EBADF);
}

fn itself() {
    let q = Queue::new(8);
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        fails(
            &format!("operation {op}"),
            q.try_ctl(op, q.raw(), IN),
            libc::ELOOP,
        );
    }
    works(&q);
}

/// It is the same queue under any number.
fn itself_through_a_duplicate() {
    let q = Queue::new(8);
    let dup = q.fd.dup();
    let got = q.try_ctl(EP_CTL_ADD, dup.raw(), IN);
    fails("the queue in itself", got, libc::ELOOP);
    works(&q);
}

fn works(q: &Queue) {
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    put(&w, b"x");
    q.expect("the event", &[entry(&r, IN, IN)]);
}

fn errors_change_nothing() {
    let q = Queue::new(2);
    let (r, w) = pipe();
    let (r2, _w2) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let null = open("/dev/null", libc::O_RDONLY);
    for op in EVERY_OP {
        // DEL has no use for events, and may ignore what is wrong with them.
        if op != EP_CTL_DEL {
            let _ = q.try_ctl(op, r.raw(), NVAL);
        }
        let _ = q.try_ctl(op, -1, IN);
        let _ = q.try_ctl(op, null.raw(), IN);
        let _ = q.try_ctl(op, q.raw(), IN);
        let _ = evpoll_ctl(q.raw(), op, r.raw(), IN, 1);
    }
    let _ = q.try_ctl(EP_CTL_ADD, r.raw(), OUT);
    let _ = q.try_ctl(EP_CTL_MOD, r2.raw(), OUT);
    let _ = q.try_ctl(EP_CTL_DEL, r2.raw(), 0);
    q.expect("the queued event", &[entry(&r, IN, IN)]);
    q.add(&r2, IN);
}

fn through_a_duplicate() {
    let q = Queue::new(8);
    let dup = Queue { fd: q.fd.dup() };
    let (r, w) = pipe();
    dup.add(&r, IN);
    fails(
        "ADD through the first",
        q.try_ctl(EP_CTL_ADD, r.raw(), IN),
        libc::EEXIST,
    );
    put(&w, b"x");
    q.expect("through the first", &[entry(&r, IN, IN)]);
    q.del(&r);
    fails(
        "DEL through the second",
        dup.try_ctl(EP_CTL_DEL, r.raw(), 0),
        libc::ENOENT,
    );
}

fn both_descriptors_wrong() {
    for op in EVERY_OP {
        fails(
            &format!("operation {op}"),
            evpoll_ctl(-1, op, -1, IN, 0),
            libc::EBADF,
        );
    }
}

fn returns_zero() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    for (op, events) in [
        (EP_CTL_ADD_AND_TEST, IN),
        (EP_CTL_MOD_AND_TEST, IN),
        (EP_CTL_MOD, IN),
        (EP_CTL_DEL, 0),
        (EP_CTL_ADD, IN),
    ] {
        let what = format!("operation {op}");
        check_eq!(what, ok(&what, q.try_ctl(op, r.raw(), events)), 0);
    }
}
