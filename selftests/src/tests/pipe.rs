// SPDX-License-Identifier: GPL-2.0
//! Pipes: each way in which one gets, loses or moves data, room, readers and writers.

use std::os::raw::c_int;
use std::ptr::null_mut;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::law::law;
use crate::net::{send, socketpair};
use crate::runner::skip;
use crate::sys::*;

tests!("pipe":
    data,
    data_before_add,
    an_event_for_each_write,
    writer_that_blocks,
    room,
    room_for_part_of_a_page_only,
    room_armed_by_add,
    writer_gone,
    writer_gone_with_data,
    one_of_two_writers_gone,
    reader_gone,
    reader_gone_when_full,
    one_of_two_readers_gone,
    grown,
    shrunk,
    spliced_in,
    spliced_out,
    spliced_from_pipe_to_pipe,
    spliced_from_a_socket,
    sent_from_a_file,
    teed,
    memory_spliced_in,
    memory_spliced_out,
    packets,
    both_ends_in_one,
    read_end_reopened,
    write_end_reopened,
    both_ends_watched,
    norm_bits,
    notification,
);

const PAGE: usize = 4096;

fn data() {
    law(|l| {
        let (r, w) = pipe();
        let watch = l.watch(&r, IN);
        l.quiet("added");
        put(&w, b"first");
        l.step("data", &[(watch, IN)]);
        check_eq!("bytes", drain(&r), 5);
        l.quiet("read until EAGAIN");
        put(&w, b"second");
        l.step("data after the pipe was empty", &[(watch, IN)]);
    });
}

fn data_before_add() {
    law(|l| {
        let (r, w) = pipe();
        put(&w, b"early");
        let watch = l.watch(&r, IN);
        l.step("added with data in the pipe", &[(watch, IN)]);
    });
}

/// What wakers of event loops rely on: they write and never read.
fn an_event_for_each_write() {
    law(|l| {
        let (r, w) = pipe();
        let watch = l.watch(&r, IN);
        for _ in 0..5 {
            put(&w, b"!");
            l.step("a write", &[(watch, IN)]);
        }
        get(&r, 1);
        l.quiet("a read that leaves data");
        put(&w, b"!");
        l.step("another write", &[(watch, IN)]);
    });
}

/// A writer with more than fits blocks in the middle of its write, and the reader must know of
/// what is there already.
fn writer_that_blocks() {
    const TOTAL: usize = 200_000;
    law(|l| {
        let (r, w) = pipe();
        let blocking = reopen(&w, libc::O_WRONLY);
        let watch = l.watch(&r, IN);
        l.quiet("added");
        let writer = fork(|| put(&blocking, &vec![b'x'; TOTAL]));
        l.step("the pipe is full and the writer blocks", &[(watch, IN)]);
        let mut left = TOTAL;
        while left > 0 {
            poll_until(&r, IN);
            left -= drain(&r);
        }
        writer.succeed();
        l.forget();
    });
}

fn room() {
    law(|l| {
        let (r, w) = pipe();
        let watch = l.watch(&w, OUT);
        l.step("added", &[(watch, OUT)]);
        for _ in 0..2 {
            check!(fill(&w, PAGE) >= PAGE, "the pipe took nothing");
            l.quiet("full");
            get(&r, PAGE);
            l.step("a page was read", &[(watch, OUT)]);
        }
        l.quiet("nothing more");
        drain(&r);
        l.forget();
    });
}

/// Part of a page frees nothing: a pipe is full by pages, not by bytes.
fn room_for_part_of_a_page_only() {
    law(|l| {
        let (r, w) = pipe();
        fill(&w, PAGE);
        let watch = l.watch(&w, OUT);
        l.quiet("added when full");
        get(&r, PAGE - 1);
        l.quiet("a page but one byte was read");
        get(&r, 1);
        l.step("the last byte of the page was read", &[(watch, OUT)]);
    });
}

fn room_armed_by_add() {
    law(|l| {
        let (r, w) = pipe();
        fill(&w, PAGE);
        let watch = l.watch(&w, OUT);
        l.quiet("added when full");
        drain(&r);
        l.step("drained", &[(watch, OUT)]);
    });
}

