// SPDX-License-Identifier: GPL-2.0
//! The kinds of descriptors that programs are made of. Everything is non-blocking and stays on
//! this machine.

use std::os::raw::c_int;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::abi::{Errno, Sys, IN};
use crate::net::{local, socket, try_accept, try_bind, try_connect, try_set, Addr, Ip};
use crate::sys::{pipe_flags, poll_for, sys, try_open, Fd, TempDir};

/// A kind of descriptors, which come in pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Read end, write end.
    Pipe,
    /// The same, with a name.
    Fifo,
    /// A FIFO opened for both, and for writing.
    Duplex,
    Tcp4,
    Tcp6,
    /// TCP with buffers that are soon full.
    Small,
    /// A listening TCP socket, and one that is not connected yet.
    Listener,
    Udp4,
    Udp6,
    /// UNIX sockets that are connected to each other.
    Stream,
    Dgram,
    Seqpacket,
    /// A UNIX datagram socket with a name, and one that is connected to it.
    Named,
    /// A listening UNIX socket, and one that is not connected yet.
    UnixListener,
    /// Two that ask the kernel for the network interfaces.
    Netlink,
    /// Two raw IP sockets of a protocol that nobody else speaks.
    Raw,
    /// A packet socket on the loopback interface, and a UDP socket whose datagrams pass it.
    Packet,
}

impl Kind {
    pub const ALL: [Kind; 17] = [
        Kind::Pipe,
        Kind::Fifo,
        Kind::Duplex,
        Kind::Tcp4,
        Kind::Tcp6,
        Kind::Small,
        Kind::Listener,
        Kind::Udp4,
        Kind::Udp6,
        Kind::Stream,
        Kind::Dgram,
        Kind::Seqpacket,
        Kind::Named,
        Kind::UnixListener,
        Kind::Netlink,
        Kind::Raw,
        Kind::Packet,
    ];
    /// Those that [`Shape::Apart`](super::program::Shape::Apart) can be played with: the same
    /// happens each time.
    pub const LOCAL: [Kind; 8] = [
        Kind::Pipe,
        Kind::Fifo,
        Kind::Duplex,
        Kind::Stream,
        Kind::Dgram,
        Kind::Seqpacket,
        Kind::Named,
        Kind::UnixListener,
    ];
    /// Those that carry bytes from the second end to the first one, and lose none.
    pub const RELIABLE: [Kind; 9] = [
        Kind::Pipe,
        Kind::Fifo,
        Kind::Duplex,
        Kind::Tcp4,
        Kind::Tcp6,
        Kind::Small,
        Kind::Stream,
        Kind::Seqpacket,
        Kind::Named,
    ];

    /// The kind at a place of [`Self::ALL`], from which it goes round.
    pub fn of(place: u32) -> Kind {
        Self::ALL[place as usize % Self::ALL.len()]
    }

    /// Its place there.
    pub fn place(self) -> u32 {
        self as u32
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Pipe => "pipe",
            Kind::Fifo => "fifo",
            Kind::Duplex => "duplex",
            Kind::Tcp4 => "tcp4",
            Kind::Tcp6 => "tcp6",
            Kind::Small => "small",
            Kind::Listener => "listener",
            Kind::Udp4 => "udp4",
            Kind::Udp6 => "udp6",
            Kind::Stream => "stream",
            Kind::Dgram => "dgram",
            Kind::Seqpacket => "seqpacket",
            Kind::Named => "named",
            Kind::UnixListener => "unix-listener",
            Kind::Netlink => "netlink",
            Kind::Raw => "raw",
            Kind::Packet => "packet",
        }
    }

    /// Whether all that a system call does to it is done when the call returns.
    pub fn is_local(self) -> bool {
        Self::LOCAL.contains(&self)
    }

    pub fn is_socket(self) -> bool {
        !matches!(self, Kind::Pipe | Kind::Fifo | Kind::Duplex)
    }

    /// Whether it keeps the borders between messages.
    pub fn has_messages(self) -> bool {
        matches!(self, Kind::Dgram | Kind::Seqpacket | Kind::Named)
    }

    /// Makes a pair. Fails where the kernel or the rights for it are not there.
    pub fn open(self) -> Sys<(Fd, Fd)> {
        match self {
            Kind::Pipe => pipe_flags(libc::O_NONBLOCK),
            Kind::Fifo => fifo(libc::O_RDONLY),
            Kind::Duplex => fifo(libc::O_RDWR),
            Kind::Tcp4 => tcp(Ip::V4, false),
            Kind::Tcp6 => tcp(Ip::V6, false),
            Kind::Small => tcp(Ip::V4, true),
            Kind::Listener => {
                let (s, _) = tcp_listener(Ip::V4, false)?;
                Ok((s, socket(libc::AF_INET, libc::SOCK_STREAM, 0)?))
            }
            Kind::Udp4 => udp(Ip::V4),
            Kind::Udp6 => udp(Ip::V6),
            Kind::Stream => unix_pair(libc::SOCK_STREAM),
            Kind::Dgram => unix_pair(libc::SOCK_DGRAM),
            Kind::Seqpacket => unix_pair(libc::SOCK_SEQPACKET),
            Kind::Named => {
                let (receiver, address) = unix_bound(libc::SOCK_DGRAM)?;
                let sender = socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)?;
                try_connect(&sender, &address)?;
                Ok((receiver, sender))
            }
            Kind::UnixListener => {
                let (s, _) = unix_bound(libc::SOCK_STREAM)?;
                listen(&s)?;
                Ok((s, socket(libc::AF_UNIX, libc::SOCK_STREAM, 0)?))
            }
            Kind::Netlink => {
                let one = || socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE);
                Ok((one()?, one()?))
            }
            Kind::Raw => Ok((raw()?, raw()?)),
            Kind::Packet => packet(),
        }
    }
}

