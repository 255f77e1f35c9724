// SPDX-License-Identifier: GPL-2.0
//! Queues: who sleeps and who wakes, what is left of a watch that was changed, and what is read
//! without a lock. The double buffer is the kernel's own.

use crate::buffer::{DoubleBuffer, Entry, HandOut, Posted, Slot, SqueezeOut, Storage};
use loom::cell::UnsafeCell;
use loom::sync::atomic::{
    fence, AtomicBool, AtomicU16, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst},
};
use loom::sync::{Mutex, MutexGuard, Notify};
use loom::thread;
use std::collections::VecDeque;
use std::sync::Arc;

const IN: u16 = 1;
const OUT: u16 = 4;

/// Entries of both halves.
struct Memory([[Entry; 3]; 2]);

impl Storage for Memory {
    fn load(&self, half: usize, index: u32) -> Entry {
        self.0[half][index as usize]
    }

    fn store(&mut self, half: usize, index: u32, entry: Entry) {
        self.0[half][index as usize] = entry;
    }

    fn add(&mut self, half: usize, index: u32, revents: u16) {
        self.0[half][index as usize].revents |= revents;
    }
}

/// The slots of the watches, which `Queue::state` protects as well; but see [`removed`].
struct Slots([UnsafeCell<Slot>; 2]);

// SAFETY: loom looks after the cells.
unsafe impl Sync for Slots {}

impl Slots {
    fn with_mut<R>(&self, watch: usize, f: impl FnOnce(&mut Slot) -> R) -> R {
        // SAFETY: loom panics when somebody else uses it at the same time.
        self.0[watch].with_mut(|slot| f(unsafe { &mut *slot }))
    }

    fn is_idle(&self, watch: usize) -> bool {
        // SAFETY: loom panics when somebody writes at the same time.
        self.0[watch].with(|slot| unsafe { (*slot).is_idle() })
    }
}

/// What `Queue::state` protects: [`DoubleBuffer`], and the rest as far as it matters.
struct State {
    buffer: DoubleBuffer,
    memory: Memory,
    slots: Arc<Slots>,
    squeezing: bool,
    /// The wait queue: the tasks on it, in order.
    sleepers: VecDeque<usize>,
}

impl State {
    fn new() -> Self {
        let entry = Entry {
            fd: 0,
            events: 0,
            revents: 0,
        };
        Self {
            buffer: DoubleBuffer::new(),
            memory: Memory([[entry; 3]; 2]),
            slots: Arc::new(Slots([
                UnsafeCell::new(Slot::new(IN | OUT)),
                UnsafeCell::new(Slot::new(IN | OUT)),
            ])),
            squeezing: false,
            sleepers: VecDeque::new(),
        }
    }

    fn is_ready(&self) -> bool {
        self.buffer.pending() != 0 && !self.squeezing
    }

    fn post(&mut self, watch: usize, revents: u16) -> Posted {
        let (buffer, memory) = (&mut self.buffer, &mut self.memory);
        self.slots.with_mut(watch, |slot| {
            buffer.post(memory, slot, watch as i32, revents)
        })
    }

    fn revoke(&mut self, watch: usize) {
        let (buffer, memory) = (&mut self.buffer, &mut self.memory);
        self.slots
            .with_mut(watch, |slot| buffer.revoke(memory, slot));
    }

    /// What is handed out of a watch. There are no holes.
    fn flip(&mut self, watch: usize) -> u16 {
        let out = self.buffer.flip();
        (0..out.used)
            .map(|index| self.memory.load(out.half, index))
            .filter(|entry| entry.fd == watch as i32)
            .fold(0, |all, entry| all | entry.revents)
    }
}

/// Why a wait ends.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// There is something.
    Ready,
    /// Or the time is up. (Or a signal is pending: the same for the protocol.) It may be so at any
    /// moment.
    Timeout,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// `wait_until` does not look again once it is on the wait queue.
    NoSecondLook,
    /// `post` looks for sleepers before it takes the lock.
    SleepersUnlocked,
    /// One whose time is up leaves without a look.
    LeavesAtOnce,
    /// One who cannot take what there is leaves it.
    NotPassedOn,
    /// Who has squeezed a hand-out wakes nobody.
    SqueezedSilently,
    /// A callback is removed, or changed, last.
    CallbackLast,
    /// Whether there is anything to take back is looked at before the callback is removed.
    LooksFirst,
    /// `->poll()` before the callback is on the list.
    PollFirst,
    /// An event before what it is about.
    EventFirst,
}

