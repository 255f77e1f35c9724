// SPDX-License-Identifier: GPL-2.0
//! Sockets of every family that the tests use, on the loopback interface only.

use std::mem::{size_of, zeroed};
use std::os::raw::{c_int, c_void};

use crate::abi::{Errno, Sys};
use crate::check::ok;
use crate::runner::skip;
use crate::sys::{self, poll_until, sys, Fd};

/// Sets the loopback interface up, where that is not done and may be done.
pub fn loopback_up() {
    let Ok(s) = socket(libc::AF_INET, libc::SOCK_DGRAM, 0) else {
        return;
    };
    let _ = loopback_flag(&s, true);
}

/// Sets the loopback interface of this network namespace up or down.
pub fn loopback_flag(s: &Fd, up: bool) -> Sys<()> {
    // SAFETY: a zeroed ifreq is a valid one, and both calls take one.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        sys(libc::ioctl(s.raw(), libc::SIOCGIFFLAGS as _, &mut request))?;
        let flag = libc::IFF_UP as libc::c_short;
        let old = request.ifr_ifru.ifru_flags;
        let new = if up { old | flag } else { old & !flag };
        if new != old {
            request.ifr_ifru.ifru_flags = new;
            sys(libc::ioctl(s.raw(), libc::SIOCSIFFLAGS as _, &request))?;
        }
    }
    Ok(())
}

/// Moves this process to a network namespace of its own, with a loopback interface that is up.
pub fn own_network() {
    // SAFETY: takes no pointer.
    if let Err(e) = sys(unsafe { libc::unshare(libc::CLONE_NEWNET) }) {
        skip(&format!("no network namespace of one's own: {e}"));
    }
    let s = ok("socket", socket(libc::AF_INET, libc::SOCK_DGRAM, 0));
    ok("loopback up", loopback_flag(&s, true));
}

/// The same for a test that only wants no strange packets, and can do without.
pub fn quiet_network() {
    // SAFETY: takes no pointer.
    if sys(unsafe { libc::unshare(libc::CLONE_NEWNET) }).is_ok() {
        loopback_up();
    }
}

/// A non-blocking socket.
pub fn socket(family: c_int, kind: c_int, protocol: c_int) -> Sys<Fd> {
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: takes no pointer.
    sys(unsafe { libc::socket(family, kind, protocol) }).map(Fd::new)
}

/// The same, skipping the test when the kernel or the rights for it are not there.
#[track_caller]
pub fn need_socket(family: c_int, kind: c_int, protocol: c_int) -> Fd {
    match socket(family, kind, protocol) {
        Ok(fd) => fd,
        Err(Errno(libc::EAFNOSUPPORT)) => skip("this kernel has no such family of sockets"),
        Err(Errno(libc::EPROTONOSUPPORT)) => skip("this kernel has no such protocol"),
        Err(Errno(libc::EPERM)) => skip("no right to open such a socket"),
        Err(e) => panic!("socket: {e}"),
    }
}

/// An address of any family.
#[derive(Clone, Copy)]
pub struct Addr {
    storage: libc::sockaddr_storage,
    len: libc::socklen_t,
}

impl Addr {
    /// From the family's own structure.
    pub fn of<T>(inner: T) -> Self {
        assert!(size_of::<T>() <= size_of::<libc::sockaddr_storage>());
        // SAFETY: both are plain bytes, and the larger one holds the smaller one.
        unsafe {
            let mut storage: libc::sockaddr_storage = zeroed();
            (&raw mut storage).cast::<T>().write_unaligned(inner);
            Addr {
                storage,
                len: size_of::<T>() as libc::socklen_t,
            }
        }
    }

    /// A name of the abstract UNIX namespace, unlike any other in use.
    pub fn unix(name: &str) -> Self {
        let name = format!("evpoll-{}-{name}", std::process::id());
        // SAFETY: plain bytes.
        let mut a: libc::sockaddr_un = unsafe { zeroed() };
        a.sun_family = libc::AF_UNIX as libc::sa_family_t;
        for (to, from) in a.sun_path[1..].iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        let mut addr = Self::of(a);
        let head = size_of::<libc::sa_family_t>() + 1;
        addr.len = (head + name.len()) as libc::socklen_t;
        addr
    }