fn writer_gone() {
    law(|l| {
        let (r, w) = pipe();
        let watch = l.watch(&r, 0);
        l.quiet("added");
        w.close();
        l.step("the writer is gone", &[(watch, HUP)]);
        check_eq!("the end", drain(&r), 0);
        l.quiet("the end was read");
    });
}

fn writer_gone_with_data() {
    law(|l| {
        let (r, w) = pipe();
        let watch = l.watch(&r, IN);
        put(&w, b"last words");
        l.step("data", &[(watch, IN)]);
        w.close();
        l.step("the writer is gone", &[(watch, IN | HUP)]);
    });
}

fn one_of_two_writers_gone() {
    law(|l| {
        let (r, w) = pipe();
        let other = reopen(&w, libc::O_WRONLY | libc::O_NONBLOCK);
        let watch = l.watch(&r, IN);
        l.quiet("added");
        w.close();
        l.forget();
        put(&other, b"x");
        l.step("data from the other one", &[(watch, IN)]);
        get(&r, 1);
        other.close();
        l.step("the last writer is gone", &[(watch, HUP)]);
    });
}

/// A pipe without a reader is an error for its writer.
fn reader_gone() {
    law(|l| {
        let (r, w) = pipe();
        let watch = l.watch(&w, OUT);
        l.step("added", &[(watch, OUT)]);
        r.close();
        l.step("the reader is gone", &[(watch, OUT | ERR)]);
    });
}

fn reader_gone_when_full() {
    law(|l| {
        let (r, w) = pipe();
        fill(&w, PAGE);
        let watch = l.watch(&w, OUT);
        l.quiet("added when full");
        r.close();
        l.step("the reader is gone", &[(watch, ERR)]);
    });
}

fn one_of_two_readers_gone() {
    law(|l| {
        let (r, w) = pipe();
        let other = reopen(&r, libc::O_RDONLY | libc::O_NONBLOCK);
        fill(&w, PAGE);
        let watch = l.watch(&w, OUT);
        l.quiet("added when full");
        r.close();
        l.forget();
        drain(&other);
        l.step("drained by the other one", &[(watch, OUT)]);
        other.close();
        l.step("the last reader is gone", &[(watch, ERR)]);
    });
}

fn resize(fd: &Fd, size: usize) {
    // SAFETY: takes no pointer.
    ok(
        "F_SETPIPE_SZ",
        sys(unsafe { libc::fcntl(fd.raw(), libc::F_SETPIPE_SZ, size as c_int) }),
    );
}

fn grown() {
    law(|l| {
        let (r, w) = pipe();
        resize(&w, PAGE);
        fill(&w, PAGE);
        let watch = l.watch(&w, OUT);
        l.quiet("added when full");
        resize(&r, 4 * PAGE);
        l.step("the pipe has grown", &[(watch, OUT)]);
    });
}

/// Smaller, and full by that: no room, so no event of it.
fn shrunk() {
    law(|l| {
        let (r, w) = pipe();
        resize(&w, 4 * PAGE);
        put(&w, &[0; PAGE]);
        put(&w, &[0; PAGE]);
        let watch = l.watch(&w, OUT);
        l.step("added", &[(watch, OUT)]);
        resize(&w, 2 * PAGE);
        l.quiet("the pipe is full now");
        get(&r, PAGE);
        l.step("a page was read", &[(watch, OUT)]);
    });
}

fn splice(from: &Fd, to: &Fd, len: usize) {
    let flags = libc::SPLICE_F_NONBLOCK;
    // SAFETY: no offsets are given.
    let n = unsafe { libc::splice(from.raw(), null_mut(), to.raw(), null_mut(), len, flags) };
    check_eq!("bytes spliced", ok("splice", sys(n as c_int)), len as i32);
}

/// A file with something in it.
fn file(len: usize) -> Fd {
    // SAFETY: a C string.
    let raw = unsafe { libc::memfd_create(c"data".as_ptr(), libc::MFD_CLOEXEC) };
    let fd = Fd::new(ok("memfd_create", sys(raw)));
    put(&fd, &vec![b'f'; len]);
    // SAFETY: takes no pointer.
    ok(
        "lseek",
        sys(unsafe { libc::lseek(fd.raw(), 0, libc::SEEK_SET) } as c_int),
    );
    fd
}

