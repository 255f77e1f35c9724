// SPDX-License-Identifier: GPL-2.0
//! Storms: 32 threads on shared queues, doing whatever a program could, while processes come, go
//! and are killed, others run into a memory limit, and signals arrive.
//!
//! A storm is seeded: each thread does what follows from the seed, however fast the others are. It
//! is not repeated to the letter, since how threads meet is the machine's affair, but it is the
//! same storm. What has to hold:
//!
//! - every call ends with success or with an error that it has;
//! - what waits hand out was in the queue then ([`ledger`]), on the queues where that is known;
//! - transfers that read and write until EAGAIN and then wait come to their end, with every byte
//!   ([`transfer`]), and a byte sent to somebody whom signals keep waking reaches him ([`signals`]);
//! - all threads end in time;
//! - each queue then still delivers an event of each kind ([`whole`]);
//! - when everything is closed, descriptors, mappings, watches and memory are what they were.

mod churn;
mod ledger;
mod random;
mod signals;
mod squeeze;
mod transfer;
mod whole;

use std::fs;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::*;
use crate::check::ok;
use crate::device::mapped;
use crate::figures::{kept_when_freed, Figures};
use crate::net::{socketpair, tcp_pair_small, Ip};
use crate::queue::Queue;
use crate::sys::*;
use churn::Churn;
use random::Random;
use transfer::{compare, receive, send};

/// Threads that do random things: with three transfers of two threads, and the two of the signals,
/// there are 32.
const CHURNING: usize = 24;
const THREADS: usize = CHURNING + 6 + 2;

const WATCHES: &str = "/proc/sys/fs/evpoll/max_user_watches";
/// What the storm's user may have in the end, to be counted.
const LIMIT: usize = 1000;
const NOBODY: libc::uid_t = 65534;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long the storm lasts; what follows takes longer.
    pub time: Duration,
    pub seed: u64,
}

/// What all threads of a storm share.
pub struct Shared {
    over: AtomicBool,
    done: AtomicU64,
}

impl Shared {
    fn new() -> Self {
        Shared {
            over: AtomicBool::new(false),
            done: AtomicU64::new(0),
        }
    }

    #[cfg(test)]
    fn for_tests() -> Self {
        Self::new()
    }

    /// Whether to come to an end.
    fn is_over(&self) -> bool {
        self.over.load(SeqCst)
    }

    fn end(&self) {
        self.over.store(true, SeqCst);
    }

    /// Something was done.
    fn did(&self) {
        self.done.fetch_add(1, SeqCst);
    }
}

/// The limit of watches before the storm, which sets it. Restored in any case.
struct Limit(String);

impl Limit {
    fn now() -> Self {
        Limit(fs::read_to_string(WATCHES).expect(WATCHES))
    }

    fn restore(&self) {
        fs::write(WATCHES, self.0.trim()).expect(WATCHES);
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.restore();
    }
}

/// One storm, from nothing to nothing: in a process of its own, with figures before and after. A
/// failure is a panic. Prints what was done.
#[track_caller]
pub fn storm(options: Options) {
    let limit = Limit::now();
    // What is allocated once and for all.
    let short = Options {
        time: options.time.min(Duration::from_millis(500)),
        ..options
    };
    let warm = in_a_process(short);
    let before = Figures::now();
    limit.restore();
    let end = match warm {
        Exit::Code(0) => in_a_process(options),
        other => other,
    };
    limit.restore();
    check_eq!("the end of the storm's process", end, Exit::Code(0));
    compare_figures(&before);
}

/// What is freed late, after a grace period or by a worker, gets its time.
#[track_caller]
fn compare_figures(before: &Figures) {
    // As for few rounds, of what leaves something behind each time.
    const ROUNDS: usize = 1000;
    let kept = kept_when_freed();
    let end = Instant::now() + ms(8000);
    let mut after = Figures::now();
    while after.grown(before, ROUNDS, kept).is_some() && Instant::now() < end {
        sleep(ms(100));
        after = Figures::now();
    }
    println!(
        "slab {} kB before, {} kB after; available {} kB before, {} kB after",
        before.slab, after.slab, before.available, after.available
    );
    if let Some(what) = after.grown(before, ROUNDS, kept) {
        panic!("after the storm, {what}");
    }
}

/// The storm, with processes at a memory limit beside it.
#[track_caller]
fn in_a_process(options: Options) -> Exit {
    let child = fork(|| {
        let same = libc::uid_t::MAX;
        // Only as far as accounts go.
        // SAFETY: takes no pointer.
        ok(
            "setresuid",
            sys(unsafe { libc::setresuid(NOBODY, same, same) }),
        );
        need_files(8192);
        inside(options);
    });
    let squeezed = catch_unwind(AssertUnwindSafe(|| {
        squeeze::until(options.seed, || child.has_ended())
    }));
    // It sets the limit of watches in the end, so nobody leaves before.
    let end = child.wait();
    match squeezed {
        Ok(what) => println!("{what}"),
        Err(failure) => resume_unwind(failure),
    }
    end
}

