// SPDX-License-Identifier: GPL-2.0
//! A queue that is in use while the tests run, so that the hooks are switched on and called. It
//! goes through rounds: writes to pipes and sockets that it watches, waits until the queue has told
//! of each, reads them empty; and in each round one more pipe is watched and closed while it is.

use std::io::Read;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use selftests::abi::IN;
use selftests::net::{self, Ip};
use selftests::queue::Queue;
use selftests::sys::{self, Fd};

/// As [`main`] is asked for on the command line.
pub const FLAG: &str = "--watcher";
/// Between two rounds: most of the time is the tests'.
const PAUSE: Duration = Duration::from_millis(10);
/// An event that takes longer is lost.
const LOST: Duration = Duration::from_secs(60);

/// What is written to, and what is watched for it.
type Pair = (Fd, Fd);

/// Goes on until standard input ends, then says how many rounds and events there were. An event
/// that does not come is said on standard error, and the status is 1.
pub fn main() -> ExitCode {
    net::loopback_up();
    let pairs = pairs();
    let queue = Queue::new(64);
    for (_, watched) in &pairs {
        queue.add_and_test(watched, IN);
    }
    let (mut rounds, mut events) = (0u64, 0u64);
    while !told_to_end() {
        match round(&queue, &pairs) {
            Ok(count) => events += count,
            Err(missing) => {
                eprintln!("evpoll-peers: round {rounds}: no event for {missing}");
                return ExitCode::from(1);
            }
        }
        rounds += 1;
        sys::sleep(PAUSE);
    }
    println!("watcher {rounds} {events}");
    ExitCode::SUCCESS
}

fn pairs() -> Vec<Pair> {
    let turned = |(read, write): Pair| (write, read);
    let mut pairs: Vec<Pair> = (0..4).map(|_| turned(sys::pipe())).collect();
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET] {
        pairs.push(net::socketpair(kind));
    }
    pairs.extend([Ip::V4, Ip::V6].map(net::tcp_pair));
    pairs.push(udp_pair());
    pairs
}

fn udp_pair() -> Pair {
    let (from, to) = (Ip::V4.udp(), Ip::V4.udp());
    net::bind(&to, &Ip::V4.loopback(0));
    net::connect(&from, &net::local(&to));
    (from, to)
}

/// How many events there were, or what did not come.
fn round(queue: &Queue, pairs: &[Pair]) -> Result<u64, String> {
    let (end, start) = sys::pipe();
    queue.add_and_test(&end, IN);
    sys::put(&start, b"x");
    for (write, _) in pairs {
        sys::put(write, b"x");
    }
    let mut missing: Vec<i32> = pairs.iter().map(|(_, watched)| watched.raw()).collect();
    missing.push(end.raw());
    let (begun, mut events) = (Instant::now(), 0);
    while !missing.is_empty() {
        if begun.elapsed() > LOST {
            return Err(format!("{missing:?}"));
        }
        for event in queue.wait(1000) {
            events += 1;
            if u32::from(event.revents as u16) & IN != 0 {
                missing.retain(|fd| *fd != event.fd);
            }
        }
    }
    for (_, watched) in pairs {
        sys::get(watched, 1);
    }
    Ok(events)
}

/// Whether standard input has come to its end.
fn told_to_end() -> bool {
    if sys::poll_now(0, IN) == 0 {
        return false;
    }
    !matches!(std::io::stdin().read(&mut [0]), Ok(count) if count > 0)
}
