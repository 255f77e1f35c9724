// SPDX-License-Identifier: GPL-2.0
//! The law of evpoll, enforced: what epoll in edge mode reports, evpoll reports, no later than
//! the next wait.
//!
//! A scenario is written once and played twice, from scratch: first watched by epoll in edge
//! mode, the oracle, and then by evpoll. Twice, and not by both at the same time, because
//! looking at a file with ->poll() also arms it: an event that comes only because epoll looked
//! would hide that evpoll did not. For each step, the test says which bits must come. epoll must
//! agree, or the scenario is not what it claims to be. evpoll must then report
//!
//! - these bits, and every other bit that epoll reports;
//! - on the same descriptors and on no others;
//! - once, unless epoll repeats itself as well;
//! - no bit that is not of interest, and no bit beyond epoll's that poll(2) says is not true.

use std::collections::BTreeMap;
use std::os::raw::c_int;
use std::time::{Duration, Instant};

use crate::abi::*;
use crate::check::ok;
use crate::queue::Queue;
use crate::sys::{limit, ms, poll_now, sleep, sys, Fd};

/// A watch of the scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Watch(usize);

struct Watched {
    fd: c_int,
    events: u32,
}

/// What one side saw in one step.
#[derive(Default, Clone)]
struct Seen {
    bits: BTreeMap<Watch, u32>,
    repeated: bool,
}

enum Side {
    Epoll(Fd),
    Evpoll(Queue),
}

pub struct Law {
    side: Side,
    watches: Vec<Watched>,
    oracle: Vec<Seen>,
    step: usize,
    patience: Duration,
    late: bool,
}

/// Plays a scenario for epoll, then for evpoll.
pub fn law(scenario: impl Fn(&mut Law)) {
    // SAFETY: takes no pointer.
    let epoll = ok(
        "epoll_create1",
        sys(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }),
    );
    let mut first = Law::new(Side::Epoll(Fd::new(epoll)), Vec::new());
    scenario(&mut first);
    let oracle = std::mem::take(&mut first.oracle);
    drop(first);
    check!(!oracle.is_empty(), "the scenario has no step");
    let mut second = Law::new(Side::Evpoll(Queue::new(64)), oracle);
    scenario(&mut second);
    check_eq!("steps of the scenario", second.step, second.oracle.len());
}

impl Law {
    fn new(side: Side, oracle: Vec<Seen>) -> Self {
        Law {
            side,
            watches: Vec::new(),
            oracle,
            step: 0,
            patience: Duration::from_millis(limit(2000) as u64),
            late: false,
        }
    }

    /// Whether this is the oracle's turn.
    pub fn is_oracle(&self) -> bool {
        matches!(self.side, Side::Epoll(_))
    }

    /// From now on, a timer makes the events of a step: how long it may take to show them, before
    /// scaling. They may be there one after the other, as another processor may make them while
    /// they are harvested.
    pub fn patience(&mut self, milliseconds: u64) {
        self.patience = ms(milliseconds);
        self.late = true;
    }

    #[track_caller]
    fn ctl(&self, epoll_op: c_int, evpoll_op: i32, fd: c_int, events: u32, watch: usize) {
        match &self.side {
            Side::Epoll(epoll) => {
                let mut e = libc::epoll_event {
                    events: events | libc::EPOLLET as u32,
                    u64: watch as u64,
                };
                // SAFETY: one event.
                let r = unsafe { libc::epoll_ctl(epoll.raw(), epoll_op, fd, &mut e) };
                ok("epoll_ctl", sys(r));
            }
            Side::Evpoll(queue) => queue.ctl(evpoll_op, fd, events),
        }
    }

    /// Begins to watch: EP_CTL_ADD_AND_TEST.
    #[track_caller]
    pub fn watch(&mut self, fd: &Fd, events: u32) -> Watch {
        let watch = self.watches.len();
        let fd = fd.raw();
        self.ctl(libc::EPOLL_CTL_ADD, EP_CTL_ADD_AND_TEST, fd, events, watch);
        self.watches.push(Watched { fd, events });
        Watch(watch)
    }

    /// Watches for something else: EP_CTL_MOD_AND_TEST.
    #[track_caller]
    pub fn change(&mut self, watch: Watch, events: u32) {
        let w = &mut self.watches[watch.0];
        w.events = events;
        let fd = w.fd;
        self.ctl(
            libc::EPOLL_CTL_MOD,
            EP_CTL_MOD_AND_TEST,
            fd,
            events,
            watch.0,
        );
    }

