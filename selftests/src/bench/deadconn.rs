// SPDX-License-Identifier: GPL-2.0
//! A web server with few active connections among many idle ones, all of them watched.
//!
//! One thread plays both sides, so that every run is the same: in a round, each active client sends
//! a request; then the server loop waits, reads, parses and answers, until it has answered all; then
//! each client reads its answer and compares it. The figure is the cost of all that for one request;
//! `delivery` in `raw` is that without the traffic, which is measured alone as `bare`.
//!
//! All interfaces have the same connections, one after the other, evpoll the last.

use crate::calls::{now, watchdog};
use crate::http;
use crate::interfaces::{each_interface, Interface, BARE};
use crate::measure::{hooks_off, settle, trimmed_mean, wrong, Context, Result};
use crate::output::{Figure, Notes, Unit, Value};
use crate::Options;
use selftests::abi::Errno;
use selftests::net::{self, Addr, Ip};
use selftests::sys::{sys, try_need_files, Fd};
use std::os::raw::c_int;

const ACTIVE: usize = 100;
const IDLE: [usize; 4] = [0, 1000, 10_000, 50_000];
const QUICK_IDLE: [usize; 2] = [0, 400];

const ROUNDS: usize = 100;
/// One round in so many is left out at either end: there is one now and then during which a worker
/// of the kernel has half a million instructions to do.
const OUTLIERS: usize = 10;
const QUICK_ROUNDS: usize = 5;
/// Descriptors that a linear interface looks at in all rounds together, if that makes so many
/// rounds.
const LOOKS: usize = 1_000_000;
const LEAST_ROUNDS: usize = 10;
const WARM_UP: usize = 10;
/// Through each connection in both directions, before anything is measured, in pieces: TCP has then
/// made up its mind about windows and acknowledgements, which 64 kB take.
const BULK: usize = 256 * 1024;
const PIECE: usize = 4096;

/// Addresses that the server listens at: one alone does not have ports for all.
const ADDRESSES: u8 = 8;

struct Connection {
    client: Fd,
    server: Fd,
}

struct Connections {
    listeners: Vec<(Fd, Addr)>,
    all: Vec<Connection>,
}

impl Connections {
    fn new() -> Result<Self> {
        net::loopback_up();
        let listener = |last| {
            // SAFETY: takes no pointer.
            let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
            let s = unsafe { libc::socket(libc::AF_INET, kind, 0) };
            let s = Fd::new(sys(s).or_wrong("socket")?);
            net::try_bind(&s, &Ip::v4([127, 0, 0, last], 0)).or_wrong("bind")?;
            net::listen(&s, 128);
            let port = net::local(&s).port();
            Ok((s, Ip::v4([127, 0, 0, last], port)))
        };
        Ok(Connections {
            listeners: (1..=ADDRESSES).map(listener).collect::<Result<_>>()?,
            all: Vec::new(),
        })
    }

    fn grow_to(&mut self, n: usize) -> Result<()> {
        try_need_files(2 * n as u64 + 100)
            .or_wrong("no room for so many descriptors (setrlimit; is it root's?)")?;
        watchdog(120);
        while self.all.len() < n {
            let (listener, address) = &self.listeners[self.all.len() % self.listeners.len()];
            let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
            // SAFETY: takes no pointer.
            let client = unsafe { libc::socket(libc::AF_INET, kind, 0) };
            let client = Fd::new(sys(client).or_wrong("socket")?);
            net::try_connect(&client, address).or_wrong("connect")?;
            let server = net::try_accept(listener).or_wrong("accept")?;
            for s in [&client, &server] {
                net::try_set(s, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1).or_wrong("TCP_NODELAY")?;
            }
            self.all.push(Connection { client, server });
        }
        Ok(())
    }

    fn servers(&self) -> Vec<c_int> {
        self.all.iter().map(|c| c.server.raw()).collect()
    }

    /// Those that are active, spread evenly.
    fn active(&self) -> impl Iterator<Item = &Connection> {
        self.all
            .iter()
            .step_by(self.all.len() / ACTIVE)
            .take(ACTIVE)
    }

    /// Makes connections that were idle so far like those that were not.
    fn wake(&self) -> Result<()> {
        let data = [0; PIECE];
        let mut buffer = [0; PIECE];
        for c in self.active() {
            for _ in 0..BULK / PIECE {
                for (from, to) in [(&c.client, &c.server), (&c.server, &c.client)] {
                    send(from.raw(), &data)?;
                    let mut got = 0;
                    while got < PIECE {
                        got += receive_soon(to.raw(), &mut buffer)?.len();
                    }
                }
            }
        }
        Ok(())
    }

    fn send_requests(&self) -> Result<()> {
        for c in self.active() {
            send(c.client.raw(), http::REQUEST)?;
        }
        Ok(())
    }

    fn read_answers(&self) -> Result<()> {
        let mut buffer = [0; 4096];
        for c in self.active() {
            match receive_soon(c.client.raw(), &mut buffer)? {
                answer if answer == http::ANSWER => {}
                answer => return wrong(format!("an answer of {} bytes", answer.len())),
            }
        }
        Ok(())
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        // Without leaving anything behind.
        for c in self.all.drain(..) {
            net::reset_on_close(&c.client);
        }
    }
}

fn send(fd: c_int, data: &[u8]) -> Result<()> {
    // SAFETY: a buffer of that size.
    let n = unsafe { libc::send(fd, data.as_ptr().cast(), data.len(), libc::MSG_NOSIGNAL) };
    match n as usize {
        n if n == data.len() => Ok(()),
        _ => wrong(format!("send: {}", Errno::last())),
    }
}

