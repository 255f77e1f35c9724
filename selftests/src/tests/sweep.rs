// SPDX-License-Identifier: GPL-2.0
//! Each allocation and each copy in each call fails in turn. The call says so with an error that
//! it has; nothing has changed; what was pending is handed out, once; the same call without a
//! fault succeeds; and every descriptor still makes its event.
//!
//! Needs the kernel's fault injection (the debug profile). That nothing is leaked is for kmemleak
//! to say, at the end of the run; watches are counted here.

use std::fs;
use std::os::raw::{c_int, c_long, c_void};

use crate::abi::*;
use crate::check::ok;
use crate::device::*;
use crate::inject::{sweep, with_faults, Expect, Kernel, Shot, EVERY, ONE};
use crate::net::*;
use crate::queue::*;
use crate::runner::{test, Test};
use crate::sys::*;

const fn long(name: &'static str, run: fn()) -> Test {
    Test {
        limit: 60,
        ..test("sweep", name, run)
    }
}

pub const TESTS: &[Test] = &[
    long("create", create),
    long("create_for_many", create_for_many),
    long("open_of_the_device", open_of_the_device),
    long("first_watch_of_a_file", first_watch_of_a_file),
    long("first_watch_and_test", first_watch_and_test),
    long("second_watch_of_a_file", second_watch_of_a_file),
    long("watch_of_a_queue", watch_of_a_queue),
    long("table_grows", table_grows),
    long("buffer_grows", buffer_grows),
    long("buffer_grows_for_a_change", buffer_grows_for_a_change),
    long("change", change_of_a_watch),
    long("remove", remove),
    long("wait", wait),
    long("wait_maps", wait_maps),
    long("wait_maps_in_a_child", wait_maps_in_a_child),
    long("wait_stores_to_a_new_page", wait_stores_to_a_new_page),
    long("write", write_of_an_array),
    long("write_adds_first", write_adds_first),
    long("map", map),
    long("unmap", unmap),
    long("remap", remap),
    long("touch", touch),
    long("ioctls", ioctls),
    long("poll_of_the_queue", poll_of_the_queue),
    long("epoll_of_the_queue", epoll_of_the_queue),
    long("fdinfo", fdinfo_of_the_queue),
    long("close_of_the_queue", close_of_the_queue),
    long("close_of_what_is_watched", close_of_what_is_watched),
    long("descriptors_around_a_queue", descriptors_around_a_queue),
    long("connections_around_a_queue", connections_around_a_queue),
    long("data_around_a_queue", data_around_a_queue),
];

const MEMORY: &[c_int] = &[libc::ENOMEM];
const MEMORY_OR_FAULT: &[c_int] = &[libc::ENOMEM, libc::EFAULT];

const WATCHES: &str = "/proc/sys/fs/evpoll/max_user_watches";
/// The watches that the user of a sweep may have.
const LIMIT: usize = 700;
const NOBODY: libc::uid_t = 65534;

/// Runs the sweeps in a child, as a user who has no watch before, and must have none after.
#[track_caller]
fn sweeps(f: impl FnOnce(&Kernel)) {
    with_faults(&[(WATCHES, &LIMIT.to_string())], || {
        need_files(8192);
        let same = libc::uid_t::MAX;
        // Only as far as accounts go: everything stays accessible.
        // SAFETY: takes no pointer.
        let got = unsafe { libc::setresuid(NOBODY, same, same) };
        ok("setresuid", sys(got));
        f(&Kernel::new());
        all_watches_are_free();
    });
}

/// No watch is still counted that is gone.
#[track_caller]
fn all_watches_are_free() {
    let q = Queue::new(LIMIT as i32 + 1);
    let (r, _w) = pipe();
    let more: Vec<Fd> = (0..LIMIT).map(|_| r.dup()).collect();
    for fd in &more {
        q.add(fd, IN);
    }
    let one_more = q.try_ctl(EP_CTL_ADD, r.raw(), IN);
    check_eq!("one watch more", one_more, Err(Errno(libc::ENOSPC)));
}

/// What a call that has failed must not have changed.
#[derive(Debug, PartialEq, Eq)]
struct Marks {
    descriptors: usize,
    mappings: usize,
    queue: String,
}

/// A queue with events, and what is around it.
struct World {
    q: Queue,
    first: (Fd, Fd),
    second: (Fd, Fd),
    idle: (Fd, Fd),
}

fn fdinfo(q: &Queue) -> String {
    let file = format!("/proc/self/fdinfo/{}", q.raw());
    fs::read_to_string(&file).expect(&file)
}

impl World {
    #[track_caller]
    fn new() -> Self {
        Self::of(Queue::new(64))
    }

    #[track_caller]
    fn of(q: Queue) -> Self {
        let world = World {
            q,
            first: pipe(),
            second: pipe(),
            idle: pipe(),
        };
        for (r, _) in [&world.first, &world.second, &world.idle] {
            world.q.add(r, IN);
        }
        world.fire();
        world
    }

    /// Two events become pending.
    #[track_caller]
    fn fire(&self) {
        put(&self.first.1, b"x");
        put(&self.second.1, b"x");
    }

    fn pending(&self) -> [PollFd; 2] {
        [entry(&self.first.0, IN, IN), entry(&self.second.0, IN, IN)]
    }

    fn marks(&self) -> Marks {
        Marks {
            descriptors: open_files(),
            mappings: mapped(),
            queue: fdinfo(&self.q),
        }
    }

    #[track_caller]
    fn unchanged(&self, before: &Marks) {
        check_eq!("what there is after the failure", &self.marks(), before);
    }

    /// What was pending is handed out once, every watch works, and two events are pending again.
    #[track_caller]
    fn whole(&self) {
        self.q.expect("what was pending", &self.pending());
        check_eq!("once", self.q.wait(0), Vec::new());
        get(&self.first.0, 1);
        get(&self.second.0, 1);
        put(&self.idle.1, b"x");
        self.q
            .expect("another event", &[entry(&self.idle.0, IN, IN)]);
        get(&self.idle.0, 1);
        self.fire();
    }
}

/// The same, after a success or a failure of which nothing must be seen.
#[track_caller]
fn done(world: &World, before: &Marks, result: Sys<c_int>) -> Sys<()> {
    if result.is_err() {
        world.unchanged(before);
    }
    world.whole();
    result.map(drop)
}

