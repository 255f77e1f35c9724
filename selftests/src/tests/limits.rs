// SPDX-License-Identifier: GPL-2.0
//! What a user, a process and a control group may have.

use std::fs;
use std::os::raw::c_int;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

use crate::abi::*;
use crate::cgroup::Group;
use crate::check::{fails, ok};
use crate::device::*;
use crate::queue::*;
use crate::runner::skip;
use crate::sys::*;

tests!("limits":
    watches_default,
    watches_setting_is_checked,
    watches_at_the_limit,
    watches_freed_by_del,
    watches_freed_by_write,
    watches_freed_by_close_of_the_watched,
    watches_freed_by_close_of_the_queue,
    watches_freed_by_ep_free,
    watches_freed_by_exit,
    watches_of_a_mapped_queue_are_freed,
    watches_of_all_queues_together,
    watches_of_queues_count,
    watches_by_write,
    watches_of_another_user,
    watches_of_a_shared_queue,
    watches_that_failed_do_not_count,
    watches_below_what_there_is,
    watches_under_a_race,
    files_of_one_number,
    memory_of_watches_is_charged,
    memory_of_buffers_is_charged,
    memory_limit_holds,
    descriptors_run_out,
    address_space_runs_out_in_create,
    address_space_runs_out_in_wait,
    address_space_runs_out_in_mmap,
    locked_memory_runs_out,
);

const WATCHES: &str = "/proc/sys/fs/evpoll/max_user_watches";

#[track_caller]
fn setting() -> u64 {
    let text = fs::read_to_string(WATCHES).expect(WATCHES);
    text.trim().parse().expect(WATCHES)
}

/// Runs `f` in a child, as a user that has no watch yet, under this limit.
#[track_caller]
fn with_limit(watches: u64, f: impl FnOnce()) {
    let old = setting();
    if fs::write(WATCHES, watches.to_string()).is_err() {
        skip("fs.evpoll.max_user_watches cannot be set");
    }
    // A child, so that the limit is restored whatever fails.
    let end = fork(|| {
        become_user(NOBODY);
        f();
    })
    .wait();
    fs::write(WATCHES, old.to_string()).expect(WATCHES);
    check_eq!("the child's end", end, Exit::Code(0));
}

const NOBODY: libc::uid_t = 65534;

/// Only as far as accounts go: /proc and /dev stay accessible, however the guest is made.
#[track_caller]
fn become_user(user: libc::uid_t) {
    let same = libc::uid_t::MAX;
    // SAFETY: takes no pointer.
    ok(
        "setresuid",
        sys(unsafe { libc::setresuid(user, same, same) }),
    );
}

/// Without any capability, and otherwise as before.
#[track_caller]
fn give_up_capabilities() {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let none = [0u32; 6];
    // SAFETY: a header for this process, and the two sets of three words that go with it.
    let got = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    ok("capset", sys(got as c_int));
}

fn pipes(n: usize) -> Vec<(Fd, Fd)> {
    (0..n).map(|_| pipe()).collect()
}

/// A number can be watched for the files that it had before, as long as duplicates keep them; for
/// 64 of them.
fn files_of_one_number() {
    const MOST: usize = 64;
    let q = Queue::new(256);
    let (number, _w) = pipe();
    let mut files = Vec::new();
    let mut next = || {
        let (r, w) = pipe();
        // SAFETY: takes no pointer.
        let got = sys(unsafe { libc::dup2(r.raw(), number.raw()) });
        ok("dup2", got);
        files.push((r, w));
        q.try_ctl(EP_CTL_ADD, number.raw(), IN)
    };
    for _ in 0..MOST {
        ok("ADD for one more file", next());
    }
    fails("a file too many", next(), libc::ENOSPC);
    check_eq!("watches", watches(&q), MOST);
    // One of them is closed.
    drop(files.remove(0));
    ok(
        "ADD when there is room again",
        q.try_ctl(EP_CTL_ADD, number.raw(), IN),
    );
    // Each of them still tells.
    for (_, w) in &files {
        put(w, b"x");
        q.expect("a file of the number", &[entry(&number, IN, IN)]);
    }
}

