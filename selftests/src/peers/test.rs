// SPDX-License-Identifier: GPL-2.0
//! One test: a process that may hang, crash, fork without end of its own, or print for ever.

use std::ffi::CStr;
use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::os::raw::c_int;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use selftests::net;
use selftests::sys;

use crate::plan::Planned;
use crate::say;

/// Where a test's processes are kept together; made anew for each.
const CGROUP: &str = "/sys/fs/cgroup/evpoll-peers";
/// More output than that is not passed on.
const OUTPUT: usize = 512 * 1024;
/// How often it is looked whether the test has ended, and how long killed processes may take.
const TICK: Duration = Duration::from_millis(20);
const DEATH: Duration = Duration::from_secs(20);

/// Runs one and says how it ended. An error means that none can be run here.
pub fn run(planned: &Planned) -> Result<(), String> {
    say(&format!("> {}\n", planned.name));
    clear_cgroup()?;
    fs::create_dir(CGROUP).map_err(|why| format!("making {CGROUP}: {why}"))?;
    let (reader, writer) = io::pipe().map_err(|why| format!("making a pipe: {why}"))?;
    let mut lines = Lines::new(reader);
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(&planned.command);
    command.current_dir(&planned.folder).stdin(Stdio::null());
    let stdout = writer.try_clone();
    let stdout = stdout.map_err(|why| format!("doubling a pipe: {why}"))?;
    command.stdout(stdout).stderr(writer);
    // SAFETY: only system calls: this process has one thread.
    unsafe { command.pre_exec(own_surroundings) };
    let child = command.spawn();
    // The command holds this process's own ends of the pipe.
    drop(command);
    let mut child = child.map_err(|why| format!("starting it: {why}"))?;
    let start = Instant::now();
    let ended = loop {
        lines.pass(TICK);
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if start.elapsed() > planned.limit => break None,
            Ok(None) => (),
            Err(why) => return Err(format!("waiting for it: {why}")),
        }
    };
    let killed = clear_cgroup();
    if ended.is_none() {
        let _ = child.wait();
    }
    lines.rest();
    let took = start.elapsed().as_millis();
    let ended = told(ended, planned.limit);
    say(&format!("< {} {took} ms {ended}\n", planned.name));
    killed
}

fn told(ended: Option<ExitStatus>, limit: Duration) -> String {
    match ended {
        None => format!("timeout {}", limit.as_secs()),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or(0)),
        },
    }
}

/// In the new process: a cgroup, a session, mounts and a network of its own, and the limits and
/// signals that a program expects.
fn own_surroundings() -> io::Result<()> {
    fs::write(format!("{CGROUP}/cgroup.procs"), "0")?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::setsid() })?;
    // SAFETY: takes no pointer.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET | libc::CLONE_NEWNS) })?;
    mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE)?;
    mount(c"tmp", c"/tmp", c"tmpfs", 0)?;
    net::loopback_up();
    let few = libc::rlimit {
        rlim_cur: 1024,
        rlim_max: 1_048_576,
    };
    // SAFETY: a limit to read from.
    check(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &few) })
}

fn mount(what: &CStr, place: &CStr, kind: &CStr, flags: libc::c_ulong) -> io::Result<()> {
    let none = std::ptr::null();
    // SAFETY: C strings, and no data.
    check(unsafe { libc::mount(what.as_ptr(), place.as_ptr(), kind.as_ptr(), flags, none) })
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Kills what is in the cgroup and removes it, if it is there.
fn clear_cgroup() -> Result<(), String> {
    let start = Instant::now();
    loop {
        match fs::remove_dir(CGROUP) {
            Ok(()) => return Ok(()),
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(why) if start.elapsed() > DEATH => {
                return Err(format!("a process that does not die: {CGROUP}: {why}"));
            }
            Err(_) => {
                let _ = fs::write(format!("{CGROUP}/cgroup.kill"), "1");
                std::thread::sleep(TICK);
            }
        }
    }
}

/// What a test prints, passed on line by line.
struct Lines {
    reader: PipeReader,
    line: Vec<u8>,
    passed: usize,
    open: bool,
}

impl Lines {
    fn new(reader: PipeReader) -> Lines {
        Lines {
            reader,
            line: Vec::new(),
            passed: 0,
            open: true,
        }
    }

    /// Passes on what is there, or comes within `wait`. True if there was any.
    fn pass(&mut self, wait: Duration) -> bool {
        if !self.open {
            std::thread::sleep(wait);
            return false;
        }
        let there = sys::poll_for(
            self.reader.as_raw_fd(),
            selftests::abi::IN,
            wait.as_millis() as c_int,
        );
        if there == 0 {
            return false;
        }
        let mut bytes = [0; 16384];
        match self.reader.read(&mut bytes) {
            Ok(count) if count > 0 => self.take(&bytes[..count]),
            _ => self.open = false,
        }
        self.open
    }

    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                b'\r' => (),
                other if self.line.len() < 1000 => self.line.push(*other),
                _ => (),
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let before = self.passed;
        self.passed += line.len() + 1;
        if self.passed <= OUTPUT {
            say(&format!("| {}\n", String::from_utf8_lossy(&line)));
        } else if before <= OUTPUT {
            say("| (what it said from here on is left out)\n");
        }
    }

    /// All writers are dead: passes on what they left.
    fn rest(mut self) {
        while self.pass(Duration::ZERO) {}
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}