/// A queue, and two tasks that may sleep.
struct Queue {
    state: Mutex<State>,
    slots: Arc<Slots>,
    tasks: [Notify; 2],
    fault: Fault,
}

impl Queue {
    fn new(fault: Fault) -> Self {
        let state = State::new();
        Self {
            slots: state.slots.clone(),
            state: Mutex::new(state),
            tasks: [Notify::new(), Notify::new()],
            fault,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// `wake_up_locked_poll()`: takes the first off the wait queue and wakes him.
    fn wake_up(&self, state: &mut State) {
        if let Some(task) = state.sleepers.pop_front() {
            self.tasks[task].notify();
        }
    }

    /// `Watch::post`, from `Watch::notify`.
    fn notify(&self, watch: usize) {
        let sleepers = self.fault != Fault::SleepersUnlocked || !self.lock().sleepers.is_empty();
        let mut state = self.lock();
        if state.post(watch, IN) == Posted::First && sleepers {
            self.wake_up(&mut state);
        }
    }

    /// `WaitLock::wait_until`. `None` if the time is up.
    fn wait_until(&self, task: usize, until: Until) -> Option<MutexGuard<'_, State>> {
        let mut timed_out = false;
        let mut first = true;
        loop {
            let mut state = self.lock();
            let ready = if self.fault == Fault::NoSecondLook {
                // Looked at first, and again only after the sleep.
                let ready = state.is_ready();
                if !ready && first {
                    drop(state);
                    state = self.lock();
                }
                ready
            } else {
                true
            };
            first = false;
            // prepare_to_wait_exclusive_locked()
            if !state.sleepers.contains(&task) {
                state.sleepers.push_back(task);
            }
            let leave = timed_out && self.fault == Fault::LeavesAtOnce;
            if ready && state.is_ready() && !leave {
                state.sleepers.retain(|&other| other != task); // finish_wait_locked()
                return Some(state);
            }
            if timed_out {
                state.sleepers.retain(|&other| other != task);
                return None;
            }
            drop(state);
            match until {
                Until::Ready => self.tasks[task].wait(),
                Until::Timeout => {
                    thread::yield_now();
                    timed_out = true;
                }
            }
        }
    }

    /// `Queue::wait`, for one who can take what there is. Returns the number of entries.
    fn wait(&self, task: usize, until: Until) -> u32 {
        let Some(mut state) = self.wait_until(task, until) else {
            return 0;
        };
        let out = state.buffer.flip();
        if out.holes == 0 {
            return out.used;
        }
        state.squeezing = true;
        drop(state);
        self.squeeze_out(out)
    }

    /// `Queue::squeeze_out`
    fn squeeze_out(&self, out: HandOut) -> u32 {
        let mut work = SqueezeOut::new(out);
        loop {
            let mut state = self.lock();
            if let Some(left) = work.go_on(&mut state.memory, 2) {
                state.squeezing = false;
                if state.is_ready() && self.fault != Fault::SqueezedSilently {
                    self.wake_up(&mut state);
                }
                return left;
            }
        }
    }

    /// `Queue::wait`, for one who has no room for the answer.
    fn wait_in_vain(&self, task: usize, until: Until) {
        let state = self.wait_until(task, until);
        if state.is_none() {
            return;
        }
        drop(state);
        if self.fault != Fault::NotPassedOn {
            let mut state = self.lock();
            if state.is_ready() {
                self.wake_up(&mut state);
            }
        }
    }
}

/// A wait and a producer.
mod sleep {
    use super::*;

    fn model(fault: Fault) {
        loom::model(move || {
            let queue = Arc::new(Queue::new(fault));
            let other = queue.clone();
            let producer = thread::spawn(move || other.notify(0));
            assert_eq!(queue.wait(0, Until::Ready), 1);
            producer.join().unwrap();
        });
    }

