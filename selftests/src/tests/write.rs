// SPDX-License-Identifier: GPL-2.0
//! write(2) on a queue: arrays of `struct pollfd`, applied in order.

use std::os::raw::c_int;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::*;
use crate::net::socketpair;
use crate::queue::*;
use crate::runner::skip;
use crate::sys::*;

tests!("write":
    adds,
    adds_many_in_one_call,
    add_queues_nothing_for_what_is_true,
    modifies,
    modify_queues_nothing_for_what_is_true,
    modify_takes_effect_on_what_is_queued,
    removes,
    remove_drops_what_is_queued,
    remove_ignores_other_bits,
    in_order_within_one_array,
    same_descriptor_many_times,
    revents_are_ignored,
    stops_at_the_first_error,
    first_error_is_the_result,
    error_closed_descriptor,
    error_negative_descriptor,
    error_unknown_bits,
    error_remove_of_what_is_not_watched,
    error_no_room,
    error_file_that_cannot_be_watched,
    error_the_queue_itself,
    error_bad_address,
    sizes_that_are_no_array,
    nothing_at_all,
    count_beyond_all_bounds,
    array_that_ends_at_an_unmapped_page,
    array_across_the_end_of_memory,
    array_much_shorter_than_its_size,
    misaligned_array,
    array_in_read_only_memory,
    ten_thousand_elements,
    more_than_there_is_room_for,
    number_closed_and_reused,
    number_removed_by_close_is_not_watched,
    vector_of_arrays,
    through_a_duplicate,
    by_a_child,
    by_who_can_do_more,
    by_who_can_do_something_else,
    by_who_can_do_less,
    wakes_nobody_by_itself,
    same_as_ctl,
    races_ctl,
    races_itself,
    races_events,
    reading_is_refused,
);

const SIZE: usize = size_of::<PollFd>();
const NOBODY: libc::uid_t = 65534;

fn pipes(n: usize) -> Vec<(Fd, Fd)> {
    (0..n).map(|_| pipe()).collect()
}

fn polled(q: &Queue, fd: &Fd) -> Option<Bits> {
    is_polled(q, fd.raw()).map(Bits)
}

fn adds() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    let n = try_apply(&q, &[change(&r, IN)]);
    check_eq!("bytes applied", ok("write", n), SIZE);
    put(&w, b"x");
    q.expect("the event", &[entry(&r, IN, IN)]);
    let got = q.try_ctl(EP_CTL_ADD, r.raw(), IN);
    fails("ADD of what write has added", got, libc::EEXIST);
}

fn adds_many_in_one_call() {
    let q = Queue::new(200);
    let p = pipes(200);
    let all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
    apply(&q, &all);
    for (_, w) in p.iter().rev() {
        put(w, b"x");
    }
    let want: Vec<_> = p.iter().rev().map(|(r, _)| entry(r, IN, IN)).collect();
    q.expect("an event of each", &want);
}

fn add_queues_nothing_for_what_is_true() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    apply(&q, &[change(&r, IN), change(&w, OUT)]);
    q.expect_nothing("what was true before");
    put(&w, b"y");
    q.expect("the next edge", &[entry(&r, IN, IN)]);
}

fn modifies() {
    let q = Queue::new(8);
    let (a, b) = socketpair(libc::SOCK_STREAM);
    apply(&q, &[change(&a, IN)]);
    apply(&q, &[change(&a, RDHUP)]);
    check_eq!("EP_ISPOLLED", polled(&q, &a), Some(Bits(RDHUP)));
    put(&b, b"x");
    q.expect_nothing("what is of no interest any more");
    b.close();
    q.expect("what is", &[entry(&a, RDHUP, RDHUP | HUP)]);
}

fn modify_queues_nothing_for_what_is_true() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    apply(&q, &[change(&r, 0)]);
    put(&w, b"x");
    for _ in 0..3 {
        apply(&q, &[change(&r, IN)]);
        q.expect_nothing("what was true before");
    }
    put(&w, b"y");
    q.expect("the next edge", &[entry(&r, IN, IN)]);
}

