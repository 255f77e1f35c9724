// SPDX-License-Identifier: GPL-2.0
//! What the threads of a storm do, and to what.
//!
//! There are two kinds of files, and of queues. *Tame* ones have an owner: whoever holds their lock
//! adds, removes or replaces them, so that it is known what may be handed out, and one thread at a
//! time waits on a tame queue, so that it can look at the events in peace. *Wild* ones have a
//! number, which never changes, and what is behind it is replaced, closed, duplicated, sent away
//! and used by all threads at any moment, without a lock, and by processes that are forked and
//! killed. Nothing is known of them but the errors that there are.

use std::os::raw::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::Mutex;

use super::ledger::Ledger;
use super::random::Random;
use super::{at_number, is_queue_error, whole};
use crate::abi::*;
use crate::check::ok;
use crate::device::*;
use crate::net::{accept, connect, listener, recv_fd, send_fd, socketpair, Addr, Ip};
use crate::queue::*;
use crate::sys::*;

/// The numbers of the tame files, ...
const TAME: c_int = 1000;
const TAME_FILES: usize = 16;
const TAME_QUEUES: usize = 3;
/// ... of the wild ones: two ends beside each other, ...
const WILD: c_int = 2000;
const WILD_FILES: usize = 24;
/// ... and of the wild queues.
const WILD_QUEUE: c_int = 3000;
const WILD_QUEUES: usize = 4;
/// Room in a wild queue: some descriptors too few now and then.
const ROOM: i32 = 32;

const MASKS: [u32; 8] = [
    0,
    IN,
    OUT,
    IN | OUT,
    IN | RDHUP,
    IN | PRI | RDNORM,
    OUT | WRNORM,
    IN | OUT | RDHUP | PRI,
];

type Action = fn(&Churn, &mut Random);

/// What there is to do, by name, and how often compared to the others.
const ACTIONS: [(&str, u32, Action); 17] = [
    ("ctl", 20, Churn::wild_ctl),
    ("write(2) of changes", 6, Churn::wild_apply),
    ("wait", 14, Churn::wild_wait),
    ("data", 20, Churn::wild_data),
    ("close", 3, Churn::wild_close),
    ("dup2", 4, Churn::wild_dup),
    ("new files", 6, Churn::wild_files),
    ("new queue", 2, Churn::wild_queue),
    ("fdinfo", 2, Churn::fdinfo),
    ("poll", 4, Churn::poll),
    ("fork", 1, Churn::fork),
    ("device", 4, Churn::device),
    ("nesting", 3, Churn::nesting),
    ("sending a queue", 3, Churn::send),
    ("tame ctl", 16, Churn::tame_ctl),
    ("tame data", 16, Churn::tame_data),
    ("harvest", 16, Churn::harvest),
];

/// The name of what a thread is at.
pub fn name(number: u32) -> &'static str {
    match number.checked_sub(1).and_then(|n| ACTIONS.get(n as usize)) {
        Some((name, ..)) => name,
        None => "its own work",
    }
}

/// A tame file, at its number, and who makes its events.
struct TameFile {
    fd: Fd,
    peer: Fd,
    /// The queues that it is in.
    queues: [bool; TAME_QUEUES],
}

impl TameFile {
    fn new(number: c_int, random: &mut Random) -> Self {
        let (a, b) = files(random);
        // SAFETY: takes no pointer; nobody else uses this number.
        let got = sys(unsafe { libc::dup3(a.raw(), number, libc::O_CLOEXEC) });
        TameFile {
            fd: Fd::new(ok("dup3", got)),
            peer: b,
            queues: [false; TAME_QUEUES],
        }
    }
}

/// A new pair of ends, where the second one writes to the first.
fn files(random: &mut Random) -> (Fd, Fd) {
    match random.below(3) {
        0 => pipe(),
        1 => socketpair(libc::SOCK_STREAM),
        _ => socketpair(libc::SOCK_DGRAM),
    }
}

/// What the threads of a storm share.
pub struct Churn {
    tame: Vec<Mutex<TameFile>>,
    tame_queues: Vec<(Queue, Mutex<()>)>,
    ledger: Ledger,
    listener: Mutex<(Fd, Addr)>,
}

/// A random number of an open or closed wild file.
fn wild(random: &mut Random) -> c_int {
    WILD + random.below(WILD_FILES) as c_int
}

