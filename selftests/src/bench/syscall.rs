// SPDX-License-Identifier: GPL-2.0
//! Single calls: an empty one, a wait with nothing to wait for, a watch added and removed.

use crate::calls::{now, result};
use crate::interfaces::{Epoll, Evpoll, Interface, EDGE};
use crate::output::{Figure, Output, Value};
use selftests::abi::*;
use selftests::sys::{pipe, Fd};

/// The mean of so many, after one that is not counted.
fn mean(rounds: u32, mut call: impl FnMut() -> Result<(), Errno>) -> Result<f64, String> {
    call().map_err(|e| format!("not in this kernel: {e}"))?;
    let begin = now();
    for _ in 0..rounds {
        call().map_err(|e| format!("the call failed: {e}"))?;
    }
    Ok((now() - begin) as f64 / f64::from(rounds))
}

fn empty(rounds: u32) -> Result<f64, String> {
    // SAFETY: takes no pointer.
    mean(rounds, || {
        result(unsafe { libc::syscall(libc::SYS_getppid) }).map(drop)
    })
}

/// A wait with nothing pending, on one watch, that does not wait.
fn empty_wait<I: Interface>(rounds: u32) -> Result<f64, String> {
    let (r, _w) = pipe();
    let mut interface = I::new(&[r.raw()]).map_err(|e| format!("not in this kernel: {e}"))?;
    mean(rounds, || interface.discard().map(drop))
}

fn add_and_del_evpoll(rounds: u32) -> Result<f64, String> {
    let queue =
        evpoll_create(16, EVPOLL_CLOEXEC).map_err(|e| format!("not in this kernel: {e}"))?;
    let queue = Fd::new(queue);
    let (r, _w) = pipe();
    mean(rounds, || {
        evpoll_ctl(queue.raw(), EP_CTL_ADD, r.raw(), IN, 0)?;
        evpoll_ctl(queue.raw(), EP_CTL_DEL, r.raw(), 0, 0)?;
        Ok(())
    })
}

fn add_and_del_epoll(rounds: u32) -> Result<f64, String> {
    // SAFETY: takes no pointer.
    let epoll = result(unsafe { libc::syscall(libc::SYS_epoll_create1, libc::EPOLL_CLOEXEC) });
    let epoll = Fd::new(epoll.map_err(|e| format!("not in this kernel: {e}"))? as i32);
    let (r, _w) = pipe();
    let mut event = libc::epoll_event {
        events: IN | EDGE,
        u64: 0,
    };
    mean(rounds, || {
        for op in [libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_DEL] {
            // SAFETY: one event.
            result(unsafe {
                libc::syscall(
                    libc::SYS_epoll_ctl,
                    epoll.raw(),
                    op,
                    r.raw(),
                    &raw mut event,
                )
            })?;
        }
        Ok(())
    })
}

type Case = (&'static str, &'static str, fn(u32) -> Result<f64, String>);

const CASES: [Case; 5] = [
    ("getppid", "bare", empty),
    (
        "wait with nothing pending",
        Evpoll::NAME,
        empty_wait::<Evpoll>,
    ),
    (
        "wait with nothing pending",
        Epoll::<EDGE>::NAME,
        empty_wait::<Epoll<EDGE>>,
    ),
    ("ADD and DEL", Evpoll::NAME, add_and_del_evpoll),
    ("ADD and DEL", Epoll::<EDGE>::NAME, add_and_del_epoll),
];

pub fn run(output: &Output, quick: bool) {
    let rounds = if quick { 200 } else { 2000 };
    for (call, interface, measure) in CASES {
        eprintln!("syscall: {call}: {interface}");
        output.figure(&Figure {
            name: "syscall",
            interface,
            params: &[("call", Value::Text(call))],
            per: "call",
            value: measure(rounds),
            raw: &[("rounds", Value::Int(u64::from(rounds)))],
        });
    }
}