/// A queue that was just made does what a queue does.
#[track_caller]
fn works(q: &Queue) {
    let (r, w) = pipe();
    q.add(&r, IN);
    put(&w, b"x");
    q.expect("the event of a new queue", &[entry(&r, IN, IN)]);
}

#[track_caller]
fn creates(kernel: &Kernel, maxfds: i32) {
    let world = World::new();
    let what = format!("evpoll_create({maxfds})");
    sweep(kernel, &what, EVERY, MEMORY, Expect::Fails, |shot| {
        let before = world.marks();
        let got = shot.fire(|| evpoll_create(maxfds, EVPOLL_CLOEXEC));
        match got {
            Ok(raw) => works(&Queue { fd: Fd::new(raw) }),
            Err(_) => {
                world.unchanged(&before);
                works(&Queue::new(maxfds));
            }
        }
        world.whole();
        got.map(drop)
    });
}

fn create() {
    sweeps(|kernel| {
        creates(kernel, 1);
        creates(kernel, 8);
        creates(kernel, 512);
    });
}

fn create_for_many() {
    sweeps(|kernel| {
        creates(kernel, 513);
        creates(kernel, EVPOLL_MAX_FDS);
    });
}

fn open_of_the_device() {
    sweeps(|kernel| {
        let world = World::new();
        let path = c"/dev/eventpoll";
        let allowed = MEMORY_OR_FAULT;
        sweep(kernel, DEVICE, EVERY, allowed, Expect::Fails, |shot| {
            let before = world.marks();
            let flags = libc::O_RDWR | libc::O_CLOEXEC;
            // SAFETY: a C string.
            let got = shot.fire(|| sys(unsafe { libc::open(path.as_ptr(), flags) }));
            if got.is_err() {
                world.unchanged(&before);
            }
            let q = match got {
                Ok(raw) => Queue { fd: Fd::new(raw) },
                Err(_) => open_device(),
            };
            alloc(&q, 8);
            works(&q);
            world.whole();
            got.map(drop)
        });
    });
}

/// A file that nobody watches, and what makes it readable.
type Files = (&'static str, fn() -> (Fd, Fd));

const FILES: [Files; 4] = [
    ("a pipe", pipe),
    ("a UNIX socket", || socketpair(libc::SOCK_STREAM)),
    ("a TCP socket", || tcp_pair(Ip::V4)),
    ("a FIFO of both ends", || {
        let dir = TempDir::new();
        let path = dir.fifo("f");
        let both = open(&path, libc::O_RDWR | libc::O_NONBLOCK);
        let writer = open(&path, libc::O_WRONLY | libc::O_NONBLOCK);
        (both, writer)
    }),
];

/// Adds, with a fault, and without one if that has failed; then the file has its event.
#[track_caller]
fn adds(world: &World, shot: &Shot, op: i32, fd: &Fd, w: &Fd) -> Sys<()> {
    let ready = op == EP_CTL_ADD_AND_TEST;
    if ready {
        put(w, b"x");
        poll_until(fd, IN);
    }
    let before = world.marks();
    let (q, raw) = (world.q.raw(), fd.raw());
    let got = shot.fire(|| evpoll_ctl(q, op, raw, IN, 0));
    if got.is_err() {
        world.unchanged(&before);
        let mut p = PollFd::new(raw, 0, 0);
        let watched = ioctl(q, EP_ISPOLLED, &raw mut p as usize);
        check_eq!("EP_ISPOLLED after a failed ADD", watched, Ok(0));
        // Nobody hears of it.
        if !ready {
            put(w, b"x");
            get_some(fd);
        }
        world.q.ctl(op, raw, IN);
    }
    if !ready {
        put(w, b"x");
    }
    let mut want = world.pending().to_vec();
    want.push(entry(fd, IN, IN));
    let end = std::time::Instant::now() + ms(2000);
    let mut events = Vec::new();
    while events.len() < want.len() && std::time::Instant::now() < end {
        events.extend(world.q.wait(limit(50)));
    }
    check_eq!("what was pending, and the new one", events, want);
    check_eq!("once", world.q.wait(0), Vec::new());
    world.q.del(fd);
    get(&world.first.0, 1);
    get(&world.second.0, 1);
    world.fire();
    world.whole();
    got.map(drop)
}

/// Reads what comes, waiting for it a bounded time.
#[track_caller]
fn get_some(fd: &Fd) {
    poll_until(fd, IN);
    check!(drain(fd) > 0, "nothing to read");
}

fn first_watch_of_a_file() {
    sweeps(|kernel| {
        let world = World::new();
        for (name, make) in FILES {
            let what = format!("ADD, the first watch of {name}");
            sweep(kernel, &what, EVERY, MEMORY, Expect::Fails, |shot| {
                let (fd, w) = make();
                adds(&world, shot, EP_CTL_ADD, &fd, &w)
            });
        }
    });
}

fn first_watch_and_test() {
    sweeps(|kernel| {
        let world = World::new();
        for (name, make) in FILES {
            let what = format!("ADD_AND_TEST, the first watch of {name}");
            sweep(kernel, &what, EVERY, MEMORY, Expect::Fails, |shot| {
                let (fd, w) = make();
                adds(&world, shot, EP_CTL_ADD_AND_TEST, &fd, &w)
            });
        }
    });
}

fn second_watch_of_a_file() {
    sweeps(|kernel| {
        let world = World::new();
        for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
            let what = format!("operation {op}, the second watch of a pipe");
            sweep(kernel, &what, EVERY, MEMORY, Expect::Fails, |shot| {
                let (r, w) = pipe();
                let other = Queue::new(8);
                other.add(&r, IN);
                let result = adds(&world, shot, op, &r, &w);
                other.expect("the first watch", &[entry(&r, IN, IN)]);
                check_eq!("once", other.wait(0), Vec::new());
                put(&w, b"y");
                other.expect("the first watch, again", &[entry(&r, IN, IN)]);
                result
            });
        }
    });
}

