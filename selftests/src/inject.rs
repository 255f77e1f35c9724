// SPDX-License-Identifier: GPL-2.0
//! Faults on purpose: allocations and copies from and to user space that fail in one system call,
//! one after the other.
//!
//! The kernel's own fault injection does it, in the debug profile (CONFIG_FAULT_INJECTION): a
//! number written to `/proc/thread-self/fail-nth` makes the n-th thing that can fail in this thread
//! fail, and nothing else; what is read back says whether it came to that. So a call is swept by
//! counting up from 1 until it ends before its fault. `/proc/thread-self/make-it-fail`, with the
//! knobs in debugfs, makes everything fail from some point on, which is what a system that is out
//! of memory is like, and the only way to see a second way to the same memory fail, too.
//!
//! What counts as well, and cannot be told apart here: what the kernel's checkers allocate for
//! themselves. A call that succeeds in spite of its fault is therefore no failure of the test.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::raw::c_int;
use std::time::Instant;

use crate::abi::{Errno, Sys};
use crate::check::ok;
use crate::runner::skip;
use crate::sys::{fork, open, sys, Exit, Fd};

/// What fails, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The n-th of everything: slab objects, pages, copies from and to user space.
    Any,
    /// The n-th slab object. (Copies are counted, too: there is no knob for them.)
    Slab,
    /// The n-th page, or block of pages. (And copies.)
    Pages,
    /// The n-th copy. (And what is allocated without leave to wait.)
    Copies,
    /// Every slab object after the first so many bytes of them: [`STEP`] a number.
    SlabFrom,
    /// Every page from the n-th on.
    PagesFrom,
}

/// All of them.
pub const EVERY: &[Mode] = &[
    Mode::Any,
    Mode::Slab,
    Mode::Pages,
    Mode::Copies,
    Mode::SlabFrom,
    Mode::PagesFrom,
];

/// One fault at a time: for what would try again for ever.
pub const ONE: &[Mode] = &[Mode::Any, Mode::Slab, Mode::Pages, Mode::Copies];

/// By how many bytes of slab objects two neighbours of [`Mode::SlabFrom`] differ: less than an
/// object takes together with what kmemleak allocates for it.
const STEP: u64 = 256;

/// Where faults come from.
pub trait Source {
    /// What is to fail from now on.
    fn plan(&self, mode: Mode);

    /// Has the n-th fail in what this thread does from here on; `n` is not 0.
    fn arm(&self, n: u32);

    /// Nothing fails any more. Returns whether anything did.
    fn disarm(&self) -> bool;
}

/// The kernel's knobs: their values as they were.
struct Knobs(Vec<(String, String)>);

const SLAB: &str = "/sys/kernel/debug/failslab";
const PAGES: &str = "/sys/kernel/debug/fail_page_alloc";
const COPIES: &str = "/sys/kernel/debug/fail_usercopy";

/// The first word of a knob: debugfs shows a flag as Y or N.
#[track_caller]
fn read_knob(path: &str) -> String {
    fs::read_to_string(path).expect(path).trim().to_owned()
}

#[track_caller]
fn set_knob(path: &str, value: &str) {
    if let Err(e) = fs::write(path, value) {
        panic!("{path}: {value:?}: {e}");
    }
}

impl Knobs {
    /// Sets what all of the modes have in common.
    #[track_caller]
    fn take() -> Self {
        let common = [("probability", "0"), ("verbose", "0"), ("task-filter", "Y")];
        let own = [
            (PAGES, "min-order", "0"),
            (PAGES, "ignore-gfp-highmem", "N"),
            // Set by `plan`, and restored with the others.
            (PAGES, "ignore-gfp-wait", "N"),
            (SLAB, "ignore-gfp-wait", "N"),
            (SLAB, "cache-filter", "N"),
        ];
        let mut saved = Vec::new();
        let mut take = |path: String, value: &str| {
            saved.push((path.clone(), read_knob(&path)));
            set_knob(&path, value);
        };
        for folder in [SLAB, PAGES, COPIES] {
            for (name, value) in common {
                take(format!("{folder}/{name}"), value);
            }
            for name in ["interval", "times", "space"] {
                let path = format!("{folder}/{name}");
                let value = read_knob(&path);
                take(path, &value);
            }
        }
        for (folder, name, value) in own {
            take(format!("{folder}/{name}"), value);
        }
        Knobs(saved)
    }
}

