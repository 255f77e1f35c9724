// SPDX-License-Identifier: GPL-2.0
//! A queue that several processes have mapped: whoever closes it last, all mappings that evpoll
//! made go away, and nobody's accounts are touched but those of the process that had them. And
//! what a program does to its mapping: each array that is handed out can be read.

use std::ffi::{CString, OsStr};
use std::os::raw::{c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::{
    alloc, device, is_polled, map_size, mapped, open_device, poll, try_free, watches, Map, PAGE,
};
use crate::net::{recv_fd, send_fd, socketpair};
use crate::queue::*;
use crate::sys::*;

tests!("sharing":
    closed_last_by_exit_of_a_child,
    closed_last_by_a_child,
    closed_last_by_the_parent_of_one_that_waited,
    closed_last_in_a_message,
    many_children_close_last,
    fork_shares_the_queue,
    fork_and_both_wait,
    exec_with_close_on_exec,
    exec_without_close_on_exec,
    exec_closes_what_is_watched,
    exec_of_a_device,
    watched_descriptor_sent,
    queue_sent_back,
    queue_sent_to_many,
    munmap_then_wait,
    munmap_then_wait_many_times,
    munmap_of_a_part,
    munmap_while_another_thread_waits,
    something_else_mapped_there,
    remap_in_place_of_the_mapping,
    mremap_moves,
    mremap_changes_the_size,
    mprotect_to_nothing_and_back,
    madvise_every_advice,
    second_mapping,
    second_mapping_outlives_the_first,
    mapping_by_a_child,
    wait_needs_no_mapping_in_a_thread,
    locked_memory,
);

/// The mapping of another process goes away soon, not at once.
#[track_caller]
fn expect_unmapped() {
    let end = Instant::now() + Duration::from_millis(limit(5000) as u64);
    while mapped() != 0 {
        check!(
            Instant::now() < end,
            "expected no mapping any more, got {}",
            mapped()
        );
        sleep(ms(5));
    }
}

#[track_caller]
fn works() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.expect("the event of a new queue", &[entry(&r, IN, IN)]);
}

/// As `exit` closes: the process has no address space of its own any more.
fn closed_last_by_exit_of_a_child() {
    let q = Queue::new(8);
    let (go, gate) = pipe();
    let child = fork(|| {
        poll_for(go.raw(), IN, limit(5000));
    });
    drop(q);
    check_eq!("mappings while the child has the queue", mapped(), 1);
    put(&gate, b".");
    child.succeed();
    expect_unmapped();
    works();
}

fn closed_last_by_a_child() {
    let q = Queue::new(8);
    let (go, gate) = pipe();
    let size = kilobytes("/proc/self/status", "VmSize:");
    let child = fork(|| {
        poll_for(go.raw(), IN, limit(5000));
        let before = kilobytes("/proc/self/status", "VmSize:");
        // SAFETY: a descriptor that is not used afterwards.
        ok("close", sys(unsafe { libc::close(q.raw()) }));
        sleep(ms(50));
        let after = kilobytes("/proc/self/status", "VmSize:");
        check_eq!("the size of the child, which had no mapping", after, before);
    });
    drop(q);
    put(&gate, b".");
    child.succeed();
    expect_unmapped();
    let now = kilobytes("/proc/self/status", "VmSize:");
    check!(
        now < size,
        "expected less than {size} kB of address space, got {now} kB"
    );
    works();
}

fn closed_last_by_the_parent_of_one_that_waited() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let (go, gate) = pipe();
    let (done, report) = pipe();
    let child = fork(|| {
        check_eq!("mappings of the child", mapped(), 0);
        q.expect("the event", &[entry(&r, IN, IN)]);
        check_eq!("mappings of the child that waited", mapped(), 1);
        // SAFETY: a descriptor that is not used afterwards.
        ok("close", sys(unsafe { libc::close(q.raw()) }));
        check_eq!("mappings while the parent has the queue", mapped(), 1);
        put(&report, b".");
        poll_for(go.raw(), IN, limit(5000));
        expect_unmapped();
        works();
    });
    poll_for(done.raw(), IN, limit(5000));
    drop(q);
    check_eq!("the parent's own mapping", mapped(), 0);
    put(&gate, b".");
    child.succeed();
}

