// SPDX-License-Identifier: MIT OR Apache-2.0

//! SIGTERM and SIGINT, as events: the handler writes to a pipe, which any back end can watch.

use std::future::poll_fn;
use std::io;
use std::mem::zeroed;
use std::os::fd::{IntoRawFd, OwnedFd};
use std::os::raw::c_int;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::task::Poll;

use rustix::pipe::{pipe_with, PipeFlags};

use crate::executor::Handle;
use crate::reactor::{Direction, Source};

static COUNT: AtomicUsize = AtomicUsize::new(0);
/// The end that the handler writes to.
static PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn handle(_signal: c_int) {
    COUNT.fetch_add(1, Ordering::SeqCst);
    // SAFETY: The place of this thread's own error number, which what it has interrupted may be
    // about to look at.
    let errno = unsafe { *libc::__errno_location() };
    let byte = [0u8];
    // SAFETY: One byte is read from the array. The call may be made in a handler. It fails if the
    // pipe is full of signals, of which each was an event.
    unsafe { libc::write(PIPE.load(Ordering::SeqCst), byte.as_ptr().cast(), 1) };
    // SAFETY: As above.
    unsafe { *libc::__errno_location() = errno };
}

/// From now on these signals do not end the process but are events of what this returns, of which
/// each thread that waits for them needs a duplicate.
pub fn install() -> io::Result<OwnedFd> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    PIPE.store(write.into_raw_fd(), Ordering::SeqCst);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        // SAFETY: All zeros are a valid value: no flags, and an empty mask.
        let mut action: libc::sigaction = unsafe { zeroed() };
        action.sa_sigaction = handle as extern "C" fn(c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: The handler only does what is allowed in one, and the action lives through the
        // call.
        if unsafe { libc::sigaction(signal, &action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(read)
}

/// Signals, for the tasks of one executor.
pub struct Signals {
    source: Source,
    seen: usize,
}

impl Signals {
    /// `pipe` is a duplicate of what [`install`] has returned.
    pub fn new(pipe: OwnedFd, handle: &Handle) -> io::Result<Signals> {
        Ok(Signals {
            source: Source::new(pipe, handle)?,
            seen: 0,
        })
    }

    /// The next one.
    pub async fn next(&mut self) {
        poll_fn(|cx| {
            if COUNT.load(Ordering::SeqCst) > self.seen {
                self.seen += 1;
                return Poll::Ready(());
            }
            // What is written from here on is an edge. Nothing is ever read, so that it is one for
            // all threads.
            self.source.poll_edge(cx, Direction::Read);
            Poll::Pending
        })
        .await
    }
}
