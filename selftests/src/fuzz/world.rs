// SPDX-License-Identifier: GPL-2.0
//! The descriptors and queues of a program that runs one operation after the other: carries out
//! operations, and tells the oracle what came of them.

use std::collections::BTreeMap;
use std::os::raw::c_int;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use super::channel::{Kind, NETLINK_REQUEST};
use super::oracle::{Counts, Nature, Oracle, Side, Verdict};
use super::program::{Op, Program, Verb, SLOTS};
use crate::abi::*;
use crate::check::ok;
use crate::device::{self, Map};
use crate::net::{local, reset_on_close, try_accept, try_connect, try_recv, try_send, try_set};
use crate::queue::Queue;
use crate::runner::scale;
use crate::sys::{fork, read, sys, write, Child, Fd};

/// Room of each queue: more than a program can fill.
const ROOM: i32 = 128;
/// Reads and writes of a `fill` or a `drain`, at most.
const BOUND: usize = 100;
/// The most bytes that are read at once.
const LARGEST: usize = 1 << 17;
/// How long what is missing may take to come, before scaling. What is lost does not come later
/// either, so only a failure takes so long.
const PATIENCE: Duration = Duration::from_millis(150);
/// How often it is looked for at least: where a machine gets no processor for so long, its time
/// goes on.
const LOOKS: usize = 10;

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// epoll and evpoll, and poll(2) between all steps.
    Both,
    /// Only epoll.
    Epoll,
    /// Only evpoll.
    Evpoll,
}

struct Slot {
    fd: Fd,
    file: usize,
    kind: Kind,
    /// It is a queue of its own.
    inner: bool,
}

struct Holder {
    child: Child,
    /// Writing here ends it.
    leash: Fd,
    files: Vec<usize>,
}

/// A queue, and how it is waited on.
struct Watcher {
    side: Side,
    queue: Queue,
    map: Option<Map>,
}

impl Watcher {
    fn wait(&self) -> Vec<PollFd> {
        match &self.map {
            Some(map) => map.poll(&self.queue, 0),
            None => self.queue.wait(0),
        }
    }
}

/// What one step has brought.
#[derive(Default)]
pub struct Step {
    /// The bits that were reported, by numbers.
    bits: BTreeMap<i32, u32>,
    /// Its operation has brought no data to anybody.
    futile: bool,
}

/// Everything that a program of this shape touches.
pub struct World {
    cast: Cast,
    slots: Vec<Option<Slot>>,
    /// How many descriptors refer to each file, in this process and in its children.
    references: Vec<usize>,
    holders: Vec<Holder>,
    epoll: Option<Fd>,
    queues: Vec<Watcher>,
    /// So that new descriptors get the same numbers, whoever watches.
    _fillers: Vec<Fd>,
    oracle: Oracle,
    /// What the only side has reported, step by step.
    pub steps: Vec<Step>,
    step: Step,
}

