// SPDX-License-Identifier: GPL-2.0
//! /dev/eventpoll, the interface of 2002, and that its descriptors and those of evpoll_create are
//! of one kind.

use std::os::raw::c_int;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::*;
use crate::queue::*;
use crate::runner::skip;
use crate::sys::*;

tests!("device":
    node,
    without_room_nothing_is_added,
    without_room_nothing_is_waited_for,
    without_room_nothing_is_watched,
    alloc_wrong_sizes,
    alloc_largest,
    alloc_grows,
    alloc_grows_under_events,
    alloc_never_shrinks,
    alloc_while_mapped,
    alloc_while_a_child_has_it_mapped,
    alloc_while_a_thread_waits,
    alloc_takes_no_address_space,
    map_size_is_exact,
    map_offset,
    map_shared_and_private,
    map_for_writing,
    map_twice,
    map_starts_with_zeros,
    poll_halves_alternate,
    poll_of_what_came_before_the_mapping,
    poll_timeouts,
    poll_forever_is_woken,
    poll_negative_timeouts,
    poll_huge_timeout,
    poll_interrupted,
    poll_interrupted_even_with_restart,
    poll_bad_pointer_loses_nothing,
    poll_read_only_pointer_loses_nothing,
    poll_without_a_mapping,
    poll_in_a_child,
    poll_by_two_threads,
    is_polled_tells_the_events,
    is_polled_after_close,
    is_polled_by_number_and_file,
    free_while_mapped,
    free_while_a_thread_waits,
    free_without_room,
    free_removes_the_watches,
    free_drops_what_is_queued,
    free_then_alloc_smaller,
    descriptor_is_readable_while_events_are_pending,
    descriptor_wakes_a_poll,
    wait_uses_the_programs_mapping,
    refused_mremap_does_not_unmap,
    wait_uses_whichever_mapping_is_left,
    wait_makes_a_mapping,
    ctl_on_a_device,
    ioctls_on_a_created_queue,
    alloc_and_free_on_a_created_queue,
    created_queue_starts_again_as_a_device,
    offsets_and_pointers_agree,
    two_opens_are_two_queues,
    open_for_reading_cannot_write,
    open_for_writing_cannot_map,
    close_on_exec_is_kept,
    array_is_readable_after_close,
    close_keeps_nothing_but_the_array,
    program_with_600_pipes,
    program_with_one_full_page,
    alloc_and_free_under_everything,
    unknown_ioctls,
    ioctls_on_other_files,
);

/// A pipe with a byte in it, watched for input.
fn ready(q: &Queue) -> (Fd, Fd) {
    let (r, w) = pipe();
    apply(q, &[change(&r, IN)]);
    put(&w, b"x");
    (r, w)
}

fn node() {
    let meta = std::fs::metadata(DEVICE).expect(DEVICE);
    check!(
        meta.file_type().is_char_device(),
        "{DEVICE} is no character device"
    );
    check_eq!("its mode", meta.permissions().mode() & 0o7777, 0o666);
    let text = std::fs::read_to_string("/proc/misc").expect("/proc/misc");
    check!(
        text.lines()
            .any(|l| l.split_whitespace().nth(1) == Some("eventpoll")),
        "/proc/misc does not list it: {text:?}"
    );
}

fn without_room_nothing_is_added() {
    let q = open_device();
    let (r, w) = pipe();
    put(&w, b"x");
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        fails("ADD without room", q.try_ctl(op, r.raw(), IN), libc::E2BIG);
    }
    let got = try_apply(&q, &[change(&r, IN)]);
    fails("write without room", got, libc::E2BIG);
    for op in [EP_CTL_DEL, EP_CTL_MOD, EP_CTL_MOD_AND_TEST] {
        let got = q.try_ctl(op, r.raw(), IN);
        fails(&format!("operation {op} without room"), got, libc::ENOENT);
    }
    let got = try_apply(&q, &[change(&r, REMOVE)]);
    fails("POLLREMOVE without room", got, libc::ENOENT);
    check_eq!("EP_ISPOLLED", is_polled(&q, r.raw()), None);
    check_eq!("watches", watches(&q), 0);
}

fn without_room_nothing_is_waited_for() {
    let q = open_device();
    for timeout in [0, 10, -1] {
        let what = |call| format!("{call} without room, timeout {timeout}");
        fails(&what("evpoll_wait"), q.try_wait(timeout), libc::EINVAL);
        fails(&what("EP_POLL"), try_poll(&q, timeout), libc::EINVAL);
    }
    for len in [PAGE, 2 * PAGE, 4 * PAGE] {
        let got = Map::try_new(&q, len, libc::PROT_READ, libc::MAP_SHARED, 0);
        fails("mmap without room", got.map(|_| ()), libc::EINVAL);
    }
    fails("EP_FREE without room", try_free(&q), libc::EINVAL);
}

fn without_room_nothing_is_watched() {
    let q = open_device();
    let all = IN | RDNORM | PRI | OUT;
    check_eq!("poll(2)", Bits(poll_now(q.raw(), all)), Bits(0));
    check_eq!(
        "poll(2) that waits",
        Bits(poll_for(q.raw(), all, 20)),
        Bits(0)
    );
    check_eq!("EP_ISPOLLED", is_polled(&q, 0), None);
}

fn alloc_wrong_sizes() {
    let q = open_device();
    for n in [0, -1, -512, c_int::MIN, (1 << 24) + 1, c_int::MAX] {
        fails(&format!("EP_ALLOC of {n}"), try_alloc(&q, n), libc::EINVAL);
    }
    fails("EP_FREE afterwards", try_free(&q), libc::EINVAL);
    alloc(&q, 1);
    for n in [0, -1, (1 << 24) + 1] {
        fails(&format!("EP_ALLOC of {n}"), try_alloc(&q, n), libc::EINVAL);
    }
    let map = Map::new(&q, 1);
    let (r, _w) = ready(&q);
    map.expect(&q, "the event", &[entry(&r, IN, IN)]);
}

