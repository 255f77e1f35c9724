// SPDX-License-Identifier: GPL-2.0
//! UNIX sockets: stream, seqpacket and datagram.

use crate::abi::*;
use crate::check::{fails, ok};
use crate::law::law;
use crate::net::*;
use crate::runner::skip;
use crate::sys::*;

tests!("unix":
    urgent_stream,
    urgent_stream_with_data,
    dgram_data,
    dgram_data_before_add,
    dgram_write_space,
    dgram_peer_queue_drained,
    dgram_peer_queue_drained_armed_by_add,
    dgram_peer_queue_drained_armed_by_mod,
    dgram_peer_closed,
    dgram_peer_connects_elsewhere,
    dgram_connects_elsewhere,
    dgram_own_shutdown_read,
    dgram_own_shutdown_both,
    dgram_two_senders_wait,
);

variants!(PER_KIND, "unix", "_stream" => libc::SOCK_STREAM, "_seqpacket" => libc::SOCK_SEQPACKET;
    data,
    data_before_add,
    data_with_full_interest,
    peer_closed,
    peer_closed_with_data_unread,
    peer_closed_with_data_to_read,
    peer_shutdown_write,
    peer_shutdown_read,
    peer_shutdown_write_then_read,
    peer_shutdown_both,
    own_shutdown_read,
    own_shutdown_write,
    own_shutdown_both,
    accept_queue,
    listener_closed,
    listener_shutdown,
    fresh_socket,
    write_space,
    write_space_armed_by_add,
);

fn data(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        send(&b, b"first");
        l.step("first data", &[(w, IN)]);
        send(&b, b"second");
        l.step("more data while the first is unread", &[(w, IN)]);
        drain_messages_of(&a);
        l.quiet("read until EAGAIN");
        send(&b, b"third");
        l.step("data after the queue was empty", &[(w, IN)]);
    });
}

fn drain_messages_of(s: &Fd) {
    while try_recv(s, 65536, 0).is_ok_and(|d| !d.is_empty()) {}
}

fn data_before_add(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        send(&b, b"early");
        let w = l.watch(&a, IN);
        l.step("added with data in the queue", &[(w, IN)]);
    });
}

fn data_with_full_interest(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, IN | PRI | OUT | RDHUP);
        l.step("added", &[(w, OUT)]);
        send(&b, b"x");
        l.step("data", &[(w, IN)]);
        drain_messages_of(&a);
        b.close();
        l.step("closed by the peer", &[(w, IN | HUP | RDHUP)]);
    });
}

fn peer_closed(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        b.close();
        l.step("closed by the peer", &[(w, IN | HUP | RDHUP)]);
    });
}

/// The peer never read what was sent to it: an error as well, and it need not be asked for.
fn peer_closed_with_data_unread(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, 0);
        send(&a, b"never read");
        l.quiet("sent");
        b.close();
        l.step("closed with data unread", &[(w, ERR | HUP)]);
        check_eq!("the error", take_error(&a), Errno(libc::ECONNRESET));
    });
}

fn peer_closed_with_data_to_read(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        send(&b, b"last words");
        l.step("data", &[(w, IN)]);
        b.close();
        l.step("closed by the peer", &[(w, IN | HUP | RDHUP)]);
        check_eq!("data", ok("recv", try_recv(&a, 64, 0)), b"last words");
        check_eq!("the end", ok("recv", try_recv(&a, 64, 0)), b"");
        l.quiet("the end was read");
    });
}

fn peer_shutdown_write(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&b, libc::SHUT_WR);
        l.step("shut down by the peer", &[(w, IN | RDHUP)]);
    });
}

/// Nothing can be sent any more, which a writer must learn.
fn peer_shutdown_read(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, OUT);
        l.step("added", &[(w, OUT)]);
        shutdown(&b, libc::SHUT_RD);
        l.step("shut down by the peer", &[(w, OUT)]);
        fails("send", try_send(&a, b"x", 0), libc::EPIPE);
    });
}

