// SPDX-License-Identifier: GPL-2.0
//! The buffers: mapped for reading, and for nothing else.

use std::os::raw::{c_int, c_void};

use crate::abi::*;
use crate::check::{fails, ok};
use crate::queue::*;
use crate::sys::*;

tests!("mapping":
    a_store_faults,
    a_store_faults_in_both_buffers,
    a_store_by_the_kernel_faults,
    a_store_through_proc_fails,
    protection_write,
    protection_execute,
    mapped_for_writing,
    mapped_for_writing_privately,
    not_executable,
    only_own_events_beyond_the_count,
    each_queue_its_own,
    gone_after_close,
);

const SIZE: usize = size_of::<PollFd>();

/// A queue, a ready pipe, and the array that was handed out for it.
fn array() -> (Queue, Fd, Fd, *const PollFd) {
    let q = Queue::new(512);
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    put(&w, b"x");
    let (n, array) = q.wait_raw(limit(2000));
    check_eq!("events", copy(array, n), vec![entry(&r, IN, IN)]);
    (q, r, w, array)
}

extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, _: *mut c_void) {
    const SEGV_ACCERR: c_int = 2;
    // SAFETY: the kernel gave the information; then the process ends.
    unsafe {
        libc::_exit(if (*info).si_code == SEGV_ACCERR {
            42
        } else {
            43
        });
    }
}

/// The process must end with the fault of a store to memory that is mapped, but not for that.
#[track_caller]
fn store_faults(nth: usize) {
    let end = fork(|| {
        // Everything in one process: a child would not have its parent's mapping.
        let (q, _r, w, mut a) = array();
        for _ in 0..nth {
            put(&w, b"x");
            a = q.wait_raw(limit(2000)).1;
        }
        // SAFETY: the handler only ends the process. The store is what is tested.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void) = on_fault;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO;
            ok(
                "sigaction",
                sys(libc::sigaction(
                    libc::SIGSEGV,
                    &action,
                    std::ptr::null_mut(),
                )),
            );
            check_eq!("the entry", a.read_volatile().revents(), IN);
            a.cast_mut().cast::<u8>().write_volatile(0xff);
        }
    })
    .wait();
    check_eq!(
        "the end of a process that stores (42: refused access)",
        end,
        Exit::Code(42)
    );
}

fn a_store_faults() {
    store_faults(0);
}

fn a_store_faults_in_both_buffers() {
    store_faults(1);
    store_faults(2);
}

/// read(2) into the array.
fn a_store_by_the_kernel_faults() {
    let (_q, r, _w, a) = array();
    // SAFETY: the kernel checks the address.
    let n = unsafe { libc::read(r.raw(), a.cast_mut().cast(), SIZE) };
    fails("read into the array", sys(n as c_int), libc::EFAULT);
    // SAFETY: the array that was handed out.
    check_eq!("the entry", unsafe { a.read_volatile() }, entry(&r, IN, IN));
}

/// As a debugger stores, which need not care for the access that a mapping gives.
fn a_store_through_proc_fails() {
    let (q, r, _w, a) = array();
    let len = crate::device::map_size(512);
    let private = crate::device::Map::try_new(&q, len, libc::PROT_READ, libc::MAP_PRIVATE, 0);
    let private = ok("mmap", private);
    let mem = open("/proc/self/mem", libc::O_RDWR);
    let want = copy(a, 1);
    for at in [
        a as usize,
        private.start as usize,
        private.start as usize + len / 2,
    ] {
        let bytes = [0xffu8; SIZE];
        // SAFETY: the kernel checks the address.
        let n = unsafe { libc::pwrite64(mem.raw(), bytes.as_ptr().cast(), SIZE, at as _) };
        check!(n < 0, "a store to {at:#x} through /proc/self/mem succeeded");
        let from = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: SIZE,
        };
        let to = libc::iovec {
            iov_base: at as *mut c_void,
            iov_len: SIZE,
        };
        // SAFETY: as above.
        let n = unsafe { libc::process_vm_writev(libc::getpid(), &from, 1, &to, 1, 0) };
        check!(n < 0, "a store to {at:#x} by process_vm_writev succeeded");
    }
    check_eq!("the entry", copy(a, 1), want);
    check_eq!("the entry", want, vec![entry(&r, IN, IN)]);
}

