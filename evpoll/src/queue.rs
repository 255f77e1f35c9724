// SPDX-License-Identifier: MIT OR Apache-2.0

//! The queue, and its handle for those who do not wait.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::raw::c_int;
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{self, Change, UpdateError};
use crate::error::{Call, Error};
use crate::events::Events;
use crate::interest::Interest;
use crate::sys::{self, Op};

/// The most descriptors that a queue can be made for.
pub const MAX_CAPACITY: u32 = 1 << 24;

/// A queue of events.
///
/// The queue is closed, and its memory unmapped, when it and all clones of its [`Registry`] are
/// dropped. It is not inherited by a program that is executed.
///
/// Its descriptor ([`AsFd`]) is readable while events are pending. It can be put into `poll`, epoll,
/// io_uring, and another queue.
///
/// # Examples
///
#[doc = "```no_run"]
#[doc = include_str!("../examples/pipe.rs")]
#[doc = "```"]
///
/// In another queue, where it is an event when something comes and nothing was pending:
///
#[doc = "```no_run"]
#[doc = include_str!("../examples/nested.rs")]
#[doc = "```"]
#[derive(Debug)]
pub struct Queue {
    registry: Registry,
}

impl Queue {
    /// Makes a queue for up to `capacity` descriptors, from 1 to [`MAX_CAPACITY`].
    ///
    /// Memory is taken as descriptors are added, so a capacity that is too large only costs address
    /// space: 16 bytes a descriptor.
    ///
    /// # Errors
    ///
    /// On a kernel without evpoll, [`ErrorKind::NoEvpoll`](crate::ErrorKind::NoEvpoll).
    pub fn new(capacity: u32) -> Result<Queue, Error> {
        let fd = sys::create(capacity)?;
        Ok(Queue {
            registry: Registry { fd: Arc::new(fd) },
        })
    }

    /// What adds, changes and removes watches. It can be cloned, and sent to other threads.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// [`Registry::add`].
    pub fn add(&self, fd: &(impl AsFd + ?Sized), interest: Interest) -> Result<(), Error> {
        self.registry.add(fd, interest)
    }

    /// [`Registry::modify`].
    pub fn modify(&self, fd: &(impl AsFd + ?Sized), interest: Interest) -> Result<(), Error> {
        self.registry.modify(fd, interest)
    }

    /// [`Registry::remove`].
    pub fn remove(&self, fd: &(impl AsFd + ?Sized)) -> Result<(), Error> {
        self.registry.remove(fd)
    }

    /// Waits until something has happened, or for this long; without a limit for `None`. Hands out
    /// all events that have come since the last wait, in the order in which they came, one for each
    /// descriptor. Without any, the time is over.
    ///
    /// The time is counted in milliseconds, and rounded up.
    ///
    /// The events borrow the queue, since the next wait gives their memory back to the kernel:
    ///
    /// ```compile_fail,E0499
    /// # fn main() -> Result<(), evpoll::Error> {
    /// let mut queue = evpoll::Queue::new(100)?;
    /// let events = queue.wait(None)?;
    /// queue.wait(None)?; // refused: `events` is still used below
    /// println!("{} events", events.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// In the other order it compiles:
    ///
    /// ```no_run
    /// # fn main() -> Result<(), evpoll::Error> {
    /// let mut queue = evpoll::Queue::new(100)?;
    /// let events = queue.wait(None)?;
    /// println!("{} events", events.len());
    /// queue.wait(None)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// While there are events, [`Events::registry`] adds and removes descriptors.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Interrupted`](crate::ErrorKind::Interrupted) if a signal came: most programs
    /// wait again. No event is lost by an error.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Events<'_>, Error> {
        let mut left = timeout;
        loop {
            let (milliseconds, rest) = split(left);
            let (entries, count) = sys::wait(self.as_fd(), milliseconds)?;
            if count != 0 || rest == Some(Duration::ZERO) {
                // SAFETY: The kernel has just handed them out. They are in a mapping that stays as
                // long as there is a descriptor of the queue, and `Events` borrows this one.
                return Ok(unsafe { Events::new(entries, count, &self.registry) });
            }
            left = rest;
        }
    }
}

/// As many milliseconds as one call can wait, and the rest.
fn split(timeout: Option<Duration>) -> (c_int, Option<Duration>) {
    let Some(timeout) = timeout else {
        return (-1, None);
    };
    match c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)) {
        Ok(milliseconds) => (milliseconds, Some(Duration::ZERO)),
        Err(_) => {
            let most = Duration::from_millis(c_int::MAX as u64);
            (c_int::MAX, Some(timeout - most))
        }
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.registry.fd.as_fd()
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.registry.fd.as_raw_fd()
    }
}

/// A queue that was received from another process, inherited, or opened as `/dev/eventpoll` (and
/// given room by `EP_ALLOC`). Fails if the descriptor is not one.
impl TryFrom<OwnedFd> for Queue {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Queue, Error> {
        // A queue never watches itself, so there is nothing to remove.
        match sys::ctl(Call::Adopt, fd.as_fd(), Op::Del, fd.as_raw_fd(), 0) {
            Err(error) if error.raw_os_error() == libc::ENOENT => {}
            Err(error) => return Err(error),
            Ok(()) => return Err(Error::new(Call::Adopt, libc::EINVAL)),
        }
        Ok(Queue {
            registry: Registry { fd: Arc::new(fd) },
        })
    }
}

/// Adds, changes and removes the watches of a queue, from any thread, also while one waits.
///
/// Clones are for the same queue, and keep it open.
///
/// # Closing
///
/// A watch belongs to the number of a descriptor and the open file behind it. It does not keep the
/// file open. When the last descriptor of the file is closed, the watch is gone, with an event that
/// was not handed out. So what is about to be closed need not be removed, unless there are
/// duplicates of it: then the file goes on to be watched under the number that it was added with.
#[derive(Clone, Debug)]
pub struct Registry {
    fd: Arc<OwnedFd>,
}