/// The storm's process.
fn inside(options: Options) {
    let files = open_files();
    let maps = mapped();
    let shared = Arc::new(Shared::new());
    let churn = Arc::new(Churn::new());
    let mut crew = Crew::default();

    let transfers: Vec<Transfer> = [pipe(), socketpair(libc::SOCK_STREAM), tcp()]
        .into_iter()
        .map(|(r, w)| Transfer::start(&mut crew, &shared, r, w))
        .collect();
    let signals = signals::start(&mut crew, &shared, options.seed);
    for n in 0..CHURNING {
        let (shared, churn) = (shared.clone(), churn.clone());
        let mut random = Random::new(options.seed, n as u64);
        crew.start(format!("thread {n} of the storm"), move |doing| {
            while !shared.is_over() {
                churn.act(&mut random, doing);
                shared.did();
            }
        });
    }
    check_eq!("threads", crew.members.len(), THREADS);

    // Together: who is first would slow down the making of the others.
    crew.go.store(true, SeqCst);
    let begun = Instant::now();
    while begun.elapsed() < options.time {
        sleep(Duration::from_millis(20));
    }
    shared.end();
    let done = shared.done.load(SeqCst);
    crew.disband();
    let settled = begun.elapsed();
    for t in transfers {
        t.compare();
    }
    println!(
        "seed {}: {} operations in {} ms, and all threads at their end after {} ms; {} signals",
        options.seed,
        done,
        options.time.as_millis(),
        settled.as_millis(),
        signals.load(SeqCst)
    );
    check!(done > 20, "too little happened: {done} operations");

    let Ok(churn) = Arc::try_unwrap(churn) else {
        panic!("a thread of the storm is still there");
    };
    churn.finish();
    wait_for_nothing(files, maps);
    fs::write(WATCHES, LIMIT.to_string()).expect(WATCHES);
    whole::every_watch_is_free(LIMIT);
}

/// A connection with buffers that are soon full: reader, writer.
fn tcp() -> (Fd, Fd) {
    let (c, a) = tcp_pair_small(Ip::V4);
    (a, c)
}

/// Descriptors and mappings are what they were. Those of a killed child may go a moment later.
#[track_caller]
fn wait_for_nothing(files: usize, maps: usize) {
    let end = Instant::now() + ms(4000);
    while (open_files(), mapped()) != (files, maps) && Instant::now() < end {
        sleep(ms(20));
    }
    check_eq!("descriptors after the storm", open_files(), files);
    check_eq!("mappings of queues after the storm", mapped(), maps);
}

/// A transfer that runs.
struct Transfer {
    rounds: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
}

impl Transfer {
    fn start(crew: &mut Crew, shared: &Arc<Shared>, r: Fd, w: Fd) -> Self {
        let rounds = Arc::new(AtomicU64::new(0));
        let received = Arc::new(AtomicU64::new(0));
        let (s, n) = (shared.clone(), rounds.clone());
        crew.start("a writer".to_owned(), move |_| send(&s, &w, &n));
        let (s, n) = (shared.clone(), received.clone());
        crew.start("a reader".to_owned(), move |_| {
            n.store(receive(&s, &r), SeqCst);
        });
        Transfer { rounds, received }
    }

    fn compare(&self) {
        compare(&self.rounds, self.received.load(SeqCst));
        check!(self.rounds.load(SeqCst) > 0, "a transfer did nothing");
    }
}

/// The threads, and what each of them is at.
#[derive(Default)]
struct Crew {
    members: Vec<Member>,
    left: Arc<AtomicUsize>,
    /// Nobody does anything before.
    go: Arc<AtomicBool>,
}

struct Member {
    name: String,
    /// The number of what it does: see [`churn::NAMES`].
    doing: Arc<AtomicU32>,
    thread: thread::JoinHandle<()>,
}

impl Crew {
    fn start(&mut self, name: String, work: impl FnOnce(&AtomicU32) + Send + 'static) {
        let doing = Arc::new(AtomicU32::new(0));
        let (now, left, go) = (doing.clone(), self.left.clone(), self.go.clone());
        left.fetch_add(1, SeqCst);
        let thread = thread::spawn(move || {
            while !go.load(SeqCst) {
                sleep(Duration::from_millis(1));
            }
            work(&now);
            left.fetch_sub(1, SeqCst);
        });
        self.members.push(Member {
            name,
            doing,
            thread,
        });
    }