fn peer_shutdown_write_then_read(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        shutdown(&b, libc::SHUT_WR);
        l.step("shut down by the peer for writing", &[(w, IN | RDHUP)]);
        shutdown(&b, libc::SHUT_RD);
        l.step("and for reading", &[(w, HUP)]);
    });
}

fn peer_shutdown_both(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&b, libc::SHUT_RDWR);
        l.step("shut down by the peer", &[(w, IN | HUP | RDHUP)]);
    });
}

fn own_shutdown_read(kind: i32) {
    law(|l| {
        let (a, _b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&a, libc::SHUT_RD);
        l.step("shut down for reading", &[(w, IN | RDHUP)]);
    });
}

fn own_shutdown_write(kind: i32) {
    law(|l| {
        let (a, _b) = socketpair(kind);
        let w = l.watch(&a, OUT);
        l.step("added", &[(w, OUT)]);
        shutdown(&a, libc::SHUT_WR);
        l.step("shut down for writing", &[(w, OUT)]);
    });
}

fn own_shutdown_both(kind: i32) {
    law(|l| {
        let (a, _b) = socketpair(kind);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&a, libc::SHUT_RDWR);
        l.step("shut down both ways", &[(w, IN | HUP | RDHUP)]);
    });
}

/// A listening socket with a name of its own.
fn listening(kind: i32) -> (Fd, Addr) {
    let s = need_socket(libc::AF_UNIX, kind, 0);
    let addr = Addr::unix("listener");
    bind(&s, &addr);
    listen(&s, 8);
    (s, addr)
}

fn connected(kind: i32, addr: &Addr) -> Fd {
    let c = need_socket(libc::AF_UNIX, kind, 0);
    ok("connect", try_connect(&c, addr));
    c
}

fn accept_queue(kind: i32) {
    law(|l| {
        let (s, addr) = listening(kind);
        let w = l.watch(&s, IN);
        l.quiet("added");
        let _one = connected(kind, &addr);
        l.step("a connection", &[(w, IN)]);
        let _two = connected(kind, &addr);
        l.step("another one", &[(w, IN)]);
        let _first = accept(&s);
        let _second = accept(&s);
        fails("accept", try_accept(&s), libc::EAGAIN);
        l.quiet("accepted until EAGAIN");
        let _three = connected(kind, &addr);
        l.step("a connection after the queue was empty", &[(w, IN)]);
    });
}

/// The listener is closed before it accepted.
fn listener_closed(kind: i32) {
    law(|l| {
        let (s, addr) = listening(kind);
        let c = connected(kind, &addr);
        let w = l.watch(&c, IN | RDHUP);
        l.quiet("added");
        s.close();
        l.step("the listener is gone", &[(w, IN | HUP | RDHUP)]);
    });
}

fn listener_shutdown(kind: i32) {
    law(|l| {
        let (s, _) = listening(kind);
        let w = l.watch(&s, IN | RDHUP);
        l.quiet("added");
        shutdown(&s, libc::SHUT_RD);
        l.step("shut down for reading", &[(w, IN | RDHUP)]);
    });
}

fn fresh_socket(kind: i32) {
    law(|l| {
        let s = need_socket(libc::AF_UNIX, kind, 0);
        let w = l.watch(&s, IN | OUT | RDHUP);
        l.step("neither connected nor listening", &[(w, HUP)]);
    });
}

/// Sends until EAGAIN, in pieces as large as one message may be.
fn fill_up(s: &Fd) -> usize {
    let n = fill_messages(s, 4096);
    check!(n > 0, "nothing could be sent");
    n
}

fn write_space(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        let w = l.watch(&a, OUT);
        l.step("added", &[(w, OUT)]);
        for _ in 0..2 {
            fill_up(&a);
            l.quiet("full");
            drain_messages_of(&b);
            l.step("drained by the peer", &[(w, OUT)]);
        }
    });
}