fn watch_of_a_queue() {
    sweeps(|kernel| {
        for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
            let what = format!("operation {op}, a watch of a queue");
            sweep(kernel, &what, EVERY, MEMORY, Expect::Fails, |shot| {
                let outer = Queue::new(8);
                let inner = World::new();
                let before = (inner.marks(), fdinfo(&outer));
                let got = shot.fire(|| evpoll_ctl(outer.raw(), op, inner.q.raw(), IN, 0));
                if got.is_err() {
                    inner.unchanged(&before.0);
                    check_eq!("the outer queue", fdinfo(&outer), before.1);
                    // There is no link that would make this a cycle.
                    inner.q.add(&outer.fd, IN);
                    inner.q.del(&outer.fd);
                    outer.ctl(op, inner.q.raw(), IN);
                }
                if op == EP_CTL_ADD_AND_TEST {
                    outer.expect("what was pending", &[entry(&inner.q.fd, IN, IN)]);
                }
                check_eq!("once", outer.wait(0), Vec::new());
                inner.whole();
                outer.expect("the inner queue's events", &[entry(&inner.q.fd, IN, IN)]);
                got.map(drop)
            });
        }
    });
}

/// So many numbers of one pipe.
struct Numbers {
    fds: Vec<Fd>,
    w: Fd,
}

impl Numbers {
    #[track_caller]
    fn new(n: usize) -> Self {
        let (r, w) = pipe();
        let mut fds: Vec<Fd> = (1..n).map(|_| r.dup()).collect();
        fds.push(r);
        Numbers { fds, w }
    }

    /// A queue that has the first `n`.
    #[track_caller]
    fn queue(&self, n: usize, room: usize) -> Queue {
        let q = Queue::new(room as i32);
        for fd in &self.fds[..n] {
            q.add(fd, IN);
        }
        q
    }

    /// An event for each of the first `n`.
    #[track_caller]
    fn each_has_its_event(&self, q: &Queue, n: usize) {
        put(&self.w, b"x");
        let patience = if n == 0 { 0 } else { limit(2000) };
        let mut got: Vec<c_int> = q.wait(patience).iter().map(|e| e.fd).collect();
        got.sort_unstable();
        let mut want: Vec<c_int> = self.fds[..n].iter().map(Fd::raw).collect();
        want.sort_unstable();
        check_eq!("the events of all", got, want);
        get(&self.fds[0], 1);
    }
}

/// Adds to a queue that has `n` watches. One that has failed leaves the queue as it was, for the
/// next; after a success there is a new one.
#[track_caller]
fn grows(kernel: &Kernel, n: usize, room: usize) {
    let numbers = Numbers::new(n + 1);
    let mut kept: Option<Queue> = None;
    let what = format!("ADD to {n} watches");
    sweep(kernel, &what, EVERY, MEMORY, Expect::Fails, |shot| {
        let q = kept.take().unwrap_or_else(|| numbers.queue(n, room));
        put(&numbers.w, b"x");
        let before = (open_files(), mapped(), fdinfo(&q));
        let got = shot.fire(|| evpoll_ctl(q.raw(), EP_CTL_ADD, numbers.fds[n].raw(), IN, 0));
        if got.is_err() {
            check_eq!(
                "what there is after the failure",
                (open_files(), mapped(), fdinfo(&q)),
                before
            );
        }
        // What was pending before.
        check_eq!("events", q.wait(0).len(), n);
        check_eq!("once", q.wait(0).len(), 0);
        get(&numbers.fds[0], 1);
        match got {
            Ok(_) => numbers.each_has_its_event(&q, n + 1),
            Err(_) => {
                numbers.each_has_its_event(&q, n);
                kept = Some(q);
            }
        }
        got.map(drop)
    });
    if let Some(q) = kept {
        q.add(&numbers.fds[n], IN);
        numbers.each_has_its_event(&q, n + 1);
    }
}

fn table_grows() {
    sweeps(|kernel| {
        // Whatever its first sizes are, they are among these.
        for n in [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64] {
            grows(kernel, n, 64 + 1);
        }
    });
}

fn buffer_grows() {
    sweeps(|kernel| {
        grows(kernel, PER_PAGE - 1, 2 * PER_PAGE);
        grows(kernel, PER_PAGE, 2 * PER_PAGE);
    });
}

/// A change may leave a hole, which takes room that a full page does not have.
fn buffer_grows_for_a_change() {
    sweeps(|kernel| {
        let numbers = Numbers::new(PER_PAGE);
        for op in [EP_CTL_MOD, EP_CTL_MOD_AND_TEST] {
            let mut kept: Option<Queue> = None;
            let what = format!("operation {op} with {PER_PAGE} watches");
            sweep(kernel, &what, EVERY, MEMORY, Expect::Fails, |shot| {
                let q = kept
                    .take()
                    .unwrap_or_else(|| numbers.queue(PER_PAGE, 2 * PER_PAGE));
                put(&numbers.w, b"x");
                let before = (open_files(), mapped(), fdinfo(&q));
                let raw = numbers.fds[1].raw();
                let got = shot.fire(|| evpoll_ctl(q.raw(), op, raw, PRI, 0));
                let left = match got {
                    Ok(_) => PER_PAGE - 1,
                    Err(_) => {
                        check_eq!(
                            "what there is after the failure",
                            (open_files(), mapped(), fdinfo(&q)),
                            before
                        );
                        PER_PAGE
                    }
                };
                check_eq!("events", q.wait(0).len(), left);
                get(&numbers.fds[0], 1);
                if got.is_err() {
                    numbers.each_has_its_event(&q, PER_PAGE);
                    kept = Some(q);
                }
                got.map(drop)
            });
        }
    });
}

fn change_of_a_watch() {
    sweeps(|kernel| {
        let world = World::new();
        let (r, w) = (&world.idle.0, &world.idle.1);
        for op in [EP_CTL_MOD, EP_CTL_MOD_AND_TEST] {
            let what = format!("operation {op}");
            sweep(kernel, &what, EVERY, MEMORY, Expect::Succeeds, |shot| {
                put(w, b"x");
                let (q, raw) = (world.q.raw(), r.raw());
                let got = shot.fire(|| evpoll_ctl(q, op, raw, IN | PRI, 0));
                let mut want = world.pending().to_vec();
                want.push(entry(r, IN | PRI, IN));
                world.q.expect("the events after MOD", &want);
                world.q.modify(r, IN);
                for (r, _) in [&world.first, &world.second, &world.idle] {
                    get(r, 1);
                }
                world.fire();
                world.whole();
                got.map(drop)
            });
        }
    });
}

