// SPDX-License-Identifier: GPL-2.0
//! evpoll_create: its arguments, what it makes, and that nothing of it stays.

use crate::abi::*;
use crate::check::{fails, ok};
use crate::queue::*;
use crate::runner::skip;
use crate::sys::*;

tests!("create":
    close_on_exec_set,
    close_on_exec_not_set,
    unknown_flags,
    maxfds_zero,
    maxfds_negative,
    maxfds_one,
    maxfds_largest,
    maxfds_too_large,
    no_free_descriptor,
    no_descriptors_for_the_whole_system,
    no_memory,
    failure_leaves_nothing,
    lowest_free_number,
    anon_inode,
    maps_read_only,
    address_space_is_freed_by_close,
    close_frees_what_it_watched,
    memory_is_not_taken_before_it_is_used,
    many_queues,
    empty_queue_has_nothing,
    descriptor_is_not_for_reading,
);

fn close_on_exec(q: &Queue) -> bool {
    // SAFETY: takes no pointer.
    let flags = ok(
        "F_GETFD",
        sys(unsafe { libc::fcntl(q.raw(), libc::F_GETFD) }),
    );
    flags & libc::FD_CLOEXEC != 0
}

fn close_on_exec_set() {
    let q = ok("evpoll_create", Queue::try_new(8, EVPOLL_CLOEXEC));
    check_eq!("close-on-exec", close_on_exec(&q), true);
}

fn close_on_exec_not_set() {
    let q = ok("evpoll_create", Queue::try_new(8, 0));
    check_eq!("close-on-exec", close_on_exec(&q), false);
}

fn unknown_flags() {
    for bit in 0..32 {
        let flags = 1u32 << bit;
        if flags != EVPOLL_CLOEXEC {
            fails(
                &format!("flags {flags:#x}"),
                evpoll_create(8, flags),
                libc::EINVAL,
            );
            let both = flags | EVPOLL_CLOEXEC;
            fails(
                &format!("flags {both:#x}"),
                evpoll_create(8, both),
                libc::EINVAL,
            );
        }
    }
}

fn maxfds_zero() {
    fails("maxfds 0", evpoll_create(0, 0), libc::EINVAL);
}

fn maxfds_negative() {
    for n in [-1, -2, i32::MIN] {
        fails(&format!("maxfds {n}"), evpoll_create(n, 0), libc::EINVAL);
    }
}

fn works(q: &Queue) {
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    put(&w, b"x");
    q.expect("the event", &[entry(&r, IN, IN)]);
}

fn maxfds_one() {
    works(&Queue::new(1));
}

/// The largest number that is allowed works: in 2002 it did not.
fn maxfds_largest() {
    works(&Queue::new(EVPOLL_MAX_FDS));
}

fn maxfds_too_large() {
    for n in [EVPOLL_MAX_FDS + 1, 1 << 30, i32::MAX] {
        fails(&format!("maxfds {n}"), evpoll_create(n, 0), libc::EINVAL);
    }
}

/// A hundred failures, of 1 MB each, leave no address space behind.
fn no_free_descriptor() {
    let size = || kilobytes("/proc/self/status", "VmSize:");
    let (before, free) = (size(), lowest_free());
    set_limit(libc::RLIMIT_NOFILE, free as u64);
    for _ in 0..100 {
        fails(
            "with no free descriptor",
            evpoll_create(1 << 16, 0),
            libc::EMFILE,
        );
    }
    set_limit(libc::RLIMIT_NOFILE, u64::from(u32::MAX));
    let after = size();
    check!(
        after <= before + 1024,
        "expected about {before} kB of address space, got {after} kB"
    );
    works(&Queue::new(8));
}

/// ENFILE: the system's own limit, which the privileged are free of.
fn no_descriptors_for_the_whole_system() {
    const FILE: &str = "/proc/sys/fs/file-max";
    let Ok(old) = std::fs::read_to_string(FILE) else {
        skip("no fs.file-max");
    };
    let (go, gate) = pipe();
    let child = fork(|| {
        // SAFETY: takes no pointer.
        ok("setuid", sys(unsafe { libc::setuid(65534) }));
        poll_for(go.raw(), IN, limit(5000));
        fails(
            "with no descriptor in the system",
            evpoll_create(8, 0),
            libc::ENFILE,
        );
    });
    // None at all: the kernel's count is not exact enough for a small number.
    if std::fs::write(FILE, "0").is_err() {
        drop(child);
        skip("fs.file-max cannot be set");
    }
    put(&gate, b".");
    let end = child.wait();
    std::fs::write(FILE, old.trim()).expect(FILE);
    check_eq!("the child's end", end, Exit::Code(0));
}