#[track_caller]
fn no_more(q: &Queue) {
    let (r, _w) = pipe();
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        fails(
            "one watch too many",
            q.try_ctl(op, r.raw(), IN),
            libc::ENOSPC,
        );
    }
}

/// There is room for exactly so many.
#[track_caller]
fn room_for(q: &Queue, n: usize) {
    let p = pipes(n);
    for (r, _) in &p {
        q.add(r, IN);
    }
    no_more(q);
    for (r, _) in &p {
        q.del(r);
    }
}

fn watches_default() {
    let n = setting();
    check!(
        n >= 10_000,
        "{n} watches for a user are fewer than any server needs"
    );
    let memory = kilobytes("/proc/meminfo", "MemTotal:") as u64 * 1024;
    check!(
        n < memory / 64,
        "{n} watches for a user can take all of the memory"
    );
}

fn watches_setting_is_checked() {
    let old = setting();
    for wrong in ["-1", "many", "99999999999999999999999"] {
        let _ = fs::write(WATCHES, wrong);
        let now = setting();
        if now != old {
            fs::write(WATCHES, old.to_string()).expect(WATCHES);
        }
        check_eq!(format!("the limit after writing {wrong:?}"), now, old);
    }
    fork(|| {
        // SAFETY: takes no pointer.
        let got = unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
        ok("setresuid", sys(got));
        check!(
            fs::write(WATCHES, "1").is_err(),
            "any user can set the limit"
        );
    })
    .succeed();
}

fn watches_at_the_limit() {
    for n in [0, 1, 10] {
        with_limit(n, || {
            let q = Queue::new(64);
            room_for(&q, n as usize);
            // Below the limit everything is as usual.
            if n > 0 {
                let (r, w) = pipe();
                q.add(&r, IN);
                put(&w, b"x");
                q.expect("the event", &[entry(&r, IN, IN)]);
            }
        });
    }
}

fn watches_freed_by_del() {
    with_limit(2, || {
        let q = Queue::new(64);
        for _ in 0..500 {
            room_for(&q, 2);
        }
    });
}

fn watches_freed_by_write() {
    with_limit(2, || {
        let q = Queue::new(64);
        let p = pipes(2);
        for _ in 0..200 {
            for bits in [IN, IN | PRI, REMOVE] {
                apply(&q, &[change(&p[0].0, bits), change(&p[1].0, bits)]);
            }
        }
        room_for(&q, 2);
    });
}

fn watches_freed_by_close_of_the_watched() {
    with_limit(2, || {
        let q = Queue::new(64);
        for round in 0..500 {
            let (r, w) = pipe();
            q.add(&r, IN);
            q.add(&w, OUT);
            if round % 2 == 0 {
                put(&w, b"x");
            }
            if round % 3 == 0 {
                q.wait(0);
            }
        }
        room_for(&q, 2);
    });
}

fn watches_freed_by_close_of_the_queue() {
    with_limit(2, || {
        let (r, w) = pipe();
        for round in 0..300 {
            let q = Queue::new(64);
            q.add(&r, IN);
            q.add(&w, OUT);
            if round % 2 == 0 {
                put(&w, b"x");
                get(&r, 1);
            }
        }
        room_for(&Queue::new(64), 2);
    });
}

fn watches_freed_by_ep_free() {
    with_limit(2, || {
        let (r, w) = pipe();
        let q = open_device();
        for _ in 0..200 {
            alloc(&q, 8);
            q.add(&r, IN);
            q.add(&w, OUT);
            free(&q);
        }
        room_for(&Queue::new(64), 2);
    });
}

fn watches_freed_by_exit() {
    with_limit(2, || {
        let (r, w) = pipe();
        for _ in 0..20 {
            fork(|| {
                let q = Queue::new(64);
                q.add(&r, IN);
                q.add(&w, OUT);
                // Ends with everything open.
                std::mem::forget(q);
            })
            .succeed();
        }
        room_for(&Queue::new(64), 2);
    });
}

