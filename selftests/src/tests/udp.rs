// SPDX-License-Identifier: GPL-2.0
//! UDP: datagrams, errors that come back, and the room to send.

use crate::abi::*;
use crate::check::{fails, ok};
use crate::law::law;
use crate::net::*;
use crate::queue::*;
use crate::runner::skip;
use crate::sys::*;

tests!("udp":
    transmit_time_stamp,
    error_before_add,
    peek_is_no_read,
    multicast,
    each_its_own,
);

variants!(PER_IP, "udp", "_v4" => Ip::V4, "_v6" => Ip::V6;
    data,
    data_before_add,
    port_unreachable,
    sent,
    own_shutdown_read,
    own_shutdown_both,
    one_of_two_gets_it,
);

/// (bound, connected to it)
fn pair(ip: Ip) -> (Fd, Fd) {
    let a = ip.udp();
    bind(&a, &ip.loopback(0));
    let b = ip.udp();
    connect(&b, &local(&a));
    (a, b)
}

fn data(ip: Ip) {
    law(|l| {
        let (a, b) = pair(ip);
        let w = l.watch(&a, IN);
        l.quiet("added");
        send(&b, b"first");
        l.step("a datagram", &[(w, IN)]);
        send(&b, b"second");
        l.step("another one while the first is unread", &[(w, IN)]);
        check_eq!("datagrams", drain_messages(&a), 2);
        l.quiet("read until EAGAIN");
        send(&b, b"");
        l.step("an empty datagram", &[(w, IN)]);
    });
}

fn data_before_add(ip: Ip) {
    law(|l| {
        let (a, b) = pair(ip);
        send(&b, b"early");
        poll_until(&a, IN);
        let w = l.watch(&a, IN);
        l.step("added with a datagram in the queue", &[(w, IN)]);
    });
}

/// A connected socket whose peer's port is closed.
fn to_dead_port(ip: Ip) -> Fd {
    let (a, b) = pair(ip);
    a.close();
    b
}

/// The ICMP error comes back: ERR without being asked for.
fn port_unreachable(ip: Ip) {
    law(|l| {
        let b = to_dead_port(ip);
        let w = l.watch(&b, IN);
        l.quiet("added");
        send(&b, b"anybody there?");
        l.step("port unreachable", &[(w, ERR)]);
        check_eq!("the error", take_error(&b), Errno(libc::ECONNREFUSED));
        l.quiet("the error was taken");
        send(&b, b"and now?");
        l.step("port unreachable again", &[(w, ERR)]);
    });
}

fn error_before_add() {
    law(|l| {
        let b = to_dead_port(Ip::V4);
        send(&b, b"anybody there?");
        poll_until(&b, ERR);
        let w = l.watch(&b, 0);
        l.step("added with an error pending", &[(w, ERR)]);
    });
}

/// Each datagram that has left frees its room.
fn sent(ip: Ip) {
    law(|l| {
        let (_a, b) = pair(ip);
        let w = l.watch(&b, OUT);
        l.step("added", &[(w, OUT)]);
        send(&b, &[0; 1000]);
        l.step("sent", &[(w, OUT)]);
    });
}

fn own_shutdown_read(ip: Ip) {
    law(|l| {
        let (_a, b) = pair(ip);
        let w = l.watch(&b, IN | RDHUP);
        l.quiet("added");
        shutdown(&b, libc::SHUT_RD);
        l.step("shut down for reading", &[(w, IN | RDHUP)]);
    });
}

fn own_shutdown_both(ip: Ip) {
    law(|l| {
        let (_a, b) = pair(ip);
        let w = l.watch(&b, IN | RDHUP);
        l.quiet("added");
        shutdown(&b, libc::SHUT_RDWR);
        l.step("shut down both ways", &[(w, IN | HUP | RDHUP)]);
    });
}

