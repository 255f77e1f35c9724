// SPDX-License-Identifier: GPL-2.0
//! TCP: one test for each transition that a socket can make.

use std::thread;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::law::law;
use crate::net::*;
use crate::runner::skip;
use crate::sys::*;

tests!("tcp":
    connect_done_late,
    connect_crossed,
    refused_later,
    fast_open,
    keeps_its_connection_through_migration,
    timeout,
    zerocopy_completion,
    read_norm,
    write_norm,
);

variants!(PER_IP, "tcp", "_v4" => Ip::V4, "_v6" => Ip::V6;
    data,
    data_before_add,
    data_with_full_interest,
    fin,
    fin_after_data,
    shutdown_by_peer,
    both_ways_closed,
    both_ways_closed_own_last,
    reset,
    reset_by_unread_data,
    accept_queue,
    accepted_socket_is_not_watched,
    connect_done,
    connect_refused,
    fresh_socket,
    write_space,
    write_space_armed_by_add,
    write_space_armed_by_mod,
    urgent,
    urgent_with_data,
    own_shutdown_read,
    own_shutdown_write,
    own_shutdown_both,
    own_shutdown_acknowledged,
    low_water_mark,
    low_water_mark_lowered,
    listener_shutdown,
    until_eagain_both_ways,
);

/// Data arrives; more of it while the first is unread is another edge.
fn data(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        send(&b, b"first");
        l.step("first data", &[(w, IN)]);
        send(&b, b"second");
        l.step("more data while the first is unread", &[(w, IN)]);
        check_eq!("bytes", drain(&a), 11);
        l.quiet("read until EAGAIN");
        send(&b, b"third");
        l.step("data after the queue was empty", &[(w, IN)]);
    });
}

/// What hung in 2002: the data was there before the registration.
fn data_before_add(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        send(&b, b"early");
        poll_until(&a, IN);
        let w = l.watch(&a, IN);
        l.step("added with data in the queue", &[(w, IN)]);
    });
}

fn data_with_full_interest(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | PRI | OUT | RDHUP);
        l.step("added", &[(w, OUT)]);
        send(&b, b"x");
        l.step("data", &[(w, IN)]);
        get(&a, 1);
        b.close();
        l.step("closed by the peer", &[(w, IN | RDHUP)]);
    });
}

/// One way closed: readable, with RDHUP, and not HUP.
fn fin(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        b.close();
        l.step("closed by the peer", &[(w, IN | RDHUP)]);
        check_eq!("bytes", drain(&a), 0);
        l.quiet("the end was read");
    });
}

fn fin_after_data(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        send(&b, b"last words");
        l.step("data", &[(w, IN)]);
        b.close();
        l.step("closed by the peer, data unread", &[(w, IN | RDHUP)]);
    });
}

fn shutdown_by_peer(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&b, libc::SHUT_WR);
        l.step("shut down by the peer", &[(w, IN | RDHUP)]);
        send(&a, b"still works");
        l.quiet("data the other way");
    });
}

/// HUP is always of interest: it comes without being asked for.
fn both_ways_closed(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, 0);
        l.quiet("added");
        shutdown(&a, libc::SHUT_WR);
        acknowledged();
        l.forget();
        b.close();
        l.step("closed by the peer as well", &[(w, HUP)]);
    });
}

fn both_ways_closed_own_last(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        shutdown(&b, libc::SHUT_WR);
        l.step("shut down by the peer", &[(w, IN | RDHUP)]);
        shutdown(&a, libc::SHUT_WR);
        acknowledged();
        l.step("and by oneself", &[(w, HUP)]);
    });
}

/// A reset: ERR and HUP without being asked for, IN and RDHUP because of the mask.
fn reset(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        reset_on_close(&b);
        b.close();
        l.step("reset", &[(w, IN | ERR | HUP | RDHUP)]);
        check_eq!("the error", take_error(&a), Errno(libc::ECONNRESET));
    });
}

