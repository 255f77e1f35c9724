// SPDX-License-Identifier: GPL-2.0
//! The system calls that the tests use besides evpoll's, each failing loudly.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::abi::{Bits, Errno, Sys};
use crate::check::ok;
use crate::runner::scale;

/// A descriptor that is closed when dropped.
#[derive(Debug)]
pub struct Fd(c_int);

impl Fd {
    pub fn new(raw: c_int) -> Self {
        Fd(raw)
    }
    pub fn raw(&self) -> c_int {
        self.0
    }
    #[track_caller]
    pub fn dup(&self) -> Fd {
        // SAFETY: takes no pointer.
        Fd(ok("dup", sys(unsafe { libc::dup(self.0) })))
    }
    pub fn close(self) {}
    /// Gives the number away, unclosed.
    pub fn leak(self) -> c_int {
        let raw = self.0;
        std::mem::forget(self);
        raw
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: our own descriptor, open until it is dropped.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl From<Fd> for OwnedFd {
    fn from(fd: Fd) -> OwnedFd {
        // SAFETY: our own descriptor, which is given away.
        unsafe { OwnedFd::from_raw_fd(fd.leak()) }
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: our own descriptor.
        unsafe { libc::close(self.0) };
    }
}

/// A C result with its errno.
pub fn sys(r: c_int) -> Sys<c_int> {
    if r < 0 {
        Err(Errno::last())
    } else {
        Ok(r)
    }
}

fn sys_size(r: libc::ssize_t) -> Sys<usize> {
    if r < 0 {
        Err(Errno::last())
    } else {
        Ok(r as usize)
    }
}

pub fn read(fd: &Fd, len: usize) -> Sys<Vec<u8>> {
    let mut buf = vec![0u8; len];
    // SAFETY: a buffer of that size.
    let n = sys_size(unsafe { libc::read(fd.raw(), buf.as_mut_ptr().cast(), len) })?;
    buf.truncate(n);
    Ok(buf)
}

pub fn write(fd: &Fd, data: &[u8]) -> Sys<usize> {
    // SAFETY: a buffer of that size.
    sys_size(unsafe { libc::write(fd.raw(), data.as_ptr().cast(), data.len()) })
}

/// Writes all of it, in one call.
#[track_caller]
pub fn put(fd: &Fd, data: &[u8]) {
    check_eq!("bytes written", ok("write", write(fd, data)), data.len());
}

/// Reads exactly so much, in one call.
#[track_caller]
pub fn get(fd: &Fd, len: usize) {
    check_eq!("bytes read", ok("read", read(fd, len)).len(), len);
}

/// Reads until EAGAIN or the end; how much there was.
#[track_caller]
pub fn drain(fd: &Fd) -> usize {
    let mut total = 0;
    loop {
        match read(fd, 65536) {
            Ok(data) if data.is_empty() => return total,
            Ok(data) => total += data.len(),
            Err(Errno(libc::EAGAIN)) => return total,
            Err(e) => panic!("read: {e}"),
        }
    }
}

/// Writes pieces of that size until EAGAIN; how much went in.
#[track_caller]
pub fn fill(fd: &Fd, piece: usize) -> usize {
    let data = vec![b'x'; piece];
    let mut total = 0;
    loop {
        match write(fd, &data) {
            Ok(n) => total += n,
            Err(Errno(libc::EAGAIN)) => return total,
            Err(e) => panic!("write: {e}"),
        }
    }
}

/// A pipe, both ends non-blocking: (read end, write end).
#[track_caller]
pub fn pipe() -> (Fd, Fd) {
    ok("pipe2", pipe_flags(libc::O_NONBLOCK))
}

pub fn pipe_flags(flags: c_int) -> Sys<(Fd, Fd)> {
    let mut fds = [-1; 2];
    // SAFETY: two descriptors are stored in the array.
    sys(unsafe { libc::pipe2(fds.as_mut_ptr(), flags | libc::O_CLOEXEC) })?;
    Ok((Fd(fds[0]), Fd(fds[1])))
}

pub fn try_open(path: &str, flags: c_int) -> Sys<Fd> {
    let path = CString::new(path).unwrap();
    // SAFETY: a C string.
    sys(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o600) }).map(Fd)
}

#[track_caller]
pub fn open(path: &str, flags: c_int) -> Fd {
    ok(path, try_open(path, flags))
}

/// The same file, opened again.
#[track_caller]
pub fn reopen(fd: &Fd, flags: c_int) -> Fd {
    open(&format!("/proc/self/fd/{}", fd.raw()), flags)
}

