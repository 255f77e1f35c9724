// SPDX-License-Identifier: MIT OR Apache-2.0

//! TCP, for tasks.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::fs::sendfile;
use rustix::net::{
    accept_with, bind, getsockname, listen, recv, send, shutdown, socket_with, sockopt,
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType,
};

use crate::executor::Handle;
use crate::reactor::{Direction, Source};

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A socket that listens at this address. With `shared`, others may listen there as well, and the
/// kernel shares the connections out.
pub fn listen_at(address: SocketAddr, backlog: i32, shared: bool) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if shared {
        sockopt::set_socket_reuseport(&socket, true)?;
    }
    // Connections inherit it. Whatever is sent is complete, or marked as having more to come.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, backlog)?;
    Ok(socket)
}

/// The address that it listens at.
pub fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    Ok(getsockname(socket)?.try_into()?)
}

/// A listening socket.
pub struct Listener {
    source: Source,
}

impl Listener {
    /// Watches a socket of [`listen_at`].
    pub fn new(socket: OwnedFd, handle: &Handle) -> io::Result<Listener> {
        Ok(Listener {
            source: Source::new(socket, handle)?,
        })
    }

    /// Another connection.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        self.source
            .poll_io(cx, Direction::Read, |fd| accept_with(fd, FLAGS))
    }

    /// Another connection, if there is one.
    pub fn accept_now(&self) -> io::Result<OwnedFd> {
        Ok(accept_with(&self.source, FLAGS)?)
    }
}

/// A connection.
pub struct Stream {
    source: Source,
}

impl Stream {
    /// Watches what a listener has accepted.
    pub fn new(socket: OwnedFd, handle: &Handle) -> io::Result<Stream> {
        Ok(Stream {
            source: Source::new(socket, handle)?,
        })
    }

    /// Receives as many bytes as there are, and fit; none at the end.
    pub fn poll_receive(&self, cx: &mut Context<'_>, bytes: &mut [u8]) -> Poll<io::Result<usize>> {
        self.source.poll_io(cx, Direction::Read, |fd| {
            recv(fd, &mut *bytes, RecvFlags::empty()).map(|(count, _)| count)
        })
    }

    /// Sends as many bytes as there is room for. With `more`, they may wait for what comes next.
    pub async fn send(&self, bytes: &[u8], more: bool) -> io::Result<usize> {
        let flags = match more {
            true => SendFlags::NOSIGNAL | SendFlags::MORE,
            false => SendFlags::NOSIGNAL,
        };
        poll_fn(|cx| {
            self.source
                .poll_io(cx, Direction::Write, |fd| send(fd, bytes, flags))
        })
        .await
    }

    /// Sends as many bytes of a file as there is room for; none if it ends before `offset`.
    pub async fn send_file(
        &self,
        file: impl AsFd,
        offset: &mut u64,
        count: usize,
    ) -> io::Result<usize> {
        poll_fn(|cx| {
            self.source.poll_io(cx, Direction::Write, |fd| {
                sendfile(fd, &file, Some(&mut *offset), count)
            })
        })
        .await
    }

    /// When it is closed, what was not received is thrown away, and the client is told by a reset.
    pub fn reset_on_close(&self) {
        // Without, it is sent for as long as the kernel sees fit.
        let _ = sockopt::set_socket_linger(&self.source, Some(Duration::ZERO));
    }

    /// Sends nothing more.
    pub fn shut_down(&self) -> io::Result<()> {
        Ok(shutdown(&self.source, Shutdown::Write)?)
    }
}