    /// The port of an IPv4 address.
    pub fn port(&self) -> u16 {
        assert_eq!(c_int::from(self.storage.ss_family), libc::AF_INET);
        // SAFETY: plain bytes, of that family.
        let a = unsafe {
            (&raw const self.storage)
                .cast::<libc::sockaddr_in>()
                .read_unaligned()
        };
        u16::from_be(a.sin_port)
    }

    fn ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    V4,
    V6,
}

impl Ip {
    pub fn family(self) -> c_int {
        match self {
            Ip::V4 => libc::AF_INET,
            Ip::V6 => libc::AF_INET6,
        }
    }

    /// An IPv4 address.
    pub fn v4(octets: [u8; 4], port: u16) -> Addr {
        // SAFETY: plain bytes.
        let mut a: libc::sockaddr_in = unsafe { zeroed() };
        a.sin_family = libc::AF_INET as libc::sa_family_t;
        a.sin_port = port.to_be();
        a.sin_addr.s_addr = u32::from_ne_bytes(octets);
        Addr::of(a)
    }

    /// The loopback address.
    pub fn loopback(self, port: u16) -> Addr {
        // SAFETY: plain bytes.
        unsafe {
            match self {
                Ip::V4 => Ip::v4([127, 0, 0, 1], port),
                Ip::V6 => {
                    let mut a: libc::sockaddr_in6 = zeroed();
                    a.sin6_family = libc::AF_INET6 as libc::sa_family_t;
                    a.sin6_port = port.to_be();
                    a.sin6_addr.s6_addr = std::net::Ipv6Addr::LOCALHOST.octets();
                    Addr::of(a)
                }
            }
        }
    }

    /// A new TCP socket, unbound.
    #[track_caller]
    pub fn tcp(self) -> Fd {
        need_socket(self.family(), libc::SOCK_STREAM, 0)
    }

    /// A new UDP socket, unbound.
    #[track_caller]
    pub fn udp(self) -> Fd {
        need_socket(self.family(), libc::SOCK_DGRAM, 0)
    }
}

pub fn try_bind(s: &Fd, a: &Addr) -> Sys<i32> {
    // SAFETY: an address and its length.
    sys(unsafe { libc::bind(s.raw(), a.ptr(), a.len) })
}

#[track_caller]
pub fn bind(s: &Fd, a: &Addr) {
    match try_bind(s, a) {
        Ok(_) => {}
        Err(Errno(libc::EADDRNOTAVAIL)) => skip("the loopback interface has no such address"),
        Err(e) => panic!("bind: {e}"),
    }
}

#[track_caller]
pub fn listen(s: &Fd, backlog: c_int) {
    // SAFETY: takes no pointer.
    ok("listen", sys(unsafe { libc::listen(s.raw(), backlog) }));
}

/// The raw call.
pub fn try_connect(s: &Fd, a: &Addr) -> Sys<i32> {
    // SAFETY: an address and its length.
    sys(unsafe { libc::connect(s.raw(), a.ptr(), a.len) })
}

/// Connects, or begins to.
#[track_caller]
pub fn connect(s: &Fd, a: &Addr) {
    match try_connect(s, a) {
        Ok(_) | Err(Errno(libc::EINPROGRESS)) => {}
        Err(e) => panic!("connect: {e}"),
    }
}

pub fn try_accept(s: &Fd) -> Sys<Fd> {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no address is asked for.
    sys(unsafe { libc::accept4(s.raw(), std::ptr::null_mut(), std::ptr::null_mut(), flags) })
        .map(Fd::new)
}

#[track_caller]
pub fn accept(s: &Fd) -> Fd {
    ok("accept", try_accept(s))
}

/// The address that a socket is bound to.
#[track_caller]
pub fn local(s: &Fd) -> Addr {
    // SAFETY: room for any address, and its length.
    unsafe {
        let mut a = Addr {
            storage: zeroed(),
            len: size_of::<libc::sockaddr_storage>() as libc::socklen_t,
        };
        let p = (&raw mut a.storage).cast();
        ok(
            "getsockname",
            sys(libc::getsockname(s.raw(), p, &mut a.len)),
        );
        a
    }
}

