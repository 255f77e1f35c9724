// SPDX-License-Identifier: GPL-2.0
//! vsock over its loopback, where the kernel has it.

use crate::abi::*;
use crate::law::law;
use crate::net::*;
use crate::runner::skip;
use crate::sys::*;

tests!("vsock":
    data,
    connect_done,
    accept_queue,
    peer_closed,
    peer_shutdown_write,
    own_shutdown_both,
    write_space,
);

const ANY: u32 = u32::MAX;
const LOCAL: u32 = 1;

fn address(cid: u32, port: u32) -> Addr {
    // SAFETY: plain bytes.
    let mut a: libc::sockaddr_vm = unsafe { std::mem::zeroed() };
    a.svm_family = libc::AF_VSOCK as libc::sa_family_t;
    a.svm_cid = cid;
    a.svm_port = port;
    Addr::of(a)
}

fn vsock() -> Fd {
    need_socket(libc::AF_VSOCK, libc::SOCK_STREAM, 0)
}

fn listening() -> (Fd, Addr) {
    let s = vsock();
    let port = 0x4000_0000 + std::process::id();
    bind(&s, &address(ANY, port));
    listen(&s, 8);
    (s, address(LOCAL, port))
}

/// A connection, and its two ends: (connected, accepted).
fn pair() -> (Fd, Fd) {
    let (s, addr) = listening();
    let c = vsock();
    if let Err(e) = try_connect(&c, &addr) {
        if e != Errno(libc::EINPROGRESS) {
            skip(&format!("no vsock loopback in this kernel: {e}"));
        }
    }
    if poll_for(s.raw(), IN, limit(300)) == 0 {
        skip("no vsock loopback in this kernel: nothing arrives");
    }
    let a = accept(&s);
    poll_until(&c, OUT);
    (c, a)
}

fn data() {
    law(|l| {
        let (a, b) = pair();
        let w = l.watch(&a, IN);
        l.quiet("added");
        send(&b, b"first");
        l.step("data", &[(w, IN)]);
    });
}

fn connect_done() {
    drop(pair());
    law(|l| {
        let (_s, addr) = listening();
        let c = vsock();
        let w = l.watch(&c, OUT);
        l.forget();
        connect(&c, &addr);
        l.step("connected", &[(w, OUT)]);
    });
}

fn accept_queue() {
    drop(pair());
    law(|l| {
        let (s, addr) = listening();
        let w = l.watch(&s, IN);
        l.quiet("added");
        let c = vsock();
        connect(&c, &addr);
        l.step("a connection", &[(w, IN)]);
    });
}

fn peer_closed() {
    law(|l| {
        let (a, b) = pair();
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        b.close();
        l.step("closed by the peer", &[(w, IN | RDHUP)]);
    });
}

fn peer_shutdown_write() {
    law(|l| {
        let (a, b) = pair();
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&b, libc::SHUT_WR);
        l.step("shut down by the peer", &[(w, IN | RDHUP)]);
    });
}

fn own_shutdown_both() {
    law(|l| {
        let (a, _b) = pair();
        let w = l.watch(&a, IN | RDHUP);
        l.quiet("added");
        shutdown(&a, libc::SHUT_RDWR);
        l.step("shut down both ways", &[(w, IN | HUP | RDHUP)]);
    });
}

fn write_space() {
    law(|l| {
        let (a, b) = pair();
        let w = l.watch(&a, OUT);
        l.step("added", &[(w, OUT)]);
        let sent = fill(&a, 4096);
        l.forget();
        l.quiet("full");
        drain_all(&b, sent);
        l.step("drained by the peer", &[(w, OUT)]);
    });
}
