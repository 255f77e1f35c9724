// SPDX-License-Identifier: GPL-2.0
//! Raw, packet and netlink sockets.

use std::mem::{size_of, zeroed};

use crate::abi::*;
use crate::check::ok;
use crate::law::law;
use crate::net::*;
use crate::runner::{test, Test};
use crate::sys::*;

pub const TESTS: &[Test] = &[
    test("raw", "echo_v4", raw_echo_v4),
    test("raw", "datagrams_v6", raw_datagrams_v6),
    test("raw", "own_shutdown", raw_own_shutdown),
    test("raw", "sent", raw_sent),
    test("packet", "frame", packet_frame),
    test("packet", "frame_in_a_ring", packet_frame_in_a_ring),
    test(
        "packet",
        "frame_in_a_block_ring",
        packet_frame_in_a_block_ring,
    ),
    test("packet", "sent", packet_sent),
    test("packet", "interface_down", packet_interface_down),
    test("netlink", "answer", netlink_answer),
    test("netlink", "answer_before_add", netlink_answer_before_add),
    test("netlink", "dump_goes_on", netlink_dump_goes_on),
    test("netlink", "user_to_user", netlink_user_to_user),
    test("netlink", "multicast", netlink_multicast),
    test("netlink", "overrun", netlink_overrun),
];

/// An ICMP echo request, with its checksum.
fn echo_request(id: u16) -> Vec<u8> {
    let mut m = vec![8, 0, 0, 0];
    m.extend(id.to_be_bytes());
    m.extend([0, 1]);
    let mut sum: u32 = m
        .chunks(2)
        .map(|c| u32::from(u16::from_be_bytes([c[0], c[1]])))
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    m[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    m
}

/// The answer to an echo request, and the copy of the request itself.
fn raw_echo_v4() {
    quiet_network();
    law(|l| {
        let s = need_socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP);
        let w = l.watch(&s, IN);
        l.quiet("added");
        send_to(&s, &echo_request(1), &Ip::V4.loopback(0));
        l.step("request and answer", &[(w, IN)]);
        send_to(&s, &echo_request(2), &Ip::V4.loopback(0));
        l.step("more of them while the first are unread", &[(w, IN)]);
        check_eq!("packets", drain_messages(&s), 4);
        l.quiet("read until EAGAIN");
    });
}

/// A protocol number that nobody else uses.
const PROTOCOL: i32 = 253;

fn raw_datagrams_v6() {
    quiet_network();
    law(|l| {
        let a = need_socket(libc::AF_INET6, libc::SOCK_RAW, PROTOCOL);
        let b = need_socket(libc::AF_INET6, libc::SOCK_RAW, PROTOCOL);
        bind(&a, &Ip::V6.loopback(0));
        let w = l.watch(&a, IN);
        l.quiet("added");
        send_to(&b, b"first", &Ip::V6.loopback(0));
        l.step("a packet", &[(w, IN)]);
        send_to(&b, b"second", &Ip::V6.loopback(0));
        l.step("another one while the first is unread", &[(w, IN)]);
    });
}

fn raw_own_shutdown() {
    quiet_network();
    law(|l| {
        let s = need_socket(libc::AF_INET, libc::SOCK_RAW, PROTOCOL);
        connect(&s, &Ip::V4.loopback(0));
        let w = l.watch(&s, IN | RDHUP);
        l.quiet("added");
        shutdown(&s, libc::SHUT_RDWR);
        l.step("shut down both ways", &[(w, IN | HUP | RDHUP)]);
    });
}

fn raw_sent() {
    quiet_network();
    law(|l| {
        let s = need_socket(libc::AF_INET, libc::SOCK_RAW, PROTOCOL);
        let w = l.watch(&s, OUT);
        l.step("added", &[(w, OUT)]);
        send_to(&s, &[0; 1000], &Ip::V4.loopback(0));
        l.step("sent", &[(w, OUT)]);
    });
}

/// An Ethernet type for experiments.
const ETHERTYPE: u16 = 0x88b5;

