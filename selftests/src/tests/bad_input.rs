// SPDX-License-Identifier: GPL-2.0
//! What no program should pass, to every argument of every call: each gives its errno, and
//! nothing that is pending is lost, and nothing leaks.

use std::os::raw::{c_int, c_void};

use crate::abi::*;
use crate::check::{fails, ok};
use crate::device::*;
use crate::net::socketpair;
use crate::queue::*;
use crate::sys::*;

tests!("bad_input":
    create_sizes,
    create_flags,
    ctl_queue_of_the_wrong_kind,
    ctl_queue_that_is_none,
    ctl_operations,
    ctl_descriptors_that_are_none,
    ctl_descriptors_of_the_wrong_kind,
    ctl_each_bit,
    ctl_data,
    wait_queue_of_the_wrong_kind,
    wait_wild_pointers,
    wait_read_only_pointer,
    wait_pointer_across_the_end_of_memory,
    wait_misaligned_pointer,
    wait_timeouts,
    wait_options,
    poll_wild_pointers,
    poll_structure_across_the_end_of_memory,
    poll_misaligned_structure,
    poll_timeouts,
    is_polled_wild_pointers,
    is_polled_read_only_memory,
    is_polled_across_the_end_of_memory,
    is_polled_descriptors,
    alloc_sizes,
    free_ignores_its_argument,
    ioctl_numbers,
    ioctl_on_the_wrong_kind,
    write_wild_pointers,
    write_sizes,
    write_descriptors,
    write_each_bit,
    map_sizes_and_offsets,
    map_protections,
    other_calls_on_a_queue,
    path_descriptor_of_a_queue,
    many_errors_leave_nothing,
    random_arguments,
    random_arguments_from_two_threads,
);

/// A queue with watches and an event pending, which nothing that fails may change.
struct Victim {
    q: Queue,
    map: Map,
    r: Fd,
    w: Fd,
    files: usize,
    maps: usize,
}

impl Victim {
    #[track_caller]
    fn new() -> Self {
        Self::around(Queue::new(8))
    }

    #[track_caller]
    fn device() -> Self {
        let q = open_device();
        alloc(&q, 8);
        Self::around(q)
    }

    #[track_caller]
    fn around(q: Queue) -> Self {
        let map = Map::new(&q, 8);
        let (r, w) = pipe();
        q.add(&r, IN);
        put(&w, b"x");
        Victim {
            q,
            map,
            r,
            w,
            files: open_files(),
            maps: mapped(),
        }
    }

    /// Everything is as it was, and the next event comes as well.
    #[track_caller]
    fn unharmed(&self) {
        check_eq!("watches", watches(&self.q), 1);
        check_eq!("descriptors", open_files(), self.files);
        check_eq!("mappings", mapped(), self.maps);
        let want = [entry(&self.r, IN, IN)];
        self.q.expect("the event that was pending", &want);
        check_eq!("nothing else", self.q.wait(0), Vec::new());
        put(&self.w, b"y");
        self.map.expect(&self.q, "the next event", &want);
        put(&self.w, b"z");
    }
}

/// Addresses that no program has.
fn wild() -> Vec<usize> {
    let mut all = vec![
        0,
        1,
        8,
        // The last page.
        usize::MAX - 4095,
        usize::MAX - 15,
        usize::MAX - 7,
        usize::MAX,
    ];
    #[cfg(target_pointer_width = "64")]
    all.extend([
        // Of the kernel.
        0xffff_8880_0000_0000,
        0xffff_ffff_8100_0000,
        // Of nobody.
        0x0000_8000_0000_0000,
        0x8000_0000_0000_0000,
        0xdead_beef_dead_beef,
    ]);
    let none = map_anonymous(PAGE, libc::PROT_NONE) as usize;
    all.extend([none, none + 8, none + PAGE - 8]);
    all
}

fn read_only() -> usize {
    map_anonymous(PAGE, libc::PROT_READ) as usize
}

/// Where a page ends that nothing follows.
fn end_of_memory() -> usize {
    let start = map_anonymous(2 * PAGE, libc::PROT_READ | libc::PROT_WRITE);
    let second = start.cast::<u8>().wrapping_add(PAGE).cast();
    // SAFETY: our own mapping.
    ok("munmap", sys(unsafe { libc::munmap(second, PAGE) }));
    second as usize
}

const NUMBERS: [c_int; 12] = [
    -1,
    -2,
    -3,
    -100,
    -4096,
    c_int::MIN,
    c_int::MIN + 1,
    c_int::MAX,
    c_int::MAX - 1,
    1 << 16,
    1 << 24,
    1 << 30,
];