fn wild_queue(random: &mut Random) -> c_int {
    WILD_QUEUE + random.below(WILD_QUEUES) as c_int
}

#[track_caller]
fn check_ctl(what: &str, got: Sys<c_int>) {
    const ERRORS: [c_int; 9] = [
        libc::EBADF,
        libc::EINVAL,
        libc::EEXIST,
        libc::ENOENT,
        libc::E2BIG,
        libc::EPERM,
        libc::ELOOP,
        libc::ENOSPC,
        libc::ENOMEM,
    ];
    match got {
        Ok(n) => check_eq!(what, n, 0),
        Err(e) => check!(ERRORS.contains(&e.0), "{what}: no error of this call: {e}"),
    }
}

/// A wait of which nothing is known but the errors that it may end with.
#[track_caller]
fn check_wait(q: c_int, timeout: c_int, room: i32) {
    let mut events: *const PollFd = std::ptr::null();
    // SAFETY: room for a pointer.
    match unsafe { evpoll_wait(q, &mut events, timeout, std::ptr::null(), 0) } {
        Ok(0) | Err(Errno(libc::EINTR)) => {}
        Ok(n) => {
            check!(n <= room, "{n} events of a queue for {room}");
            check!(!events.is_null(), "{n} events, and no address of them");
        }
        Err(e) => check!(is_queue_error(e), "evpoll_wait: no error of this call: {e}"),
    }
}

impl Churn {
    pub fn new() -> Self {
        let mut random = Random::new(0, 0);
        let churn = Churn {
            tame: (0..TAME_FILES)
                .map(|n| Mutex::new(TameFile::new(TAME + n as c_int, &mut random)))
                .collect(),
            tame_queues: (0..TAME_QUEUES)
                .map(|_| (Queue::new(TAME_FILES as i32), Mutex::new(())))
                .collect(),
            ledger: Ledger::new(TAME, TAME_FILES, TAME_QUEUES),
            listener: Mutex::new(listener(Ip::V4, 64)),
        };
        for n in 0..WILD_QUEUES {
            at_number(Queue::new(ROOM), WILD_QUEUE + n as c_int);
        }
        for _ in 0..WILD_FILES / 2 {
            churn.wild_files(&mut random);
        }
        churn
    }

    /// One thing, whichever comes next; its number is noted at `doing`.
    pub fn act(&self, random: &mut Random, doing: &AtomicU32) {
        let all: u32 = ACTIONS.iter().map(|a| a.1).sum();
        let mut left = random.below(all as usize) as u32;
        for (i, (_, often, action)) in ACTIONS.iter().enumerate() {
            if left < *often {
                doing.store(i as u32 + 1, SeqCst);
                action(self, random);
                doing.store(0, SeqCst);
                return;
            }
            left -= often;
        }
    }

    fn wild_ctl(&self, random: &mut Random) {
        let fd = match random.below(8) {
            0 => wild_queue(random),
            _ => wild(random),
        };
        let op = random.pick(&EVERY_OP);
        let got = evpoll_ctl(wild_queue(random), op, fd, random.pick(&MASKS), 0);
        check_ctl("evpoll_ctl", got);
    }

    fn wild_apply(&self, random: &mut Random) {
        let n = 1 + random.below(50);
        let array: Vec<PollFd> = (0..n)
            .map(|_| {
                let events = match random.below(3) {
                    0 => REMOVE,
                    _ => random.pick(&MASKS),
                };
                PollFd::new(wild(random), events, 0)
            })
            .collect();
        let len = size_of_val(&array[..]);
        // SAFETY: an array of that size. What else may have this number are queues.
        let got = unsafe { libc::write(wild_queue(random), array.as_ptr().cast(), len) };
        match sys(got as c_int) {
            Ok(n) => check!(
                n > 0 && n as usize <= len && (n as usize).is_multiple_of(size_of::<PollFd>()),
                "write of {len} bytes of changes: {n}"
            ),
            Err(e) => check_ctl("write of changes", Err(e)),
        }
    }

    fn wild_wait(&self, random: &mut Random) {
        check_wait(wild_queue(random), random.below(4) as c_int, ROOM);
    }

