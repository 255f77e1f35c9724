// SPDX-License-Identifier: GPL-2.0
//! Programs that tests start: the harness builds them, with each compiler for each ABI.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::abi::*;
use crate::check::ok;
use crate::runner::skip;
use crate::sys::*;

/// Where they are, unless `EVPOLL_PROGRAMS` says otherwise.
const FOLDER: &str = "/evpoll/programs";

/// One of the programs, running; killed when dropped.
pub struct Program {
    child: Child,
    out: Fd,
    said: Vec<u8>,
}

impl Program {
    #[track_caller]
    pub fn start(name: &str, made: &str, args: &[&str], stdin: impl Into<Stdio>) -> Program {
        let folder = std::env::var_os("EVPOLL_PROGRAMS").unwrap_or(FOLDER.into());
        let path = PathBuf::from(folder).join(format!("{name}-{made}"));
        if !path.exists() {
            skip("not built on this machine");
        }
        let started = Command::new(&path)
            .args(args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => panic!("{}: {error}", path.display()),
        };
        let out = Fd::new(child.stdout.take().expect("its output").into_raw_fd());
        // SAFETY: takes no pointer.
        let set = unsafe { libc::fcntl(out.raw(), libc::F_SETFL, libc::O_NONBLOCK) };
        ok("fcntl", sys(set));
        Program {
            child,
            out,
            said: Vec::new(),
        }
    }

    /// Its next line, if it comes in this time or before it ends.
    #[track_caller]
    pub fn line_within(&mut self, milliseconds: i32) -> Option<String> {
        let end = Instant::now() + Duration::from_millis(milliseconds as u64);
        loop {
            if let Some(at) = self.said.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.said.drain(..=at).collect();
                return Some(String::from_utf8_lossy(&line[..at]).into_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if poll_for(self.out.raw(), IN, left.as_millis() as i32) == 0 {
                return None;
            }
            let more = ok("its output", read(&self.out, 4096));
            if more.is_empty() {
                return None;
            }
            self.said.extend(more);
        }
    }

    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.line_within(limit(2000));
        line.unwrap_or_else(|| panic!("expected a line of output, got none"))
    }

    #[track_caller]
    pub fn says(&mut self, want: &str) {
        check_eq!("its output", self.line(), want);
    }

    /// The number after this word.
    #[track_caller]
    pub fn number(&mut self, word: &str) -> u16 {
        let line = self.line();
        let number = line.strip_prefix(word).and_then(|n| n.trim().parse().ok());
        number.unwrap_or_else(|| panic!("its output: expected {word} N, got {line:?}"))
    }

    /// It says nothing more and ends with this status.
    #[track_caller]
    pub fn ends(mut self, status: i32) {
        check_eq!("its output", self.line_within(limit(2000)), None);
        let ended = self.child.wait().expect("wait");
        check_eq!("its exit status", ended.code(), Some(status));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end that a program gets: blocking, as it would be.
pub fn input(fd: Fd) -> OwnedFd {
    // SAFETY: takes no pointer.
    unsafe { libc::fcntl(fd.raw(), libc::F_SETFL, 0) };
    fd.into()
}
