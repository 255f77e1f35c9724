// SPDX-License-Identifier: GPL-2.0
//! What a queue counts, and what it tells the tracer.

use std::ffi::CString;
use std::fs;
use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::*;
use crate::net::{socketpair, tcp_pair, Ip};
use crate::queue::*;
use crate::runner::skip;
use crate::sys::*;

tests!("counters":
    new_queue,
    each_entry_handed_out,
    not_before_it_is_handed_out,
    not_when_the_pointer_is_bad,
    by_ep_poll,
    arrivals_that_coalesce,
    coalesced_without_a_wait,
    dropped_entries_are_not_handed_out,
    tested_conditions,
    each_queue_by_itself,
    through_a_duplicate_and_a_child,
    reset_by_nothing,
    nothing_spurious_pipe,
    nothing_spurious_unix,
    nothing_spurious_tcp,
    nothing_spurious_device,
    fdinfo_races_changes,
    trace_of_an_event,
    trace_of_waits,
    trace_of_ep_poll,
);

#[track_caller]
fn counted(q: &Queue, what: &str, events: u64, coalesced: u64) {
    let want = Counters {
        events,
        coalesced,
        spurious: 0,
    };
    check_eq!(format!("the counters, {what}"), counters(q), want);
}

fn new_queue() {
    counted(&Queue::new(8), "of a new queue", 0, 0);
    let q = open_device();
    counted(&q, "of a device", 0, 0);
    alloc(&q, 8);
    counted(&q, "after EP_ALLOC", 0, 0);
}

fn each_entry_handed_out() {
    let q = Queue::new(32);
    let pipes: Vec<(Fd, Fd)> = (0..10).map(|_| pipe()).collect();
    for (r, _) in &pipes {
        q.add(r, IN);
    }
    let mut all = 0;
    for n in [1, 10, 3, 7, 2] {
        for (_, w) in &pipes[..n] {
            put(w, b"x");
        }
        check_eq!("entries", q.wait(limit(2000)).len(), n);
        all += n as u64;
        counted(&q, "after a wait", all, 0);
        check_eq!("entries", q.wait(0).len(), 0);
        counted(&q, "after a wait for nothing", all, 0);
    }
}

fn not_before_it_is_handed_out() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    counted(&q, "with an entry pending", 0, 0);
    poll_now(q.raw(), IN);
    counted(&q, "after poll(2)", 0, 0);
    q.expect("the entry", &[entry(&r, IN, IN)]);
    counted(&q, "after the wait", 1, 0);
}

fn not_when_the_pointer_is_bad() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let page = map_anonymous(PAGE, libc::PROT_READ);
    for _ in 0..3 {
        // SAFETY: the kernel checks the address.
        let got = unsafe { evpoll_wait(q.raw(), page.cast(), 0, std::ptr::null(), 0) };
        fails("a wait with a bad pointer", got, libc::EFAULT);
        counted(&q, "after EFAULT", 0, 0);
    }
    q.expect("the entry", &[entry(&r, IN, IN)]);
    counted(&q, "after the wait", 1, 0);
}

fn by_ep_poll() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for n in 1..=5 {
        put(&w, b"x");
        map.expect(&q, "the entry", &[entry(&r, IN, IN)]);
        counted(&q, "after EP_POLL", n, 0);
    }
}

/// One byte at a time: each is an arrival.
fn arrivals_that_coalesce() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let (mut events, mut coalesced) = (0, 0);
    for more in [0, 1, 2, 10, 0, 30] {
        put(&w, b"x");
        for _ in 0..more {
            put(&w, b"y");
        }
        q.expect("one entry", &[entry(&r, IN, IN)]);
        events += 1;
        coalesced += more;
        counted(&q, &format!("with {more} more"), events, coalesced);
        drain(&r);
    }
}

fn coalesced_without_a_wait() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for n in 0..20 {
        put(&w, b"x");
        counted(&q, "nobody waits", 0, n);
    }
}

fn dropped_entries_are_not_handed_out() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.del(&r);
    check_eq!("entries", q.wait(0).len(), 0);
    counted(&q, "after DEL", 0, 0);
    q.add(&r, IN);
    put(&w, b"y");
    q.modify(&r, PRI);
    check_eq!("entries", q.wait(0).len(), 0);
    counted(&q, "after MOD", 0, 0);
    let (r2, w2) = pipe();
    q.add(&r2, IN);
    put(&w2, b"x");
    drop(r2);
    check_eq!("entries", q.wait(0).len(), 0);
    counted(&q, "after close", 0, 0);
}

fn tested_conditions() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add_and_test(&r, IN);
    q.expect("by ADD_AND_TEST", &[entry(&r, IN, IN)]);
    counted(&q, "after ADD_AND_TEST", 1, 0);
    q.mod_and_test(&r, IN);
    q.expect("by MOD_AND_TEST", &[entry(&r, IN, IN)]);
    counted(&q, "after MOD_AND_TEST", 2, 0);
    get(&r, 1);
    q.mod_and_test(&r, IN);
    check_eq!("entries", q.wait(0).len(), 0);
    counted(&q, "when nothing is true", 2, 0);
}

