// SPDX-License-Identifier: GPL-2.0
//! Several threads at one queue. Everything here is bounded in work or in time.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::*;
use crate::check::{fails, ok};
use crate::net::{socketpair, tcp_pair_small, Ip};
use crate::queue::*;
use crate::runner::{test, Test};
use crate::sys::*;

const LONG: u32 = 30;

const fn long(name: &'static str, run: fn()) -> Test {
    Test {
        group: "threads",
        name,
        limit: LONG,
        run,
        abi: None,
    }
}

pub const TESTS: &[Test] = &[
    test("threads", "ping_pong", ping_pong),
    test("threads", "one_event_two_waiters", one_event_two_waiters),
    test(
        "threads",
        "many_events_two_waiters",
        many_events_two_waiters,
    ),
    test("threads", "add_while_waiting", add_while_waiting),
    test("threads", "add_and_test_wakes", add_and_test_wakes),
    test("threads", "mod_and_test_wakes", mod_and_test_wakes),
    test(
        "threads",
        "mod_takes_effect_on_a_wait",
        mod_takes_effect_on_a_wait,
    ),
    test("threads", "del_while_waiting", del_while_waiting),
    test(
        "threads",
        "close_of_what_is_watched",
        close_of_what_is_watched,
    ),
    test("threads", "close_of_the_queue", close_of_the_queue),
    test(
        "threads",
        "events_from_many_threads",
        events_from_many_threads,
    ),
    long("add_remove_and_wait", add_remove_and_wait),
    long("events_around_removed_ones", events_around_removed_ones),
    long("add_write_close_and_wait", add_write_close_and_wait),
    long("queues_come_and_go", queues_come_and_go),
    long("no_lost_event_pipes", || until_eagain(&Kind::Pipe)),
    long("no_lost_event_tcp", || until_eagain(&Kind::Tcp)),
    long("no_lost_event_unix", || until_eagain(&Kind::Unix)),
    long("no_lost_wake_up", no_lost_wake_up),
    test("threads", "mod_while_events_come", mod_while_events_come),
];

/// How long the tests that have no work to finish go on.
fn a_while() -> Duration {
    Duration::from_millis(1500)
}

/// MOD takes effect at once, also on what is queued, and on what comes at this very moment.
fn mod_while_events_come() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let stop = AtomicBool::new(false);
    let (mut rounds, mut events) = (0, 0);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                put(&w, b"x");
                get(&r, 1);
            }
        });
        let begun = Instant::now();
        let mut wrong = None;
        while begun.elapsed() < a_while() && wrong.is_none() {
            for mask in [IN, 0, IN | PRI, PRI, IN | RDHUP] {
                q.modify(&r, mask);
                let got = q.wait(0);
                let wanted = entry(&r, mask, IN);
                let right = |e: &PollFd| mask & IN != 0 && *e == wanted;
                events += got.len();
                if !got.iter().all(right) {
                    wrong = Some((mask, got));
                }
            }
            rounds += 1;
        }
        stop.store(true, SeqCst);
        check!(wrong.is_none(), "mask and what came of it: {wrong:?}");
    });
    println!("{events} events in {rounds} rounds");
    check!(events > 0, "no event came");
}

/// Two threads wake each other, a byte at a time.
fn ping_pong() {
    const ROUNDS: usize = 1000;
    let (r1, w1) = pipe();
    let (r2, w2) = pipe();
    let side = |r: &Fd, w: &Fd, first: bool| {
        let q = Queue::new(1);
        q.add_and_test(r, IN);
        if first {
            put(w, b"x");
        }
        for i in 0..ROUNDS {
            check_eq!("the ball", q.wait(limit(4000)), vec![entry(r, IN, IN)]);
            get(r, 1);
            if !(first && i == ROUNDS - 1) {
                put(w, b"x");
            }
        }
    };
    thread::scope(|s| {
        s.spawn(|| side(&r1, &w2, true));
        s.spawn(|| side(&r2, &w1, false));
    });
}

