// SPDX-License-Identifier: GPL-2.0
//! A program on a terminal of its own, as a person has it, and what it shows there.

use anyhow::{bail, Context};
use std::fs::File;
use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{sync_channel, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Killed when dropped, should it still run.
pub struct OnTerminal {
    child: Child,
    /// The person's side.
    keys: File,
    /// The program's side, kept open to ask for its modes.
    terminal: OwnedFd,
    before: libc::termios,
    screen: Receiver<Vec<u8>>,
    /// Everything that was shown.
    shown: String,
    /// How much of it has been expected.
    seen: usize,
}

impl OnTerminal {
    pub fn start(mut command: Command, rows: u16, columns: u16) -> anyhow::Result<OnTerminal> {
        let (keys, terminal) = open().context("making a terminal")?;
        resize(&keys, rows, columns)?;
        let before = modes(&terminal)?;
        command
            .stdin(terminal.try_clone()?)
            .stdout(terminal.try_clone()?)
            .stderr(terminal.try_clone()?);
        // SAFETY: between fork and exec only async-signal-safe calls are made.
        unsafe { command.pre_exec(lead) };
        let child = command.spawn().context("starting it on a terminal")?;
        drop(command); // And with it this process's other copies of the program's side.
        let (sender, screen) = sync_channel(64);
        let mut from = keys.try_clone()?;
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(OnTerminal {
            child,
            keys,
            terminal,
            before,
            screen,
            shown: String::new(),
            seen: 0,
        })
    }

    pub fn type_in(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keys.write_all(keys.as_bytes()).context("typing")
    }

    pub fn resize(&mut self, rows: u16, columns: u16) -> anyhow::Result<()> {
        resize(&self.keys, rows, columns)
    }

    /// Waits until this text is shown, after what was expected before. False if it is not, in time.
    pub fn shows(&mut self, text: &str, within: Duration) -> bool {
        let until = Instant::now() + within;
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return true;
            }
            match self
                .screen
                .recv_timeout(until.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => self.shown += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    /// As [`OnTerminal::shows`], and an error that quotes the screen if it is not shown.
    pub fn expect(&mut self, text: &str, within: Duration) -> anyhow::Result<()> {
        if self.shows(text, within) {
            return Ok(());
        }
        let last: Vec<&str> = self.shown[self.seen..].lines().rev().take(12).collect();
        let last: Vec<&str> = last.into_iter().rev().map(str::trim_end).collect();
        bail!("{text:?} was not shown in {within:?}, but {last:?}");
    }

    /// Everything that was shown until now.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Waits for the end of the program.
    pub fn ended(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                bail!("it has not ended in {within:?}");
            }
            // Takes what it still shows, so that it is not kept from ending.
            if let Ok(bytes) = self.screen.recv_timeout(Duration::from_millis(50)) {
                self.shown += &String::from_utf8_lossy(&bytes);
            }
        }
    }

    /// Whether the terminal's modes are those that it had at the start.
    pub fn left_as_it_was(&self) -> anyhow::Result<bool> {
        let now = modes(&self.terminal)?;
        let flags = |of: &libc::termios| (of.c_iflag, of.c_oflag, of.c_cflag, of.c_lflag);
        Ok(flags(&now) == flags(&self.before) && now.c_cc == self.before.c_cc)
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        // Either fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A new terminal: the person's side and the program's.
fn open() -> std::io::Result<(File, OwnedFd)> {
    let (mut ours, mut theirs) = (-1, -1);
    let none = std::ptr::null_mut();
    // SAFETY: the call fills in two descriptors, which are then owned here and nowhere else; name,
    // modes and size may be left out.
    unsafe {
        if libc::openpty(&mut ours, &mut theirs, none, none.cast(), none.cast()) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        for end in [ours, theirs] {
            libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC);
        }
        Ok((File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)))
    }
}

/// In the child: a session of its own, whose terminal its stdin is.
fn lead() -> std::io::Result<()> {
    // SAFETY: system calls on numbers.
    let made = unsafe { libc::setsid() != -1 && libc::ioctl(0, libc::TIOCSCTTY, 0) == 0 };
    match made {
        true => Ok(()),
        false => Err(std::io::Error::last_os_error()),
    }
}

fn resize(terminal: &File, rows: u16, columns: u16) -> anyhow::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the call reads the structure.
    let set = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    match set {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("resizing the terminal"),
    }
}

fn modes(terminal: &OwnedFd) -> anyhow::Result<libc::termios> {
    let mut modes = MaybeUninit::uninit();
    // SAFETY: tcgetattr fills in the structure that it is given, or fails.
    unsafe {
        if libc::tcgetattr(terminal.as_raw_fd(), modes.as_mut_ptr()) != 0 {
            return Err(std::io::Error::last_os_error()).context("asking for the terminal's modes");
        }
        Ok(modes.assume_init())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> OnTerminal {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        OnTerminal::start(command, 33, 99).unwrap()
    }

    #[test]
    fn it_is_a_terminal_that_can_be_typed_at_and_resized() {
        let mut sh = sh("stty size; read x; stty size; echo got $x; exit 3");
        sh.expect("33 99\r\n", SOON).unwrap();
        sh.resize(44, 88).unwrap();
        sh.type_in("abc\r").unwrap();
        sh.expect("44 88\r\n", SOON).unwrap();
        sh.expect("got abc\r\n", SOON).unwrap();
        assert_eq!(sh.ended(SOON).unwrap().code(), Some(3));
        assert!(sh.left_as_it_was().unwrap());
    }

    #[test]
    fn what_is_not_shown_is_an_error_that_quotes_the_screen() {
        let mut sh = sh("echo one; echo two; stty -echo; read x");
        sh.expect("one", SOON).unwrap();
        assert!(!sh.shows("one", Duration::from_millis(300)));
        let error = sh.expect("three", Duration::from_millis(300)).unwrap_err();
        assert!(error.to_string().contains("two"), "{error}");
        assert!(sh.shown().starts_with("one\r\ntwo"));
        assert!(!sh.left_as_it_was().unwrap());
        assert!(sh.ended(Duration::from_millis(100)).is_err());
    }
}
