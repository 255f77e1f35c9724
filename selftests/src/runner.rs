// SPDX-License-Identifier: GPL-2.0
//! Runs each test in a process of its own, under a time limit, and reports in KTAP.
//!
//! A test passes only by returning: the verdict travels through a pipe that nothing else writes
//! to, so a child that exits early, crashes or is killed has not passed. A panic in any thread
//! ends the child at once. When the child is done, its whole process group is killed.
//!
//! The same tests, built for another ABI of the kernel, are programs beside this one, with the
//! ABI's name behind theirs; `--with ABI` runs their tests as well.

use std::ffi::CString;
use std::io::Write;
use std::os::raw::c_int;
use std::os::unix::process::CommandExt;
use std::panic::PanicHookInfo;
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::abi::{evpoll_create, Errno};
use crate::complaints::Complaints;

/// One test.
#[derive(Clone, Copy)]
pub struct Test {
    pub group: &'static str,
    pub name: &'static str,
    /// Seconds, before scaling.
    pub limit: u32,
    pub run: fn(),
    /// The ABI whose program it runs in; none: this one.
    pub abi: Option<&'static str>,
}

/// What the tests are built for besides the kernel's own ABI, as the names of their tests begin.
const ABIS: [&str; 2] = ["i386", "x32"];
/// Not run again for another ABI, by the beginnings of their names: what starts programs for all
/// of the ABIs itself, and what takes seconds for a matter that no ABI has a part in. evhttpd is a
/// program for servers, which are 64-bit ones, on the library whose own tests are run for all.
const ONCE: [&str; 9] = [
    "evhttpd.",
    "examples.",
    "fuzz.",
    "kselftest.",
    "manual.",
    "programs2002.",
    "storm.",
    "sweep.",
    "tcp.write_space_armed_by_",
];

/// All that is run again for another ABI under `--brief`, which is for slow kernels: where what a
/// program of another ABI passes to the kernel differs.
const BRIEF: [&str; 6] = ["create.", "ctl.", "wait.", "mapping.", "device.", "write."];

/// Not run at all under `--brief`: what takes minutes on a slow kernel, and says nothing of what
/// that kernel checks. The server on epoll does not use evpoll.
fn is_left_out(test: &Test) -> bool {
    test.group == "evhttpd" && test.name.ends_with("_epoll")
}

impl Test {
    pub fn full_name(&self) -> String {
        match self.abi {
            Some(abi) => format!("{abi}.{}.{}", self.group, self.name),
            None => format!("{}.{}", self.group, self.name),
        }
    }
}

const LIMIT: u32 = 10;

/// A test with the usual time limit.
pub const fn test(group: &'static str, name: &'static str, run: fn()) -> Test {
    Test {
        group,
        name,
        limit: LIMIT,
        run,
        abi: None,
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed(String),
    Skipped(String),
}

const USAGE: &str =
    "usage: evpoll-selftests [--list] [--scale N] [--with ABI]... [--brief] [FILTER]";

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    list: bool,
    scale: u32,
    filter: Option<String>,
    with: Vec<&'static str>,
    brief: bool,
    /// The one test to become, and where its verdict goes: for a program of another ABI.
    become_test: Option<(String, c_int)>,
}

fn parse(args: &[String]) -> Result<Options, String> {
    let mut options = Options {
        scale: 1,
        ..Options::default()
    };
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--list" => options.list = true,
            "--brief" => options.brief = true,
            "--scale" => {
                let n = args.next().ok_or("--scale needs a number")?;
                options.scale = n
                    .parse()
                    .ok()
                    .filter(|n| (1..=1000).contains(n))
                    .ok_or(format!("--scale takes a number from 1 to 1000, not {n:?}"))?;
            }
            "--with" => {
                let abi = args.next().ok_or("--with needs an ABI")?;
                let known = ABIS.iter().find(|known| *known == abi);
                options
                    .with
                    .push(known.ok_or(format!("--with takes one of {ABIS:?}, not {abi:?}"))?);
            }
            "--become" => {
                let (Some(name), Some(fd)) = (args.next(), args.next()) else {
                    return Err("--become needs a test and a descriptor".to_owned());
                };
                let fd = fd.parse().map_err(|_| format!("no descriptor: {fd:?}"))?;
                options.become_test = Some((name.clone(), fd));
            }
            a if a.starts_with('-') => return Err(format!("unknown option {a}")),
            a if options.filter.is_none() => options.filter = Some(a.to_owned()),
            a => return Err(format!("one filter only, not also {a:?}")),
        }
    }
    Ok(options)
}