impl World {
    fn new(program: &Program, cast: Cast) -> Self {
        // SAFETY: takes no pointer.
        let epoll = || sys(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }).map(Fd::new);
        let mut queues = Vec::new();
        if cast != Cast::Epoll {
            for side in Side::ALL {
                let device = side == Side::Plain && program.has(Verb::Device);
                let (queue, map) = match device.then(try_device).flatten() {
                    Some((queue, map)) => (queue, Some(map)),
                    None => (Queue::new(ROOM), None),
                };
                queues.push(Watcher { side, queue, map });
            }
        }
        let epoll = (cast != Cast::Evpoll).then(|| ok("epoll_create1", epoll()));
        let missing = match cast {
            Cast::Both => 0,
            Cast::Epoll => Side::ALL.len(),
            Cast::Evpoll => 1,
        };
        World {
            cast,
            _fillers: (0..missing)
                .map(|_| crate::sys::open("/dev/null", libc::O_RDONLY))
                .collect(),
            slots: (0..SLOTS).map(|_| None).collect(),
            references: Vec::new(),
            holders: Vec::new(),
            epoll,
            queues,
            oracle: Oracle::default(),
            steps: Vec::new(),
            step: Step::default(),
        }
    }

    /// Runs a program. The error says which operation, and what is wrong.
    pub fn run(program: &Program, cast: Cast) -> Result<(Counts, Vec<Step>), String> {
        let mut world = World::new(program, cast);
        for (i, op) in program.ops.iter().enumerate() {
            let at = |why: String| format!("operation {}, {op}: {why}", i + 1);
            world.sample();
            let late = op.verb == Verb::Late;
            if late {
                world.late().map_err(at)?;
            } else {
                world.perform(op).map_err(at)?;
            }
            world.settle(late).map_err(at)?;
        }
        world.finish().map_err(|why| format!("at the end: {why}"))?;
        Ok((world.oracle.counts, world.steps))
    }

    /// Lets poll(2) look at every descriptor that is watched, or will be.
    fn sample(&mut self) {
        if self.cast != Cast::Both {
            return;
        }
        let mut polls: Vec<libc::pollfd> = Vec::new();
        let mut files = Vec::new();
        for slot in self.slots.iter().flatten() {
            if !files.contains(&slot.file) {
                files.push(slot.file);
                polls.push(libc::pollfd {
                    fd: slot.fd.raw(),
                    events: VALID as i16,
                    revents: 0,
                });
            }
        }
        // SAFETY: an array of that size.
        let r = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, 0) };
        ok("poll", sys(r));
        for (file, p) in files.iter().zip(&polls) {
            self.oracle.sample(*file, u32::from(p.revents as u16));
        }
        // TCP with a low-water mark says that there is something to read, too, while its window or
        // its memory is used up; which is over when it has told the other side, or tidied up.
        for slot in self.slots.iter().flatten().filter(|s| is_tcp(s.kind)) {
            let mut bytes: c_int = 0;
            // SAFETY: stores an int.
            let r = unsafe { libc::ioctl(slot.fd.raw(), libc::FIONREAD, &mut bytes) };
            if r == 0 && bytes > 0 {
                self.oracle.believe(slot.file, IN | RDNORM);
            }
        }
        // Only others have it: whatever is said of it is believed.
        for file in self.oracle.files() {
            if !files.contains(&file) {
                self.oracle.sample(file, !0);
            }
        }
    }

    /// What epoll has.
    fn ask_epoll(&mut self) -> Result<bool, String> {
        let Some(epoll) = &self.epoll else {
            return Ok(false);
        };
        // SAFETY: plain bytes.
        let mut events: [libc::epoll_event; 64] = unsafe { std::mem::zeroed() };
        // SAFETY: an array of that size.
        let n = unsafe { libc::epoll_wait(epoll.raw(), events.as_mut_ptr(), 64, 0) };
        let n = ok("epoll_wait", sys(n)) as usize;
        for e in &events[..n] {
            let (watch, bits) = (e.u64, e.events);
            self.oracle.epoll(watch as usize, bits)?;
            let number = self.oracle.number(watch as usize);
            *self.step.bits.entry(number).or_default() |= bits;
        }
        Ok(n > 0)
    }

    /// What a queue has.
    fn ask_queue(&mut self, i: usize) -> Result<bool, String> {
        let entries = self.queues[i].wait();
        let side = self.queues[i].side;
        if self.cast == Cast::Both {
            // What has come of itself since the last look: a packet, by way of another processor.
            if !entries.is_empty() {
                self.sample();
            }
            self.oracle.took(side, &entries)?;
        }
        if side == Side::Test {
            for e in &entries {
                *self.step.bits.entry(e.fd).or_default() |= e.revents();
            }
        }
        Ok(!entries.is_empty())
    }

    /// epoll first, then the queues, until none has anything: what happens meanwhile is in this
    /// step for all of them.
    fn ask_all(&mut self) -> Verdict {
        const ENOUGH: usize = 20;
        for _ in 0..ENOUGH {
            let mut any = self.ask_epoll()?;
            for i in 0..self.queues.len() {
                if self.queues[i].side != Side::Late {
                    any |= self.ask_queue(i)?;
                } else if cfg!(test) {
                    // The stand-in takes down what happens only when it is called, if in vain.
                    let _ = self.queues[i].queue.try_ctl(EP_CTL_DEL, -1, 0);
                }
            }
            if !any {
                return Ok(());
            }
        }
        Err("events without an end, though nothing is done".to_owned())
    }

    /// The end of a step: everything is taken and compared.
    fn settle(&mut self, late: bool) -> Verdict {
        self.sample();
        self.ask_all()?;
        if self.cast != Cast::Both {
            self.steps.push(std::mem::take(&mut self.step));
            return Ok(());
        }
        let end = Instant::now() + PATIENCE * scale();
        let mut looks = 0;
        while let Some((side, missing)) = self.oracle.missing(late) {
            if Instant::now() >= end && looks >= LOOKS {
                return Err(missing);
            }
            looks += 1;
            std::thread::sleep(Duration::from_millis(2));
            self.sample();
            if side == Side::Late {
                self.ask_queue(side as usize)?;
            }
            self.ask_all()?;
        }
        self.step = Step::default();
        self.oracle.end_round()
    }

    fn late(&mut self) -> Verdict {
        if self.cast == Cast::Epoll {
            return Ok(());
        }
        self.ask_queue(Side::Late as usize).map(drop)
    }

    /// The last look at the seldom queue; and once nothing is watched, nothing comes.
    fn finish(&mut self) -> Verdict {
        self.late()?;
        self.settle(true)?;
        for slot in 0..self.slots.len() {
            self.unwatch(slot, false)?;
        }
        while !self.holders.is_empty() {
            self.reap();
        }
        for slot in 0..self.slots.len() {
            self.put(slot, None);
        }
        for watcher in &self.queues {
            let left = watcher.wait();
            if !left.is_empty() {
                return Err(format!(
                    "{}: everything is closed, but {left:?} comes",
                    watcher.side.name()
                ));
            }
        }
        Ok(())
    }

    /// A slot's descriptor.
    fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// A new file.
    fn file(&mut self) -> usize {
        self.references.push(0);
        self.references.len() - 1
    }

    /// Puts something in a slot, in the place of what was there, which is closed.
    fn put(&mut self, slot: usize, new: Option<Slot>) {
        if let Some(new) = &new {
            self.references[new.file] += 1;
        }
        if let Some(old) = std::mem::replace(&mut self.slots[slot], new) {
            let file = old.file;
            old.fd.close();
            self.release(file);
            // What this has made true may be over with the next close of the same operation.
            self.sample();
        }
    }

    /// One descriptor of a file is closed.
    fn release(&mut self, file: usize) {
        self.references[file] -= 1;
        if self.references[file] == 0 {
            self.oracle.closed(file);
        }
    }

    fn put_new(&mut self, slot: u32, fd: Fd, kind: Kind, inner: bool) {
        let file = self.file();
        let new = Slot {
            fd,
            file,
            kind,
            inner,
        };
        self.put(slot as usize, Some(new));
    }

    fn perform(&mut self, op: &Op) -> Verdict {
        let [a, b, c, d, _] = op.args;
        match op.verb {
            Verb::Open => self.open(Kind::of(a), b, c),
            Verb::Write => self.write(a, b as usize, 1),
            Verb::Fill => self.write(a, b as usize, BOUND),
            Verb::Read => self.read(a, b as usize, 1),
            Verb::Drain => self.read(a, LARGEST, BOUND),
            Verb::Urgent => self.with_socket(a, |fd| {
                let _ = try_send(fd, b"!", libc::MSG_OOB);
            }),
            Verb::ReadUrgent => self.with_socket(a, |fd| {
                let _ = try_recv(fd, 1, libc::MSG_OOB);
            }),
            Verb::Shutdown => self.with_socket(a, |fd| {
                // SAFETY: takes no pointer.
                unsafe { libc::shutdown(fd.raw(), (b % 3) as c_int) };
            }),
            Verb::Close => self.put(a as usize, None),
            Verb::Dup => self.dup(a, b),
            Verb::DupOver => self.dup_over(a, b),
            Verb::Fork => self.fork(),
            Verb::Reap => self.reap(),
            Verb::Accept => self.accept(a, b),
            Verb::Connect => self.connect(a, b),
            Verb::SendBuffer => self.set(a, libc::SO_SNDBUF, b),
            Verb::ReceiveBuffer => self.set(a, libc::SO_RCVBUF, b),
            Verb::LowWater => self.set(a, libc::SO_RCVLOWAT, b),
            Verb::TakeError => self.with_socket(a, |fd| {
                let _: Sys<i32> = crate::net::try_get(fd, libc::SOL_SOCKET, libc::SO_ERROR);
            }),
            Verb::Linger => {
                if self.slot(a).is_some_and(|s| is_tcp(s.kind)) {
                    self.with_socket(a, reset_on_close);
                }
            }
            Verb::Resize => {
                if let Some(s) = self.slot(a) {
                    // SAFETY: takes no pointer.
                    unsafe { libc::fcntl(s.fd.raw(), libc::F_SETPIPE_SZ, b as c_int) };
                    self.brings_nothing();
                }
            }
            Verb::Splice => self.splice(a, b, c as usize),
            Verb::Watch => return self.watch(a as usize, b, c != 0),
            Verb::Modify => return self.modify(a as usize, b, c != 0, d != 0),
            Verb::Unwatch => return self.unwatch(a as usize, b != 0),
            Verb::Nest => self.nest(a, b),
            Verb::Inner => self.inner(a),
            Verb::Nap => std::thread::sleep(Duration::from_millis(u64::from(a.min(60)))),
            // These belong to other shapes, or are done where they count.
            Verb::Late
            | Verb::Device
            | Verb::Rewatch
            | Verb::Flip
            | Verb::Replace
            | Verb::Wait
            | Verb::Flow
            | Verb::Shared => {}
        }
        Ok(())
    }

    fn with_socket(&self, slot: u32, f: impl FnOnce(&Fd)) {
        if let Some(s) = self.slot(slot).filter(|s| s.kind.is_socket() && !s.inner) {
            f(&s.fd);
        }
    }

    fn set(&self, slot: u32, name: c_int, value: u32) {
        self.with_socket(slot, |fd| {
            let _ = try_set(fd, libc::SOL_SOCKET, name, value as c_int);
        });
    }

    fn open(&mut self, kind: Kind, a: u32, b: u32) {
        if a == b {
            return;
        }
        self.put(a as usize, None);
        self.put(b as usize, None);
        if let Ok((first, second)) = kind.open() {
            self.put_new(a, first, kind, false);
            // The other end of a packet socket is none.
            let kind = match kind {
                Kind::Packet => Kind::Udp4,
                kind => kind,
            };
            self.put_new(b, second, kind, false);
        }
    }

    fn write(&mut self, slot: u32, len: usize, times: usize) {
        let Some(s) = self.slot(slot).filter(|s| !s.inner) else {
            return;
        };
        let data = match s.kind {
            Kind::Netlink => NETLINK_REQUEST.to_vec(),
            _ => vec![b'x'; len.min(LARGEST)],
        };
        if self.repeat(slot, times, |fd| write(fd, &data).is_ok_and(|n| n > 0)) == 0 {
            self.brings_nothing();
        }
    }

    fn read(&mut self, slot: u32, len: usize, times: usize) {
        self.repeat(slot, times, |fd| {
            read(fd, len.min(LARGEST)).is_ok_and(|data| !data.is_empty())
        });
    }

    /// Several calls, as long as they succeed: how many did. What is true between them is seen.
    fn repeat(&mut self, slot: u32, times: usize, call: impl Fn(&Fd) -> bool) -> usize {
        for i in 0..times {
            let Some(s) = self.slot(slot).filter(|s| !s.inner) else {
                return i;
            };
            if !call(&s.fd) {
                return i;
            }
            if i + 1 < times {
                self.sample();
            }
        }
        times
    }

    fn brings_nothing(&mut self) {
        self.oracle.brings_nothing();
        self.step.futile = true;
    }

    fn dup(&mut self, a: u32, b: u32) {
        if a == b {
            return;
        }
        if let Some(s) = self.slot(a) {
            let new = Slot {
                fd: s.fd.dup(),
                ..*s
            };
            self.put(b as usize, Some(new));
        }
    }

    fn dup_over(&mut self, a: u32, b: u32) {
        let (Some(from), Some(to)) = (self.slot(a), self.slot(b)) else {
            return;
        };
        if a == b {
            return;
        }
        // SAFETY: takes no pointer.
        ok(
            "dup2",
            sys(unsafe { libc::dup2(from.fd.raw(), to.fd.raw()) }),
        );
        let (file, kind, inner) = (from.file, from.kind, from.inner);
        self.references[file] += 1;
        let mut gone = None;
        if let Some(to) = &mut self.slots[b as usize] {
            gone = Some(std::mem::replace(&mut to.file, file));
            to.kind = kind;
            to.inner = inner;
        }
        if let Some(gone) = gone {
            self.release(gone);
        }
    }

    fn fork(&mut self) {
        const MOST: usize = 2;
        if self.holders.len() >= MOST {
            return;
        }
        let Ok((wait, leash)) = crate::sys::pipe_flags(0) else {
            return;
        };
        let child = fork(|| {
            let _ = read(&wait, 1);
        });
        let files: Vec<usize> = self.slots.iter().flatten().map(|s| s.file).collect();
        for file in &files {
            self.references[*file] += 1;
        }
        self.holders.push(Holder {
            child,
            leash,
            files,
        });
    }

    fn reap(&mut self) {
        if self.holders.is_empty() {
            return;
        }
        let holder = self.holders.remove(0);
        let _ = write(&holder.leash, b".");
        holder.child.wait();
        for file in holder.files {
            self.release(file);
        }
    }

    fn accept(&mut self, a: u32, b: u32) {
        let Some(s) = self.slot(a).filter(|s| s.kind.is_socket() && !s.inner) else {
            return;
        };
        let kind = s.kind;
        if a == b {
            return;
        }
        if let Ok(fd) = try_accept(&s.fd) {
            self.put_new(b, fd, kind, false);
        }
    }

    fn connect(&self, a: u32, b: u32) {
        let socket = |slot| self.slot(slot).filter(|s| s.kind.is_socket() && !s.inner);
        let fits = |k: Kind| !matches!(k, Kind::Netlink | Kind::Packet);
        if let (Some(from), Some(to)) = (socket(a), socket(b)) {
            if fits(from.kind) && fits(to.kind) {
                let _ = try_connect(&from.fd, &local(&to.fd));
            }
        }
    }

    fn splice(&self, a: u32, b: u32, len: usize) {
        if let (Some(from), Some(to)) = (self.slot(a), self.slot(b)) {
            if from.inner || to.inner {
                return;
            }
            let flags = libc::SPLICE_F_NONBLOCK;
            let (from, to) = (from.fd.raw(), to.fd.raw());
            // SAFETY: no offsets are given.
            unsafe { libc::splice(from, null_mut(), to, null_mut(), len, flags) };
        }
    }

    /// A queue in a slot, which watches another one's descriptor.
    fn nest(&mut self, a: u32, b: u32) {
        // The stand-in of the unit tests cannot be watched.
        if a == b || self.cast != Cast::Both || cfg!(test) {
            return;
        }
        let Ok(queue) = Queue::try_new(4, EVPOLL_CLOEXEC) else {
            return;
        };
        if let Some(s) = self.slot(b) {
            let _ = queue.try_ctl(EP_CTL_ADD_AND_TEST, s.fd.raw(), IN | OUT | RDHUP);
        }
        self.put_new(a, queue.fd, Kind::Pipe, true);
    }

    fn inner(&mut self, a: u32) {
        if let Some(s) = self.slot(a).filter(|s| s.inner) {
            let queue = Queue {
                fd: Fd::new(s.fd.raw()),
            };
            let _ = queue.try_wait(0);
            queue.fd.leak();
        }
    }

    /// The same change in every queue, and in epoll, where the watch is called `name`. Whether it
    /// was made; an error if they do not agree on that.
    fn change(&self, slot: &Slot, what: Change, name: usize) -> Result<bool, String> {
        let fd = slot.fd.raw();
        let mut first: Option<Sys<()>> = None;
        if let Some(epoll) = &self.epoll {
            let mut e = libc::epoll_event {
                events: what.mask | libc::EPOLLET as u32,
                u64: name as u64,
            };
            // SAFETY: one event.
            let r = unsafe { libc::epoll_ctl(epoll.raw(), what.epoll, fd, &mut e) };
            first = Some(sys(r).map(drop));
        }
        for watcher in &self.queues {
            let result = what.on(watcher, fd);
            match first {
                None => first = Some(result),
                Some(expected) if expected == result => {}
                // Queues may be too many above one another.
                Some(Ok(())) if slot.inner && watcher.side == Side::Test && result.is_err() => {
                    self.undo(fd);
                    return Ok(false);
                }
                Some(expected) => {
                    return Err(format!(
                        "{} says {result:?} where {} says {expected:?}",
                        watcher.side.name(),
                        match self.epoll {
                            Some(_) => "epoll",
                            None => "the first queue",
                        }
                    ))
                }
            }
        }
        Ok(first == Some(Ok(())))
    }

    fn undo(&self, fd: c_int) {
        if let Some(epoll) = &self.epoll {
            // SAFETY: no event is needed.
            unsafe { libc::epoll_ctl(epoll.raw(), libc::EPOLL_CTL_DEL, fd, null_mut()) };
        }
    }

    fn watch(&mut self, slot: usize, mask: u32, by_write: bool) -> Verdict {
        let Some(s) = &self.slots[slot] else {
            return Ok(());
        };
        let (number, file) = (s.fd.raw(), s.file);
        if self.oracle.find(number, file).is_some() {
            return self.again(s, mask);
        }
        let change = Change {
            epoll: libc::EPOLL_CTL_ADD,
            tested: EP_CTL_ADD_AND_TEST,
            plain: EP_CTL_ADD,
            mask,
            by_write,
        };
        let nature = Nature {
            // What a queue watches may be anything.
            local: s.kind.is_local() && !s.inner,
            // A socket's error may be followed by another one.
            states: match s.kind.is_socket() {
                true => HUP | RDHUP,
                false => HUP | ERR,
            },
            pipe: !s.kind.is_socket() && !s.inner,
        };
        if self.change(s, change, self.oracle.next())? {
            self.oracle.add(number, file, mask, nature, true);
        }
        Ok(())
    }

    /// What is watched cannot be added.
    fn again(&self, s: &Slot, mask: u32) -> Verdict {
        for watcher in &self.queues {
            let result = watcher.queue.try_ctl(EP_CTL_ADD, s.fd.raw(), mask);
            if result != Err(Errno(libc::EEXIST)) {
                return Err(format!(
                    "{} says {result:?} to a second ADD",
                    watcher.side.name()
                ));
            }
        }
        Ok(())
    }

    fn modify(&mut self, slot: usize, mask: u32, test: bool, by_write: bool) -> Verdict {
        let Some(s) = &self.slots[slot] else {
            return Ok(());
        };
        let watch = self.oracle.find(s.fd.raw(), s.file);
        let change = Change {
            epoll: libc::EPOLL_CTL_MOD,
            tested: match test {
                true => EP_CTL_MOD_AND_TEST,
                false => EP_CTL_MOD,
            },
            plain: EP_CTL_MOD,
            mask,
            by_write: by_write && watch.is_some(),
        };
        let done = self.change(s, change, watch.unwrap_or_default())?;
        match (done, watch) {
            (true, Some(watch)) => self.oracle.modify(watch, mask, test),
            (false, None) => {}
            _ => return Err("what is watched cannot be modified, or what is not can".to_owned()),
        }
        Ok(())
    }

    fn unwatch(&mut self, slot: usize, by_write: bool) -> Verdict {
        let Some(s) = &self.slots[slot] else {
            return Ok(());
        };
        let watch = self.oracle.find(s.fd.raw(), s.file);
        let change = Change {
            epoll: libc::EPOLL_CTL_DEL,
            tested: EP_CTL_DEL,
            plain: EP_CTL_DEL,
            mask: 0,
            by_write: by_write && watch.is_some(),
        };
        match (self.change(s, change, 0)?, watch) {
            (true, Some(watch)) => self.oracle.remove(watch),
            (false, None) => {}
            _ => return Err("what is watched cannot be removed, or what is not can".to_owned()),
        }
        Ok(())
    }
}

