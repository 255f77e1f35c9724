// SPDX-License-Identifier: GPL-2.0

//! `write(2)` and `ioctl(2)` on a queue: the interface of `/dev/eventpoll`.

use crate::{
    buffer::Entry,
    map::PointerVariable,
    queue::{
        Ctl,
        Op,
        Queue,
        Where, //
    },
    with_file, //
};
use core::mem::offset_of;
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_void, //
    },
    fs::File,
    ioctl::{
        _IO,
        _IOR,
        _IOWR, //
    },
    prelude::*,
    sync::ArcBorrow,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    }, //
};

const ENTRY_SIZE: usize = size_of::<Entry>();

/// Elements of the array that are read at a time.
const CHUNK: usize = 32;

/// For so many elements that were not read yet the table gets room ahead, at most: there may be
/// fewer in the array than its size says.
const AHEAD: usize = 1 << 14;

/// Applies an array of `struct pollfd`, in order. Returns the size of what was applied before the
/// first that fails, or before a signal; or why the very first one fails.
///
/// The descriptors are those of the caller, who must not be able to do more than who has opened the
/// queue: see `evpoll_may_write()`.
pub(crate) fn write(
    queue: ArcBorrow<'_, Queue>,
    file: &File,
    mut reader: UserSliceReader,
) -> Result<usize> {
    // SAFETY: The file is there.
    if !unsafe { bindings::evpoll_may_write(file.as_ptr()) } {
        return Err(EACCES);
    }
    if reader.len() % ENTRY_SIZE != 0 {
        return Err(EINVAL);
    }
    let mut applied = 0usize;
    let mut at_a_time = CHUNK;
    let mut buffer = [0u8; CHUNK * ENTRY_SIZE];

    while !reader.is_empty() && (applied == 0 || !current!().signal_pending()) {
        let size = reader.len().min(at_a_time * ENTRY_SIZE);
        let Some(chunk) = buffer.get_mut(..size) else {
            break;
        };
        // The array is read before `ctl` is taken: see the crate's documentation.
        let mut result = reader.read_slice(chunk);
        if result.is_err() && at_a_time > 1 {
            // Up to where it can be read.
            at_a_time = 1;
            continue;
        }
        if result.is_ok() {
            let mut ctl = queue.ctl.lock();
            ctl.to_come = ((reader.len() + chunk.len()) / ENTRY_SIZE).min(AHEAD);
            result = chunk.chunks_exact(ENTRY_SIZE).try_for_each(|entry| {
                apply(queue, &mut ctl, entry)?;
                applied = applied.wrapping_add(ENTRY_SIZE);
                Ok(())
            });
            ctl.to_come = 0;
        }
        match result {
            Ok(()) => {}
            Err(_) if applied > 0 => break,
            Err(err) => return Err(err),
        }
        // SAFETY: No lock is held.
        unsafe { bindings::cond_resched() };
    }
    Ok(applied)
}

/// Applies one element. `ctl` is that of the queue.
#[inline]
fn apply(queue: ArcBorrow<'_, Queue>, ctl: &mut Ctl, entry: &[u8]) -> Result {
    let &[fd0, fd1, fd2, fd3, events0, events1, ..] = entry else {
        return Err(EINVAL);
    };
    let fd = i32::from_ne_bytes([fd0, fd1, fd2, fd3]);
    let events = u32::from(u16::from_ne_bytes([events0, events1]));
    with_file(fd, |file| {
        let (op, events) = if events & bindings::POLLREMOVE != 0 {
            (Op::Del, 0)
        } else {
            (Op::Set, events)
        };
        Queue::change(queue, ctl, op, file, fd, events)
    })
}

const P: u32 = b'P' as u32;
const EP_ALLOC: u32 = _IOR::<c_int>(P, 1);
const EP_POLL: u32 = _IOWR::<bindings::evpoll>(P, 2);
const EP_POLL_COMPAT: u32 = _IOWR::<CompatEvpoll>(P, 2);
const EP_FREE: u32 = _IO(P, 3);
const EP_ISPOLLED: u32 = _IOWR::<bindings::pollfd>(P, 4);

/// `struct evpoll` of a program with pointers of 32 bits.
#[repr(C)]
struct CompatEvpoll {
    ep_timeout: i32,
    ep_resoff: u32,
}

/// `ioctl(2)` of a queue.
pub(crate) fn ioctl(queue: &Queue, cmd: u32, arg: usize, compat: bool) -> Result<c_int> {
    // What `compat_ptr()` does.
    let address = if compat { arg as u32 as usize } else { arg };
    match cmd {
        EP_ALLOC => {
            let maxfds = u32::try_from(arg as c_int).map_err(|_| EINVAL)?;
            queue.allocate(maxfds)?;
            Ok(0)
        }
        EP_FREE => {
            queue.deallocate()?;
            Ok(0)
        }
        EP_POLL if !compat => {
            const { assert!(offset_of!(bindings::evpoll, ep_timeout) == 0) };
            let resoff = offset_of!(bindings::evpoll, ep_resoff);
            poll(queue, address, resoff, false)
        }
        EP_POLL_COMPAT if compat => {
            const { assert!(offset_of!(CompatEvpoll, ep_timeout) == 0) };
            poll(queue, address, offset_of!(CompatEvpoll, ep_resoff), true)
        }
        EP_ISPOLLED => is_polled(queue, address),
        _ => Err(ENOTTY),
    }
}

/// `EP_POLL`, with a `struct evpoll` at `address`.
fn poll(queue: &Queue, address: usize, resoff: usize, compat: bool) -> Result<c_int> {
    let timeout = UserSlice::new(UserPtr::from_addr(address), size_of::<c_int>());
    let timeout_ms = timeout.reader().read::<c_int>()?;
    // An offset is of no use to one who has no mapping, and the events would be gone. (As they are
    // for one whose other thread unmaps it while this one waits.)
    if !queue.is_mapped_here() {
        return Err(EINVAL);
    }
    let target = address.wrapping_add(resoff) as *mut c_void;
    let target = PointerVariable::new(target, compat);
    queue.wait(Where::Offset, target, timeout_ms)
}

/// `EP_ISPOLLED`, with a `struct pollfd` at `address`.
fn is_polled(queue: &Queue, address: usize) -> Result<c_int> {
    let slice = UserSlice::new(UserPtr::from_addr(address), ENTRY_SIZE);
    let (mut reader, mut writer) = slice.reader_writer();
    let fd = reader.read::<i32>()?;
    let Ok(events) = with_file(fd, |file| queue.watched_for(file, fd).ok_or(ENOENT)) else {
        return Ok(0);
    };
    writer.write(&fd)?;
    writer.write(&events)?;
    writer.write(&0u16)?; // revents
    Ok(1)
}
