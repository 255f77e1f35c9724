// SPDX-License-Identifier: GPL-2.0
//! The ways to learn which descriptors have something to read.

mod epoll;
mod evpoll;
mod poll;
mod rtsig;
mod select;
mod uring;

pub use epoll::{Epoll, EDGE, LEVEL};
pub use evpoll::Evpoll;
pub use poll::Poll;
pub use rtsig::RtSig;
pub use select::Select;
pub use uring::Uring;

use crate::output::Notes;
use selftests::abi::Errno;
use std::os::raw::c_int;

/// The same work without any interface, in the place of an interface's name.
pub const BARE: &str = "bare";

/// One interface, watching descriptors for something to read.
pub trait Interface: Sized {
    const NAME: &'static str;
    /// What else to say of it.
    const NOTES: Notes<'static> = &[];
    /// It looks at every descriptor at every wait.
    const LINEAR: bool = false;

    fn new(fds: &[c_int]) -> Result<Self, Errno>;
    /// One wait, for up to so many events, which are due; how many there were.
    fn wait(&mut self, want: usize) -> Result<usize, Errno>;
    /// The descriptor of the event at this place of the last wait.
    fn fd(&self, i: usize) -> c_int;
    /// Takes events that are there, without waiting; how many. 0 if there are no more.
    fn discard(&mut self) -> Result<usize, Errno>;

    /// Takes every event that is there; how many.
    fn discard_all(&mut self) -> Result<usize, Errno> {
        let mut total = 0;
        loop {
            match self.discard()? {
                0 => return Ok(total),
                n => total += n,
            }
        }
    }
}

/// Calls `$with::<I>($arguments)` for every interface. evpoll is the last: so no other is measured
/// while a queue of ours is open, or on descriptors that one has watched.
macro_rules! each_interface {
    ($with:ident ( $($argument:expr),* )) => {{
        use $crate::interfaces::{Epoll, Evpoll, Poll, RtSig, Select, Uring, EDGE, LEVEL};
        $with::<Epoll<EDGE>>($($argument),*);
        $with::<Epoll<LEVEL>>($($argument),*);
        $with::<Uring>($($argument),*);
        $with::<Poll>($($argument),*);
        $with::<Select>($($argument),*);
        $with::<RtSig>($($argument),*);
        $with::<Evpoll>($($argument),*);
    }};
}
pub(crate) use each_interface;
