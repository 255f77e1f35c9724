// SPDX-License-Identifier: GPL-2.0
//! The terminal that xtask was started on.

use super::task::Size;
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

/// The terminal while a guest has it. Dropping this puts it back as it was.
pub struct Terminal {
    before: libc::termios,
}

impl Terminal {
    /// Takes it for a guest that is booting: what is typed is for the guest and not shown yet, and
    /// Ctrl-C still means xtask.
    pub fn take() -> std::io::Result<Terminal> {
        let mut before = MaybeUninit::uninit();
        // SAFETY: tcgetattr fills in the structure that it is given, or fails.
        let before = unsafe {
            if libc::tcgetattr(libc::STDIN_FILENO, before.as_mut_ptr()) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            before.assume_init()
        };
        let mut typed_ahead = before;
        typed_ahead.c_lflag &= !(libc::ECHO | libc::ICANON);
        // Stopped, xtask would leave the terminal like this.
        typed_ahead.c_cc[libc::VSUSP] = libc::_POSIX_VDISABLE;
        set(&typed_ahead)?;
        Ok(Terminal { before })
    }

    /// The guest is up: every key reaches it, and everything that it prints is left as it is.
    pub fn raw(&self) -> std::io::Result<()> {
        let mut raw = self.before;
        // SAFETY: the call only touches the structure, which is initialised.
        unsafe { libc::cfmakeraw(&mut raw) };
        set(&raw)
    }
}

/// Undoes what a program in the guest may have done to the screen and could not undo: another
/// screen, keys and mouse in a way of their own, a hidden cursor, colours. What follows is at the
/// bottom, wherever the cursor was.
pub fn tidy() {
    const ALL: &[u8] = b"\x1b[?1047l\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1006l\x1b[?2004l\
                         \x1b[?25h\x1b[m\x1b[999;1H\r\n";
    let mut stdout = std::io::stdout().lock();
    // A terminal that is gone has no screen to tidy.
    let _ = stdout.write_all(ALL).and_then(|()| stdout.flush());
}

fn set(modes: &libc::termios) -> std::io::Result<()> {
    // SAFETY: the structure is initialised, and only read.
    match unsafe { libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, modes) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may be gone: then there is nothing to put back.
        let _ = set(&self.before);
    }
}

/// The terminal's size, if stdout is one that knows it.
pub fn size() -> Option<Size> {
    size_of(&std::io::stdout())
}

/// The size of a terminal, if this is one that knows it.
pub fn size_of(terminal: &impl AsRawFd) -> Option<Size> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: TIOCGWINSZ fills in the structure, which is valid when zero, too.
    let size = unsafe {
        if libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, size.as_mut_ptr()) != 0 {
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
