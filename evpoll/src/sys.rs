// SPDX-License-Identifier: MIT OR Apache-2.0

//! The system calls, and the numbers of `<linux/evpoll.h>`.

use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::raw::{c_int, c_long, c_uint};
use std::ptr;

use crate::error::{Call, Error};

#[cfg(not(any(
    target_arch = "x86",
    target_arch = "x86_64",
    target_arch = "aarch64",
    target_arch = "riscv32",
    target_arch = "riscv64",
    target_arch = "loongarch64",
)))]
compile_error!("evpoll has no system calls on this architecture: see patches/ for those it has");

/// System calls of the x32 ABI have a bit of their own in their number.
const ABI: c_long = if cfg!(all(target_arch = "x86_64", target_pointer_width = "32")) {
    0x4000_0000
} else {
    0
};
const EVPOLL_CREATE: c_long = ABI + 473;
const EVPOLL_CTL: c_long = ABI + 474;
const EVPOLL_WAIT: c_long = ABI + 475;

/// Operations of `evpoll_ctl`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub(crate) enum Op {
    Add = 1,
    Del = 2,
    Mod = 3,
    AddAndTest = 4,
    ModAndTest = 5,
}

/// Among the events of an element that `write` is given: remove the descriptor.
pub(crate) const POLLREMOVE: u16 = 0x1000;

/// `_IOWR('P', 4, struct pollfd)`
const EP_ISPOLLED: u32 = 0xc000_0000 | (size_of::<libc::pollfd>() as u32) << 16 | 0x5004;

fn result(call: Call, returned: c_long) -> Result<usize, Error> {
    usize::try_from(returned).map_err(|_| Error::last(call))
}

pub(crate) fn create(capacity: u32) -> Result<OwnedFd, Error> {
    let Ok(capacity) = c_int::try_from(capacity) else {
        return Err(Error::new(Call::Create, libc::EINVAL));
    };
    let flags = libc::O_CLOEXEC as c_uint;
    // SAFETY: The call takes no pointer.
    let returned = unsafe { libc::syscall(EVPOLL_CREATE, capacity, flags) };
    let fd = result(Call::Create, returned as c_long)?;
    // SAFETY: A new descriptor, which nobody else knows of.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

pub(crate) fn ctl(
    call: Call,
    queue: BorrowedFd<'_>,
    op: Op,
    fd: RawFd,
    events: u16,
) -> Result<(), Error> {
    let (queue, op, events) = (queue.as_raw_fd(), op as c_int, c_uint::from(events));
    let data: libc::c_ulong = 0;
    // SAFETY: The call takes no pointer.
    let returned = unsafe { libc::syscall(EVPOLL_CTL, queue, op, fd, events, data) };
    result(call, returned as c_long).map(drop)
}

/// The address of the entries, and how many there are. Each is 8 bytes.
pub(crate) fn wait(queue: BorrowedFd<'_>, timeout_ms: c_int) -> Result<(*const u64, usize), Error> {
    let mut entries: *const u64 = ptr::null();
    let options: *const u8 = ptr::null();
    let size: libc::size_t = 0;
    // SAFETY: The call stores one pointer, at `entries`.
    let returned = unsafe {
        libc::syscall(
            EVPOLL_WAIT,
            queue.as_raw_fd(),
            &raw mut entries,
            timeout_ms,
            options,
            size,
        )
    };
    let count = result(Call::Wait, returned as c_long)?;
    Ok((entries, count))
}

/// `write` with an array of changes: how many were applied, at least one.
pub(crate) fn write(queue: BorrowedFd<'_>, changes: &[libc::pollfd]) -> Result<usize, Error> {
    let size = size_of_val(changes);
    // SAFETY: The array is that long.
    let returned = unsafe { libc::write(queue.as_raw_fd(), changes.as_ptr().cast(), size) };
    let written = result(Call::Update, returned as c_long)?;
    Ok(written / size_of::<libc::pollfd>())
}

/// What the descriptor is watched for, if it is.
pub(crate) fn watched_for(queue: BorrowedFd<'_>, fd: RawFd) -> Result<Option<u16>, Error> {
    let mut entry = libc::pollfd {
        fd,
        events: 0,
        revents: 0,
    };
    // SAFETY: The request reads and writes one `pollfd`.
    let returned = unsafe { libc::ioctl(queue.as_raw_fd(), EP_ISPOLLED as _, &raw mut entry) };
    let watched = result(Call::IsWatched, c_long::from(returned))?;
    Ok((watched != 0).then_some(entry.events as u16))
}

/// `poll` without waiting, which sets `revents`. False if it cannot be told.
pub(crate) fn poll_now(entries: &mut [libc::pollfd]) -> bool {
    loop {
        // SAFETY: The array is that long.
        let returned =
            unsafe { libc::poll(entries.as_mut_ptr(), entries.len() as libc::nfds_t, 0) };
        if returned >= 0 {
            return true;
        }
        // A signal, which has been handled by now; or no memory, or more than RLIMIT_NOFILE.
        if Error::last(Call::Update).raw_os_error() != libc::EINTR {
            return false;
        }
    }
}

/// A pipe: the end to read from, and the one to write to.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), Error> {
    let mut fds = [-1; 2];
    // SAFETY: The call stores two numbers.
    let returned = unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) };
    result(Call::Waker, c_long::from(returned))?;
    // SAFETY: New descriptors, which nobody else knows of.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

pub(crate) fn write_byte(fd: BorrowedFd<'_>) -> Result<(), Error> {
    // SAFETY: One byte is read from the array.
    let returned = unsafe { libc::write(fd.as_raw_fd(), [0u8].as_ptr().cast(), 1) };
    result(Call::Waker, returned as c_long).map(drop)
}

/// Reads what there is, until there is nothing left.
pub(crate) fn drain(fd: BorrowedFd<'_>) {
    let mut bytes = [0u8; 4096];
    // SAFETY: The array is that long.
    while unsafe { libc::read(fd.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) } > 0 {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_that_of_the_header() {
        assert_eq!(EP_ISPOLLED, 0xc008_5004);
    }
}