/// The last reference is in a message that nobody reads.
fn closed_last_in_a_message() {
    let q = Queue::new(8);
    let (a, b) = crate::net::socketpair(libc::SOCK_STREAM);
    crate::net::send_fd(&a, q.raw());
    drop(q);
    check_eq!("mappings while the message has the queue", mapped(), 1);
    drop(a);
    drop(b);
    expect_unmapped();
    works();
}

fn many_children_close_last() {
    for round in 0..20 {
        let queues: Vec<_> = (0..8).map(|_| Queue::new(64)).collect();
        let (go, gate) = pipe();
        let child = fork(|| {
            poll_for(go.raw(), IN, limit(5000));
            if round % 2 == 0 {
                drop(queues.iter().map(|q| q.fd.dup()).collect::<Vec<_>>());
            }
        });
        drop(queues);
        put(&gate, b".");
        child.succeed();
    }
    expect_unmapped();
    works();
}

/// Both have it, and what one adds the other one hears.
fn fork_shares_the_queue() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let (r2, w2) = pipe();
    q.add(&r, IN);
    fork(|| {
        q.add(&r2, IN);
        q.del(&r);
    })
    .succeed();
    put(&w, b"x");
    put(&w2, b"x");
    // The child's numbers are the parent's, and so are the files.
    q.expect("what the child has added", &[entry(&r2, IN, IN)]);
}

/// Each event is handed out once, to one of the processes.
fn fork_and_both_wait() {
    const EVENTS: usize = 200;
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let (told, tell) = pipe();
    let harvest = || {
        loop {
            let got = q.wait(limit(3000));
            check!(got.len() <= 1, "{} entries", got.len());
            check!(!got.is_empty(), "no event came");
            check_eq!("the entry", got[0], entry(&r, IN, IN));
            match ok("read", read(&r, 1))[0] {
                b'x' => put(&tell, b"+"),
                // The last word, for the other one as well.
                _ => {
                    put(&w, b".");
                    return;
                }
            }
        }
    };
    let children = [fork(harvest), fork(harvest)];
    for i in 0..EVENTS {
        put(&w, b"x");
        poll_until(&told, IN);
        check_eq!(format!("answers to event {i}"), drain(&told), 1);
    }
    put(&w, b".");
    for child in children {
        child.succeed();
    }
}

/// Runs this very program again: `child` there gets these words. Returns only when that fails.
fn exec(words: &[&str]) {
    let path = std::fs::read_link("/proc/self/exe").expect("/proc/self/exe");
    let c = |s: &OsStr| CString::new(s.as_bytes()).unwrap();
    let mut words: Vec<CString> = words.iter().map(|w| c(OsStr::new(w))).collect();
    words.insert(0, c(OsStr::new(CHILD)));
    words.insert(0, c(path.as_os_str()));
    let mut argv: Vec<*const c_char> = words.iter().map(|w| w.as_ptr()).collect();
    argv.push(std::ptr::null());
    // SAFETY: C strings, and a list of them that ends with a null pointer.
    unsafe { libc::execv(words[0].as_ptr(), argv.as_ptr()) };
    panic!("execv: {}", Errno::last());
}

/// The first argument of what `exec` runs.
pub const CHILD: &str = "--child";

/// What `exec` runs: its exit status. Which of the descriptors are the queue, the pipe's read end
/// and its write end, is in the words.
pub fn child(words: &[String]) -> i32 {
    let number = |i: usize| words.get(i).and_then(|w| w.parse::<c_int>().ok());
    let (Some(queue), Some(r), Some(w)) = (number(1), number(2), number(3)) else {
        return 2;
    };
    check_eq!("mappings of queues after exec", mapped(), 0);
    // SAFETY: takes no pointer.
    let open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0;
    match words[0].as_str() {
        "closed" => {
            check!(!open(queue), "the queue is open after exec");
            let q = std::mem::ManuallyDrop::new(Queue { fd: Fd::new(queue) });
            fails("a wait on it", q.try_wait(0), libc::EBADF);
        }
        "open" => {
            let q = Queue { fd: Fd::new(queue) };
            let (r, w) = (Fd::new(r), Fd::new(w));
            check_eq!("watches after exec", watches(&q), 1);
            put(&w, b"x");
            q.expect("after exec", &[entry(&r, IN, IN)]);
            check_eq!("mappings after a wait", mapped(), 1);
            q.expect("nothing more", &[]);
        }
        "unwatched" => {
            let q = Queue { fd: Fd::new(queue) };
            check!(!open(r) && !open(w), "the pipe is open after exec");
            check_eq!("watches of what exec has closed", watches(&q), 0);
            q.expect("events of what exec has closed", &[]);
        }
        "device" => {
            let q = Queue { fd: Fd::new(queue) };
            let (r, w) = (Fd::new(r), Fd::new(w));
            fails(
                "EP_POLL after exec",
                crate::device::try_poll(&q, 0),
                libc::EINVAL,
            );
            let map = Map::new(&q, 8);
            put(&w, b"x");
            map.expect(&q, "after exec", &[entry(&r, IN, IN)]);
        }
        _ => return 2,
    }
    0
}

