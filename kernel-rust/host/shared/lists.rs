// SPDX-License-Identifier: GPL-2.0
//! File callback lists, `fs/fcblist.c`: how it is seen that a list is watched, and how long what is on it lives.

use super::Object;
use loom::sync::atomic::{
    fence, AtomicBool, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, SeqCst},
};
use loom::sync::{Mutex, RwLock};
use loom::thread;
use std::sync::Arc;

/// ORDERING: a producer changes the state and looks for the list, the other one adds a callback and
/// looks at the state.
mod ordering {
    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// No barrier in the producer.
        Producer,
        /// No `smp_mb()` in `__file_notify_addcb()` or `file_notify_modcb()`.
        Adder,
        /// `->poll()` before the callback is on the list.
        PollFirst,
    }

    #[derive(Clone, Copy, PartialEq)]
    enum How {
        /// The first callback, so that the list becomes watched, too.
        First,
        /// There was one before.
        Another,
        /// There is the callback, but it asks for something else until now.
        Modified,
    }

    struct Source {
        ready: AtomicBool,
        watched: AtomicBool,
        /// Whether a callback is there that asks for this event.
        list: Mutex<bool>,
    }

    fn model(how: How, fault: Fault) {
        loom::model(move || {
            let source = Arc::new(Source {
                ready: AtomicBool::new(false),
                watched: AtomicBool::new(how != How::First),
                list: Mutex::new(false),
            });
            let other = source.clone();
            let producer = thread::spawn(move || {
                other.ready.store(true, Relaxed);
                if fault != Fault::Producer {
                    fence(SeqCst);
                }
                other.watched.load(Relaxed) && *other.list.lock().unwrap()
            });
            let mut found = false;
            if fault == Fault::PollFirst {
                found = source.ready.load(Relaxed);
            }
            {
                let mut list = source.list.lock().unwrap();
                source.watched.store(true, Relaxed);
                *list = true;
            }
            if fault != Fault::Adder {
                fence(SeqCst);
            }
            if fault != Fault::PollFirst {
                found = source.ready.load(Relaxed);
            }
            assert!(producer.join().unwrap() || found, "neither saw the other");
        });
    }

    #[test]
    fn called_back_or_found_by_poll() {
        for how in [How::First, How::Another, How::Modified] {
            model(how, Fault::None);
        }
    }

    #[test]
    #[should_panic(expected = "neither saw the other")]
    fn not_without_the_barrier_of_the_producer() {
        model(How::First, Fault::Producer);
    }

    #[test]
    #[should_panic(expected = "neither saw the other")]
    fn not_without_the_barrier_of_the_adder() {
        model(How::First, Fault::Adder);
    }

    #[test]
    #[should_panic(expected = "neither saw the other")]
    fn not_if_it_polls_first() {
        model(How::Another, Fault::PollFirst);
    }
}

