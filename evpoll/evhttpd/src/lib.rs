// SPDX-License-Identifier: MIT OR Apache-2.0

//! A small HTTP/1.1 server for static files: an `async` program on evpoll, or on epoll.
//!
//! Each connection is a task, which reads like a program for one client: wait for a request, answer
//! it, wait for the next one. This is how the server of 2002 was written, with coroutines; the
//! compiler now makes them.
//!
//! # Who wakes whom
//!
//! - The [`executor`] runs tasks, all in one thread, until none is in line. Then it lets the
//!   [`reactor`] take a turn.
//! - The reactor waits at the [`backend`] for edges, and wakes the tasks that wait for them: it
//!   knows them by the number of the descriptor. It also wakes those whose time has come
//!   ([`timers`]).
//! - [`net`] has what tasks call: try it, and if that would block, leave a waker with the reactor.
//! - [`signals`] come through a pipe, which is watched like anything else.
//! - [`server`] is the program itself: it accepts, and has a task for each connection. [`http`] and
//!   [`files`] know nothing of all this.
//!
//! # Why no event is lost
//!
//! A descriptor is added once, in both directions, **before** it is tried for the first time, and
//! stays until it is closed. From then on everything that happens is an edge in the queue. A task
//! always tries first, and waits only after `EAGAIN`:
//!
//! - What happened before the try, the try finds. Its edge may still be in the queue; then the task
//!   is woken once for nothing, gets `EAGAIN`, and waits again.
//! - What happens after the try is an edge that no turn has handed out yet, since turns are taken by
//!   the same thread, after the task has left its waker. The next one finds the waker.
//! - An edge that finds no waker is dropped: the task that it is for is not waiting, and so will try
//!   before it does.
//!
//! Who stops before `EAGAIN` must try again by himself, as no edge will tell: a full server, which
//! does not accept, tries to accept as soon as there is room, and one that is out of descriptors
//! after a while.
//!
//! # Why old events do no harm
//!
//! A descriptor has no duplicates, so that closing it ends its watch. There is nothing to remove
//! before, and one system call less for each connection. But of several events of one hand-out, the
//! first may lead to the end of the connection that the second is about, and to a new one of the
//! same number. Its task is then woken for nothing, which is as above. The wakers of a number are
//! forgotten when it is closed.

#![deny(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]
#![cfg(target_os = "linux")]

pub mod backend;
pub mod executor;
pub mod files;
pub mod http;
mod media_type;
pub mod net;
mod options;
pub mod reactor;
pub mod server;
pub mod signals;
mod start;
pub mod timers;

pub use options::Options;
pub use start::start;
