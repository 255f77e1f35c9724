// SPDX-License-Identifier: GPL-2.0
//! The sockets and pipes between xtask and QEMU, and the threads that turn what comes out of them
//! into events. A thread ends with its socket or pipe.

use crate::qemu::{Port, Wiring};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// What happens outside of the event loop.
#[derive(Debug)]
pub enum Event {
    Bytes(Stream, Vec<u8>),
    /// One of the streams is at its end.
    Closed,
    Signal(i32),
    /// The person at the terminal wants the machine switched off.
    Escape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Console,
    Terminal,
    Stdout,
    Stderr,
    Control,
}

/// What the command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Nothing,
    /// xtask's own stdin.
    Stdin,
    /// The keys of the terminal that xtask's stdin is, in raw mode.
    Keys,
    /// What the sink writes, which gets the [`Reins`].
    Sink,
}

/// For a sink that steers the guest.
pub struct Reins {
    /// What is written here, the command reads.
    pub stdin: UnixStream,
    /// QEMU's monitor: it speaks QMP.
    pub monitor: UnixStream,
}

/// How the command is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// stdin, stdout and stderr.
    Pipes,
    Terminal,
    /// Not at all: its output comes in the end, as a part of the control stream.
    Held,
}

/// xtask's ends, and QEMU's until it has inherited them.
pub struct Wires {
    streams: Vec<(Stream, File)>,
    /// Where the guest listens, if it does.
    reply: Option<UnixStream>,
    input: Option<UnixStream>,
    monitor: Option<UnixStream>,
    theirs: Vec<OwnedFd>,
    wiring: Wiring,
}

/// xtask's ends, once the threads have theirs.
pub struct Ends {
    /// Where the guest listens, if it does.
    pub reply: Option<UnixStream>,
    /// How many streams will say [`Event::Closed`].
    pub open: usize,
    /// With [`Input::Sink`].
    pub reins: Option<Reins>,
}

impl Wires {
    pub fn new(kind: Kind, input: Input) -> std::io::Result<Wires> {
        match kind {
            Kind::Held => Wires::pipes(),
            _ => Wires::sockets(kind == Kind::Terminal, input == Input::Sink),
        }
    }

    fn pipes() -> std::io::Result<Wires> {
        let (console, console_end) = std::io::pipe()?;
        let (control, control_end) = std::io::pipe()?;
        Ok(Wires {
            wiring: Wiring::Line {
                console: console_end.as_raw_fd(),
                control: control_end.as_raw_fd(),
            },
            theirs: vec![console_end.into(), control_end.into()],
            streams: vec![
                (Stream::Console, file(console)),
                (Stream::Control, file(control)),
            ],
            reply: None,
            input: None,
            monitor: None,
        })
    }

    fn sockets(terminal: bool, steered: bool) -> std::io::Result<Wires> {
        let mut theirs = Vec::new();
        let mut pair = || {
            let (ours, end) = UnixStream::pair()?;
            let number = end.as_raw_fd();
            theirs.push(OwnedFd::from(end));
            std::io::Result::Ok((ours, number))
        };
        let (ours, console) = pair()?;
        let (reply, control) = pair()?;
        let (monitor, monitor_end) = match steered {
            true => pair().map(|(ours, end)| (Some(ours), Some(end)))?,
            false => (None, None),
        };
        let mut streams = vec![
            (Stream::Console, file(ours)),
            (Stream::Control, file(reply.try_clone()?)),
        ];
        let mut ports = vec![port("control", 4, control)];
        let (input, socket) = pair()?;
        if terminal {
            ports.push(port("terminal", 0, socket));
            streams.push((Stream::Terminal, file(input.try_clone()?)));
        } else {
            ports.push(port("stdin", 1, socket));
            for (stream, name, number) in
                [(Stream::Stdout, "stdout", 2), (Stream::Stderr, "stderr", 3)]
            {
                let (ours, socket) = pair()?;
                ports.push(port(name, number, socket));
                streams.push((stream, file(ours)));
            }
        }
        Ok(Wires {
            streams,
            reply: Some(reply),
            input: Some(input),
            monitor,
            theirs,
            wiring: Wiring::Ports {
                console,
                ports,
                monitor: monitor_end,
            },
        })
    }

    pub fn wiring(&self) -> Wiring {
        self.wiring.clone()
    }

