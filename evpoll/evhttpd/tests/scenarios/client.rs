// SPDX-License-Identifier: MIT OR Apache-2.0

//! A client that does what it is told, right or wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long anything is waited for. A test that waits longer has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, and what was received and not looked at yet.
pub struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the field, which is there at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(known, _)| known == name);
        let first = found.next();
        assert!(found.next().is_none(), "{name} is there twice");
        first.map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).expect("connect");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client {
            stream,
            received: Vec::new(),
        }
    }

    /// The same connection.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a duplicate")
    }

    /// Sends, all of it.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("send");
    }

    /// Sends while others go on.
    pub fn send_in_a_thread(&self, bytes: Vec<u8>) -> JoinHandle<()> {
        let mut stream = self.stream();
        thread::spawn(move || stream.write_all(&bytes).expect("send"))
    }

    /// Asks for a file, and receives it.
    pub fn get(&mut self, target: &str) -> Response {
        self.get_with(target, "")
    }

    /// The same, with further fields.
    pub fn get_with(&mut self, target: &str, fields: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n"));
        self.response()
    }

    /// A response, with its body.
    pub fn response(&mut self) -> Response {
        let mut response = self.head();
        response.body = self.body(&response);
        response
    }

    /// A response, without its body.
    pub fn head(&mut self) -> Response {
        let end = loop {
            let found = self
                .received
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = found {
                break end;
            }
            let so_far = String::from_utf8_lossy(&self.received).into_owned();
            assert!(self.receive() > 0, "expected a response, got {so_far:?}");
        };
        let head: Vec<u8> = self.received.drain(..end + 4).collect();
        let head = String::from_utf8(head).expect("text");
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = first
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3));
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a field");
            (name.to_owned(), value.to_owned())
        };
        Response {
            status: status
                .and_then(|status| status.parse().ok())
                .unwrap_or_else(|| panic!("expected a status, got {first:?}")),
            fields: lines.map(field).collect(),
            body: Vec::new(),
        }
    }

    /// The body of the response with this head.
    pub fn body(&mut self, head: &Response) -> Vec<u8> {
        let length = match head.field("Content-Length") {
            Some(length) => length.parse().expect("a length"),
            None => 0,
        };
        while self.received.len() < length {
            let missing = length - self.received.len();
            assert!(self.receive() > 0, "{missing} bytes are missing");
        }
        self.received.drain(..length).collect()
    }

    /// All until the end, which may be one by force.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut bytes = [0; 65536];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("receive: {error}"),
            }
        }
        std::mem::take(&mut self.received)
    }

    /// The server ends the connection, and nothing more has come. So does the client.
    pub fn ends(&mut self) {
        let more = self.receive();
        let text = String::from_utf8_lossy(&self.received);
        assert!(
            more == 0 && self.received.is_empty(),
            "expected the end, got {text:?}"
        );
        // The server may have closed it for good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Whether nothing comes for so long.
    pub fn silent_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a timeout");
        let silent = match self.stream.peek(&mut [0]) {
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(_) => false,
        };
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        silent
    }

    /// Whether the server has ended the connection by force.
    pub fn is_reset(&mut self) -> bool {
        let mut bytes = [0; 65536];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    /// Ends the connection by force.
    pub fn reset(self) {
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // SAFETY: The option is read from a value of its type and size.
        let set = unsafe {
            libc::setsockopt(
                self.stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const at_once).cast(),
                size_of_val(&at_once) as libc::socklen_t,
            )
        };
        assert_eq!(set, 0, "SO_LINGER: {}", std::io::Error::last_os_error());
    }

    fn receive(&mut self) -> usize {
        let mut bytes = [0; 65536];
        let count = self.stream.read(&mut bytes).expect("receive");
        self.received.extend_from_slice(&bytes[..count]);
        count
    }
}