/// A mapping that the program made keeps the pages, and nothing else.
fn watches_of_a_mapped_queue_are_freed() {
    with_limit(2, || {
        let (r, w) = pipe();
        let mut maps = Vec::new();
        for _ in 0..50 {
            let (q, map) = device(8);
            q.add(&r, IN);
            q.add(&w, OUT);
            maps.push(map);
        }
        room_for(&Queue::new(64), 2);
        drop(maps);
    });
}

fn watches_of_all_queues_together() {
    with_limit(10, || {
        let (r, _w) = pipe();
        let queues: Vec<_> = (0..11).map(|_| Queue::new(8)).collect();
        for q in &queues[..10] {
            q.add(&r, IN);
        }
        no_more(&queues[10]);
        no_more(&queues[0]);
        queues[3].del(&r);
        queues[10].add(&r, IN);
        no_more(&queues[3]);
    });
}

fn watches_of_queues_count() {
    with_limit(3, || {
        let (outer, inner) = (Queue::new(8), Queue::new(8));
        outer.add(&inner.fd, IN);
        room_for(&inner, 2);
        drop(inner);
        room_for(&outer, 3);
    });
}

fn watches_by_write() {
    with_limit(3, || {
        let q = Queue::new(8);
        let p = pipes(5);
        let all: Vec<_> = p.iter().map(|(r, _)| change(r, IN)).collect();
        let n = ok("write", try_apply(&q, &all));
        check_eq!("elements applied", n / size_of::<PollFd>(), 3);
        fails("the next one", try_apply(&q, &all[3..]), libc::ENOSPC);
        // Changes need no room.
        apply(&q, &all[..3]);
    });
}

fn watches_of_another_user() {
    let old = setting();
    if fs::write(WATCHES, "5").is_err() {
        skip("fs.evpoll.max_user_watches cannot be set");
    }
    let end = fork(|| {
        let (ready, report) = pipe();
        let (go, gate) = pipe();
        let other = fork(|| {
            become_user(NOBODY - 1);
            let q = Queue::new(64);
            let p = pipes(5);
            for (r, _) in &p {
                q.add(r, IN);
            }
            no_more(&q);
            put(&report, b".");
            poll_for(go.raw(), IN, limit(5000));
            no_more(&q);
        });
        poll_until(&ready, IN);
        become_user(NOBODY);
        room_for(&Queue::new(64), 5);
        put(&gate, b".");
        other.succeed();
        room_for(&Queue::new(64), 5);
    })
    .wait();
    fs::write(WATCHES, old.to_string()).expect(WATCHES);
    check_eq!("the child's end", end, Exit::Code(0));
}

/// What another user has added, and this one removes, is neither counted here nor given back here.
fn watches_of_a_shared_queue() {
    let old = setting();
    if fs::write(WATCHES, "3").is_err() {
        skip("fs.evpoll.max_user_watches cannot be set");
    }
    let end = fork(|| {
        let q = Queue::new(64);
        let p = pipes(3);
        let other = || {
            fork(|| {
                become_user(NOBODY - 1);
                for (r, _) in &p {
                    q.add(r, IN);
                }
                no_more(&q);
            })
        };
        other().succeed();
        become_user(NOBODY);
        // The other one's watches are there, and are not ours.
        check_eq!("watches", watches(&q), 3);
        let mine = Queue::new(64);
        room_for(&mine, 3);
        for (r, _) in &p {
            q.del(r);
        }
        room_for(&mine, 3);
    })
    .wait();
    fs::write(WATCHES, old.to_string()).expect(WATCHES);
    check_eq!("the child's end", end, Exit::Code(0));
}