/// Whatever fails, a watch can be removed.
fn remove() {
    sweeps(|kernel| {
        let world = World::new();
        sweep(kernel, "DEL", EVERY, &[], Expect::Succeeds, |shot| {
            let (r, w) = pipe();
            world.q.add(&r, IN);
            put(&w, b"x");
            let (q, raw) = (world.q.raw(), r.raw());
            let got = shot.fire(|| evpoll_ctl(q, EP_CTL_DEL, raw, 0, 0));
            world.whole();
            got.map(drop)
        });
        sweep(
            kernel,
            "DEL of a queue",
            EVERY,
            &[],
            Expect::Succeeds,
            |shot| {
                let inner = Queue::new(8);
                world.q.add(&inner.fd, IN);
                let (q, raw) = (world.q.raw(), inner.raw());
                let got = shot.fire(|| evpoll_ctl(q, EP_CTL_DEL, raw, 0, 0));
                // No link is left.
                inner.add(&world.q.fd, IN);
                drop(inner);
                world.whole();
                got.map(drop)
            },
        );
    });
}

/// The raw call, with a variable that is there: where the events are.
fn wait_into(q: c_int, timeout: c_int, events: &mut *const PollFd) -> Sys<c_int> {
    // SAFETY: a pointer's worth of room.
    unsafe { evpoll_wait(q, events, timeout, std::ptr::null(), 0) }
}

/// One wait with a fault. Either it hands out all that is pending, or all of it is still there.
#[track_caller]
fn waits(world: &World, shot: &Shot, timeout: c_int) -> Sys<()> {
    let before = world.marks();
    let mut events: *const PollFd = std::ptr::null();
    let got = shot.fire(|| wait_into(world.q.raw(), timeout, &mut events));
    match got {
        Ok(n) => {
            let got = copy(events, n as usize);
            check_eq!("what was pending", got, world.pending().to_vec());
            check_eq!("once", world.q.wait(0), Vec::new());
            get(&world.first.0, 1);
            get(&world.second.0, 1);
            world.fire();
        }
        Err(_) => world.unchanged(&before),
    }
    world.whole();
    got.map(drop)
}

fn wait() {
    sweeps(|kernel| {
        let world = World::new();
        for timeout in [0, 1000, -1] {
            let what = format!("a wait for {timeout} ms");
            sweep(kernel, &what, EVERY, &[], Expect::Succeeds, |shot| {
                waits(&world, shot, timeout)
            });
        }
        // Nothing pending: it times out.
        let q = Queue::new(8);
        sweep(
            kernel,
            "a wait in vain",
            EVERY,
            &[],
            Expect::Succeeds,
            |shot| {
                let mut events: *const PollFd = std::ptr::null();
                let got = shot.fire(|| wait_into(q.raw(), 1, &mut events));
                check_eq!("events", got, Ok(0));
                got.map(drop)
            },
        );
    });
}

/// Takes the queue's mapping away, so that the next wait makes another.
#[track_caller]
fn unmap_queue() {
    for m in mappings() {
        if m.name.contains("[evpoll") || m.name.contains("eventpoll") {
            // SAFETY: nobody holds on to what was handed out there.
            let got = unsafe { libc::munmap(m.start as *mut c_void, m.end - m.start) };
            ok("munmap", sys(got));
        }
    }
}

fn wait_maps() {
    sweeps(|kernel| {
        let world = World::new();
        let what = "a wait without a mapping";
        sweep(kernel, what, EVERY, MEMORY, Expect::Fails, |shot| {
            unmap_queue();
            waits(&world, shot, 0)
        });
        // A queue of the device that was never mapped.
        let what = "the first wait on a queue of the device";
        sweep(kernel, what, EVERY, MEMORY, Expect::Fails, |shot| {
            let q = open_device();
            alloc(&q, 64);
            let world = World::of(q);
            waits(&world, shot, 1000)
        });
    });
}

fn wait_maps_in_a_child() {
    sweeps(|_| {
        let world = World::new();
        fork(|| {
            let kernel = Kernel::new();
            check_eq!("mappings in a child", mapped(), 0);
            let what = "a wait in a child";
            sweep(&kernel, what, EVERY, MEMORY, Expect::Fails, |shot| {
                unmap_queue();
                waits(&world, shot, 1000)
            });
        })
        .succeed();
        world.whole();
        // And in one that was sent the queue, and has no other thing of the process.
        let (a, b) = socketpair(libc::SOCK_STREAM);
        send_fd(&a, world.q.raw());
        let World {
            q,
            first,
            second,
            idle,
        } = world;
        drop(q);
        fork(|| {
            let kernel = Kernel::new();
            let q = Queue { fd: recv_fd(&b) };
            let world = World {
                q,
                first,
                second,
                idle,
            };
            let what = "a wait on a queue that was sent";
            sweep(&kernel, what, EVERY, MEMORY, Expect::Fails, |shot| {
                unmap_queue();
                waits(&world, shot, 1000)
            });
        })
        .succeed();
    });
}

/// The variable that the wait stores to takes a page fault, which may fail.
fn wait_stores_to_a_new_page() {
    sweeps(|kernel| {
        let world = World::new();
        let what = "a wait that stores to a new page";
        sweep(kernel, what, ONE, &[libc::EFAULT], Expect::Fails, |shot| {
            let before = world.marks();
            let page = map_anonymous(PAGE, libc::PROT_READ | libc::PROT_WRITE);
            let target = page.cast::<*const PollFd>();
            let q = world.q.raw();
            // SAFETY: room for a pointer.
            let got = shot.fire(|| unsafe { evpoll_wait(q, target, 0, std::ptr::null(), 0) });
            if let Ok(n) = got {
                // SAFETY: the kernel has stored a pointer there.
                let events = copy(unsafe { target.read() }, n as usize);
                check_eq!("what was pending", events, world.pending().to_vec());
                get(&world.first.0, 1);
                get(&world.second.0, 1);
                world.fire();
            } else {
                world.unchanged(&before);
            }
            // SAFETY: a mapping of our own.
            ok("munmap", sys(unsafe { libc::munmap(page, PAGE) }));
            world.whole();
            got.map(drop)
        });
    });
}

/// The watches that fdinfo lists: descriptor and events, sorted.
fn listed(q: &Queue) -> Vec<(c_int, u32)> {
    let mut list: Vec<(c_int, u32)> = fdinfo(q)
        .lines()
        .filter_map(|l| l.strip_prefix("tfd:"))
        .map(|l| {
            let words: Vec<&str> = l.split_whitespace().collect();
            let events = u32::from_str_radix(words[2], 16).expect("events");
            (words[0].parse().expect("a descriptor"), events)
        })
        .collect();
    list.sort_unstable();
    list
}