/// The same for a pipe, whose list has two locks: who changes it holds both, who calls back one.
mod pipe {
    use super::*;
    use loom::cell::UnsafeCell;

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// `file_notify_lock()` does not take the mutex.
        NoMutex,
        /// `file_notify_lock()` does not take `head->lock`.
        NoLock,
        /// No `smp_mb()` in `__file_notify_addcb()`.
        Adder,
        /// No `smp_mb()` in the producer.
        Producer,
    }

    /// Who tells of the change.
    #[derive(Clone, Copy, PartialEq)]
    enum How {
        /// `anon_pipe_write()`: with the mutex held.
        Write,
        /// `anon_pipe_read()`: after a change with the mutex held.
        Read,
        /// `post_one_notification()`: without the mutex.
        Post,
    }

    #[derive(Default)]
    struct Pipe {
        mutex: Mutex<()>,
        ready: AtomicBool,
        watched: AtomicBool,
        lock: Mutex<()>,
        /// The callbacks of either adder.
        list: UnsafeCell<[bool; 2]>,
    }

    // SAFETY: loom tells if the list is used by two at a time, one of whom changes it.
    unsafe impl Sync for Pipe {}

    impl Pipe {
        /// `file_notify_lock()`, a change and `file_notify_unlock()`.
        fn change(&self, adder: usize, on: bool, fault: Fault) {
            let _mutex = (fault != Fault::NoMutex).then(|| self.mutex.lock().unwrap());
            let _lock = (fault != Fault::NoLock).then(|| self.lock.lock().unwrap());
            self.watched.store(true, Relaxed);
            // SAFETY: The place is valid; loom tells of other accesses.
            self.list.with_mut(|list| unsafe { (*list)[adder] = on });
        }

        /// `__file_notify_addcb()` and `->poll()`. Returns whether that finds something.
        fn add(&self, adder: usize, fault: Fault) -> bool {
            self.change(adder, true, fault);
            if fault != Fault::Adder {
                fence(SeqCst);
            }
            // pipe_poll() takes no lock.
            self.ready.load(Relaxed)
        }

        /// `file_send_notify_locked()`, or what is between the locks of `file_send_notify()`.
        fn listed(&self) -> [bool; 2] {
            // SAFETY: The place is valid; loom tells of changes meanwhile.
            self.list.with(|list| unsafe { *list })
        }

        /// Changes the state. Returns who is called back.
        fn produce(&self, how: How, fault: Fault) -> [bool; 2] {
            let mutex = (how != How::Post).then(|| self.mutex.lock().unwrap());
            self.ready.store(true, Relaxed);
            if how == How::Write {
                return self.listed();
            }
            drop(mutex);
            if fault != Fault::Producer {
                fence(SeqCst);
            }
            if self.watched.load(Relaxed) {
                let _lock = self.lock.lock().unwrap();
                self.listed()
            } else {
                [false; 2]
            }
        }
    }

    fn model(how: How, adders: usize, fault: Fault) {
        loom::model(move || {
            let pipe = Arc::new(Pipe::default());
            let other = pipe.clone();
            let producer = thread::spawn(move || other.produce(how, fault));
            let second = (adders == 2).then(|| {
                let other = pipe.clone();
                thread::spawn(move || other.add(1, fault))
            });
            let found = pipe.add(0, fault);
            let found_too = second.is_none_or(|second| second.join().unwrap());
            let called = producer.join().unwrap();
            assert!(called[0] || found, "neither saw the other");
            assert!(called[1] || found_too, "neither saw the other");
        });
    }

    #[test]
    fn called_back_or_found_by_poll() {
        for how in [How::Write, How::Read, How::Post] {
            model(how, 1, Fault::None);
        }
    }

    #[test]
    fn nor_is_it_lost_on_one_of_two() {
        for how in [How::Write, How::Read] {
            model(how, 2, Fault::None);
        }
    }

    /// `file_notify_delcb()` beside two that call back, neither of whom waits for the other.
    #[test]
    fn nobody_is_called_back_once_it_is_removed() {
        loom::model(|| {
            let pipe = Arc::new(Pipe::default());
            pipe.change(0, true, Fault::None);
            let producers = [How::Write, How::Read].map(|how| {
                let other = pipe.clone();
                thread::spawn(move || other.produce(how, Fault::None))
            });
            pipe.change(0, false, Fault::None);
            assert_eq!(pipe.produce(How::Write, Fault::None), [false; 2]);
            for producer in producers {
                producer.join().unwrap();
            }
        });
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_if_a_change_does_without_the_mutex() {
        model(How::Write, 1, Fault::NoMutex);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_if_a_change_does_without_the_lock() {
        model(How::Read, 1, Fault::NoLock);
    }

    #[test]
    #[should_panic(expected = "neither saw the other")]
    fn not_without_the_barrier_of_the_adder() {
        model(How::Post, 1, Fault::Adder);
    }

    #[test]
    #[should_panic(expected = "neither saw the other")]
    fn not_without_the_barrier_of_the_producer() {
        model(How::Post, 1, Fault::Producer);
    }
}

/// `file->f_cb` is written by one who has a reference, and read by whoever drops the last one.
mod f_cb {
    use super::*;

    fn model(weak: bool) {
        loom::model(move || {
            let references = Arc::new(AtomicUsize::new(2));
            let f_cb = Arc::new(AtomicBool::new(false));
            // fput(), and __fput() with file_notify_cleanup().
            let put = move |references: &AtomicUsize, f_cb: &AtomicBool| {
                let order = if weak { Relaxed } else { AcqRel };
                if references.fetch_sub(1, order) == 1 {
                    assert!(f_cb.load(Relaxed), "callbacks are left");
                }
            };
            let (other, cb) = (references.clone(), f_cb.clone());
            let adder = thread::spawn(move || {
                cb.store(true, Relaxed);
                put(&other, &cb);
            });
            put(&references, &f_cb);
            adder.join().unwrap();
        });
    }

    #[test]
    fn the_last_close_sees_that_there_are_callbacks() {
        model(false);
    }

    #[test]
    #[should_panic(expected = "callbacks are left")]
    fn not_if_the_references_order_nothing() {
        model(true);
    }
}

/// Three want a watch: its producer, the last close of its file, the release of its queue (which
/// does what `EP_CTL_DEL` does, but has no reference to the file).
mod removal {
    use super::*;
    use loom::sync::MutexGuard;

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// `Queue::free` frees the watch before it is off the list.
        FreedFirst,
        /// `Queue::free` looks at the file after the callback is off the list.
        FileLast,
        /// `__file_notify_cleanup()` calls `pin` without the lock.
        PinUnlocked,
        /// `__file_notify_cleanup()` asks for a removal, and does not wait for it.
        NoPin,
        /// `FileCallback::release` does not look into the table.
        NoLook,
    }

    struct World {
        /// `head->lock`, and whether the callback is on the list.
        head: Mutex<bool>,
        /// `Queue::ctl`, and whether the watch is in the table.
        table: Mutex<bool>,
        watch: Object,
        file: Object,
        queue: Object,
        /// Those to the queue: by its file, and by who pins it.
        references: AtomicUsize,
    }

    impl World {
        /// `__file_notify_event()`, `Watch::notify`. Has a reference to the source only.
        fn event(&self) {
            let list = self.head.lock().unwrap();
            if *list {
                self.watch.touch();
                self.file.touch(); // state(fcb->file)
                self.queue.touch();
            }
        }

        fn put_queue(&self) {
            if self.references.fetch_sub(1, AcqRel) == 1 {
                self.queue.free();
            }
        }

        /// `Queue::free`. The watch was taken out of the table.
        fn free(&self, _table: &MutexGuard<'_, bool>, fault: Fault) {
            if fault == Fault::FreedFirst {
                self.watch.free();
            } else {
                self.watch.touch();
            }
            if fault != Fault::FileLast {
                self.file.touch(); // data_of_raw()
            }
            *self.head.lock().unwrap() = false; // file_notify_delcb()
            if fault == Fault::FileLast {
                self.file.touch();
            }
            if fault != Fault::FreedFirst {
                self.watch.free();
            }
        }

        /// `Queue::remove_all`, or `Queue::remove`.
        fn remove(&self, fault: Fault) {
            let mut table = self.table.lock().unwrap();
            self.queue.touch();
            if core::mem::replace(&mut *table, false) || fault == Fault::NoLook {
                self.free(&table, fault);
            }
        }

        /// `__fput()`.
        fn close(&self, fault: Fault) {
            loop {
                let list = self.head.lock().unwrap();
                if !*list {
                    break;
                }
                if fault == Fault::NoPin {
                    break;
                }
                let list = (fault != Fault::PinUnlocked).then_some(list);
                self.watch.touch(); // pin()
                self.queue.touch();
                self.references.fetch_add(1, Relaxed);
                drop(list);
                self.remove(fault); // release()
                self.put_queue();
            }
            self.file.free();
        }
    }

    fn model(fault: Fault) {
        loom::model(move || {
            let world = Arc::new(World {
                head: Mutex::new(true),
                table: Mutex::new(true),
                watch: Object::new(),
                file: Object::new(),
                queue: Object::new(),
                references: AtomicUsize::new(1),
            });
            let other = world.clone();
            let producer = thread::spawn(move || other.event());
            let other = world.clone();
            let release = thread::spawn(move || {
                other.remove(fault);
                other.put_queue();
            });
            world.close(fault);
            producer.join().unwrap();
            release.join().unwrap();
            assert_eq!(world.references.load(Relaxed), 0, "the queue is freed");
        });
    }

    #[test]
    fn each_is_freed_once_and_not_used_any_more() {
        model(Fault::None);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_if_it_is_freed_while_on_the_list() {
        model(Fault::FreedFirst);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_if_the_file_is_looked_at_last() {
        model(Fault::FileLast);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_if_the_owner_is_pinned_without_the_lock() {
        model(Fault::PinUnlocked);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_if_the_close_does_not_wait() {
        model(Fault::NoPin);
    }

    #[test]
    #[should_panic(expected = "use after free")]
    fn not_if_who_comes_late_frees_it_again() {
        model(Fault::NoLook);
    }
}

/// `sk_notify()` follows `sk->sk_wq` while the socket is released. A section of RCU is a reader's
/// lock here, and a grace period one that is held for writing and let go.
mod grace_period {
    use super::*;

    fn model(waits: bool) {
        loom::model(move || {
            let rcu = Arc::new(RwLock::new(()));
            let sk_wq = Arc::new(AtomicBool::new(true));
            let head = Arc::new(Object::new());
            let producer = {
                let (rcu, sk_wq, head) = (rcu.clone(), sk_wq.clone(), head.clone());
                thread::spawn(move || {
                    let _section = rcu.read().unwrap();
                    if sk_wq.load(Acquire) {
                        head.touch();
                    }
                })
            };
            sk_wq.store(false, Relaxed); // sock_orphan()
            if waits {
                drop(rcu.write().unwrap());
            }
            head.free();
            producer.join().unwrap();
        });
    }

    #[test]
    fn a_list_stays_for_who_has_found_it() {
        model(true);
    }

    #[test]
    #[should_panic(expected = "Causality violation")]
    fn not_without_a_grace_period() {
        model(false);
    }
}

/// `file_notify_get()` by two, and the work that switches off.
mod static_key {
    use super::*;

    #[derive(Clone, Copy, PartialEq)]
    enum Fault {
        None,
        /// The count goes up first.
        CountFirst,
        /// `file_notify_off()` does not take the mutex.
        OffUnlocked,
    }

    #[derive(Default)]
    struct Key {
        on: AtomicBool,
        users: AtomicUsize,
        mutex: Mutex<()>,
    }

    impl Key {
        fn get(&self, fault: Fault) {
            let more = |users| (users != 0).then_some(users + 1);
            if self.users.fetch_update(AcqRel, Relaxed, more).is_ok() {
                return;
            }
            let _mutex = self.mutex.lock().unwrap();
            if fault == Fault::CountFirst {
                self.users.fetch_add(1, AcqRel);
            }
            self.on.store(true, Relaxed);
            if fault != Fault::CountFirst {
                self.users.fetch_add(1, AcqRel);
            }
        }

        fn off(&self, fault: Fault) {
            let _mutex = (fault != Fault::OffUnlocked).then(|| self.mutex.lock().unwrap());
            if self.users.load(Relaxed) == 0 {
                self.on.store(false, Relaxed);
            }
        }

        fn use_it(&self, fault: Fault) {
            self.get(fault);
            assert!(self.on.load(Relaxed), "the hooks are off");
            // file_notify_put(): the work follows, some time.
            self.users.fetch_sub(1, AcqRel);
        }
    }

    fn model(fault: Fault) {
        loom::model(move || {
            let key = Arc::new(Key::default());
            let other = key.clone();
            let user = thread::spawn(move || other.use_it(fault));
            let other = key.clone();
            let work = thread::spawn(move || other.off(fault));
            key.use_it(fault);
            user.join().unwrap();
            work.join().unwrap();
        });
    }

    #[test]
    fn the_hooks_are_on_for_who_has_asked() {
        model(Fault::None);
    }

    #[test]
    #[should_panic(expected = "the hooks are off")]
    fn not_if_the_count_goes_up_first() {
        model(Fault::CountFirst);
    }

    #[test]
    #[should_panic(expected = "the hooks are off")]
    fn not_if_they_are_switched_off_without_the_mutex() {
        model(Fault::OffUnlocked);
    }
}

/// `evpoll_charge_watch()` of two programs of a user who may have one more.
mod charge {
    use super::*;

    const MAX: usize = 1;

    fn charge(count: &AtomicUsize, looks_first: bool) -> bool {
        if looks_first {
            if count.load(Relaxed) >= MAX {
                return false;
            }
            count.fetch_add(1, AcqRel);
            return true;
        }
        if count.fetch_add(1, AcqRel) < MAX {
            return true;
        }
        count.fetch_sub(1, AcqRel);
        false
    }

    fn model(looks_first: bool) {
        loom::model(move || {
            let count = Arc::new(AtomicUsize::new(0));
            let other = count.clone();
            let program = thread::spawn(move || charge(&other, looks_first));
            let mine = charge(&count, looks_first);
            let both = usize::from(mine) + usize::from(program.join().unwrap());
            assert!(both <= MAX, "more than the limit");
            assert_eq!(count.load(Relaxed), both, "what is counted is there");
        });
    }

    #[test]
    fn never_more_than_the_limit() {
        model(false);
    }

    #[test]
    #[should_panic(expected = "more than the limit")]
    fn not_if_it_looks_first() {
        model(true);
    }
}