fn watches_that_failed_do_not_count() {
    with_limit(1, || {
        let q = Queue::new(1);
        let (r, _w) = pipe();
        let (r2, _w2) = pipe();
        let null = open("/dev/null", libc::O_RDONLY);
        for _ in 0..100 {
            for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
                fails("a closed one", q.try_ctl(op, -1, IN), libc::EBADF);
                fails("unknown bits", q.try_ctl(op, r.raw(), NVAL), libc::EINVAL);
                fails("a file", q.try_ctl(op, null.raw(), IN), libc::EPERM);
                fails("itself", q.try_ctl(op, q.raw(), IN), libc::ELOOP);
            }
            q.add(&r, IN);
            for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
                fails("twice", q.try_ctl(op, r.raw(), IN), libc::EEXIST);
                match q.try_ctl(op, r2.raw(), IN) {
                    Err(Errno(libc::E2BIG | libc::ENOSPC)) => {}
                    other => panic!("expected E2BIG or ENOSPC, got {other:?}"),
                }
            }
            q.del(&r);
            fails("DEL", q.try_ctl(EP_CTL_DEL, r.raw(), 0), libc::ENOENT);
        }
        room_for(&Queue::new(8), 1);
    });
}

/// What is there goes on; nothing is added until there is room again.
fn watches_below_what_there_is() {
    let old = setting();
    if fs::write(WATCHES, "10").is_err() {
        skip("fs.evpoll.max_user_watches cannot be set");
    }
    let (ready, report) = pipe();
    let (go, gate) = pipe();
    let child = fork(|| {
        become_user(NOBODY);
        let q = Queue::new(64);
        let p = pipes(10);
        for (r, _) in &p {
            q.add(r, IN);
        }
        put(&report, b".");
        poll_for(go.raw(), IN, limit(5000));
        no_more(&q);
        for (_, w) in &p {
            put(w, b"x");
        }
        check_eq!("events", q.wait(limit(2000)).len(), 10);
        for (r, _) in &p[..7] {
            q.del(r);
            no_more(&q);
        }
        q.del(&p[7].0);
        room_for(&q, 1);
    });
    let said = poll_for(ready.raw(), IN, limit(4000));
    let lowered = fs::write(WATCHES, "3");
    put(&gate, b".");
    let end = child.wait();
    fs::write(WATCHES, old.to_string()).expect(WATCHES);
    check!(said == IN && lowered.is_ok(), "the child was not ready");
    check_eq!("the child's end", end, Exit::Code(0));
}

fn watches_under_a_race() {
    const LIMIT: usize = 20;
    with_limit(LIMIT as u64, || {
        let p = pipes(16);
        for round in 0..50 {
            let queues: Vec<_> = (0..2).map(|_| Queue::new(16)).collect();
            let added = AtomicUsize::new(0);
            thread::scope(|s| {
                for q in &queues {
                    let (p, added) = (&p, &added);
                    s.spawn(move || {
                        for (r, _) in p {
                            match q.try_ctl(EP_CTL_ADD, r.raw(), IN) {
                                Ok(_) => drop(added.fetch_add(1, SeqCst)),
                                Err(Errno(libc::ENOSPC)) => {}
                                Err(e) => panic!("ADD: {e}"),
                            }
                        }
                    });
                }
            });
            let n = added.load(SeqCst);
            // Two that find no room at the same moment may both be refused.
            check!(
                (LIMIT - 1..=LIMIT).contains(&n),
                "round {round}: {n} watches at a limit of {LIMIT}"
            );
        }
        room_for(&Queue::new(64), LIMIT);
    });
}

/// Runs `f` in a child in the group.
#[track_caller]
fn in_group(group: &Group, f: impl FnOnce()) -> Exit {
    fork(|| {
        group.join();
        f();
    })
    .wait()
}

/// So many numbers of one pipe, each of which is a watch of its own.
const DUPS: usize = 4000;

fn dups() -> Vec<Fd> {
    need_files(DUPS as u64 + 200);
    let (r, _w) = pipe();
    let mut all: Vec<Fd> = (1..DUPS).map(|_| r.dup()).collect();
    all.push(r);
    all
}