/// More than is read of the array at a time, and every kind of change.
fn write_of_an_array() {
    sweeps(|kernel| {
        let allowed = MEMORY_OR_FAULT;
        sweep(kernel, "write", EVERY, allowed, Expect::Either, |shot| {
            let world = World::new();
            let start = listed(&world.q);
            let pipes: Vec<(Fd, Fd)> = (0..6).map(|_| pipe()).collect();
            let (early, late) = pipes.split_at(3);
            let mut array: Vec<PollFd> = early.iter().map(|(r, _)| change(r, IN)).collect();
            for i in 0..30 {
                let bits = [IN | PRI, IN | RDHUP][i % 2];
                array.push(change(&early[i % 3].0, bits));
            }
            array.push(change(&early[0].0, REMOVE));
            array.extend(late.iter().map(|(r, _)| change(r, IN)));
            array.push(change(&late[0].0, REMOVE));
            let before = world.marks();
            let (p, len) = (array.as_ptr(), size_of_val(&array[..]));
            let q = world.q.raw();
            // SAFETY: an array of that size.
            let n = shot.fire(|| sys(unsafe { libc::write(q, p.cast(), len) } as c_int));
            if n.is_err() {
                world.unchanged(&before);
            }
            // Exactly so many elements were applied, from the first one on.
            let applied = n.unwrap_or(0) as usize;
            check_eq!("half an element", applied % size_of::<PollFd>(), 0);
            let applied = applied / size_of::<PollFd>();
            check!(n.is_err() || applied > 0, "neither applied nor failed");
            let mut want = start;
            for c in &array[..applied] {
                want.retain(|w| w.0 != c.fd);
                if c.events() & REMOVE == 0 {
                    want.push((c.fd, c.events()));
                }
            }
            want.sort_unstable();
            check_eq!("the watches after a write", listed(&world.q), want);
            apply(&world.q, &array[applied..]);
            world.whole();
            check_eq!("what was pending", world.q.wait(0).len(), 2);
            for (_, w) in &pipes {
                put(w, b"x");
            }
            let events = world.q.wait(limit(2000)).len();
            check_eq!("the events of all that are left", events, 4);
            if n == Ok(len as c_int) {
                Ok(())
            } else {
                // Not all of it: the reason is not told.
                Err(n.err().unwrap_or(Errno(libc::ENOMEM)))
            }
        });
    });
}

/// The first element is the one whose error is told.
fn write_adds_first() {
    sweeps(|kernel| {
        let world = World::new();
        let what = "write of one element";
        sweep(
            kernel,
            what,
            EVERY,
            MEMORY_OR_FAULT,
            Expect::Fails,
            |shot| {
                let (r, w) = pipe();
                let array = [change(&r, IN)];
                let before = world.marks();
                let (q, p, len) = (world.q.raw(), array.as_ptr(), size_of_val(&array));
                // SAFETY: an array of that size.
                let got = shot.fire(|| sys(unsafe { libc::write(q, p.cast(), len) } as c_int));
                match got {
                    Ok(n) => check_eq!("bytes applied", n, len as c_int),
                    Err(_) => {
                        world.unchanged(&before);
                        apply(&world.q, &array);
                    }
                }
                put(&w, b"x");
                let mut want = world.pending().to_vec();
                want.push(entry(&r, IN, IN));
                world.q.expect("the events", &want);
                get(&world.first.0, 1);
                get(&world.second.0, 1);
                drop((r, w));
                world.fire();
                world.whole();
                got.map(drop)
            },
        );
    });
}

/// The raw call: 0, or the error.
fn mmap_raw(fd: c_int, len: usize, at: &mut *mut c_void) -> Sys<c_int> {
    let (prot, flags) = (libc::PROT_READ, libc::MAP_SHARED);
    // SAFETY: a new mapping, wherever the kernel puts it.
    *at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, fd, 0) };
    if *at == libc::MAP_FAILED {
        Err(Errno::last())
    } else {
        Ok(0)
    }
}

fn map() {
    sweeps(|kernel| {
        let (world, own) = world_of_the_device();
        sweep(kernel, "mmap", EVERY, MEMORY, Expect::Fails, |shot| {
            let before = world.marks();
            let mut at = std::ptr::null_mut();
            let got = shot.fire(|| mmap_raw(world.q.raw(), own.len, &mut at));
            if got.is_err() {
                world.unchanged(&before);
            }
            let map = match got {
                Ok(_) => Map {
                    start: at,
                    len: own.len,
                },
                Err(_) => Map::new(&world.q, 64),
            };
            map.expect(&world.q, "what was pending", &world.pending());
            get(&world.first.0, 1);
            get(&world.second.0, 1);
            world.fire();
            drop(map);
            world.whole();
            got.map(drop)
        });
    });
}

fn world_of_the_device() -> (World, Map) {
    let (q, map) = device(64);
    (World::of(q), map)
}

fn unmap() {
    sweeps(|kernel| {
        let (world, own) = world_of_the_device();
        sweep(kernel, "munmap", EVERY, MEMORY, Expect::Either, |shot| {
            let map = Map::new(&world.q, 64);
            let before = world.marks();
            let (start, len) = (map.start, map.len);
            std::mem::forget(map);
            // SAFETY: a mapping of our own.
            let got = shot.fire(|| sys(unsafe { libc::munmap(start, len) }));
            if got.is_err() {
                // It is still there, and of use.
                world.unchanged(&before);
                let map = Map { start, len };
                map.expect(&world.q, "what was pending", &world.pending());
                get(&world.first.0, 1);
                get(&world.second.0, 1);
                world.fire();
            }
            check_eq!("mappings", mapped(), before.mappings - 1);
            world.whole();
            got.map(drop)
        });
        drop(own);
    });
}

