// SPDX-License-Identifier: GPL-2.0
//! The oracle: random programs over random descriptors, each watched by evpoll and by epoll in
//! edge mode. A program comes from a seed, runs in a process of its own, and when it fails, is
//! made as short as it can be while it still fails.
//!
//! # Programs
//!
//! `program` has the operations, `channel` the kinds of descriptors, and there are four shapes:
//!
//! - a *sequence*: one operation after the other, and after each of them everything is taken and
//!   compared (`world`, `oracle`). There are three queues: one where everything is added and
//!   modified with a test (`EP_CTL_ADD_AND_TEST`); one where it is not, whose changes may go by
//!   write(2), and which may be one of /dev/eventpoll; and one with tests that is waited on
//!   seldom, so that its events are coalesced, narrowed and taken back. Queues can also be made by
//!   the program, and be watched like everything else.
//! - *apart*: a sequence of what does not depend on time, played for epoll alone and then for
//!   evpoll alone, since looking with poll(2) or epoll also makes a file tell of what comes next;
//! - *threads*: several threads at once, with changes, closes and replacements (`threads`);
//! - *transfer*: readers and writers that go on until `EAGAIN`, and then wait (`transfer`).
//!
//! # The law of a sequence
//!
//! For each step, what happens until neither epoll nor a queue has anything more. "True" is what
//! poll(2) shows before and after each system call.
//!
//! 1. Every bit that epoll reports of a descriptor in a step, each queue that is waited on hands
//!    out in this step. The one that is waited on seldom does so at its next wait, unless the
//!    watch is removed or its file closed before, or the bit is not asked for any more.
//! 2. Every bit that the first queue hands out, the others do, too: the same callbacks told all.
//! 3. A bit that is handed out was true at some moment since the descriptor's last hand-out, and
//!    was asked for. An entry has an event, the mask of its watch, and is the only one of its
//!    watch in one wait. There is none for what was removed or closed.
//! 4. Nothing comes of what was true before an ADD or MOD without a test.
//! 5. Nothing comes twice, without anything being done, unless epoll says so as well.
//! 6. Changes succeed and fail, with the same errno, as epoll's do.
//!
//! An entry on which epoll has nothing is spurious. Fewer than 2 % of all have to be.
//!
//! What is *not* demanded, and why:
//!
//! - By 4, what epoll reports in the step of an ADD or MOD without a test: it always tests.
//! - By 4 and 5, anything of sockets that speak a protocol (TCP, UDP, raw, packet, netlink): a
//!   timer or another processor may have something for them at any moment.
//! - A *state*, once it was handed out and has been true ever since: HUP, and RDHUP, of anything;
//!   ERR of a pipe. epoll repeats them whenever anything wakes it, above all a wake-up without a
//!   key; there cannot be more of them, so there is no edge. The error of a socket is none of
//!   these: after one there may be another.
//! - IN of a pipe, known in the same way, in the step of a write that has written nothing or of a
//!   change of the pipe's size. In both, the pipe wakes its readers all the same (the first is
//!   for what polls it in edge mode and relies on one event for each write), and epoll reports
//!   what has been there before. Nothing has arrived.
//! - A queue in another one that would be too many above one another, is refused as a whole.
//! - The watches of one number (a number that was used again while a duplicate has kept the old
//!   file) are compared together: an entry has the number only. What is true of a file that only
//!   another process has is not known, and whatever is said of it is believed.
//!
//! What is missing is waited for, for a short while, before it counts as lost: the wake-up of
//! epoll and the callback are two moments.

mod channel;
mod generate;
mod oracle;
mod program;
mod sandbox;
mod shrink;
mod threads;
mod transfer;
mod world;

use std::io::Write;
use std::time::{Duration, Instant};

pub use oracle::Counts;
pub use program::Program;

use crate::abi::{evpoll_create, Errno};
use crate::runner::{scale, set_scale};