/// poll(2) on one descriptor, without waiting.
#[track_caller]
pub fn poll_now(fd: c_int, events: u32) -> u32 {
    poll_for(fd, events, 0)
}

#[track_caller]
pub fn poll_for(fd: c_int, events: u32, timeout: c_int) -> u32 {
    let mut p = libc::pollfd {
        fd,
        events: events as u16 as i16,
        revents: 0,
    };
    // SAFETY: an array of one.
    ok("poll", sys(unsafe { libc::poll(&mut p, 1, timeout) }));
    u32::from(p.revents as u16)
}

/// Waits, for a bounded time, until poll(2) shows these bits.
#[track_caller]
pub fn poll_until(fd: &Fd, bits: u32) {
    let got = poll_for(fd.raw(), bits, ms(2000).as_millis() as c_int);
    check!(
        got & bits != 0,
        "expected poll(2) to show {}, got {}",
        Bits(bits),
        Bits(got)
    );
}

/// A time limit of so many milliseconds, scaled.
pub fn ms(n: u64) -> Duration {
    Duration::from_millis(n * u64::from(scale()))
}

/// How long to wait for what should come, in milliseconds, scaled.
pub fn limit(n: u64) -> c_int {
    #[cfg(test)]
    if HURRY.with(|h| h.get()) {
        return n.min(200) as c_int;
    }
    ms(n).as_millis() as c_int
}

#[cfg(test)]
thread_local! {
    /// Set where it will not come, since something is broken on purpose.
    pub static HURRY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

pub fn sleep(d: Duration) {
    std::thread::sleep(d);
}

/// Long enough for a thread that was just started to block.
pub fn let_it_block() {
    sleep(ms(30));
}

/// How long it took.
pub fn timed<T>(f: impl FnOnce() -> T) -> (T, Duration) {
    let t = Instant::now();
    let r = f();
    (r, t.elapsed())
}

/// How a process ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Exit {
    Code(c_int),
    Signal(c_int),
}

/// A process made by `fork`; killed when dropped unawaited.
pub struct Child(c_int);