/// The program: returns its exit status.
pub fn main(args: &[String], tests: &[Test]) -> i32 {
    let options = match parse(args) {
        Ok(options) => options,
        Err(e) => {
            eprintln!("{e}\n{USAGE}");
            return 2;
        }
    };
    if let Some((name, verdict)) = &options.become_test {
        set_scale(options.scale);
        let Some(test) = tests.iter().find(|t| t.full_name() == *name) else {
            eprintln!("there is no test {name}");
            return 2;
        };
        // SAFETY: a descriptor that is meant for this program only.
        unsafe { libc::fcntl(*verdict, libc::F_SETFD, libc::FD_CLOEXEC) };
        perform(test, *verdict);
    }
    let tests = with_abis(tests, &options.with, options.brief);
    let chosen: Vec<&Test> = tests
        .iter()
        .filter(|t| match &options.filter {
            Some(f) => t.full_name().contains(f.as_str()),
            None => true,
        })
        .collect();
    let mut out = std::io::stdout();
    if options.list {
        for test in chosen {
            let _ = writeln!(out, "{}", test.full_name());
        }
        return 0;
    }
    set_scale(options.scale);
    crate::net::loopback_up();
    let _ = writeln!(out, "KTAP version 1\n1..{}", chosen.len());
    if chosen.is_empty() {
        eprintln!("no test matches {:?}", options.filter.unwrap_or_default());
        return 1;
    }
    let mut failed = false;
    let mut complaints = Complaints::from_now();
    for (i, test) in chosen.iter().enumerate() {
        let (outcome, output) = run(test, None);
        let said = complaints.iter_mut().flat_map(Complaints::new_ones);
        let outcome = blame(outcome, &said.collect::<Vec<_>>());
        failed |= matches!(outcome, Outcome::Failed(_));
        let _ = out.write_all(report(i + 1, test, &outcome, &output).as_bytes());
        let _ = out.flush();
    }
    i32::from(failed)
}

/// A test that the kernel complained about has not passed.
fn blame(outcome: Outcome, complaints: &[String]) -> Outcome {
    if complaints.is_empty() {
        return outcome;
    }
    let mut why = match outcome {
        Outcome::Failed(why) => vec![why],
        Outcome::Passed | Outcome::Skipped(_) => vec![],
    };
    let lines = complaints.iter();
    why.extend(lines.map(|line| format!("the kernel complains: {line}")));
    Outcome::Failed(why.join("\n"))
}

