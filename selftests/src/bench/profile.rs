// SPDX-License-Identifier: GPL-2.0
//! `profile INTERFACE ACTIVE`: what pipetest does with 1000 pipes, for someone who watches every
//! instruction. Says READY, and goes on when a line comes in, which is when the other side watches;
//! says DONE after that, and ends at the next line. getppid(2) is called right before the rounds and
//! right after them, and nowhere else.

use crate::calls::{result, watchdog};
use crate::interfaces::{Epoll, Evpoll, Interface, BARE, EDGE};
use crate::measure::{settle, Context, Result, Trouble};
use crate::pipes::Pipes;
use crate::pipetest::{watch_all, Active};
use std::io::Write;

const PIPES: usize = 1000;
pub const ROUNDS: usize = 20;

fn failed<E: std::fmt::Display>(e: E) -> Trouble {
    Trouble::Wrong(format!("cannot talk to whoever watches: {e}"))
}

fn say(what: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{what}").map_err(failed)?;
    out.flush().map_err(failed)
}

fn await_line() -> Result<()> {
    let mut line = String::new();
    match std::io::stdin().read_line(&mut line).map_err(failed)? {
        0 => Err(failed("the end of standard input")),
        _ => Ok(()),
    }
}

fn mark() -> Result<()> {
    // SAFETY: takes no pointer.
    result(unsafe { libc::syscall(libc::SYS_getppid) })
        .map(drop)
        .or_wrong("getppid")
}

fn rounds(mut round: impl FnMut(usize) -> Result<()>) -> Result<()> {
    watchdog(120);
    (0..ROUNDS).try_for_each(&mut round)?;
    settle();
    // It may be long before the other side is ready, and slow from then on.
    watchdog(0);
    say("READY")?;
    await_line()?;
    // Whoever handed the line over has its processor for a moment.
    settle();
    mark()?;
    let done = (ROUNDS..2 * ROUNDS).try_for_each(&mut round);
    mark()?;
    done?;
    say("DONE")?;
    await_line()
}

fn with<I: Interface>(pipes: &Pipes, active: usize) -> Result<()> {
    let mut interface = watch_all::<I>(pipes)?;
    let active = Active::new(pipes, active);
    rounds(|r| active.round(&mut interface, r))
}

pub const USAGE: &str = "profile evpoll|epoll-edge|bare 1|100";

/// None if these are not its arguments.
pub fn run(interface: &str, active: &str) -> Option<Result<()>> {
    let active = match active {
        "1" => 1,
        "100" => 100,
        _ => return None,
    };
    let with: fn(&Pipes, usize) -> Result<()> = match interface {
        Evpoll::NAME => with::<Evpoll>,
        BARE => |pipes, active| {
            let active = Active::new(pipes, active);
            rounds(|r| active.bare_round(r))
        },
        _ if interface == Epoll::<EDGE>::NAME => with::<Epoll<EDGE>>,
        _ => return None,
    };
    Some(Pipes::new(PIPES).and_then(|pipes| with(&pipes, active)))
}