/// A change of a watch.
#[derive(Clone, Copy)]
struct Change {
    /// The operation of epoll.
    epoll: c_int,
    /// That of the queues with tests.
    tested: i32,
    /// That of the queue without.
    plain: i32,
    mask: u32,
    /// By write(2), in the queue without tests.
    by_write: bool,
}

impl Change {
    fn on(&self, watcher: &Watcher, fd: c_int) -> Sys<()> {
        let (queue, mask) = (&watcher.queue, self.mask);
        if watcher.side != Side::Plain {
            return queue.try_ctl(self.tested, fd, mask).map(drop);
        }
        // The stand-in of the unit tests is no file of ours.
        if self.by_write && cfg!(not(test)) {
            let mask = match self.plain {
                EP_CTL_DEL => REMOVE,
                _ => mask,
            };
            let applied = device::try_apply(queue, &[PollFd::new(fd, mask, 0)])?;
            check_eq!("bytes applied", applied, size_of::<PollFd>());
            return Ok(());
        }
        queue.try_ctl(self.plain, fd, mask).map(drop)
    }
}

/// A queue of the older interface, where there is one.
fn try_device() -> Option<(Queue, Map)> {
    let queue = device::try_open_device(libc::O_RDWR | libc::O_CLOEXEC).ok()?;
    device::alloc(&queue, ROOM);
    let map = Map::new(&queue, ROOM);
    Some((queue, map))
}