impl Child {
    #[track_caller]
    pub fn wait(self) -> Exit {
        let mut status = 0;
        // SAFETY: one status.
        let r = unsafe { libc::waitpid(self.0, &mut status, 0) };
        check_eq!("waitpid", r, self.0);
        std::mem::forget(self);
        if libc::WIFSIGNALED(status) {
            Exit::Signal(libc::WTERMSIG(status))
        } else {
            Exit::Code(libc::WEXITSTATUS(status))
        }
    }
    /// Whether it has come to its end, to be told by `wait`.
    #[track_caller]
    pub fn has_ended(&self) -> bool {
        // SAFETY: plain bytes.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: room for what is told of one process.
        ok(
            "waitid",
            sys(unsafe { libc::waitid(libc::P_PID, self.0 as u32, &mut info, flags) }),
        );
        // SAFETY: filled in by waitid, with 0 where there is nothing to tell.
        unsafe { info.si_pid() != 0 }
    }
    /// Ends it, wherever it is.
    pub fn kill(&self) {
        // SAFETY: our own child, which is not reaped yet.
        unsafe { libc::kill(self.0, libc::SIGKILL) };
    }
    /// It must have done all of its work.
    #[track_caller]
    pub fn succeed(self) {
        check_eq!("the child's end", self.wait(), Exit::Code(0));
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: our own child.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Runs `f` in a new process; a failed check there ends it with a status that is not 0.
#[track_caller]
pub fn fork(f: impl FnOnce()) -> Child {
    // SAFETY: the child runs `f` and ends.
    match ok("fork", sys(unsafe { libc::fork() })) {
        0 => {
            f();
            // SAFETY: ends the process.
            unsafe { libc::_exit(0) }
        }
        pid => Child(pid),
    }
}

/// Room for so many descriptors.
#[track_caller]
pub fn need_files(n: u64) {
    ok("room for descriptors", try_need_files(n));
}

pub fn try_need_files(n: u64) -> Sys<()> {
    raise_limit(libc::RLIMIT_NOFILE, n)
}

/// Raises both limits of a resource to so much, if they are lower.
pub fn raise_limit(resource: libc::__rlimit_resource_t, n: u64) -> Sys<()> {
    let mut l = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: one structure each.
    unsafe {
        sys(libc::getrlimit64(resource, &mut l))?;
        l.rlim_cur = l.rlim_cur.max(n);
        l.rlim_max = l.rlim_max.max(n);
        sys(libc::setrlimit64(resource, &l))?;
    }
    Ok(())
}

/// Sets the current limit of a resource, leaving the largest as it is.
#[track_caller]
pub fn set_limit(resource: libc::__rlimit_resource_t, n: u64) {
    let mut l = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: one structure each.
    unsafe {
        ok("getrlimit", sys(libc::getrlimit64(resource, &mut l)));
        l.rlim_cur = n.min(l.rlim_max);
        ok("setrlimit", sys(libc::setrlimit64(resource, &l)));
    }
}

/// The lowest descriptor number that is free.
#[track_caller]
pub fn lowest_free() -> c_int {
    open("/dev/null", libc::O_RDONLY).raw()
}

/// How many descriptors this process has.
#[track_caller]
pub fn open_files() -> usize {
    let dir = std::fs::read_dir("/proc/self/fd").expect("/proc/self/fd");
    dir.count()
}

/// One line of /proc/self/maps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    pub start: usize,
    pub end: usize,
    pub perms: String,
    pub name: String,
}

#[track_caller]
pub fn mappings() -> Vec<Mapping> {
    let text = std::fs::read_to_string("/proc/self/maps").expect("/proc/self/maps");
    text.lines()
        .map(|line| {
            let mut words = line.split_whitespace();
            let range = words.next().unwrap_or("");
            let (start, end) = range.split_once('-').expect("a range of addresses");
            Mapping {
                start: usize::from_str_radix(start, 16).unwrap(),
                end: usize::from_str_radix(end, 16).unwrap(),
                perms: words.next().unwrap_or("").to_owned(),
                name: words.skip(3).collect::<Vec<_>>().join(" "),
            }
        })
        .collect()
}

/// The mapping that an address lies in.
pub fn mapping_of(p: *const c_void) -> Option<Mapping> {
    mappings()
        .into_iter()
        .find(|m| (m.start..m.end).contains(&(p as usize)))
}

/// A figure of /proc/self/status or /proc/meminfo, in kB.
#[track_caller]
pub fn kilobytes(file: &str, name: &str) -> usize {
    let text = std::fs::read_to_string(file).expect(file);
    let line = text.lines().find(|l| l.starts_with(name)).expect(name);
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// An anonymous private mapping; never unmapped.
#[track_caller]
pub fn map_anonymous(len: usize, prot: c_int) -> *mut c_void {
    // SAFETY: a new mapping, wherever the kernel puts it.
    let p = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len,
            prot,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    check!(p != libc::MAP_FAILED, "mmap: {}", Errno::last());
    p
}

extern "C" fn nothing(_: c_int) {}

/// Installs a handler that does nothing.
#[track_caller]
pub fn handle_signal(signal: c_int, flags: c_int) {
    // SAFETY: a zeroed sigaction is a valid one; the handler touches nothing.
    unsafe {
        let mut a: libc::sigaction = std::mem::zeroed();
        a.sa_sigaction = nothing as extern "C" fn(c_int) as usize;
        a.sa_flags = flags;
        ok(
            "sigaction",
            sys(libc::sigaction(signal, &a, std::ptr::null_mut())),
        );
    }
}

/// This thread, for `signal_thread`.
pub fn thread_id() -> c_int {
    // SAFETY: takes no pointer.
    unsafe { libc::syscall(libc::SYS_gettid) as c_int }
}

pub fn signal_thread(thread: c_int, signal: c_int) {
    // SAFETY: a thread of this process.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
}

/// A directory of this process's own, on whatever can hold a FIFO.
pub struct TempDir(pub String);

impl TempDir {
    #[track_caller]
    pub fn new() -> Self {
        // Several threads may want one; and processes that were killed have left theirs behind,
        // of which one may have had the same number.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        const LEFT_BEHIND: usize = 1000;
        for dir in ["/tmp", "/dev/shm", "/run", ""] {
            for _ in 0..LEFT_BEHIND {
                let n = NEXT.fetch_add(1, Ordering::Relaxed);
                let path = format!("{dir}/evpoll-selftests-{}-{n}", std::process::id());
                match std::fs::create_dir(&path) {
                    Ok(()) => return TempDir(path),
                    Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                    Err(_) => break,
                }
            }
        }
        panic!("no directory to write to");
    }
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }
    /// A new FIFO's path.
    #[track_caller]
    pub fn fifo(&self, name: &str) -> String {
        let path = self.path(name);
        let c = CString::new(path.as_str()).unwrap();
        // SAFETY: a C string.
        ok("mkfifo", sys(unsafe { libc::mkfifo(c.as_ptr(), 0o600) }));
        path
    }
}

impl Default for TempDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