fn modify_takes_effect_on_what_is_queued() {
    let q = Queue::new(8);
    let p = pipes(3);
    for (r, w) in &p {
        apply(&q, &[change(r, IN)]);
        put(w, b"x");
    }
    apply(&q, &[change(&p[1].0, PRI)]);
    let want = [entry(&p[0].0, IN, IN), entry(&p[2].0, IN, IN)];
    q.expect("without the one whose mask has changed", &want);
}

fn removes() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    apply(&q, &[change(&r, IN)]);
    apply(&q, &[change(&r, REMOVE)]);
    put(&w, b"x");
    q.expect_nothing("not watched any more");
    let got = q.try_ctl(EP_CTL_DEL, r.raw(), 0);
    fails("DEL of what write has removed", got, libc::ENOENT);
    check_eq!("watches", watches(&q), 0);
}

fn remove_drops_what_is_queued() {
    let q = Queue::new(8);
    let p = pipes(3);
    for (r, w) in &p {
        apply(&q, &[change(r, IN)]);
        put(w, b"x");
    }
    apply(&q, &[change(&p[0].0, REMOVE), change(&p[2].0, REMOVE)]);
    q.expect("what is left", &[entry(&p[1].0, IN, IN)]);
}

/// Also those that would be unknown anywhere else.
fn remove_ignores_other_bits() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    for bits in [IN, VALID, NVAL, 0x800, 0x4000, 0x8000, 0xefff] {
        q.add(&r, IN);
        apply(&q, &[change(&r, REMOVE | bits)]);
        check_eq!(
            format!("after POLLREMOVE and {bits:#x}"),
            polled(&q, &r),
            None
        );
    }
}

fn in_order_within_one_array() {
    let q = Queue::new(1);
    let (r, w) = pipe();
    // There is room for one: each element needs what the ones before it did.
    let all = [
        change(&r, IN),
        change(&r, REMOVE),
        change(&w, OUT),
        change(&w, REMOVE),
        change(&r, OUT),
        change(&r, IN | PRI),
    ];
    apply(&q, &all);
    check_eq!("the last word", polled(&q, &r), Some(Bits(IN | PRI)));
    check_eq!("the other end", polled(&q, &w), None);
    put(&w, b"x");
    q.expect("the event", &[entry(&r, IN | PRI, IN)]);
    // And the other way round it must fail in the middle.
    let got = try_apply(&q, &[change(&r, IN), change(&w, OUT), change(&r, REMOVE)]);
    check_eq!("bytes applied", ok("write", got), SIZE);
    check_eq!("its first element", polled(&q, &r), Some(Bits(IN)));
}

fn same_descriptor_many_times() {
    let q = Queue::new(1);
    let (r, w) = pipe();
    let mut all = Vec::new();
    for i in 0..3000 {
        all.push(change(&r, [IN, OUT, IN | PRI][i % 3]));
    }
    apply(&q, &all);
    check_eq!("watches", watches(&q), 1);
    check_eq!("the last word", polled(&q, &r), Some(Bits(IN | PRI)));
    put(&w, b"x");
    q.expect("one entry", &[entry(&r, IN | PRI, IN)]);
}

fn revents_are_ignored() {
    let q = Queue::new(8);
    for revents in [IN, NVAL, REMOVE, 0xffff, 0x8000] {
        let (r, w) = pipe();
        apply(&q, &[PollFd::new(r.raw(), IN, revents)]);
        q.expect_nothing("what the program has put there");
        put(&w, b"x");
        q.expect("the event", &[entry(&r, IN, IN)]);
        apply(&q, &[PollFd::new(r.raw(), REMOVE, revents)]);
    }
}