fn spliced_in() {
    law(|l| {
        let (r, w) = pipe();
        let f = file(2 * PAGE);
        let watch = l.watch(&r, IN);
        l.quiet("added");
        splice(&f, &w, PAGE);
        l.step("spliced into the pipe", &[(watch, IN)]);
        splice(&f, &w, PAGE);
        l.step("more of it while the first is unread", &[(watch, IN)]);
    });
}

fn spliced_out() {
    law(|l| {
        let (r, w) = pipe();
        let null = open("/dev/null", libc::O_WRONLY);
        fill(&w, PAGE);
        let watch = l.watch(&w, OUT);
        l.quiet("added when full");
        splice(&r, &null, PAGE);
        l.step("spliced out of the pipe", &[(watch, OUT)]);
    });
}

fn spliced_from_pipe_to_pipe() {
    law(|l| {
        let (r1, w1) = pipe();
        let (r2, w2) = pipe();
        fill(&w1, PAGE);
        let out = l.watch(&w1, OUT);
        let input = l.watch(&r2, IN);
        l.quiet("added");
        splice(&r1, &w2, PAGE);
        l.step("spliced from one to the other", &[(out, OUT), (input, IN)]);
    });
}

fn spliced_from_a_socket() {
    law(|l| {
        let (a, b) = socketpair(libc::SOCK_STREAM);
        let (r, w) = pipe();
        let watch = l.watch(&r, IN);
        l.quiet("added");
        send(&b, b"from a socket");
        splice(&a, &w, 13);
        l.step("spliced from a socket", &[(watch, IN)]);
        check_eq!("bytes", drain(&r), 13);
    });
}

fn sent_from_a_file() {
    law(|l| {
        let (r, w) = pipe();
        let f = file(100);
        let watch = l.watch(&r, IN);
        l.quiet("added");
        // SAFETY: no offset is given.
        let n = unsafe { libc::sendfile(w.raw(), f.raw(), null_mut(), 100) };
        check_eq!("bytes", ok("sendfile", sys(n as c_int)), 100);
        l.step("sent into the pipe", &[(watch, IN)]);
    });
}

fn teed() {
    law(|l| {
        let (r1, w1) = pipe();
        let (r2, w2) = pipe();
        put(&w1, b"twice");
        let watch = l.watch(&r2, IN);
        l.quiet("added");
        // SAFETY: takes no pointer.
        let n = unsafe { libc::tee(r1.raw(), w2.raw(), 5, libc::SPLICE_F_NONBLOCK) };
        check_eq!("bytes", ok("tee", sys(n as c_int)), 5);
        l.step("a copy came in", &[(watch, IN)]);
        check_eq!("bytes", drain(&r2), 5);
        check_eq!("bytes", drain(&r1), 5);
    });
}

fn vmsplice(fd: &Fd, data: &mut [u8]) {
    let io = libc::iovec {
        iov_base: data.as_mut_ptr().cast(),
        iov_len: data.len(),
    };
    // SAFETY: one vector of a buffer that lives through the call; what is left of it in the pipe
    // is only read.
    let n = unsafe { libc::vmsplice(fd.raw(), &io, 1, libc::SPLICE_F_NONBLOCK) };
    check_eq!("bytes", ok("vmsplice", sys(n as c_int)), data.len() as i32);
}

fn memory_spliced_in() {
    law(|l| {
        let (r, w) = pipe();
        let watch = l.watch(&r, IN);
        l.quiet("added");
        let mut memory = vec![1u8; 100];
        vmsplice(&w, &mut memory);
        l.step("memory put into the pipe", &[(watch, IN)]);
        check_eq!("bytes", drain(&r), 100);
    });
}

fn memory_spliced_out() {
    law(|l| {
        let (r, w) = pipe();
        fill(&w, PAGE);
        let watch = l.watch(&w, OUT);
        l.quiet("added when full");
        let mut memory = vec![0u8; PAGE];
        vmsplice(&r, &mut memory);
        l.step("copied out of the pipe", &[(watch, OUT)]);
        check_eq!("what came", memory[0], b'x');
    });
}

/// O_DIRECT: each write is a packet.
fn packets() {
    law(|l| {
        let (r, w) = ok("pipe2", pipe_flags(libc::O_DIRECT | libc::O_NONBLOCK));
        let watch = l.watch(&r, IN);
        put(&w, b"one");
        l.step("a packet", &[(watch, IN)]);
        put(&w, b"two");
        l.step("another one while the first is unread", &[(watch, IN)]);
        check_eq!("a packet", ok("read", read(&r, 64)), b"one");
        check_eq!("a packet", ok("read", read(&r, 64)), b"two");
        fails("read", read(&r, 64), libc::EAGAIN);
    });
}