fn reset_by_unread_data(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, 0);
        send(&a, b"never read");
        poll_until(&b, IN);
        l.quiet("sent");
        b.close();
        l.step("closed with data unread", &[(w, ERR | HUP)]);
    });
}

/// Another connection while the first one is not accepted is another edge.
fn accept_queue(ip: Ip) {
    law(|l| {
        let (s, addr) = listener(ip, 8);
        let w = l.watch(&s, IN);
        l.quiet("added");
        let (one, two, three) = (ip.tcp(), ip.tcp(), ip.tcp());
        connect(&one, &addr);
        l.step("a connection", &[(w, IN)]);
        connect(&two, &addr);
        l.step("another one", &[(w, IN)]);
        let _first = accept(&s);
        let _second = accept(&s);
        fails("accept", try_accept(&s), libc::EAGAIN);
        l.quiet("accepted until EAGAIN");
        connect(&three, &addr);
        l.step("a connection after the queue was empty", &[(w, IN)]);
    });
}

/// An accepted socket inherits much from its listener, but no watch.
fn accepted_socket_is_not_watched(ip: Ip) {
    law(|l| {
        let (s, addr) = listener(ip, 8);
        let w = l.watch(&s, IN);
        let c = ip.tcp();
        connect(&c, &addr);
        l.step("a connection", &[(w, IN)]);
        let a = accept(&s);
        send(&c, b"data");
        poll_until(&a, IN);
        l.quiet("data on the accepted socket");
        let wa = l.watch(&a, IN);
        l.step("the accepted socket added", &[(wa, IN)]);
    });
}

/// The connection is made while it is watched.
fn connect_done(ip: Ip) {
    law(|l| {
        let (_s, addr) = listener(ip, 8);
        let c = ip.tcp();
        let w = l.watch(&c, OUT);
        l.step("not connected yet", &[(w, OUT | HUP)]);
        connect(&c, &addr);
        l.step("connected", &[(w, OUT)]);
        check_eq!("the error", take_error(&c), Errno(0));
    });
}

/// The accept queue is full, so that the handshake ends only when the request is sent again.
fn connect_done_late() {
    law(|l| {
        let (s, addr) = listener(Ip::V4, 0);
        let queued = Ip::V4.tcp();
        connect(&queued, &addr);
        poll_until(&s, IN);
        let c = Ip::V4.tcp();
        fails("connect", try_connect(&c, &addr), libc::EINPROGRESS);
        let w = l.watch(&c, OUT);
        l.quiet("the request was dropped");
        let _first = accept(&s);
        l.patience(5000);
        l.step("connected", &[(w, OUT)]);
        check_eq!("the error", take_error(&c), Errno(0));
    });
}

/// A socket that connects to itself: both requests cross.
fn connect_crossed() {
    law(|l| {
        let c = Ip::V4.tcp();
        bind(&c, &Ip::V4.loopback(0));
        let w = l.watch(&c, OUT);
        l.step("not connected yet", &[(w, OUT | HUP)]);
        connect(&c, &local(&c));
        l.step("connected to itself", &[(w, OUT)]);
        send(&c, b"to myself");
        poll_until(&c, IN);
        get(&c, 9);
    });
}

/// A port on which nobody listens.
fn dead_port(ip: Ip) -> Addr {
    let s = ip.tcp();
    bind(&s, &ip.loopback(0));
    local(&s)
}

fn connect_refused(ip: Ip) {
    law(|l| {
        let addr = dead_port(ip);
        let c = ip.tcp();
        let w = l.watch(&c, IN | OUT | RDHUP);
        l.step("not connected yet", &[(w, OUT | HUP)]);
        match try_connect(&c, &addr) {
            Err(Errno(libc::EINPROGRESS)) => {
                l.step("refused", &[(w, ERR)]);
                check_eq!("the error", take_error(&c), Errno(libc::ECONNREFUSED));
            }
            other => panic!("connect: expected EINPROGRESS, got {other:?}"),
        }
    });
}