/// Files that are no queues.
fn other_kinds() -> Vec<(&'static str, Fd)> {
    let dir = TempDir::new();
    let path = dir.path("file");
    let file = open(&path, libc::O_RDWR | libc::O_CREAT);
    let (r, w) = pipe();
    let (s, _) = socketpair(libc::SOCK_STREAM);
    // SAFETY: no pointers, or null ones.
    let (event, epoll) = unsafe { (libc::eventfd(0, 0), libc::epoll_create1(0)) };
    let mut all = vec![
        ("a file", file),
        ("a directory", open(&dir.0, libc::O_RDONLY)),
        ("/dev/null", open("/dev/null", libc::O_RDWR)),
        ("a file of /proc", open("/proc/self/maps", libc::O_RDONLY)),
        ("a pipe", r),
        ("a pipe's other end", w),
        ("a socket", s),
    ];
    for (name, raw) in [("an eventfd", event), ("epoll", epoll)] {
        all.push((name, Fd::new(ok(name, sys(raw)))));
    }
    all
}

fn create_sizes() {
    let v = Victim::new();
    for n in [0, -1, -512, c_int::MIN, c_int::MIN + 1] {
        let what = format!("evpoll_create({n})");
        fails(&what, evpoll_create(n, 0), libc::EINVAL);
    }
    for n in [(1 << 24) + 1, 1 << 25, 1 << 30, c_int::MAX - 1, c_int::MAX] {
        let what = format!("evpoll_create({n})");
        fails(&what, evpoll_create(n, 0), libc::EINVAL);
    }
    v.unharmed();
}

fn create_flags() {
    let v = Victim::new();
    for flag in (0..32).map(|i| 1u32 << i).filter(|f| *f != EVPOLL_CLOEXEC) {
        for flags in [flag, flag | EVPOLL_CLOEXEC] {
            let what = format!("the flags {flags:#x}");
            fails(&what, evpoll_create(8, flags), libc::EINVAL);
        }
    }
    fails("all flags", evpoll_create(8, u32::MAX), libc::EINVAL);
    fails("and no size", evpoll_create(0, u32::MAX), libc::EINVAL);
    v.unharmed();
}

fn ctl_queue_of_the_wrong_kind() {
    let v = Victim::new();
    let kinds = other_kinds();
    for (name, fd) in &kinds {
        for op in EVERY_OP {
            let got = evpoll_ctl(fd.raw(), op, v.r.raw(), IN, 0);
            fails(&format!("operation {op} on {name}"), got, libc::EINVAL);
        }
    }
    drop(kinds);
    v.unharmed();
}

fn ctl_queue_that_is_none() {
    let v = Victim::new();
    let closed = lowest_free();
    for fd in NUMBERS.into_iter().chain([closed]) {
        for op in EVERY_OP.into_iter().chain([0, 6, -1]) {
            let got = evpoll_ctl(fd, op, v.r.raw(), IN, 0);
            fails(&format!("operation {op} on {fd}"), got, libc::EBADF);
        }
    }
    v.unharmed();
}

fn ctl_operations() {
    let v = Victim::new();
    let (r, w) = pipe();
    for op in [0, 6, 7, 8, 16, 256, 1 << 16].into_iter().chain(NUMBERS) {
        for fd in [v.r.raw(), r.raw()] {
            let got = v.q.try_ctl(op, fd, IN);
            fails(&format!("operation {op}"), got, libc::EINVAL);
        }
    }
    drop((r, w));
    v.unharmed();
}

fn ctl_descriptors_that_are_none() {
    let v = Victim::new();
    let closed = lowest_free();
    for fd in NUMBERS.into_iter().chain([closed]) {
        for op in EVERY_OP {
            let got = v.q.try_ctl(op, fd, IN);
            fails(&format!("operation {op} of {fd}"), got, libc::EBADF);
        }
    }
    v.unharmed();
}

fn ctl_descriptors_of_the_wrong_kind() {
    let v = Victim::new();
    let kinds = other_kinds();
    let unwatchable = kinds
        .iter()
        .filter(|(name, _)| !name.contains("pipe") && !name.contains("socket"));
    for (name, fd) in unwatchable {
        for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
            let got = v.q.try_ctl(op, fd.raw(), IN);
            fails(&format!("adding {name}"), got, libc::EPERM);
        }
        for op in [EP_CTL_DEL, EP_CTL_MOD, EP_CTL_MOD_AND_TEST] {
            match v.q.try_ctl(op, fd.raw(), IN) {
                Err(Errno(libc::ENOENT | libc::EPERM)) => {}
                other => panic!("operation {op} of {name}: expected ENOENT, got {other:?}"),
            }
        }
    }
    for op in [EP_CTL_ADD, EP_CTL_ADD_AND_TEST] {
        let got = v.q.try_ctl(op, v.q.raw(), IN);
        fails("adding itself", got, libc::ELOOP);
    }
    let path = open("/", libc::O_PATH);
    for op in EVERY_OP {
        let got = v.q.try_ctl(op, path.raw(), IN);
        fails("an O_PATH descriptor", got, libc::EBADF);
    }
    drop((kinds, path));
    v.unharmed();
}