/// What lies before the wrong one is applied, what lies behind it is not.
fn stops_at_the_first_error() {
    let short = (1..6).map(|bad_at| (6, bad_at));
    // The kernel reads a long array in parts: what comes in later parts is left alone, too.
    let long = [1, 20, 31, 32, 33, 63, 64, 98].map(|bad_at| (100, bad_at));
    for (len, bad_at) in short.chain(long) {
        let q = Queue::new(100);
        let p = pipes(len);
        let mut all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
        all[bad_at] = PollFd::new(-1, IN, 0);
        let n = ok("write", try_apply(&q, &all));
        check_eq!("bytes applied", n, bad_at * SIZE);
        for (i, (r, _)) in p.iter().enumerate() {
            let want = (i < bad_at).then_some(Bits(IN));
            check_eq!(
                format!("element {i} of an array wrong at {bad_at}"),
                polled(&q, r),
                want
            );
        }
    }
}

/// An element that fails, first in an array: its errno, and nothing is applied.
#[track_caller]
fn refused(q: &Queue, bad: PollFd, errno: c_int) {
    let (r, _w) = pipe();
    let before = watches(q);
    for array in [vec![bad], vec![bad, change(&r, IN)], vec![bad; 100]] {
        fails(&format!("write of {bad:?}"), try_apply(q, &array), errno);
        check_eq!("EP_ISPOLLED of the next one", polled(q, &r), None);
    }
    check_eq!("watches", watches(q), before);
}

fn first_error_is_the_result() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    let unwatched = change(&r, REMOVE);
    let unknown = change(&r, NVAL);
    let closed = PollFd::new(-1, IN, 0);
    for (array, errno) in [
        ([unwatched, unknown, closed], libc::ENOENT),
        ([unknown, closed, unwatched], libc::EINVAL),
        ([closed, unwatched, unknown], libc::EBADF),
    ] {
        fails("the first of three", try_apply(&q, &array), errno);
    }
    check_eq!("watches", watches(&q), 0);
}

fn error_closed_descriptor() {
    let q = Queue::new(8);
    let closed = lowest_free() + 10;
    refused(&q, PollFd::new(closed, IN, 0), libc::EBADF);
    refused(&q, PollFd::new(closed, REMOVE, 0), libc::EBADF);
    let (r, _w) = pipe();
    let path = reopen(&r, libc::O_PATH);
    refused(&q, change(&path, IN), libc::EBADF);
}

fn error_negative_descriptor() {
    let q = Queue::new(8);
    for fd in [-1, -2, -4096, c_int::MIN, c_int::MAX, 1 << 24] {
        refused(&q, PollFd::new(fd, IN, 0), libc::EBADF);
        refused(&q, PollFd::new(fd, REMOVE, 0), libc::EBADF);
    }
}

fn error_unknown_bits() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&w, OUT);
    for bit in (0..16).map(|i| 1 << i) {
        if bit & (VALID | REMOVE) == 0 {
            refused(&q, change(&r, bit), libc::EINVAL);
            refused(&q, change(&r, bit | IN), libc::EINVAL);
            // A change, too.
            refused(&q, change(&w, bit | OUT), libc::EINVAL);
        }
    }
    check_eq!("what was watched", polled(&q, &w), Some(Bits(OUT)));
}

fn error_remove_of_what_is_not_watched() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    refused(&q, change(&r, REMOVE), libc::ENOENT);
    q.add(&r, IN);
    let dup = r.dup();
    refused(&q, change(&dup, REMOVE), libc::ENOENT);
    apply(&q, &[change(&r, REMOVE)]);
    refused(&q, change(&r, REMOVE), libc::ENOENT);
}

fn error_no_room() {
    let q = Queue::new(3);
    let p = pipes(4);
    let all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
    let n = ok("write", try_apply(&q, &all));
    check_eq!("bytes applied", n, 3 * SIZE);
    refused(&q, all[3], libc::E2BIG);
    // What is there already needs no room.
    apply(&q, &all[..3]);
    apply(&q, &[change(&p[0].0, REMOVE), all[3]]);
}

fn error_file_that_cannot_be_watched() {
    let q = Queue::new(8);
    let null = open("/dev/null", libc::O_RDONLY);
    let dir = open("/", libc::O_RDONLY);
    // SAFETY: takes no pointer.
    let epoll = Fd::new(ok("epoll_create1", sys(unsafe { libc::epoll_create1(0) })));
    for fd in [&null, &dir, &epoll] {
        refused(&q, change(fd, IN), libc::EPERM);
    }
}