fn alloc_largest() {
    let q = open_device();
    let before = kilobytes("/proc/meminfo", "MemAvailable:");
    alloc(&q, EVPOLL_MAX_FDS);
    let (r, _w) = ready(&q);
    let map = Map::new(&q, EVPOLL_MAX_FDS);
    map.expect(&q, "the event", &[entry(&r, IN, IN)]);
    let after = kilobytes("/proc/meminfo", "MemAvailable:");
    check!(
        before.saturating_sub(after) < 64 * 1024,
        "room that nobody uses took {} kB",
        before.saturating_sub(after)
    );
    drop(map);
    free(&q);
}

fn alloc_grows() {
    let q = open_device();
    let pipes: Vec<(Fd, Fd)> = (0..20).map(|_| pipe()).collect();
    let mut added = 0;
    for room in [1, 2, 5, 20] {
        alloc(&q, room);
        while added < room as usize {
            q.add(&pipes[added].0, IN);
            added += 1;
        }
        if let Some((r, _)) = pipes.get(added) {
            let got = q.try_ctl(EP_CTL_ADD, r.raw(), IN);
            fails(&format!("ADD beyond {room}"), got, libc::E2BIG);
        }
    }
    let map = Map::new(&q, 20);
    for (_, w) in &pipes {
        put(w, b"x");
    }
    let want: Vec<_> = pipes.iter().map(|(r, _)| entry(r, IN, IN)).collect();
    map.expect(&q, "an event of each", &want);
}

/// Across the end of a page, with events pending in what is replaced.
fn alloc_grows_under_events() {
    const N: usize = PER_PAGE + 40;
    need_files(4 * N as u64);
    let q = open_device();
    let pipes: Vec<(Fd, Fd)> = (0..N).map(|_| pipe()).collect();
    alloc(&q, 16);
    for (i, (r, w)) in pipes.iter().enumerate() {
        if i == 16 || i == PER_PAGE {
            alloc(&q, if i == 16 { PER_PAGE } else { N } as i32);
        }
        q.add(r, IN);
        put(w, b"x");
    }
    let map = Map::new(&q, N as i32);
    let want: Vec<_> = pipes.iter().map(|(r, _)| entry(r, IN, IN)).collect();
    let got = map.poll(&q, limit(2000));
    check_eq!("the number of events", got.len(), N);
    check!(
        got == want,
        "the events that came before room was added are not those after it"
    );
}

fn alloc_never_shrinks() {
    let q = open_device();
    alloc(&q, 600);
    for n in [600, 599, 512, 1] {
        alloc(&q, n);
    }
    let (prot, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    let got = Map::try_new(&q, map_size(1), prot, flags, 0);
    fails("mmap of a smaller size", got.map(|_| ()), libc::EINVAL);
    drop(Map::new(&q, 600));
    let pipes: Vec<(Fd, Fd)> = (0..20).map(|_| pipe()).collect();
    for (r, _) in &pipes {
        q.add(r, IN);
    }
}

fn alloc_while_mapped() {
    let (q, map) = device(16);
    let (r, w) = ready(&q);
    fails("EP_ALLOC of more", try_alloc(&q, 1000), libc::EBUSY);
    map.expect(&q, "the event", &[entry(&r, IN, IN)]);
    drop(map);
    alloc(&q, 1000);
    let map = Map::new(&q, 1000);
    put(&w, b"y");
    map.expect(&q, "after the growth", &[entry(&r, IN, IN)]);
    // The mapping that a wait has made counts like one's own.
    let q = open_device();
    alloc(&q, 16);
    let (r, _w) = ready(&q);
    q.expect("a wait", &[entry(&r, IN, IN)]);
    fails("EP_ALLOC after a wait", try_alloc(&q, 1000), libc::EBUSY);
    fails("EP_FREE after a wait", try_free(&q), libc::EBUSY);
    let q = Queue::new(16);
    fails("EP_ALLOC after create", try_alloc(&q, 1000), libc::EBUSY);
    fails("EP_FREE after create", try_free(&q), libc::EBUSY);
}

fn alloc_while_a_child_has_it_mapped() {
    let q = open_device();
    alloc(&q, 16);
    let (go, gate) = pipe();
    let (mapped, report) = pipe();
    let child = fork(|| {
        let _map = Map::new(&q, 16);
        put(&report, b".");
        poll_for(go.raw(), IN, limit(5000));
    });
    poll_until(&mapped, IN);
    fails("EP_ALLOC of more", try_alloc(&q, 1000), libc::EBUSY);
    fails("EP_FREE", try_free(&q), libc::EBUSY);
    put(&gate, b".");
    child.succeed();
    alloc(&q, 1000);
    free(&q);
}

/// A wait has no mapping until it has something to hand out.
fn alloc_while_a_thread_waits() {
    let q = open_device();
    alloc(&q, 8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for room in [9, 600, 5000] {
        thread::scope(|s| {
            let waiter = s.spawn(|| q.wait(limit(4000)));
            let_it_block();
            alloc(&q, room);
            put(&w, b"x");
            check_eq!(
                format!("the event, with room for {room} meanwhile"),
                waiter.join().expect("the waiter"),
                vec![entry(&r, IN, IN)]
            );
        });
        unmap_all();
    }
    only_this_size(&q, 5000);
}

/// munmap of everything that evpoll has mapped here.
#[track_caller]
fn unmap_all() {
    for m in mappings().iter().filter(|m| m.name.contains("[evpoll")) {
        // SAFETY: no array is read any more.
        let got = unsafe { libc::munmap(m.start as *mut _, m.end - m.start) };
        ok("munmap", sys(got));
    }
    check_eq!("mappings after munmap", mapped(), 0);
}

fn alloc_takes_no_address_space() {
    let q = open_device();
    let before = mapped();
    alloc(&q, 1 << 16);
    check_eq!("mappings after EP_ALLOC", mapped(), before);
    let map = Map::new(&q, 1 << 16);
    let now = mapped();
    check!(now > before, "mmap mapped nothing");
    drop(map);
    check_eq!("mappings after munmap", mapped(), before);
}

#[track_caller]
fn only_this_size(q: &Queue, maxfds: i32) {
    let right = map_size(maxfds);
    for kind in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
        for len in [
            right / 2,
            right - PAGE,
            right + PAGE,
            right + 2 * PAGE,
            2 * right,
        ] {
            if len == right {
                continue;
            }
            let got = Map::try_new(q, len, libc::PROT_READ, kind, 0);
            let what = format!("mmap of {len:#x} bytes with room for {maxfds}");
            fails(&what, got.map(|_| ()), libc::EINVAL);
        }
        let got = Map::try_new(q, right, libc::PROT_READ, kind, 0);
        ok(&format!("mmap with room for {maxfds}"), got.map(|_| ()));
    }
}

/// EP_MAP_SIZE, for both ways to make a queue.
fn map_size_is_exact() {
    for maxfds in [1, 2, 511, 512, 513, 1024, 1025, 4096] {
        let q = open_device();
        alloc(&q, maxfds);
        only_this_size(&q, maxfds);
        only_this_size(&Queue::new(maxfds), maxfds);
    }
}

fn map_offset() {
    let q = open_device();
    alloc(&q, 513);
    for offset in [PAGE, 2 * PAGE, map_size(513), 1 << 30] {
        let got = Map::try_new(&q, map_size(513), libc::PROT_READ, libc::MAP_SHARED, offset);
        let what = format!("mmap at the offset {offset:#x}");
        fails(&what, got.map(|_| ()), libc::EINVAL);
    }
}

fn map_shared_and_private() {
    for kind in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
        let q = open_device();
        alloc(&q, 8);
        let map = ok(
            "mmap",
            Map::try_new(&q, map_size(8), libc::PROT_READ, kind, 0),
        );
        let (r, w) = ready(&q);
        for round in 0..6 {
            map.expect(&q, &format!("round {round}"), &[entry(&r, IN, IN)]);
            put(&w, b"y");
        }
        let m = mapping_of(map.start).expect("the mapping");
        check_eq!("access", &m.perms[..3], "r--");
    }
}

