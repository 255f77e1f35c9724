// SPDX-License-Identifier: MIT OR Apache-2.0
//! A TCP server that sends back what it receives, and three clients in threads of their own.

use evpoll::{Interest, Queue};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;

const CLIENTS: usize = 3;

/// A connection, and what was received and not sent back yet.
struct Connection {
    stream: TcpStream,
    pending: Vec<u8>,
    ended: bool,
}

impl Connection {
    /// Reads and writes until neither goes on. Returns whether all is done.
    fn go_on(&mut self) -> io::Result<bool> {
        let mut bytes = [0; 16 * 1024];
        loop {
            // Until EAGAIN: there is no event for what is left.
            while !self.pending.is_empty() {
                match self.stream.write(&self.pending) {
                    Ok(count) => drop(self.pending.drain(..count)),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
            if self.ended {
                return Ok(true);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => self.ended = true,
                Ok(count) => self.pending.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut queue = Queue::new(1000)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    queue.add(&listener, Interest::READABLE)?;

    let address = listener.local_addr()?;
    let clients: Vec<_> = (1..=CLIENTS)
        .map(|number| thread::spawn(move || client(address, number)))
        .collect();

    // By the numbers of their descriptors, which are small.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut served = 0;
    while served < CLIENTS {
        let events = queue.wait(None)?;
        for event in &events {
            if event.fd() == listener.as_raw_fd() {
                // Several may have connected.
                while let Some(stream) = accept(&listener)? {
                    let both = Interest::READABLE | Interest::WRITABLE;
                    // What has arrived already is an event of the next wait.
                    events.registry().add(&stream, both)?;
                    let number = stream.as_raw_fd() as usize;
                    connections.resize_with(connections.len().max(number + 1), || None);
                    connections[number] = Some(Connection {
                        stream,
                        pending: Vec::new(),
                        ended: false,
                    });
                }
            } else if let Some(place) = connections.get_mut(event.fd() as usize) {
                let Some(connection) = place else { continue };
                if connection.go_on()? {
                    // Closes it, and so removes it from the queue.
                    *place = None;
                    served += 1;
                }
            }
        }
    }

    for client in clients {
        println!("{}", client.join().expect("a client")?);
    }
    Ok(())
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sends more than fits into the sockets' buffers, and receives it.
fn client(address: SocketAddr, number: usize) -> io::Result<String> {
    let sent: Vec<u8> = (0..number * 1_000_000).map(|i| (i % 251) as u8).collect();
    let mut stream = TcpStream::connect(address)?;
    let mut other = stream.try_clone()?;
    let expected = sent.clone();
    let receiver = thread::spawn(move || {
        let mut received = Vec::new();
        other.read_to_end(&mut received)?;
        Ok::<bool, io::Error>(received == expected)
    });
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    let same = receiver.join().expect("a receiver")?;
    Ok(format!(
        "client {number}: {}",
        if same { "the same" } else { "not the same" }
    ))
}
