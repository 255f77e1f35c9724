// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a call has failed.

use std::fmt;
use std::io;

/// What was being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Call {
    Create,
    Adopt,
    Add,
    Modify,
    Remove,
    Wait,
    Update,
    IsWatched,
    Waker,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Call::Create => "cannot make an evpoll queue",
            Call::Adopt => "cannot use the descriptor as an evpoll queue",
            Call::Add => "cannot add a descriptor to the queue",
            Call::Modify => "cannot change what a descriptor is watched for",
            Call::Remove => "cannot remove a descriptor from the queue",
            Call::Wait => "cannot wait for events",
            Call::Update => "cannot apply a change to the queue",
            Call::IsWatched => "cannot tell whether a descriptor is watched",
            Call::Waker => "cannot make or use a waker",
        }
    }
}

/// Why a call has failed: what was being done, and the error number of the system call.
///
/// Its text says what to do next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Error {
    call: Call,
    errno: i32,
}

/// The reasons that a program may want to tell apart.
///
/// # Example
///
#[doc = "```no_run"]
#[doc = include_str!("../examples/errors.rs")]
#[doc = "```"]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The kernel has no evpoll (`ENOSYS`).
    NoEvpoll,
    /// The process is not allowed to make a queue: a sandbox forbids system calls that it does not
    /// know (`EPERM`).
    Forbidden,
    /// A queue for no descriptors, or for more than [`MAX_CAPACITY`](crate::MAX_CAPACITY)
    /// (`EINVAL`).
    InvalidCapacity,
    /// The descriptor is watched already: modify it (`EEXIST`).
    AlreadyWatched,
    /// The descriptor is not watched: add it (`ENOENT`).
    NotWatched,
    /// The queue has as many descriptors as it was made for (`E2BIG`).
    Full,
    /// What the descriptor stands for has no events to tell of, for example a regular file
    /// (`EPERM`).
    Unwatchable,
    /// The queue would watch itself, or there would be more than four queues above one another
    /// (`ELOOP`).
    Cycle,
    /// The user has as many watches as he may have, or too many queues watch this one (`ENOSPC`).
    Limit,
    /// A signal came while the call waited; wait again (`EINTR`).
    Interrupted,
    /// The descriptor that a [`Queue`](crate::Queue) was made from is not a queue, or is one of
    /// `/dev/eventpoll` for which there is no room yet (`EINVAL`).
    NotAQueue,
    /// The process or the system has as many descriptors as it may have (`EMFILE`, `ENFILE`).
    NoDescriptors,
    /// There is no memory left, or the memory cgroup is at its limit (`ENOMEM`).
    NoMemory,
    /// Anything else: see [`Error::raw_os_error`].
    Other,
}

impl Error {
    pub(crate) fn new(call: Call, errno: i32) -> Self {
        Error { call, errno }
    }

    /// The system call that has just failed.
    pub(crate) fn last(call: Call) -> Self {
        let errno = io::Error::last_os_error().raw_os_error().unwrap_or(0);
        Error { call, errno }
    }

    /// The number of the error, as in `<errno.h>`.
    pub fn raw_os_error(&self) -> i32 {
        self.errno
    }

    /// What it means.
    pub fn kind(&self) -> ErrorKind {
        use ErrorKind::*;
        match (self.call, self.errno) {
            (_, libc::ENOSYS) => NoEvpoll,
            (Call::Create | Call::Wait, libc::EPERM) => Forbidden,
            (_, libc::EPERM) => Unwatchable,
            (Call::Create, libc::EINVAL) => InvalidCapacity,
            (Call::Waker, libc::EINVAL) => Other,
            (_, libc::EINVAL) => NotAQueue,
            (_, libc::EEXIST) => AlreadyWatched,
            (_, libc::ENOENT) => NotWatched,
            (_, libc::E2BIG) => Full,
            (_, libc::ELOOP) => Cycle,
            (_, libc::ENOSPC) => Limit,
            (_, libc::EINTR) => Interrupted,
            (_, libc::EMFILE | libc::ENFILE) => NoDescriptors,
            (_, libc::ENOMEM) => NoMemory,
            _ => Other,
        }
    }

    fn advice(&self) -> Option<&'static str> {
        Some(match self.kind() {
            ErrorKind::NoEvpoll => {
                "this kernel has no evpoll: boot one that is built with CONFIG_EVPOLL"
            }
            ErrorKind::Forbidden => {
                "a sandbox forbids it: allow the system calls 473 to 475 in its seccomp filter"
            }
            ErrorKind::InvalidCapacity => "a queue is for 1 to 16777216 descriptors",
            ErrorKind::AlreadyWatched => "it is watched already: modify it instead",
            ErrorKind::NotWatched => "it is not watched: add it first",
            ErrorKind::Full => "it is full: make it for more descriptors",
            ErrorKind::Unwatchable => {
                "it has no events to tell of: sockets, pipes, FIFOs and evpoll queues have"
            }
            ErrorKind::Cycle => {
                "queues would watch each other in a cycle, or more than four above one another"
            }
            ErrorKind::Limit => {
                "the limit is reached: raise fs.evpoll.max_user_watches, or remove watches"
            }
            ErrorKind::Interrupted => "a signal came: wait again",
            ErrorKind::NotAQueue => "the descriptor is not a queue that has room for descriptors",
            ErrorKind::NoDescriptors => "too many open files: raise RLIMIT_NOFILE, or close some",
            ErrorKind::NoMemory => "no memory: raise the limit of the memory cgroup",
            ErrorKind::Other => return None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call.name();
        match self.advice() {
            Some(advice) => write!(f, "{call}: {advice} (os error {})", self.errno),
            None => write!(f, "{call}: {}", io::Error::from_raw_os_error(self.errno)),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {}

/// Its kind is that of the error number, its text that of the [`Error`], which it contains.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = io::Error::from_raw_os_error(error.errno).kind();
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_means_different_things() {
        let kind = |call, errno| Error::new(call, errno).kind();
        assert_eq!(kind(Call::Create, libc::EPERM), ErrorKind::Forbidden);
        assert_eq!(kind(Call::Add, libc::EPERM), ErrorKind::Unwatchable);
        assert_eq!(kind(Call::Create, libc::EINVAL), ErrorKind::InvalidCapacity);
        assert_eq!(kind(Call::Wait, libc::EINVAL), ErrorKind::NotAQueue);
        assert_eq!(kind(Call::Wait, libc::EFAULT), ErrorKind::Other);
    }

    #[test]
    fn texts_say_what_was_done_and_what_to_do() {
        let text = Error::new(Call::Create, libc::ENOSYS).to_string();
        assert_eq!(
            text,
            "cannot make an evpoll queue: this kernel has no evpoll: boot one that is built with \
             CONFIG_EVPOLL (os error 38)"
        );
        let text = Error::new(Call::Add, libc::EBADF).to_string();
        assert!(text.starts_with("cannot add a descriptor to the queue: Bad file"));
    }

    #[test]
    fn an_io_error_keeps_the_kind_and_the_text() {
        let error = Error::new(Call::Wait, libc::EINTR);
        let io: io::Error = error.into();
        assert_eq!(io.kind(), io::ErrorKind::Interrupted);
        assert_eq!(io.to_string(), error.to_string());
        let inner = io.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        assert_eq!(inner, Some(&error));
    }
}