fn map_for_writing() {
    let q = open_device();
    alloc(&q, 8);
    for prot in [libc::PROT_WRITE, libc::PROT_READ | libc::PROT_WRITE] {
        let got = Map::try_new(&q, map_size(8), prot, libc::MAP_SHARED, 0);
        fails("mmap for writing", got.map(|_| ()), libc::EACCES);
    }
    for kind in [libc::MAP_SHARED, libc::MAP_PRIVATE] {
        let got = Map::try_new(&q, map_size(8), libc::PROT_READ, kind, 0);
        let map = ok("mmap", got);
        for prot in [libc::PROT_WRITE, libc::PROT_READ | libc::PROT_WRITE] {
            // SAFETY: refused, or else the test fails.
            let got = sys(unsafe { libc::mprotect(map.start, map.len, prot) });
            fails("mprotect for writing", got, libc::EACCES);
        }
    }
}

fn map_twice() {
    let (q, one) = device(8);
    let two = Map::new(&q, 8);
    let (r, w) = ready(&q);
    let (n, offset) = poll(&q, limit(2000));
    let want = vec![entry(&r, IN, IN)];
    check_eq!("in the first mapping", one.entries(n, offset), want);
    check_eq!("in the second mapping", two.entries(n, offset), want);
    drop(one);
    put(&w, b"y");
    two.expect(&q, "with the second one alone", &want);
}

fn map_starts_with_zeros() {
    let (_q, map) = device(2000);
    let all = copy(map.start.cast(), map.len / size_of::<PollFd>());
    let dirty = all.iter().position(|e| *e != PollFd::new(0, 0, 0));
    if let Some(i) = dirty {
        panic!("entry {i} of a new mapping holds {:?}", all[i]);
    }
}

fn poll_halves_alternate() {
    for maxfds in [8, 512, 600] {
        let (q, map) = device(maxfds);
        let (r, w) = ready(&q);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let (n, offset) = poll(&q, limit(2000));
            check_eq!("the event", map.entries(n, offset), vec![entry(&r, IN, IN)]);
            seen.push(offset as usize);
            put(&w, b"y");
        }
        for pair in seen.windows(2) {
            check_eq!(
                "the sum of two offsets in a row",
                pair[0] + pair[1],
                map.len / 2
            );
        }
    }
}

fn poll_of_what_came_before_the_mapping() {
    let q = open_device();
    alloc(&q, 8);
    let (r, _w) = ready(&q);
    let map = Map::new(&q, 8);
    map.expect(&q, "an event from before", &[entry(&r, IN, IN)]);
    map.expect(&q, "and only once", &[]);
}

fn poll_timeouts() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for timeout in [0, 1, 20, 60] {
        let (got, time) = timed(|| map.poll(&q, timeout));
        check_eq!("entries at the timeout", got, Vec::new());
        check!(
            time.as_millis() >= timeout as u128,
            "a timeout of {timeout} ms took {time:?}"
        );
        check!(
            time < ms(2000),
            "a timeout of {timeout} ms took {time:?}, far too long"
        );
    }
    put(&w, b"x");
    for timeout in [0, 5000, -1] {
        let (got, time) = timed(|| map.poll(&q, timeout));
        check_eq!("what is pending", got, vec![entry(&r, IN, IN)]);
        check!(time < ms(1000), "a pending event took {time:?}");
        put(&w, b"y");
    }
}

fn poll_forever_is_woken() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for timeout in [-1, limit(5000)] {
        let woken = AtomicBool::new(false);
        thread::scope(|s| {
            s.spawn(|| {
                let_it_block();
                woken.store(true, SeqCst);
                put(&w, b"x");
            });
            let got = map.poll(&q, timeout);
            check_eq!("the event", got, vec![entry(&r, IN, IN)]);
        });
        check!(woken.load(SeqCst), "EP_POLL did not wait");
    }
}