#[track_caller]
fn keep(fd: &Fd) {
    // SAFETY: takes no pointer.
    let got = sys(unsafe { libc::fcntl(fd.raw(), libc::F_SETFD, 0) });
    ok("F_SETFD", got);
}

/// Runs `child` with these in a new program, and waits for its success.
#[track_caller]
fn in_a_new_program(what: &str, q: &Queue, r: &Fd, w: &Fd) {
    let numbers = [q.raw(), r.raw(), w.raw()].map(|n| n.to_string());
    let [q, r, w] = &numbers;
    fork(|| exec(&[what, q, r, w])).succeed();
}

fn exec_with_close_on_exec() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for fd in [&r, &w] {
        keep(fd);
    }
    in_a_new_program("closed", &q, &r, &w);
    put(&w, b"x");
    q.expect("in the parent", &[entry(&r, IN, IN)]);
}

fn exec_without_close_on_exec() {
    let q = ok("evpoll_create", Queue::try_new(8, 0));
    let (r, w) = pipe();
    q.add(&r, IN);
    for fd in [&r, &w] {
        keep(fd);
    }
    for _ in 0..3 {
        in_a_new_program("open", &q, &r, &w);
        put(&w, b"x");
        q.expect("in the parent", &[entry(&r, IN, IN)]);
    }
}

/// The last descriptors of the pipe are those that exec closes.
fn exec_closes_what_is_watched() {
    let q = ok("evpoll_create", Queue::try_new(8, 0));
    fork(|| {
        let (r, w) = pipe();
        q.add(&r, IN);
        put(&w, b"x");
        let numbers = [q.raw(), r.raw(), w.raw()].map(|n| n.to_string());
        let [q, r, w] = &numbers;
        exec(&["unwatched", q, r, w]);
    })
    .succeed();
    check_eq!("watches", watches(&q), 0);
    q.expect("events", &[]);
}

fn exec_of_a_device() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for fd in [&q.fd, &r, &w] {
        keep(fd);
    }
    in_a_new_program("device", &q, &r, &w);
    put(&w, b"x");
    map.expect(&q, "in the parent", &[entry(&r, IN, IN)]);
}

/// The entry has the number that it was added by, whoever else has the file.
fn watched_descriptor_sent() {
    let (mine, theirs) = socketpair(libc::SOCK_STREAM);
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let child = fork(|| {
        let copy = recv_fd(&theirs);
        put(&theirs, b"got it");
        poll_until(&copy, IN);
        get(&copy, 1);
    });
    send_fd(&mine, r.raw());
    poll_until(&mine, IN);
    put(&w, b"x");
    q.expect("in the process that added it", &[entry(&r, IN, IN)]);
    child.succeed();
    check_eq!("watches", watches(&q), 1);
    put(&w, b"y");
    q.expect("after the other one has closed it", &[entry(&r, IN, IN)]);
}

/// The same queue under another number.
fn queue_sent_back() {
    let (a, b) = socketpair(libc::SOCK_STREAM);
    let q = Queue::new(8);
    let (r, w) = pipe();
    send_fd(&a, q.raw());
    let same = Queue { fd: recv_fd(&b) };
    check!(same.raw() != q.raw(), "the number is the same");
    same.add(&r, IN);
    put(&w, b"x");
    let lines = mapped();
    q.expect("through the first number", &[entry(&r, IN, IN)]);
    drop(q);
    put(&w, b"y");
    same.expect("through the second one", &[entry(&r, IN, IN)]);
    check_eq!("mappings", mapped(), lines);
    drop(same);
    expect_unmapped();
}