/// The tests of this program, then those of the ABIs.
fn with_abis(tests: &[Test], abis: &[&'static str], brief: bool) -> Vec<Test> {
    let kept = tests.iter().filter(|t| !brief || !is_left_out(t));
    let mut all: Vec<Test> = kept.copied().collect();
    for abi in abis {
        let once = |t: &Test| ONCE.iter().any(|name| t.full_name().starts_with(name));
        let chosen = |t: &Test| !brief || BRIEF.iter().any(|name| t.full_name().starts_with(name));
        let repeated = tests.iter().filter(|t| !once(t) && chosen(t));
        all.extend(repeated.map(|t| Test {
            abi: Some(abi),
            ..*t
        }));
    }
    all
}

/// The KTAP lines of one test: what it said, why it failed, its result.
fn report(number: usize, test: &Test, outcome: &Outcome, output: &str) -> String {
    const LINES: usize = 100;
    let mut text = String::new();
    let mut diagnose = |line: &str| {
        let line: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        text.push_str(&format!("# {line}\n"));
    };
    let lines: Vec<&str> = output.lines().collect();
    // What comes first tells why, what comes last tells where it ended.
    let (first, rest) = lines.split_at(lines.len().min(LINES / 2));
    let (between, last) = rest.split_at(rest.len().saturating_sub(LINES / 2));
    for line in first {
        diagnose(line);
    }
    if !between.is_empty() {
        diagnose(&format!("({} lines left out)", between.len()));
    }
    for line in last {
        diagnose(line);
    }
    let name = test.full_name();
    match outcome {
        Outcome::Passed => text.push_str(&format!("ok {number} {name}\n")),
        Outcome::Skipped(why) => text.push_str(&format!("ok {number} {name} # SKIP {why}\n")),
        Outcome::Failed(why) => {
            for line in why.lines() {
                diagnose(line);
            }
            text.push_str(&format!("not ok {number} {name}\n"));
        }
    }
    text
}

static SCALE: AtomicU32 = AtomicU32::new(1);
/// Where this process, if it is a test, sends its verdict.
static VERDICT: AtomicI32 = AtomicI32::new(-1);

pub fn set_scale(scale: u32) {
    SCALE.store(scale, Ordering::Relaxed);
}

/// What every time limit is multiplied by.
pub fn scale() -> u32 {
    SCALE.load(Ordering::Relaxed)
}

/// Ends the running test as skipped. Only for what this kernel or machine does not have.
pub fn skip(why: &str) -> ! {
    verdict('S', why);
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

fn verdict(letter: char, text: &str) {
    let line = format!("{letter}{}", text.replace('\n', " "));
    // SAFETY: the buffer lives through the call; a pipe takes so few bytes at once.
    unsafe {
        libc::write(
            VERDICT.load(Ordering::Relaxed),
            line.as_ptr().cast(),
            line.len(),
        )
    };
}

/// From now on a panic in any thread ends the process at once, with status 101.
pub fn panics_end_the_process() {
    std::panic::set_hook(Box::new(on_panic));
}

fn on_panic(info: &PanicHookInfo) {
    let text = match info.payload().downcast_ref::<&str>() {
        Some(s) => (*s).to_owned(),
        None => match info.payload().downcast_ref::<String>() {
            Some(s) => s.clone(),
            None => "panic".to_owned(),
        },
    };
    let place = match info.location() {
        Some(l) => format!("{}:{}", l.file(), l.line()),
        None => "unknown place".to_owned(),
    };
    let text = format!("{text}\n  at {place}\n");
    // SAFETY: the buffer lives through the call; then the process ends, whichever thread this is.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(101);
    }
}

/// The kernel's own answer to "is there evpoll?", without making a queue.
fn require_evpoll() {
    if evpoll_create(0, 0) == Err(Errno(libc::ENOSYS)) {
        panic!("this kernel has no evpoll (evpoll_create: ENOSYS)");
    }
}

fn pipe() -> [c_int; 2] {
    let mut fds = [-1; 2];
    // SAFETY: two descriptors are stored in the array.
    let r = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
    assert!(r == 0, "pipe: {}", Errno::last());
    fds
}

fn read_some(fd: c_int, into: &mut Vec<u8>) {
    let mut buf = [0u8; 4096];
    loop {
        // SAFETY: reads into a buffer of that size.
        let n = unsafe { libc::read(fd, buf.as_mut_ptr().cast(), buf.len()) };
        if n <= 0 {
            return;
        }
        if into.len() < 256 * 1024 {
            into.extend_from_slice(&buf[..n as usize]);
        }
    }
}

/// Runs one test; `limit` instead of its own, when given. Returns what it printed as well.
pub fn run(test: &Test, limit: Option<Duration>) -> (Outcome, String) {
    let limit = limit.unwrap_or(Duration::from_secs(u64::from(test.limit * scale())));
    let out = pipe();
    let verdict = pipe();
    let started = Instant::now();
    // SAFETY: the child only runs the test and ends.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", Errno::last());
    if pid == 0 {
        child(test, out[1], verdict[1]);
    }
    // SAFETY: descriptors of our own; setpgid is done on both sides, so that no order matters.
    let pidfd = unsafe {
        libc::setpgid(pid, pid);
        libc::close(out[1]);
        libc::close(verdict[1]);
        libc::syscall(libc::SYS_pidfd_open, pid, 0) as c_int
    };
    assert!(pidfd >= 0, "pidfd_open: {}", Errno::last());

    let mut output = Vec::new();
    let mut late = false;
    loop {
        let left = limit.saturating_sub(started.elapsed());
        let mut ended = libc::pollfd {
            fd: pidfd,
            events: libc::POLLIN,
            revents: 0,
        };
        // Not for long: its output is read meanwhile.
        let timeout = left.as_millis().min(50) as c_int;
        // SAFETY: an array of one.
        unsafe { libc::poll(&mut ended, 1, timeout) };
        read_some(out[0], &mut output);
        if ended.revents != 0 {
            break;
        }
        if left.is_zero() {
            late = true;
            break;
        }
    }
    // The child is not reaped yet, so the number of its group is still its own.
    // SAFETY: signals a group that this function made.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
    let status = reap(pid, pidfd);
    read_some(out[0], &mut output);
    let mut said = Vec::new();
    read_some(verdict[0], &mut said);
    for fd in [out[0], verdict[0], pidfd] {
        // SAFETY: descriptors of our own.
        unsafe { libc::close(fd) };
    }
    let output = String::from_utf8_lossy(&output).into_owned();
    (judge(late, limit, status, &said), output)
}

fn judge(late: bool, limit: Duration, status: Option<c_int>, said: &[u8]) -> Outcome {
    let Some(status) = status else {
        return Outcome::Failed("the test's process cannot be killed".to_owned());
    };
    if late {
        return Outcome::Failed(format!("no end within {} ms", limit.as_millis()));
    }
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        return Outcome::Failed(format!("killed by signal {signal}"));
    }
    let code = libc::WEXITSTATUS(status);
    match (said.first(), code) {
        (Some(b'P'), 0) => Outcome::Passed,
        (Some(b'S'), 0) => Outcome::Skipped(String::from_utf8_lossy(&said[1..]).into_owned()),
        (_, 101) => Outcome::Failed(String::new()),
        _ => Outcome::Failed(format!("ended in the middle, with exit status {code}")),
    }
}