fn poll_negative_timeouts() {
    let (q, map) = device(8);
    let (r, _w) = ready(&q);
    for timeout in [-2, -3, -1000, c_int::MIN + 1, c_int::MIN] {
        let what = format!("a timeout of {timeout}");
        fails(&what, try_poll(&q, timeout), libc::EINVAL);
    }
    map.expect(&q, "the event afterwards", &[entry(&r, IN, IN)]);
}

fn poll_huge_timeout() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    for timeout in [c_int::MAX, 1 << 30] {
        let woken = AtomicBool::new(false);
        thread::scope(|s| {
            s.spawn(|| {
                let_it_block();
                woken.store(true, SeqCst);
                put(&w, b"x");
            });
            let got = map.poll(&q, timeout);
            check!(woken.load(SeqCst), "a timeout of {timeout} ended early");
            check_eq!("the event", got, vec![entry(&r, IN, IN)]);
        });
    }
}

#[track_caller]
fn interrupted(flags: c_int) {
    handle_signal(libc::SIGUSR1, flags);
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let thread = thread_id();
    for timeout in [-1, limit(5000)] {
        thread::scope(|s| {
            s.spawn(move || {
                let_it_block();
                signal_thread(thread, libc::SIGUSR1);
            });
            fails("an interrupted EP_POLL", try_poll(&q, timeout), libc::EINTR);
        });
        put(&w, b"x");
        map.expect(&q, "the event afterwards", &[entry(&r, IN, IN)]);
    }
}

fn poll_interrupted() {
    interrupted(0);
}

fn poll_interrupted_even_with_restart() {
    interrupted(libc::SA_RESTART);
}

fn poll_bad_pointer_loses_nothing() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let page = map_anonymous(PAGE, libc::PROT_NONE) as usize;
    for address in [0, 8, page, page + 16, usize::MAX - 7] {
        put(&w, b"x");
        let what = format!("EP_POLL with {address:#x}");
        fails(&what, ioctl(q.raw(), EP_POLL, address), libc::EFAULT);
        map.expect(&q, "the event afterwards", &[entry(&r, IN, IN)]);
    }
}

/// The timeout can be read, and the offset cannot be stored.
fn poll_read_only_pointer_loses_nothing() {
    let (q, map) = device(8);
    let pipes: Vec<(Fd, Fd)> = (0..3).map(|_| pipe()).collect();
    for (r, _) in &pipes {
        q.add(r, IN);
    }
    let page = map_anonymous(PAGE, libc::PROT_READ) as usize;
    let want: Vec<_> = pipes.iter().map(|(r, _)| entry(r, IN, IN)).collect();
    for _ in 0..20 {
        for (_, w) in &pipes {
            put(w, b"x");
        }
        let got = ioctl(q.raw(), EP_POLL, page);
        fails("EP_POLL with read-only memory", got, libc::EFAULT);
        map.expect(&q, "every event afterwards, in order", &want);
        map.expect(&q, "and once", &[]);
    }
}

fn poll_without_a_mapping() {
    let q = open_device();
    alloc(&q, 8);
    let (r, w) = ready(&q);
    for timeout in [0, 10, -1] {
        let got = try_poll(&q, timeout);
        fails("EP_POLL without a mapping", got, libc::EINVAL);
    }
    let map = Map::new(&q, 8);
    map.expect(&q, "with one", &[entry(&r, IN, IN)]);
    drop(map);
    put(&w, b"x");
    let got = try_poll(&q, 0);
    fails("EP_POLL after munmap", got, libc::EINVAL);
    let map = Map::new(&q, 8);
    map.expect(&q, "with another one", &[entry(&r, IN, IN)]);
}

/// A child has the queue, and no mapping before it makes one.
fn poll_in_a_child() {
    let (q, map) = device(8);
    let (r, w) = ready(&q);
    let want = [entry(&r, IN, IN)];
    fork(|| {
        fails(
            "EP_POLL in a child, unmapped",
            try_poll(&q, 0),
            libc::EINVAL,
        );
        let mine = Map::new(&q, 8);
        mine.expect(&q, "in the child", &want);
        put(&w, b"y");
    })
    .succeed();
    map.expect(&q, "in the parent", &want);
}

fn poll_by_two_threads() {
    const EVENTS: usize = 300;
    let (q, map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    let seen = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                while !stop.load(SeqCst) {
                    let (n, _) = poll(&q, 10);
                    check!(n <= 1, "{n} entries for one descriptor");
                    seen.fetch_add(n, SeqCst);
                }
            });
        }
        for i in 0..EVENTS {
            put(&w, b"x");
            let end = std::time::Instant::now() + ms(3000);
            while seen.load(SeqCst) <= i {
                check!(
                    std::time::Instant::now() < end,
                    "event {i} was never handed out"
                );
                thread::yield_now();
            }
            get(&r, 1);
        }
        stop.store(true, SeqCst);
    });
    check_eq!("events handed out", seen.load(SeqCst), EVENTS);
    drop(map);
}

fn is_polled_tells_the_events() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    check_eq!("before ADD", polled(&q, &r), None);
    for events in [IN, IN | OUT | PRI, 0, VALID] {
        q.add(&r, events);
        check_eq!("after ADD", polled(&q, &r), Some(Bits(events)));
        check_eq!("of the other end", polled(&q, &w), None);
        q.modify(&r, RDHUP);
        check_eq!("after MOD", polled(&q, &r), Some(Bits(RDHUP)));
        q.del(&r);
        check_eq!("after DEL", polled(&q, &r), None);
    }
    q.add(&r, IN);
    put(&w, b"x");
    check_eq!("with an event pending", polled(&q, &r), Some(Bits(IN)));
    map.expect(&q, "the event that was asked about", &[entry(&r, IN, IN)]);
    for fd in [-1, c_int::MIN, c_int::MAX, lowest_free(), q.raw()] {
        check_eq!("EP_ISPOLLED", is_polled(&q, fd), None);
    }
}