fn queue_sent_to_many() {
    const N: usize = 8;
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for _ in 0..N {
        let (mine, theirs) = socketpair(libc::SOCK_STREAM);
        let child = fork(|| {
            let got = Queue {
                fd: recv_fd(&theirs),
            };
            // SAFETY: a descriptor that is not used afterwards.
            ok("close", sys(unsafe { libc::close(q.raw()) }));
            put(&w, b"x");
            got.expect("in another process", &[entry(&r, IN, IN)]);
            check_eq!("its mappings", mapped(), 1);
        });
        send_fd(&mine, q.raw());
        child.succeed();
    }
    check_eq!("one's own mappings", mapped(), 1);
    put(&w, b"x");
    q.expect("and here", &[entry(&r, IN, IN)]);
}

/// A queue, a pipe that it watches, and the mapping that create made.
fn own_mapping() -> (Queue, Fd, Fd, Mapping) {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let (n, array) = q.wait_raw(limit(2000));
    check_eq!("the event", copy(array, n), vec![entry(&r, IN, IN)]);
    let m = mapping_of(array.cast()).expect("the array's mapping");
    check_eq!("its size", m.end - m.start, map_size(8));
    (q, r, w, m)
}

fn unmap(start: usize, len: usize) -> Sys<c_int> {
    // SAFETY: a mapping of evpoll's, of which no array is read any more.
    sys(unsafe { libc::munmap(start as *mut _, len) })
}

fn munmap_then_wait() {
    let (q, r, w, m) = own_mapping();
    ok("munmap", unmap(m.start, m.end - m.start));
    check_eq!("mappings", mapped(), 0);
    put(&w, b"y");
    q.expect("a wait maps it again", &[entry(&r, IN, IN)]);
    check_eq!("mappings after the wait", mapped(), 1);
    drop(q);
    check_eq!("mappings after close", mapped(), 0);
}

fn munmap_then_wait_many_times() {
    let (q, r, w, mut m) = own_mapping();
    let size = kilobytes("/proc/self/status", "VmSize:");
    for _ in 0..300 {
        ok("munmap", unmap(m.start, m.end - m.start));
        put(&w, b"y");
        let (n, array) = q.wait_raw(limit(2000));
        check_eq!("the event", copy(array, n), vec![entry(&r, IN, IN)]);
        m = mapping_of(array.cast()).expect("the array's mapping");
        get(&r, 1);
    }
    check_eq!("mappings", mapped(), 1);
    let now = kilobytes("/proc/self/status", "VmSize:");
    check!(now <= size + 512, "VmSize grew from {size} to {now} kB");
}

/// In parts it would be of no use to a wait: it stays whole, or the next wait makes another one.
fn munmap_of_a_part() {
    let (q, r, w, m) = own_mapping();
    for (start, len) in [(m.start, PAGE), (m.start + PAGE, PAGE)] {
        let _ = unmap(start, len);
        for _ in 0..2 {
            put(&w, b"y");
            q.expect("a wait afterwards", &[entry(&r, IN, IN)]);
        }
    }
    drop(q);
    check_eq!("mappings after close", mapped(), 0);
}

/// What is unmapped is not handed out: the wait looks after it was woken.
fn munmap_while_another_thread_waits() {
    let (q, r, w, m) = own_mapping();
    thread::scope(|s| {
        let waiter = s.spawn(|| q.wait(limit(4000)));
        let_it_block();
        ok("munmap", unmap(m.start, m.end - m.start));
        put(&w, b"y");
        check_eq!(
            "the event",
            waiter.join().expect("the waiter"),
            vec![entry(&r, IN, IN)]
        );
    });
}

/// The program's own memory, where the buffers were.
fn something_else_mapped_there() {
    let (q, r, w, m) = own_mapping();
    let len = m.end - m.start;
    for how in [libc::MAP_FIXED, libc::MAP_FIXED_NOREPLACE] {
        if how == libc::MAP_FIXED_NOREPLACE {
            ok("munmap", unmap(m.start, len));
        }
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | how;
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: over a mapping of which no array is read any more.
        let p = unsafe { libc::mmap(m.start as *mut _, len, prot, flags, -1, 0) };
        check_eq!("the program's memory", p as usize, m.start);
        // SAFETY: our own memory.
        unsafe { std::ptr::write_bytes(p.cast::<u8>(), 0xa5, len) };
        for _ in 0..3 {
            put(&w, b"y");
            q.expect("a wait afterwards", &[entry(&r, IN, IN)]);
        }
        // SAFETY: as above.
        let bytes = unsafe { std::slice::from_raw_parts(p.cast::<u8>(), len) };
        check!(
            bytes.iter().all(|b| *b == 0xa5),
            "the program's memory was written to"
        );
    }
    drop(q);
    let left = mapping_of(m.start as *const _);
    check!(left.is_some(), "close took the program's memory away");
}