    /// Whatever comes of it: nobody owns these bytes.
    fn wild_data(&self, random: &mut Random) {
        let mut room = [b'w'; 512];
        let n = 1 + random.below(room.len());
        let fd = wild(random);
        // SAFETY: a buffer of that size.
        let got = unsafe {
            match random.below(5) {
                0..=2 => libc::send(fd, room.as_ptr().cast(), n, libc::MSG_NOSIGNAL),
                3 => libc::write(fd, room.as_ptr().cast(), n),
                _ => libc::read(fd, room.as_mut_ptr().cast(), n),
            }
        };
        check!(got <= n as isize, "{got} bytes of {n}");
        if random.one_in(40) {
            // SAFETY: takes no pointer.
            unsafe { libc::shutdown(wild(random), random.below(3) as c_int) };
        }
    }

    fn wild_close(&self, random: &mut Random) {
        // SAFETY: a number of the storm's own.
        unsafe { libc::close(wild(random)) };
    }

    fn wild_dup(&self, random: &mut Random) {
        let (from, to) = (wild(random), wild(random));
        // SAFETY: numbers of the storm's own.
        match sys(unsafe { libc::dup2(from, to) }) {
            Ok(_) | Err(Errno(libc::EBADF | libc::EBUSY)) => {}
            Err(e) => panic!("dup2: {e}"),
        }
    }

    fn wild_files(&self, random: &mut Random) {
        let (a, b) = match random.below(6) {
            0 => self.tcp(),
            _ => files(random),
        };
        let number = WILD + 2 * random.below(WILD_FILES / 2) as c_int;
        for (fd, number) in [(a, number), (b, number + 1)] {
            at_number(Queue { fd }, number);
        }
    }

    /// A connection. One thread at a time, so that it is the one that is accepted.
    fn tcp(&self) -> (Fd, Fd) {
        let listener = self.listener.lock().unwrap();
        let c = Ip::V4.tcp();
        // No connection is to be remembered once it is closed.
        crate::net::reset_on_close(&c);
        connect(&c, &listener.1);
        poll_until(&listener.0, IN);
        let a = accept(&listener.0);
        (a, c)
    }

    fn wild_queue(&self, random: &mut Random) {
        let q = match random.below(3) {
            0 => {
                let q = open_device();
                alloc(&q, ROOM);
                q
            }
            _ => Queue::new(ROOM),
        };
        at_number(q, wild_queue(random));
    }