pub fn try_set<T>(s: &Fd, level: c_int, name: c_int, value: T) -> Sys<i32> {
    let p: *const c_void = (&raw const value).cast();
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: a value and its length.
    sys(unsafe { libc::setsockopt(s.raw(), level, name, p, len) })
}

#[track_caller]
pub fn set<T>(s: &Fd, level: c_int, name: c_int, value: T) {
    ok("setsockopt", try_set(s, level, name, value));
}

pub fn try_get<T: Copy + Default>(s: &Fd, level: c_int, name: c_int) -> Sys<T> {
    let mut value = T::default();
    let mut len = size_of::<T>() as libc::socklen_t;
    let p: *mut c_void = (&raw mut value).cast();
    // SAFETY: room for a value of plain numbers, and its length.
    sys(unsafe { libc::getsockopt(s.raw(), level, name, p, &mut len) })?;
    Ok(value)
}

/// The pending error of a socket, which this clears.
#[track_caller]
pub fn take_error(s: &Fd) -> Errno {
    Errno(ok("SO_ERROR", try_get(s, libc::SOL_SOCKET, libc::SO_ERROR)))
}

/// A listening TCP socket on a free port, and its address.
#[track_caller]
pub fn listener(ip: Ip, backlog: c_int) -> (Fd, Addr) {
    let s = ip.tcp();
    bind(&s, &ip.loopback(0));
    listen(&s, backlog);
    let addr = local(&s);
    (s, addr)
}

/// The two ends of a TCP connection: (connected, accepted). Small pieces are sent at once.
#[track_caller]
pub fn tcp_pair(ip: Ip) -> (Fd, Fd) {
    let (l, addr) = listener(ip, 8);
    tcp_connection(&l, &addr, ip)
}

/// The same with so small buffers that they are soon full.
#[track_caller]
pub fn tcp_pair_small(ip: Ip) -> (Fd, Fd) {
    let (l, addr) = listener(ip, 8);
    set(&l, libc::SOL_SOCKET, libc::SO_RCVBUF, 8192);
    let c = ip.tcp();
    set(&c, libc::SOL_SOCKET, libc::SO_SNDBUF, 32768);
    finish(&l, &addr, c)
}

#[track_caller]
fn tcp_connection(l: &Fd, addr: &Addr, ip: Ip) -> (Fd, Fd) {
    finish(l, addr, ip.tcp())
}

#[track_caller]
fn finish(l: &Fd, addr: &Addr, c: Fd) -> (Fd, Fd) {
    connect(&c, addr);
    poll_until(l, crate::abi::IN);
    let a = accept(l);
    poll_until(&c, crate::abi::OUT);
    for s in [&c, &a] {
        set(s, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
    }
    (c, a)
}

#[track_caller]
pub fn socketpair(kind: c_int) -> (Fd, Fd) {
    let mut fds = [-1; 2];
    let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: two descriptors are stored in the array.
    let r = sys(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) });
    ok("socketpair", r);
    (Fd::new(fds[0]), Fd::new(fds[1]))
}

pub fn try_send(s: &Fd, data: &[u8], flags: c_int) -> Sys<usize> {
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: a buffer of that size.
    let n = unsafe { libc::send(s.raw(), data.as_ptr().cast(), data.len(), flags) };
    sys(n as c_int).map(|n| n as usize)
}

#[track_caller]
pub fn send(s: &Fd, data: &[u8]) {
    check_eq!("bytes sent", ok("send", try_send(s, data, 0)), data.len());
}

pub fn try_send_to(s: &Fd, data: &[u8], to: &Addr) -> Sys<usize> {
    send_to_flags(s, data, to, 0)
}

pub fn send_to_flags(s: &Fd, data: &[u8], to: &Addr, flags: c_int) -> Sys<usize> {
    let (p, len) = (data.as_ptr().cast(), data.len());
    let flags = flags | libc::MSG_NOSIGNAL;
    // SAFETY: a buffer of that size, an address and its length.
    let n = unsafe { libc::sendto(s.raw(), p, len, flags, to.ptr(), to.len) };
    sys(n as c_int).map(|n| n as usize)
}

#[track_caller]
pub fn send_to(s: &Fd, data: &[u8], to: &Addr) {
    let n = ok("sendto", try_send_to(s, data, to));
    check_eq!("bytes sent", n, data.len());
}

