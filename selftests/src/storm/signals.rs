// SPDX-License-Identifier: GPL-2.0
//! Somebody waits, and signals keep waking him, with SA_RESTART and without. A wait that a signal
//! ends is EINTR, and loses nothing: each byte that is sent in between reaches him.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::SeqCst};
use std::sync::Arc;
use std::time::Instant;

use super::random::Random;
use super::{Crew, Shared};
use crate::abi::*;
use crate::queue::Queue;
use crate::sys::*;

/// Starts the two. The number of signals is counted in what is returned.
pub fn start(crew: &mut Crew, shared: &Arc<Shared>, seed: u64) -> Arc<AtomicU64> {
    handle_signal(libc::SIGUSR1, libc::SA_RESTART);
    handle_signal(libc::SIGUSR2, 0);
    let signals = Arc::new(AtomicU64::new(0));
    let thread = Arc::new(AtomicI32::new(0));
    let answers = Arc::new(AtomicU64::new(0));
    let (r, w) = pipe();

    let (s, id, a) = (shared.clone(), thread.clone(), answers.clone());
    crew.start("the one who gets signals".to_owned(), move |_| {
        id.store(thread_id(), SeqCst);
        waiter(&r, &a);
        s.did();
    });
    let (s, n) = (shared.clone(), signals.clone());
    let mut random = Random::new(seed, 1 << 32);
    crew.start("the one who sends signals".to_owned(), move |_| {
        while thread.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        sender(&s, w, &mut random, thread.load(SeqCst), &answers, &n);
    });
    signals
}

/// Answers each byte, until the pipe has no writer any more.
#[track_caller]
fn waiter(r: &Fd, answers: &AtomicU64) {
    let q = Queue::new(2);
    q.add_and_test(r, IN);
    loop {
        match q.try_wait(-1) {
            Ok(events) => {
                check!(!events.is_empty(), "a wait for ever has timed out");
                for e in events {
                    check_eq!("the descriptor of an event", e.fd, r.raw());
                }
            }
            Err(Errno(libc::EINTR)) => continue,
            Err(e) => panic!("evpoll_wait with signals: {e}"),
        }
        loop {
            match read(r, 16) {
                Ok(data) if data.is_empty() => return,
                Ok(data) => drop(answers.fetch_add(data.len() as u64, SeqCst)),
                Err(Errno(libc::EAGAIN)) => break,
                Err(e) => panic!("read: {e}"),
            }
        }
    }
}

#[track_caller]
fn sender(
    shared: &Shared,
    w: Fd,
    random: &mut Random,
    thread: i32,
    answers: &AtomicU64,
    signals: &AtomicU64,
) {
    let mut sent = 0;
    while !shared.is_over() {
        for _ in 0..random.below(8) {
            signal_thread(thread, random.pick(&[libc::SIGUSR1, libc::SIGUSR2]));
            signals.fetch_add(1, SeqCst);
        }
        put(&w, b"x");
        sent += 1;
        let end = Instant::now() + ms(20_000);
        while answers.load(SeqCst) < sent {
            check!(
                Instant::now() < end,
                "byte {sent} did not reach the one who gets signals"
            );
            if random.one_in(4) {
                signal_thread(thread, random.pick(&[libc::SIGUSR1, libc::SIGUSR2]));
                signals.fetch_add(1, SeqCst);
            }
            std::thread::yield_now();
        }
        shared.did();
    }
    drop(w);
}