/// The listener goes away while the request waits for a place in its queue.
fn refused_later() {
    law(|l| {
        let (s, addr) = listener(Ip::V4, 0);
        let queued = Ip::V4.tcp();
        connect(&queued, &addr);
        poll_until(&s, IN);
        let c = Ip::V4.tcp();
        fails("connect", try_connect(&c, &addr), libc::EINPROGRESS);
        let w = l.watch(&c, OUT | IN | RDHUP);
        l.quiet("the request was dropped");
        s.close();
        l.patience(5000);
        l.step("refused", &[(w, ERR | HUP)]);
    });
}

/// Neither connected nor listening.
fn fresh_socket(ip: Ip) {
    law(|l| {
        let c = ip.tcp();
        let w = l.watch(&c, IN | OUT | RDHUP);
        l.step("added", &[(w, OUT | HUP)]);
    });
}

/// The acknowledgement of a FIN is a change of state of its own, and may be delayed by 40 ms.
fn acknowledged() {
    sleep(ms(60));
}

/// Writes until EAGAIN, and until that stays so; how much.
fn fill_up(s: &Fd) -> usize {
    let mut total = 0;
    loop {
        let n = fill(s, 4096);
        total += n;
        sleep(ms(5));
        if n == 0 {
            return total;
        }
    }
}

fn write_space(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair_small(ip);
        let w = l.watch(&a, OUT);
        l.step("added", &[(w, OUT)]);
        for round in 1..3 {
            let sent = fill_up(&a);
            check!(sent > 0, "nothing could be sent in round {round}");
            l.forget();
            l.quiet("full");
            drain_all(&b, sent);
            l.step("drained by the peer", &[(w, OUT)]);
        }
    });
}

/// Whether there is room to send, and how much is queued, from the socket's own figures: poll(2)
/// would arm it.
fn room_and_queue(s: &Fd) -> (bool, u32) {
    const SO_MEMINFO: i32 = 55;
    const SNDBUF: usize = 3;
    const WMEM_QUEUED: usize = 5;
    let figures: [u32; 9] = ok("SO_MEMINFO", try_get(s, libc::SOL_SOCKET, SO_MEMINFO));
    let (size, queued) = (figures[SNDBUF], figures[WMEM_QUEUED]);
    (size.saturating_sub(queued) >= queued / 2, queued)
}

/// Sends so much that the socket is not writable, without an EAGAIN, which would arm it.
fn fill_without_eagain(s: &Fd) -> usize {
    let mut sent = 0;
    loop {
        while room_and_queue(s).0 {
            sent += ok("write", write(s, &[b'x'; 1024]));
        }
        // Until every delayed acknowledgement and every retransmission has come: the shortest
        // time after which one is made is 200 ms.
        let before = room_and_queue(s);
        sleep(ms(300));
        if room_and_queue(s) == before {
            return sent;
        }
    }
}

/// The socket is full when it is added, and nothing but the look at that moment can arm it.
fn write_space_armed_by_add(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair_small(ip);
        let sent = fill_without_eagain(&a);
        let w = l.watch(&a, OUT);
        l.quiet("added when full");
        drain_all(&b, sent);
        l.step("drained by the peer", &[(w, OUT)]);
    });
}

fn write_space_armed_by_mod(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair_small(ip);
        let w = l.watch(&a, IN);
        let sent = fill_without_eagain(&a);
        l.change(w, OUT);
        l.quiet("modified when full");
        drain_all(&b, sent);
        l.step("drained by the peer", &[(w, OUT)]);
    });
}

fn urgent(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, PRI);
        l.quiet("added");
        check_eq!("bytes", ok("send", try_send(&b, b"!", libc::MSG_OOB)), 1);
        l.step("urgent data", &[(w, PRI)]);
        check_eq!(
            "urgent data",
            ok("recv", try_recv(&a, 8, libc::MSG_OOB)),
            b"!"
        );
        l.quiet("read");
    });
}

