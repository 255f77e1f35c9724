// SPDX-License-Identifier: GPL-2.0
//! FIFOs: pipes with a name, many openers, and an opening of their own.

use crate::abi::*;
use crate::law::law;
use crate::sys::*;

tests!("fifo":
    data,
    many_readers,
    many_writers,
    opened_by_another_process,
    writer_comes_and_goes,
    reader_comes_back,
    reader_and_writer_in_one,
    reopened_by_number,
    opening_is_no_event,
    opening_with_data_unread,
    opening_interrupted,
);

const READ: i32 = libc::O_RDONLY | libc::O_NONBLOCK;
const WRITE: i32 = libc::O_WRONLY | libc::O_NONBLOCK;
const BOTH: i32 = libc::O_RDWR | libc::O_NONBLOCK;

fn data() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let w = open(&path, WRITE);
        let watch = l.watch(&r, IN);
        l.quiet("added");
        put(&w, b"first");
        l.step("data", &[(watch, IN)]);
        put(&w, b"second");
        l.step("more data while the first is unread", &[(watch, IN)]);
    });
}

fn many_readers() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let readers: Vec<Fd> = (0..8).map(|_| open(&path, READ)).collect();
        let w = open(&path, WRITE);
        let watches: Vec<_> = readers.iter().map(|r| l.watch(r, IN)).collect();
        l.quiet("added");
        put(&w, b"x");
        let all: Vec<_> = watches.iter().map(|&w| (w, IN)).collect();
        l.step("data", &all);
        w.close();
        let all: Vec<_> = watches.iter().map(|&w| (w, HUP)).collect();
        l.step("the writer is gone", &all);
    });
}

fn many_writers() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let writers: Vec<Fd> = (0..8).map(|_| open(&path, WRITE)).collect();
        fill(&writers[0], 4096);
        let watches: Vec<_> = writers.iter().map(|w| l.watch(w, OUT)).collect();
        l.quiet("added when full");
        drain(&r);
        let all: Vec<_> = watches.iter().map(|&w| (w, OUT)).collect();
        l.step("drained", &all);
        r.close();
        let all: Vec<_> = watches.iter().map(|&w| (w, ERR)).collect();
        l.step("the reader is gone", &all);
    });
}

fn opened_by_another_process() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let watch = l.watch(&r, IN);
        l.quiet("added");
        let (go, wait) = pipe();
        let writer = fork(|| {
            let w = open(&path, WRITE);
            put(&w, b"from another process");
            poll_for(go.raw(), IN, limit(5000));
        });
        l.step("data from another process", &[(watch, IN)]);
        check_eq!("bytes", drain(&r), 20);
        put(&wait, b".");
        writer.succeed();
        l.step("that process has ended", &[(watch, HUP)]);
    });
}

fn writer_comes_and_goes() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let watch = l.watch(&r, IN);
        l.quiet("no writer was there yet");
        for _ in 0..3 {
            let w = open(&path, WRITE);
            l.forget();
            put(&w, b"x");
            l.step("data", &[(watch, IN)]);
            get(&r, 1);
            w.close();
            l.step("the writer is gone", &[(watch, HUP)]);
        }
    });
}

fn reader_comes_back() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let w = open(&path, WRITE);
        let watch = l.watch(&w, OUT);
        l.step("added", &[(watch, OUT)]);
        r.close();
        l.step("the reader is gone", &[(watch, ERR)]);
        let r = open(&path, READ);
        l.forget();
        fill(&w, 4096);
        l.forget();
        drain(&r);
        l.step("another reader drained it", &[(watch, OUT)]);
    });
}

fn reader_and_writer_in_one() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let both = open(&path, BOTH);
        let watch = l.watch(&both, IN | OUT);
        l.step("added", &[(watch, OUT)]);
        let w = open(&path, WRITE);
        l.forget();
        put(&w, b"x");
        l.step("data from another writer", &[(watch, IN)]);
        w.close();
        l.forget();
        fill(&both, 4096);
        l.forget();
        get(&both, 4096);
        l.step("room", &[(watch, OUT)]);
    });
}

fn reopened_by_number() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let again = reopen(&r, READ);
        let w = reopen(&r, WRITE);
        let (one, two) = (l.watch(&r, IN), l.watch(&again, IN));
        l.quiet("added");
        put(&w, b"x");
        l.step("data", &[(one, IN), (two, IN)]);
        r.close();
        put(&w, b"y");
        l.step("data after one was closed", &[(two, IN)]);
    });
}

fn opening_is_no_event() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let _watch = l.watch(&r, IN);
        l.quiet("added");
        let _w = open(&path, WRITE);
        l.quiet("a writer came");
    });
}

/// The first writer left data and went; the next one comes, and HUP is not true any more.
fn opening_with_data_unread() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let r = open(&path, READ);
        let watch = l.watch(&r, IN);
        let w = open(&path, WRITE);
        put(&w, b"x");
        l.step("data", &[(watch, IN)]);
        w.close();
        l.step("the writer is gone", &[(watch, IN | HUP)]);
        let _w = open(&path, WRITE);
        l.step("another writer came", &[(watch, IN)]);
    });
}

/// Somebody who waits in open(2) for the other side and is interrupted leaves nothing behind
/// that later events stumble over.
fn opening_interrupted() {
    law(|l| {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let waiting = fork(|| {
            let _ = try_open(&path, libc::O_WRONLY);
        });
        let_it_block();
        drop(waiting);
        let r = open(&path, READ);
        let watch = l.watch(&r, IN);
        l.quiet("added");
        let w = open(&path, WRITE);
        put(&w, b"x");
        l.step("data", &[(watch, IN)]);
    });
}