fn ctl_each_bit() {
    let v = Victim::new();
    let (r, w) = pipe();
    for bit in (0..32).map(|i| 1u32 << i).filter(|b| b & VALID == 0) {
        for events in [bit, bit | IN] {
            for (op, fd) in [
                (EP_CTL_ADD, r.raw()),
                (EP_CTL_ADD_AND_TEST, r.raw()),
                (EP_CTL_MOD, v.r.raw()),
                (EP_CTL_MOD_AND_TEST, v.r.raw()),
            ] {
                let what = format!("operation {op} with the bits {events:#x}");
                fails(&what, v.q.try_ctl(op, fd, events), libc::EINVAL);
            }
        }
    }
    drop((r, w));
    v.unharmed();
}

fn ctl_data() {
    let v = Victim::new();
    let (r, w) = pipe();
    for data in [1, 2, 1 << 16, usize::MAX, usize::MAX / 2 + 1] {
        for op in EVERY_OP {
            for fd in [v.r.raw(), r.raw()] {
                let got = evpoll_ctl(v.q.raw(), op, fd, IN, data);
                fails(&format!("the data {data:#x}"), got, libc::EINVAL);
            }
        }
    }
    drop((r, w));
    v.unharmed();
}

/// evpoll_wait with any address.
fn wait_at(q: &Queue, address: usize) -> Sys<i32> {
    // SAFETY: an address that is not ours, or room for a pointer.
    unsafe { evpoll_wait(q.raw(), address as *mut _, 0, std::ptr::null(), 0) }
}

fn wait_queue_of_the_wrong_kind() {
    let v = Victim::new();
    let kinds = other_kinds();
    let mut events = std::ptr::null();
    let mut wait = |fd| {
        // SAFETY: room for a pointer.
        unsafe { evpoll_wait(fd, &mut events, 0, std::ptr::null(), 0) }
    };
    for (name, fd) in &kinds {
        fails(&format!("a wait on {name}"), wait(fd.raw()), libc::EINVAL);
    }
    for fd in NUMBERS {
        fails(&format!("a wait on {fd}"), wait(fd), libc::EBADF);
    }
    let path = open("/", libc::O_PATH);
    fails("a wait on O_PATH", wait(path.raw()), libc::EBADF);
    check!(events.is_null(), "a wait that failed stored {events:?}");
    drop((kinds, path));
    v.unharmed();
}

fn wait_wild_pointers() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        for address in wild() {
            let what = format!("a wait that is to store at {address:#x}");
            fails(&what, wait_at(&v.q, address), libc::EFAULT);
        }
        v.unharmed();
    }
}

fn wait_read_only_pointer() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        let page = read_only();
        for at in [0, 8, 4000] {
            let got = wait_at(&v.q, page + at);
            fails("a wait that is to store there", got, libc::EFAULT);
        }
        // The program's own text, and the buffers themselves.
        let text = wait_read_only_pointer as fn() as usize;
        fails("in the text", wait_at(&v.q, text), libc::EFAULT);
        let buffers = v.map.start as usize;
        fails("in the buffers", wait_at(&v.q, buffers), libc::EFAULT);
        v.unharmed();
    }
}

fn wait_pointer_across_the_end_of_memory() {
    let v = Victim::new();
    let end = end_of_memory();
    for part in 0..size_of::<usize>() {
        let got = wait_at(&v.q, end - part);
        fails(&format!("{part} bytes of room"), got, libc::EFAULT);
    }
    v.unharmed();
    // And just enough of it.
    let at = end - size_of::<usize>();
    check_eq!(
        "a pointer at the end of memory",
        ok("wait", wait_at(&v.q, at)),
        1
    );
    // SAFETY: our own memory, which holds what the kernel has stored.
    let array = unsafe { (at as *const *const PollFd).read_unaligned() };
    check_eq!("the entry", copy(array, 1), vec![entry(&v.r, IN, IN)]);
}

