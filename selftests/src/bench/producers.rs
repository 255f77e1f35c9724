// SPDX-License-Identifier: GPL-2.0
//! Threads that signal, each on a processor of its own as far as there are any, while one harvests
//! and reads: events per second.
//!
//! A producer writes a byte into each of its pipes in turn, but not before the byte of its last turn
//! was read: so each write is one event, and what is counted does not depend on how many of them
//! become one. A producer that is that far ahead sleeps until half of its bytes were read. The
//! interfaces take turns, with new pipes each time. What is compared are runs that followed each
//! other: what slowed the machine down meanwhile has, as a rule, slowed down both.

use crate::calls::{now, read_byte, watchdog, write_byte};
use crate::interfaces::{Epoll, Evpoll, Interface, Uring, EDGE};
use crate::measure::{hooks_off, wrong, Context, Result};
use crate::output::{Figure, Unit, Value};
use crate::pipes::Pipes;
use crate::Options;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Barrier;

const PRODUCERS: [usize; 3] = [1, 2, 4];
/// Of each producer.
const PIPES: usize = 100;
/// Of all producers together, in one run.
const EVENTS: usize = 100_000;
const QUICK_EVENTS: usize = 4000;
const RUNS: usize = 11;
const QUICK_RUNS: usize = 3;