impl Drop for Knobs {
    fn drop(&mut self) {
        for (path, value) in &self.0 {
            let _ = fs::write(path, value);
        }
    }
}

/// Runs `f` in a child, on a kernel that can make things fail; skips the test on any other. Those
/// `settings` (a file each, and what is written to it) are made before, and they and the knobs are
/// as they were when the child has ended, however it did.
#[track_caller]
pub fn with_faults(settings: &[(&str, &str)], f: impl FnOnce()) {
    for path in [
        "/proc/thread-self/fail-nth",
        &format!("{SLAB}/probability"),
        &format!("{PAGES}/probability"),
        &format!("{COPIES}/probability"),
    ] {
        if fs::metadata(path).is_err() {
            skip(&format!(
                "no fault injection in this kernel ({path}); the debug profile has it"
            ));
        }
    }
    let mut knobs = Knobs::take();
    for (path, value) in settings {
        knobs.0.push((path.to_string(), read_knob(path)));
        set_knob(path, value);
    }
    let end = fork(f).wait();
    drop(knobs);
    check_eq!("the child's end", end, Exit::Code(0));
}

/// The faults of the kernel, for the thread that made this.
pub struct Kernel {
    nth: Fd,
    make: Fd,
    space: [Fd; 2],
    mode: Cell<Mode>,
}

/// More than there can be faults in a call.
const TIMES: &str = "1000000000";

impl Kernel {
    /// Within [`with_faults`].
    #[track_caller]
    pub fn new() -> Self {
        let space = |folder| open(&format!("{folder}/space"), libc::O_WRONLY);
        Kernel {
            nth: open("/proc/thread-self/fail-nth", libc::O_RDWR),
            make: open("/proc/thread-self/make-it-fail", libc::O_RDWR),
            space: [space(SLAB), space(PAGES)],
            mode: Cell::new(Mode::Any),
        }
    }

    /// The knobs of a mode in which everything fails: folder, space and its unit.
    fn from(&self) -> Option<(&str, &Fd, u64)> {
        match self.mode.get() {
            Mode::SlabFrom => Some((SLAB, &self.space[0], STEP)),
            Mode::PagesFrom => Some((PAGES, &self.space[1], 1)),
            _ => None,
        }
    }
}