fn wait_misaligned_pointer() {
    let v = Victim::new();
    let page = map_anonymous(2 * PAGE, libc::PROT_READ | libc::PROT_WRITE) as usize;
    for at in (page..page + 16).chain(page + PAGE - 7..page + PAGE) {
        check_eq!("a wait", ok("wait", wait_at(&v.q, at)), 1);
        // SAFETY: our own memory, which holds what the kernel has stored.
        let array = unsafe { (at as *const *const PollFd).read_unaligned() };
        check_eq!("the entry", copy(array, 1), vec![entry(&v.r, IN, IN)]);
        put(&v.w, b"y");
    }
    v.unharmed();
}

fn wait_timeouts() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        for timeout in NUMBERS.into_iter().filter(|t| *t < -1) {
            let what = format!("a timeout of {timeout}");
            fails(&what, v.q.try_wait(timeout), libc::EINVAL);
        }
        v.unharmed();
    }
}

fn wait_options() {
    let v = Victim::new();
    let room = [0u64; 16];
    let mut events = std::ptr::null();
    let pointers: Vec<*const c_void> = wild()
        .into_iter()
        .filter(|a| *a != 0)
        .map(|a| a as *const c_void)
        .chain([room.as_ptr().cast()])
        .collect();
    for opts in pointers {
        for size in [0, 1, 8, 128, usize::MAX] {
            // SAFETY: room for a pointer; the options are for the kernel to refuse.
            let got = unsafe { evpoll_wait(v.q.raw(), &mut events, 0, opts, size) };
            fails(&format!("options at {opts:?}"), got, libc::EINVAL);
        }
    }
    for size in [1, 8, 128, usize::MAX, usize::MAX / 2 + 1] {
        // SAFETY: room for a pointer.
        let got = unsafe { evpoll_wait(v.q.raw(), &mut events, 0, std::ptr::null(), size) };
        fails(&format!("options of {size} bytes"), got, libc::EINVAL);
    }
    v.unharmed();
}

fn poll_wild_pointers() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        for address in wild().into_iter().chain([read_only()]) {
            let got = ioctl(v.q.raw(), EP_POLL, address);
            fails(&format!("EP_POLL at {address:#x}"), got, libc::EFAULT);
        }
        v.unharmed();
    }
}

/// With a timeout of 0 in it, as far as there is room for one.
fn poll_structure_across_the_end_of_memory() {
    let v = Victim::device();
    let end = end_of_memory();
    for part in 0..size_of::<EvPoll>() {
        let got = ioctl(v.q.raw(), EP_POLL, end - part);
        fails(&format!("{part} bytes of it"), got, libc::EFAULT);
    }
    v.unharmed();
    let got = ioctl(v.q.raw(), EP_POLL, end - size_of::<EvPoll>());
    check_eq!("at the end of memory", ok("EP_POLL", got), 1);
}

fn poll_misaligned_structure() {
    let v = Victim::device();
    let page = map_anonymous(PAGE, libc::PROT_READ | libc::PROT_WRITE) as usize;
    for at in page..page + 16 {
        let p = at as *mut EvPoll;
        let asked = EvPoll {
            ep_timeout: 0,
            ep_resoff: UNTOUCHED,
        };
        // SAFETY: our own memory.
        unsafe { p.write_unaligned(asked) };
        let n = ok("EP_POLL", ioctl(v.q.raw(), EP_POLL, at));
        // SAFETY: our own memory.
        let offset = unsafe { p.read_unaligned() }.ep_resoff;
        let got = v.map.entries(n as usize, offset);
        check_eq!("the entry", got, vec![entry(&v.r, IN, IN)]);
        put(&v.w, b"y");
    }
    v.unharmed();
}

fn poll_timeouts() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        for timeout in NUMBERS.into_iter().filter(|t| *t < -1) {
            let what = format!("a timeout of {timeout}");
            fails(&what, try_poll(&v.q, timeout), libc::EINVAL);
        }
        v.unharmed();
    }
}

fn is_polled_wild_pointers() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        for address in wild() {
            let got = ioctl(v.q.raw(), EP_ISPOLLED, address);
            fails(&format!("EP_ISPOLLED at {address:#x}"), got, libc::EFAULT);
        }
        v.unharmed();
    }
}

/// Only what is watched is written back.
fn is_polled_read_only_memory() {
    let v = Victim::device();
    let page = map_anonymous(PAGE, libc::PROT_READ | libc::PROT_WRITE);
    let p = page.cast::<PollFd>();
    let fds = [v.r.raw(), v.w.raw(), -1];
    for (i, fd) in fds.into_iter().enumerate() {
        // SAFETY: our own memory.
        unsafe { p.add(i).write(PollFd::new(fd, 0, 0)) };
    }
    // SAFETY: our own mapping.
    let got = sys(unsafe { libc::mprotect(page, PAGE, libc::PROT_READ) });
    ok("mprotect", got);
    let ask = |i: usize| ioctl(v.q.raw(), EP_ISPOLLED, p.wrapping_add(i) as usize);
    fails("of what is watched", ask(0), libc::EFAULT);
    check_eq!("of what is not watched", ask(1), Ok(0));
    check_eq!("of -1", ask(2), Ok(0));
    v.unharmed();
}