impl Registry {
    /// Watches a descriptor, which should be non-blocking. If it is ready already, that is an event.
    pub fn add(&self, fd: &(impl AsFd + ?Sized), interest: Interest) -> Result<(), Error> {
        self.ctl(Call::Add, Op::AddAndTest, fd.as_fd(), interest)
    }

    /// Watches a descriptor, and does not look at it: there is no event for what is there already.
    ///
    /// It is faster than [`Registry::add`], and right for who tries to read or write before he
    /// waits. Who just waits may wait forever.
    pub fn add_without_test(
        &self,
        fd: &(impl AsFd + ?Sized),
        interest: Interest,
    ) -> Result<(), Error> {
        self.ctl(Call::Add, Op::Add, fd.as_fd(), interest)
    }

    /// Changes what a descriptor is watched for. If it is ready for that, it is an event. What is
    /// not asked for any more is taken out of an event that was not handed out.
    pub fn modify(&self, fd: &(impl AsFd + ?Sized), interest: Interest) -> Result<(), Error> {
        self.ctl(Call::Modify, Op::ModAndTest, fd.as_fd(), interest)
    }

    /// Changes what a descriptor is watched for, and does not look at it. See
    /// [`Registry::add_without_test`].
    pub fn modify_without_test(
        &self,
        fd: &(impl AsFd + ?Sized),
        interest: Interest,
    ) -> Result<(), Error> {
        self.ctl(Call::Modify, Op::Mod, fd.as_fd(), interest)
    }

    /// Watches the descriptor no more. No later wait hands it out; what was handed out before stays
    /// as it is.
    pub fn remove(&self, fd: &(impl AsFd + ?Sized)) -> Result<(), Error> {
        self.ctl(Call::Remove, Op::Del, fd.as_fd(), Interest::NONE)
    }

    /// What the descriptor is watched for, if it is.
    pub fn watched_for(&self, fd: &(impl AsFd + ?Sized)) -> Result<Option<Interest>, Error> {
        let bits = sys::watched_for(self.as_fd(), fd.as_fd().as_raw_fd())?;
        Ok(bits.map(Interest::from_kernel))
    }

    /// Applies changes in order, and makes an event of each descriptor that is ready already. Stops
    /// at the first change that cannot be applied.
    ///
    /// It takes two system calls, and one more for each descriptor that is ready.
    ///
    /// A process that can do more than the one that made the queue, as another user or with more
    /// capabilities, cannot do it: `EACCES`. [`Registry::add`] and its like are for everybody who
    /// has the queue.
    ///
    /// # Example
    ///
    #[doc = "```no_run"]
    #[doc = include_str!("../examples/batch.rs")]
    #[doc = "```"]
    pub fn update(&self, changes: &[Change<'_>]) -> Result<(), UpdateError> {
        batch::update(self, changes)
    }

    /// Applies changes in order, and does not look at the descriptors. See
    /// [`Registry::add_without_test`]. It takes one system call.
    pub fn update_without_test(&self, changes: &[Change<'_>]) -> Result<(), UpdateError> {
        batch::update_without_test(self, changes)
    }

    fn ctl(&self, call: Call, op: Op, fd: BorrowedFd<'_>, interest: Interest) -> Result<(), Error> {
        sys::ctl(call, self.as_fd(), op, fd.as_raw_fd(), interest.bits())
    }
}

/// Another queue may watch it.
impl AsFd for Registry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use std::fs::File;

    #[test]
    fn times_are_rounded_up_and_longer_than_one_call_can_wait() {
        let done = Some(Duration::ZERO);
        assert_eq!(split(None), (-1, None));
        assert_eq!(split(done), (0, done));
        assert_eq!(split(Some(Duration::from_nanos(1))), (1, done));
        assert_eq!(split(Some(Duration::from_millis(7))), (7, done));
        let most = Duration::from_millis(c_int::MAX as u64);
        assert_eq!(split(Some(most)), (c_int::MAX, done));
        let more = most + Duration::from_micros(1);
        assert_eq!(
            split(Some(more)),
            (c_int::MAX, Some(Duration::from_micros(1)))
        );
        let (first, rest) = split(Some(Duration::MAX));
        assert_eq!(first, c_int::MAX);
        assert_eq!(rest.map(|rest| rest + most), Some(Duration::MAX));
    }

    /// Asks the kernel itself.
    fn kernel_has_evpoll() -> bool {
        // SAFETY: The call takes no pointer, and a queue for no descriptors cannot be made.
        let returned = unsafe { libc::syscall(473, 0, 0) };
        assert_eq!(returned, -1);
        std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
    }

    #[test]
    fn a_kernel_without_evpoll_is_told() {
        let want = match kernel_has_evpoll() {
            true => None,
            false => Some(ErrorKind::NoEvpoll),
        };
        assert_eq!(Queue::new(8).err().map(|error| error.kind()), want);
    }

    #[test]
    fn what_is_not_a_queue_is_refused() {
        let want = match kernel_has_evpoll() {
            true => ErrorKind::NotAQueue,
            false => ErrorKind::NoEvpoll,
        };
        let file = File::open("/dev/null").unwrap();
        let error = Queue::try_from(OwnedFd::from(file)).unwrap_err();
        assert_eq!(error.kind(), want);
    }

    #[test]
    fn too_large_a_queue_never_gets_to_the_kernel() {
        let error = Queue::new(u32::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidCapacity);
    }
}