/// The processors that this thread may run on.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Binds this thread to one of them.
fn pin(processor: usize) {
    // SAFETY: a zeroed set is an empty one, and there are fewer processors than it has room for.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}

/// The watchdog's signal is for the one who waits.
fn leave_alarms_alone() {
    // SAFETY: a set of signals that is filled in first.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}

/// How far a producer is, and the consumer with what it has written.
#[derive(Default)]
struct Progress {
    written: AtomicU32,
    read: AtomicU32,
    /// It sleeps, at `read`.
    sleeps: AtomicBool,
}

impl Progress {
    fn is_half_read(&self, read: u32) -> bool {
        self.written.load(Ordering::SeqCst).wrapping_sub(read) <= PIPES as u32 / 2
    }

    /// Sleeps until half of what was written has been read.
    fn sleep(&self, stop: &AtomicBool) {
        loop {
            // Told before looking; the consumer reads on before it looks whether it was told.
            self.sleeps.store(true, Ordering::SeqCst);
            let read = self.read.load(Ordering::SeqCst);
            if self.is_half_read(read) || stop.load(Ordering::SeqCst) {
                self.sleeps.store(false, Ordering::SeqCst);
                return;
            }
            let none: *const libc::timespec = std::ptr::null();
            // SAFETY: the word is there as long as the call, which ends at once if it has changed.
            unsafe {
                let op = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
                libc::syscall(libc::SYS_futex, self.read.as_ptr(), op, read, none);
            }
        }
    }

    /// One byte more has been read.
    #[inline]
    fn advance(&self) {
        let read = self.read.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        if self.sleeps.load(Ordering::SeqCst) && self.is_half_read(read) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.sleeps.store(false, Ordering::SeqCst);
        // SAFETY: only the address of the word is used.
        unsafe {
            let op = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
            libc::syscall(libc::SYS_futex, self.read.as_ptr(), op, 1);
        }
    }
}

/// What both sides know.
struct Shared {
    pipes: Pipes,
    /// Of each pipe: it has a byte.
    full: Vec<AtomicBool>,
    /// Of each producer.
    progress: Vec<Progress>,
    stop: AtomicBool,
    begin: Barrier,
}

impl Shared {
    fn new(producers: usize) -> Result<Self> {
        Ok(Shared {
            pipes: Pipes::new(producers * PIPES)?,
            full: (0..producers * PIPES)
                .map(|_| AtomicBool::new(false))
                .collect(),
            progress: (0..producers).map(|_| Progress::default()).collect(),
            stop: AtomicBool::new(false),
            begin: Barrier::new(producers + 1),
        })
    }

    fn produce(&self, producer: usize, events: usize) -> Result<()> {
        let progress = &self.progress[producer];
        self.begin.wait();
        for n in 0..events {
            let i = producer * PIPES + n % PIPES;
            while self.full[i].load(Ordering::SeqCst) {
                if self.stop.load(Ordering::SeqCst) {
                    return Ok(());
                }
                progress.sleep(&self.stop);
            }
            self.full[i].store(true, Ordering::SeqCst);
            if !write_byte(self.pipes.get(i).1.raw(), n as u8) {
                return wrong("a pipe takes no byte");
            }
            progress.written.store(n as u32 + 1, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Ends those who produce.
    fn end(&self) {
        self.stop.store(true, Ordering::SeqCst);
        for progress in &self.progress {
            progress.advance();
            progress.wake();
        }
    }

    /// Returns the time that it took, in nanoseconds.
    fn consume<I: Interface>(&self, interface: &mut I, events: usize) -> Result<u64> {
        let read_ends = self.pipes.read_ends();
        let highest = read_ends.iter().copied().max().unwrap_or(0) as usize;
        let mut of_fd = vec![0; highest + 1];
        for (i, fd) in read_ends.into_iter().enumerate() {
            of_fd[fd as usize] = i;
        }
        // The byte that each pipe is to have next.
        let mut next: Vec<u8> = (0..self.full.len()).map(|i| (i % PIPES) as u8).collect();

        self.begin.wait();
        let begin = now();
        let mut seen = 0;
        while seen < events {
            let n = interface
                .wait(1)
                .or_wrong("the wait failed (EINTR: an event did not come)")?;
            for at in 0..n {
                let fd = interface.fd(at);
                let i = of_fd[fd as usize];
                if !read_byte(fd, next[i]) {
                    return wrong("an event without its data");
                }
                next[i] = next[i].wrapping_add(PIPES as u8);
                self.full[i].store(false, Ordering::SeqCst);
                self.progress[i / PIPES].advance();
            }
            seen += n;
        }
        match seen {
            n if n == events => Ok(now() - begin),
            n => wrong(format!("{n} events instead of {events}")),
        }
    }
}

/// Events per second.
fn run_once<I: Interface>(producers: usize, events: usize, cpus: usize) -> Result<f64> {
    let each = events / producers;
    let shared = &Shared::new(producers)?;
    let others = cpus - 1;
    watchdog(120);
    let taken = std::thread::scope(|scope| {
        // The ring of io_uring belongs to the thread that makes it.
        pin(0);
        let interface = I::new(&shared.pipes.read_ends()).or_missing("it cannot watch the pipes");
        let mut interface = interface?;
        shared.pipes.warm_up(&mut interface)?;
        let threads: Vec<_> = (0..producers)
            .map(|producer| {
                scope.spawn(move || {
                    leave_alarms_alone();
                    pin(if others > 0 { 1 + producer % others } else { 0 });
                    shared.produce(producer, each)
                })
            })
            .collect();
        let taken = shared.consume(&mut interface, each * producers);
        shared.end();
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => return wrong("a producer has panicked"),
            }
        }
        taken
    })?;
    Ok((each * producers) as f64 * 1e9 / taken as f64)
}

struct Contender {
    interface: &'static str,
    run: fn(usize, usize, usize) -> Result<f64>,
    rates: Result<Vec<f64>>,
}

impl Contender {
    fn new<I: Interface>() -> Self {
        Contender {
            interface: I::NAME,
            run: run_once::<I>,
            rates: Ok(Vec::new()),
        }
    }

    fn run(&mut self, producers: usize, events: usize, cpus: usize) {
        if let Ok(rates) = &mut self.rates {
            match (self.run)(producers, events, cpus) {
                Ok(rate) => rates.push(rate),
                Err(why) => self.rates = Err(why),
            }
        }
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// What the rates are of the others in the same run, in percent, sorted.
fn compared(rates: &[f64], others: &[f64]) -> Vec<f64> {
    let pairs = rates.iter().zip(others);
    sorted(pairs.map(|(rate, other)| 100.0 * rate / other).collect())
}

/// The least, the median and the most of what is sorted.
fn spread(sorted: &[f64]) -> (f64, f64, f64) {
    let last = sorted.len() - 1;
    (sorted[0], sorted[sorted.len() / 2], sorted[last])
}

pub fn run(options: &Options) -> Result<()> {
    let (runs, events) = match options.quick {
        true => (QUICK_RUNS, QUICK_EVENTS),
        false => (RUNS, EVENTS),
    };
    // Before this thread is bound to one of them.
    let cpus = processors();
    for producers in PRODUCERS {
        // epoll is what the others are compared with; evpoll is followed by a pause.
        let mut contenders = [
            Contender::new::<Epoll<EDGE>>(),
            Contender::new::<Uring>(),
            Contender::new::<Evpoll>(),
        ];
        for run in 1..=runs {
            eprintln!("producers: {producers}: run {run} of {runs}");
            hooks_off();
            for contender in &mut contenders {
                contender.run(producers, events, cpus);
            }
        }
        let epoll = contenders[0].rates.clone();
        for contender in contenders {
            let mut raw = vec![
                ("runs", Value::Int(runs as u64)),
                ("events", Value::Int(events as u64)),
            ];
            let value = contender.rates.map(|rates| {
                if let Ok(epoll) = &epoll {
                    let (least, median, most) = spread(&compared(&rates, epoll));
                    raw.push(("percent of epoll-edge", Value::Float(median)));
                    raw.push(("min percent of epoll-edge", Value::Float(least)));
                    raw.push(("max percent of epoll-edge", Value::Float(most)));
                }
                let (least, median, most) = spread(&sorted(rates));
                raw.push(("min", Value::Float(least)));
                raw.push(("max", Value::Float(most)));
                median
            });
            options.output.figure(&Figure {
                name: "producers",
                interface: contender.interface,
                params: &[
                    ("producers", Value::Int(producers as u64)),
                    ("cpus", Value::Int(cpus as u64)),
                ],
                unit: Unit::Of("events/s"),
                value,
                raw: &raw,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_compared_one_by_one() {
        // The machine was slow during the second.
        let percent = compared(&[120.0, 55.0, 110.0], &[100.0, 50.0, 110.0]);
        assert_eq!(spread(&percent), (100.0, 110.0, 120.0));
    }

    #[test]
    fn a_producer_sleeps_until_half_is_read() {
        let progress = Progress::default();
        let stop = AtomicBool::new(false);
        progress.written.store(PIPES as u32, Ordering::SeqCst);
        std::thread::scope(|scope| {
            let sleeper = scope.spawn(|| progress.sleep(&stop));
            for _ in 0..PIPES / 2 {
                assert!(!sleeper.is_finished());
                progress.advance();
            }
            sleeper.join().unwrap();
        });
        assert!(!progress.sleeps.load(Ordering::SeqCst));
    }

    #[test]
    fn every_event_is_counted_whoever_is_faster() {
        watchdog(60);
        assert!(run_once::<Epoll<EDGE>>(2, 20_000, 1).unwrap() > 0.0);
        assert!(run_once::<Epoll<EDGE>>(2, 20_000, processors()).unwrap() > 0.0);
    }
}