/// A datagram to many goes to each of the sockets that share the port, and is an event of each.
fn multicast() {
    law(|l| {
        let (one, two) = (Ip::V4.udp(), Ip::V4.udp());
        for s in [&one, &two] {
            set(s, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1);
        }
        let group = std::net::Ipv4Addr::new(239, 255, 0, 1);
        bind(&one, &any_v4(0));
        bind(&two, &any_v4(port(&one)));
        for s in [&one, &two] {
            let join = [
                u32::from(group).to_be(),
                u32::from(std::net::Ipv4Addr::LOCALHOST).to_be(),
            ];
            if try_set(s, libc::IPPROTO_IP, libc::IP_ADD_MEMBERSHIP, join).is_err() {
                skip("no multicast on the loopback interface");
            }
        }
        let (w1, w2) = (l.watch(&one, IN), l.watch(&two, IN));
        l.quiet("added");
        let s = Ip::V4.udp();
        let from = u32::from(std::net::Ipv4Addr::LOCALHOST).to_be();
        set(&s, libc::IPPROTO_IP, libc::IP_MULTICAST_IF, from);
        send_to(&s, b"to all", &v4(group, port(&one)));
        l.step("a datagram to the group", &[(w1, IN), (w2, IN)]);
    });
}

/// One of two sockets that share a port (SO_REUSEPORT) gets the datagram, and only that one has
/// an event; the other stays quiet.
fn one_of_two_gets_it(ip: Ip) {
    let q = Queue::new(8);
    let (one, two) = (ip.udp(), ip.udp());
    for s in [&one, &two] {
        set(s, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
    }
    bind(&one, &ip.loopback(0));
    bind(&two, &local(&one));
    q.add(&one, IN);
    q.add(&two, IN);
    for _ in 0..10 {
        // Which one gets it depends on the sender's port.
        let s = ip.udp();
        send_to(&s, b"to one", &local(&one));
        let got = q.wait(limit(2000));
        check_eq!("events", got.len(), 1);
        let receiver = if drain_messages(&one) == 1 {
            &one
        } else {
            &two
        };
        drain_messages(&two);
        check_eq!("the event", got[0], entry(receiver, IN, IN));
    }
}

fn v4(ip: std::net::Ipv4Addr, port: u16) -> Addr {
    // SAFETY: plain bytes.
    let mut a: libc::sockaddr_in = unsafe { std::mem::zeroed() };
    a.sin_family = libc::AF_INET as libc::sa_family_t;
    a.sin_port = port.to_be();
    a.sin_addr.s_addr = u32::from(ip).to_be();
    Addr::of(a)
}

fn any_v4(port: u16) -> Addr {
    v4(std::net::Ipv4Addr::UNSPECIFIED, port)
}

fn port(s: &Fd) -> u16 {
    local(s).port()
}

/// The kernel tells when the datagram left: a message on the error queue.
fn transmit_time_stamp() {
    const SO_TIMESTAMPING: i32 = 37;
    const TX_SOFTWARE: u32 = 1 << 1;
    const SOFTWARE: u32 = 1 << 4;
    law(|l| {
        let (_a, b) = pair(Ip::V4);
        if try_set(
            &b,
            libc::SOL_SOCKET,
            SO_TIMESTAMPING,
            TX_SOFTWARE | SOFTWARE,
        )
        .is_err()
        {
            skip("no SO_TIMESTAMPING");
        }
        let w = l.watch(&b, 0);
        l.quiet("added");
        send(&b, b"when?");
        l.step("the time stamp", &[(w, ERR)]);
    });
}

/// Looking does not take it away, and is no event.
fn peek_is_no_read() {
    law(|l| {
        let (a, b) = pair(Ip::V4);
        let w = l.watch(&a, IN);
        send(&b, b"x");
        l.step("a datagram", &[(w, IN)]);
        check_eq!("peeked", ok("recv", try_recv(&a, 8, libc::MSG_PEEK)), b"x");
        l.quiet("peeked");
        check_eq!("read", ok("recv", try_recv(&a, 8, 0)), b"x");
        fails("recv", try_recv(&a, 8, 0), libc::EAGAIN);
        l.quiet("read");
    });
}

/// A datagram for another socket of the same program is none of this one's events.
fn each_its_own() {
    law(|l| {
        let (a, b) = pair(Ip::V4);
        let (c, d) = pair(Ip::V4);
        let (wa, wc) = (l.watch(&a, IN), l.watch(&c, IN));
        send(&b, b"for a");
        l.step("a datagram for one", &[(wa, IN)]);
        send(&d, b"for c");
        l.step("a datagram for the other", &[(wc, IN)]);
    });
}