fn error_the_queue_itself() {
    let q = Queue::new(8);
    refused(&q, change(&q.fd, IN), libc::ELOOP);
    refused(&q, change(&q.fd.dup(), IN), libc::ELOOP);
}

/// The raw call, with any address and count.
fn try_write(q: &Queue, address: usize, count: usize) -> Sys<usize> {
    // SAFETY: the kernel checks the address, and only reads.
    let n = unsafe { libc::write(q.raw(), address as *const _, count) };
    if n < 0 {
        Err(Errno::last())
    } else {
        Ok(n as usize)
    }
}

fn error_bad_address() {
    let q = Queue::new(8);
    let page = map_anonymous(PAGE, libc::PROT_NONE) as usize;
    for address in [0, 8, page, page + 8, page + PAGE - 8, usize::MAX - 8] {
        for count in [8, 16, 4096] {
            let what = format!("write of {count} bytes at {address:#x}");
            fails(&what, try_write(&q, address, count), libc::EFAULT);
        }
    }
    check_eq!("watches", watches(&q), 0);
}

fn sizes_that_are_no_array() {
    let q = Queue::new(8);
    let p = pipes(4);
    let all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
    for count in [1, 2, 4, 7, 9, 12, 15, 17, 31] {
        let got = try_write(&q, all.as_ptr() as usize, count);
        fails(&format!("write of {count} bytes"), got, libc::EINVAL);
    }
    check_eq!("watches", watches(&q), 0);
}

fn nothing_at_all() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    let array = [change(&r, IN)];
    for address in [array.as_ptr() as usize, 0] {
        let got = try_write(&q, address, 0);
        check_eq!("write of nothing", ok("write", got), 0);
    }
    check_eq!("watches", watches(&q), 0);
}

fn count_beyond_all_bounds() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    // So that nothing strange is applied, should it be read.
    let at = page_before_a_hole() - SIZE;
    place(at, &[change(&r, IN)]);
    let top = isize::MAX as usize + 1;
    for count in [top, top + 8, usize::MAX, usize::MAX - 7] {
        match try_write(&q, at, count) {
            // That such an array goes beyond the address space may be noticed first.
            Err(Errno(libc::EINVAL | libc::EFAULT)) => {}
            // For a 64-bit kernel, the size of a 32-bit program is never negative.
            Ok(SIZE) if size_of::<usize>() == 4 => {}
            other => panic!("write of {count:#x} bytes: expected EINVAL, got {other:?}"),
        }
    }
    q.expect("the event", &[entry(&r, IN, IN)]);
}

/// Two pages, of which the second one is not there.
fn page_before_a_hole() -> usize {
    let start = map_anonymous(2 * PAGE, libc::PROT_READ | libc::PROT_WRITE);
    let second = start.cast::<u8>().wrapping_add(PAGE).cast();
    // SAFETY: our own mapping.
    ok("munmap", sys(unsafe { libc::munmap(second, PAGE) }));
    second as usize
}

/// Puts an array there.
fn place(at: usize, array: &[PollFd]) {
    for (i, e) in array.iter().enumerate() {
        // SAFETY: the caller's own memory; it may be misaligned.
        unsafe { ((at + i * SIZE) as *mut PollFd).write_unaligned(*e) };
    }
}

fn array_that_ends_at_an_unmapped_page() {
    let end = page_before_a_hole();
    for n in [1, 3, 100, PAGE / SIZE] {
        let q = Queue::new(512);
        let (r, w) = pipe();
        let (other, _w2) = pipe();
        let mut array = vec![change(&other, IN); n];
        array[n - 1] = change(&r, IN);
        place(end - n * SIZE, &array);
        // As long as it is: nothing is read beyond it.
        let got = try_write(&q, end - n * SIZE, n * SIZE);
        check_eq!("all of it", ok("write", got), n * SIZE);
        // Longer: what could be read is applied.
        for more in [1, 2, 1000] {
            let got = try_write(&q, end - n * SIZE, (n + more) * SIZE);
            check_eq!("up to the hole", ok("write", got), n * SIZE);
        }
        put(&w, b"x");
        q.expect("the event", &[entry(&r, IN, IN)]);
    }
}