/// The loopback interface, for frames of that type.
fn link_address() -> Addr {
    // SAFETY: plain bytes; a C string.
    unsafe {
        let mut a: libc::sockaddr_ll = zeroed();
        a.sll_family = libc::AF_PACKET as libc::sa_family_t;
        a.sll_protocol = ETHERTYPE.to_be();
        a.sll_ifindex = libc::if_nametoindex(c"lo".as_ptr()) as i32;
        a.sll_halen = 6;
        Addr::of(a)
    }
}

fn packet_socket(protocol: u16) -> Fd {
    let protocol = i32::from(protocol.to_be());
    need_socket(libc::AF_PACKET, libc::SOCK_DGRAM, protocol)
}

/// (receives from the loopback interface, sends only)
fn packet_pair() -> (Fd, Fd) {
    let a = packet_socket(0);
    bind(&a, &link_address());
    (a, packet_socket(0))
}

fn packet_frame() {
    quiet_network();
    law(|l| {
        let (a, b) = packet_pair();
        let w = l.watch(&a, IN);
        l.quiet("added");
        send_to(&b, &[1; 60], &link_address());
        l.step("a frame", &[(w, IN)]);
        send_to(&b, &[2; 60], &link_address());
        l.step("another one while the first is unread", &[(w, IN)]);
        check!(drain_messages(&a) >= 2, "frames are missing");
        l.quiet("read until EAGAIN");
    });
}

const PACKET_RX_RING: i32 = 5;
const PACKET_VERSION: i32 = 10;

/// Frames that are not read, but found in memory shared with the kernel.
fn packet_frame_in_a_ring() {
    quiet_network();
    law(|l| {
        let (_, b) = packet_pair();
        let a = packet_socket(0);
        // One block of 4096 bytes with two frames.
        set(&a, libc::SOL_PACKET, PACKET_RX_RING, [4096u32, 1, 2048, 2]);
        bind(&a, &link_address());
        let w = l.watch(&a, IN);
        l.quiet("added");
        send_to(&b, &[1; 60], &link_address());
        l.step("a frame", &[(w, IN)]);
    });
}

/// The third version hands out whole blocks, here when their time is up.
fn packet_frame_in_a_block_ring() {
    quiet_network();
    law(|l| {
        let (_, b) = packet_pair();
        let a = packet_socket(0);
        set(&a, libc::SOL_PACKET, PACKET_VERSION, 2);
        // Two blocks of 4096 bytes; a block is handed out after 20 ms.
        let ring = [4096u32, 2, 2048, 4, 20, 0, 0];
        set(&a, libc::SOL_PACKET, PACKET_RX_RING, ring);
        bind(&a, &link_address());
        let w = l.watch(&a, IN);
        send_to(&b, &[1; 60], &link_address());
        l.step("a block with a frame", &[(w, IN)]);
    });
}

fn packet_sent() {
    quiet_network();
    law(|l| {
        let (_a, b) = packet_pair();
        let w = l.watch(&b, OUT);
        l.step("added", &[(w, OUT)]);
        send_to(&b, &[1; 60], &link_address());
        l.step("sent", &[(w, OUT)]);
    });
}

fn packet_interface_down() {
    own_network();
    law(|l| {
        let ctl = ok("socket", socket(libc::AF_INET, libc::SOCK_DGRAM, 0));
        ok("loopback up", loopback_flag(&ctl, true));
        let (a, _b) = packet_pair();
        let w = l.watch(&a, IN);
        l.quiet("added");
        ok("loopback down", loopback_flag(&ctl, false));
        l.step("the interface went down", &[(w, ERR)]);
        check_eq!("the error", take_error(&a), Errno(libc::ENETDOWN));
    });
}

fn netlink(protocol: i32, groups: u32) -> Fd {
    let s = need_socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol);
    // SAFETY: plain bytes.
    let mut a: libc::sockaddr_nl = unsafe { zeroed() };
    a.nl_family = libc::AF_NETLINK as libc::sa_family_t;
    a.nl_groups = groups;
    bind(&s, &Addr::of(a));
    s
}