/// One descriptor that reads and writes: events of both ends.
fn both_ends_in_one() {
    law(|l| {
        let (r, _w) = pipe();
        let both = reopen(&r, libc::O_RDWR | libc::O_NONBLOCK);
        let watch = l.watch(&both, IN | OUT);
        l.step("added", &[(watch, OUT)]);
        put(&both, b"x");
        l.step("data", &[(watch, IN)]);
        fill(&both, PAGE);
        l.forget();
        get(&both, PAGE);
        l.step("room", &[(watch, OUT)]);
    });
}

/// 2002 knew one reader and one writer of a pipe; there can be any number.
fn read_end_reopened() {
    law(|l| {
        let (r, w) = pipe();
        let again = reopen(&r, libc::O_RDONLY | libc::O_NONBLOCK);
        let (one, two) = (l.watch(&r, IN), l.watch(&again, IN));
        l.quiet("added");
        put(&w, b"x");
        l.step("data", &[(one, IN), (two, IN)]);
        w.close();
        l.step("the writer is gone", &[(one, HUP), (two, HUP)]);
    });
}

fn write_end_reopened() {
    law(|l| {
        let (r, w) = pipe();
        fill(&w, PAGE);
        let again = reopen(&w, libc::O_WRONLY | libc::O_NONBLOCK);
        let (one, two) = (l.watch(&w, OUT), l.watch(&again, OUT));
        l.quiet("added when full");
        get(&r, PAGE);
        l.step("room", &[(one, OUT), (two, OUT)]);
        r.close();
        l.step("the reader is gone", &[(one, ERR), (two, ERR)]);
    });
}

/// Each end has its own events and none of the other's.
fn both_ends_watched() {
    law(|l| {
        let (r, w) = pipe();
        let (input, out) = (l.watch(&r, IN | OUT), l.watch(&w, IN | OUT));
        l.step("added", &[(out, OUT)]);
        put(&w, b"x");
        l.step("data", &[(input, IN)]);
        fill(&w, PAGE);
        l.forget();
        get(&r, PAGE);
        l.step("room", &[(out, OUT)]);
    });
}

fn norm_bits() {
    law(|l| {
        let (r, w) = pipe();
        let (input, out) = (l.watch(&r, IN | RDNORM), l.watch(&w, OUT | WRNORM));
        l.step("added", &[(out, OUT | WRNORM)]);
        put(&w, b"x");
        l.step("data", &[(input, IN | RDNORM)]);
    });
}

/// A pipe that the kernel itself writes to.
fn notification() {
    const SET_SIZE: libc::c_ulong = 0x5760;
    const KEY_SPEC_PROCESS_KEYRING: libc::c_long = -2;
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    const KEYCTL_WATCH_KEY: libc::c_long = 32;
    law(|l| {
        let (r, _w) = match pipe_flags(libc::O_EXCL | libc::O_NONBLOCK) {
            Ok(ends) => ends,
            Err(Errno(libc::ENOPKG | libc::EINVAL)) => skip("no notification pipes"),
            Err(e) => panic!("pipe2: {e}"),
        };
        // SAFETY: integers and C strings only.
        let watched = unsafe {
            libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
            libc::ioctl(r.raw(), SET_SIZE as _, 16) == 0
                && libc::syscall(
                    libc::SYS_keyctl,
                    KEYCTL_WATCH_KEY,
                    KEY_SPEC_PROCESS_KEYRING,
                    r.raw(),
                    1,
                ) == 0
        };
        if !watched {
            skip("keys cannot be watched");
        }
        let watch = l.watch(&r, IN);
        l.quiet("added");
        // SAFETY: C strings and a buffer of three bytes.
        let key = unsafe {
            libc::syscall(
                libc::SYS_add_key,
                c"user".as_ptr(),
                c"evpoll".as_ptr(),
                c"abc".as_ptr(),
                3,
                KEY_SPEC_PROCESS_KEYRING,
            )
        };
        check!(key > 0, "add_key: {}", Errno::last());
        l.step("the kernel's note", &[(watch, IN)]);
    });
}