/// An element of which only a part can be read.
fn array_across_the_end_of_memory() {
    let end = page_before_a_hole();
    for part in [1, 4, 7] {
        let q = Queue::new(8);
        let (r, _w) = pipe();
        place(end - SIZE - part, &[change(&r, IN)]);
        let got = try_write(&q, end - SIZE - part, 2 * SIZE);
        check_eq!("the whole one", ok("write", got), SIZE);
        let got = try_write(&q, end - part, SIZE);
        fails("a part of one", got, libc::EFAULT);
        check_eq!("watches", watches(&q), 1);
    }
}

/// What the size says costs nothing, until it is there.
fn array_much_shorter_than_its_size() {
    const MOST: usize = 16 << 10;
    let q = Queue::new(EVPOLL_MAX_FDS);
    let (r, _w) = pipe();
    let at = page_before_a_hole() - SIZE;
    place(at, &[change(&r, IN)]);
    let available = || kilobytes("/proc/meminfo", "MemAvailable:");
    let before = available();
    // As far as addresses of 32 bits go above a mapping.
    let size = if size_of::<usize>() == 4 {
        64 << 20
    } else {
        1 << 30
    };
    check_eq!("what is there", ok("write", try_write(&q, at, size)), SIZE);
    let taken = before.saturating_sub(available());
    check!(taken < MOST, "one watch took {taken} kB");
    check_eq!("watches", watches(&q), 1);
}

fn misaligned_array() {
    let memory = map_anonymous(PAGE, libc::PROT_READ | libc::PROT_WRITE) as usize;
    for off in 1..8 {
        let q = Queue::new(8);
        let (r, w) = pipe();
        let (r2, w2) = pipe();
        place(memory + off, &[change(&r, IN), change(&r2, IN)]);
        let got = try_write(&q, memory + off, 2 * SIZE);
        check_eq!("bytes applied", ok("write", got), 2 * SIZE);
        put(&w2, b"x");
        put(&w, b"x");
        q.expect("both", &[entry(&r2, IN, IN), entry(&r, IN, IN)]);
    }
}

/// It is only read.
fn array_in_read_only_memory() {
    let memory = map_anonymous(PAGE, libc::PROT_READ | libc::PROT_WRITE);
    let q = Queue::new(8);
    let (r, w) = pipe();
    place(memory as usize, &[PollFd::new(r.raw(), IN, NVAL)]);
    // SAFETY: our own mapping.
    let got = sys(unsafe { libc::mprotect(memory, PAGE, libc::PROT_READ) });
    ok("mprotect", got);
    let got = try_write(&q, memory as usize, SIZE);
    check_eq!("bytes applied", ok("write", got), SIZE);
    put(&w, b"x");
    q.expect("the event", &[entry(&r, IN, IN)]);
}

fn ten_thousand_elements() {
    const N: usize = 10_000;
    if try_need_files(N as u64 + 100).is_err() {
        skip("not enough descriptors");
    }
    let q = Queue::new(N as i32);
    let p = pipes(N / 2);
    let ends = || p.iter().flat_map(|(r, w)| [(r, IN), (w, OUT)]);
    let all: Vec<_> = ends().map(|(fd, events)| change(fd, events)).collect();
    apply(&q, &all);
    check_eq!("watches", watches(&q), N);
    for (_, w) in &p {
        put(w, b"x");
    }
    // All IN; a pipe with room has no edge for OUT.
    let got = q.wait(limit(4000));
    let readers: Vec<_> = got.iter().filter(|e| e.events() == IN).collect();
    check_eq!("events", readers.len(), N / 2);
    let all: Vec<_> = ends().map(|(fd, _)| change(fd, REMOVE)).collect();
    apply(&q, &all);
    check_eq!("watches", watches(&q), 0);
}

