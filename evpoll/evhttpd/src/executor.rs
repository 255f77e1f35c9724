// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs tasks, all in one thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{poll_fn, Future};
use std::io;
use std::pin::{pin, Pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::backend::Backend;
use crate::reactor::{Reactor, Timer};

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// Names a task, and wakes it: puts it into the line of those that are to be run.
///
/// A waker may be sent to other threads, so this can be shared. But nobody here does, and a thread
/// that waits for events would not notice: what comes from elsewhere has to come through a
/// descriptor, as signals do.
struct Alarm {
    place: usize,
    /// Whether it is in the line.
    queued: AtomicBool,
    line: Arc<Line>,
}

#[derive(Default)]
struct Line(Mutex<VecDeque<Arc<Alarm>>>);

impl Line {
    fn push(&self, alarm: Arc<Alarm>) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.push_back(alarm);
    }

    fn pop(&self) -> Option<Arc<Alarm>> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.pop_front()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.line.push(self.clone());
        }
    }
}

struct Slot {
    alarm: Arc<Alarm>,
    /// None while it runs.
    task: Option<Task>,
}

#[derive(Default)]
struct Tasks {
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
}

struct Shared {
    reactor: Reactor,
    tasks: RefCell<Tasks>,
    line: Arc<Line>,
}

/// What tasks have of the executor: they wait for descriptors and times, and start other tasks.
#[derive(Clone)]
pub struct Handle(Rc<Shared>);