fn one_event_two_waiters() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    let events = AtomicUsize::new(0);
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| events.fetch_add(q.wait(limit(200)).len(), SeqCst));
        }
        let_it_block();
        put(&w, b"x");
    });
    check_eq!("events of both together", events.load(SeqCst), 1);
}

/// Each event wakes somebody, and is handed out once.
fn many_events_two_waiters() {
    const EVENTS: usize = 500;
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    let seen = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !stop.load(SeqCst) {
                    let n = q.wait(10).len();
                    check!(n <= 1, "{n} entries for one descriptor");
                    seen.fetch_add(n, SeqCst);
                }
            });
        }
        for i in 0..EVENTS {
            put(&w, b"x");
            let end = Instant::now() + ms(3000);
            while seen.load(SeqCst) <= i {
                check!(Instant::now() < end, "event {i} was never handed out");
                thread::yield_now();
            }
            get(&r, 1);
        }
        stop.store(true, SeqCst);
    });
    check_eq!("events handed out", seen.load(SeqCst), EVENTS);
}

/// One thread waits, for at most so long, while this one does `act`.
fn during_a_wait(q: &Queue, timeout: i32, act: impl FnOnce()) -> (Vec<PollFd>, Duration) {
    thread::scope(|s| {
        let waiter = s.spawn(|| timed(|| q.wait(timeout)));
        let_it_block();
        act();
        waiter.join().expect("the waiter")
    })
}

fn add_while_waiting() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let (got, _) = during_a_wait(&q, limit(4000), || {
        q.add(&r, IN);
        put(&w, b"x");
    });
    check_eq!("events", got, vec![entry(&r, IN, IN)]);
}

fn add_and_test_wakes() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    let (got, _) = during_a_wait(&q, limit(4000), || q.add_and_test(&r, IN));
    check_eq!("events", got, vec![entry(&r, IN, IN)]);
}

fn mod_and_test_wakes() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add(&r, 0);
    let (got, _) = during_a_wait(&q, limit(4000), || q.mod_and_test(&r, IN));
    check_eq!("events", got, vec![entry(&r, IN, IN)]);
}

fn mod_takes_effect_on_a_wait() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let (got, _) = during_a_wait(&q, limit(150), || {
        q.modify(&r, PRI);
        put(&w, b"x");
    });
    check_eq!("events", got, Vec::new());
}

fn del_while_waiting() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let (got, _) = during_a_wait(&q, limit(150), || {
        q.del(&r);
        put(&w, b"x");
    });
    check_eq!("events", got, Vec::new());
}

/// The wait goes on, for other events or until its time is up.
fn close_of_what_is_watched() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let (other, w2) = pipe();
    q.add(&r, IN);
    q.add(&other, IN);
    let (got, _) = during_a_wait(&q, limit(4000), || {
        r.close();
        let _ = write(&w2, b"x");
    });
    check_eq!("events", got, vec![entry(&other, IN, IN)]);
    drop(w);
}

/// The queue lives until the wait is over, and the wait ends.
fn close_of_the_queue() {
    let q = Queue::new(8);
    let raw = q.raw();
    let (r, _w) = pipe();
    q.add(&r, IN);
    let waiter = thread::spawn(move || {
        let q = std::mem::ManuallyDrop::new(Queue { fd: Fd::new(raw) });
        let got = q.try_wait_raw(limit(200));
        match got {
            Ok((0, _)) | Err(Errno(libc::EBADF)) => {}
            Ok((n, _)) => panic!("expected no event, got {n}"),
            Err(e) => panic!("expected the timeout or EBADF, got {e}"),
        }
    });
    let_it_block();
    drop(q);
    check!(waiter.join().is_ok(), "the waiter failed");
    let mut events = std::ptr::null();
    // SAFETY: room for a pointer.
    let after = unsafe { evpoll_wait(raw, &mut events, 0, std::ptr::null(), 0) };
    fails("a wait on the closed queue", after, libc::EBADF);
}