/// Is never done: it is undone by the kernel, and all is as before. Only if there is no memory for
/// that either, a copy of the mapping stays at the new place, for the program to remove.
fn remap() {
    sweeps(|kernel| {
        let (world, own) = world_of_the_device();
        let elsewhere = map_anonymous(2 * own.len, libc::PROT_NONE);
        let copies = std::cell::Cell::new(0u32);
        for flags in [
            libc::MREMAP_MAYMOVE,
            libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
        ] {
            let what = format!("mremap {flags}");
            sweep(kernel, &what, EVERY, &[], Expect::Succeeds, |shot| {
                let before = world.marks();
                // SAFETY: a mapping of our own, to a place of our own.
                let p = shot.fire(|| unsafe {
                    libc::mremap(own.start, own.len, own.len, flags, elsewhere)
                });
                let error = Errno::last();
                if flags & libc::MREMAP_FIXED != 0 {
                    check_eq!("mremap", p, libc::MAP_FAILED);
                    check!(
                        [libc::EINVAL, libc::ENOMEM, libc::EFAULT].contains(&error.0),
                        "mremap: {error}"
                    );
                }
                if mapped() != before.mappings {
                    check!(shot.used(), "a copy of the mapping stays without a reason");
                    copies.set(copies.get() + 1);
                    let copy = mappings()
                        .into_iter()
                        .find(|m| m.name.contains("[evpoll") && m.start != own.start as usize);
                    let at = copy.expect("the copy").start;
                    check_eq!("where the copy is", at, elsewhere as usize);
                    // SAFETY: where nothing else of this program is.
                    let got = unsafe { libc::munmap(at as *mut c_void, own.len) };
                    ok("munmap of the copy", sys(got));
                }
                // The old place is where it was, with what it was.
                world.unchanged(&before);
                let place = mapping_of(own.start).map(|m| m.start);
                check_eq!("the mapping", place, Some(own.start as usize));
                own.expect(&world.q, "what was pending", &world.pending());
                get(&world.first.0, 1);
                get(&world.second.0, 1);
                world.fire();
                world.whole();
                Ok(())
            });
        }
        println!("a copy stayed {} times", copies.get());
    });
}

/// A page fault in the mapping that finds no memory is tried again, and then it does.
fn touch() {
    sweeps(|kernel| {
        sweep(kernel, "a page fault", ONE, &[], Expect::Survives, |shot| {
            // Two pages each half: the second is not there yet.
            let q = open_device();
            alloc(&q, 2 * PER_PAGE as c_int);
            let map = Map::new(&q, 2 * PER_PAGE as c_int);
            let world = World::of(q);
            for half in [0, map.len / 2] {
                let at = map.start.cast::<u64>().wrapping_byte_add(half + PAGE);
                if half == 0 {
                    // SAFETY: within the mapping.
                    let found = shot.fire(|| unsafe { at.read_volatile() });
                    check_eq!("a new page", found, 0);
                } else {
                    // SAFETY: within the mapping.
                    check_eq!("a new page", unsafe { at.read_volatile() }, 0);
                }
            }
            map.expect(&world.q, "what was pending", &world.pending());
            get(&world.first.0, 1);
            get(&world.second.0, 1);
            world.fire();
            drop(map);
            world.whole();
            Ok(())
        });
    });
}

fn ioctls() {
    sweeps(|kernel| {
        let fault = &[libc::EFAULT];
        sweep(kernel, "EP_ALLOC", EVERY, &[], Expect::Succeeds, |shot| {
            let q = open_device();
            let got = shot.fire(|| ioctl(q.raw(), EP_ALLOC, 64));
            World::of(q).whole();
            got.map(drop)
        });
        sweep(kernel, "EP_FREE", EVERY, &[], Expect::Succeeds, |shot| {
            let q = open_device();
            alloc(&q, 64);
            let (r, w) = pipe();
            q.add(&r, IN);
            put(&w, b"x");
            let got = shot.fire(|| ioctl(q.raw(), EP_FREE, 0));
            check_eq!("watches after EP_FREE", watches(&q), 0);
            alloc(&q, 64);
            World::of(q).whole();
            got.map(drop)
        });
        let (world, own) = world_of_the_device();
        sweep(kernel, "EP_POLL", EVERY, fault, Expect::Fails, |shot| {
            let before = world.marks();
            let mut e = EvPoll {
                ep_timeout: 0,
                ep_resoff: UNTOUCHED,
            };
            let arg = &raw mut e as usize;
            let got = shot.fire(|| ioctl(world.q.raw(), EP_POLL, arg));
            match got {
                Ok(n) => {
                    let got = own.entries(n as usize, e.ep_resoff);
                    check_eq!("what was pending", got, world.pending().to_vec());
                    get(&world.first.0, 1);
                    get(&world.second.0, 1);
                    world.fire();
                }
                Err(_) => world.unchanged(&before),
            }
            world.whole();
            got.map(drop)
        });
        sweep(kernel, "EP_ISPOLLED", EVERY, fault, Expect::Fails, |shot| {
            let before = world.marks();
            let mut p = PollFd::new(world.idle.0.raw(), 0, 0);
            let arg = &raw mut p as usize;
            let got = shot.fire(|| ioctl(world.q.raw(), EP_ISPOLLED, arg));
            if got.is_ok() {
                check_eq!(
                    "EP_ISPOLLED",
                    (got, p),
                    (Ok(1), entry(&world.idle.0, IN, 0))
                );
            }
            check_eq!("again", is_polled(&world.q, world.idle.0.raw()), Some(IN));
            done(&world, &before, got)
        });
    });
}