fn memory_of_watches_is_charged() {
    const QUEUES: usize = 6;
    let group = Group::new();
    let end = in_group(&group, || {
        let fds = dups();
        let queues: Vec<_> = (0..QUEUES).map(|_| Queue::new(DUPS as i32)).collect();
        let before = group.current();
        for q in &queues {
            for fd in &fds {
                q.add(fd, IN);
            }
        }
        let with = group.current();
        // Two entries of eight bytes, and more for the watch itself.
        let least = QUEUES * DUPS * 48;
        println!(
            "memory.current: {before} before, {with} with {} watches",
            QUEUES * DUPS
        );
        check!(
            with >= before + least,
            "{} watches are charged {} bytes, less than {least}",
            QUEUES * DUPS,
            with.saturating_sub(before)
        );
        drop(queues);
        // Freed after a grace period.
        let end = std::time::Instant::now() + ms(4000);
        let enough = before + (with - before) / 2;
        while group.current() > enough {
            check!(
                std::time::Instant::now() < end,
                "memory.current: {before} before, {with} with the watches, {} after close",
                group.current()
            );
            sleep(ms(20));
        }
        println!("memory.current: {} after close", group.current());
    });
    check_eq!("the end of the process in the group", end, Exit::Code(0));
}

/// The pages of the buffers, when they are touched.
fn memory_of_buffers_is_charged() {
    const SIZE: i32 = 1 << 20;
    let group = Group::new();
    let end = in_group(&group, || {
        let before = group.current();
        let (q, map) = device(SIZE);
        let without = group.current();
        check!(
            without < before + (1 << 20),
            "room that nobody uses takes {} bytes",
            without.saturating_sub(before)
        );
        // Each page, for reading.
        for at in (0..map.len).step_by(PAGE) {
            // SAFETY: within the mapping.
            unsafe { map.start.cast::<u8>().add(at).read_volatile() };
        }
        let with = group.current();
        println!(
            "memory.current: {before} before, {with} with {} bytes",
            map.len
        );
        check!(
            with >= before + map.len * 9 / 10,
            "{} bytes of buffers are charged {}",
            map.len,
            with.saturating_sub(before)
        );
        drop((q, map));
        let end = std::time::Instant::now() + ms(4000);
        while group.current() > before + (8 << 20) {
            check!(
                std::time::Instant::now() < end,
                "memory.current: {before} before, {with} mapped, {} after close",
                group.current()
            );
            sleep(ms(20));
        }
    });
    check_eq!("the end of the process in the group", end, Exit::Code(0));
}

/// At the limit, the process gets ENOMEM or is killed; nobody else notices.
fn memory_limit_holds() {
    let group = Group::new();
    group.set("memory.max", "12582912");
    // There may be no swap at all.
    let _ = fs::write(format!("{}/memory.swap.max", group.path), "0");
    let end = in_group(&group, || {
        let fds = dups();
        let mut queues = Vec::new();
        // 64 MB and more of watches, were it not for the limit.
        for _ in 0..200 {
            let q = match Queue::try_new(DUPS as i32, 0) {
                Ok(q) => q,
                Err(Errno(libc::ENOMEM)) => return,
                Err(e) => panic!("create: {e}"),
            };
            for fd in &fds {
                match q.try_ctl(EP_CTL_ADD, fd.raw(), IN) {
                    Ok(_) => {}
                    Err(Errno(libc::ENOMEM)) => return,
                    Err(e) => panic!("ADD: {e}"),
                }
            }
            queues.push(q);
        }
        panic!("{} watches within 12 MB", queues.len() * DUPS);
    });
    println!("the process in the group: {end:?}");
    check!(
        end == Exit::Code(0) || end == Exit::Signal(libc::SIGKILL),
        "the process in the group ended with {end:?}"
    );
    let q = Queue::new(8);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.expect("outside of the group", &[entry(&r, IN, IN)]);
    let end = std::time::Instant::now() + ms(4000);
    while group.current() > 6 << 20 {
        check!(
            std::time::Instant::now() < end,
            "{} bytes stay charged to the group",
            group.current()
        );
        sleep(ms(20));
    }
}