fn polled(q: &Queue, fd: &Fd) -> Option<Bits> {
    is_polled(q, fd.raw()).map(Bits)
}

fn is_polled_after_close() {
    let (q, _map) = device(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    let number = r.raw();
    drop(r);
    check_eq!("closed", is_polled(&q, number), None);
    let (again, _w2) = pipe();
    check_eq!("the number", again.raw(), number);
    check_eq!("used by another file", polled(&q, &again), None);
    q.add(&again, OUT);
    check_eq!("and watched", polled(&q, &again), Some(Bits(OUT)));
}

fn is_polled_by_number_and_file() {
    let (q, _map) = device(8);
    let (r, _w) = pipe();
    q.add(&r, IN);
    let dup = r.dup();
    check_eq!("a duplicate", polled(&q, &dup), None);
    let number = r.raw();
    drop(r);
    check_eq!(
        "the closed number of a watch that lives on",
        is_polled(&q, number),
        None
    );
    // As the caller's descriptor table has it.
    let (other, _w2) = pipe();
    check_eq!("the number", other.raw(), number);
    check_eq!("another file under that number", polled(&q, &other), None);
}

fn free_while_mapped() {
    let (q, map) = device(8);
    let (r, w) = ready(&q);
    let second = Map::new(&q, 8);
    fails("EP_FREE while mapped", try_free(&q), libc::EBUSY);
    drop(map);
    fails(
        "EP_FREE while mapped a second time",
        try_free(&q),
        libc::EBUSY,
    );
    second.expect(&q, "the event", &[entry(&r, IN, IN)]);
    drop(second);
    free(&q);
    drop(w);
}

/// The wait goes on, for what is watched after that or until its time is up.
fn free_while_a_thread_waits() {
    let q = open_device();
    let (r, w) = pipe();
    for again in [false, true] {
        alloc(&q, 600);
        q.add(&r, IN);
        let timeout = if again { limit(4000) } else { limit(150) };
        thread::scope(|s| {
            let waiter = s.spawn(|| q.try_wait(timeout));
            let_it_block();
            free(&q);
            put(&w, b"x");
            if again {
                alloc(&q, 8);
                q.add(&r, IN | PRI);
                put(&w, b"y");
            }
            let got = waiter.join().expect("the waiter");
            if again {
                check_eq!("the event", got, Ok(vec![entry(&r, IN | PRI, IN)]));
            } else {
                check!(
                    got == Ok(Vec::new()) || got == Err(Errno(libc::EINVAL)),
                    "a wait whose queue was freed ended with {got:?}"
                );
            }
        });
    }
    unmap_all();
    free(&q);
}

fn free_without_room() {
    let q = open_device();
    fails("EP_FREE before EP_ALLOC", try_free(&q), libc::EINVAL);
    alloc(&q, 8);
    free(&q);
    fails("EP_FREE again", try_free(&q), libc::EINVAL);
    for _ in 0..200 {
        alloc(&q, 8);
        free(&q);
    }
}

fn free_removes_the_watches() {
    let q = open_device();
    alloc(&q, 8);
    let (r, w) = pipe();
    let (r2, _w2) = pipe();
    q.add(&r, IN);
    q.add(&r2, IN);
    free(&q);
    check_eq!("EP_ISPOLLED after EP_FREE", polled(&q, &r), None);
    check_eq!("watches in fdinfo", watches(&q), 0);
    fails("DEL", q.try_ctl(EP_CTL_DEL, r.raw(), 0), libc::ENOENT);
    fails("ADD", q.try_ctl(EP_CTL_ADD, r.raw(), IN), libc::E2BIG);
    put(&w, b"x");
    alloc(&q, 8);
    let map = Map::new(&q, 8);
    map.expect(&q, "nothing of before", &[]);
    q.add(&r, IN);
    put(&w, b"y");
    map.expect(&q, "what is watched now", &[entry(&r, IN, IN)]);
}

fn free_drops_what_is_queued() {
    let q = open_device();
    alloc(&q, 8);
    let (r, _w) = ready(&q);
    check!(poll_now(q.raw(), IN) == IN, "no event is pending");
    free(&q);
    check_eq!(
        "poll(2) after EP_FREE",
        Bits(poll_now(q.raw(), IN)),
        Bits(0)
    );
    alloc(&q, 8);
    let map = Map::new(&q, 8);
    map.expect(&q, "nothing is left", &[]);
    check_eq!("EP_ISPOLLED", polled(&q, &r), None);
}

fn free_then_alloc_smaller() {
    let q = open_device();
    alloc(&q, 5000);
    drop(Map::new(&q, 5000));
    free(&q);
    alloc(&q, 2);
    only_this_size(&q, 2);
    let map = Map::new(&q, 2);
    let (r, _w) = ready(&q);
    let (_r2, _w2) = ready(&q);
    let (r3, _w3) = pipe();
    let got = q.try_ctl(EP_CTL_ADD, r3.raw(), IN);
    fails("ADD beyond the new size", got, libc::E2BIG);
    check_eq!(
        "the first of two events",
        map.poll(&q, limit(2000)).first(),
        Some(&entry(&r, IN, IN))
    );
}

fn descriptor_is_readable_while_events_are_pending() {
    let (q, map) = device(8);
    let asked = IN | RDNORM | OUT | PRI;
    check_eq!("before", Bits(poll_now(q.raw(), asked)), Bits(0));
    let (r, w) = ready(&q);
    for _ in 0..3 {
        check_eq!("now", Bits(poll_now(q.raw(), asked)), Bits(IN | RDNORM));
        map.expect(&q, "the event", &[entry(&r, IN, IN)]);
        check_eq!("after", Bits(poll_now(q.raw(), asked)), Bits(0));
        put(&w, b"y");
    }
}

fn descriptor_wakes_a_poll() {
    let (q, _map) = device(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    thread::scope(|s| {
        s.spawn(|| {
            let_it_block();
            put(&w, b"x");
        });
        let got = poll_for(q.raw(), IN, limit(4000));
        check_eq!("poll(2) that waited", Bits(got), Bits(IN));
    });
}

fn wait_uses_the_programs_mapping() {
    let (q, map) = device(600);
    let (r, w) = ready(&q);
    let lines = mapped();
    for _ in 0..4 {
        let (n, array) = q.wait_raw(limit(2000));
        check_eq!("the event", copy(array, n), vec![entry(&r, IN, IN)]);
        let offset = (array as usize).wrapping_sub(map.start as usize);
        check!(
            offset == 0 || offset == map.len / 2,
            "the array lies at {array:?}, which is no half of {:?}",
            map.start
        );
        put(&w, b"y");
    }
    check_eq!("mappings", mapped(), lines);
}

/// An mremap that is refused has copied the mapping and removed the copy: the queue still knows of
/// those that there are.
fn refused_mremap_does_not_unmap() {
    let q = open_device();
    alloc(&q, 8);
    let (first, second) = (Map::new(&q, 8), Map::new(&q, 8));
    let (free_place, len) = (Map::new(&q, 8), second.len);
    let to = free_place.start;
    drop(free_place);
    for _ in 0..3 {
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: it is refused, or the mapping is not used any more.
        let p = unsafe { libc::mremap(second.start, len, len, flags, to) };
        check!(p == libc::MAP_FAILED, "mremap moved the mapping");
    }
    drop(first);
    fails("EP_FREE while mapped", try_free(&q), libc::EBUSY);
    let (r, _w) = ready(&q);
    second.expect(&q, "EP_POLL", &[entry(&r, IN, IN)]);
    drop(second);
    free(&q);
}

fn wait_uses_whichever_mapping_is_left() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let q = open_device();
        alloc(&q, 8);
        let mut maps: Vec<_> = (0..3).map(|_| Some(Map::new(&q, 8))).collect();
        let (r, w) = ready(&q);
        let want = vec![entry(&r, IN, IN)];
        for gone in order {
            let (n, array) = q.wait_raw(limit(2000));
            check_eq!("evpoll_wait", copy(array, n), want);
            let inside = maps.iter().flatten().any(|m| {
                let start = m.start as usize;
                (start..start + m.len).contains(&(array as usize))
            });
            check!(inside, "the array is in none of the program's mappings");
            put(&w, b"y");
            for map in maps.iter().flatten() {
                map.expect(&q, "EP_POLL", &want);
                put(&w, b"z");
            }
            maps[gone] = None;
        }
        check_eq!("mappings", mapped(), 0);
        free(&q);
    }
}