/// Another queue's buffers, where the first one's were.
fn remap_in_place_of_the_mapping() {
    let (q, r, w, m) = own_mapping();
    let other = Queue::new(8);
    let (r2, w2) = pipe();
    other.add(&r2, IN);
    let (flags, len) = (libc::MAP_SHARED | libc::MAP_FIXED, m.end - m.start);
    let at = m.start as *mut _;
    // SAFETY: over a mapping of which no array is read any more.
    let p = unsafe { libc::mmap(at, len, libc::PROT_READ, flags, other.raw(), 0) };
    check_eq!("where it is mapped", p as usize, m.start);
    for _ in 0..3 {
        put(&w, b"y");
        put(&w2, b"y");
        q.expect("the first queue", &[entry(&r, IN, IN)]);
        other.expect("the other queue", &[entry(&r2, IN, IN)]);
    }
}

/// Moved or refused: what a wait hands out can be read.
fn mremap_moves() {
    let (q, r, w, m) = own_mapping();
    let len = m.end - m.start;
    let to = map_anonymous(len, libc::PROT_NONE);
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: no array in it is read any more; the target is our own memory.
    let p = unsafe { libc::mremap(m.start as *mut _, len, len, flags, to) };
    let moved = p != libc::MAP_FAILED;
    for _ in 0..3 {
        put(&w, b"y");
        q.expect("a wait afterwards", &[entry(&r, IN, IN)]);
    }
    check_eq!(
        if moved {
            "mappings, moved"
        } else {
            "mappings, not moved"
        },
        mapped(),
        1
    );
    drop(q);
    check_eq!("mappings after close", mapped(), 0);
}

fn mremap_changes_the_size() {
    let (q, r, w, m) = own_mapping();
    let len = m.end - m.start;
    for new in [2 * len, len + PAGE, len - PAGE, 0] {
        for flags in [0, libc::MREMAP_MAYMOVE] {
            // SAFETY: refused, or no array in it is read any more.
            let p = unsafe { libc::mremap(m.start as *mut _, len, new, flags) };
            check!(
                p == libc::MAP_FAILED,
                "mremap from {len:#x} to {new:#x} bytes succeeded"
            );
        }
    }
    // A second copy of it.
    // SAFETY: as above.
    let p = unsafe { libc::mremap(m.start as *mut _, 0, len, libc::MREMAP_MAYMOVE) };
    check!(p == libc::MAP_FAILED, "mremap made a second mapping");
    put(&w, b"y");
    q.expect("a wait afterwards", &[entry(&r, IN, IN)]);
}

fn mprotect_to_nothing_and_back() {
    let (q, r, w, m) = own_mapping();
    let protect = |prot| {
        // SAFETY: no array is read meanwhile.
        let got = sys(unsafe { libc::mprotect(m.start as *mut _, m.end - m.start, prot) });
        ok("mprotect", got);
    };
    for _ in 0..3 {
        protect(libc::PROT_NONE);
        put(&w, b"y");
        protect(libc::PROT_READ);
        q.expect("a wait afterwards", &[entry(&r, IN, IN)]);
        // And with the wait while nothing can be read.
        protect(libc::PROT_NONE);
        put(&w, b"y");
        let (n, array) = q.wait_raw(limit(2000));
        protect(libc::PROT_READ);
        check_eq!("its array", copy(array, n), vec![entry(&r, IN, IN)]);
    }
}

/// Whatever the program advises, the array stays, and a child still gets a mapping of its own.
fn madvise_every_advice() {
    let (q, r, w, _) = own_mapping();
    // MADV_DOFORK, MADV_REMOVE, MADV_DONTNEED and so on; not those that poison memory.
    for advice in 0..=25 {
        put(&w, b"y");
        let (n, array) = q.wait_raw(limit(2000));
        let m = mapping_of(array.cast()).expect("the array's mapping");
        for len in [m.end - m.start, PAGE] {
            // SAFETY: advice that takes no memory of the program's own away.
            unsafe { libc::madvise(m.start as *mut _, len, advice) };
        }
        check_eq!(
            format!("the array after advice {advice}"),
            copy(array, n),
            vec![entry(&r, IN, IN)]
        );
        get(&r, 1);
        if [libc::MADV_DOFORK, libc::MADV_WIPEONFORK].contains(&advice) {
            fork(|| {
                for _ in 0..2 {
                    put(&w, b"z");
                    q.expect("in a child", &[entry(&r, IN, IN)]);
                    get(&r, 1);
                }
            })
            .succeed();
        }
    }
    drop(q);
    check_eq!("mappings after close", mapped(), 0);
}