    /// All have to come to their end, in time.
    #[track_caller]
    fn disband(self) {
        self.disband_within(ms(30_000));
    }

    #[track_caller]
    fn disband_within(self, time: Duration) {
        let end = Instant::now() + time;
        while self.left.load(SeqCst) > 0 {
            if Instant::now() > end {
                let stuck = self.members.iter().filter(|m| !m.thread.is_finished());
                let stuck: Vec<String> = stuck
                    .map(|m| format!("{} ({})", m.name, churn::name(m.doing.load(SeqCst))))
                    .collect();
                panic!("these do not come to an end: {}", stuck.join(", "));
            }
            sleep(Duration::from_millis(5));
        }
        for member in self.members {
            check!(member.thread.join().is_ok(), "{} failed", member.name);
        }
    }
}

const USAGE: &str = "usage: evpoll-soak [--seconds N] [--seed S] [--scale N]";

/// What the program is asked for, and what time limits are multiplied by.
fn parse(args: &[String]) -> Result<(Options, u32), String> {
    let mut options = Options {
        time: Duration::from_secs(10),
        seed: 1,
    };
    let mut scale = 1;
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let mut number = |most: u64| {
            let text = args.next().ok_or(format!("{arg} needs a number"))?;
            let n: Option<u64> = text.parse().ok().filter(|n| *n <= most);
            n.ok_or(format!("{arg} takes a number up to {most}, not {text:?}"))
        };
        match arg.as_str() {
            "--seconds" => options.time = Duration::from_secs(number(1_000_000)?.max(1)),
            "--seed" => options.seed = number(u64::MAX)?,
            "--scale" => scale = number(1000)?.max(1) as u32,
            _ => return Err(format!("unknown argument {arg}")),
        }
    }
    Ok((options, scale))
}

/// How long one storm of a soak is: then everything has to be as before, and the next begins.
const ROUND: Duration = Duration::from_secs(30);

/// The program `evpoll-soak`: storms with seeds that follow from the first, for so long. Returns
/// its exit status; a failure ends it with 101.
pub fn main(args: &[String]) -> i32 {
    let (options, scale) = match parse(args) {
        Ok(parsed) => parsed,
        Err(e) => {
            eprintln!("{e}\n{USAGE}");
            return 2;
        }
    };
    crate::runner::set_scale(scale);
    crate::runner::panics_end_the_process();
    crate::net::loopback_up();
    if evpoll_create(0, 0) == Err(Errno(libc::ENOSYS)) {
        eprintln!("this kernel has no evpoll (evpoll_create: ENOSYS)");
        return 1;
    }
    let begun = Instant::now();
    for round in 0.. {
        let left = options.time.saturating_sub(begun.elapsed());
        if left.is_zero() {
            println!("{round} storms, from seed {} on", options.seed);
            return 0;
        }
        let seed = options.seed.wrapping_add(round);
        println!(
            "storm {round}: evpoll-soak --seconds {} --seed {seed}",
            left.min(ROUND).as_secs().max(1)
        );
        storm(Options {
            time: left.min(ROUND),
            seed,
        });
    }
    0
}

/// Queues of the storm that nothing is known of: whoever has one may do anything with it.
fn is_queue_error(e: Errno) -> bool {
    matches!(e.0, libc::EBADF | libc::EINVAL)
}

/// A queue that is owned by nobody in particular, at a number of its own.
fn at_number(q: Queue, number: i32) {
    // SAFETY: takes no pointer; whatever had the number before is the storm's own.
    let got = sys(unsafe { libc::dup3(q.raw(), number, libc::O_CLOEXEC) });
    match got {
        // EBUSY: another thread is installing something there at this moment.
        Ok(_) | Err(Errno(libc::EBUSY)) => {}
        Err(e) => panic!("dup3 to {number}: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let parse = |args: &[&str]| parse(&args.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let (o, scale) = parse(&["--seconds", "60", "--seed", "7", "--scale", "12"]).unwrap();
        assert_eq!((o.time.as_secs(), o.seed, scale), (60, 7, 12));
        for wrong in [&["--seconds"][..], &["--seconds", "x"], &["--what"], &["1"]] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_thread_that_does_not_end_is_named() {
        let mut crew = Crew::default();
        crew.start("sleeper".to_owned(), |doing| {
            doing.store(1, SeqCst);
            sleep(Duration::from_secs(120));
        });
        crew.go.store(true, SeqCst);
        let left = crew.left.clone();
        sleep(Duration::from_millis(200));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            crew.disband_within(Duration::from_millis(50));
        }));
        let why = *result.unwrap_err().downcast::<String>().unwrap();
        assert!(why.contains("sleeper (ctl)"), "{why}");
        assert_eq!(left.load(SeqCst), 1);
    }
}