impl Default for Kernel {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes a number to one of the kernel's files, of which it is all.
fn put_number(fd: &Fd, n: u64) -> Sys<c_int> {
    let mut text = [0u8; 20];
    let mut at = text.len();
    let mut rest = n;
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    let digits = &text[at..];
    // SAFETY: a buffer of that size.
    sys(unsafe { libc::write(fd.raw(), digits.as_ptr().cast(), digits.len()) } as c_int)
}

/// Reads it.
fn get_number(fd: &Fd) -> Sys<u64> {
    let mut text = [0u8; 32];
    // SAFETY: a buffer of that size.
    let n =
        sys(unsafe { libc::pread(fd.raw(), text.as_mut_ptr().cast(), text.len(), 0) } as c_int)?;
    let digits = text[..n as usize].iter().filter(|c| c.is_ascii_digit());
    Ok(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

impl Source for Kernel {
    fn plan(&self, mode: Mode) {
        self.mode.set(mode);
        let flag = |on| if on { "Y" } else { "N" };
        let slab = matches!(mode, Mode::Any | Mode::Slab | Mode::SlabFrom);
        let pages = matches!(mode, Mode::Any | Mode::Pages | Mode::PagesFrom);
        set_knob(&format!("{SLAB}/ignore-gfp-wait"), flag(!slab));
        set_knob(&format!("{PAGES}/ignore-gfp-wait"), flag(!pages));
        for (folder, on) in [
            (SLAB, mode == Mode::SlabFrom),
            (PAGES, mode == Mode::PagesFrom),
        ] {
            let probability = if on { "100" } else { "0" };
            set_knob(&format!("{folder}/probability"), probability);
            set_knob(&format!("{folder}/interval"), "1");
        }
    }

    #[inline(always)]
    fn arm(&self, n: u32) {
        let n = u64::from(n);
        match self.from() {
            None => {
                ok("fail-nth", put_number(&self.nth, n));
            }
            Some((folder, space, unit)) => {
                set_knob(&format!("{folder}/times"), TIMES);
                ok("space", put_number(space, (n - 1) * unit));
                ok("make-it-fail", put_number(&self.make, 1));
            }
        }
    }

    #[inline(always)]
    fn disarm(&self) -> bool {
        if let Some((folder, ..)) = self.from() {
            ok("make-it-fail", put_number(&self.make, 0));
            return read_knob(&format!("{folder}/times")) != TIMES;
        }
        match get_number(&self.nth) {
            Ok(0) => return true,
            // What is left, and this and the next call count, too, with a copy each.
            Ok(_) => {}
            Err(Errno(libc::EFAULT)) => return false,
            Err(e) => panic!("fail-nth: {e}"),
        }
        match put_number(&self.nth, 0) {
            Ok(_) | Err(Errno(libc::EFAULT)) => false,
            Err(e) => panic!("fail-nth: {e}"),
        }
    }
}

/// One call with one fault.
pub struct Shot<'a> {
    source: &'a dyn Source,
    /// 0: no fault.
    n: u32,
    used: Cell<Option<bool>>,
}

impl Shot<'_> {
    /// Does the call, which has to be a system call (or an access to memory) and nothing else: what
    /// the program would do around it could fail as well.
    #[inline(always)]
    pub fn fire<T>(&self, call: impl FnOnce() -> T) -> T {
        check!(self.used.get().is_none(), "one call for each fault");
        if self.n == 0 {
            self.used.set(Some(false));
            return call();
        }
        self.source.arm(self.n);
        let result = call();
        self.used.set(Some(self.source.disarm()));
        result
    }

    /// Whether the fault came to pass: whether the call may have failed because of it.
    #[track_caller]
    pub fn used(&self) -> bool {
        self.used.get().expect("the call was not done")
    }
}

/// What is known of a call before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// It needs memory: some of the faults make it fail.
    Fails,
    /// There are faults, and it succeeds all the same.
    Survives,
    /// There may be faults or not, and it may fail of them.
    Either,
    /// It succeeds, and may well have nothing in it that can fail.
    Succeeds,
}

/// More faults than any call can have.
const MOST: u32 = 2000;

/// What came of the faults of a call.
#[derive(Default)]
struct Tally {
    faults: u32,
    succeeded: u32,
    failed: BTreeMap<c_int, u32>,
}

impl Tally {
    fn says(&self) -> String {
        let mut text = format!("{} faults, {} without effect", self.faults, self.succeeded);
        for (error, n) in &self.failed {
            text += &format!(", {n} {}", Errno(*error));
        }
        text
    }
}