/// The exit status where the fuzzer itself cannot do its work.
const UNFIT: i32 = 2;
const USAGE: &str = "usage: evpoll-fuzz [--seconds N | --programs N] [--seed S] [--replay FILE] \
                     [--scale N]";
/// Spurious events are to stay under so many percent ...
const SPURIOUS_PERCENT: u64 = 2;
/// ... of at least so many.
const SPURIOUS_OF: u64 = 500;
/// Runs of a program that is being shrunk, at most ...
const SHRINKING: u32 = 600;
/// ... and the time for it, before scaling: a program that hangs takes long each time.
const SHRINKING_TIME: Duration = Duration::from_secs(60);

/// How long to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// No new program is started after so many seconds.
    Seconds(u64),
    /// So many programs.
    Programs(u64),
}

/// What was run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    pub programs: u64,
    /// Of all programs together.
    pub operations: u64,
    /// What the programs have counted that passed.
    pub counts: Counts,
}

/// A program that fails.
#[derive(Debug)]
pub struct Failure {
    /// That of the program, not of the run.
    pub seed: u64,
    pub program: Program,
    /// What is wrong, and where.
    pub why: String,
}

impl Failure {
    /// Makes it as short as it can be made in a bounded time.
    pub fn shrunk(self) -> Failure {
        let end = Instant::now() + SHRINKING_TIME * scale();
        let fails = |p: &Program| match Instant::now() < end {
            true => run(p).err(),
            false => None,
        };
        let (program, why) = shrink::shrink(&self.program, self.why, SHRINKING, fails);
        Failure {
            seed: self.seed,
            program,
            why,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}\n\n{}", self.why, self.program)
    }
}

/// Runs the programs of the seeds `seed`, `seed + 1` and so on; stops at the first that fails.
/// `progress` is called now and then. Fails as well if there were too many spurious events.
pub fn campaign(
    seed: u64,
    length: Length,
    mut progress: impl FnMut(u64, &Totals),
) -> Result<Totals, (Totals, Box<Failure>)> {
    let start = Instant::now();
    let mut totals = Totals::default();
    for i in 0.. {
        let over = match length {
            Length::Seconds(n) => start.elapsed() >= Duration::from_secs(n),
            Length::Programs(n) => i >= n,
        };
        if over {
            break;
        }
        let seed = seed.wrapping_add(i);
        let program = generate::program(seed);
        totals.programs += 1;
        totals.operations += program.ops.len() as u64;
        match run(&program) {
            Ok(counts) => {
                totals.counts.events += counts.events;
                totals.counts.spurious += counts.spurious;
            }
            Err(why) => return Err((totals, Box::new(Failure { seed, program, why }))),
        }
        progress(seed, &totals);
    }
    Ok(totals)
}

/// Whether spurious events are as rare as they have to be.
pub fn rare(counts: &Counts) -> bool {
    counts.events < SPURIOUS_OF || counts.spurious * 100 < counts.events * SPURIOUS_PERCENT
}

fn run(program: &Program) -> sandbox::Outcome {
    sandbox::run(program).unwrap_or_else(|e| Err(format!("no process for it: {e}")))
}