fn each_queue_by_itself() {
    let queues: Vec<_> = (0..4).map(|_| Queue::new(8)).collect();
    let (r, w) = pipe();
    for q in &queues {
        q.add(&r, IN);
    }
    for (i, q) in queues.iter().enumerate() {
        put(&w, b"x");
        q.expect("the entry", &[entry(&r, IN, IN)]);
        counted(q, "of the one that waited", 1, i as u64);
    }
    put(&w, b"x");
    // The first one has heard the other three and this.
    counted(&queues[0], "of the first one", 1, 3);
}

fn through_a_duplicate_and_a_child() {
    let q = Queue::new(8);
    let dup = Queue { fd: q.fd.dup() };
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    put(&w, b"y");
    dup.expect("the entry", &[entry(&r, IN, IN)]);
    counted(&q, "by the other number", 1, 1);
    fork(|| {
        counted(&q, "in a child", 1, 1);
        put(&w, b"z");
        q.expect("in a child", &[entry(&r, IN, IN)]);
    })
    .succeed();
    counted(&dup, "after a child's wait", 2, 1);
}

fn reset_by_nothing() {
    let q = open_device();
    alloc(&q, 8);
    let map = Map::new(&q, 8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    put(&w, b"y");
    map.expect(&q, "the entry", &[entry(&r, IN, IN)]);
    counted(&q, "at first", 1, 1);
    q.del(&r);
    counted(&q, "after DEL", 1, 1);
    drop(map);
    alloc(&q, 1000);
    counted(&q, "after EP_ALLOC", 1, 1);
}

#[track_caller]
fn nothing_spurious(what: &str, q: &Queue, at_least: u64) {
    let got = counters(q);
    check_eq!(format!("spurious events, {what}"), got.spurious, 0);
    check!(
        got.events >= at_least,
        "{what}: expected {at_least} events at least, got {}",
        got.events
    );
}

fn nothing_spurious_pipe() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    q.add(&w, OUT);
    for _ in 0..20 {
        fill(&w, 4096);
        q.wait(limit(2000));
        drain(&r);
        q.wait(limit(2000));
        put(&w, b"x");
        q.wait(limit(2000));
        get(&r, 1);
    }
    drop(w);
    q.expect("the end", &[entry(&r, IN, HUP)]);
    nothing_spurious("of a pipe", &q, 61);
}

fn nothing_spurious_unix() {
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        let q = Queue::new(8);
        let (a, b) = socketpair(kind);
        q.add(&a, IN);
        for _ in 0..20 {
            put(&b, b"x");
            check_eq!("entries", q.wait(limit(2000)).len(), 1);
            get(&a, 1);
        }
        drop(b);
        check_eq!("the end", q.wait(limit(2000)).len(), 1);
        nothing_spurious("of a UNIX socket", &q, 21);
    }
}

fn nothing_spurious_tcp() {
    let q = Queue::new(8);
    let (a, b) = tcp_pair(Ip::V4);
    q.add(&a, IN | RDHUP);
    for _ in 0..20 {
        put(&b, b"x");
        check_eq!("entries", q.wait(limit(2000)).len(), 1);
        get(&a, 1);
    }
    drop(b);
    check_eq!("the end", q.wait(limit(2000)).len(), 1);
    nothing_spurious("of a TCP socket", &q, 21);
}

fn nothing_spurious_device() {
    let (q, map) = device(8);
    let inner = Queue::new(8);
    let (r, w) = pipe();
    inner.add(&r, IN);
    q.add(&inner.fd, IN);
    for _ in 0..20 {
        put(&w, b"x");
        map.expect(&q, "the inner queue", &[entry(&inner.fd, IN, IN)]);
        inner.expect("the source", &[entry(&r, IN, IN)]);
    }
    nothing_spurious("of a queue in a device", &q, 20);
    nothing_spurious("of a queue", &inner, 20);
}

/// The list is read while what it lists comes and goes.
fn fdinfo_races_changes() {
    let q = Queue::new(700);
    let (stays, w) = pipe();
    q.add(&stays, IN);
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                let many: Vec<(Fd, Fd)> = (0..40).map(|_| pipe()).collect();
                for (r, w) in &many {
                    q.add(r, IN);
                    put(w, b"x");
                }
                for (r, _) in many.iter().step_by(2) {
                    q.del(r);
                }
                rounds.fetch_add(1, SeqCst);
            }
        });
        let end = std::time::Instant::now() + std::time::Duration::from_millis(800);
        while std::time::Instant::now() < end || rounds.load(SeqCst) < 3 {
            let n = watches(&q);
            check!((1..=41).contains(&n), "{n} watches are listed");
            check_eq!("spurious events", counters(&q).spurious, 0);
        }
        stop.store(true, SeqCst);
    });
    check_eq!("watches", watches(&q), 1);
    q.wait(0);
    put(&w, b"x");
    q.expect("the one that stays", &[entry(&stays, IN, IN)]);
}