fn more_than_there_is_room_for() {
    let q = Queue::new(PER_PAGE as i32);
    need_files(4 * PER_PAGE as u64);
    let p = pipes(PER_PAGE + 50);
    let all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
    let n = ok("write", try_apply(&q, &all));
    check_eq!("elements applied", n / SIZE, PER_PAGE);
    check_eq!("watches", watches(&q), PER_PAGE);
    for (_, w) in &p {
        put(w, b"x");
    }
    let got: Vec<i32> = q.wait(limit(2000)).iter().map(|e| e.fd).collect();
    let want: Vec<i32> = p[..PER_PAGE].iter().map(|(r, _)| r.raw()).collect();
    check!(got == want, "{} events came", got.len());
}

fn number_closed_and_reused() {
    let q = Queue::new(8);
    let mut last = None;
    for _ in 0..50 {
        let (r, w) = pipe();
        check!(
            last.is_none_or(|n| n == r.raw()),
            "the number was not reused"
        );
        // An add, and not a change of the watch of the file that is closed.
        apply(&q, &[change(&r, IN)]);
        put(&w, b"x");
        q.expect("the event", &[entry(&r, IN, IN)]);
        last = Some(r.raw());
    }
    check_eq!("watches", watches(&q), 0);
}

fn number_removed_by_close_is_not_watched() {
    let q = Queue::new(8);
    let (r, _w) = pipe();
    let number = r.raw();
    apply(&q, &[change(&r, IN)]);
    drop(r);
    refused(&q, PollFd::new(number + 100, REMOVE, 0), libc::EBADF);
    let (again, _w2) = pipe();
    check_eq!("the number", again.raw(), number);
    let got = try_apply(&q, &[change(&again, REMOVE)]);
    fails(
        "POLLREMOVE of another file's number",
        got.map(|_| ()),
        libc::ENOENT,
    );
}

/// writev(2): each part is an array of its own.
fn vector_of_arrays() {
    let q = Queue::new(8);
    let p = pipes(4);
    let all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
    let part = |a: &[PollFd]| libc::iovec {
        iov_base: a.as_ptr().cast_mut().cast(),
        iov_len: size_of_val::<[PollFd]>(a),
    };
    let parts = [part(&all[..1]), part(&all[1..1]), part(&all[1..])];
    // SAFETY: three parts of an array that lives; they are only read.
    let n = unsafe { libc::writev(q.raw(), parts.as_ptr(), 3) };
    check_eq!("bytes applied", n, 4 * SIZE as libc::ssize_t);
    check_eq!("watches", watches(&q), 4);
}

fn through_a_duplicate() {
    let q = Queue::new(8);
    let dup = Queue { fd: q.fd.dup() };
    let (r, w) = pipe();
    apply(&dup, &[change(&r, IN)]);
    put(&w, b"x");
    q.expect("through the first", &[entry(&r, IN, IN)]);
    apply(&q, &[change(&r, REMOVE)]);
    check_eq!("through the second", polled(&dup, &r), None);
}

/// The numbers are those of the process that writes.
fn by_a_child() {
    let q = Queue::new(8);
    let (done, report) = pipe();
    let child = fork(|| {
        let (r, w) = pipe();
        apply(&q, &[change(&r, IN)]);
        put(&report, &r.raw().to_ne_bytes());
        put(&w, b"x");
        q.expect("in the child", &[entry(&r, IN, IN)]);
    });
    poll_until(&done, IN);
    let said = ok("read", read(&done, 4));
    child.succeed();
    let number = c_int::from_ne_bytes([said[0], said[1], said[2], said[3]]);
    check_eq!("watches after the child's end", watches(&q), 0);
    fails(
        "POLLREMOVE of the child's number",
        try_apply(&q, &[PollFd::new(number, REMOVE, 0)]),
        libc::EBADF,
    );
}