#[derive(Debug, PartialEq, Eq)]
struct Options {
    length: Length,
    seed: Option<u64>,
    replay: Option<String>,
    scale: u32,
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        length: Length::Seconds(10),
        seed: None,
        replay: None,
        scale: 1,
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        let number = |text: &String| {
            let wrong = |_| format!("{arg} takes a number, not {text:?}");
            text.parse::<u64>().map_err(wrong)
        };
        match arg.as_str() {
            "--seconds" => options.length = Length::Seconds(number(value()?)?),
            "--programs" => options.length = Length::Programs(number(value()?)?),
            "--seed" => options.seed = Some(number(value()?)?),
            "--replay" => options.replay = Some(value()?.clone()),
            "--scale" => {
                let n = number(value()?)?;
                let fits = u32::try_from(n).ok().filter(|n| (1..=1000).contains(n));
                options.scale =
                    fits.ok_or(format!("--scale takes a number from 1 to 1000, not {n}"))?;
            }
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    Ok(options)
}

/// The program `evpoll-fuzz`: its exit status, 0 if nothing was found, 1 if something was, 2 if
/// it could not be run. Standard output has the progress, and a closing line:
/// `seed S: N programs, N operations, N events, N spurious (P %)`.
pub fn main(args: &[String]) -> i32 {
    let options = match parse(args) {
        Ok(options) => options,
        Err(e) => {
            eprintln!("{e}\n{USAGE}");
            return UNFIT;
        }
    };
    set_scale(options.scale);
    if evpoll_create(0, 0) == Err(Errno(libc::ENOSYS)) {
        eprintln!("this kernel has no evpoll (evpoll_create: ENOSYS)");
        return UNFIT;
    }
    // The last thing that this process does with its own; programs inherit it.
    crate::net::quiet_network();
    crate::net::loopback_up();
    match &options.replay {
        Some(file) => replay(file),
        None => fuzz(
            options.seed.unwrap_or_else(|| fastrand::u64(..)),
            options.length,
        ),
    }
}

fn replay(file: &str) -> i32 {
    /// A race may not be lost every time.
    const TIMES: u32 = 20;
    let program = std::fs::read_to_string(file)
        .map_err(|e| e.to_string())
        .and_then(|text| Program::parse(&text));
    let program = match program {
        Ok(program) => program,
        Err(e) => {
            eprintln!("{file}: {e}");
            return UNFIT;
        }
    };
    for i in 1..=TIMES {
        if let Err(why) = run(&program) {
            println!("fails, run {i}: {why}");
            return 1;
        }
    }
    println!("passes, {TIMES} times");
    0
}

fn fuzz(seed: u64, length: Length) -> i32 {
    println!("seed {seed}");
    let mut said = Instant::now();
    let every = Duration::from_secs(5) * scale().min(4);
    let mut out = std::io::stdout();
    let result = campaign(seed, length, |at, totals| {
        if said.elapsed() >= every {
            said = Instant::now();
            let _ = writeln!(std::io::stdout(), "at seed {at}: {}", figures(totals));
        }
    });
    let (totals, mut found) = match result {
        Ok(totals) => (totals, false),
        Err((totals, failure)) => {
            let at = failure.seed;
            let _ = writeln!(out, "the program of seed {at} fails: {}", failure.why);
            let _ = writeln!(out, "making it shorter");
            let shortest = failure.shrunk();
            let _ = writeln!(out, "the shortest program that still fails: {shortest}");
            (totals, true)
        }
    };
    if !rare(&totals.counts) {
        found = true;
        let _ = writeln!(
            out,
            "too many spurious events, at most {SPURIOUS_PERCENT} %"
        );
    }
    let _ = writeln!(out, "seed {seed}: {}", figures(&totals));
    i32::from(found)
}

fn figures(totals: &Totals) -> String {
    let c = &totals.counts;
    format!(
        "{} programs, {} operations, {} events, {} spurious ({:.2} %)",
        totals.programs,
        totals.operations,
        c.events,
        c.spurious,
        100.0 * c.spurious as f64 / c.events.max(1) as f64
    )
}

#[cfg(test)]
mod on_the_host {
    use super::*;
    use crate::emu::{set_fault, Fault};
    use program::{Shape, Verb};

    /// The first of these programs that fails, shrunk.
    fn hunt(fault: Fault, shape: Shape, seeds: u64) -> Option<Failure> {
        set_fault(fault);
        for seed in 0..seeds {
            let mut program = generate::program_of(shape, seed);
            // The stand-in knows watches by their numbers only, and finds out too late that one is
            // used again.
            let ambiguous = [Verb::Fork, Verb::Dup, Verb::DupOver, Verb::Replace];
            program.ops.retain(|op| !ambiguous.contains(&op.verb));
            if let Err(why) = run(&program) {
                let runs = match shape {
                    // Each of which waits in vain.
                    Shape::Transfer => 15,
                    _ => 250,
                };
                let (program, why) = shrink::shrink(&program, why, runs, |p| run(p).err());
                return Some(Failure { seed, program, why });
            }
        }
        None
    }