fn descriptors_run_out() {
    let files = open_files();
    let maps = mapped();
    let free = lowest_free();
    set_limit(libc::RLIMIT_NOFILE, free as u64);
    for _ in 0..300 {
        fails("create", evpoll_create(1 << 20, 0), libc::EMFILE);
        fails(
            "open",
            try_open_device(libc::O_RDWR).map(|_| ()),
            libc::EMFILE,
        );
    }
    set_limit(libc::RLIMIT_NOFILE, u64::from(u32::MAX));
    check_eq!("descriptors", open_files(), files);
    check_eq!("mappings", mapped(), maps);
}

/// Leaves this process so much address space, and no more.
fn leave(bytes: u64) {
    let used = kilobytes("/proc/self/status", "VmSize:") as u64 * 1024;
    set_limit(libc::RLIMIT_AS, used + bytes);
}

fn enough_again() {
    set_limit(libc::RLIMIT_AS, u64::MAX);
}

fn address_space_runs_out_in_create() {
    let files = open_files();
    let maps = mapped();
    leave(4 << 20);
    for _ in 0..300 {
        fails("create", evpoll_create(1 << 24, 0), libc::ENOMEM);
    }
    // A small one still fits.
    let small = Queue::try_new(8, EVPOLL_CLOEXEC).map(drop);
    enough_again();
    ok("a small queue", small);
    check_eq!("descriptors", open_files(), files);
    check_eq!("mappings", mapped(), maps);
}

fn address_space_runs_out_in_wait() {
    let q = open_device();
    alloc(&q, 1 << 24);
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    leave(4 << 20);
    let mut got = Vec::with_capacity(100);
    for _ in 0..100 {
        got.push(q.try_wait_raw(0).map(|_| ()).err());
    }
    enough_again();
    for got in got {
        check_eq!(
            "a wait without address space",
            got,
            Some(Errno(libc::ENOMEM))
        );
    }
    check_eq!("mappings", mapped(), 0);
    q.expect("the event, with address space", &[entry(&r, IN, IN)]);
}

fn address_space_runs_out_in_mmap() {
    let q = open_device();
    alloc(&q, 1 << 24);
    leave(4 << 20);
    let got = Map::try_new(&q, map_size(1 << 24), libc::PROT_READ, libc::MAP_SHARED, 0);
    enough_again();
    fails("mmap", got.map(|_| ()), libc::ENOMEM);
    free(&q);
    alloc(&q, 8);
    drop(Map::new(&q, 8));
}

/// For one who locks all that he maps, and may not lock so much.
fn locked_memory_runs_out() {
    let end = fork(|| {
        let small = open_device();
        alloc(&small, 8);
        let q = open_device();
        alloc(&q, 1 << 20);
        give_up_capabilities();
        set_limit(libc::RLIMIT_MEMLOCK, 1 << 20);
        // SAFETY: takes no pointer.
        let got = sys(unsafe { libc::mlockall(libc::MCL_FUTURE) });
        if let Err(e) = got {
            skip(&format!("mlockall: {e}"));
        }
        let files = open_files();
        let maps = mapped();
        for _ in 0..100 {
            fails("create", evpoll_create(1 << 20, 0), libc::ENOMEM);
        }
        let (r, w) = pipe();
        q.add(&r, IN);
        put(&w, b"x");
        for _ in 0..100 {
            fails("a wait", q.try_wait(0), libc::ENOMEM);
        }
        let len = map_size(1 << 20);
        let got = Map::try_new(&q, len, libc::PROT_READ, libc::MAP_SHARED, 0);
        fails("mmap", got.map(|_| ()), libc::EAGAIN);
        // SAFETY: takes no pointer.
        ok("munlockall", sys(unsafe { libc::munlockall() }));
        q.expect("the event, unlocked", &[entry(&r, IN, IN)]);
        drop((q, r, w));
        check_eq!("descriptors", open_files(), files - 1);
        check_eq!("mappings", mapped(), maps);
        let map = Map::new(&small, 8);
        check_eq!("the small one", map.poll(&small, 0), Vec::new());
    })
    .wait();
    check_eq!("the child's end", end, Exit::Code(0));
}