/// What there is; None if there is nothing.
#[inline]
fn receive(fd: c_int, buffer: &mut [u8]) -> Result<Option<&[u8]>> {
    let (start, len) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: a buffer of that size.
    let n = sys(unsafe { libc::recv(fd, start, len, libc::MSG_DONTWAIT) } as c_int);
    match n {
        Ok(0) => wrong("a connection was closed"),
        Ok(n) => Ok(Some(&buffer[..n as usize])),
        Err(Errno(libc::EAGAIN)) => Ok(None),
        Err(e) => wrong(format!("recv: {e}")),
    }
}

/// What was sent and is on its way, if the softirq has been put off.
fn receive_soon(fd: c_int, buffer: &mut [u8]) -> Result<&[u8]> {
    const TIMES: usize = 1000;
    let mut got = 0;
    for _ in 0..TIMES {
        match receive(fd, buffer)? {
            Some(data) => {
                got = data.len();
                break;
            }
            None => std::thread::yield_now(),
        }
    }
    match got {
        0 => wrong("nothing has come"),
        n => Ok(&buffer[..n]),
    }
}

/// The server's part once it knows which connection. Whether there was a request.
#[inline]
fn serve(fd: c_int, buffer: &mut [u8]) -> Result<bool> {
    let Some(request) = receive(fd, buffer)? else {
        return Ok(false);
    };
    answer(fd, request)?;
    Ok(true)
}

#[inline]
fn answer(fd: c_int, request: &[u8]) -> Result<()> {
    match http::parse(request) {
        Some(b"/index.html") => send(fd, http::ANSWER),
        _ => wrong("a request that makes no sense"),
    }
}

fn bare_round(connections: &Connections) -> Result<()> {
    let mut buffer = [0; 4096];
    connections.send_requests()?;
    for c in connections.active() {
        let fd = c.server.raw();
        let request = receive_soon(fd, &mut buffer)?;
        answer(fd, request)?;
    }
    connections.read_answers()
}

/// Returns the number of events that there was no request for.
fn round<I: Interface>(connections: &Connections, interface: &mut I) -> Result<usize> {
    let mut buffer = [0; 4096];
    connections.send_requests()?;
    let mut answered = 0;
    let mut spurious = 0;
    while answered < ACTIVE {
        let n = interface
            .wait(ACTIVE - answered)
            .or_wrong("the wait failed (EINTR: an event did not come)")?;
        for i in 0..n {
            match serve(interface.fd(i), &mut buffer)? {
                true => answered += 1,
                false => spurious += 1,
            }
        }
    }
    connections.read_answers()?;
    Ok(spurious)
}

/// The cost of so many rounds for each request, after some that are not counted.
fn measure(rounds: usize, mut round: impl FnMut() -> Result<()>) -> Result<f64> {
    watchdog(120);
    for _ in 0..WARM_UP {
        round()?;
    }
    settle();
    let mut costs = vec![1.0; rounds];
    for cost in &mut costs {
        let begin = now();
        round()?;
        *cost = (now() - begin) as f64 / ACTIVE as f64;
    }
    Ok(trimmed_mean(costs, OUTLIERS))
}

struct Case<'a> {
    options: &'a Options,
    connections: &'a Connections,
    bare: Option<f64>,
}

impl Case<'_> {
    fn idle(&self) -> usize {
        self.connections.all.len() - ACTIVE
    }

    fn rounds(&self, linear: bool) -> usize {
        let rounds = match self.options.quick {
            true => QUICK_ROUNDS,
            false => ROUNDS,
        };
        match linear {
            true => rounds.min((LOOKS / self.connections.all.len()).max(LEAST_ROUNDS)),
            false => rounds,
        }
    }

    fn print(&self, interface: &str, value: Result<f64>, rounds: usize, notes: Notes) {
        let mut raw = Vec::from(notes);
        raw.push(("rounds", Value::Int(rounds as u64)));
        if let (Ok(value), Some(bare)) = (&value, self.bare) {
            raw.push(("delivery", Value::Float(value - bare)));
        }
        self.options.output.figure(&Figure {
            name: "deadconn",
            interface,
            params: &[
                ("idle", Value::Int(self.idle() as u64)),
                ("active", Value::Int(ACTIVE as u64)),
            ],
            unit: Unit::Per("request"),
            value,
            raw: &raw,
        });
    }

    fn bare(&mut self) {
        eprintln!("deadconn: {} idle: {BARE}", self.idle());
        let rounds = self.rounds(false);
        let value = measure(rounds, || bare_round(self.connections));
        self.print(BARE, value.clone(), rounds, &[]);
        self.bare = value.ok();
    }
}

fn interface<I: Interface>(case: &Case) {
    eprintln!("deadconn: {} idle: {}", case.idle(), I::NAME);
    let rounds = case.rounds(I::LINEAR);
    let mut spurious = 0;
    let value = I::new(&case.connections.servers())
        .or_missing("it cannot watch the connections")
        .and_then(|mut interface| {
            measure(rounds, || {
                spurious += round(case.connections, &mut interface)?;
                Ok(())
            })
        });
    let mut notes = Vec::from(I::NOTES);
    notes.push(("spurious", Value::Int(spurious as u64)));
    case.print(I::NAME, value, rounds, &notes);
}

pub fn run(options: &Options) -> Result<()> {
    let idle: &[usize] = if options.quick { &QUICK_IDLE } else { &IDLE };
    let mut connections = Connections::new()?;
    for &n in idle {
        connections.grow_to(n + ACTIVE)?;
        connections.wake()?;
        hooks_off();
        let mut case = Case {
            options,
            connections: &connections,
            bare: None,
        };
        case.bare();
        each_interface!(interface(&case));
    }
    Ok(())
}