fn urgent_with_data(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | PRI);
        l.quiet("added");
        check_eq!(
            "bytes",
            ok("send", try_send(&b, b"data!", libc::MSG_OOB)),
            5
        );
        l.step("data, the last of it urgent", &[(w, IN | PRI)]);
    });
}

fn own_shutdown_read(ip: Ip) {
    law(|l| {
        let (a, _b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&a, libc::SHUT_RD);
        l.step("shut down for reading", &[(w, IN | RDHUP)]);
    });
}

fn own_shutdown_write(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair_small(ip);
        let w = l.watch(&a, OUT);
        l.step("added", &[(w, OUT)]);
        fill_up(&a);
        l.forget();
        l.quiet("full");
        shutdown(&a, libc::SHUT_WR);
        l.step("shut down for writing", &[(w, OUT)]);
        drop(b);
    });
}

fn own_shutdown_both(ip: Ip) {
    law(|l| {
        let (a, _b) = tcp_pair(ip);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&a, libc::SHUT_RDWR);
        acknowledged();
        l.step("shut down both ways", &[(w, IN | HUP | RDHUP)]);
    });
}

/// The acknowledgement of one's own FIN is a change of state as well.
fn own_shutdown_acknowledged(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        let w = l.watch(&a, IN | OUT);
        l.step("added", &[(w, OUT)]);
        shutdown(&a, libc::SHUT_WR);
        poll_until(&b, IN);
        acknowledged();
        l.step("shut down for writing, and acknowledged", &[(w, OUT)]);
    });
}

fn low_water_mark(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        set(&a, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100);
        let w = l.watch(&a, IN);
        l.quiet("added");
        send(&b, &[1; 50]);
        l.quiet("less than the mark");
        send(&b, &[2; 50]);
        l.step("as much as the mark", &[(w, IN)]);
    });
}

fn low_water_mark_lowered(ip: Ip) {
    law(|l| {
        let (a, b) = tcp_pair(ip);
        set(&a, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100);
        let w = l.watch(&a, IN);
        send(&b, &[1; 50]);
        l.quiet("less than the mark");
        set(&a, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 10);
        l.step("the mark is lowered", &[(w, IN)]);
    });
}

fn listener_shutdown(ip: Ip) {
    law(|l| {
        let (s, _) = listener(ip, 8);
        let w = l.watch(&s, IN | RDHUP);
        l.quiet("added");
        shutdown(&s, libc::SHUT_RD);
        l.step("listener shut down", &[(w, HUP)]);
    });
}

/// A program that reads and writes until EAGAIN, and only then waits, gets everything through.
fn until_eagain_both_ways(ip: Ip) {
    use crate::queue::Queue;
    const TOTAL: usize = 300_000;
    let (a, b) = tcp_pair_small(ip);
    let (from, to) = (&a, &b);
    thread::scope(|s| {
        s.spawn(|| {
            let q = Queue::new(1);
            q.add_and_test(from, OUT);
            let mut left = TOTAL;
            while left > 0 {
                check!(!q.wait(limit(4000)).is_empty(), "the writer waits for ever");
                while left > 0 {
                    match write(from, &[7; 5000][..left.min(5000)]) {
                        Ok(n) => left -= n,
                        Err(Errno(libc::EAGAIN)) => break,
                        Err(e) => panic!("write: {e}"),
                    }
                }
            }
        });
        s.spawn(|| {
            let q = Queue::new(1);
            q.add_and_test(to, IN);
            let mut left = TOTAL;
            while left > 0 {
                check!(!q.wait(limit(4000)).is_empty(), "the reader waits for ever");
                left -= drain(to);
            }
        });
    });
}