/// A request for the list of network interfaces: what is written to a netlink socket.
pub const NETLINK_REQUEST: [u8; 20] = {
    const RTM_GETLINK: u8 = 18;
    const REQUEST_DUMP: u16 = 0x301;
    let flags = REQUEST_DUMP.to_ne_bytes();
    let length = 20u32.to_ne_bytes();
    let mut m = [0; 20];
    m[0] = length[0];
    m[3] = length[3];
    m[4] = RTM_GETLINK;
    m[6] = flags[0];
    m[7] = flags[1];
    m
};

fn fifo(mode: c_int) -> Sys<(Fd, Fd)> {
    let dir = TempDir::new();
    let path = dir.fifo("f");
    let first = try_open(&path, mode | libc::O_NONBLOCK)?;
    let second = try_open(&path, libc::O_WRONLY | libc::O_NONBLOCK)?;
    Ok((first, second))
}

fn listen(s: &Fd) -> Sys<()> {
    // SAFETY: takes no pointer.
    sys(unsafe { libc::listen(s.raw(), 4) }).map(drop)
}

fn tcp_listener(ip: Ip, small: bool) -> Sys<(Fd, Addr)> {
    let s = socket(ip.family(), libc::SOCK_STREAM, 0)?;
    if small {
        try_set(&s, libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)?;
    }
    try_bind(&s, &ip.loopback(0))?;
    listen(&s)?;
    let address = local(&s);
    Ok((s, address))
}

fn tcp(ip: Ip, small: bool) -> Sys<(Fd, Fd)> {
    let (l, address) = tcp_listener(ip, small)?;
    let c = socket(ip.family(), libc::SOCK_STREAM, 0)?;
    if small {
        try_set(&c, libc::SOL_SOCKET, libc::SO_SNDBUF, 16384)?;
    }
    match try_connect(&c, &address) {
        Ok(_) | Err(Errno(libc::EINPROGRESS)) => {}
        Err(e) => return Err(e),
    }
    poll_for(l.raw(), IN, 1000);
    let a = try_accept(&l)?;
    for s in [&a, &c] {
        try_set(s, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    }
    Ok((a, c))
}

fn udp(ip: Ip) -> Sys<(Fd, Fd)> {
    let one = socket(ip.family(), libc::SOCK_DGRAM, 0)?;
    let two = socket(ip.family(), libc::SOCK_DGRAM, 0)?;
    try_bind(&one, &ip.loopback(0))?;
    try_bind(&two, &ip.loopback(0))?;
    try_connect(&one, &local(&two))?;
    try_connect(&two, &local(&one))?;
    Ok((one, two))
}

fn unix_pair(kind: c_int) -> Sys<(Fd, Fd)> {
    let mut fds = [-1; 2];
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: two descriptors are stored in the array.
    sys(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    Ok((Fd::new(fds[0]), Fd::new(fds[1])))
}

fn unix_bound(kind: c_int) -> Sys<(Fd, Addr)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("fuzz-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let s = socket(libc::AF_UNIX, kind, 0)?;
    let address = Addr::unix(&name);
    try_bind(&s, &address)?;
    Ok((s, address))
}

fn raw() -> Sys<Fd> {
    const EXPERIMENT: c_int = 253;
    let s = socket(libc::AF_INET, libc::SOCK_RAW, EXPERIMENT)?;
    try_connect(&s, &Ip::V4.loopback(0))?;
    Ok(s)
}

fn packet() -> Sys<(Fd, Fd)> {
    let every = (libc::ETH_P_ALL as u16).to_be();
    let s = socket(libc::AF_PACKET, libc::SOCK_DGRAM, c_int::from(every))?;
    // SAFETY: plain bytes.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = every;
    // SAFETY: a C string.
    address.sll_ifindex = unsafe { libc::if_nametoindex(c"lo".as_ptr()) } as c_int;
    try_bind(&s, &Addr::of(address))?;
    let (one, _) = udp(Ip::V4)?;
    Ok((s, one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_names_are_unique() {
        for (i, kind) in Kind::ALL.iter().enumerate() {
            assert_eq!((kind.place() as usize, Kind::of(i as u32)), (i, *kind));
            let same = Kind::ALL.iter().filter(|k| k.name() == kind.name());
            assert_eq!(same.count(), 1, "{kind:?}");
        }
    }
}