fn wait_makes_a_mapping() {
    let q = open_device();
    alloc(&q, 8);
    let (r, w) = ready(&q);
    q.expect("a wait without a mapping", &[entry(&r, IN, IN)]);
    put(&w, b"y");
    let (n, offset) = poll(&q, limit(2000));
    check_eq!("EP_POLL in the mapping of the wait", n, 1);
    check!(
        offset as usize == 0 || offset as usize == map_size(8) / 2,
        "the offset is {offset:#x}"
    );
    let raw = q.raw();
    let before = mapped();
    drop(q);
    check_eq!("mappings after close", mapped(), before - 1);
    fails("the closed device", ioctl(raw, EP_FREE, 0), libc::EBADF);
}

fn ctl_on_a_device() {
    let (q, map) = device(8);
    let (r, w) = pipe();
    put(&w, b"x");
    q.add(&r, IN);
    map.expect(&q, "ADD does not test", &[]);
    q.mod_and_test(&r, IN | RDNORM);
    let both = IN | RDNORM;
    map.expect(&q, "MOD_AND_TEST does", &[entry(&r, both, both)]);
    q.del(&r);
    q.add_and_test(&r, IN);
    map.expect(&q, "ADD_AND_TEST too", &[entry(&r, IN, IN)]);
    let got = q.try_ctl(EP_CTL_ADD, r.raw(), IN);
    fails("ADD twice", got, libc::EEXIST);
    q.del(&r);
    put(&w, b"y");
    map.expect(&q, "not watched any more", &[]);
}

fn ioctls_on_a_created_queue() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    apply(&q, &[change(&r, IN)]);
    check_eq!("EP_ISPOLLED", polled(&q, &r), Some(Bits(IN)));
    put(&w, b"x");
    let map = Map::new(&q, 8);
    for _ in 0..4 {
        map.expect(&q, "EP_POLL", &[entry(&r, IN, IN)]);
        put(&w, b"y");
        q.expect("evpoll_wait", &[entry(&r, IN, IN)]);
        put(&w, b"z");
    }
    drop(map);
    let (n, _) = poll(&q, 0);
    check_eq!("EP_POLL in the mapping that create made", n, 1);
}

fn alloc_and_free_on_a_created_queue() {
    let q = Queue::new(8);
    for n in [9, 1000, EVPOLL_MAX_FDS] {
        let what = format!("EP_ALLOC of {n} on a queue for 8");
        fails(&what, try_alloc(&q, n), libc::EBUSY);
    }
    fails("EP_FREE while mapped", try_free(&q), libc::EBUSY);
    for n in [0, -1, c_int::MAX] {
        match try_alloc(&q, n) {
            Err(Errno(libc::EINVAL | libc::EBUSY)) => {}
            other => panic!("EP_ALLOC of {n}: expected EINVAL or EBUSY, got {other:?}"),
        }
    }
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.expect("it works as before", &[entry(&r, IN, IN)]);
}

/// Its mapping is the program's to remove, like any other.
fn created_queue_starts_again_as_a_device() {
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    let (_, array) = q.wait_raw(limit(2000));
    let m = mapping_of(array.cast()).expect("the array's mapping");
    // SAFETY: nothing of it is used afterwards.
    ok(
        "munmap",
        sys(unsafe { libc::munmap(m.start as *mut _, m.end - m.start) }),
    );
    free(&q);
    check_eq!("watches after EP_FREE", watches(&q), 0);
    let got = q.try_ctl(EP_CTL_ADD, r.raw(), IN);
    fails("ADD after EP_FREE", got, libc::E2BIG);
    alloc(&q, 600);
    let map = Map::new(&q, 600);
    q.add(&r, IN);
    put(&w, b"y");
    map.expect(&q, "as a device", &[entry(&r, IN, IN)]);
}