fn route_socket() -> Fd {
    netlink(libc::NETLINK_ROUTE, 0)
}

/// A netlink message without attributes: header, then a body of zeros.
fn message(kind: u16, flags: u16, body: usize) -> Vec<u8> {
    let len = size_of::<libc::nlmsghdr>() + body;
    let mut m = Vec::new();
    m.extend((len as u32).to_ne_bytes());
    m.extend(kind.to_ne_bytes());
    m.extend(flags.to_ne_bytes());
    m.extend([0; 8]);
    m.resize(len, 0);
    m
}

const IFINFOMSG: usize = 16;

/// "Tell me about interface 1."
fn get_link() -> Vec<u8> {
    let mut m = message(libc::RTM_GETLINK, libc::NLM_F_REQUEST as u16, IFINFOMSG);
    m[20..24].copy_from_slice(&1i32.to_ne_bytes());
    m
}

fn netlink_answer() {
    law(|l| {
        let s = route_socket();
        let w = l.watch(&s, IN);
        l.quiet("added");
        send(&s, &get_link());
        l.step("an answer", &[(w, IN)]);
        send(&s, &get_link());
        l.step("another one while the first is unread", &[(w, IN)]);
        check_eq!("answers", drain_messages(&s), 2);
        l.quiet("read until EAGAIN");
        send(&s, &get_link());
        l.step("an answer after the queue was empty", &[(w, IN)]);
    });
}

fn netlink_answer_before_add() {
    law(|l| {
        let s = route_socket();
        send(&s, &get_link());
        poll_until(&s, IN);
        let w = l.watch(&s, IN);
        l.step("added with an answer in the queue", &[(w, IN)]);
    });
}

/// Reading makes the kernel write the next part of a long answer.
fn netlink_dump_goes_on() {
    law(|l| {
        let s = route_socket();
        let w = l.watch(&s, IN);
        let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
        send(&s, &message(libc::RTM_GETLINK, flags, IFINFOMSG));
        l.step("the first part", &[(w, IN)]);
        check!(drain_messages(&s) >= 2, "the answer has no second part");
        l.forget();
        l.quiet("read until EAGAIN");
    });
}

fn netlink_user_to_user() {
    law(|l| {
        let (a, b) = (
            netlink(libc::NETLINK_USERSOCK, 0),
            netlink(libc::NETLINK_USERSOCK, 0),
        );
        let w = l.watch(&a, IN);
        l.quiet("added");
        send_to(&b, &message(100, 0, 0), &local(&a));
        l.step("a message", &[(w, IN)]);
    });
}

const RTMGRP_LINK: u32 = 1;

fn netlink_multicast() {
    own_network();
    law(|l| {
        let ctl = ok("socket", socket(libc::AF_INET, libc::SOCK_DGRAM, 0));
        ok("loopback up", loopback_flag(&ctl, true));
        let s = netlink(libc::NETLINK_ROUTE, RTMGRP_LINK);
        let w = l.watch(&s, IN);
        l.quiet("added");
        ok("loopback down", loopback_flag(&ctl, false));
        l.step("the interface went down", &[(w, IN)]);
    });
}

/// More messages than the socket has room for.
fn netlink_overrun() {
    own_network();
    law(|l| {
        let ctl = ok("socket", socket(libc::AF_INET, libc::SOCK_DGRAM, 0));
        let s = netlink(libc::NETLINK_ROUTE, RTMGRP_LINK);
        set(&s, libc::SOL_SOCKET, libc::SO_RCVBUF, 2048);
        let w = l.watch(&s, 0);
        l.quiet("added");
        for _ in 0..20 {
            ok("loopback up", loopback_flag(&ctl, true));
            ok("loopback down", loopback_flag(&ctl, false));
        }
        l.step("overrun", &[(w, ERR)]);
        check_eq!("the error", take_error(&s), Errno(libc::ENOBUFS));
    });
}