fn is_tcp(kind: Kind) -> bool {
    matches!(kind, Kind::Tcp4 | Kind::Tcp6 | Kind::Small | Kind::Listener)
}

/// Plays a program for epoll alone, then for evpoll alone: what epoll reports in a step, evpoll
/// reports in the same one.
pub fn run_apart(program: &Program) -> Result<Counts, String> {
    let (_, expected) = World::run(program, Cast::Epoll)?;
    let (_, got) = World::run(program, Cast::Evpoll)?;
    let mut counts = Counts::default();
    // What each number was handed out for so far.
    let mut known: BTreeMap<i32, u32> = BTreeMap::new();
    for (i, (expected, got)) in expected.iter().zip(&got).enumerate() {
        let op = program.ops.get(i);
        let name = op.map_or("the end".to_owned(), |op| op.to_string());
        // What MOD without a test does not report, epoll does.
        let untested = op.is_some_and(|op| op.verb == Verb::Modify && op.args[2] == 0);
        for (number, bits) in &expected.bits {
            // The exceptions of the law, for one who does not know what is true.
            let mut excused = known.get(number).copied().unwrap_or(0) & (ALWAYS | RDHUP);
            if expected.futile {
                excused |= IN | RDNORM;
            }
            let lost = bits & !got.bits.get(number).copied().unwrap_or(0) & !excused;
            if lost != 0 && !untested {
                return Err(format!(
                    "operation {}, {name}: {} of fd {number} is lost, where neither epoll nor \
                     poll(2) looks",
                    i + 1,
                    Bits(lost)
                ));
            }
        }
        for (number, bits) in &got.bits {
            *known.entry(*number).or_default() |= bits;
            counts.events += 1;
            counts.spurious += u64::from(!expected.bits.contains_key(number));
        }
    }
    Ok(counts)
}