/// Waits for a killed or ended child; None when it does not end.
fn reap(pid: c_int, pidfd: c_int) -> Option<c_int> {
    let mut ended = libc::pollfd {
        fd: pidfd,
        events: libc::POLLIN,
        revents: 0,
    };
    let patience = Duration::from_secs(u64::from(5 * scale())).as_millis() as c_int;
    let mut status = 0;
    // SAFETY: one pollfd, one status.
    unsafe {
        if libc::poll(&mut ended, 1, patience) != 1 {
            return None;
        }
        (libc::waitpid(pid, &mut status, 0) == pid).then_some(status)
    }
}

/// The test's process.
fn child(test: &Test, out: c_int, verdict_fd: c_int) -> ! {
    // SAFETY: only this process's own descriptors and attributes.
    unsafe {
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        let null = CString::new("/dev/null").unwrap();
        let null = libc::open(null.as_ptr(), libc::O_RDONLY);
        if null >= 0 {
            libc::dup2(null, 0);
            libc::close(null);
        }
        // What the test prints may block on a full pipe, but must not be lost.
        let flags = libc::fcntl(out, libc::F_GETFL);
        libc::fcntl(out, libc::F_SETFL, flags & !libc::O_NONBLOCK);
        libc::dup2(out, 1);
        libc::dup2(out, 2);
        libc::close(out);
    }
    match test.abi {
        Some(abi) => become_other(abi, test, verdict_fd),
        None => perform(test, verdict_fd),
    }
}

