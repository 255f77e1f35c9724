// SPDX-License-Identifier: GPL-2.0
//! Threads that signal, each on a processor of its own as far as there are any, while one harvests
//! and reads: events per second.
//!
//! A producer writes a byte into each of its pipes in turn, but not before the byte of its last turn
//! was read: so each write is one event, and what is counted does not depend on how many of them
//! become one. The interfaces take turns, with new pipes each time.

use crate::calls::{now, read_byte, watchdog, write_byte};
use crate::interfaces::{Epoll, Evpoll, Interface, Uring, EDGE};
use crate::measure::{hooks_off, wrong, Context, Result};
use crate::output::{Figure, Unit, Value};
use crate::pipes::Pipes;
use crate::Options;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Barrier;

const PRODUCERS: [usize; 3] = [1, 2, 4];
/// Of each producer.
const PIPES: usize = 100;
/// Of all producers together, in one run.
const EVENTS: usize = 120_000;
const QUICK_EVENTS: usize = 4000;
const RUNS: usize = 9;
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

/// What both sides know.
struct Shared {
    pipes: Pipes,
    /// Of each pipe: it has a byte.
    full: Vec<AtomicBool>,
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
            stop: AtomicBool::new(false),
            begin: Barrier::new(producers + 1),
        })
    }

    fn produce(&self, producer: usize, events: usize) -> Result<()> {
        self.begin.wait();
        for n in 0..events {
            let i = producer * PIPES + n % PIPES;
            while self.full[i].load(Ordering::Acquire) {
                if self.stop.load(Ordering::Relaxed) {
                    return Ok(());
                }
                std::thread::yield_now();
            }
            self.full[i].store(true, Ordering::Relaxed);
            if !write_byte(self.pipes.get(i).1.raw(), n as u8) {
                return wrong("a pipe takes no byte");
            }
        }
        Ok(())
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
                self.full[i].store(false, Ordering::Release);
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
        shared.stop.store(true, Ordering::Relaxed);
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

fn median(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

pub fn run(options: &Options) -> Result<()> {
    let (runs, events) = match options.quick {
        true => (QUICK_RUNS, QUICK_EVENTS),
        false => (RUNS, EVENTS),
    };
    // Before this thread is bound to one of them.
    let cpus = processors();
    for producers in PRODUCERS {
        // The others' rates are compared with the first one's; evpoll is followed by a pause.
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
        let mut epoll = None;
        for contender in contenders {
            let mut raw = vec![
                ("runs", Value::Int(runs as u64)),
                ("events", Value::Int(events as u64)),
            ];
            let value = contender.rates.map(|mut rates| {
                rates.sort_by(f64::total_cmp);
                let median = median(&rates);
                let epoll = *epoll.get_or_insert(median);
                raw.push(("min", Value::Float(rates[0])));
                raw.push(("max", Value::Float(rates[rates.len() - 1])));
                raw.push((
                    "percent of epoll-edge",
                    Value::Float(100.0 * median / epoll),
                ));
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
