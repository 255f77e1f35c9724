// SPDX-License-Identifier: MIT OR Apache-2.0

//! Many changes by few system calls.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::error::{Call, Error};
use crate::interest::Interest;
use crate::queue::Registry;
use crate::sys::{self, Op, POLLREMOVE};

/// A change for [`Registry::update`].
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Change<'fd> {
    entry: libc::pollfd,
    fd: PhantomData<BorrowedFd<'fd>>,
}

impl<'fd> Change<'fd> {
    /// Watch the descriptor for this, whether or not it is watched already.
    pub fn set(fd: &'fd (impl AsFd + ?Sized), interest: Interest) -> Change<'fd> {
        Change::new(fd.as_fd(), interest.bits())
    }

    /// Watch the descriptor no more.
    pub fn remove(fd: &'fd (impl AsFd + ?Sized)) -> Change<'fd> {
        Change::new(fd.as_fd(), POLLREMOVE)
    }

    fn new(fd: BorrowedFd<'fd>, events: u16) -> Change<'fd> {
        Change {
            entry: libc::pollfd {
                fd: fd.as_raw_fd(),
                events: events as i16,
                revents: 0,
            },
            fd: PhantomData,
        }
    }

    fn events(&self) -> u16 {
        self.entry.events as u16
    }

    fn removes(&self) -> bool {
        self.events() & POLLREMOVE != 0
    }
}

impl fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Interest::from_bits(self.events()) {
            Some(interest) => write!(f, "set({}, {interest:?})", self.entry.fd),
            None => write!(f, "remove({})", self.entry.fd),
        }
    }
}

/// Why not all changes were applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpdateError {
    applied: usize,
    error: Error,
}

impl UpdateError {
    /// How many were applied: the place of the one that failed. Those after it were not tried.
    pub fn applied(&self) -> usize {
        self.applied
    }

    /// Why it failed.
    pub fn error(&self) -> Error {
        self.error
    }
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "change {}: {}", self.applied, self.error)
    }
}

impl std::error::Error for UpdateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// As for [`Error`]: its kind is that of the error number, its text that of the [`UpdateError`],
/// which it contains.
impl From<UpdateError> for io::Error {
    fn from(error: UpdateError) -> Self {
        let kind = io::Error::from(error.error).kind();
        io::Error::new(kind, error)
    }
}

pub(crate) fn update_without_test(
    registry: &Registry,
    changes: &[Change<'_>],
) -> Result<(), UpdateError> {
    let mut applied = 0;
    while let Some(rest) = changes.get(applied..).filter(|rest| !rest.is_empty()) {
        match sys::write(registry.as_fd(), entries(rest)) {
            // Less than all: a signal came, or the next one fails, which the next call tells.
            Ok(count) => applied += count,
            Err(error) => return Err(UpdateError { applied, error }),
        }
    }
    Ok(())
}

pub(crate) fn update(registry: &Registry, changes: &[Change<'_>]) -> Result<(), UpdateError> {
    let result = update_without_test(registry, changes);
    let applied = match &result {
        Ok(()) => changes.len(),
        Err(error) => error.applied,
    };
    // From now on, what happens is an event. What happened before is found by a look.
    test(registry, &changes[..applied])?;
    result
}

/// Makes an event of each descriptor that is ready.
fn test(registry: &Registry, changes: &[Change<'_>]) -> Result<(), UpdateError> {
    let places = last_of_each(changes);
    let mut looked: Vec<libc::pollfd> = places.iter().map(|&at| changes[at].entry).collect();
    let known = sys::poll_now(&mut looked);
    for (&at, entry) in places.iter().zip(&looked) {
        if known && entry.revents == 0 {
            continue;
        }
        let (fd, events) = (entry.fd, changes[at].events());
        match sys::ctl(Call::Update, registry.as_fd(), Op::ModAndTest, fd, events) {
            Ok(()) => {}
            // Another thread was faster to remove it, or to close it.
            Err(error) if matches!(error.raw_os_error(), libc::ENOENT | libc::EBADF) => {}
            Err(error) => return Err(UpdateError { applied: at, error }),
        }
    }
    Ok(())
}

/// The places of the changes that decide what a descriptor is watched for, in order.
fn last_of_each(changes: &[Change<'_>]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..changes.len()).collect();
    // The last one of each descriptor first.
    places.sort_unstable_by_key(|&at| (changes[at].entry.fd, std::cmp::Reverse(at)));
    places.dedup_by_key(|at| changes[*at].entry.fd);
    places.retain(|&at| !changes[at].removes());
    places.sort_unstable();
    places
}

fn entries<'a>(changes: &'a [Change<'_>]) -> &'a [libc::pollfd] {
    // SAFETY: A `Change` is a `pollfd`, being transparent.
    unsafe { std::slice::from_raw_parts(changes.as_ptr().cast(), changes.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn what_a_descriptor_ends_up_with() {
        let (a, b) = (
            File::open("/dev/null").unwrap(),
            File::open("/dev/null").unwrap(),
        );
        let changes = [
            Change::set(&a, Interest::READABLE),
            Change::set(&b, Interest::READABLE),
            Change::remove(&b),
            Change::set(&a, Interest::WRITABLE),
        ];
        assert_eq!(last_of_each(&changes), [3]);
        assert_eq!(last_of_each(&changes[..3]), [0]);
        assert_eq!(last_of_each(&changes[..2]), [0, 1]);
        assert_eq!(last_of_each(&[]), Vec::<usize>::new());
    }

    #[test]
    fn changes_are_pollfds() {
        let file = File::open("/dev/null").unwrap();
        let changes = [
            Change::set(&file, Interest::WRITABLE),
            Change::remove(&file),
        ];
        let entries = entries(&changes);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].fd, file.as_raw_fd());
        assert_eq!(entries[0].events, libc::POLLOUT);
        assert_eq!(entries[1].events, 0x1000);
        let number = file.as_raw_fd();
        assert_eq!(
            format!("{changes:?}"),
            format!("[set({number}, OUT), remove({number})]")
        );
    }

    #[test]
    fn the_error_says_which() {
        let error = Error::new(Call::Update, libc::E2BIG);
        let error = UpdateError { applied: 3, error };
        let text = error.to_string();
        assert!(text.starts_with("change 3: cannot apply"), "{text}");
    }

    #[test]
    fn an_io_error_keeps_the_kind_the_text_and_the_place() {
        let error = Error::new(Call::Update, libc::ENOENT);
        let error = UpdateError { applied: 3, error };
        let update = || -> io::Result<()> { Err(error)? };
        let io = update().unwrap_err();
        assert_eq!(io.kind(), io::ErrorKind::NotFound);
        assert_eq!(io.to_string(), error.to_string());
        let inner = io.get_ref();
        let inner = inner.and_then(|inner| inner.downcast_ref::<UpdateError>());
        assert_eq!(inner.map(UpdateError::applied), Some(3));
    }
}