    #[test]
    fn a_wait_ends_when_something_happens() {
        model(Fault::None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn not_if_it_does_not_look_again() {
        model(Fault::NoSecondLook);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn not_if_sleepers_are_looked_for_before() {
        model(Fault::SleepersUnlocked);
    }
}

/// Two waits, of which one's time is up; if he gets the event, he makes another for the other.
mod timeout {
    use super::*;

    fn model(fault: Fault) {
        loom::model(move || {
            let queue = Arc::new(Queue::new(fault));
            let other = queue.clone();
            let producer = thread::spawn(move || other.notify(0));
            let other = queue.clone();
            let short = thread::spawn(move || {
                if other.wait(1, Until::Timeout) != 0 {
                    other.notify(0);
                }
            });
            assert_eq!(queue.wait(0, Until::Ready), 1);
            producer.join().unwrap();
            short.join().unwrap();
        });
    }

    #[test]
    fn who_was_woken_does_not_leave_without_it() {
        model(Fault::None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn not_if_he_leaves_without_a_look() {
        model(Fault::LeavesAtOnce);
    }
}

/// Two waits, of which one cannot store where the events are.
mod passed_on {
    use super::*;

    fn model(fault: Fault) {
        loom::model(move || {
            let queue = Arc::new(Queue::new(fault));
            let other = queue.clone();
            let producer = thread::spawn(move || other.notify(0));
            let other = queue.clone();
            let failing = thread::spawn(move || other.wait_in_vain(1, Until::Timeout));
            assert_eq!(queue.wait(0, Until::Ready), 1);
            producer.join().unwrap();
            failing.join().unwrap();
        });
    }

    /// As he may be woken for it, not only look at it, his time is not up either.
    fn model_woken(fault: Fault) {
        loom::model(move || {
            let queue = Arc::new(Queue::new(fault));
            let other = queue.clone();
            let failing = thread::spawn(move || other.wait_in_vain(1, Until::Ready));
            let other = queue.clone();
            let waiting = thread::spawn(move || {
                assert_eq!(other.wait(0, Until::Ready), 1);
                // For the other one, who leaves it.
                other.notify(0);
            });
            queue.notify(0);
            failing.join().unwrap();
            waiting.join().unwrap();
        });
    }

    #[test]
    fn who_cannot_take_it_wakes_another() {
        model(Fault::None);
        model_woken(Fault::None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn not_if_he_just_leaves() {
        model_woken(Fault::NotPassedOn);
    }
}

/// An event while holes are squeezed out of a hand-out, for one who waits already.
mod squeezing {
    use super::*;

    fn model(fault: Fault) {
        loom::model(move || {
            let queue = Arc::new(Queue::new(fault));
            {
                // Two, and the first is taken back: a hole.
                let mut state = queue.lock();
                state.post(0, IN);
                state.post(1, IN);
                state.revoke(0);
            }
            let other = queue.clone();
            let producer = thread::spawn(move || other.notify(0));
            let other = queue.clone();
            let first = thread::spawn(move || {
                // Whoever gets both makes another for him who waits.
                if other.wait(1, Until::Timeout) == 2 {
                    other.notify(0);
                }
            });
            assert_ne!(queue.wait(0, Until::Ready), 0);
            producer.join().unwrap();
            first.join().unwrap();
        });
    }

    #[test]
    fn what_comes_meanwhile_wakes_somebody_afterwards() {
        model(Fault::None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn not_if_nobody_is_woken_afterwards() {
        model(Fault::SqueezedSilently);
    }
}

/// A source with a callback of the watch 0.
struct Source {
    /// `head->lock`: the events of the callback, 0 if it is not on the list.
    list: Mutex<u16>,
    queue: Queue,
}

impl Source {
    fn new(events: u16, fault: Fault) -> Self {
        Self {
            list: Mutex::new(events),
            queue: Queue::new(fault),
        }
    }

    /// `__file_notify_event()`, with `Watch::notify` below it.
    fn event(&self, events: u16) {
        let list = self.list.lock().unwrap();
        if events & *list != 0 {
            self.queue.lock().post(0, events & *list);
        }
    }

    fn set(&self, events: u16) {
        *self.list.lock().unwrap() = events;
    }
}

/// `EP_CTL_DEL`, and a wait after it.
mod removed {
    use super::*;

    fn model(fault: Fault) {
        loom::model(move || {
            let source = Arc::new(Source::new(IN, fault));
            let other = source.clone();
            let producer = thread::spawn(move || {
                other.event(IN);
                other.event(IN);
            });
            // Without the lock: nobody else can mean this slot.
            let is_idle = || source.queue.slots.is_idle(0);
            match fault {
                Fault::CallbackLast => {
                    source.queue.lock().revoke(0);
                    source.set(0);
                }
                Fault::LooksFirst => {
                    let idle = is_idle();
                    source.set(0);
                    if !idle {
                        source.queue.lock().revoke(0);
                    }
                }
                _ => {
                    source.set(0);
                    if !is_idle() {
                        source.queue.lock().revoke(0);
                    }
                }
            }
            let late = source.queue.lock().flip(0);
            assert_eq!(late, 0, "delivered after its removal");
            producer.join().unwrap();
            let later = source.queue.lock().flip(0);
            assert_eq!(later, 0, "delivered after its removal");
        });
    }

    #[test]
    fn nothing_comes_of_a_removed_watch() {
        model(Fault::None);
    }

    #[test]
    #[should_panic(expected = "delivered after its removal")]
    fn not_if_the_callback_goes_last() {
        model(Fault::CallbackLast);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_if_it_looks_before_the_callback_is_gone() {
        model(Fault::LooksFirst);
    }
}

/// `EP_CTL_MOD`, and a wait after it.
mod modified {
    use super::*;

    fn model(fault: Fault) {
        loom::model(move || {
            let source = Arc::new(Source::new(IN, fault));
            let other = source.clone();
            let producer = thread::spawn(move || {
                other.event(IN);
                other.event(OUT);
            });
            let narrow = || {
                let mut state = source.queue.lock();
                let State {
                    buffer,
                    memory,
                    slots,
                    ..
                } = &mut *state;
                slots.with_mut(0, |slot| buffer.narrow(memory, slot, OUT, OUT));
            };
            if fault == Fault::CallbackLast {
                narrow();
                source.set(OUT);
            } else {
                source.set(OUT);
                narrow();
            }
            producer.join().unwrap();
            let found = source.queue.lock().flip(0);
            assert_eq!(found & IN, 0, "not asked for");
        });
    }

    #[test]
    fn only_what_is_asked_for_now() {
        model(Fault::None);
    }

    #[test]
    #[should_panic(expected = "not asked for")]
    fn not_if_the_callback_is_changed_last() {
        model(Fault::CallbackLast);
    }
}

/// A program adds a descriptor with `EP_CTL_ADD_AND_TEST`, then waits and reads until there is
/// nothing left, by turns. A producer sends, and tells of it, twice.
mod whole {
    use super::*;

    struct World {
        /// What was sent and not read yet.
        data: AtomicUsize,
        source: Source,
    }

    fn send(world: &World, fault: Fault) {
        let tell = || {
            fence(SeqCst);
            let list = world.source.list.lock().unwrap();
            // The state, as a source whose hint is not exact tells it.
            let ready = fault == Fault::EventFirst || world.data.load(Relaxed) != 0;
            if *list != 0 && ready {
                world.source.queue.notify(0);
            }
        };
        if fault == Fault::EventFirst {
            tell();
        }
        world.data.fetch_add(1, AcqRel);
        if fault != Fault::EventFirst {
            tell();
        }
    }

    fn model(sends: usize, fault: Fault) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let world = Arc::new(World {
                data: AtomicUsize::new(0),
                source: Source::new(0, fault),
            });
            let other = world.clone();
            let producer = thread::spawn(move || {
                for _ in 0..sends {
                    send(&other, fault);
                }
            });
            // Queue::add, Queue::look
            let poll = || world.data.load(Relaxed) != 0;
            let early = fault == Fault::PollFirst && poll();
            world.source.set(IN);
            fence(SeqCst);
            if early || (fault != Fault::PollFirst && poll()) {
                world.source.queue.notify(0);
            }
            let mut read = 0;
            while read < sends {
                world.source.queue.wait(0, Until::Ready);
                read += world.data.swap(0, AcqRel);
            }
            producer.join().unwrap();
        });
    }

    #[test]
    fn a_reader_that_goes_by_the_rules_gets_everything() {
        model(2, Fault::None);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn not_if_it_polls_before_it_is_on_the_list() {
        model(1, Fault::PollFirst);
    }

    #[test]
    #[should_panic(expected = "deadlock")]
    fn not_if_the_event_comes_before_the_data() {
        model(1, Fault::EventFirst);
    }
}

/// A queue is added to another while it gets its first event.
mod nested {
    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    enum Wrong {
        Nothing,
        /// `is_watched` before the event is in the buffer, and without the lock.
        LookedAtBefore,
        /// The outer queue looks at the inner one first.
        PollFirst,
    }

    struct Inner {
        state: Mutex<State>,
        /// `Queue::watchers`: whether anybody watches.
        watched: AtomicBool,
        /// Whether the outer queue's callback is on it.
        list: Mutex<bool>,
    }

    fn model(wrong: Wrong) {
        loom::model(move || {
            let inner = Arc::new(Inner {
                state: Mutex::new(State::new()),
                watched: AtomicBool::new(false),
                list: Mutex::new(false),
            });
            let other = inner.clone();
            let producer = thread::spawn(move || {
                let early = other.watched.load(Acquire);
                let watched = {
                    let mut state = other.state.lock().unwrap();
                    assert_eq!(state.post(0, IN), Posted::First);
                    other.watched.load(Acquire)
                };
                let watched = if wrong == Wrong::LookedAtBefore {
                    early
                } else {
                    watched
                };
                // file_notify_nested(): an event of the outer queue.
                watched && *other.list.lock().unwrap()
            });
            let poll = || inner.state.lock().unwrap().buffer.pending() != 0;
            let early = wrong == Wrong::PollFirst && poll();
            inner.watched.store(true, Release);
            *inner.list.lock().unwrap() = true;
            fence(SeqCst);
            let found = early || (wrong != Wrong::PollFirst && poll());
            assert!(producer.join().unwrap() || found, "neither saw the other");
        });
    }

    #[test]
    fn the_outer_queue_is_told_or_finds_it() {
        model(Wrong::Nothing);
    }

    #[test]
    #[should_panic(expected = "neither saw the other")]
    fn not_if_the_list_is_looked_for_before() {
        model(Wrong::LookedAtBefore);
    }

    #[test]
    #[should_panic(expected = "neither saw the other")]
    fn not_if_it_polls_first() {
        model(Wrong::PollFirst);
    }
}

/// A wait goes by `maxfds` and by the place of the mapping, while another thread unmaps the queue,
/// gives up its room (`EP_FREE`), makes another (`EP_ALLOC`) and maps that. A mapping is known here
/// by the room that it was made with.
mod room {
    use super::*;

    struct Queue {
        /// `Queue::memory`: what is mapped.
        memory: Mutex<Option<u16>>,
        /// `Queue::state`: `State::mapping`.
        state: Mutex<Option<u16>>,
        maxfds: AtomicU16,
    }

    impl Queue {
        /// `Queue::unmapped`
        fn unmap(&self, forgets: bool) {
            let mut memory = self.memory.lock().unwrap();
            *memory = None;
            if !forgets {
                *self.state.lock().unwrap() = None;
            }
        }

        /// `Queue::deallocate`, `Queue::allocate`
        fn set(&self, maxfds: u16) {
            let memory = self.memory.lock().unwrap();
            assert!(memory.is_none());
            self.maxfds.store(maxfds, Relaxed);
        }

        /// `Queue::mmap`, then `Queue::ensure_mapped`
        fn map(&self) {
            let mut memory = self.memory.lock().unwrap();
            let room = self.maxfds.load(Relaxed);
            *memory = Some(room);
            *self.state.lock().unwrap() = Some(room);
        }

        /// `Queue::wait`
        fn wait(&self) {
            let state = self.state.lock().unwrap();
            if let Some(room) = *state {
                let half_size = self.maxfds.load(Relaxed);
                assert_eq!(half_size, room, "another room");
            }
        }
    }

    fn model(forgets: bool) {
        loom::model(move || {
            let queue = Arc::new(Queue {
                memory: Mutex::new(Some(8)),
                state: Mutex::new(Some(8)),
                maxfds: AtomicU16::new(8),
            });
            let other = queue.clone();
            let program = thread::spawn(move || {
                other.unmap(forgets);
                other.set(0);
                other.set(16);
                other.map();
            });
            queue.wait();
            queue.wait();
            program.join().unwrap();
        });
    }

    #[test]
    fn a_known_mapping_has_the_size_it_was_made_with() {
        model(false);
    }

    #[test]
    #[should_panic(expected = "another room")]
    fn not_if_a_mapping_is_not_forgotten() {
        model(true);
    }
}