/// Each of many threads makes events of its own; all of them come, each descriptor's once per
/// round.
fn events_from_many_threads() {
    const THREADS: usize = 4;
    const EACH: usize = 50;
    let q = Queue::new((THREADS * EACH) as i32);
    let pipes: Vec<(Fd, Fd)> = (0..THREADS * EACH).map(|_| pipe()).collect();
    for (r, _) in &pipes {
        q.add(r, IN);
    }
    for round in 0..10 {
        thread::scope(|s| {
            for part in pipes.chunks(EACH) {
                s.spawn(move || part.iter().for_each(|(_, w)| put(w, b"x")));
            }
        });
        let mut got: Vec<i32> = q.wait(limit(2000)).iter().map(|e| e.fd).collect();
        check_eq!(format!("events of round {round}"), got.len(), pipes.len());
        got.sort_unstable();
        got.dedup();
        check_eq!(
            format!("descriptors of round {round}"),
            got.len(),
            pipes.len()
        );
    }
}

/// What a descriptor's adder knows of it.
#[derive(Default)]
struct Life {
    /// 0 while it is added, or may be; else the moment at which DEL had returned.
    removed: AtomicU64,
}

/// Two threads add, fire and remove, one waits. Once DEL has returned, no wait that begins later
/// delivers the descriptor.
fn add_remove_and_wait() {
    const EACH: usize = 8;
    let q = Queue::new(64);
    let clock = AtomicU64::new(1);
    let stop = AtomicBool::new(false);
    let handed_out = AtomicUsize::new(0);
    let rounds = AtomicUsize::new(0);
    let pipes: Vec<(Fd, Fd)> = (0..2 * EACH).map(|_| pipe()).collect();
    let lives: Vec<Life> = pipes
        .iter()
        .map(|_| Life {
            removed: AtomicU64::new(1),
        })
        .collect();
    thread::scope(|s| {
        for half in 0..2 {
            let (q, clock, stop, rounds) = (&q, &clock, &stop, &rounds);
            let (pipes, lives) = (&pipes, &lives);
            s.spawn(move || {
                let mut i = 0usize;
                while !stop.load(SeqCst) {
                    let n = half * EACH + i % EACH;
                    let (r, w) = &pipes[n];
                    lives[n].removed.store(0, SeqCst);
                    let test = i.is_multiple_of(3);
                    q.ctl(
                        if test {
                            EP_CTL_ADD_AND_TEST
                        } else {
                            EP_CTL_ADD
                        },
                        r.raw(),
                        IN,
                    );
                    put(w, b"x");
                    if i.is_multiple_of(5) {
                        q.modify(r, if i.is_multiple_of(2) { 0 } else { IN });
                    }
                    if i.is_multiple_of(7) {
                        thread::yield_now();
                    }
                    q.del(r);
                    let now = clock.fetch_add(1, SeqCst);
                    lives[n].removed.store(now, SeqCst);
                    get(r, 1);
                    i += 1;
                    rounds.fetch_add(1, SeqCst);
                }
            });
        }
        let end = Instant::now() + a_while();
        while Instant::now() < end {
            let begun = clock.fetch_add(1, SeqCst);
            for e in q.wait(1) {
                handed_out.fetch_add(1, SeqCst);
                let n = pipes.iter().position(|p| p.0.raw() == e.fd);
                let n = n.unwrap_or_else(|| panic!("nobody added {e:?}"));
                let removed = lives[n].removed.load(SeqCst);
                check!(
                    removed == 0 || removed >= begun,
                    "{e:?} was handed out by a wait that began at {begun}, and removed at {removed}"
                );
            }
        }
        stop.store(true, SeqCst);
    });
    check!(
        rounds.load(SeqCst) > 10,
        "too little happened: {rounds:?} rounds"
    );
    q.expect_nothing("everything is removed");
}