/// tracefs, with the events of evpoll switched on; off again when dropped.
struct Trace {
    dir: String,
    mounted: Option<TempDir>,
}

impl Trace {
    #[track_caller]
    fn new() -> Self {
        let known = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
        let there = known
            .iter()
            .find(|d| fs::metadata(format!("{d}/events")).is_ok());
        let mut trace = match there {
            Some(dir) => Trace {
                dir: (*dir).to_owned(),
                mounted: None,
            },
            None => {
                let dir = TempDir::new();
                let path = CString::new(dir.0.as_str()).unwrap();
                let (kind, none) = (c"tracefs".as_ptr(), std::ptr::null());
                // SAFETY: C strings.
                let got = unsafe { libc::mount(kind, path.as_ptr(), kind, 0, none) };
                if let Err(e) = sys(got) {
                    skip(&format!("tracefs cannot be mounted: {e}"));
                }
                Trace {
                    dir: dir.0.clone(),
                    mounted: Some(dir),
                }
            }
        };
        trace.write("events/evpoll/enable", "1");
        trace.write("tracing_on", "1");
        trace.write("trace", "");
        trace
    }

    #[track_caller]
    fn write(&mut self, file: &str, text: &str) {
        let path = format!("{}/{file}", self.dir);
        if let Err(e) = fs::write(&path, text) {
            panic!("{path}: {e}");
        }
    }

    /// What follows the name of the event, for each of its lines by this process.
    #[track_caller]
    fn lines(&self, event: &str) -> Vec<String> {
        let path = format!("{}/trace", self.dir);
        let text = fs::read_to_string(&path).expect("the trace");
        let process = format!("-{} ", std::process::id());
        let marker = format!("{event}: ");
        text.lines()
            .filter(|l| !l.starts_with('#') && l.contains(&process))
            .filter_map(|l| l.split_once(&marker))
            .map(|(_, rest)| rest.to_owned())
            .collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(format!("{}/events/evpoll/enable", self.dir), "0");
        if let Some(dir) = self.mounted.take() {
            let path = CString::new(dir.0.as_str()).unwrap();
            // SAFETY: a C string.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
    }
}

/// The value of `name=VALUE` in a line.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_end_matches(','))
}

fn trace_of_an_event() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let (r2, w2) = pipe();
    q.add(&r, IN);
    q.add(&r2, IN);
    let trace = Trace::new();
    put(&w, b"x");
    put(&w2, b"x");
    drop(w2);
    q.wait(limit(2000));
    let got = trace.lines("evpoll_notify");
    let said: Vec<_> = got
        .iter()
        .map(|l| (field(l, "fd"), field(l, "revents")))
        .collect();
    let number = |fd: &Fd| fd.raw().to_string();
    // The end comes with the data that are still there.
    for (fd, bits) in [(&r, IN), (&r2, IN), (&r2, IN | HUP)] {
        let (fd, bits) = (number(fd), format!("{bits:#x}"));
        check!(
            said.contains(&(Some(&fd), Some(&bits))),
            "no line with fd={fd} and revents={bits} in {got:?}"
        );
    }
    check_eq!("lines", got.len(), 3);
    drop(trace);
}

fn trace_of_waits() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let page = map_anonymous(PAGE, libc::PROT_READ);
    let trace = Trace::new();
    q.wait(0);
    q.wait(5);
    put(&w, b"x");
    // SAFETY: the kernel checks the address.
    let bad = unsafe { evpoll_wait(q.raw(), page.cast(), 0, std::ptr::null(), 0) };
    fails("a wait with a bad pointer", bad, libc::EFAULT);
    q.expect("the event", &[entry(&r, IN, IN)]);
    let got = trace.lines("evpoll_wait");
    let said: Vec<c_int> = got
        .iter()
        .map(|l| match field(l, "ret").map(str::parse) {
            Some(Ok(ret)) => ret,
            _ => panic!("expected a line with ret=N, got {l:?}"),
        })
        .collect();
    check_eq!(
        "what the waits returned",
        said,
        vec![0, 0, -libc::EFAULT, 1]
    );
}

fn trace_of_ep_poll() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let trace = Trace::new();
    map.expect(&q, "nothing yet", &[]);
    put(&w, b"x");
    map.expect(&q, "the event", &[entry(&r, IN, IN)]);
    let got = trace.lines("evpoll_wait");
    let said: Vec<_> = got.iter().map(|l| field(l, "ret")).collect();
    check_eq!("what EP_POLL returned", said, vec![Some("0"), Some("1")]);
    check_eq!("notifications", trace.lines("evpoll_notify").len(), 1);
    ok("EP_POLL", try_poll(&q, 0));
}