/// Whoever can do more than who has opened the queue may not know that it writes to one, and the
/// descriptors are its own.
fn by_who_can_do_more() {
    fork(|| {
        let same = libc::uid_t::MAX;
        let effective = |user| {
            // SAFETY: takes no pointer.
            let changed = sys(unsafe { libc::setresuid(same, user, 0) });
            ok("setresuid", changed);
        };
        effective(NOBODY);
        let q = Queue::new(8);
        let (r, w) = pipe();
        effective(0);
        for array in [vec![], vec![change(&r, IN)], vec![change(&r, REMOVE)]] {
            fails("write by root", try_apply(&q, &array), libc::EACCES);
        }
        check_eq!("watches", watches(&q), 0);
        // Who makes this call knows what it is for.
        q.add(&r, IN);
        put(&w, b"x");
        q.expect("in the child", &[entry(&r, IN, IN)]);
        effective(NOBODY);
        apply(&q, &[change(&r, REMOVE)]);
        fork(|| apply(&q, &[change(&r, IN)])).succeed();
        // Who has changed its user need not be able to look at itself.
        effective(0);
        check_eq!("watches", watches(&q), 1);
    })
    .succeed();
}

/// Another group is enough, and so are capabilities.
fn by_who_can_do_something_else() {
    fork(|| {
        let same = libc::uid_t::MAX;
        // SAFETY: takes no pointer.
        let changed = sys(unsafe { libc::setresuid(same, NOBODY, 0) });
        ok("setresuid", changed);
        let q = Queue::new(8);
        let (r, _w) = pipe();
        let array = [change(&r, IN)];
        fork(|| {
            // SAFETY: these take no pointer.
            unsafe {
                ok("setresuid", sys(libc::setresuid(same, 0, same)));
                // It leaves capabilities that have nothing to do with files.
                libc::setfsuid(NOBODY);
            }
            fails("with capabilities", try_apply(&q, &array), libc::EACCES);
        })
        .succeed();
        fork(|| {
            // SAFETY: these take no pointer.
            unsafe {
                ok("setresuid", sys(libc::setresuid(same, 0, same)));
                ok("setresgid", sys(libc::setresgid(NOBODY, NOBODY, NOBODY)));
                ok("setresuid", sys(libc::setresuid(NOBODY, NOBODY, NOBODY)));
            }
            fails("as another group", try_apply(&q, &array), libc::EACCES);
        })
        .succeed();
        apply(&q, &array);
    })
    .succeed();
}

/// Root may look into any process, and so its queues into one that it has become.
fn by_who_can_do_less() {
    let q = device(8).0;
    fork(|| {
        // SAFETY: takes no pointer.
        let changed = sys(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) });
        ok("setresuid", changed);
        let (r, w) = pipe();
        apply(&q, &[change(&r, IN)]);
        put(&w, b"x");
        q.expect("in the child", &[entry(&r, IN, IN)]);
    })
    .succeed();
}

fn wakes_nobody_by_itself() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    put(&w, b"x");
    let woken = thread::scope(|s| {
        let waiter = s.spawn(|| q.wait(limit(150)));
        let_it_block();
        apply(&q, &[change(&r, IN), change(&r, IN | PRI), change(&w, OUT)]);
        waiter.join().expect("the waiter")
    });
    check_eq!("what woke the waiter", woken, Vec::new());
    thread::scope(|s| {
        let waiter = s.spawn(|| q.wait(limit(4000)));
        let_it_block();
        put(&w, b"y");
        check_eq!(
            "the event of what was added during a wait",
            waiter.join().expect("the waiter"),
            vec![entry(&r, IN | PRI, IN)]
        );
    });
}