/// Most watches of a full queue are removed and added all the time, with their events queued;
/// the others' events go on, and none of them may be lost: each is answered before the next one
/// is made.
fn events_around_removed_ones() {
    const N: usize = 600;
    const STEADY: usize = 8;
    need_files(2000);
    let q = Queue::new(N as i32);
    let stop = AtomicBool::new(false);
    let answers = AtomicUsize::new(0);
    let steady: Vec<(Fd, Fd)> = (0..STEADY).map(|_| pipe()).collect();
    let others: Vec<(Fd, Fd)> = (STEADY..N).map(|_| pipe()).collect();
    for (r, _) in &steady {
        q.add(r, IN);
    }
    for (r, w) in &others {
        put(w, b"x");
        q.add_and_test(r, IN);
    }
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                for (r, _) in others.iter().rev() {
                    q.del(r);
                    q.add_and_test(r, IN);
                }
            }
        });
        s.spawn(|| {
            for (r, w) in steady.iter().cycle() {
                let before = answers.load(SeqCst);
                put(w, b"x");
                let end = Instant::now() + ms(4000);
                while answers.load(SeqCst) == before && !stop.load(SeqCst) {
                    check!(Instant::now() < end, "event {before} was lost");
                    thread::yield_now();
                }
                if stop.load(SeqCst) {
                    return;
                }
                get(r, 1);
            }
        });
        let end = Instant::now() + a_while();
        while Instant::now() < end {
            let got = q.wait(10);
            let mut fds: Vec<i32> = got.iter().map(|e| e.fd).collect();
            fds.sort_unstable();
            fds.dedup();
            check_eq!("different descriptors", fds.len(), got.len());
            for e in got {
                check_eq!("an entry", e, PollFd::new(e.fd, IN, IN));
                if steady.iter().any(|p| p.0.raw() == e.fd) {
                    answers.fetch_add(1, SeqCst);
                }
            }
        }
        stop.store(true, SeqCst);
    });
    check!(
        answers.load(SeqCst) > 10,
        "too little happened: {answers:?} events"
    );
}

/// Descriptors are added, get an event and are closed without DEL, while another thread waits.
fn add_write_close_and_wait() {
    let q = Queue::new(64);
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    thread::scope(|s| {
        for n in 0..2 {
            let (q, stop, rounds) = (&q, &stop, &rounds);
            s.spawn(move || {
                while !stop.load(SeqCst) {
                    let (r, w) = if n == 0 {
                        pipe()
                    } else {
                        socketpair(libc::SOCK_STREAM)
                    };
                    q.add_and_test(&r, IN | RDHUP);
                    put(&w, b"x");
                    if rounds.fetch_add(1, SeqCst) % 2 == 0 {
                        w.close();
                    }
                }
            });
        }
        let end = Instant::now() + a_while();
        while Instant::now() < end {
            for e in q.wait(1) {
                check_eq!("the mask", Bits(e.events()), Bits(IN | RDHUP));
                check!(e.revents() & !(IN | HUP | RDHUP) == 0, "wrong bits: {e:?}");
            }
        }
        stop.store(true, SeqCst);
    });
    check!(
        rounds.load(SeqCst) > 10,
        "too little happened: {rounds:?} rounds"
    );
    q.expect_nothing("everything is closed");
}

/// Queues are made and closed around descriptors that fire all the time.
fn queues_come_and_go() {
    let stop = AtomicBool::new(false);
    let (r, w) = pipe();
    let (a, b) = socketpair(libc::SOCK_DGRAM);
    let rounds = AtomicUsize::new(0);
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                let _ = (write(&w, b"x"), write(&b, b"x"));
                let _ = (read(&r, 64), read(&a, 64));
            }
        });
        for _ in 0..2 {
            s.spawn(|| {
                while !stop.load(SeqCst) {
                    let q = Queue::new(16);
                    q.add(&r, IN);
                    q.add_and_test(&a, IN);
                    let got = q.wait(limit(1000));
                    check!(
                        (1..=2).contains(&got.len()) || stop.load(SeqCst),
                        "expected one or two events, got {got:?}"
                    );
                    rounds.fetch_add(1, SeqCst);
                }
            });
        }
        sleep(a_while());
        stop.store(true, SeqCst);
    });
    check!(
        rounds.load(SeqCst) > 10,
        "too little happened: {rounds:?} rounds"
    );
}