#[track_caller]
fn protect(prot: c_int) {
    let (_q, _r, _w, a) = array();
    let m = mapping_of(a.cast()).expect("the array's mapping");
    for (start, len) in [
        (m.start, m.end - m.start),
        (m.start, 4096),
        (a as usize & !4095, 4096),
    ] {
        // SAFETY: refused, or else the test fails.
        let got = sys(unsafe { libc::mprotect(start as *mut c_void, len, prot) });
        fails("mprotect", got, libc::EACCES);
    }
    let after = mapping_of(a.cast()).expect("the array's mapping");
    check_eq!("access", &after.perms[..3], "r--");
}

fn protection_write() {
    protect(libc::PROT_READ | libc::PROT_WRITE);
    protect(libc::PROT_WRITE);
}

fn protection_execute() {
    protect(libc::PROT_READ | libc::PROT_EXEC);
}

#[track_caller]
fn refuses_writable(kind: c_int) {
    let (q, _r, _w, a) = array();
    let m = mapping_of(a.cast()).expect("the array's mapping");
    for len in [m.end - m.start, 4096] {
        for prot in [libc::PROT_READ | libc::PROT_WRITE, libc::PROT_WRITE] {
            // SAFETY: refused, or else the test fails.
            let p = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, kind, q.raw(), 0) };
            let got = if p == libc::MAP_FAILED {
                Err(Errno::last())
            } else {
                Ok(p)
            };
            fails("mmap", got, libc::EACCES);
        }
    }
}

fn mapped_for_writing() {
    refuses_writable(libc::MAP_SHARED);
}

/// A private writable mapping would be a copy; it is refused as well.
fn mapped_for_writing_privately() {
    refuses_writable(libc::MAP_PRIVATE);
}

fn not_executable() {
    let (_q, _r, _w, a) = array();
    let m = mapping_of(a.cast()).expect("the array's mapping");
    check_eq!("access", &m.perms[..3], "r--");
}

/// What can be read beyond the entries that were handed out is zeros, or this queue's events.
#[track_caller]
pub fn check_rest_of_page(a: *const PollFd, fds: &[i32]) {
    let end = (a as usize & !4095) + 4096;
    let n = (end - a as usize) / SIZE;
    for (i, e) in copy(a, n).into_iter().enumerate() {
        let zero = e == PollFd::new(0, 0, 0);
        let own = fds.contains(&e.fd) && e.events() & !VALID == 0 && e.revents() & !VALID == 0;
        check!(zero || own, "entry {i} beyond the count holds {e:?}");
    }
}

fn only_own_events_beyond_the_count() {
    let q = Queue::new(512);
    let p: Vec<(Fd, Fd)> = (0..50).map(|_| pipe()).collect();
    let fds: Vec<i32> = p.iter().map(|p| p.0.raw()).collect();
    for (r, _) in &p {
        q.add(r, IN);
    }
    for n in [50, 3, 1, 20, 2] {
        for (_, w) in &p[..n] {
            put(w, b"x");
        }
        let (got, a) = q.wait_raw(limit(2000));
        check_eq!("events", got, n);
        check_rest_of_page(a, &fds);
    }
}

fn each_queue_its_own() {
    let (one, r1, _w1, a1) = array();
    let (two, r2, _w2, a2) = array();
    check!(a1 != a2, "two queues share the array at {a1:?}");
    check_eq!("the first", copy(a1, 1), vec![entry(&r1, IN, IN)]);
    check_eq!("the second", copy(a2, 1), vec![entry(&r2, IN, IN)]);
    check!(one.raw() != two.raw(), "two queues share a descriptor");
}

fn gone_after_close() {
    let (q, _r, _w, a) = array();
    check!(
        mapping_of(a.cast()).is_some(),
        "no mapping while the queue is there"
    );
    drop(q);
    let left = mapping_of(a.cast());
    check!(
        left.is_none(),
        "expected no mapping after close, got {left:?}"
    );
}