fn poll_of_the_queue() {
    sweeps(|kernel| {
        let world = World::new();
        let allowed = MEMORY_OR_FAULT;
        sweep(kernel, "poll", EVERY, allowed, Expect::Fails, |shot| {
            let before = world.marks();
            let mut p = libc::pollfd {
                fd: world.q.raw(),
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: an array of one.
            let got = shot.fire(|| sys(unsafe { libc::poll(&mut p, 1, 0) }));
            if got.is_ok() {
                check_eq!("poll", (got, p.revents), (Ok(1), libc::POLLIN));
            }
            done(&world, &before, got)
        });
        sweep(kernel, "select", EVERY, allowed, Expect::Fails, |shot| {
            let before = world.marks();
            // SAFETY: plain bits.
            let mut set: libc::fd_set = unsafe { std::mem::zeroed() };
            // SAFETY: a set, and a number that it has room for.
            unsafe { libc::FD_SET(world.q.raw(), &mut set) };
            let mut now = libc::timeval {
                tv_sec: 0,
                tv_usec: 0,
            };
            let (n, none) = (world.q.raw() + 1, std::ptr::null_mut());
            // SAFETY: one set and a time.
            let got = shot.fire(|| sys(unsafe { libc::select(n, &mut set, none, none, &mut now) }));
            if got.is_ok() {
                check_eq!("select", got, Ok(1));
            }
            done(&world, &before, got)
        });
    });
}

fn epoll_of_the_queue() {
    sweeps(|kernel| {
        let world = World::new();
        let allowed = MEMORY_OR_FAULT;
        let what = "epoll_ctl of a queue";
        sweep(kernel, what, EVERY, allowed, Expect::Fails, |shot| {
            // SAFETY: takes no pointer.
            let epoll = ok("epoll_create1", sys(unsafe { libc::epoll_create1(0) }));
            let epoll = Fd::new(epoll);
            let before = world.marks();
            let mut e = libc::epoll_event { events: IN, u64: 7 };
            let (ep, q, add) = (epoll.raw(), world.q.raw(), libc::EPOLL_CTL_ADD);
            // SAFETY: one event.
            let got = shot.fire(|| sys(unsafe { libc::epoll_ctl(ep, add, q, &mut e) }));
            if got.is_err() {
                world.unchanged(&before);
                // SAFETY: one event.
                ok(
                    "epoll_ctl",
                    sys(unsafe { libc::epoll_ctl(ep, add, q, &mut e) }),
                );
            }
            let mut out = libc::epoll_event { events: 0, u64: 0 };
            // SAFETY: an array of one.
            let n = ok(
                "epoll_wait",
                sys(unsafe { libc::epoll_wait(ep, &mut out, 1, 0) }),
            );
            check_eq!(
                "what epoll sees of the queue",
                (n, out.events & IN),
                (1, IN)
            );
            drop(epoll);
            world.whole();
            got.map(drop)
        });
    });
}

fn fdinfo_of_the_queue() {
    sweeps(|kernel| {
        let numbers = Numbers::new(200);
        let q = numbers.queue(200, 200);
        let path = std::ffi::CString::new(format!("/proc/self/fdinfo/{}", q.raw())).unwrap();
        let text = fdinfo(&q);
        let allowed = &[libc::ENOMEM, libc::EFAULT, libc::ENOENT];
        sweep(
            kernel,
            "open of fdinfo",
            EVERY,
            allowed,
            Expect::Fails,
            |shot| {
                // SAFETY: a C string.
                let got = shot.fire(|| sys(unsafe { libc::open(path.as_ptr(), libc::O_RDONLY) }));
                if let Ok(raw) = got {
                    drop(Fd::new(raw));
                }
                check_eq!("fdinfo", &fdinfo(&q), &text);
                got.map(drop)
            },
        );
        let mut room = vec![0u8; 65536];
        let what = "read of fdinfo";
        sweep(
            kernel,
            what,
            EVERY,
            MEMORY_OR_FAULT,
            Expect::Fails,
            |shot| {
                let fd = open(path.to_str().unwrap(), libc::O_RDONLY);
                let (to, len) = (room.as_mut_ptr(), room.len());
                // SAFETY: a buffer of that size.
                let got =
                    shot.fire(|| sys(unsafe { libc::read(fd.raw(), to.cast(), len) } as c_int));
                if let Ok(n) = got {
                    let read = &room[..n as usize];
                    check!(text.as_bytes().starts_with(read), "fdinfo is another text");
                }
                check_eq!("fdinfo", &fdinfo(&q), &text);
                got.map(drop)
            },
        );
        numbers.each_has_its_event(&q, 200);
    });
}

/// It is closed whatever fails. Only the mapping may stay, where there is no memory for changing
/// the address space: then the program can remove it as any other.
fn close_of_the_queue() {
    sweeps(|kernel| {
        let around = World::new();
        let stays = std::cell::Cell::new(0u32);
        sweep(
            kernel,
            "close of a queue",
            EVERY,
            &[],
            Expect::Either,
            |shot| {
                let before = around.marks();
                let world = World::new();
                let outer = Queue::new(8);
                outer.add(&world.q.fd, IN);
                let World {
                    q,
                    first,
                    second,
                    idle,
                } = world;
                let raw = q.fd.leak();
                // SAFETY: our own descriptor.
                let got = shot.fire(|| sys(unsafe { libc::close(raw) }));
                check_eq!("watches of a closed queue", watches(&outer), 0);
                drop(outer);
                if mapped() != before.mappings {
                    check!(shot.used(), "the mapping stays without a reason");
                    stays.set(stays.get() + 1);
                    let left: Vec<Mapping> = mappings()
                        .into_iter()
                        .filter(|m| m.name.contains("[evpoll"))
                        .collect();
                    check_eq!("mappings that stay", left.len(), before.mappings + 1);
                    // All but the one around, which must not go.
                    let own = around.q.wait_raw(0).1 as usize;
                    get(&around.first.0, 1);
                    get(&around.second.0, 1);
                    around.fire();
                    for m in left.iter().filter(|m| !(m.start..m.end).contains(&own)) {
                        // SAFETY: of a queue that is gone.
                        let got = unsafe { libc::munmap(m.start as *mut c_void, m.end - m.start) };
                        ok("munmap", sys(got));
                    }
                    check_eq!("mappings", mapped(), before.mappings);
                }
                // Nothing follows a queue that is gone.
                for (r, w) in [first, second, idle] {
                    put(&w, b"y");
                    drain(&r);
                }
                around.whole();
                got.map(drop)
            },
        );
        println!("the mapping stayed {} times", stays.get());
    });
}

fn close_of_what_is_watched() {
    sweeps(|kernel| {
        let world = World::new();
        for (name, make) in FILES {
            let what = format!("close of {name}");
            sweep(kernel, &what, EVERY, &[], Expect::Either, |shot| {
                let (fd, w) = make();
                let before = listed(&world.q);
                world.q.add(&fd, IN);
                put(&w, b"x");
                poll_until(&fd, IN);
                let raw = fd.leak();
                // SAFETY: our own descriptor.
                let got = shot.fire(|| sys(unsafe { libc::close(raw) }));
                check_eq!("the watches", listed(&world.q), before);
                world.whole();
                got.map(drop)
            });
        }
    });
}

fn descriptors_around_a_queue() {
    sweeps(|kernel| {
        let world = World::new();
        let files = [libc::ENOMEM, libc::ENFILE, libc::EMFILE, libc::EFAULT];
        let close = |raw: Sys<c_int>| {
            if let Ok(raw) = raw {
                drop(Fd::new(raw));
            }
        };
        let high = std::cell::Cell::new(100);
        sweep(kernel, "dup", EVERY, &files, Expect::Either, |shot| {
            let before = world.marks();
            let (q, to) = (world.q.raw(), high.get());
            high.set(to + 64);
            // SAFETY: takes no pointer.
            let got = shot.fire(|| sys(unsafe { libc::fcntl(q, libc::F_DUPFD_CLOEXEC, to) }));
            close(got);
            done(&world, &before, got)
        });
        sweep(kernel, "pipe", EVERY, &files, Expect::Fails, |shot| {
            let before = world.marks();
            let mut fds = [-1; 2];
            let p = fds.as_mut_ptr();
            // SAFETY: room for two descriptors.
            let got = shot.fire(|| sys(unsafe { libc::pipe2(p, libc::O_NONBLOCK) }));
            if got.is_ok() {
                drop((Fd::new(fds[0]), Fd::new(fds[1])));
            }
            done(&world, &before, got)
        });
        sweep(kernel, "socketpair", EVERY, &files, Expect::Fails, |shot| {
            let before = world.marks();
            let mut fds = [-1; 2];
            let p = fds.as_mut_ptr();
            // SAFETY: room for two descriptors.
            let got = shot
                .fire(|| sys(unsafe { libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, p) }));
            if got.is_ok() {
                drop((Fd::new(fds[0]), Fd::new(fds[1])));
            }
            done(&world, &before, got)
        });
    });
}

