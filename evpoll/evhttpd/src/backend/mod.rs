// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where events come from: evpoll, or epoll in edge mode.

mod epoll;
mod evpoll;

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

pub use self::epoll::Epoll;
pub use self::evpoll::Evpoll;

/// What has happened to a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Happened {
    /// The number of the descriptor, as it was when it was added.
    pub fd: RawFd,
    /// Reading, or accepting, is worth a try.
    pub readable: bool,
    /// Writing is worth a try.
    pub writable: bool,
}

/// A source of edges.
pub trait Backend {
    /// Watches the descriptor, in both directions, for whatever happens from now on. It is watched
    /// until it is closed, and must have no duplicate.
    fn add(&mut self, fd: BorrowedFd<'_>) -> io::Result<()>;

    /// Waits until something has happened, or for this long; without a limit for `None`. Then
    /// tells `found` about each descriptor. A signal may end it early.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        found: &mut dyn FnMut(Happened),
    ) -> io::Result<()>;
}

/// The back ends that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Kind {
    /// The system calls of evpoll, on a kernel that has them
    Evpoll,
    /// epoll in edge mode, on any Linux
    Epoll,
}

impl Kind {
    /// Makes one that watches up to `capacity` descriptors.
    pub fn open(self, capacity: u32) -> io::Result<Box<dyn Backend>> {
        Ok(match self {
            Kind::Evpoll => Box::new(Evpoll::new(capacity)?),
            Kind::Epoll => Box::new(Epoll::new()?),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Evpoll => "evpoll",
            Kind::Epoll => "epoll",
        })
    }
}
