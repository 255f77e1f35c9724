// SPDX-License-Identifier: GPL-2.0
//! Transfers that go on through the whole storm: the program writes or reads until EAGAIN and only
//! then waits. So many bytes go each time, and all of them have to arrive.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::abi::*;
use crate::queue::Queue;
use crate::storm::Shared;
use crate::sys::*;

/// What goes in one round.
const BYTES: usize = 100_000;

/// One wait that must not be in vain. Others may have taken the event away from this queue only by
/// a fault of the kernel: nobody else waits on it.
#[track_caller]
fn wait_for(q: &Queue, what: &str, left: usize) {
    // Long: with 32 threads on an emulated processor, nobody's turn comes soon.
    match q.try_wait(limit(20_000)) {
        Ok(events) if events.is_empty() => {
            panic!("{what} waits for ever, with {left} bytes left: a lost event")
        }
        Ok(events) => {
            for e in events {
                check!(
                    e.revents() & !(e.events() | ALWAYS) == 0,
                    "{what}: bits that nobody asked for: {e:?}"
                );
            }
        }
        Err(Errno(libc::EINTR)) => {}
        Err(e) => panic!("{what}: evpoll_wait: {e}"),
    }
}

/// Writes rounds until the storm is over; how many there will be is told by `rounds` then.
#[track_caller]
pub fn send(shared: &Shared, w: &Fd, rounds: &AtomicU64) {
    let q = Queue::new(4);
    q.add_and_test(w, OUT);
    let data = [7u8; 4096];
    let mut done = 0;
    // At least one, however late this thread gets its first turn.
    loop {
        let mut left = BYTES;
        while left > 0 {
            match write(w, &data[..left.min(data.len())]) {
                Ok(n) => left -= n,
                Err(Errno(libc::EAGAIN)) => wait_for(&q, "the writer", left),
                Err(e) => panic!("write: {e}"),
            }
        }
        done += 1;
        shared.did();
        if shared.is_over() {
            break;
        }
    }
    rounds.store(done, SeqCst);
    shutdown_or_close(w);
}

/// Tells the reader that there is no more.
fn shutdown_or_close(w: &Fd) {
    // SAFETY: takes no pointer. A pipe is no socket: it is closed by its owner.
    unsafe { libc::shutdown(w.raw(), libc::SHUT_WR) };
    let null = open("/dev/null", libc::O_RDONLY);
    // The end of the pipe is closed, and its number stays taken.
    // SAFETY: descriptors of this transfer's own.
    unsafe { libc::dup2(null.raw(), w.raw()) };
}

/// Reads until the end of the file; how much it was.
#[track_caller]
pub fn receive(shared: &Shared, r: &Fd) -> u64 {
    let q = Queue::new(4);
    q.add_and_test(r, IN | RDHUP);
    let mut total = 0;
    loop {
        match read(r, 8192) {
            Ok(data) if data.is_empty() => return total,
            Ok(data) => total += data.len() as u64,
            Err(Errno(libc::EAGAIN)) => wait_for(&q, "the reader", 0),
            Err(e) => panic!("read: {e}"),
        }
        shared.did();
    }
}

/// All that was written was read.
#[track_caller]
pub fn compare(rounds: &AtomicU64, received: u64) {
    let sent = rounds.load(SeqCst) * BYTES as u64;
    check_eq!("bytes that have arrived", received, sent);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emu::{set_fault, Fault};
    use crate::net::socketpair;
    use crate::runner::{run, test, Outcome};
    use std::thread;
    use std::time::Duration;

    /// A transfer on the host, where epoll plays evpoll, with this fault.
    fn transfer(fault: Fault) -> Outcome {
        thread_local! {
            static CHOSEN: std::cell::Cell<Fault> = const { std::cell::Cell::new(Fault::None) };
        }
        CHOSEN.with(|c| c.set(fault));
        let body = || {
            let fault = CHOSEN.with(|c| c.get());
            set_fault(fault);
            HURRY.with(|h| h.set(true));
            let (r, w) = socketpair(libc::SOCK_STREAM);
            let shared = Shared::for_tests();
            let rounds = AtomicU64::new(0);
            thread::scope(|s| {
                let reader = s.spawn(|| {
                    set_fault(fault);
                    HURRY.with(|h| h.set(fault != Fault::None));
                    receive(&shared, &r)
                });
                s.spawn(|| {
                    sleep(Duration::from_millis(300));
                    shared.end();
                });
                send(&shared, &w, &rounds);
                compare(&rounds, reader.join().unwrap());
            });
        };
        run(
            &test("storm", "transfer", body),
            Some(Duration::from_secs(20)),
        )
        .0
    }

    #[test]
    fn a_transfer_ends() {
        assert_eq!(transfer(Fault::None), Outcome::Passed);
    }

    #[test]
    fn lost_events_are_found() {
        for fault in [Fault::LosesEverySecondEvent, Fault::OnlyFirstEdge] {
            assert!(matches!(transfer(fault), Outcome::Failed(_)), "{fault:?}");
        }
    }

    #[test]
    fn missing_bytes_are_found() {
        let short = std::panic::catch_unwind(|| compare(&AtomicU64::new(2), BYTES as u64));
        assert!(short.is_err());
    }
}