fn second_mapping() {
    let (q, r, w, m) = own_mapping();
    let map = Map::new(&q, 8);
    for _ in 0..4 {
        put(&w, b"y");
        let (n, array) = q.wait_raw(limit(2000));
        let want = vec![entry(&r, IN, IN)];
        check_eq!("the array", copy(array, n), want);
        let at = array as usize;
        let starts = [m.start, map.start as usize];
        let Some(start) = starts.iter().find(|s| (**s..**s + map.len).contains(&at)) else {
            panic!("the array at {at:#x} lies in none of {starts:x?}");
        };
        for other in starts {
            let there = (other + (at - start)) as *const PollFd;
            check_eq!("the same in both mappings", copy(there, n), want);
        }
    }
}

/// Whichever goes first, a wait uses the one that is left.
fn second_mapping_outlives_the_first() {
    for first_goes in [true, false] {
        let (q, r, w, m) = own_mapping();
        let map = Map::new(&q, 8);
        let kept = if first_goes {
            ok("munmap", unmap(m.start, m.end - m.start));
            Some(map)
        } else {
            drop(map);
            None
        };
        for _ in 0..3 {
            put(&w, b"y");
            q.expect("a wait afterwards", &[entry(&r, IN, IN)]);
        }
        let own = mapped() - usize::from(kept.is_some());
        check!(own <= 1, "{own} mappings of evpoll's own");
        drop(q);
        let left = usize::from(kept.is_some());
        check_eq!("mappings after close", mapped(), left);
    }
}

fn mapping_by_a_child() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    fork(|| {
        let map = Map::new(&q, 8);
        for _ in 0..4 {
            put(&w, b"x");
            let (n, array) = q.wait_raw(limit(2000));
            check_eq!("the array", copy(array, n), vec![entry(&r, IN, IN)]);
            let at = (array as usize).wrapping_sub(map.start as usize);
            check!(at < map.len, "the array is not in the child's mapping");
        }
        check_eq!("mappings of the child", mapped(), 1);
        drop(map);
        put(&w, b"x");
        q.expect("without it", &[entry(&r, IN, IN)]);
    })
    .succeed();
    check_eq!("mappings of the parent", mapped(), 1);
}

/// Threads have one address space, and one mapping for all of them.
fn wait_needs_no_mapping_in_a_thread() {
    let q = open_device();
    alloc(&q, 8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let seen = AtomicUsize::new(0);
    thread::scope(|s| {
        for _ in 0..8 {
            s.spawn(|| seen.fetch_add(q.wait(50).len(), SeqCst));
        }
    });
    check_eq!("events of all threads", seen.load(SeqCst), 1);
    // Threads that find none at the same moment may each make one.
    let maps = mapped();
    check!((1..=8).contains(&maps), "{maps} mappings for eight threads");
    check_eq!("EP_ISPOLLED", is_polled(&q, r.raw()), Some(IN));
    put(&w, b"x");
    check_eq!("EP_POLL", poll(&q, limit(2000)).0, 1);
    fails("EP_FREE", try_free(&q), libc::EBUSY);
    drop(q);
    check_eq!("mappings after close", mapped(), 0);
}

/// A program that locks all that it maps.
fn locked_memory() {
    // SAFETY: takes no pointer.
    let got = sys(unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) });
    if let Err(e) = got {
        crate::runner::skip(&format!("mlockall: {e}"));
    }
    let q = Queue::new(600);
    let (r, w) = pipe();
    q.add(&r, IN);
    for _ in 0..4 {
        put(&w, b"x");
        q.expect("with all memory locked", &[entry(&r, IN, IN)]);
    }
    let (d, map) = device(600);
    d.add(&r, IN);
    put(&w, b"x");
    map.expect(&d, "the device", &[entry(&r, IN, IN)]);
    drop((q, d, map));
    check_eq!("mappings after close", mapped(), 0);
}