fn connections_around_a_queue() {
    sweeps(|kernel| {
        let world = World::new();
        let (l, addr) = listener(Ip::V4, 64);
        let files = [libc::ENOMEM, libc::ENFILE, libc::EMFILE, libc::ENOBUFS];
        world.q.add(&l, IN);
        let both = |what: &str| {
            let mut want = world.pending().to_vec();
            want.push(entry(&l, IN, IN));
            let end = std::time::Instant::now() + ms(2000);
            let mut got = Vec::new();
            while got.len() < want.len() && std::time::Instant::now() < end {
                got.extend(world.q.wait(limit(50)));
            }
            check_eq!(what, got, want);
            get(&world.first.0, 1);
            get(&world.second.0, 1);
            world.fire();
        };
        sweep(kernel, "accept", EVERY, &files, Expect::Fails, |shot| {
            let c = Ip::V4.tcp();
            reset_on_close(&c);
            connect(&c, &addr);
            poll_until(&l, IN);
            both("the connection's event");
            let before = world.marks();
            let (raw, none) = (l.raw(), std::ptr::null_mut());
            // SAFETY: no address is asked for.
            let got = shot.fire(|| {
                sys(unsafe { libc::accept4(raw, none, std::ptr::null_mut(), libc::SOCK_NONBLOCK) })
            });
            match got {
                Ok(raw) => drop(Fd::new(raw)),
                Err(_) => {
                    world.unchanged(&before);
                    drop(try_accept(&l));
                }
            }
            world.whole();
            got.map(drop)
        });
        // What the network code says when it finds no memory for a route or a port.
        let allowed = [files.as_slice(), &[libc::EADDRNOTAVAIL, libc::EFAULT]].concat();
        sweep(kernel, "connect", EVERY, &allowed, Expect::Fails, |shot| {
            let c = Ip::V4.tcp();
            reset_on_close(&c);
            world.q.add(&c, OUT);
            let got = shot.fire(|| match try_connect(&c, &addr) {
                Err(Errno(libc::EINPROGRESS)) => Ok(0),
                other => other,
            });
            if got.is_ok() {
                poll_until(&l, IN);
                drop(accept(&l));
            }
            world.q.del(&c);
            drop(c);
            let more = world.q.wait(limit(5)).len();
            check!((2..=3).contains(&more), "{more} events of two or three");
            get(&world.first.0, 1);
            get(&world.second.0, 1);
            world.fire();
            // The listener still tells.
            let c = Ip::V4.tcp();
            reset_on_close(&c);
            connect(&c, &addr);
            poll_until(&l, IN);
            both("the next connection's event");
            drop(accept(&l));
            world.whole();
            got.map(drop)
        });
    });
}

fn data_around_a_queue() {
    sweeps(|kernel| {
        let world = World::new();
        // EAGAIN: TCP waits for memory, and this one does not want to wait.
        let allowed = [libc::ENOMEM, libc::EFAULT, libc::ENOBUFS, libc::EAGAIN];
        let data = [b'z'; 5000];
        for (name, make) in FILES {
            let what = format!("write to {name}");
            sweep(kernel, &what, EVERY, &allowed, Expect::Fails, |shot| {
                let (fd, w) = make();
                world.q.add(&fd, IN);
                let (raw, p) = (w.raw(), data.as_ptr());
                // SAFETY: a buffer of that size.
                let got = shot.fire(|| {
                    sys(
                        unsafe { libc::syscall(libc::SYS_write, raw, p, data.len()) as c_long }
                            as c_int,
                    )
                });
                // No event is lost: there is one if there is something to read.
                let n = got.unwrap_or(0);
                if n > 0 {
                    poll_until(&fd, IN);
                }
                let mut events = world.q.wait(0);
                let mut other = events.split_off(events.len().min(2));
                check_eq!("what was pending", events, world.pending().to_vec());
                other.extend(world.q.wait(0));
                if n > 0 {
                    check!(
                        other
                            .iter()
                            .any(|e| e.fd == fd.raw() && e.revents() & IN != 0),
                        "{n} bytes were written, and there is no event: {other:?}"
                    );
                }
                drain(&fd);
                get(&world.first.0, 1);
                get(&world.second.0, 1);
                world.fire();
                world.whole_with(&fd, &w);
                got.map(drop)
            });
            let what = format!("read from {name}");
            let mut room = [0u8; 100];
            sweep(kernel, &what, EVERY, &allowed, Expect::Either, |shot| {
                let (fd, w) = make();
                put(&w, &data[..100]);
                poll_until(&fd, IN);
                world.q.add(&fd, IN);
                let (raw, p) = (fd.raw(), room.as_mut_ptr());
                // SAFETY: a buffer of that size.
                let got = shot.fire(|| sys(unsafe { libc::read(raw, p.cast(), 100) } as c_int));
                drain(&fd);
                world.whole_with(&fd, &w);
                got.map(drop)
            });
        }
    });
}

impl World {
    /// [`whole`](Self::whole), where `fd`, which is empty, is watched as well and makes its event.
    #[track_caller]
    fn whole_with(&self, fd: &Fd, w: &Fd) {
        put(w, b"x");
        poll_until(fd, IN);
        let mut want = self.pending().to_vec();
        want.push(entry(fd, IN, IN));
        self.q.expect("what was pending, and one more", &want);
        self.q.del(fd);
        get(&self.first.0, 1);
        get(&self.second.0, 1);
        self.fire();
        self.whole();
    }
}
