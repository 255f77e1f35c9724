// SPDX-License-Identifier: GPL-2.0
//! The sockets between xtask and QEMU, and the threads that turn what comes out of them into
//! events. The threads end with their sockets.

use crate::qemu::{Port, Wiring};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::SyncSender;

/// What happens outside of the event loop.
#[derive(Debug)]
pub enum Event {
    Bytes(Stream, Vec<u8>),
    Closed(Stream),
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

impl Stream {
    /// Name and number of the port, as `qemu/init` knows it. The console is none.
    fn port(self) -> (&'static str, u32) {
        match self {
            Stream::Console => ("console", 0),
            Stream::Terminal => ("terminal", 0),
            Stream::Stdout => ("stdout", 2),
            Stream::Stderr => ("stderr", 3),
            Stream::Control => ("control", 4),
        }
    }
}

/// What the command reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Nothing,
    /// xtask's own stdin.
    Stdin,
    /// The keys of the terminal that xtask's stdin is, in raw mode.
    Keys,
}

/// xtask's ends, and QEMU's until it has inherited them.
pub struct Wires {
    console: UnixStream,
    control: UnixStream,
    streams: Vec<(Stream, UnixStream)>,
    input: UnixStream,
    theirs: Vec<OwnedFd>,
    wiring: Wiring,
}

impl Wires {
    pub fn new(terminal: bool) -> std::io::Result<Wires> {
        let mut theirs = Vec::new();
        let mut pair = || {
            let (ours, end) = UnixStream::pair()?;
            let number = end.as_raw_fd();
            theirs.push(OwnedFd::from(end));
            std::io::Result::Ok((ours, number))
        };
        let mut ports = Vec::new();
        let mut streams = Vec::new();
        let (console, console_end) = pair()?;
        let kinds: &[Stream] = if terminal {
            &[Stream::Terminal]
        } else {
            &[Stream::Stdout, Stream::Stderr]
        };
        let mut input = None;
        for stream in kinds {
            let (ours, socket) = pair()?;
            let (name, number) = stream.port();
            ports.push(Port {
                name,
                number,
                socket,
            });
            if *stream == Stream::Terminal {
                input = Some(ours.try_clone()?);
            }
            streams.push((*stream, ours));
        }
        let input = match input {
            Some(input) => input,
            None => {
                let (ours, socket) = pair()?;
                ports.push(Port {
                    name: "stdin",
                    number: 1,
                    socket,
                });
                ours
            }
        };
        let (control, socket) = pair()?;
        let (name, number) = Stream::Control.port();
        ports.push(Port {
            name,
            number,
            socket,
        });
        let wiring = Wiring::Sockets {
            console: console_end,
            ports,
        };
        Ok(Wires {
            console,
            control,
            streams,
            input,
            theirs,
            wiring,
        })
    }

    pub fn wiring(&self) -> Wiring {
        self.wiring.clone()
    }

    /// The ends that QEMU has to inherit.
    pub fn inherited(&self) -> Vec<RawFd> {
        self.theirs.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// QEMU has its ends. Starts the threads; returns the control port to write to, and how many
    /// streams will say [`Event::Closed`].
    pub fn start(
        self,
        input: Input,
        events: &SyncSender<Event>,
    ) -> std::io::Result<(UnixStream, usize)> {
        drop(self.theirs);
        let control = self.control.try_clone()?;
        let mut streams = self.streams;
        streams.push((Stream::Console, self.console));
        streams.push((Stream::Control, self.control));
        let count = streams.len();
        for (stream, socket) in streams {
            let events = events.clone();
            std::thread::spawn(move || receive(stream, socket, &events));
        }
        let events = events.clone();
        let socket = self.input;
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
        }
        Ok((control, count))
    }
}

fn receive(stream: Stream, mut socket: UnixStream, events: &SyncSender<Event>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match socket.read(&mut buffer) {
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
    let _ = events.send(Event::Closed(stream));
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
        let (pass, escape) = keys.take(&buffer[..count]);
        if escape || count == 0 {
            let _ = events.send(Event::Escape);
            return;
        }
        if socket.write_all(&pass).is_err() {
            return;
        }
    }
}

/// Holds the socket until the other side closes it.
fn park(mut socket: UnixStream) {
    let _ = std::io::copy(&mut socket, &mut std::io::sink());
}

/// Ctrl-A then x switches the machine off, as in QEMU; Ctrl-A twice is one Ctrl-A.
#[derive(Default)]
struct Keys {
    prefix: bool,
}

impl Keys {
    const PREFIX: u8 = 1;

    fn take(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut pass = Vec::new();
        for key in typed {
            match (self.prefix, *key) {
                (false, Keys::PREFIX) => self.prefix = true,
                (false, key) => pass.push(key),
                (true, b'x') => return (pass, true),
                (true, Keys::PREFIX) => {
                    pass.push(Keys::PREFIX);
                    self.prefix = false;
                }
                (true, key) => {
                    pass.extend([Keys::PREFIX, key]);
                    self.prefix = false;
                }
            }
        }
        (pass, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_escape_is_two_keys_even_in_two_reads() {
        let mut keys = Keys::default();
        assert_eq!(keys.take(b"ls\r\x01"), (b"ls\r".to_vec(), false));
        assert_eq!(keys.take(b"x"), (vec![], true));
    }

    #[test]
    fn everything_else_passes() {
        let mut keys = Keys::default();
        assert_eq!(
            keys.take(b"\x01\x01x\x01ax"),
            (b"\x01x\x01ax".to_vec(), false)
        );
    }

    #[test]
    fn each_stream_has_a_socket_that_qemu_inherits() {
        let wires = Wires::new(false).unwrap();
        let Wiring::Sockets { console, ports } = wires.wiring() else {
            panic!("no sockets")
        };
        let mut numbers: Vec<u32> = ports.iter().map(|port| port.number).collect();
        numbers.sort();
        assert_eq!(numbers, [1, 2, 3, 4]);
        let inherited = wires.inherited();
        assert!(inherited.contains(&console));
        assert!(ports.iter().all(|port| inherited.contains(&port.socket)));
    }
}