fn write_space_armed_by_add(kind: i32) {
    law(|l| {
        let (a, b) = socketpair(kind);
        fill_up(&a);
        let w = l.watch(&a, OUT);
        l.quiet("added when full");
        drain_messages_of(&b);
        l.step("drained by the peer", &[(w, OUT)]);
    });
}

fn send_urgent(s: &Fd, data: &[u8]) {
    match try_send(s, data, libc::MSG_OOB) {
        Ok(n) => check_eq!("bytes sent", n, data.len()),
        Err(Errno(libc::EOPNOTSUPP)) => skip("no urgent data on UNIX sockets in this kernel"),
        Err(e) => panic!("send: {e}"),
    }
}

fn urgent_stream() {
    law(|l| {
        let (a, b) = socketpair(libc::SOCK_STREAM);
        let w = l.watch(&a, PRI);
        l.quiet("added");
        send_urgent(&b, b"!");
        l.step("urgent data", &[(w, PRI)]);
        check_eq!(
            "urgent data",
            ok("recv", try_recv(&a, 8, libc::MSG_OOB)),
            b"!"
        );
        l.quiet("read");
    });
}

fn urgent_stream_with_data() {
    law(|l| {
        let (a, b) = socketpair(libc::SOCK_STREAM);
        let w = l.watch(&a, IN | PRI);
        l.quiet("added");
        send_urgent(&b, b"data!");
        l.step("data, the last of it urgent", &[(w, IN | PRI)]);
    });
}

const DGRAM: i32 = libc::SOCK_DGRAM;

fn dgram_data() {
    law(|l| {
        let (a, b) = socketpair(DGRAM);
        let w = l.watch(&a, IN);
        l.quiet("added");
        send(&b, b"first");
        l.step("a datagram", &[(w, IN)]);
        send(&b, b"second");
        l.step("another one while the first is unread", &[(w, IN)]);
        check_eq!("datagrams", drain_messages(&a), 2);
        l.quiet("read until EAGAIN");
        send(&b, b"third");
        l.step("a datagram after the queue was empty", &[(w, IN)]);
    });
}

fn dgram_data_before_add() {
    law(|l| {
        let (a, b) = socketpair(DGRAM);
        send(&b, b"early");
        let w = l.watch(&a, IN);
        l.step("added with a datagram in the queue", &[(w, IN)]);
    });
}

/// The sender's own buffer is full; two sockets connected to each other ignore the length of
/// the queue.
fn dgram_write_space() {
    law(|l| {
        let (a, b) = socketpair(DGRAM);
        set(&a, libc::SOL_SOCKET, libc::SO_SNDBUF, 4608);
        let w = l.watch(&a, OUT);
        l.step("added", &[(w, OUT)]);
        let n = fill_messages(&a, 1500);
        check!(n > 0, "nothing could be sent");
        l.quiet("full");
        check_eq!("datagrams", drain_messages(&b), n);
        l.step("drained by the peer", &[(w, OUT)]);
    });
}

/// A receiver, bound to a name.
fn receiver(name: &str) -> (Fd, Addr) {
    let s = need_socket(libc::AF_UNIX, DGRAM, 0);
    let addr = Addr::unix(name);
    bind(&s, &addr);
    (s, addr)
}

/// The receiver's queue is full of somebody else's datagrams, so that nothing of the sender's
/// own is freed when it is drained: only the receiver can tell.
struct Full {
    sender: Fd,
    receiver: Fd,
    _other: Fd,
}

fn full_receiver() -> Full {
    let (receiver, addr) = receiver("receiver");
    let sender = connected(DGRAM, &addr);
    let other = connected(DGRAM, &addr);
    fill_messages(&other, 1);
    Full {
        sender,
        receiver,
        _other: other,
    }
}