impl Handle {
    /// Runs a task until it has come to its end.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.0.tasks.borrow_mut();
        let place = match tasks.free.pop() {
            Some(place) => place,
            None => {
                tasks.slots.push(None);
                tasks.slots.len() - 1
            }
        };
        let alarm = Arc::new(Alarm {
            place,
            queued: AtomicBool::new(true),
            line: self.0.line.clone(),
        });
        self.0.line.push(alarm.clone());
        tasks.slots[place] = Some(Slot {
            alarm,
            task: Some(Box::pin(task)),
        });
    }

    /// Wakes all tasks: each looks again at what it waits for, or should do instead.
    pub fn wake_all(&self) {
        for slot in self.0.tasks.borrow().slots.iter().flatten() {
            slot.alarm.wake_by_ref();
        }
    }

    /// Where tasks wait.
    pub fn reactor(&self) -> &Reactor {
        &self.0.reactor
    }

    /// The time, as it was when the last event came.
    pub fn now(&self) -> Instant {
        self.0.reactor.now()
    }

    /// What the future gives, unless it takes longer than until then.
    pub async fn until<T>(&self, at: Instant, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        // Most of the time there is something to go on with, and no need for a timer.
        let mut timer = None;
        poll_fn(|cx| {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(value));
            }
            let timer = timer.get_or_insert_with(|| Timer::new(at, self));
            timer.poll(cx).map(|()| None)
        })
        .await
    }

    /// What the future gives, unless it takes longer.
    pub async fn within<T>(&self, time: Duration, future: impl Future<Output = T>) -> Option<T> {
        self.until(self.now() + time, future).await
    }

    /// Lets the others go first.
    pub async fn yield_now(&self) {
        let mut yielded = false;
        poll_fn(|cx| {
            if yielded {
                return Poll::Ready(());
            }
            yielded = true;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }
}

/// Runs a task, and those that it starts, until it has come to its end. The others then end where
/// they are.
pub fn run<T, F>(backend: Box<dyn Backend>, main: impl FnOnce(Handle) -> F) -> io::Result<T>
where
    T: 'static,
    F: Future<Output = T> + 'static,
{
    let executor = Executor {
        handle: Handle(Rc::new(Shared {
            reactor: Reactor::new(backend),
            tasks: RefCell::default(),
            line: Arc::default(),
        })),
    };
    let result = Rc::new(RefCell::new(None));
    let (main, place) = (main(executor.handle.clone()), result.clone());
    executor
        .handle
        .spawn(async move { *place.borrow_mut() = Some(main.await) });
    loop {
        executor.run_those_in_line();
        if let Some(result) = result.borrow_mut().take() {
            return Ok(result);
        }
        let shared = &executor.handle.0;
        // With more to do, only what has happened already is looked at.
        let timeout = (shared.line.len() > 0).then_some(Duration::ZERO);
        shared.reactor.turn(timeout)?;
    }
}

struct Executor {
    handle: Handle,
}

impl Executor {
    /// Those who get into line meanwhile are for the next time.
    fn run_those_in_line(&self) {
        let shared = &self.handle.0;
        for _ in 0..shared.line.len() {
            if let Some(alarm) = shared.line.pop() {
                self.run(alarm);
            }
        }
    }

    fn run(&self, alarm: Arc<Alarm>) {
        let tasks = &self.handle.0.tasks;
        // Whoever wakes it from here on means another run.
        alarm.queued.store(false, Ordering::Release);
        let place = alarm.place;
        let task = match tasks.borrow_mut().slots.get_mut(place) {
            // An alarm may outlive its task, and another task may have its place.
            Some(Some(slot)) if Arc::ptr_eq(&slot.alarm, &alarm) => slot.task.take(),
            _ => None,
        };
        let Some(mut task) = task else { return };
        let waker = Waker::from(alarm);
        let ended = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut tasks = tasks.borrow_mut();
        if ended.is_ready() {
            tasks.slots[place] = None;
            tasks.free.push(place);
            drop(tasks);
            // It closes its descriptors and stops its timers.
            drop(task);
        } else if let Some(slot) = &mut tasks.slots[place] {
            slot.task = Some(task);
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        // They have handles, and so keep what they are kept in.
        let tasks = std::mem::take(&mut *self.handle.0.tasks.borrow_mut());
        drop(tasks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Epoll;
    use std::cell::Cell;

    fn run<T: 'static, F: Future<Output = T> + 'static>(main: impl FnOnce(Handle) -> F) -> T {
        super::run(Box::new(Epoll::new().unwrap()), main).unwrap()
    }

    #[test]
    fn tasks_take_turns() {
        let said = run(|handle| async move {
            let said = Rc::new(RefCell::new(String::new()));
            for name in ["a", "b"] {
                let (said, own) = (said.clone(), handle.clone());
                handle.spawn(async move {
                    for _ in 0..3 {
                        said.borrow_mut().push_str(name);
                        own.yield_now().await;
                    }
                });
            }
            for _ in 0..10 {
                handle.yield_now().await;
            }
            said.take()
        });
        assert_eq!(said, "ababab");
    }

    #[test]
    fn time_runs_out_or_does_not() {
        let (late, soon) = run(|handle| async move {
            let never = std::future::pending::<()>();
            let late = handle.within(Duration::from_millis(20), never).await;
            let soon = handle.within(Duration::from_secs(1000), async { 7 }).await;
            (late, soon)
        });
        assert_eq!((late, soon), (None, Some(7)));
    }

    #[test]
    fn a_place_is_used_again_and_old_wakers_do_nothing() {
        let runs = run(|handle| async move {
            let kept = Rc::new(RefCell::new(None));
            let place = kept.clone();
            handle.spawn(poll_fn(move |cx| {
                *place.borrow_mut() = Some(cx.waker().clone());
                Poll::Ready(())
            }));
            handle.yield_now().await;
            let runs = Rc::new(Cell::new(0));
            let count = runs.clone();
            handle.spawn(poll_fn(move |_| {
                count.set(count.get() + 1);
                Poll::Pending
            }));
            for _ in 0..3 {
                kept.borrow().as_ref().unwrap().wake_by_ref();
                handle.yield_now().await;
            }
            runs.get()
        });
        assert_eq!(runs, 1);
    }

    #[test]
    fn what_is_left_in_the_end_is_dropped() {
        struct Told(Rc<Cell<bool>>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.set(true);
            }
        }
        let told = Rc::new(Cell::new(false));
        let inner = told.clone();
        run(|handle| async move {
            let own = handle.clone();
            let told = Told(inner);
            handle.spawn(async move {
                let _told = told;
                own.within(Duration::from_secs(1000), std::future::pending::<()>())
                    .await;
            });
            handle.yield_now().await;
        });
        assert!(told.get());
    }
}
