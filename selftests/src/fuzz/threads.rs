// SPDX-License-Identifier: GPL-2.0
//! Programs of several threads at once. Slots have fixed numbers, far from those that new
//! descriptors get, and new files come under them by dup2(2), so that what a thread does to a
//! number that another one has just replaced is the race that is meant and not another one.
//!
//! Beside the program's threads, one takes events and reads until `EAGAIN` whatever it is told
//! of, as a program should, and another one only waits, on a second queue. When all have ended,
//! the law is one of state: data that can be read from a watched descriptor was an event that is
//! still in the queue, since the reader left none before.

use std::collections::BTreeMap;
use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::channel::Kind;
use super::oracle::Counts;
use super::program::{Op, Program, Verb, SLOTS, THREADS};
use crate::abi::*;
use crate::check::ok;
use crate::queue::Queue;
use crate::runner::scale;
use crate::sys::{read, write, Fd};

/// The number of slot 0.
const BASE: c_int = 200;
const INTEREST: u32 = IN | OUT | RDHUP;

fn number(slot: u32) -> c_int {
    BASE + slot as c_int
}

/// Runs `f` with a descriptor that stays whose it is.
fn borrowed<T>(raw: c_int, f: impl FnOnce(&Fd) -> T) -> T {
    let fd = Fd::new(raw);
    let r = f(&fd);
    fd.leak();
    r
}

/// Reads until there is nothing more.
fn drain(raw: c_int) {
    const BOUND: usize = 1000;
    borrowed(raw, |fd| {
        for _ in 0..BOUND {
            if !read(fd, 1 << 16).is_ok_and(|d| !d.is_empty()) {
                return;
            }
        }
    });
}

/// How many bytes can be read, from what can be read at all.
fn readable(raw: c_int) -> usize {
    if crate::sys::poll_now(raw, IN) & IN == 0 {
        return 0;
    }
    let mut n: c_int = 0;
    // SAFETY: an int is stored.
    let r = unsafe { libc::ioctl(raw, libc::FIONREAD, &mut n) };
    if r < 0 {
        0
    } else {
        n as usize
    }
}

struct Race {
    /// What is taken and read.
    queue: Queue,
    /// A wait turns the array of the one before it over: one at a time, until it is copied.
    turn: Mutex<u64>,
    /// What is only waited on.
    other: Queue,
    over: AtomicBool,
}

impl Race {
    fn ctl(&self, op: i32, raw: c_int, mask: u32) {
        let _ = self.queue.try_ctl(op, raw, mask);
        let _ = self.other.try_ctl(op, raw, mask);
    }

    /// Puts a pair of files under two numbers.
    fn place(&self, kind: Kind, a: u32, b: u32) {
        let Ok((first, second)) = kind.open() else {
            return;
        };
        for (fd, slot) in [(first, a), (second, b)] {
            let raw = number(slot);
            // SAFETY: takes no pointer.
            ok(
                "dup2",
                crate::sys::sys(unsafe { libc::dup2(fd.raw(), raw) }),
            );
            fd.close();
            self.ctl(EP_CTL_ADD_AND_TEST, raw, INTEREST);
        }
    }

    fn perform(&self, op: &Op) {
        let [a, b, c, ..] = op.args;
        let raw = number(a);
        match op.verb {
            Verb::Write => {
                let _ = borrowed(raw, |fd| write(fd, &vec![b'x'; b as usize]));
            }
            Verb::Read => {
                let _ = borrowed(raw, |fd| read(fd, b as usize));
            }
            Verb::Rewatch => {
                self.ctl(EP_CTL_DEL, raw, 0);
                self.ctl(EP_CTL_ADD_AND_TEST, raw, INTEREST);
            }
            Verb::Flip => {
                self.ctl(EP_CTL_MOD, raw, 0);
                self.ctl(EP_CTL_MOD_AND_TEST, raw, INTEREST);
            }
            Verb::Unwatch => self.ctl(EP_CTL_DEL, raw, 0),
            Verb::Watch => self.ctl(EP_CTL_ADD_AND_TEST, raw, INTEREST),
            Verb::Close => {
                // SAFETY: takes no pointer.
                unsafe { libc::close(raw) };
            }
            Verb::Replace => self.place(Kind::of(a), b, c),
            Verb::Wait => {
                let _ = self.other.try_wait_raw(1);
            }
            Verb::Nap => std::thread::sleep(Duration::from_millis(u64::from(a.min(5)))),
            _ => {}
        }
    }