    fn fdinfo(&self, random: &mut Random) {
        let fd = match random.below(2) {
            0 => wild_queue(random),
            _ => self.tame_queues[random.below(TAME_QUEUES)].0.raw(),
        };
        let Ok(text) = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")) else {
            return;
        };
        let watches = text.lines().filter(|l| l.starts_with("tfd:")).count();
        check!(watches <= ROOM as usize, "{watches} watches: {text}");
    }

    fn poll(&self, random: &mut Random) {
        let mut set = [PollFd::new(0, 0, 0); 6].map(|_| libc::pollfd {
            fd: wild_queue(random),
            events: libc::POLLIN,
            revents: 0,
        });
        set[5].fd = wild(random);
        // SAFETY: an array of that size.
        match sys(unsafe { libc::poll(set.as_mut_ptr(), 6, random.below(3) as c_int) }) {
            Ok(_) | Err(Errno(libc::EINTR)) => {}
            Err(e) => panic!("poll: {e}"),
        }
        // SAFETY: takes no pointer.
        let epoll = Fd::new(ok("epoll_create1", sys(unsafe { libc::epoll_create1(0) })));
        let mut e = libc::epoll_event { events: IN, u64: 0 };
        let q = wild_queue(random);
        // SAFETY: one event. Whether it can be added depends on what is there.
        let added = sys(unsafe { libc::epoll_ctl(epoll.raw(), libc::EPOLL_CTL_ADD, q, &mut e) });
        if added.is_ok() {
            // SAFETY: one event.
            ok(
                "epoll_wait",
                sys(unsafe { libc::epoll_wait(epoll.raw(), &mut e, 1, 0) }),
            );
        }
    }

    /// A process with all of the storm's descriptors. It waits, takes its mapping away and waits
    /// again, and ends, or is killed in the middle of a wait.
    fn fork(&self, random: &mut Random) {
        let q = wild_queue(random);
        let fd = wild(random);
        let killed = random.one_in(2);
        let child = fork(|| {
            // Nothing but system calls: other threads' locks may be held for ever in here.
            // SAFETY: takes no pointer.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            for _ in 0..2 {
                let mut events: *const PollFd = std::ptr::null();
                // SAFETY: room for a pointer; a byte; and, in this process, the only mapping.
                unsafe {
                    libc::send(fd, c"x".as_ptr().cast(), 1, libc::MSG_NOSIGNAL);
                    let n = evpoll_wait(q, &mut events, 1, std::ptr::null(), 0);
                    if n.is_ok_and(|n| n > 0) {
                        // The mapping begins here or a page before; in parts it is not removed.
                        let at = events as usize;
                        if libc::munmap(at as *mut c_void, map_size(ROOM)) != 0 {
                            libc::munmap((at - PAGE) as *mut c_void, map_size(ROOM));
                        }
                    }
                }
            }
            if killed {
                loop {
                    let mut events: *const PollFd = std::ptr::null();
                    // SAFETY: room for a pointer.
                    let _ = unsafe { evpoll_wait(q, &mut events, 1000, std::ptr::null(), 0) };
                }
            }
        });
        if killed {
            for _ in 0..random.below(20) {
                std::thread::yield_now();
            }
            child.kill();
            check_eq!(
                "a killed process",
                child.wait(),
                Exit::Signal(libc::SIGKILL)
            );
        } else {
            check_eq!("a process of the storm", child.wait(), Exit::Code(0));
        }
    }

    /// A queue of the device, of this thread's own, through all that the device has.
    fn device(&self, random: &mut Random) {
        let (q, map) = device(ROOM);
        for _ in 0..random.below(10) {
            let got = try_apply(&q, &[PollFd::new(wild(random), random.pick(&MASKS), 0)]);
            check_ctl("a change", got.map(|_| 0));
        }
        self.wild_data(random);
        match try_poll(&q, random.below(3) as c_int) {
            Ok((n, offset)) => {
                if n > 0 {
                    map.entries(n, offset);
                }
            }
            Err(Errno(libc::EINTR)) => {}
            Err(e) => panic!("EP_POLL: {e}"),
        }
        match random.below(3) {
            0 => {
                drop(map);
                free(&q);
                alloc(&q, ROOM);
                check_wait(q.raw(), 0, ROOM);
            }
            1 => drop((q, map)),
            _ => {
                drop(q);
                // The pages are there as long as the mapping is.
                map.entries(ROOM as usize, 0);
            }
        }
    }

    /// Queues above one another, down to a wild one.
    fn nesting(&self, random: &mut Random) {
        let (outer, middle) = (Queue::new(8), Queue::new(8));
        outer.add(&middle.fd, IN);
        check_ctl(
            "a watch of a wild queue",
            middle.try_ctl(EP_CTL_ADD_AND_TEST, wild_queue(random), IN),
        );
        check_ctl(
            "a watch of a wild file",
            middle.try_ctl(EP_CTL_ADD_AND_TEST, wild(random), IN),
        );
        let got = middle.try_ctl(EP_CTL_ADD, outer.raw(), IN);
        check_eq!("a cycle", got, Err(Errno(libc::ELOOP)));
        for e in outer.wait(random.below(3) as c_int) {
            check_eq!("the descriptor of an event", e.fd, middle.raw());
        }
        if random.one_in(2) {
            drop(outer);
        }
        let n = middle.wait(0).len();
        check!(n <= 2, "{n} events of two descriptors");
    }

    /// A wild queue goes through a socket, while others close it.
    fn send(&self, random: &mut Random) {
        let (a, b) = socketpair(libc::SOCK_STREAM);
        let raw = wild_queue(random);
        // SAFETY: takes no pointer.
        let Ok(q) = sys(unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, 0) }) else {
            return;
        };
        let q = Fd::new(q);
        send_fd(&a, q.raw());
        drop(q);
        if random.one_in(3) {
            // Closed on its way.
            return;
        }
        let q = Queue { fd: recv_fd(&b) };
        check_wait(q.raw(), random.below(2) as c_int, ROOM);
        let op = random.pick(&EVERY_OP);
        check_ctl("evpoll_ctl", q.try_ctl(op, wild(random), IN));
    }

    /// A tame file is added, changed or removed; now and then it is replaced.
    fn tame_ctl(&self, random: &mut Random) {
        let n = random.below(TAME_FILES);
        let number = TAME + n as c_int;
        let mut file = self.tame[n].lock().unwrap();
        if random.one_in(10) {
            for k in 0..TAME_QUEUES {
                if file.queues[k] {
                    self.tame_queues[k].0.del(&file.fd);
                    self.ledger.removed(k, number);
                }
            }
            let old = std::mem::replace(&mut *file, TameFile::new(number, random));
            // Closed already: its number has the new one.
            old.fd.leak();
            return;
        }
        let k = random.below(TAME_QUEUES);
        let q = &self.tame_queues[k].0;
        let mask = random.pick(&MASKS);
        if !file.queues[k] {
            let op = random.pick(&[EP_CTL_ADD, EP_CTL_ADD_AND_TEST]);
            self.ledger.adding(k, number);
            match q.try_ctl(op, number, mask) {
                Ok(_) => file.queues[k] = true,
                Err(e) => panic!("ADD of a tame file: {e}"),
            }
        } else if random.one_in(2) {
            q.del(&file.fd);
            self.ledger.removed(k, number);
            file.queues[k] = false;
        } else {
            let op = random.pick(&[EP_CTL_MOD, EP_CTL_MOD_AND_TEST]);
            q.ctl(op, number, mask);
            let again = q.try_ctl(EP_CTL_ADD, number, mask);
            check_eq!("ADD of what is there", again, Err(Errno(libc::EEXIST)));
        }
    }

    /// Something happens to a tame file.
    fn tame_data(&self, random: &mut Random) {
        let file = self.tame[random.below(TAME_FILES)].lock().unwrap();
        if random.one_in(3) {
            while matches!(read(&file.fd, 4096), Ok(data) if !data.is_empty()) {}
        } else {
            let _ = write(&file.peer, &[b't'; 64]);
        }
    }

    /// A wait on a tame queue, whose events are held against what is known.
    fn harvest(&self, random: &mut Random) {
        let k = random.below(TAME_QUEUES);
        let (q, turn) = &self.tame_queues[k];
        let Ok(_turn) = turn.try_lock() else {
            return;
        };
        let begun = self.ledger.now();
        let events = match q.try_wait(random.below(3) as c_int) {
            Ok(events) => events,
            Err(Errno(libc::EINTR)) => return,
            Err(e) => panic!("evpoll_wait: {e}"),
        };
        if let Some(why) = self.ledger.wrong(k, begun, &events) {
            panic!("a wait in the storm: {why}");
        }
        for e in &events {
            check!(
                MASKS.contains(&e.events()),
                "{e:?}: a mask that nobody asked for"
            );
        }
    }

    /// The storm is over: every queue does what a queue does, and then everything is closed.
    #[track_caller]
    pub fn finish(self) {
        let Churn {
            tame, tame_queues, ..
        } = self;
        for file in tame {
            let file = file.into_inner().unwrap();
            for (k, (q, _)) in tame_queues.iter().enumerate() {
                let listed = is_polled(q, file.fd.raw()).is_some();
                check_eq!("whether a tame file is watched", listed, file.queues[k]);
            }
        }
        for (q, _) in &tame_queues {
            check_eq!("watches, with all files closed", watches(q), 0);
            whole::delivers_every_kind(q);
        }
        for n in 0..WILD_FILES as c_int {
            // SAFETY: a number of the storm's own.
            unsafe { libc::close(WILD + n) };
        }
        let wild: Vec<Queue> = (0..WILD_QUEUES as c_int)
            .map(|n| Queue {
                fd: Fd::new(WILD_QUEUE + n),
            })
            .collect();
        // Those that watch one another.
        for q in &wild {
            for other in &wild {
                let got = q.try_ctl(EP_CTL_DEL, other.raw(), 0);
                check_ctl("DEL of a queue", got);
            }
        }
        for q in &wild {
            // Others may be watched still that had one of these numbers before.
            whole::empty(q);
            check_eq!("watches, with all files closed", watches(q), 0);
            whole::delivers_every_kind(q);
        }
    }
}

impl Default for Churn {
    fn default() -> Self {
        Self::new()
    }
}