    /// One wait: what came on each watch.
    #[track_caller]
    fn harvest(&self, timeout: Duration) -> Vec<(Watch, u32)> {
        // Rounded up, so that a wait is never shorter than what is left.
        let timeout = timeout.as_micros().div_ceil(1000) as c_int;
        match &self.side {
            Side::Epoll(epoll) => {
                // SAFETY: plain bytes.
                let mut events: [libc::epoll_event; 64] = unsafe { std::mem::zeroed() };
                // SAFETY: an array of that size.
                let n = unsafe { libc::epoll_wait(epoll.raw(), events.as_mut_ptr(), 64, timeout) };
                let n = ok("epoll_wait", sys(n)) as usize;
                events[..n]
                    .iter()
                    .map(|e| (Watch(e.u64 as usize), e.events))
                    .collect()
            }
            Side::Evpoll(queue) => {
                let entries = queue.wait(timeout);
                let mut got = Vec::new();
                for e in entries {
                    // A number that was closed and used again belongs to its last watch.
                    let Some(i) = self.watches.iter().rposition(|w| w.fd == e.fd) else {
                        panic!("an event for a descriptor that is not watched: {e:?}");
                    };
                    let watched = &self.watches[i];
                    check_eq!(
                        "the requested events",
                        Bits(e.events()),
                        Bits(watched.events)
                    );
                    check!(e.revents != 0, "an entry without an event: {e:?}");
                    let foreign = e.revents() & !(watched.events | ALWAYS);
                    check!(foreign == 0, "bits that nobody asked for: {e:?}");
                    check!(
                        got.iter().all(|&(w, _)| w != Watch(i)),
                        "two entries for one descriptor: {e:?}"
                    );
                    got.push((Watch(i), e.revents()));
                }
                got
            }
        }
    }

    /// Takes events until the expected ones are there, then what else there is.
    #[track_caller]
    fn collect(&self, must: &[(Watch, u32)]) -> Seen {
        let settle = ms(2);
        let end = Instant::now() + self.patience;
        let mut seen = Seen::default();
        // Let what runs behind the system call come to its end, so that it counts as one.
        sleep(settle);
        loop {
            let complete = must
                .iter()
                .all(|(w, bits)| seen.bits.get(w).is_some_and(|got| got & bits == *bits));
            let left = end.saturating_duration_since(Instant::now());
            if complete || left.is_zero() {
                break;
            }
            for (w, bits) in self.harvest(left) {
                *seen.bits.entry(w).or_default() |= bits;
            }
        }
        let quiet = if must.is_empty() { ms(8) } else { settle };
        for (w, bits) in self.harvest(quiet) {
            seen.repeated |= seen.bits.contains_key(&w);
            *seen.bits.entry(w).or_default() |= bits;
        }
        seen
    }

    /// What just happened must be reported as these bits on these watches, and nothing else.
    #[track_caller]
    pub fn step(&mut self, what: &str, must: &[(Watch, u32)]) {
        let seen = self.collect(must);
        if self.is_oracle() {
            for &(w, bits) in must {
                let got = seen.bits.get(&w).copied().unwrap_or(0);
                check!(
                    got & bits == bits,
                    "{what}: the scenario does not hold for epoll: expected {}, got {}",
                    Bits(bits),
                    Bits(got)
                );
            }
            for (w, bits) in &seen.bits {
                check!(
                    must.iter().any(|m| m.0 == *w),
                    "{what}: the scenario does not hold for epoll: expected nothing on watch {}, \
                     got {}",
                    w.0,
                    Bits(*bits)
                );
            }
            self.oracle.push(seen);
        } else {
            self.compare(what, must, &seen);
        }
        self.step += 1;
    }

    #[track_caller]
    fn compare(&self, what: &str, must: &[(Watch, u32)], seen: &Seen) {
        check!(
            self.step < self.oracle.len(),
            "{what}: a step that the oracle did not take"
        );
        let oracle = &self.oracle[self.step];
        for &(w, bits) in must {
            let epoll = oracle.bits[&w];
            let want = bits | epoll;
            let got = seen.bits.get(&w).copied().unwrap_or(0);
            check!(
                got & want == want,
                "{what}: expected {}, got {} (epoll in edge mode: {})",
                Bits(want),
                Bits(got),
                Bits(epoll)
            );
            self.no_false_bits(what, w, got & !epoll);
        }
        for (&w, &got) in &seen.bits {
            check!(
                must.iter().any(|m| m.0 == w),
                "{what}: expected nothing on watch {}, got {}",
                w.0,
                Bits(got)
            );
        }
        check!(
            !seen.repeated || oracle.repeated || self.late,
            "{what}: expected one event, got another one without a cause: {:?}",
            seen.bits.values().map(|b| Bits(*b)).collect::<Vec<_>>()
        );
    }

    #[track_caller]
    fn no_false_bits(&self, what: &str, w: Watch, extra: u32) {
        if extra == 0 {
            return;
        }
        let now = poll_now(self.watches[w.0].fd, extra);
        check!(
            extra & !now == 0,
            "{what}: got {}, which neither epoll reports nor poll(2) confirms (poll: {})",
            Bits(extra),
            Bits(now)
        );
    }

    /// Nothing comes.
    #[track_caller]
    pub fn quiet(&mut self, what: &str) {
        self.step(what, &[]);
    }

    /// Throws away what came; for a preparation whose events are not what is tested.
    #[track_caller]
    pub fn forget(&mut self) {
        loop {
            sleep(ms(4));
            if self.harvest(Duration::ZERO).is_empty() {
                return;
            }
        }
    }
}