/// Both ways lead to the same table.
fn same_as_ctl() {
    let (q, other) = (Queue::new(16), Queue::new(16));
    let p = pipes(8);
    let mut seed = 7u32;
    for step in 0..500 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (r, _) = &p[(seed >> 8) as usize % p.len()];
        let events = [0, IN, IN | PRI, OUT][(seed >> 16) as usize % 4];
        let remove = seed >> 28 < 5;
        let there = is_polled(&q, r.raw()).is_some();
        let op = match (remove, there) {
            (true, _) => EP_CTL_DEL,
            (false, true) => EP_CTL_MOD,
            (false, false) => EP_CTL_ADD,
        };
        let by_write = try_apply(&q, &[change(r, if remove { REMOVE } else { events })]);
        let by_ctl = other.try_ctl(op, r.raw(), events);
        check_eq!(
            format!("the errors of step {step}"),
            by_write.err(),
            by_ctl.err()
        );
        check_eq!(
            format!("the watch of step {step}"),
            polled(&q, r),
            polled(&other, r)
        );
    }
}

/// Another thread changes the same watches by evpoll_ctl all the time.
fn races_ctl() {
    let q = Queue::new(64);
    let p = pipes(32);
    let stop = AtomicBool::new(false);
    let rounds = AtomicUsize::new(0);
    let add: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
    let remove: Vec<_> = p.iter().map(|(r, _)| change(r, REMOVE)).collect();
    thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(SeqCst) {
                for (r, _) in &p {
                    for op in [EP_CTL_MOD, EP_CTL_DEL, EP_CTL_ADD, EP_CTL_MOD_AND_TEST] {
                        match q.try_ctl(op, r.raw(), IN) {
                            Ok(_) | Err(Errno(libc::ENOENT | libc::EEXIST)) => {}
                            Err(e) => panic!("operation {op}: {e}"),
                        }
                    }
                }
                rounds.fetch_add(1, SeqCst);
            }
        });
        let end = std::time::Instant::now() + std::time::Duration::from_millis(1000);
        while std::time::Instant::now() < end || rounds.load(SeqCst) < 3 {
            // Whether it is there or not, an element is applied.
            apply(&q, &add);
            match try_apply(&q, &remove) {
                Ok(n) => check!(n > 0 && n % SIZE == 0, "removing applied {n} bytes"),
                // The other one was faster at the first element.
                Err(Errno(libc::ENOENT)) => {}
                Err(e) => panic!("removing: {e}"),
            }
        }
        stop.store(true, SeqCst);
    });
    for (r, _) in &p {
        let _ = q.try_ctl(EP_CTL_DEL, r.raw(), 0);
    }
    q.expect_nothing("all are removed");
    apply(&q, &add);
    for (_, w) in &p {
        put(w, b"x");
    }
    check_eq!("events afterwards", q.wait(limit(2000)).len(), p.len());
}

/// Two writers of the same array: each element is added once.
fn races_itself() {
    for round in 0..100 {
        let q = Queue::new(16);
        let p = pipes(16);
        let all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
        thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| apply(&q, &all));
            }
        });
        check_eq!(format!("watches in round {round}"), watches(&q), 16);
        for (_, w) in &p {
            put(w, b"x");
        }
        check_eq!("events", q.wait(limit(2000)).len(), 16);
    }
}

/// Events that come while what they belong to is changed: none is lost that came after the last
/// change.
fn races_events() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    apply(&q, &[change(&r, IN)]);
    for round in 0..300 {
        thread::scope(|s| {
            s.spawn(|| apply(&q, &[change(&r, IN | PRI), change(&r, IN)]));
            put(&w, b"x");
        });
        let got = q.wait(0);
        check!(
            got.is_empty() || got == [entry(&r, IN, IN)],
            "round {round}: {got:?}"
        );
        check!(
            !got.is_empty(),
            "round {round}: the mask held IN all the time, and no event came"
        );
        get(&r, 1);
    }
}

fn reading_is_refused() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    for len in [0, 8, 64, 4096] {
        match read(&q.fd, len) {
            Err(Errno(libc::EINVAL)) => {}
            // Nothing is read, whatever the file.
            Ok(data) if len == 0 && data.is_empty() => {}
            other => panic!("read of {len} bytes: expected EINVAL, got {other:?}"),
        }
    }
    q.expect("the event", &[entry(&r, IN, IN)]);
}