    /// One turn of the one who takes and reads.
    fn take(&self, timeout: c_int) -> Vec<PollFd> {
        let mut events = self.turn.lock().unwrap_or_else(|e| e.into_inner());
        let entries = self.queue.wait(timeout);
        *events += entries.len() as u64;
        entries
    }

    fn take_and_read(&self, timeout: c_int) {
        for e in self.take(timeout) {
            drain(e.fd);
        }
    }
}

/// Runs a program.
pub fn run(program: &Program) -> Result<Counts, String> {
    let race = Race {
        queue: Queue::new(1024),
        turn: Mutex::new(0),
        other: Queue::new(1024),
        over: AtomicBool::new(false),
    };
    let (opens, rest): (Vec<Op>, Vec<Op>) =
        program.ops.iter().partition(|op| op.verb == Verb::Open);
    for op in opens {
        race.place(Kind::of(op.args[0]), op.args[1], op.args[2]);
    }
    std::thread::scope(|s| {
        let takers = [
            s.spawn(|| {
                while !race.over.load(Ordering::Acquire) {
                    race.take_and_read(2);
                }
            }),
            s.spawn(|| {
                while !race.over.load(Ordering::Acquire) {
                    let _ = race.other.try_wait_raw(2);
                }
            }),
        ];
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (race, rest) = (&race, &rest);
                s.spawn(move || {
                    let mine = rest.iter().filter(|op| op.thread == thread);
                    mine.for_each(|op| race.perform(op));
                })
            })
            .collect();
        for thread in threads {
            let _ = thread.join();
        }
        race.over.store(true, Ordering::Release);
        for taker in takers {
            let _ = taker.join();
        }
    });
    judge(&race)?;
    let events = *race.turn.lock().unwrap_or_else(|e| e.into_inner());
    Ok(Counts {
        events,
        spurious: 0,
    })
}

/// The state when nobody does anything any more.
fn judge(race: &Race) -> Result<(), String> {
    let mut hand: BTreeMap<c_int, u32> = BTreeMap::new();
    let end = Instant::now() + Duration::from_millis(150) * scale();
    for look in 0.. {
        // As in a sequence, time alone says nothing.
        let late = Instant::now() >= end && look >= 10;
        for e in race.take(0) {
            *hand.entry(e.fd).or_default() |= e.revents();
        }
        // TCP may still be on its way: looked at before the events are taken once more.
        let full: Vec<(c_int, usize)> = (0..SLOTS)
            .map(number)
            .map(|raw| (raw, readable(raw)))
            .filter(|(_, bytes)| *bytes > 0)
            .collect();
        for e in race.take(0) {
            *hand.entry(e.fd).or_default() |= e.revents();
        }
        let lost = full.iter().find(|(raw, _)| {
            let told = hand.get(raw).is_some_and(|bits| bits & IN != 0);
            // A change that changes nothing, and tells whether this file is watched.
            !told && race.queue.try_ctl(EP_CTL_MOD, *raw, INTEREST).is_ok()
        });
        match lost {
            None => break,
            Some((raw, bytes)) if late => {
                return Err(format!(
                    "{bytes} bytes can be read from fd {raw}, which is watched, but there is no \
                     event of them"
                ));
            }
            Some(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
    // Whatever is closed or removed is not heard of any more, even if something happens to it.
    for slot in 0..SLOTS {
        let raw = number(slot);
        if slot % 2 == 0 {
            race.ctl(EP_CTL_DEL, raw, 0);
        }
        let _ = borrowed(raw ^ 1, |fd| write(fd, b"x"));
    }
    for slot in (1..SLOTS).step_by(2) {
        // SAFETY: takes no pointer.
        unsafe { libc::close(number(slot)) };
    }
    let left = race.take(0);
    match left.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "everything is removed or closed, but {left:?} comes"
        )),
    }
}