fn is_polled_across_the_end_of_memory() {
    let v = Victim::device();
    let end = end_of_memory();
    for part in 0..size_of::<PollFd>() {
        if part >= 4 {
            // The number is there, and what is to be stored is not.
            // SAFETY: our own memory.
            unsafe { ((end - part) as *mut c_int).write_unaligned(v.r.raw()) };
        }
        let got = ioctl(v.q.raw(), EP_ISPOLLED, end - part);
        fails(&format!("{part} bytes of it"), got, libc::EFAULT);
    }
    let at = end - size_of::<PollFd>();
    // SAFETY: our own memory.
    unsafe { (at as *mut PollFd).write_unaligned(PollFd::new(v.r.raw(), 0, 0)) };
    let got = ioctl(v.q.raw(), EP_ISPOLLED, at);
    check_eq!("at the end of memory", got, Ok(1));
    v.unharmed();
}

fn is_polled_descriptors() {
    let v = Victim::device();
    let kinds = other_kinds();
    let others = kinds.iter().map(|(_, fd)| fd.raw());
    let path = open("/", libc::O_PATH);
    for fd in NUMBERS
        .into_iter()
        .chain(others)
        .chain([v.q.raw(), path.raw()])
    {
        check_eq!(format!("EP_ISPOLLED of {fd}"), is_polled(&v.q, fd), None);
    }
    drop((kinds, path));
    v.unharmed();
}

fn alloc_sizes() {
    let v = Victim::device();
    for n in [0].into_iter().chain(NUMBERS) {
        let valid = (1..=1 << 24).contains(&n);
        match try_alloc(&v.q, n) {
            // Mapped, and so neither too small nor too large a size makes a difference.
            Err(Errno(libc::EBUSY)) => {}
            Err(Errno(libc::EINVAL)) if !valid => {}
            other => panic!("EP_ALLOC of {n}: expected an error, got {other:?}"),
        }
    }
    v.unharmed();
    let q = open_device();
    for n in [0].into_iter().chain(NUMBERS) {
        if !(1..=1 << 24).contains(&n) {
            fails(&format!("EP_ALLOC of {n}"), try_alloc(&q, n), libc::EINVAL);
        }
    }
    fails("EP_FREE", try_free(&q), libc::EINVAL);
    // It takes an int: what is above that is not looked at.
    #[cfg(target_pointer_width = "64")]
    {
        let got = ioctl(q.raw(), EP_ALLOC, 0x1_0000_0000);
        fails("EP_ALLOC of 2^32", got, libc::EINVAL);
    }
}

fn free_ignores_its_argument() {
    for address in wild() {
        let q = open_device();
        alloc(&q, 8);
        let got = ioctl(q.raw(), EP_FREE, address);
        check_eq!(format!("EP_FREE with {address:#x}"), got, Ok(0));
    }
}

fn ioctl_numbers() {
    let v = Victim::device();
    let numbers = (0..16)
        .map(|i| 0x5000 + i)
        .chain((0..4).flat_map(|dir| (0..8).map(move |nr| dir << 30 | 8 << 16 | 0x5000 | nr)))
        .chain([0, u32::MAX, 1 << 31]);
    for request in numbers {
        if [EP_ALLOC, EP_POLL, EP_FREE, EP_ISPOLLED].contains(&request) {
            continue;
        }
        for arg in [0, 1, usize::MAX] {
            let what = format!("ioctl {request:#x}");
            fails(&what, ioctl(v.q.raw(), request, arg), libc::ENOTTY);
        }
    }
    v.unharmed();
}

fn ioctl_on_the_wrong_kind() {
    let v = Victim::device();
    let kinds = other_kinds();
    let mut room = [0u64; 8];
    let at = room.as_mut_ptr() as usize;
    for request in [EP_ALLOC, EP_POLL, EP_FREE, EP_ISPOLLED] {
        for (name, fd) in &kinds {
            match ioctl(fd.raw(), request, at) {
                Err(Errno(libc::ENOTTY)) => {}
                // What epoll says to every ioctl that it does not know.
                Err(Errno(libc::EINVAL)) if *name == "epoll" => {}
                other => panic!("ioctl {request:#x} on {name}: expected ENOTTY, got {other:?}"),
            }
        }
        for fd in NUMBERS {
            let what = format!("ioctl {request:#x} on {fd}");
            fails(&what, ioctl(fd, request, at), libc::EBADF);
        }
    }
    check_eq!("what they wrote", room, [0; 8]);
    drop(kinds);
    v.unharmed();
}