/// evpoll_wait and EP_POLL take turns with the same two halves.
fn offsets_and_pointers_agree() {
    let (q, map) = device(600);
    let (r, w) = ready(&q);
    let mut last = None;
    for round in 0..8 {
        let at = if round % 2 == 0 {
            let (n, offset) = poll(&q, limit(2000));
            check_eq!("EP_POLL", map.entries(n, offset), vec![entry(&r, IN, IN)]);
            offset as usize
        } else {
            let (n, array) = q.wait_raw(limit(2000));
            check_eq!("evpoll_wait", copy(array, n), vec![entry(&r, IN, IN)]);
            array as usize - map.start as usize
        };
        if let Some(last) = last {
            check_eq!("the sum of two offsets in a row", at + last, map.len / 2);
        }
        last = Some(at);
        put(&w, b"y");
    }
}

fn two_opens_are_two_queues() {
    let (one, map1) = device(8);
    let (two, map2) = device(600);
    let (r, w) = pipe();
    one.add(&r, IN);
    check_eq!("EP_ISPOLLED of the other", polled(&two, &r), None);
    put(&w, b"x");
    map2.expect(&two, "events of the other", &[]);
    map1.expect(&one, "the event", &[entry(&r, IN, IN)]);
    two.add(&r, IN | PRI);
    put(&w, b"y");
    map1.expect(&one, "the first queue", &[entry(&r, IN, IN)]);
    map2.expect(&two, "the second queue", &[entry(&r, IN | PRI, IN)]);
}

fn open_for_reading_cannot_write() {
    let q = ok(DEVICE, try_open_device(libc::O_RDONLY));
    alloc(&q, 8);
    let map = Map::new(&q, 8);
    let (r, w) = pipe();
    let got = try_apply(&q, &[change(&r, IN)]);
    fails("write through O_RDONLY", got, libc::EBADF);
    check_eq!("EP_ISPOLLED", polled(&q, &r), None);
    q.add(&r, IN);
    put(&w, b"x");
    map.expect(&q, "EP_POLL", &[entry(&r, IN, IN)]);
}

fn open_for_writing_cannot_map() {
    let q = ok(DEVICE, try_open_device(libc::O_WRONLY));
    alloc(&q, 8);
    let got = Map::try_new(&q, map_size(8), libc::PROT_READ, libc::MAP_SHARED, 0);
    fails("mmap through O_WRONLY", got.map(|_| ()), libc::EACCES);
    let (r, _w) = pipe();
    apply(&q, &[change(&r, IN)]);
    check_eq!("EP_ISPOLLED", polled(&q, &r), Some(Bits(IN)));
}

fn close_on_exec_is_kept() {
    let path = c"/dev/eventpoll".as_ptr();
    for (flags, want) in [(libc::O_CLOEXEC, libc::FD_CLOEXEC), (0, 0)] {
        // SAFETY: a C string.
        let raw = sys(unsafe { libc::open(path, libc::O_RDWR | flags) });
        let fd = Fd::new(ok(DEVICE, raw));
        // SAFETY: takes no pointer.
        let got = ok(
            "F_GETFD",
            sys(unsafe { libc::fcntl(fd.raw(), libc::F_GETFD) }),
        );
        check_eq!("FD_CLOEXEC", got, want);
    }
}

fn array_is_readable_after_close() {
    let (q, map) = device(600);
    let (r, w) = ready(&q);
    let (n, offset) = poll(&q, limit(2000));
    put(&w, b"y");
    drop(q);
    put(&w, b"z");
    check_eq!(
        "the array of a closed queue",
        map.entries(n, offset),
        vec![entry(&r, IN, IN)]
    );
    // Every page of it, touched before or not.
    let all = copy(map.start.cast(), map.len / size_of::<PollFd>());
    // What was pending at the close was taken back: an entry of no descriptor.
    let holes = [PollFd::new(0, 0, 0), PollFd::new(-1, 0, 0)];
    let strange = all.iter().find(|e| e.fd != r.raw() && !holes.contains(e));
    check_eq!("what else is in it", strange, None);
}

/// The watches go at once, whatever is still mapped.
fn close_keeps_nothing_but_the_array() {
    let files = open_files();
    let mut maps = Vec::new();
    let (r, w) = pipe();
    for _ in 0..50 {
        let (q, map) = device(8);
        q.add(&r, IN);
        put(&w, b"x");
        map.expect(&q, "the event", &[entry(&r, IN, IN)]);
        drop(q);
        get(&r, 1);
        maps.push(map);
    }
    put(&w, b"x");
    get(&r, 1);
    check_eq!("descriptors", open_files(), files + 2);
    let lines = mapped();
    drop(maps);
    check!(
        mapped() < lines,
        "munmap after close took nothing away: {lines} mappings before, {} after",
        mapped()
    );
}

