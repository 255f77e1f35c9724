// SPDX-License-Identifier: GPL-2.0
//! The terminal that xtask was started on.

use super::task::Size;
use std::mem::MaybeUninit;

/// The terminal in raw mode, so that every key reaches the guest. Dropping it puts the terminal
/// back as it was.
pub struct Raw {
    before: libc::termios,
}

impl Raw {
    pub fn enter() -> std::io::Result<Raw> {
        let mut before = MaybeUninit::uninit();
        // SAFETY: tcgetattr fills in the structure that it is given, or fails.
        let before = unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            before.assume_init()
        };
        let mut raw = before;
        // SAFETY: both calls only touch the structure, which is initialised.
        unsafe {
            libc::cfmakeraw(&mut raw);
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &raw);
        }
        Ok(Raw { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // SAFETY: the structure was filled in by tcgetattr.
        unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, &self.before) };
    }
}

/// The terminal's size, if stdout is one that knows it.
pub fn size() -> Option<Size> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: TIOCGWINSZ fills in the structure, which is valid when zero, too.
    let size = unsafe {
        if libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr()) != 0 {
            return None;
        }
        size.assume_init()
    };
    let known = size.ws_row > 0 && size.ws_col > 0;
    known.then_some(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Whether reading stdin would stop this process: it is a terminal, and another job has it.
pub fn in_background() -> bool {
    // SAFETY: neither call has anything to do with memory.
    let owner = unsafe { libc::tcgetpgrp(libc::STDIN_FILENO) };
    // SAFETY: as above.
    owner != -1 && owner != unsafe { libc::getpgrp() }
}