fn try_write(q: &Queue, address: usize, count: usize) -> Sys<usize> {
    // SAFETY: the kernel checks the address, and only reads.
    let n = unsafe { libc::write(q.raw(), address as *const c_void, count) };
    if n < 0 {
        Err(Errno::last())
    } else {
        Ok(n as usize)
    }
}

fn write_wild_pointers() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        for address in wild() {
            for count in [8, 16, 8000] {
                let what = format!("write of {count} bytes at {address:#x}");
                fails(&what, try_write(&v.q, address, count), libc::EFAULT);
            }
        }
        v.unharmed();
    }
}

fn write_sizes() {
    let v = Victim::new();
    let end = end_of_memory();
    // SAFETY: our own memory.
    unsafe { ((end - 8) as *mut PollFd).write(PollFd::new(-1, IN, 0)) };
    for count in [1, 7, 9, 15, 8001, 65535] {
        let got = try_write(&v.q, end - 8, count);
        fails(&format!("{count} bytes"), got, libc::EINVAL);
    }
    // However much there is said to be, the first element is wrong.
    for count in [8, 16, 80_000, 1 << 20, 1 << 30] {
        let got = try_write(&v.q, end - 8, count);
        fails(&format!("{count} bytes"), got, libc::EBADF);
    }
    for count in [usize::MAX, usize::MAX - 7, isize::MAX as usize + 1] {
        match try_write(&v.q, end - 8, count) {
            Err(Errno(libc::EINVAL | libc::EFAULT)) => {}
            // A 64-bit kernel has no negative size of a 32-bit program.
            Err(Errno(libc::EBADF)) if size_of::<usize>() == 4 => {}
            other => panic!("{count:#x} bytes: expected EINVAL, got {other:?}"),
        }
    }
    v.unharmed();
}

fn write_descriptors() {
    let v = Victim::new();
    let kinds = other_kinds();
    for fd in NUMBERS {
        for events in [IN, REMOVE] {
            let got = try_apply(&v.q, &[PollFd::new(fd, events, 0)]);
            fails(&format!("write of {fd}"), got, libc::EBADF);
        }
    }
    for (name, fd) in &kinds {
        if !name.contains("pipe") && !name.contains("socket") {
            let got = try_apply(&v.q, &[change(fd, IN)]);
            fails(&format!("write of {name}"), got, libc::EPERM);
        }
        match try_apply(&v.q, &[change(fd, REMOVE)]) {
            Err(Errno(libc::ENOENT | libc::EPERM)) => {}
            other => panic!("POLLREMOVE of {name}: expected ENOENT, got {other:?}"),
        }
    }
    let got = try_apply(&v.q, &[change(&v.q.fd, IN)]);
    fails("write of itself", got, libc::ELOOP);
    drop(kinds);
    v.unharmed();
}

fn write_each_bit() {
    let v = Victim::new();
    let (r, w) = pipe();
    for bit in (0..16).map(|i| 1u32 << i) {
        if bit & (VALID | REMOVE) != 0 {
            continue;
        }
        for fd in [&r, &v.r] {
            let got = try_apply(&v.q, &[change(fd, bit | IN)]);
            fails(&format!("the bit {bit:#x}"), got, libc::EINVAL);
        }
    }
    drop((r, w));
    v.unharmed();
}

fn map_sizes_and_offsets() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        let right = map_size(8);
        let (prot, kind) = (libc::PROT_READ, libc::MAP_SHARED);
        for len in [1, PAGE, right + PAGE, right * 2, 1 << 20] {
            let got = Map::try_new(&v.q, len, prot, kind, 0);
            let what = format!("a mapping of {len:#x} bytes");
            fails(&what, got.map(|_| ()), libc::EINVAL);
        }
        for offset in [PAGE, right, right * 2, 1 << 30] {
            let got = Map::try_new(&v.q, right, prot, kind, offset);
            let what = format!("a mapping at {offset:#x}");
            fails(&what, got.map(|_| ()), libc::EINVAL);
        }
        // Not a multiple of a page: refused before anybody asks the queue.
        let got = Map::try_new(&v.q, right, prot, kind, 100);
        fails("a misaligned offset", got.map(|_| ()), libc::EINVAL);
        let got = Map::try_new(&v.q, 0, prot, kind, 0);
        fails("no bytes", got.map(|_| ()), libc::EINVAL);
        v.unharmed();
    }
}