    /// The ends that QEMU has to inherit.
    pub fn inherited(&self) -> Vec<RawFd> {
        self.theirs.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// QEMU has its ends. Starts the threads.
    pub fn start(self, input: Input, events: &SyncSender<Event>) -> std::io::Result<Ends> {
        drop(self.theirs);
        let open = self.streams.len();
        let mut reins = None;
        for (stream, from) in self.streams {
            let events = events.clone();
            std::thread::spawn(move || receive(stream, from, &events));
        }
        if let Some(socket) = self.input {
            let events = events.clone();
            match input {
                // Half closed: a socket closed altogether is dropped with what is still in it.
                Input::Nothing => {
                    socket.shutdown(Shutdown::Write)?;
                    std::thread::spawn(move || park(socket));
                }
                Input::Stdin => {
                    std::thread::spawn(move || copy_stdin(socket));
                }
                Input::Keys => {
                    std::thread::spawn(move || copy_keys(socket, &events));
                }
                Input::Sink => {
                    reins = self.monitor.map(|monitor| Reins {
                        stdin: socket,
                        monitor,
                    });
                }
            }
        }
        Ok(Ends {
            reply: self.reply,
            open,
            reins,
        })
    }
}

fn file(end: impl Into<OwnedFd>) -> File {
    File::from(end.into())
}

/// Names and numbers are those that `qemu/init` looks for.
fn port(name: &'static str, number: u32, socket: RawFd) -> Port {
    Port {
        name,
        number,
        socket,
    }
}

fn receive(stream: Stream, mut from: File, events: &SyncSender<Event>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if events
                    .send(Event::Bytes(stream, buffer[..count].to_vec()))
                    .is_err()
                {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(_) => break,
        }
    }
    // Nobody listening any more is as good.
    let _ = events.send(Event::Closed);
}

fn copy_stdin(mut socket: UnixStream) {
    let mut buffer = vec![0; 64 << 10];
    let mut stdin = std::io::stdin().lock();
    loop {
        match stdin.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                if socket.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            Err(_) => break,
        }
    }
    if socket.shutdown(Shutdown::Write).is_ok() {
        park(socket);
    }
}

fn copy_keys(mut socket: UnixStream, events: &SyncSender<Event>) {
    let mut keys = Keys::default();
    let mut buffer = [0; 1024];
    let mut stdin = std::io::stdin().lock();
    while let Ok(count) = stdin.read(&mut buffer) {
        let typed = &buffer[..count];
        if count == 0 || keys.escape(typed, Instant::now()) {
            let _ = events.send(Event::Escape);
            return;
        }
        if socket.write_all(typed).is_err() {
            return;
        }
    }
}

/// Holds the socket until the other side closes it.
fn park(mut socket: UnixStream) {
    let _ = std::io::copy(&mut socket, &mut std::io::sink());
}

/// Ctrl-] three times within a second switches the machine off. Every key is passed on.
#[derive(Default)]
struct Keys {
    /// How often in a row, and since when.
    escapes: u32,
    since: Option<Instant>,
}

impl Keys {
    const ESCAPE: u8 = 0x1d;
    const TIMES: u32 = 3;
    const WITHIN: Duration = Duration::from_secs(1);

    /// Whether these keys, typed at this time, complete the escape.
    fn escape(&mut self, typed: &[u8], now: Instant) -> bool {
        for key in typed {
            if *key != Keys::ESCAPE {
                self.escapes = 0;
                continue;
            }
            let late = |since| now.duration_since(since) > Keys::WITHIN;
            if self.escapes == 0 || self.since.is_none_or(late) {
                self.escapes = 0;
                self.since = Some(now);
            }
            self.escapes += 1;
            if self.escapes == Keys::TIMES {
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_is_one_key_three_times_even_in_two_reads() {
        let now = Instant::now();
        let mut keys = Keys::default();
        assert!(!keys.escape(b"ls\r\x1d\x1d", now));
        assert!(keys.escape(b"\x1d", now + Duration::from_millis(900)));
    }

    #[test]
    fn nothing_else_is_the_escape() {
        let now = Instant::now();
        let mut keys = Keys::default();
        assert!(!keys.escape(b"\x1d\x1da\x1d\x01x", now));
        // Too slow: the last of them may be the first of three.
        for second in 1..10 {
            assert!(!keys.escape(b"\x1d", now + Duration::from_secs(2 * second)));
        }
    }

    #[test]
    fn each_port_has_a_socket_that_qemu_inherits() {
        let wires = Wires::new(Kind::Pipes, Input::Sink).unwrap();
        let Wiring::Ports {
            console,
            ports,
            monitor,
        } = wires.wiring()
        else {
            panic!("no ports")
        };
        let mut numbers: Vec<u32> = ports.iter().map(|port| port.number).collect();
        numbers.sort();
        assert_eq!(numbers, [1, 2, 3, 4]);
        let inherited = wires.inherited();
        assert!(inherited.contains(&console));
        assert!(monitor.is_some_and(|socket| inherited.contains(&socket)));
        assert!(ports.iter().all(|port| inherited.contains(&port.socket)));
    }

    #[test]
    fn only_who_steers_has_a_monitor() {
        let wires = Wires::new(Kind::Pipes, Input::Nothing).unwrap();
        assert!(matches!(
            wires.wiring(),
            Wiring::Ports { monitor: None, .. }
        ));
        let (sender, _events) = std::sync::mpsc::sync_channel(16);
        let ends = Wires::new(Kind::Pipes, Input::Sink)
            .unwrap()
            .start(Input::Sink, &sender)
            .unwrap();
        assert!(ends.reins.is_some());
    }

    #[test]
    fn held_output_needs_but_a_line() {
        let wires = Wires::new(Kind::Held, Input::Nothing).unwrap();
        assert!(matches!(wires.wiring(), Wiring::Line { .. }));
        assert_eq!(wires.inherited().len(), 2);
    }
}