/// Sweeps a call: does `once` without a fault, and then with each of its faults in each of the
/// modes. `once` sets up what the call needs, [fires](Shot::fire) it, checks what it left behind,
/// and returns how it ended, which is checked here: with a fault, one of the errors `allowed`.
#[track_caller]
pub fn sweep(
    source: &dyn Source,
    what: &str,
    modes: &[Mode],
    allowed: &[c_int],
    expect: Expect,
    mut once: impl FnMut(&Shot) -> Sys<()>,
) {
    let shot = |n| Shot {
        source,
        n,
        used: Cell::new(None),
    };
    // Twice: what is allocated only once is there then.
    for _ in 0..2 {
        let off = shot(0);
        ok(what, once(&off));
        off.used();
    }
    let started = Instant::now();
    let mut tally = Tally::default();
    for &mode in modes {
        source.plan(mode);
        for n in 1.. {
            check!(n < MOST, "{what}, {mode:?}: no end after {n} faults");
            let shot = shot(n);
            let result = once(&shot);
            if !shot.used() {
                if let Err(e) = result {
                    panic!("{what}, {mode:?} {n}: failed without a fault: {e}");
                }
                break;
            }
            tally.faults += 1;
            match result {
                Ok(()) => tally.succeeded += 1,
                Err(e) if allowed.contains(&e.0) => *tally.failed.entry(e.0).or_default() += 1,
                Err(e) => panic!("{what}, {mode:?} {n}: no error for this call: {e}"),
            }
        }
    }
    let ms = started.elapsed().as_millis();
    println!("{what}: {} ({ms} ms)", tally.says());
    if matches!(expect, Expect::Fails | Expect::Survives) {
        check!(tally.faults > 0, "{what}: not one fault was injected");
    }
    if expect == Expect::Fails {
        check!(!tally.failed.is_empty(), "{what}: no fault made it fail");
    }
    if matches!(expect, Expect::Survives | Expect::Succeeds) {
        check!(
            tally.failed.is_empty(),
            "{what}: has to succeed, but: {}",
            tally.says()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{catch_unwind, AssertUnwindSafe};

    /// A call with so many places that can fail, in each mode.
    #[derive(Default)]
    struct Fake {
        places: u32,
        left: Cell<u32>,
    }

    impl Source for Fake {
        fn plan(&self, _mode: Mode) {}
        fn arm(&self, n: u32) {
            self.left.set(n);
        }
        fn disarm(&self) -> bool {
            self.left.replace(0) == 0
        }
    }

    impl Fake {
        /// The call: fails where its fault is.
        fn call(&self, error: c_int) -> Sys<()> {
            for _ in 0..self.places {
                match self.left.get() {
                    0 => {}
                    1 => {
                        self.left.set(0);
                        return Err(Errno(error));
                    }
                    n => self.left.set(n - 1),
                }
            }
            Ok(())
        }
    }

    /// Why the sweep of such a call fails, if it does, and how often it was done.
    fn swept(places: u32, error: c_int, expect: Expect) -> (Option<String>, u32) {
        let fake = Fake {
            places,
            ..Fake::default()
        };
        let mut calls = 0;
        let result = catch_unwind(AssertUnwindSafe(|| {
            sweep(&fake, "x", ONE, &[libc::ENOMEM], expect, |shot| {
                calls += 1;
                shot.fire(|| fake.call(error))
            });
        }));
        let why = result.err().map(|e| match e.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => "?".to_owned(),
        });
        (why, calls)
    }

    #[test]
    fn each_place_fails_once_in_each_mode() {
        let (why, calls) = swept(5, libc::ENOMEM, Expect::Fails);
        assert_eq!(why, None);
        assert_eq!(calls, 2 + 4 * (5 + 1));
    }

    #[test]
    fn a_sweep_that_injects_nothing_fails() {
        for expect in [Expect::Fails, Expect::Survives] {
            let (why, _) = swept(0, libc::ENOMEM, expect);
            assert!(why.unwrap().contains("not one fault"));
        }
        assert_eq!(swept(0, libc::ENOMEM, Expect::Succeeds).0, None);
    }

    #[test]
    fn errors_that_the_call_does_not_have_are_found() {
        let (why, _) = swept(3, libc::EIO, Expect::Fails);
        assert!(why.unwrap().contains("no error for this call"));
    }

    #[test]
    fn what_has_to_succeed_must_not_fail() {
        let (why, _) = swept(3, libc::ENOMEM, Expect::Survives);
        assert!(why.unwrap().contains("has to succeed"));
    }

    #[test]
    fn a_call_that_fails_by_itself_is_found() {
        let fake = Fake::default();
        let result = catch_unwind(AssertUnwindSafe(|| {
            sweep(&fake, "x", ONE, &[libc::ENOMEM], Expect::Either, |shot| {
                shot.fire(|| Err(Errno(libc::ENOMEM)))
            });
        }));
        assert!(result.is_err());
    }

    #[test]
    fn numbers_as_the_kernel_reads_and_writes_them() {
        let file = crate::sys::TempDir::new();
        for n in [0, 7, 10, 123_456] {
            let fd = open(&file.path(&n.to_string()), libc::O_RDWR | libc::O_CREAT);
            ok("write", put_number(&fd, n));
            assert_eq!(get_number(&fd), Ok(n));
        }
    }
}