fn map_protections() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        for prot in [libc::PROT_WRITE, libc::PROT_READ | libc::PROT_WRITE] {
            let got = Map::try_new(&v.q, map_size(8), prot, libc::MAP_SHARED, 0);
            fails("a writable mapping", got.map(|_| ()), libc::EACCES);
            // SAFETY: refused, or else the test fails.
            let got = sys(unsafe { libc::mprotect(v.map.start, v.map.len, prot) });
            fails("mprotect", got, libc::EACCES);
        }
        v.unharmed();
    }
}

/// Calls that mean nothing to a queue.
fn other_calls_on_a_queue() {
    for make in [Victim::new, Victim::device] {
        let v = make();
        let fd = v.q.raw();
        let mut room = [0u8; 64];
        let p: *mut c_void = room.as_mut_ptr().cast();
        // SAFETY: a buffer of that size.
        let calls = unsafe {
            [
                ("read", libc::read(fd, p, 64) as c_int),
                ("pread", libc::pread(fd, p, 64, 0) as c_int),
                ("ftruncate", libc::ftruncate(fd, 0)),
                ("listen", libc::listen(fd, 1)),
                ("fchdir", libc::fchdir(fd)),
                ("flock of nothing", libc::flock(fd, 0)),
            ]
        };
        for (name, r) in calls {
            check!(r < 0, "{name} on a queue succeeded");
        }
        // SAFETY: takes no pointer.
        unsafe {
            libc::lseek(fd, 100, libc::SEEK_SET);
            libc::fsync(fd);
        }
        v.unharmed();
    }
}

fn path_descriptor_of_a_queue() {
    let v = Victim::device();
    let path = open(DEVICE, libc::O_PATH);
    let mut room = [0u64; 8];
    let at = room.as_mut_ptr() as usize;
    let q = Queue { fd: path };
    for request in [EP_ALLOC, EP_POLL, EP_FREE, EP_ISPOLLED] {
        fails("ioctl", ioctl(q.raw(), request, at), libc::EBADF);
    }
    fails("a wait", q.try_wait(0), libc::EBADF);
    fails("ctl", q.try_ctl(EP_CTL_ADD, v.r.raw(), IN), libc::EBADF);
    fails("write", try_apply(&q, &[change(&v.r, IN)]), libc::EBADF);
    let got = Map::try_new(&q, map_size(8), libc::PROT_READ, libc::MAP_SHARED, 0);
    fails("mmap", got.map(|_| ()), libc::EBADF);
    let got = v.q.try_ctl(EP_CTL_ADD, q.raw(), IN);
    fails("watching it", got, libc::EBADF);
    drop(q);
    v.unharmed();
}

/// Descriptors, mappings and memory are as before.
fn many_errors_leave_nothing() {
    let v = Victim::device();
    let page = read_only();
    let size = kilobytes("/proc/self/status", "VmSize:");
    let slab = kilobytes("/proc/meminfo", "SUnreclaim:");
    let null = open("/dev/null", libc::O_RDONLY);
    let (r, w) = pipe();
    for _ in 0..2000 {
        let _ = evpoll_create(0, 0);
        let _ = evpoll_create(8, 1);
        let _ = wait_at(&v.q, page);
        let _ = ioctl(v.q.raw(), EP_POLL, page);
        let _ = ioctl(v.q.raw(), EP_ISPOLLED, 8);
        let _ = try_alloc(&v.q, 0);
        let _ = try_alloc(&v.q, 1 << 20);
        let _ = try_free(&v.q);
        let _ = try_apply(&v.q, &[change(&null, IN)]);
        let _ = try_apply(&v.q, &[change(&v.q.fd, IN)]);
        let _ = try_write(&v.q, 8, 80);
        for op in EVERY_OP {
            let _ = v.q.try_ctl(op, null.raw(), IN);
            let _ = v.q.try_ctl(op, r.raw(), NVAL);
            let _ = v.q.try_ctl(op, v.q.raw(), NVAL);
        }
        let (prot, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let _ = Map::try_new(&v.q, map_size(8), prot, kind, 0);
        let _ = Map::try_new(&v.q, PAGE, libc::PROT_READ, kind, 0);
    }
    drop((null, r, w));
    v.unharmed();
    let now = kilobytes("/proc/self/status", "VmSize:");
    check!(now <= size + 1024, "VmSize grew from {size} to {now} kB");
    let now = kilobytes("/proc/meminfo", "SUnreclaim:");
    check!(
        now <= slab + 4096 + crate::figures::kept_when_freed(),
        "the kernel's memory grew from {slab} to {now} kB"
    );
}

struct Random(u64);

impl Random {
    fn next(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next(all.len())]
    }
}