/// Goes on as the program of another ABI.
fn become_other(abi: &str, test: &Test, verdict_fd: c_int) -> ! {
    // SAFETY: our own descriptor.
    unsafe { libc::fcntl(verdict_fd, libc::F_SETFD, 0) };
    let own = std::env::current_exe().unwrap_or_default();
    let program = format!("{}-{abi}", own.display());
    let error = Command::new(&program)
        .args(["--become", &format!("{}.{}", test.group, test.name)])
        .arg(verdict_fd.to_string())
        .args(["--scale", &scale().to_string()])
        .exec();
    let text = format!("{program}: {error}\n");
    // SAFETY: the buffer lives through the call; then the process ends.
    unsafe {
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::_exit(101)
    }
}

/// Is the test from here on.
fn perform(test: &Test, verdict_fd: c_int) -> ! {
    VERDICT.store(verdict_fd, Ordering::Relaxed);
    panics_end_the_process();
    require_evpoll();
    (test.run)();
    verdict('P', "");
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome_of(f: fn()) -> (Outcome, String) {
        run(&test("runner", "sample", f), Some(Duration::from_secs(5)))
    }

    fn failure(f: fn()) -> String {
        match outcome_of(f) {
            (Outcome::Failed(why), output) => format!("{output}{why}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_complaint_of_the_kernel_fails_the_test_that_caused_it() {
        assert_eq!(blame(Outcome::Passed, &[]), Outcome::Passed);
        let Outcome::Failed(why) = blame(Outcome::Passed, &["BUG: x".to_owned()]) else {
            panic!("it has passed");
        };
        assert!(why.contains("BUG: x"));
        let late = Outcome::Failed("late".to_owned());
        let both = blame(late, &["BUG: x".to_owned()]);
        assert!(matches!(both, Outcome::Failed(why) if why.starts_with("late\n")));
    }

    #[test]
    fn a_test_that_returns_passes() {
        assert_eq!(outcome_of(|| ()), (Outcome::Passed, String::new()));
    }

    #[test]
    fn a_failed_check_says_what_was_expected_and_where() {
        let text = failure(|| crate::check_eq!("events", 2, 1));
        assert!(text.contains("events: expected 1, got 2"), "{text}");
        assert!(text.contains("runner.rs:"), "{text}");
    }

    #[test]
    fn a_panic_in_another_thread_fails_the_test() {
        let text = failure(|| {
            let _ = std::thread::spawn(|| panic!("in a thread")).join();
        });
        assert!(text.contains("in a thread"), "{text}");
    }

    #[test]
    fn a_test_that_exits_early_has_not_passed() {
        let text = failure(|| std::process::exit(0));
        assert!(text.contains("in the middle"), "{text}");
    }

    #[test]
    fn a_killed_test_fails() {
        let text = failure(|| unsafe {
            libc::raise(libc::SIGKILL);
        });
        assert!(text.contains("signal 9"), "{text}");
    }

    #[test]
    fn a_test_that_hangs_is_killed_with_its_children() {
        let hang = test("runner", "hang", || unsafe {
            let child = libc::fork();
            if child > 0 {
                let text = format!("{child}\n");
                libc::write(1, text.as_ptr().cast(), text.len());
            }
            loop {
                libc::pause();
            }
        });
        let (outcome, output) = run(&hang, Some(Duration::from_millis(300)));
        assert_eq!(outcome, Outcome::Failed("no end within 300 ms".to_owned()));
        let child: c_int = output.trim().parse().unwrap();
        let gone = (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            let stat = std::fs::read_to_string(format!("/proc/{child}/stat"));
            !stat.is_ok_and(|s| !s.contains(") Z"))
        });
        assert!(gone, "process {child} lives on");
    }

    #[test]
    fn a_skip_carries_its_reason() {
        let (outcome, _) = outcome_of(|| skip("no such family"));
        assert_eq!(outcome, Outcome::Skipped("no such family".to_owned()));
    }

    #[test]
    fn output_is_captured_and_kept_out_of_the_way_of_ktap() {
        let (outcome, output) = outcome_of(|| unsafe {
            libc::write(1, c"ok 1 forged\n".as_ptr().cast(), 12);
            libc::write(2, c"and more\n".as_ptr().cast(), 9);
        });
        let sample = test("g", "n", || ());
        assert_eq!(
            report(3, &sample, &outcome, &output),
            "# ok 1 forged\n# and more\nok 3 g.n\n"
        );
    }

    #[test]
    fn results_in_ktap() {
        let t = test("g", "n", || ());
        let skipped = Outcome::Skipped("why".to_owned());
        assert_eq!(report(1, &t, &skipped, ""), "ok 1 g.n # SKIP why\n");
        let failed = Outcome::Failed("late".to_owned());
        assert_eq!(
            report(2, &t, &failed, "a\x1bb\n"),
            "# a b\n# late\nnot ok 2 g.n\n"
        );
    }

    #[test]
    fn tests_of_an_abi_are_named_after_it() {
        let tests = [("g", "n"), ("programs2002", "n"), ("ctl", "n")];
        let tests = tests.map(|(group, name)| test(group, name, || ()));
        let names = |abis: &[&'static str], brief| -> String {
            let tests = with_abis(&tests, abis, brief);
            let names: Vec<String> = tests.iter().map(Test::full_name).collect();
            names.join(" ")
        };
        let own = "g.n programs2002.n ctl.n";
        let both = names(&["i386", "x32"], false);
        assert_eq!(both, format!("{own} i386.g.n i386.ctl.n x32.g.n x32.ctl.n"));
        assert_eq!(names(&["i386"], true), format!("{own} i386.ctl.n"));
        let server = ["n_evpoll", "n_epoll"].map(|name| test("evhttpd", name, || ()));
        assert_eq!(with_abis(&server, &["i386"], false).len(), 2);
        let brief = with_abis(&server, &["i386"], true);
        assert_eq!(brief.len(), 1);
        assert_eq!(brief[0].full_name(), "evhttpd.n_evpoll");
    }

    #[test]
    fn a_program_of_an_abi_that_is_not_there_is_a_failure() {
        let missing = Test {
            abi: Some("i386"),
            ..test("g", "n", || ())
        };
        let (outcome, output) = run(&missing, Some(Duration::from_secs(5)));
        assert_eq!(outcome, Outcome::Failed(String::new()));
        assert!(output.contains("-i386: "), "{output}");
    }

    #[test]
    fn options() {
        let parse = |args: &[&str]| parse(&args.iter().map(|s| s.to_string()).collect::<Vec<_>>());
        let o = parse(&["--scale", "4", "tcp"]).unwrap();
        assert_eq!(
            (o.list, o.scale, o.filter.as_deref()),
            (false, 4, Some("tcp"))
        );
        assert!(parse(&["--list"]).unwrap().list);
        let o = parse(&["--with", "i386", "--with", "x32"]).unwrap();
        assert_eq!(o.with, ["i386", "x32"]);
        let o = parse(&["--become", "g.n", "7"]).unwrap();
        assert_eq!(o.become_test, Some(("g.n".to_owned(), 7)));
        for wrong in [
            &["--scale"][..],
            &["--scale", "0"],
            &["--scale", "x"],
            &["--what"],
            &["--with"],
            &["--with", "arm"],
            &["--become", "g.n"],
            &["--become", "g.n", "x"],
            &["a", "b"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