/// As the programs of 2002 went: open, EP_ALLOC, mmap, write, EP_POLL until there is nothing.
fn program(n: usize) {
    if try_need_files(2 * n as u64 + 100).is_err() {
        skip("not enough descriptors");
    }
    let q = open_device();
    alloc(&q, n as i32);
    let map = Map::new(&q, n as i32);
    let pipes: Vec<(Fd, Fd)> = (0..n).map(|_| pipe()).collect();
    let add: Vec<_> = pipes.iter().map(|(r, _)| change(r, IN)).collect();
    apply(&q, &add);
    let one_more = pipe();
    let got = try_apply(&q, &[change(&one_more.0, IN)]);
    fails("one more than there is room for", got, libc::E2BIG);

    for round in 0..3 {
        for (_, w) in &pipes {
            put(w, b"x");
        }
        let got = map.poll(&q, limit(4000));
        check_eq!(format!("entries in round {round}"), got.len(), n);
        for (i, (e, (r, _))) in got.iter().zip(&pipes).enumerate() {
            check_eq!(format!("entry {i}"), *e, entry(r, IN, IN));
        }
        for (r, _) in &pipes {
            get(r, 1);
        }
        map.expect(&q, "everything was handed out", &[]);
    }

    // Every third one is removed, the others speak once more.
    let remove = pipes.iter().step_by(3).map(|p| change(&p.0, REMOVE));
    let remove: Vec<_> = remove.collect();
    apply(&q, &remove);
    for (_, w) in &pipes {
        put(w, b"y");
    }
    let got: Vec<i32> = map.poll(&q, limit(4000)).iter().map(|e| e.fd).collect();
    let want: Vec<i32> = (0..n)
        .filter(|i| i % 3 != 0)
        .map(|i| pipes[i].0.raw())
        .collect();
    check!(
        got == want,
        "expected the {} that are left, got {}",
        want.len(),
        got.len()
    );
    drop(map);
    free(&q);
}

fn program_with_600_pipes() {
    program(600);
}

fn program_with_one_full_page() {
    program(PER_PAGE);
}

/// Room comes and goes while others add, remove, map, wait and make events.
fn alloc_and_free_under_everything() {
    let q = open_device();
    let p: Vec<(Fd, Fd)> = (0..8).map(|_| pipe()).collect();
    let stop = AtomicBool::new(false);
    let freed = AtomicUsize::new(0);
    let going = || !stop.load(SeqCst);
    thread::scope(|s| {
        s.spawn(|| {
            let mut n = 0;
            while going() {
                n = n % 700 + 100;
                match try_alloc(&q, n) {
                    Ok(_) | Err(Errno(libc::EBUSY)) => {}
                    Err(e) => panic!("EP_ALLOC: {e}"),
                }
                match try_free(&q) {
                    Ok(_) => drop(freed.fetch_add(1, SeqCst)),
                    Err(Errno(libc::EBUSY | libc::EINVAL)) => {}
                    Err(e) => panic!("EP_FREE: {e}"),
                }
            }
        });
        s.spawn(|| {
            while going() {
                for (r, w) in &p {
                    match q.try_ctl(EP_CTL_ADD_AND_TEST, r.raw(), IN) {
                        Ok(_) | Err(Errno(libc::E2BIG | libc::EEXIST)) => {}
                        Err(e) => panic!("ADD: {e}"),
                    }
                    put(w, b"x");
                    match try_apply(&q, &[change(r, IN | PRI), change(r, REMOVE)]) {
                        Ok(_) | Err(Errno(libc::E2BIG)) => {}
                        Err(e) => panic!("write: {e}"),
                    }
                    get(r, 1);
                }
            }
        });
        s.spawn(|| {
            while going() {
                for n in [100, 200, 700] {
                    let len = map_size(n);
                    match Map::try_new(&q, len, libc::PROT_READ, libc::MAP_SHARED, 0) {
                        Ok(map) => {
                            let all = copy(map.start.cast(), map.len / size_of::<PollFd>());
                            check!(all.iter().all(|e| e.events() & !VALID == 0), "{all:?}");
                            match try_poll(&q, 0) {
                                Ok((n, _)) => check!(n <= p.len(), "{n} entries"),
                                Err(e) => panic!("EP_POLL: {e}"),
                            }
                        }
                        Err(Errno(libc::EINVAL)) => {}
                        Err(e) => panic!("mmap: {e}"),
                    }
                }
                poll_now(q.raw(), IN);
                watches(&q);
            }
        });
        let end = std::time::Instant::now() + std::time::Duration::from_millis(1500);
        while std::time::Instant::now() < end || freed.load(SeqCst) < 10 {
            check!(
                std::time::Instant::now() < end + ms(5000),
                "EP_FREE succeeded only {} times",
                freed.load(SeqCst)
            );
            sleep(std::time::Duration::from_millis(5));
        }
        stop.store(true, SeqCst);
    });
    check_eq!("mappings", mapped(), 0);
    let _ = try_free(&q);
    check_eq!("watches", watches(&q), 0);
    alloc(&q, 8);
    let map = Map::new(&q, 8);
    let (r, _w) = ready(&q);
    map.expect(&q, "the event afterwards", &[entry(&r, IN, IN)]);
}

fn unknown_ioctls() {
    let (q, map) = device(8);
    let (r, _w) = ready(&q);
    let mut room = [0u64; 8];
    let arg = room.as_mut_ptr() as usize;
    for request in [
        0,
        1,
        0x5000,
        0x5005,
        0x5001,
        0x8004_5000,
        0xc010_5003,
        // EP_POLL and EP_ISPOLLED of another size.
        0xc000_5002 | 12 << 16,
        0xc000_5004 | 16 << 16,
        libc::TCGETS as u32,
        u32::MAX,
    ] {
        for q in [&q, &Queue::new(8), &open_device()] {
            let what = format!("ioctl {request:#x}");
            fails(&what, ioctl(q.raw(), request, arg), libc::ENOTTY);
        }
    }
    map.expect(&q, "the event afterwards", &[entry(&r, IN, IN)]);
    check_eq!("what the ioctls wrote", room, [0; 8]);
}

/// These numbers mean nothing to anything else.
fn ioctls_on_other_files() {
    let (r, _w) = pipe();
    let null = open("/dev/null", libc::O_RDWR);
    let mut room = [0u64; 8];
    let arg = room.as_mut_ptr() as usize;
    for request in [EP_ALLOC, EP_POLL, EP_FREE, EP_ISPOLLED] {
        for fd in [&r, &null] {
            let what = format!("ioctl {request:#x}");
            fails(&what, ioctl(fd.raw(), request, arg), libc::ENOTTY);
        }
        let closed = lowest_free();
        for fd in [-1, closed, c_int::MAX] {
            let what = format!("ioctl {request:#x} on {fd}");
            fails(&what, ioctl(fd, request, arg), libc::EBADF);
        }
    }
}