fn dgram_peer_queue_drained() {
    law(|l| {
        let (receiver, addr) = receiver("receiver");
        let (sender, other) = (connected(DGRAM, &addr), connected(DGRAM, &addr));
        let w = l.watch(&sender, OUT);
        l.step("added", &[(w, OUT)]);
        for _ in 0..2 {
            fill_messages(&other, 1);
            fails("send", try_send(&sender, b"x", 0), libc::EAGAIN);
            l.quiet("the receiver's queue is full");
            check!(drain_messages(&receiver) > 0, "the receiver had nothing");
            l.step("drained by the receiver", &[(w, OUT)]);
        }
    });
}

fn dgram_peer_queue_drained_armed_by_add() {
    law(|l| {
        let f = full_receiver();
        let w = l.watch(&f.sender, OUT);
        l.quiet("added when the receiver's queue is full");
        drain_messages(&f.receiver);
        l.step("drained by the receiver", &[(w, OUT)]);
    });
}

fn dgram_peer_queue_drained_armed_by_mod() {
    law(|l| {
        let f = full_receiver();
        let w = l.watch(&f.sender, IN);
        l.quiet("added");
        l.change(w, OUT);
        l.quiet("modified when the receiver's queue is full");
        drain_messages(&f.receiver);
        l.step("drained by the receiver", &[(w, OUT)]);
    });
}

/// The receiver goes away: a blocked sender must learn it.
fn dgram_peer_closed() {
    law(|l| {
        let f = full_receiver();
        let w = l.watch(&f.sender, OUT);
        l.quiet("added when the receiver's queue is full");
        fails("send", try_send(&f.sender, b"x", 0), libc::EAGAIN);
        f.receiver.close();
        l.step("the receiver is gone", &[(w, OUT)]);
        fails("send", try_send(&f.sender, b"x", 0), libc::ECONNREFUSED);
    });
}

/// The peer turns to another one while it has data unread: an error for this one.
fn dgram_peer_connects_elsewhere() {
    law(|l| {
        let (a, b) = socketpair(DGRAM);
        let (_c, elsewhere) = receiver("elsewhere");
        let w = l.watch(&a, 0);
        send(&a, b"never read");
        l.quiet("sent");
        ok("connect", try_connect(&b, &elsewhere));
        l.step("the peer connected to another one", &[(w, ERR)]);
        check_eq!("the error", take_error(&a), Errno(libc::ECONNRESET));
    });
}

/// A sender whose receiver is full turns to another one, which is not.
fn dgram_connects_elsewhere() {
    law(|l| {
        let f = full_receiver();
        let (_c, elsewhere) = receiver("elsewhere");
        let w = l.watch(&f.sender, OUT);
        l.quiet("added when the receiver's queue is full");
        ok("connect", try_connect(&f.sender, &elsewhere));
        l.step("connected to another one", &[(w, OUT)]);
        send(&f.sender, b"x");
        drop(f.receiver);
    });
}

fn dgram_own_shutdown_read() {
    law(|l| {
        let (a, _b) = socketpair(DGRAM);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&a, libc::SHUT_RD);
        l.step("shut down for reading", &[(w, IN | RDHUP)]);
    });
}

fn dgram_own_shutdown_both() {
    law(|l| {
        let (a, _b) = socketpair(DGRAM);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&a, libc::SHUT_RDWR);
        l.step("shut down both ways", &[(w, IN | HUP | RDHUP)]);
    });
}

/// Two senders wait for the same receiver: both learn that there is room.
fn dgram_two_senders_wait() {
    law(|l| {
        let (receiver, addr) = receiver("receiver");
        let (one, two) = (connected(DGRAM, &addr), connected(DGRAM, &addr));
        let other = connected(DGRAM, &addr);
        fill_messages(&other, 1);
        let (w1, w2) = (l.watch(&one, OUT), l.watch(&two, OUT));
        l.quiet("added when the receiver's queue is full");
        drain_messages(&receiver);
        l.step("drained by the receiver", &[(w1, OUT), (w2, OUT)]);
    });
}