/// A connection whose first data come with its request.
fn fast_open() {
    const TCP_FASTOPEN: i32 = 23;
    const TCP_FASTOPEN_NO_COOKIE: i32 = 34;
    const MSG_FASTOPEN: i32 = 0x2000_0000;
    own_network();
    if std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "3").is_err() {
        skip("net.ipv4.tcp_fastopen cannot be set");
    }
    law(|l| {
        let s = Ip::V4.tcp();
        bind(&s, &Ip::V4.loopback(0));
        set(&s, libc::IPPROTO_TCP, TCP_FASTOPEN, 8);
        set(&s, libc::IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1);
        listen(&s, 8);
        let w = l.watch(&s, IN);
        l.quiet("added");
        let c = Ip::V4.tcp();
        set(&c, libc::IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1);
        let addr = local(&s);
        let n = ok("sendto", send_to_flags(&c, b"early", &addr, MSG_FASTOPEN));
        check_eq!("bytes sent", n, 5);
        l.step("a connection with data", &[(w, IN)]);
        let a = accept(&s);
        let wa = l.watch(&a, IN);
        l.step("the accepted socket has data", &[(wa, IN)]);
    });
}

/// A connection that moves from a closed listener to another one of its group is an edge there.
fn keeps_its_connection_through_migration() {
    own_network();
    if std::fs::write("/proc/sys/net/ipv4/tcp_migrate_req", "1").is_err() {
        skip("net.ipv4.tcp_migrate_req cannot be set");
    }
    law(|l| {
        let new = |addr: &Addr| {
            let s = Ip::V4.tcp();
            set(&s, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1);
            bind(&s, addr);
            listen(&s, 8);
            s
        };
        let first = new(&Ip::V4.loopback(0));
        let addr = local(&first);
        let c = Ip::V4.tcp();
        connect(&c, &addr);
        poll_until(&first, IN);
        let second = new(&addr);
        let w = l.watch(&second, IN);
        l.quiet("added");
        first.close();
        l.step("a connection moved here", &[(w, IN)]);
        let _a = accept(&second);
    });
}

/// Nobody answers any more.
fn timeout() {
    own_network();
    const TCP_USER_TIMEOUT: i32 = 18;
    law(|l| {
        let ctl = ok("socket", socket(libc::AF_INET, libc::SOCK_DGRAM, 0));
        ok("loopback up", loopback_flag(&ctl, true));
        let (a, _b) = tcp_pair(Ip::V4);
        set(&a, libc::IPPROTO_TCP, TCP_USER_TIMEOUT, 200);
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        ok("loopback down", loopback_flag(&ctl, false));
        send(&a, b"anybody there?");
        l.patience(5000);
        l.step("timed out", &[(w, IN | ERR | HUP | RDHUP)]);
        ok("loopback up", loopback_flag(&ctl, true));
    });
}

/// The kernel is done with memory that it sends from: a message on the error queue.
fn zerocopy_completion() {
    const SO_ZEROCOPY: i32 = 60;
    const MSG_ZEROCOPY: i32 = 0x400_0000;
    law(|l| {
        let (a, b) = tcp_pair(Ip::V4);
        if try_set(&a, libc::SOL_SOCKET, SO_ZEROCOPY, 1).is_err() {
            skip("no SO_ZEROCOPY");
        }
        let w = l.watch(&a, 0);
        l.quiet("added");
        let data = vec![1u8; 8192];
        check_eq!("bytes", ok("send", try_send(&a, &data, MSG_ZEROCOPY)), 8192);
        drain_all(&b, 8192);
        l.step("completed", &[(w, ERR)]);
    });
}

/// The other name of IN.
fn read_norm() {
    law(|l| {
        let (a, b) = tcp_pair(Ip::V4);
        let w = l.watch(&a, RDNORM);
        l.quiet("added");
        send(&b, b"x");
        l.step("data", &[(w, RDNORM)]);
    });
}

/// The other name of OUT.
fn write_norm() {
    law(|l| {
        let (a, b) = tcp_pair_small(Ip::V4);
        let w = l.watch(&a, WRNORM);
        l.step("added", &[(w, WRNORM)]);
        let sent = fill_up(&a);
        l.forget();
        drain_all(&b, sent);
        l.step("drained by the peer", &[(w, WRNORM)]);
    });
}