pub fn try_recv(s: &Fd, len: usize, flags: c_int) -> Sys<Vec<u8>> {
    let mut buf = vec![0u8; len];
    // SAFETY: a buffer of that size.
    let n = unsafe { libc::recv(s.raw(), buf.as_mut_ptr().cast(), len, flags) };
    let n = sys(n as c_int)? as usize;
    buf.truncate(n);
    Ok(buf)
}

/// Takes every datagram that is there; how many.
#[track_caller]
pub fn drain_messages(s: &Fd) -> usize {
    let mut n = 0;
    loop {
        match try_recv(s, 65536, 0) {
            Ok(_) => n += 1,
            Err(Errno(libc::EAGAIN)) => return n,
            Err(e) => panic!("recv: {e}"),
        }
    }
}

/// Sends datagrams of that size until EAGAIN; how many.
#[track_caller]
pub fn fill_messages(s: &Fd, size: usize) -> usize {
    let data = vec![b'x'; size];
    let mut n = 0;
    loop {
        match try_send(s, &data, 0) {
            Ok(_) => n += 1,
            Err(Errno(libc::EAGAIN)) => return n,
            Err(e) => panic!("send: {e}"),
        }
    }
}

/// Reads until so many bytes have come, waiting for them a bounded time.
#[track_caller]
pub fn drain_all(s: &Fd, mut n: usize) {
    while n > 0 {
        poll_until(s, crate::abi::IN);
        let got = sys::drain(s);
        check!(got > 0 && got <= n, "read {got} bytes where {n} were due");
        n -= got;
    }
}

#[track_caller]
pub fn shutdown(s: &Fd, how: c_int) {
    // SAFETY: takes no pointer.
    ok("shutdown", sys(unsafe { libc::shutdown(s.raw(), how) }));
}

/// Makes the next close of a TCP socket send a reset.
#[track_caller]
pub fn reset_on_close(s: &Fd) {
    let l = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set(s, libc::SOL_SOCKET, libc::SO_LINGER, l);
}

/// Sends a descriptor through a UNIX socket.
#[track_caller]
pub fn send_fd(s: &Fd, fd: c_int) {
    let mut byte = b'f';
    let mut space = [0u64; 8];
    // SAFETY: the message's parts live through the call, and the control buffer has room for
    // one descriptor.
    unsafe {
        let mut io = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let mut m: libc::msghdr = zeroed();
        m.msg_iov = &mut io;
        m.msg_iovlen = 1;
        m.msg_control = space.as_mut_ptr().cast();
        m.msg_controllen = libc::CMSG_SPACE(size_of::<c_int>() as u32) as _;
        let c = libc::CMSG_FIRSTHDR(&m);
        (*c).cmsg_level = libc::SOL_SOCKET;
        (*c).cmsg_type = libc::SCM_RIGHTS;
        (*c).cmsg_len = libc::CMSG_LEN(size_of::<c_int>() as u32) as _;
        libc::CMSG_DATA(c).cast::<c_int>().write_unaligned(fd);
        ok("sendmsg", sys(libc::sendmsg(s.raw(), &m, 0) as c_int));
    }
}

/// Receives a descriptor through a UNIX socket, waiting for it a bounded time.
#[track_caller]
pub fn recv_fd(s: &Fd) -> Fd {
    poll_until(s, crate::abi::IN);
    let mut byte = 0u8;
    let mut space = [0u64; 8];
    // SAFETY: as above.
    unsafe {
        let mut io = libc::iovec {
            iov_base: (&raw mut byte).cast(),
            iov_len: 1,
        };
        let mut m: libc::msghdr = zeroed();
        m.msg_iov = &mut io;
        m.msg_iovlen = 1;
        m.msg_control = space.as_mut_ptr().cast();
        m.msg_controllen = size_of_val(&space) as _;
        ok("recvmsg", sys(libc::recvmsg(s.raw(), &mut m, 0) as c_int));
        let c = libc::CMSG_FIRSTHDR(&m);
        check!(!c.is_null(), "the message carries no descriptor");
        Fd::new(libc::CMSG_DATA(c).cast::<c_int>().read_unaligned())
    }
}