enum Kind {
    Pipe,
    Tcp,
    Unix,
}

/// Readers and writers that go on until EAGAIN and only then wait, all writers in one queue and
/// all readers in another, each queue served by one thread: no byte may stay behind.
fn until_eagain(kind: &Kind) {
    const CHANNELS: usize = 8;
    const BYTES: usize = 400_000;
    let channels: Vec<(Fd, Fd)> = (0..CHANNELS)
        .map(|_| match kind {
            Kind::Pipe => pipe(),
            Kind::Tcp => {
                let (c, a) = tcp_pair_small(Ip::V4);
                (a, c)
            }
            Kind::Unix => socketpair(libc::SOCK_STREAM),
        })
        .collect();
    let stuck = Mutex::new(String::new());
    let note = |text: String| {
        let mut stuck = stuck.lock().unwrap();
        stuck.push_str(&text);
    };
    thread::scope(|s| {
        s.spawn(|| {
            let q = Queue::new(CHANNELS as i32);
            let mut left = [BYTES; CHANNELS];
            for (_, w) in &channels {
                q.add_and_test(w, OUT);
            }
            let data = [1u8; 8192];
            while left.iter().any(|&l| l > 0) {
                let got = q.wait(limit(8000));
                if got.is_empty() {
                    return note(format!(
                        "the writer waits for ever with {left:?} bytes left; "
                    ));
                }
                for e in got {
                    let n = channels.iter().position(|c| c.1.raw() == e.fd).unwrap();
                    while left[n] > 0 {
                        match write(&channels[n].1, &data[..left[n].min(data.len())]) {
                            Ok(bytes) => left[n] -= bytes,
                            Err(Errno(libc::EAGAIN)) => break,
                            Err(e) => panic!("write: {e}"),
                        }
                    }
                }
            }
        });
        s.spawn(|| {
            let q = Queue::new(CHANNELS as i32);
            let mut left = [BYTES; CHANNELS];
            for (r, _) in &channels {
                q.add_and_test(r, IN);
            }
            while left.iter().any(|&l| l > 0) {
                let got = q.wait(limit(8000));
                if got.is_empty() {
                    return note(format!(
                        "the reader waits for ever with {left:?} bytes left; "
                    ));
                }
                for e in got {
                    let n = channels.iter().position(|c| c.0.raw() == e.fd).unwrap();
                    left[n] -= drain(&channels[n].0);
                }
            }
        });
    });
    let stuck = stuck.into_inner().unwrap();
    check!(stuck.is_empty(), "{stuck}");
}

/// A waiter that is about to sleep and a writer that writes at that moment, many times, with
/// nothing else that would wake it.
fn no_lost_wake_up() {
    const ROUNDS: usize = 3000;
    let q = Queue::new(2);
    let (r, w) = pipe();
    let (done_r, done_w) = pipe();
    q.add(&r, IN);
    thread::scope(|s| {
        s.spawn(|| {
            for i in 0..ROUNDS {
                // A little later each time, over and over.
                for _ in 0..(i % 64) * 8 {
                    std::hint::spin_loop();
                }
                put(&w, b"x");
                check_eq!("the reader", poll_for(done_r.raw(), IN, limit(8000)), IN);
                get(&done_r, 1);
            }
        });
        for i in 0..ROUNDS {
            let got = ok("evpoll_wait", q.try_wait(limit(6000)));
            check!(!got.is_empty(), "no event in round {i}");
            get(&r, 1);
            put(&done_w, b"x");
        }
    });
}
