// SPDX-License-Identifier: GPL-2.0
//! Runs a program in a process of its own, under a time limit. It passes only by saying so
//! through a pipe that nothing else writes to; a crash and a hang are failures like others.

use std::os::raw::c_int;
use std::time::{Duration, Instant};

use super::oracle::Counts;
use super::program::{Program, Shape};
use super::world::{run_apart, Cast, World};
use super::{threads, transfer};
use crate::abi::Sys;
use crate::runner::scale;
use crate::sys::{pipe_flags, set_limit, sys, Fd};

/// How a program ended: what it has counted, or what is wrong.
pub type Outcome = Result<Counts, String>;

/// How long a program may take, before scaling.
fn limit(shape: Shape) -> Duration {
    Duration::from_secs(match shape {
        Shape::Sequence | Shape::Apart => 8,
        Shape::Threads => 8,
        Shape::Transfer => 12,
    })
}

/// Runs it, here and now.
fn play(program: &Program) -> Outcome {
    match program.shape {
        Shape::Sequence => World::run(program, Cast::Both).map(|(counts, _)| counts),
        Shape::Apart => run_apart(program),
        Shape::Threads => threads::run(program),
        Shape::Transfer => transfer::run(program),
    }
}

/// Runs a program. An error of the outer kind is one of this machine: no process can be made.
pub fn run(program: &Program) -> Sys<Outcome> {
    let (verdict, to_parent) = pipe_flags(0)?;
    // SAFETY: the child only runs the program and ends.
    let pid = sys(unsafe { libc::fork() })?;
    if pid == 0 {
        drop(verdict);
        child(program, &to_parent);
    }
    // SAFETY: our own child, which does the same.
    unsafe { libc::setpgid(pid, pid) };
    drop(to_parent);
    let limit = limit(program.shape) * scale();
    let (said, late) = listen(&verdict, Instant::now() + limit);
    // It is not reaped yet, so the number of its group is still its own.
    // SAFETY: signals a group that this function made, and waits for its first process.
    let status = unsafe {
        libc::kill(-pid, libc::SIGKILL);
        let mut status: c_int = 0;
        sys(libc::waitpid(pid, &mut status, 0))?;
        status
    };
    Ok(judge(&said, late.then_some(limit), status))
}

/// Everything that comes until the end, or until it is late.
fn listen(verdict: &Fd, end: Instant) -> (String, bool) {
    let mut said = Vec::new();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = left.as_millis().min(60_000) as c_int;
        let ready = crate::sys::poll_for(verdict.raw(), crate::abi::IN, timeout) != 0;
        if !ready && left.is_zero() {
            return (String::from_utf8_lossy(&said).into_owned(), true);
        }
        if ready {
            match crate::sys::read(verdict, 4096) {
                Ok(data) if !data.is_empty() => said.extend(data),
                _ => return (String::from_utf8_lossy(&said).into_owned(), false),
            }
        }
        // A verdict is whole with its end, whoever still has the pipe.
        if said.ends_with(b"\0") {
            return (String::from_utf8_lossy(&said).into_owned(), false);
        }
    }
}

fn judge(said: &str, late: Option<Duration>, status: c_int) -> Outcome {
    if let Some(said) = said.strip_suffix('\0') {
        if let Some(counts) = said.strip_prefix('P') {
            let mut numbers = counts.split(' ').map(str::parse);
            if let (Some(Ok(events)), Some(Ok(spurious))) = (numbers.next(), numbers.next()) {
                return Ok(Counts { events, spurious });
            }
        }
        return Err(said.strip_prefix('F').unwrap_or(said).to_owned());
    }
    if let Some(limit) = late {
        return Err(format!("no end within {} ms", limit.as_millis()));
    }
    match libc::WIFSIGNALED(status) {
        true => Err(format!("killed by signal {}", libc::WTERMSIG(status))),
        false => Err(format!(
            "ended in the middle, with exit status {}",
            libc::WEXITSTATUS(status)
        )),
    }
}

fn tell(to: c_int, text: &str) {
    let text = format!("{text}\0");
    // SAFETY: a buffer of that size.
    unsafe { libc::write(to, text.as_ptr().cast(), text.len()) };
}

/// The program's process.
fn child(program: &Program, verdict: &Fd) -> ! {
    let to = verdict.raw();
    // SAFETY: only this process's own attributes.
    unsafe {
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
    set_limit(libc::RLIMIT_CORE, 0);
    // A helper of the tests that fails is the fuzzer's fault or the kernel's: a verdict as well.
    std::panic::set_hook(Box::new(move |info| {
        tell(to, &format!("F{info}").replace('\n', " "));
        // SAFETY: ends the process, whichever thread this is.
        unsafe { libc::_exit(101) }
    }));
    #[cfg(test)]
    crate::emu::in_all_threads();
    match play(program) {
        Ok(c) => tell(to, &format!("P{} {}", c.events, c.spurious)),
        Err(why) => tell(to, &format!("F{why}")),
    }
    // SAFETY: ends the process.
    unsafe { libc::_exit(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let counts = Counts {
            events: 7,
            spurious: 1,
        };
        assert_eq!(judge("P7 1\0", None, 0), Ok(counts));
        assert_eq!(judge("Fwhy\0", None, 0), Err("why".to_owned()));
        let late = Some(Duration::from_millis(5));
        assert_eq!(judge("", late, 9), Err("no end within 5 ms".to_owned()));
        assert_eq!(judge("", None, 9), Err("killed by signal 9".to_owned()));
        let early = "ended in the middle, with exit status 0";
        assert_eq!(judge("P7 1", None, 0), Err(early.to_owned()));
    }
}
