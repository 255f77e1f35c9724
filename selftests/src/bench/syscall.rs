// SPDX-License-Identifier: GPL-2.0
//! Single calls: an empty one, a wait with nothing to wait for, a watch added and removed where
//! there is no other.

use crate::calls::{now, result};
use crate::interfaces::{Epoll, Evpoll, Interface, BARE, EDGE};
use crate::measure::{hooks_off, settle, Context, Result};
use crate::output::{Figure, Unit, Value};
use crate::Options;
use selftests::abi::*;
use selftests::sys::pipe;

/// The mean of so many, after one that is not counted.
fn mean(rounds: u32, mut call: impl FnMut() -> Sys<()>) -> Result<f64> {
    settle();
    call().or_missing("the first call failed")?;
    let begin = now();
    for _ in 0..rounds {
        call().or_wrong("the call failed")?;
    }
    Ok((now() - begin) as f64 / f64::from(rounds))
}

fn empty(rounds: u32) -> Result<f64> {
    // SAFETY: takes no pointer.
    mean(rounds, || {
        result(unsafe { libc::syscall(libc::SYS_getppid) }).map(drop)
    })
}

/// A wait with nothing pending, on one watch, that does not wait.
fn empty_wait<I: Interface>(rounds: u32) -> Result<f64> {
    let (r, _w) = pipe();
    let mut interface = I::new(&[r.raw()]).or_missing("it cannot watch a pipe")?;
    mean(rounds, || match interface.discard()? {
        0 => Ok(()),
        _ => Err(Errno(libc::EINVAL)),
    })
}

fn add_and_del_evpoll(rounds: u32) -> Result<f64> {
    let queue = Evpoll::empty(16).or_missing("evpoll_create")?;
    let (r, _w) = pipe();
    mean(rounds, || {
        queue.ctl(EP_CTL_ADD, r.raw(), IN)?;
        queue.ctl(EP_CTL_DEL, r.raw(), 0)
    })
}

fn add_and_del_epoll(rounds: u32) -> Result<f64> {
    let epoll = Epoll::<EDGE>::empty(16).or_missing("epoll_create1")?;
    let (r, _w) = pipe();
    mean(rounds, || {
        epoll.ctl(libc::EPOLL_CTL_ADD, r.raw(), IN)?;
        epoll.ctl(libc::EPOLL_CTL_DEL, r.raw(), 0)
    })
}

type Case = (&'static str, &'static str, fn(u32) -> Result<f64>);

const WAIT: &str = "wait with nothing pending";
const ADD_AND_DEL: &str = "ADD and DEL";
/// evpoll last: see `each_interface`.
const CASES: [Case; 5] = [
    ("getppid", BARE, empty),
    (WAIT, Epoll::<EDGE>::NAME, empty_wait::<Epoll<EDGE>>),
    (ADD_AND_DEL, Epoll::<EDGE>::NAME, add_and_del_epoll),
    (WAIT, Evpoll::NAME, empty_wait::<Evpoll>),
    (ADD_AND_DEL, Evpoll::NAME, add_and_del_evpoll),
];

pub fn run(options: &Options) -> Result<()> {
    let rounds = if options.quick { 500 } else { 20_000 };
    hooks_off();
    for (call, interface, measure) in CASES {
        eprintln!("syscall: {call}: {interface}");
        options.output.figure(&Figure {
            name: "syscall",
            interface,
            params: &[("call", Value::Text(call))],
            unit: Unit::Per("call"),
            value: measure(rounds),
            raw: &[("rounds", Value::Int(u64::from(rounds)))],
        });
    }
    Ok(())
}