/// Calls with arguments from here and there, on descriptors that are queues or not. Nothing is
/// expected of them but that they return. Those that are to store something may do so in `memory`,
/// if that is not 0.
fn wild_calls(seed: u64, calls: usize, fds: &[c_int], addresses: &[usize], memory: usize) {
    let mut random = Random(seed);
    let bits = [0, IN, OUT, VALID, REMOVE, NVAL, 0xffff, u32::MAX, 1 << 31];
    let sizes = [0, 1, 8, 9, 16, 4096, 4097, 8192, 1 << 20, usize::MAX];
    let requests = [EP_ALLOC, EP_POLL, EP_FREE, EP_ISPOLLED, 0x5005];
    for _ in 0..calls {
        let (fd, other) = (random.of(fds), random.of(fds));
        let address = random.of(addresses);
        let op = random.next(8) as i32 - 1;
        match random.next(6) {
            0 => {
                let data = if random.next(8) == 0 { address } else { 0 };
                let _ = evpoll_ctl(fd, op, other, random.of(&bits), data);
            }
            1 => {
                // SAFETY: addresses that the kernel checks, or our own scratch memory.
                let _ = unsafe {
                    evpoll_wait(
                        fd,
                        address as *mut _,
                        0,
                        std::ptr::null(),
                        random.of(&[0, 8]),
                    )
                };
            }
            2 => {
                if memory != 0 && (memory..memory + PAGE).contains(&address) {
                    // What was stored there would be a timeout.
                    // SAFETY: our own memory.
                    unsafe { std::ptr::write_bytes(memory as *mut u8, 0, PAGE) };
                }
                let _ = ioctl(fd, random.of(&requests), address);
            }
            3 => {
                let _ = ioctl(fd, EP_ALLOC, random.of(&[0, 1, 8, 600, usize::MAX]));
            }
            4 => {
                let array = [
                    PollFd::new(other, random.of(&bits), 0),
                    PollFd::new(random.of(fds), random.of(&bits), 0),
                ];
                let q = std::mem::ManuallyDrop::new(Queue { fd: Fd::new(fd) });
                let _ = try_apply(&q, &array[..1 + random.next(2)]);
            }
            _ => {
                let q = std::mem::ManuallyDrop::new(Queue { fd: Fd::new(fd) });
                let len = random.of(&sizes);
                let prot = random.of(&[libc::PROT_READ, libc::PROT_WRITE, 0]);
                let kind = random.of(&[libc::MAP_SHARED, libc::MAP_PRIVATE]);
                let _ = Map::try_new(&q, len, prot, kind, 0);
            }
        }
    }
}

/// Queues that may be harmed, other things, and numbers that are nothing.
struct Scratch {
    queues: Vec<Queue>,
    kinds: Vec<(&'static str, Fd)>,
    memory: usize,
}

impl Scratch {
    fn new() -> Self {
        let queues = vec![Queue::new(8), Queue::new(600), open_device(), open_device()];
        Scratch {
            queues,
            kinds: other_kinds(),
            memory: map_anonymous(PAGE, libc::PROT_READ | libc::PROT_WRITE) as usize,
        }
    }

    fn fds(&self) -> Vec<c_int> {
        let queues = self.queues.iter().map(|q| q.raw());
        // What a write to would leave something behind is not among them.
        let kinds = self.kinds.iter().filter(|(name, _)| {
            !["a file", "a pipe's other end", "a socket", "an eventfd"].contains(name)
        });
        let mut all: Vec<c_int> = queues.collect();
        all.extend(all.clone());
        all.extend(kinds.map(|(_, fd)| fd.raw()));
        all.extend([-1, c_int::MAX, c_int::MIN]);
        all
    }

    fn addresses(&self) -> Vec<usize> {
        let mut all = wild();
        all.extend([self.memory, self.memory + 1, self.memory + 24, read_only()]);
        all
    }
}

fn random_arguments() {
    let v = Victim::device();
    let scratch = Scratch::new();
    let (fds, addresses) = (scratch.fds(), scratch.addresses());
    for seed in 1..=20 {
        wild_calls(seed, 500, &fds, &addresses, scratch.memory);
    }
    drop(scratch);
    v.unharmed();
}

fn random_arguments_from_two_threads() {
    let v = Victim::device();
    let scratch = Scratch::new();
    let fds = scratch.fds();
    // No memory that one thread's wait could store to while the other one's EP_POLL looks there
    // for a timeout.
    let addresses = wild();
    std::thread::scope(|s| {
        for seed in [77, 78] {
            let (fds, addresses) = (&fds, &addresses);
            s.spawn(move || wild_calls(seed, 4000, fds, addresses, 0));
        }
    });
    drop(scratch);
    v.unharmed();
}
