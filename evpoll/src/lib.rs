// SPDX-License-Identifier: MIT OR Apache-2.0

//! Event queues that the kernel maps into the process: a safe interface to the system calls
//! `evpoll_create`, `evpoll_ctl` and `evpoll_wait`.
//!
//! A [`Queue`] watches descriptors. When something happens to one of them, whoever makes it happen
//! writes an entry into the queue's memory. [`Queue::wait`] hands out all entries that have come
//! since the last time. It copies nothing, and takes as long for a thousand as for one.
//!
//! # The rule
//!
//! Events are edges: there is one for each arrival, and none for what is still there from before.
//! One rule makes a program correct:
//!
//! **Register, then try; and only after `EAGAIN`, wait.**
//!
//! Descriptors have to be non-blocking. After each event, read, write or accept until it fails with
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock). A program that stops earlier and waits may wait
//! forever, with data in front of it.
//!
//! [`Registry::add`] and [`Registry::modify`] look at the descriptor: what is there already is an
//! event, too. So the first try may be left to the first event. Those whose names end in
//! `_without_test` do not look; after them, the program has to try by itself.
//!
//! # Example
//!
//! A server that sends back what it receives, and three clients.
//!
#![doc = "```no_run"]
#![doc = include_str!("../examples/echo.rs")]
#![doc = "```"]
//!
//! # Which task an event is for
//!
//! An event carries the number of a descriptor ([`Event::fd`]). Numbers are small and are used
//! again, so a vector that is indexed by them is the fastest map. An event is never about a
//! descriptor that was closed, or removed from the queue, before the wait. But of several events
//! of one hand-out, the first may be a reason to close the descriptor of the second, and to open
//! another one, which gets the same number. The second event is then about a file that is gone.
//! This does no harm to who follows the rule: he tries, and gets `EAGAIN`.
//!
//! # Threads
//!
//! A [`Registry`] adds, changes and removes watches from any thread, also while another one waits.
//! A [`Waker`] ends a wait from any thread.
//!
//! # Why this is sound
//!
//! The kernel writes to the memory that [`Events`] reads.
//!
//! - It leaves what it has handed out as it is until the next wait on the same queue. [`Events`]
//!   borrows the queue, and [`Queue::wait`] needs it mutably: the compiler sees to it that nobody
//!   looks at events after the next wait by this [`Queue`].
//! - There may be others with the same queue: a duplicate of its descriptor, in this process or
//!   another. When one of them waits, the kernel goes on to write to the memory of this [`Events`].
//!   So no reference to that memory is ever made. Each entry is copied, by one volatile read, and
//!   only the copy is looked at. All bits are valid for an [`Event`], so what is read may then be
//!   out of date or about another descriptor, but it is memory of the queue and nothing else.
//! - The memory stays mapped as long as there is a descriptor of the queue, and [`Events`] borrows
//!   one. Only `munmap` or `mremap` with the address of the mapping would remove it earlier, and
//!   they are `unsafe` to call. A child made by `fork`, which is `unsafe` as well, has the queue but
//!   not the mapping: it must not look at what its parent was handed out, and waits by itself.

#![deny(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
#![cfg(target_os = "linux")]

mod batch;
mod error;
mod events;
mod interest;
mod queue;
mod sys;
mod waker;

pub use batch::{Change, UpdateError};
pub use error::{Error, ErrorKind};
pub use events::{Event, Events, Iter};
pub use interest::{Interest, Readiness};
pub use queue::{Queue, Registry, MAX_CAPACITY};
pub use waker::Waker;