/// No address space for the buffers.
fn no_memory() {
    let used = kilobytes("/proc/self/status", "VmSize:") as u64 * 1024;
    set_limit(libc::RLIMIT_AS, used + (8 << 20));
    let files = open_files();
    fails(
        "with no address space",
        evpoll_create(EVPOLL_MAX_FDS, 0),
        libc::ENOMEM,
    );
    check_eq!("descriptors", open_files(), files);
    works(&Queue::new(8));
}

fn failure_leaves_nothing() {
    let files = open_files();
    for _ in 0..100 {
        fails("maxfds 0", evpoll_create(0, 0), libc::EINVAL);
        fails("unknown flags", evpoll_create(8, 1), libc::EINVAL);
    }
    check_eq!("descriptors", open_files(), files);
}

fn lowest_free_number() {
    let free = lowest_free();
    check_eq!("the descriptor", Queue::new(8).raw(), free);
}

fn anon_inode() {
    let q = Queue::new(8);
    let path = format!("/proc/self/fd/{}", q.raw());
    let name = std::fs::read_link(path).expect("readlink");
    check_eq!("its name", name.to_string_lossy(), "anon_inode:[evpoll]");
}

/// The buffers are mapped at once, without any call to mmap: two of them, nowhere writable.
fn maps_read_only() {
    const N: i32 = 1 << 16;
    let before = mappings();
    let q = Queue::new(N);
    let new: Vec<Mapping> = mappings()
        .into_iter()
        .filter(|m| !before.iter().any(|b| b.start <= m.start && m.end <= b.end))
        .collect();
    let (r, w) = pipe();
    q.add_and_test(&r, IN);
    put(&w, b"x");
    let (_, events) = q.wait_raw(limit(2000));
    let address = events as usize;
    let mine = new.iter().find(|m| (m.start..m.end).contains(&address));
    let Some(mine) = mine else {
        panic!("the array at {address:#x} lies in none of what create mapped: {new:x?}");
    };
    check_eq!("access", &mine.perms[..3], "r--");
    let size: usize = new.iter().map(|m| m.end - m.start).sum();
    let least = 2 * N as usize * size_of::<PollFd>();
    check!(
        size >= least,
        "expected at least {least} bytes mapped, got {size}"
    );
}

fn address_space_is_freed_by_close() {
    let size = || kilobytes("/proc/self/status", "VmSize:");
    Queue::new(1 << 20);
    let before = size();
    for _ in 0..200 {
        // 16 MB each.
        Queue::new(1 << 20);
    }
    let after = size();
    check!(
        after <= before + 1024,
        "expected about {before} kB of address space, got {after} kB"
    );
}

/// A queue that is closed forgets its watches, and the descriptors go on.
fn close_frees_what_it_watched() {
    let (r, w) = pipe();
    for round in 0..1000 {
        let q = Queue::new(4);
        q.add_and_test(&r, IN);
        put(&w, b"x");
        q.expect(&format!("round {round}"), &[entry(&r, IN, IN)]);
        get(&r, 1);
    }
    put(&w, b"x");
    check_eq!("bytes", drain(&r), 1);
}

/// 256 MB of buffers, of which nobody uses a byte.
fn memory_is_not_taken_before_it_is_used() {
    let available = || kilobytes("/proc/meminfo", "MemAvailable:");
    let before = available();
    let q = Queue::new(EVPOLL_MAX_FDS);
    let after = available();
    drop(q);
    check!(
        before.saturating_sub(after) < 64 * 1024,
        "expected create to take little memory, got {before} kB available before and {after} kB \
         after it"
    );
}

fn many_queues() {
    need_files(1000);
    let (r, w) = pipe();
    let queues: Vec<Queue> = (0..300)
        .map(|_| {
            let q = Queue::new(16);
            q.add_and_test(&r, IN);
            q
        })
        .collect();
    for round in 0..2 {
        put(&w, b"x");
        for (i, q) in queues.iter().enumerate() {
            q.expect(&format!("queue {i}, round {round}"), &[entry(&r, IN, IN)]);
        }
    }
    for q in &queues {
        check_eq!("nothing more", q.wait(0), Vec::new());
    }
}

fn empty_queue_has_nothing() {
    Queue::new(8).expect_nothing("an empty queue");
}

/// Events are not read from the descriptor.
fn descriptor_is_not_for_reading() {
    let q = Queue::new(8);
    match read(&q.fd, 64) {
        Err(Errno(libc::EINVAL | libc::EBADF)) => {}
        other => panic!("read: expected EINVAL or EBADF, got {other:?}"),
    }
}