    /// A fuzzer that cannot find anything is none: each fault of the stand-in is found in a few
    /// programs, and boiled down to a few operations.
    #[test]
    fn broken_stand_ins_are_found() {
        crate::net::loopback_up();
        let cases = [
            (Fault::LosesEverySecondEvent, Shape::Sequence),
            (Fault::LosesHangUp, Shape::Sequence),
            (Fault::LosesOut, Shape::Sequence),
            (Fault::OnlyFirstEdge, Shape::Sequence),
            (Fault::AddDoesNotTest, Shape::Sequence),
            (Fault::AddTests, Shape::Sequence),
            (Fault::AddOverwrites, Shape::Sequence),
            (Fault::RepeatsEvents, Shape::Sequence),
            (Fault::AddsBits, Shape::Sequence),
            (Fault::TwoEntries, Shape::Sequence),
            (Fault::DelKeepsQueued, Shape::Sequence),
            (Fault::CloseKeepsQueued, Shape::Sequence),
            (Fault::ModMissesQueued, Shape::Sequence),
            (Fault::ModKeepsOldMask, Shape::Sequence),
            (Fault::LosesEverySecondEvent, Shape::Apart),
            (Fault::LosesOut, Shape::Apart),
            (Fault::AddDoesNotTest, Shape::Apart),
            (Fault::LosesEverySecondEvent, Shape::Threads),
            (Fault::OnlyFirstEdge, Shape::Threads),
            (Fault::LosesEverySecondEvent, Shape::Transfer),
            (Fault::LosesOut, Shape::Transfer),
            (Fault::OnlyFirstEdge, Shape::Transfer),
        ];
        let mut missed = String::new();
        crate::sys::HURRY.with(|h| h.set(true));
        for (fault, shape) in cases {
            let start = Instant::now();
            match hunt(fault, shape, 100) {
                Some(f) => {
                    let after = start.elapsed().as_millis();
                    println!("{fault:?}, {shape:?}, seed {}, {after} ms: {f}", f.seed);
                    if f.program.ops.len() > 9 {
                        missed += &format!("{fault:?}, {shape:?}: too long: {f}\n");
                    }
                }
                None => missed += &format!("{fault:?}, {shape:?}: not found\n"),
            }
        }
        assert!(missed.is_empty(), "{missed}");
    }

    /// What is not broken passes.
    #[test]
    fn the_stand_in_passes() {
        crate::net::loopback_up();
        set_fault(Fault::None);
        for shape in Shape::ALL {
            if let Some(failure) = hunt(Fault::None, shape, 60) {
                panic!("{failure}");
            }
        }
    }

    #[test]
    fn options() {
        let parse = |args: &[&str]| parse(&args.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let o = parse(&["--seconds", "3", "--seed", "7", "--scale", "2"]).unwrap();
        assert_eq!(
            (o.length, o.seed, o.scale),
            (Length::Seconds(3), Some(7), 2)
        );
        let o = parse(&["--programs", "9", "--replay", "f"]).unwrap();
        assert_eq!(
            (o.length, o.replay),
            (Length::Programs(9), Some("f".to_owned()))
        );
        for wrong in [&["--seed"][..], &["--seed", "x"], &["--scale", "0"], &["x"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn spurious_events_are_rare_or_too_many() {
        let counts = |events, spurious| Counts { events, spurious };
        assert!(rare(&counts(100, 100)), "too few to tell");
        assert!(rare(&counts(1000, 19)));
        assert!(!rare(&counts(1000, 20)));
    }
}
